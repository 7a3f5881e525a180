//! Image names as Docker has them.
//!
//! Grammar: the `reference` package of the distribution project,
//! `[domain/]path[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The domain that a name without one gets.
pub const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Longest repository name that the grammar allows, domain included.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised image name: `debian` is `docker.io/library/debian:latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry: a host name, with its port if one was given.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path on the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag. A name with neither tag nor digest gets `latest`.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of a manifest.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The repository in the short form that users write: `debian`,
    /// `isola/demo`, `localhost:5000/app`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            // `library/a/b` must keep its prefix, or it would mean `a/b`.
            Some(rest) if !rest.contains('/') => rest.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The whole name in the short form: `debian:latest`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// Reads the name of a repository, for which a tag or digest is too much.
    ///
    /// # Errors
    /// It is no name, or it has a tag or a digest.
    pub fn repository(text: &str) -> Result<Self> {
        let last = text.rsplit('/').next().unwrap_or(text);
        match last.contains([':', '@']) {
            true => Err(Error::Reference {
                input: text.to_owned(),
                reason: "a tag or digest makes no sense where all tags are meant".into(),
            }),
            false => text.parse(),
        }
    }

    /// Whether both are of one repository.
    pub fn is_beside(&self, other: &Self) -> bool {
        (&self.domain, &self.path) == (&other.domain, &other.path)
    }

    /// The same repository under another tag and without a digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self> {
        check_tag(tag).map_err(|reason| Error::Reference {
            input: tag.to_owned(),
            reason,
        })?;
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// The name without its digest, if a tag is left: what the store's index
    /// holds.
    pub fn without_digest(&self) -> Self {
        Self {
            digest: None,
            ..self.clone()
        }
    }

    /// The name without its tag: for one with a digest.
    pub(crate) fn without_tag(&self) -> Self {
        Self {
            tag: None,
            ..self.clone()
        }
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(format!("{}/{}", self.domain, self.path)))
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        parse(input).map_err(|reason| Error::Reference {
            input: input.to_owned(),
            reason,
        })
    }
}

fn parse(input: &str) -> std::result::Result<Reference, String> {
    if input.is_empty() {
        return Err("it is empty".into());
    }
    let (rest, digest) = match input.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest.parse::<Digest>();
            let reason = "a digest is `sha256:` and 64 lower-case hexadecimal digits";
            (rest, Some(digest.map_err(|_| reason.to_owned())?))
        }
        None => (input, None),
    };
    // A colon after the last slash begins the tag; before it, a port.
    let (name, tag) = match rest.rfind(':') {
        Some(at) if !rest[at..].contains('/') => (&rest[..at], Some(&rest[at + 1..])),
        _ => (rest, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (domain, path) = split_domain(name);
    check_domain(domain)?;
    check_path(&path)?;
    if domain.len() + 1 + path.len() > MAX_NAME {
        return Err(format!("it is longer than {MAX_NAME} bytes"));
    }
    if domain == DEFAULT_DOMAIN && path.len() == 64 + OFFICIAL_PREFIX.len() {
        let name = &path[OFFICIAL_PREFIX.len()..];
        if Digest::from_hex(name).is_some() {
            return Err("64 hexadecimal digits would be mistaken for an id".into());
        }
    }
    let tag = match (tag, digest) {
        (Some(tag), _) => Some(tag.to_owned()),
        (None, None) => Some(DEFAULT_TAG.to_owned()),
        (None, Some(_)) => None,
    };
    Ok(Reference {
        domain: domain.to_owned(),
        path,
        tag,
        digest,
    })
}

/// The first component is a domain when it looks like one (a dot, a port,
/// `localhost`, an upper-case letter), and else part of the path.
fn split_domain(name: &str) -> (&str, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain, format!("{OFFICIAL_PREFIX}{path}"));
    }
    (domain, path.to_owned())
}

fn check_domain(domain: &str) -> std::result::Result<(), String> {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let Some((address, tail)) = rest.split_once(']') else {
                return Err("its registry has a `[` without `]`".into());
            };
            if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
                return Err(format!("`[{address}]` is not an IPv6 address"));
            }
            if !tail.is_empty() && !tail.starts_with(':') {
                return Err(format!("`{domain}` is not a registry"));
            }
            (None, tail.strip_prefix(':'))
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if host.is_some_and(|host| !host.split('.').all(label)) {
        return Err(format!("`{domain}` is not a registry's host name"));
    }
    match port {
        Some(port) if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) => {
            Err(format!("`{port}` is not a port"))
        }
        Some(port) if port.parse::<u16>().is_err() => Err(format!("`{port}` is not a port")),
        _ => Ok(()),
    }
}

fn check_path(path: &str) -> std::result::Result<(), String> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("a repository's name must be lower case".into());
    }
    for component in path.trim_start_matches(OFFICIAL_PREFIX).split('/') {
        if component.is_empty() {
            return Err("it has an empty component".into());
        }
        if !valid_component(component) {
            return Err(format!(
                "`{component}` may hold a-z and 0-9, joined by `.`, `_`, `__` or any number of `-`"
            ));
        }
    }
    Ok(())
}

fn valid_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes
        .split(|&b| alphanumeric(b))
        .all(|run| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|&b| b == b'-'))
}

/// Whether it can be a tag.
pub(crate) fn is_tag(text: &str) -> bool {
    check_tag(text).is_ok()
}

fn check_tag(tag: &str) -> std::result::Result<(), String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let valid = tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if valid {
        Ok(())
    } else {
        Err(format!("`{tag}` is not a tag"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn repositories_have_no_tag() {
        for text in ["debian", "localhost:5000/app", "a.b/c/d"] {
            assert!(Reference::repository(text).is_ok(), "{text}");
        }
        let digest = format!("a@sha256:{HEX}");
        for text in ["debian:12", "localhost:5000/app:1", digest.as_str(), "A b"] {
            assert!(Reference::repository(text).is_err(), "{text}");
        }
        let name = |text: &str| text.parse::<Reference>().unwrap();
        assert!(name("debian:12").is_beside(&name("debian")));
        assert!(!name("debian:12").is_beside(&name("x.y/debian")));
    }

    #[test]
    fn names_are_normalised() {
        let at = format!("a@sha256:{HEX}");
        let full_at = format!("docker.io/library/a@sha256:{HEX}");
        let both = format!("h.io/a:t@sha256:{HEX}");
        for (input, full, familiar) in [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            (
                "isola/demo",
                "docker.io/isola/demo:latest",
                "isola/demo:latest",
            ),
            (
                "docker.io/debian",
                "docker.io/library/debian:latest",
                "debian:latest",
            ),
            ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            (
                "localhost:5000/x",
                "localhost:5000/x:latest",
                "localhost:5000/x:latest",
            ),
            (
                "h.io:443/a/b:v1.0",
                "h.io:443/a/b:v1.0",
                "h.io:443/a/b:v1.0",
            ),
            ("Host/x", "Host/x:latest", "Host/x:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            (
                "library/a/b",
                "docker.io/library/a/b:latest",
                "library/a/b:latest",
            ),
            (
                "a__b/c---d.e_f",
                "docker.io/a__b/c---d.e_f:latest",
                "a__b/c---d.e_f:latest",
            ),
            (&at, &full_at, &at),
            (&both, &both, &both),
        ] {
            let reference: Reference = input.parse().unwrap();
            assert_eq!(reference.to_string(), full, "{input}");
            assert_eq!(reference.familiar(), familiar, "{input}");
            assert_eq!(full.parse::<Reference>().unwrap(), reference, "{input}");
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        let long = "a".repeat(256);
        let tag = format!("a:{}", "t".repeat(129));
        for input in [
            "",
            "A",
            "a:",
            "a:b:c",
            ":x",
            "/a",
            "a/",
            "a//b",
            "a b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "_a",
            "a@",
            "a@sha256:00",
            "a@md5:00",
            "h.io:99999/x",
            "h.io:/x",
            "h..io/x",
            "-h.io/x",
            "[::1/x",
            "[zz]/x",
            "a:-t",
            "a:t/",
            "a/../b",
            "ä",
            "h.io/",
            "a\n",
            HEX,
            &long,
            &tag,
        ] {
            let error = input.parse::<Reference>().expect_err(input);
            assert!(matches!(error, Error::Reference { .. }), "{input}");
        }
    }
}
