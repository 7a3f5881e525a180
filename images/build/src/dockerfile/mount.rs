//! `RUN --mount`.

/// `RUN --mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What kind.
    pub kind: MountKind,
    /// Where; nothing where the kind has a place of its own.
    pub target: Option<String>,
    /// Can't be written to.
    pub readonly: bool,
}

/// Kinds of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context or another stage; changes are lost.
    Bind {
        /// The stage, build context or image; the context if there is none.
        from: Option<String>,
        /// The path there.
        source: String,
    },
    /// A folder that stays from build to build.
    Cache {
        /// Its name; the target if there is none.
        id: Option<String>,
        /// How several builds use it.
        sharing: Sharing,
        /// What it begins with.
        from: Option<String>,
        /// The path there.
        source: String,
        /// Mode of the new folder.
        mode: u32,
        /// Owner of the new folder.
        uid: u32,
        /// Group of the new folder.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Bytes.
        size: Option<u64>,
    },
    /// A secret of the build as a file.
    Secret {
        /// Its name.
        id: String,
        /// The variable that gets it, too.
        env: Option<String>,
        /// It must be there.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// The socket of an agent of SSH keys.
    Ssh {
        /// Its name.
        id: String,
        /// It must be there.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// How several builds use one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// At once.
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

impl Mount {
    /// Reads the value of a `--mount`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Mount, String> {
        let mut fields = Fields::of(text)?;
        let kind = fields.take("type")?.unwrap_or_else(|| "bind".into());
        let target = fields.any(&["target", "dst", "destination"])?;
        let mut readonly = fields.switch(&["readonly", "ro"])?;
        let writable = fields.switch(&["readwrite", "rw"])?;
        if readonly.is_none() {
            readonly = writable.map(|writable| !writable);
        }
        let mut needs_target = true;
        let kind = match kind.as_str() {
            "bind" => MountKind::Bind {
                from: fields.take("from")?,
                source: fields.any(&["source", "src"])?.unwrap_or_default(),
            },
            "cache" => MountKind::Cache {
                id: fields.take("id")?,
                sharing: match fields.take("sharing")?.as_deref() {
                    None | Some("shared") => Sharing::Shared,
                    Some("private") => Sharing::Private,
                    Some("locked") => Sharing::Locked,
                    Some(other) => {
                        return Err(format!(
                            "sharing is shared, private or locked, not {other:?}"
                        ));
                    }
                },
                from: fields.take("from")?,
                source: fields.any(&["source", "src"])?.unwrap_or_default(),
                mode: fields.octal("mode")?.unwrap_or(0o755),
                uid: fields.number("uid")?.unwrap_or(0),
                gid: fields.number("gid")?.unwrap_or(0),
            },
            "tmpfs" => MountKind::Tmpfs {
                size: match fields.take("size")? {
                    Some(text) => Some(size(&text).ok_or(format!("{text:?} is no size"))?),
                    None => None,
                },
            },
            "secret" => {
                needs_target = false;
                let id = fields.take("id")?;
                let name = |path: &String| path.rsplit('/').next().map(str::to_owned);
                MountKind::Secret {
                    id: id
                        .or_else(|| target.as_ref().and_then(name))
                        .ok_or("a secret needs id= or target=")?,
                    env: fields.take("env")?,
                    required: fields.switch(&["required"])?.unwrap_or(false),
                    mode: fields.octal("mode")?.unwrap_or(0o400),
                    uid: fields.number("uid")?.unwrap_or(0),
                    gid: fields.number("gid")?.unwrap_or(0),
                }
            }
            "ssh" => {
                needs_target = false;
                MountKind::Ssh {
                    id: fields.take("id")?.unwrap_or_else(|| "default".into()),
                    required: fields.switch(&["required"])?.unwrap_or(false),
                    mode: fields.octal("mode")?.unwrap_or(0o600),
                    uid: fields.number("uid")?.unwrap_or(0),
                    gid: fields.number("gid")?.unwrap_or(0),
                }
            }
            other => {
                return Err(format!(
                    "type is bind, cache, tmpfs, secret or ssh, not {other:?}"
                ));
            }
        };
        if needs_target && target.is_none() {
            return Err("it needs target=".into());
        }
        if let Some((name, _)) = fields.0.first() {
            return Err(format!("this type has no {name}="));
        }
        let default = matches!(kind, MountKind::Bind { .. });
        Ok(Mount {
            kind,
            target,
            readonly: readonly.unwrap_or(default),
        })
    }
}

/// `name=value` with commas between; a value in double quotes may hold some.
struct Fields(Vec<(String, Option<String>)>);

impl Fields {
    fn of(text: &str) -> Result<Fields, String> {
        let mut parts = vec![String::new()];
        let mut quoted = false;
        for c in text.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => parts.push(String::new()),
                c => parts.last_mut().map_or((), |part| part.push(c)),
            }
        }
        if quoted {
            return Err("a quote is not closed".into());
        }
        let mut fields: Vec<(String, Option<String>)> = Vec::new();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.to_ascii_lowercase(), Some(value.to_owned())),
                None => (part.to_ascii_lowercase(), None),
            };
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(format!("{name} stands there twice"));
            }
            fields.push((name, value));
        }
        Ok(Fields(fields))
    }

    fn find(&mut self, name: &str) -> Option<Option<String>> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    fn take(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.find(name) {
            None => Ok(None),
            Some(Some(value)) if !value.is_empty() => Ok(Some(value)),
            Some(_) => Err(format!("{name} needs a value")),
        }
    }

    fn any(&mut self, names: &[&str]) -> Result<Option<String>, String> {
        let mut found = None;
        for name in names {
            if let Some(value) = self.take(name)? {
                found.get_or_insert(value);
            }
        }
        Ok(found)
    }

    fn switch(&mut self, names: &[&str]) -> Result<Option<bool>, String> {
        for name in names {
            match self.find(name) {
                None => {}
                Some(None) => return Ok(Some(true)),
                Some(Some(value)) => match value.as_str() {
                    "true" | "1" => return Ok(Some(true)),
                    "false" | "0" => return Ok(Some(false)),
                    other => return Err(format!("{name} is true or false, not {other:?}")),
                },
            }
        }
        Ok(None)
    }

    fn octal(&mut self, name: &str) -> Result<Option<u32>, String> {
        let Some(text) = self.take(name)? else {
            return Ok(None);
        };
        let mode = u32::from_str_radix(&text, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777);
        mode.map(Some)
            .ok_or(format!("{name} {text:?} is no octal mode"))
    }

    fn number(&mut self, name: &str) -> Result<Option<u32>, String> {
        let Some(text) = self.take(name)? else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| *number != u32::MAX);
        number
            .map(Some)
            .ok_or(format!("{name} {text:?} is no number of an owner"))
    }
}

/// Bytes, with a unit if wanted.
fn size(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit
        .to_ascii_lowercase()
        .trim_end_matches("ib")
        .trim_end_matches('b')
    {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let bind = |from: Option<&str>, source: &str| MountKind::Bind {
            from: from.map(str::to_owned),
            source: source.into(),
        };
        let mount = Mount::parse("type=bind,from=base,src=/a,target=/b,rw").unwrap();
        assert_eq!(mount.kind, bind(Some("base"), "/a"));
        assert!(!mount.readonly);
        assert!(Mount::parse("target=/b").unwrap().readonly);
        let cache = Mount::parse("type=cache,target=/c,sharing=locked,mode=0700,uid=5").unwrap();
        assert!(matches!(
            cache.kind,
            MountKind::Cache {
                sharing: Sharing::Locked,
                mode: 0o700,
                uid: 5,
                ..
            }
        ));
        let secret = Mount::parse("type=secret,target=/run/x/key,env=KEY,required").unwrap();
        assert!(matches!(
            secret.kind,
            MountKind::Secret { id, env: Some(_), required: true, mode: 0o400, .. } if id == "key"
        ));
        assert_eq!(
            Mount::parse("type=tmpfs,target=/t,size=16m").unwrap().kind,
            MountKind::Tmpfs {
                size: Some(16 << 20)
            }
        );
        for wrong in [
            "type=bind",
            "type=odd,target=/x",
            "type=tmpfs,target=/x,id=y",
            "type=cache,target=/x,mode=9",
            "type=cache,target=/x,sharing=y",
            "target=/x,target=/y",
            "type=secret",
            "target=/x,ro=maybe",
        ] {
            assert!(Mount::parse(wrong).is_err(), "{wrong}");
        }
    }
}
