//! Showing a registry who one is, and looking at what it has.

use ureq::http::Method;

use super::docker_config::{Credentials, DockerConfig, KeptIn};
use super::http::{Ask, Client, Upload};
use super::remote::{Place, Remote};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::reference::{DEFAULT_DOMAIN, Reference};

impl Client {
    /// Tries credentials on a registry and, if it takes them, keeps them as
    /// Docker does.
    pub fn login(&self, registry: &str, credentials: &Credentials) -> Result<KeptIn> {
        let domain = registry_name(registry)?;
        self.identities.assume(&domain, credentials.clone());
        let place = Place::of(self, &domain)?;
        let ask = Ask {
            method: Method::GET,
            url: place.at("/v2/"),
            domain: &domain,
            scope: "",
            headers: Vec::new(),
            body: Upload::None,
            what: "a login",
            foreign: false,
        };
        let mut answer = self.ask(&ask, &|_| ())?;
        if answer.status != 200 {
            return Err(answer.unexpected("a login"));
        }
        self.docker.keep(&domain, credentials)
    }

    /// A manifest or index as the registry has it, and its digest.
    pub fn manifest(&self, reference: &Reference) -> Result<(Vec<u8>, Digest)> {
        let remote = Remote::for_pull(self, reference)?;
        let digest = reference.digest();
        let name = match (digest, reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let fetched = remote.manifest(&name, digest, &|_| ())?;
        Ok((fetched.bytes, fetched.digest))
    }
}

/// Forgets a registry's credentials; tells whether there were any.
pub fn logout(config: &DockerConfig, registry: &str) -> Result<bool> {
    config.forget(&registry_name(registry)?)
}

/// The registry that a user means: a host with or without a port, also as an
/// address. Nothing is Docker's.
pub fn registry_name(text: &str) -> Result<String> {
    let wrong = |reason: &str| Error::Credentials(format!("`{text}` is not a registry: {reason}"));
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    let host = rest.unwrap_or(text).trim_end_matches('/');
    let host = host
        .strip_suffix("/v1")
        .or(host.strip_suffix("/v2"))
        .unwrap_or(host);
    if matches!(host, "" | "index.docker.io" | "registry-1.docker.io") {
        return Ok(DEFAULT_DOMAIN.to_owned());
    }
    if host.contains('/') {
        return Err(wrong("it is HOST or HOST:PORT, without a path"));
    }
    // The grammar of names knows what a registry is.
    let whole: Reference = match host.contains(['.', ':']) || host == "localhost" {
        true => format!("{host}/x")
            .parse()
            .map_err(|_| wrong("it is HOST or HOST:PORT"))?,
        false => return Err(wrong("its name has neither a dot nor a port")),
    };
    Ok(whole.domain().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_in_several_ways() {
        for (text, expected) in [
            ("", Some("docker.io")),
            ("docker.io", Some("docker.io")),
            ("https://index.docker.io/v1/", Some("docker.io")),
            ("registry.example.org", Some("registry.example.org")),
            ("https://localhost:5000/", Some("localhost:5000")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("localhost", Some("localhost")),
            ("example", None),
            ("h.io/team", None),
            ("h.io:99999", None),
            ("h_i.io", None),
        ] {
            let name = registry_name(text);
            assert_eq!(name.as_deref().ok(), expected, "{text}");
        }
    }
}
