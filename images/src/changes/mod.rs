//! `--change`: instructions of a Dockerfile that alter a configuration.

mod config;
mod health;
mod words;

pub use config::RunConfig;

use crate::error::{Error, Result};

type Outcome<T> = std::result::Result<T, String>;

/// Instructions that may be given, for messages.
const KNOWN: &str = "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR";

impl RunConfig {
    /// Applies one instruction, as `ENV A=b` or `CMD ["sh"]`.
    ///
    /// # Errors
    /// [`Error::Change`]: it is none that can be applied so.
    pub fn change(&mut self, line: &str) -> Result<()> {
        self.apply(line.trim()).map_err(|reason| Error::Change {
            line: line.to_owned(),
            reason,
        })
    }

    fn apply(&mut self, line: &str) -> Outcome<()> {
        let (keyword, rest) = line
            .split_once(|c: char| c.is_ascii_whitespace())
            .unwrap_or((line, ""));
        let rest = rest.trim();
        let keyword = keyword.to_ascii_uppercase();
        let known = KNOWN.split(", ").any(|known| known == keyword);
        if !known {
            return Err(format!("`{keyword}` is none of {KNOWN}"));
        }
        if rest.is_empty() && !matches!(keyword.as_str(), "CMD" | "ENTRYPOINT") {
            return Err(format!("{keyword} needs an argument"));
        }
        match keyword.as_str() {
            "CMD" => self.cmd = self.command(rest)?,
            "ENTRYPOINT" => self.entrypoint = self.command(rest)?,
            "ENV" => {
                for (key, value) in self.pairs(rest)? {
                    self.set_env(&key, &value);
                }
            }
            "LABEL" => {
                let pairs = self.pairs(rest)?;
                self.labels.extend(pairs);
            }
            "EXPOSE" => self.expose(rest)?,
            "HEALTHCHECK" => self.healthcheck = Some(health::parse(rest, &self.shell())?),
            "ONBUILD" => self.on_build.push(on_build(rest)?),
            "SHELL" => {
                let shell = json_array(rest).ok_or("SHELL needs a JSON array of strings")?;
                if shell.is_empty() {
                    return Err("SHELL needs a program".into());
                }
                self.shell = shell;
            }
            "STOPSIGNAL" => self.stop_signal = Some(signal(&self.expand(rest)?)?),
            "USER" => self.user = Some(single(self.expand(rest)?, "USER")?),
            "VOLUME" => self.volumes(rest)?,
            _ => self.change_dir(&self.expand(rest)?)?,
        }
        Ok(())
    }

    /// A command in JSON form, or in shell form, which the shell gets as it is.
    fn command(&self, rest: &str) -> Outcome<Option<Vec<String>>> {
        Ok(match json_array(rest) {
            Some(args) => Some(args),
            None if rest.is_empty() => None,
            None => Some([self.shell(), vec![rest.to_owned()]].concat()),
        })
    }

    /// The shell of commands in shell form.
    pub fn shell(&self) -> Vec<String> {
        let default = || ["/bin/sh", "-c"].map(str::to_owned).to_vec();
        if self.shell.is_empty() {
            default()
        } else {
            self.shell.clone()
        }
    }

    fn expand(&self, text: &str) -> Outcome<String> {
        words::expand(text, &|key| self.env(key))
    }

    /// `KEY=VALUE ...`, or the old `KEY VALUE` for a single one.
    fn pairs(&self, rest: &str) -> Outcome<Vec<(String, String)>> {
        let lookup = |key: &str| self.env(key);
        let split = words::split(rest)?;
        let first = split.first().map(String::as_str).unwrap_or_default();
        if !first.contains('=') {
            let (key, value) = rest
                .split_once(|c: char| c.is_ascii_whitespace())
                .ok_or_else(|| format!("`{rest}` has no `=`"))?;
            let value = words::expand(value.trim(), &lookup)?;
            return Ok(vec![(words::expand(key, &lookup)?, value)]);
        }
        let pair = |word: &String| {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("`{word}` has no `=`"))?;
            let key = words::expand(key, &lookup)?;
            if key.is_empty() {
                return Err(format!("`{word}` has no name before the `=`"));
            }
            Ok((key, words::expand(value, &lookup)?))
        };
        split.iter().map(pair).collect()
    }

    fn expose(&mut self, rest: &str) -> Outcome<()> {
        for word in words::split(rest)? {
            let word = self.expand(&word)?;
            self.expose_port(&word)?;
        }
        Ok(())
    }

    /// Adds `PORT[-PORT][/PROTOCOL]` to the ports.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn expose_port(&mut self, word: &str) -> Outcome<()> {
        let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(format!("`{protocol}` is not tcp, udp or sctp"));
        }
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| {
            let port = text.parse::<u16>().ok().filter(|&port| port > 0);
            port.ok_or_else(|| format!("`{text}` is not a port"))
        };
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!("the range `{ports}` ends before it begins"));
        }
        self.exposed_ports
            .extend((first..=last).map(|port| format!("{port}/{protocol}")));
        Ok(())
    }

    /// Sets the health check: what follows HEALTHCHECK.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_health(&mut self, text: &str) -> Outcome<()> {
        self.healthcheck = Some(health::parse(text, &self.shell())?);
        Ok(())
    }

    /// Sets the signal that asks the image's program to end.
    ///
    /// # Errors
    /// It is none (signal(7)).
    pub fn stop_with(&mut self, text: &str) -> Outcome<()> {
        self.stop_signal = Some(signal(text)?);
        Ok(())
    }

    fn volumes(&mut self, rest: &str) -> Outcome<()> {
        let paths = match json_array(rest) {
            Some(paths) => paths,
            None => words::split(rest)?,
        };
        for path in paths {
            let path = self.expand(&path)?;
            if path.is_empty() {
                return Err("a volume needs a path".into());
            }
            self.volumes.insert(path);
        }
        Ok(())
    }

    /// Sets the working folder; a relative one is below the one before.
    ///
    /// # Errors
    /// None: every path can be one.
    pub fn change_dir(&mut self, path: &str) -> Outcome<()> {
        let base = self.working_dir.as_deref().unwrap_or("/");
        let joined = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{base}/{path}")
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in joined.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        self.working_dir = Some(format!("/{}", parts.join("/")));
        Ok(())
    }
}

fn json_array(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') {
        serde_json::from_str(text).ok()
    } else {
        None
    }
}

fn single(text: String, keyword: &str) -> Outcome<String> {
    if text.is_empty() || text.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(format!("{keyword} needs exactly one word"));
    }
    Ok(text)
}

fn on_build(rest: &str) -> Outcome<String> {
    let keyword = rest
        .split_ascii_whitespace()
        .next()
        .unwrap_or_default()
        .to_ascii_uppercase();
    match keyword.as_str() {
        "ONBUILD" | "FROM" | "MAINTAINER" => Err(format!("{keyword} is not allowed after ONBUILD")),
        _ => Ok(rest.to_owned()),
    }
}

/// A signal by number or name, as signal(7) has them.
fn signal(text: &str) -> Outcome<String> {
    const NAMES: &str = "ABRT ALRM BUS CHLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV \
        STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ";
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign| {
        rest.is_empty()
            || rest
                .strip_prefix(sign)
                .is_some_and(|n: &str| n.parse::<u8>().is_ok_and(|n| n <= 30))
    };
    let realtime = name
        .strip_prefix("RTMIN")
        .is_some_and(|rest| offset(rest, '+'))
        || name
            .strip_prefix("RTMAX")
            .is_some_and(|rest| offset(rest, '-'));
    let number = text.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n));
    if number || realtime || NAMES.split_ascii_whitespace().any(|known| known == name) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a signal"))
    }
}

#[cfg(test)]
mod tests;
