//! Docker's `config.json`: who to be on which registry.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::helper;
use crate::error::{Error, Result};
use crate::reference::DEFAULT_DOMAIN;

/// Under which Docker keeps its own registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// How to show who one is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and a password.
    Password {
        /// Name.
        user: String,
        /// Password or access token.
        password: String,
    },
    /// A token that the registry's token server takes for new tokens (OAuth 2
    /// refresh token).
    IdentityToken(String),
    /// A token that the registry itself takes.
    RegistryToken(String),
}

// Secrets are not shown, whoever prints it.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::IdentityToken(_) => "IdentityToken",
            Self::RegistryToken(_) => "RegistryToken",
        })
    }
}

/// The file, as far as registries are concerned.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    path: Option<PathBuf>,
    content: Content,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Content {
    auths: BTreeMap<String, Auth>,
    #[serde(rename = "credsStore")]
    creds_store: Option<String>,
    #[serde(rename = "credHelpers")]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth")
    }
}

/// Where credentials were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptIn {
    /// A file that holds them as they are.
    File(PathBuf),
    /// A credential helper.
    Helper(String),
}

impl DockerConfig {
    /// Reads `$DOCKER_CONFIG/config.json`, or `~/.docker/config.json`. One that
    /// is not there is empty.
    pub fn load(env: &BTreeMap<String, String>) -> Result<Self> {
        let set = |name: &str| env.get(name).filter(|value| !value.is_empty());
        let folder = match (set("DOCKER_CONFIG"), set("HOME")) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(home)) => Path::new(home).join(".docker"),
            (None, None) => return Ok(Self::default()),
        };
        let path = folder.join("config.json");
        let content = match fs::read(&path) {
            Ok(text) if text.trim_ascii().is_empty() => Content::default(),
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|e| Error::document(path.display().to_string(), e))?,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Content::default()
            }
            Err(e) => return Err(Error::io("read", &path, e)),
        };
        Ok(Self {
            path: Some(path),
            content,
        })
    }

    /// Who to be on a registry: what its own helper says, or the helper for
    /// all, or the file.
    pub fn credentials(&self, domain: &str) -> Result<Option<Credentials>> {
        if let Some(helper) = self.helper(domain) {
            let found = helper::get(helper, &server(domain))?;
            if found.is_some() || self.has_own_helper(domain) {
                return Ok(found);
            }
        }
        let known = self.content.auths.iter();
        let mut known = known.filter(|(key, _)| host_of(key) == domain);
        match known.next() {
            Some((key, auth)) => auth.read().map_err(|why| {
                let path = self.path.as_deref().unwrap_or(Path::new("config.json"));
                Error::Credentials(format!("{}: auths.{key:?}: {why}", path.display()))
            }),
            None => Ok(None),
        }
    }

    fn helper(&self, domain: &str) -> Option<&String> {
        let own = self.content.cred_helpers.iter();
        let mut own = own.filter(|(key, _)| host_of(key) == domain);
        own.next()
            .map(|(_, helper)| helper)
            .or(self.content.creds_store.as_ref())
            .filter(|helper| !helper.is_empty())
    }

    fn has_own_helper(&self, domain: &str) -> bool {
        let mut keys = self.content.cred_helpers.keys();
        keys.any(|key| host_of(key) == domain)
    }

    /// Keeps them for next time, by the helper if there is one.
    pub fn keep(&self, domain: &str, credentials: &Credentials) -> Result<KeptIn> {
        if let Some(helper) = self.helper(domain) {
            helper::store(helper, &server(domain), credentials)?;
            return Ok(KeptIn::Helper(helper.clone()));
        }
        let auth = match credentials {
            Credentials::Password { user, password } => {
                json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
            }
            Credentials::IdentityToken(token) => json!({ "identitytoken": token }),
            Credentials::RegistryToken(token) => json!({ "registrytoken": token }),
        };
        let path = self.change(|auths| {
            auths.retain(|key, _| host_of(key) != domain);
            auths.insert(server(domain), auth);
        })?;
        Ok(KeptIn::File(path))
    }

    /// Forgets them; tells whether there were any.
    pub fn forget(&self, domain: &str) -> Result<bool> {
        let mut known = match self.helper(domain) {
            Some(helper) => helper::erase(helper, &server(domain))?,
            None => false,
        };
        if self.content.auths.keys().any(|key| host_of(key) == domain) {
            known = true;
            self.change(|auths| auths.retain(|key, _| host_of(key) != domain))?;
        }
        Ok(known)
    }

    /// Changes `auths` in the file as it is now; all else in it stays.
    fn change(&self, change: impl FnOnce(&mut Map<String, Value>)) -> Result<PathBuf> {
        let Some(path) = &self.path else {
            let message = "neither DOCKER_CONFIG nor HOME tells where to keep logins";
            return Err(Error::Credentials(message.into()));
        };
        let malformed = |why: &str| Error::document(path.display().to_string(), why);
        let mut whole = match fs::read(path) {
            Ok(text) if text.trim_ascii().is_empty() => json!({}),
            Ok(text) => serde_json::from_slice(&text).map_err(|e| malformed(&e.to_string()))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => json!({}),
            Err(e) => return Err(Error::io("read", path, e)),
        };
        let object = whole
            .as_object_mut()
            .ok_or_else(|| malformed("not an object"))?;
        let auths = object.entry("auths").or_insert_with(|| json!({}));
        change(
            auths
                .as_object_mut()
                .ok_or_else(|| malformed("auths is not an object"))?,
        );
        let mut text = serde_json::to_vec_pretty(&whole).map_err(|e| malformed(&e.to_string()))?;
        text.push(b'\n');
        write_private(path, &text)?;
        Ok(path.clone())
    }
}

impl Auth {
    fn read(&self) -> std::result::Result<Option<Credentials>, &'static str> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.registrytoken) {
            return Ok(Some(Credentials::RegistryToken(token)));
        }
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credentials::IdentityToken(token)));
        }
        if let Some(auth) = filled(&self.auth) {
            let bytes = STANDARD
                .decode(auth.trim())
                .map_err(|_| "auth is not base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "auth is not text")?;
            let (user, password) = text.split_once(':').ok_or("auth has no colon")?;
            return Ok(Some(Credentials::Password {
                user: user.to_owned(),
                // Docker once padded it with zeros.
                password: password.trim_end_matches('\0').to_owned(),
            }));
        }
        match (filled(&self.username), &self.password) {
            (Some(user), Some(password)) => Ok(Some(Credentials::Password {
                user,
                password: password.clone(),
            })),
            _ => Ok(None),
        }
    }
}

/// The key of a registry in `auths` and with helpers.
fn server(domain: &str) -> String {
    match domain {
        DEFAULT_DOMAIN => HUB_KEY.to_owned(),
        other => other.to_owned(),
    }
}

/// The registry that a key means: old ones have a scheme and a path.
fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or(key.strip_prefix("http://"));
    let host = rest.unwrap_or(key).split('/').next().unwrap_or_default();
    match host {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_DOMAIN,
        other => other,
    }
}

/// Others see the old file or the new one, and only its owner may read it.
fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    // A link is kept: people have this file in a repository of their own.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let temp = folder.join(format!(".config.json.{}", std::process::id()));
    let mut options = fs::File::options();
    let written = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temp)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temp, path));
    written.map_err(|e| {
        let _ = fs::remove_file(&temp);
        Error::io("write", path, e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password {
            user: user.into(),
            password: password.into(),
        }
    }

    fn config(folder: &Path, text: &str) -> DockerConfig {
        fs::write(folder.join("config.json"), text).unwrap();
        load(folder).unwrap()
    }

    fn load(folder: &Path) -> Result<DockerConfig> {
        let folder = folder.to_str().unwrap().to_owned();
        DockerConfig::load(&BTreeMap::from([("DOCKER_CONFIG".to_owned(), folder)]))
    }

    #[test]
    fn all_forms_of_an_entry_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            r#"{{"auths": {{
                "a.io": {{"auth": "{}"}},
                "https://b.io:5000/v1/": {{"username": "u", "password": "p"}},
                "c.io": {{"identitytoken": "t", "auth": "AAAA"}},
                "d.io": {{"registrytoken": "r"}},
                "e.io": {{}},
                "{HUB_KEY}": {{"auth": "{}"}}
            }}, "other": 1}}"#,
            STANDARD.encode("user:pass:word"),
            STANDARD.encode("hub:x\0\0"),
        );
        let config = config(dir.path(), &text);
        for (domain, expected) in [
            ("a.io", Some(password("user", "pass:word"))),
            ("b.io:5000", Some(password("u", "p"))),
            ("b.io", None),
            ("c.io", Some(Credentials::IdentityToken("t".into()))),
            ("d.io", Some(Credentials::RegistryToken("r".into()))),
            ("e.io", None),
            ("docker.io", Some(password("hub", "x"))),
        ] {
            assert_eq!(config.credentials(domain).unwrap(), expected, "{domain}");
        }
    }

    #[test]
    fn broken_entries_are_an_error_without_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        for auth in ["c2VjcmV0", "%%%secret"] {
            let text = format!(r#"{{"auths": {{"a.io": {{"auth": "{auth}"}}}}}}"#);
            let error = config(dir.path(), &text).credentials("a.io").unwrap_err();
            let text = error.to_string();
            assert!(text.contains("a.io") && !text.contains("ecret"), "{text}");
        }
        fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(load(dir.path()).is_err());
    }

    #[test]
    fn logins_are_kept_privately_and_all_else_stays() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        let kept = load(&folder)
            .unwrap()
            .keep("a.io", &password("u", "p"))
            .unwrap();
        let path = folder.join("config.json");
        assert_eq!(kept, KeptIn::File(path.clone()));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text = r#"{"proxies": {"x": 1}, "auths": {"https://a.io/v2/": {"auth": "b2xkOm9sZA=="}, "z.io": {}}}"#;
        let before = config(&folder, text);
        before.keep("a.io", &password("u", "p")).unwrap();
        let after = load(&folder).unwrap();
        assert_eq!(after.credentials("a.io").unwrap(), Some(password("u", "p")));
        let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(whole["proxies"]["x"], 1);
        assert_eq!(whole["auths"].as_object().unwrap().len(), 2);
        assert!(after.forget("a.io").unwrap());
        assert!(!load(&folder).unwrap().forget("a.io").unwrap());
        assert_eq!(load(&folder).unwrap().credentials("a.io").unwrap(), None);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "only the file");
    }

    #[test]
    fn names_of_helpers_lead_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), r#"{"credsStore": "../../bin/sh"}"#);
        let error = config.credentials("a.io").unwrap_err();
        assert!(error.to_string().contains("not the name"), "{error}");
    }
}
