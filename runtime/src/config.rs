//! The user's settings: which wall, and what is taken when a flag is not given.
//!
//! A file in TOML: the one that `ISOLA_CONFIG` names, or else
//! `/etc/isola/config.toml` and over it `~/.config/isola/config.toml`:
//!
//! ```toml
//! isolation = ["vm", "emulated"]   # or one word; the first that works is taken
//! emulate-vm = true                # `vm` may mean `emulated` where KVM runs no guest
//! stop-timeout = 10                # seconds
//! detach-keys = "ctrl-p,ctrl-q"
//! network = "default"              # of those who name none
//!
//! [guest]
//! memory = "512m"
//! cpus = 1
//! disk = "10g"
//!
//! [log]
//! driver = "json-file"
//! max-size = "64m"
//! max-file = 2
//!
//! [registry]                       # isola_images::registry::RegistrySettings
//! timeout = 30
//!
//! [registry.hosts."docker.io"]
//! mirrors = ["mirror.example.org"]
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use isola_images::registry::RegistrySettings;
use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use crate::workload::{Isolation, Options, WallCapabilities, parse_size};

/// The file that holds for all users of the host.
pub const SYSTEM_FILE: &str = "/etc/isola/config.toml";

/// Settings; what is absent has the tool's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Walls, the first that works is taken.
    pub isolation: Option<OneOrMore>,
    /// Where KVM can't run a guest, `vm` may mean `emulated`.
    pub emulate_vm: Option<bool>,
    /// Seconds between the stop signal and SIGKILL; -1 waits for ever.
    pub stop_timeout: Option<i64>,
    /// Keys that detach a terminal, as `ctrl-p,ctrl-q`.
    pub detach_keys: Option<String>,
    /// The network of an instance whose user names none; as `--network`.
    pub network: Option<String>,
    /// Sizes of guests.
    pub guest: GuestConfig,
    /// Logs.
    pub log: LogConfig,
    /// Registries.
    pub registry: RegistrySettings,
}

/// Sizes of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GuestConfig {
    /// RAM, as `512m`.
    pub memory: Option<String>,
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// Writable layer, as `10g`.
    pub disk: Option<String>,
}

/// Logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogConfig {
    /// `json-file` or `none`.
    pub driver: Option<String>,
    /// Rotate at this size, as `64m`.
    pub max_size: Option<String>,
    /// Files kept.
    pub max_file: Option<u32>,
}

/// A word or a list of words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One word; it may be a list between commas.
    One(String),
    /// A list.
    More(Vec<String>),
}

impl Config {
    /// Reads the settings of whoever has this environment.
    ///
    /// # Errors
    /// A file that can't be read, is not TOML, has a key that is not known, or a
    /// value that makes no sense; file and line are named.
    pub fn load(env: &BTreeMap<String, String>) -> Result<Config> {
        let named = env.get("ISOLA_CONFIG").filter(|path| !path.is_empty());
        if let Some(path) = named {
            let path = Path::new(path);
            let text = fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
            return Config::parse(&text, path);
        }
        let folder = match (env.get("XDG_CONFIG_HOME"), env.get("HOME")) {
            (Some(folder), _) if folder.starts_with('/') => Some(PathBuf::from(folder)),
            (_, Some(home)) if home.starts_with('/') => Some(Path::new(home).join(".config")),
            _ => None,
        };
        let own = folder.map(|folder| folder.join("isola/config.toml"));
        let mut config = Config::default();
        for path in [Some(PathBuf::from(SYSTEM_FILE)), own]
            .into_iter()
            .flatten()
        {
            match fs::read_to_string(&path) {
                Ok(text) => config = Config::parse(&text, &path)?.over(config),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => return Err(Error::io("read", &path, error)),
            }
        }
        Ok(config)
    }

    /// Settings from text; `path` is for errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Config> {
        let config: Config = toml::from_str(text).map_err(|error| {
            // The first line says what is wrong; the place is given in front.
            let why = error
                .message()
                .lines()
                .next()
                .unwrap_or("not TOML")
                .to_owned();
            let line = line_of(text, error.span());
            Error::new(Kind::Invalid, format!("{}:{line}: {why}", path.display()))
        })?;
        config.check().map_err(|error| Error {
            message: format!("{}: {}", path.display(), error.message),
            ..error
        })?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        self.walls()?;
        let registry = self.registry.check();
        registry.map_err(|why| Error::new(Kind::Invalid, why))?;
        let sizes = [
            ("guest.memory", &self.guest.memory),
            ("guest.disk", &self.guest.disk),
            ("log.max-size", &self.log.max_size),
        ];
        for (key, value) in sizes {
            if let Some(text) = value {
                parse_size(text)
                    .map_err(|why| Error::new(Kind::Invalid, format!("{key} {text:?}: {why}")))?;
            }
        }
        if self.guest.cpus == Some(0) {
            return Err(Error::new(
                Kind::Invalid,
                "guest.cpus 0: a guest needs at least one",
            ));
        }
        Ok(())
    }

    /// These settings, and `other`'s where these say nothing.
    fn over(self, other: Config) -> Config {
        Config {
            isolation: self.isolation.or(other.isolation),
            emulate_vm: self.emulate_vm.or(other.emulate_vm),
            stop_timeout: self.stop_timeout.or(other.stop_timeout),
            detach_keys: self.detach_keys.or(other.detach_keys),
            network: self.network.or(other.network),
            guest: GuestConfig {
                memory: self.guest.memory.or(other.guest.memory),
                cpus: self.guest.cpus.or(other.guest.cpus),
                disk: self.guest.disk.or(other.guest.disk),
            },
            log: LogConfig {
                driver: self.log.driver.or(other.log.driver),
                max_size: self.log.max_size.or(other.log.max_size),
                max_file: self.log.max_file.or(other.log.max_file),
            },
            registry: self.registry.over(other.registry),
        }
    }

    fn walls(&self) -> Result<Vec<Isolation>> {
        match &self.isolation {
            None => Ok(Vec::new()),
            Some(OneOrMore::One(text)) => Isolation::parse_list("isolation", text),
            Some(OneOrMore::More(words)) => Isolation::parse_list("isolation", &words.join(",")),
        }
    }

    /// The walls to try, best first: what the flag says, else ISOLA_ISOLATION,
    /// else the settings, else a container.
    ///
    /// # Errors
    /// A word that is no wall.
    pub fn choose(
        &self,
        flag: Option<&str>,
        env: &BTreeMap<String, String>,
    ) -> Result<Vec<Isolation>> {
        let variable = env.get("ISOLA_ISOLATION").filter(|text| !text.is_empty());
        let mut walls = match (flag, variable) {
            (Some(text), _) => Isolation::parse_list("--isolation", text)?,
            (None, Some(text)) => Isolation::parse_list("ISOLA_ISOLATION", text)?,
            (None, None) => self.walls()?,
        };
        if walls.is_empty() {
            walls.push(Isolation::Container);
        }
        let at = walls.iter().position(|wall| *wall == Isolation::Vm);
        if let Some(at) =
            at.filter(|_| self.emulate_vm == Some(true) && !walls.contains(&Isolation::Emulated))
        {
            walls.insert(at + 1, Isolation::Emulated);
        }
        Ok(walls)
    }

    /// Fills in what the user did not say. ISOLA_NETWORK goes before the settings.
    pub fn fill(&self, options: &mut Options, env: &BTreeMap<String, String>) {
        options.stop_timeout = options.stop_timeout.or(self.stop_timeout);
        if options.network.is_empty() {
            let variable = env.get("ISOLA_NETWORK").filter(|text| !text.is_empty());
            options
                .network
                .extend(variable.or(self.network.as_ref()).cloned());
        }
        // A driver named by flag starts afresh: other drivers have other options.
        if options.log_driver.is_some() {
            return;
        }
        options.log_driver.clone_from(&self.log.driver);
        let mut settings = Vec::new();
        settings.extend(
            self.log
                .max_size
                .as_ref()
                .map(|size| format!("max-size={size}")),
        );
        settings.extend(self.log.max_file.map(|count| format!("max-file={count}")));
        settings.append(&mut options.log_opt);
        options.log_opt = settings;
    }

    /// The table of a wall with the settings' sizes in place of the tool's.
    #[must_use]
    pub fn adjust(&self, mut wall: WallCapabilities) -> WallCapabilities {
        let size = |text: &Option<String>| text.as_deref().and_then(|text| parse_size(text).ok());
        let defaults = &mut wall.defaults;
        if wall.own_kernel {
            defaults.memory = size(&self.guest.memory).or(defaults.memory);
            defaults.vcpus = self.guest.cpus.or(defaults.vcpus);
            defaults.disk = size(&self.guest.disk).or(defaults.disk);
        }
        wall
    }
}

/// The number of the line in which a span starts.
fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start.min(text.len()));
    text.as_bytes()[..start]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text, Path::new("c.toml"))
    }

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn errors_name_file_and_line() {
        let table = [
            (
                "isolation = \"vm\"\nisolaton = 1\n",
                "c.toml:2: unknown field `isolaton`",
            ),
            ("\n\nisolation = \n", "c.toml:3: "),
            ("[guest]\nmemory = 5\n", "c.toml:2: "),
            (
                "isolation = \"jail\"",
                "c.toml: isolation \"jail\": no such wall",
            ),
            ("isolation = []", "c.toml: isolation \"\": no such wall"),
            (
                "[guest]\nmemory = \"lots\"",
                "c.toml: guest.memory \"lots\": not a size",
            ),
            ("[guest]\ncpus = 0", "c.toml: guest.cpus 0"),
        ];
        for (text, start) in table {
            let error = parse(text).expect_err(text);
            assert!(error.message.starts_with(start), "{text:?}: {error}");
            assert!(!error.message.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_nearest_word_chooses_the_wall() {
        use Isolation::{Container, Emulated, Vm};
        let none = Config::default();
        let list = parse("isolation = [\"vm\", \"container\"]\nemulate-vm = true").unwrap();
        let variable = env(&[("ISOLA_ISOLATION", "emulated")]);
        assert_eq!(none.choose(None, &env(&[])).unwrap(), [Container]);
        assert_eq!(
            none.choose(None, &env(&[("ISOLA_ISOLATION", "")])).unwrap(),
            [Container]
        );
        assert_eq!(none.choose(Some("vm"), &variable).unwrap(), [Vm]);
        assert_eq!(
            none.choose(Some("vm, emulated"), &variable).unwrap(),
            [Vm, Emulated]
        );
        assert_eq!(none.choose(None, &variable).unwrap(), [Emulated]);
        assert_eq!(list.choose(None, &variable).unwrap(), [Emulated]);
        assert_eq!(
            list.choose(None, &env(&[])).unwrap(),
            [Vm, Emulated, Container]
        );
        assert_eq!(
            list.choose(Some("emulated,vm"), &env(&[])).unwrap(),
            [Emulated, Vm]
        );
        for text in ["", "jail", "vm,", "VM"] {
            assert!(none.choose(Some(text), &env(&[])).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_fill_in_what_is_not_said() {
        let config = parse("stop-timeout = 3\nnetwork = \"lan\"\n[log]\nmax-size = \"1m\"\nmax-file = 7\n[guest]\nmemory = \"1g\"\ncpus = 2").unwrap();
        let mut options = Options {
            log_opt: vec!["max-file=2".to_owned()],
            ..Options::default()
        };
        config.fill(&mut options, &env(&[]));
        assert_eq!(options.stop_timeout, Some(3));
        assert_eq!(options.network, ["lan"]);
        assert_eq!(options.log_opt, ["max-size=1m", "max-file=7", "max-file=2"]);
        let mut options = Options {
            log_driver: Some("none".to_owned()),
            ..Options::default()
        };
        options.network = vec!["none".to_owned()];
        let variable = env(&[("ISOLA_NETWORK", "other")]);
        config.fill(&mut options, &variable);
        assert!(options.log_opt.is_empty());
        assert_eq!(options.network, ["none"]);
        options.network.clear();
        config.fill(&mut options, &variable);
        assert_eq!(options.network, ["other"]);
        let vm = config.adjust(WallCapabilities::of(Isolation::Vm)).defaults;
        assert_eq!(
            (vm.memory, vm.vcpus, vm.disk),
            (Some(1 << 30), Some(2), Some(10 << 30))
        );
        let container = WallCapabilities::of(Isolation::Container);
        assert_eq!(config.adjust(container.clone()), container);
    }

    #[test]
    fn files_are_found_and_laid_over_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        assert!(Config::load(&env(&[("ISOLA_CONFIG", &format!("{home}/nosuch"))])).is_err());
        fs::create_dir_all(folder.path().join(".config/isola")).unwrap();
        fs::write(
            folder.path().join(".config/isola/config.toml"),
            "stop-timeout = 4\n",
        )
        .unwrap();
        assert_eq!(
            Config::load(&env(&[("HOME", home)])).unwrap().stop_timeout,
            Some(4)
        );
        let file = folder.path().join("own.toml");
        fs::write(&file, "stop-timeout = 5\n").unwrap();
        let named = env(&[("HOME", home), ("ISOLA_CONFIG", file.to_str().unwrap())]);
        assert_eq!(Config::load(&named).unwrap().stop_timeout, Some(5));
        let both = parse("stop-timeout = 1")
            .unwrap()
            .over(parse("stop-timeout = 2\n[guest]\ncpus = 3").unwrap());
        assert_eq!((both.stop_timeout, both.guest.cpus), (Some(1), Some(3)));
    }
}
