//! What the user can set about registries.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::url::{Url, is_loopback};

/// The settings' section `registry`.
///
/// ```toml
/// [registry]
/// timeout = 30      # seconds without a byte after which a connection is given up
/// parallel = 4      # layers that are transferred at once
///
/// [registry.hosts."docker.io"]
/// mirrors = ["mirror.example.org", "http://127.0.0.1:5001"]
///
/// [registry.hosts."registry.lan:5000"]
/// plain-http = true
///
/// [registry.hosts."registry.example.org"]
/// ca = "/etc/ssl/own/ca.pem"
/// client-cert = "/etc/ssl/own/client.pem"
/// client-key = "/etc/ssl/own/client.key"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistrySettings {
    /// Seconds without a byte after which a connection is given up; 30.
    pub timeout: Option<u64>,
    /// Layers that are transferred at once; 4.
    pub parallel: Option<u32>,
    /// By host, with its port where one is used.
    pub hosts: BTreeMap<String, HostSettings>,
}

/// What holds for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostSettings {
    /// Speak HTTP without TLS to it, which anybody on the way can read and
    /// change. Registries on loopback need no such leave.
    pub plain_http: bool,
    /// PEM file of certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate to show, with those that vouch for it.
    pub client_cert: Option<PathBuf>,
    /// PEM file of that certificate's key.
    pub client_key: Option<PathBuf>,
    /// Asked before the registry itself, in this order: hosts, or addresses
    /// with `http://` or `https://` and a path in front of `/v2/`.
    pub mirrors: Vec<String>,
}

const DEFAULT_TIMEOUT: u64 = 30;
const DEFAULT_PARALLEL: u32 = 4;

impl RegistrySettings {
    /// What of this cannot be, as one line.
    pub fn check(&self) -> Result<(), String> {
        if self.timeout == Some(0) {
            return Err("registry.timeout 0: at least one second is needed".into());
        }
        if self.parallel == Some(0) {
            return Err("registry.parallel 0: at least one is needed".into());
        }
        for (host, settings) in &self.hosts {
            let at = format!("registry.hosts.{host:?}");
            if host.is_empty() || host.contains("://") || host.contains('/') {
                return Err(format!("{at}: it is not a host with or without a port"));
            }
            if settings.client_cert.is_some() != settings.client_key.is_some() {
                return Err(format!("{at}: client-cert and client-key need each other"));
            }
            for mirror in &settings.mirrors {
                let url = mirror_url(mirror)
                    .ok_or_else(|| format!("{at}: {mirror:?} is not a host or an address"))?;
                if !url.https && !self.allows_plain(&url.authority) {
                    return Err(format!(
                        "{at}: the mirror {mirror:?} has no TLS; allow it with plain-http in registry.hosts.{:?}",
                        url.authority
                    ));
                }
            }
        }
        Ok(())
    }

    /// These settings, and `other`'s for hosts and values of which these say nothing.
    #[must_use]
    pub fn over(mut self, other: Self) -> Self {
        for (host, settings) in other.hosts {
            self.hosts.entry(host).or_insert(settings);
        }
        Self {
            timeout: self.timeout.or(other.timeout),
            parallel: self.parallel.or(other.parallel),
            hosts: self.hosts,
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(DEFAULT_TIMEOUT))
    }

    pub(crate) fn parallel(&self) -> usize {
        self.parallel.unwrap_or(DEFAULT_PARALLEL).clamp(1, 64) as usize
    }

    pub(crate) fn host(&self, authority: &str) -> Option<&HostSettings> {
        self.hosts.get(authority)
    }

    /// Whether nothing secret is lost by speaking to it without TLS, or the user
    /// allowed it.
    pub(crate) fn allows_plain(&self, authority: &str) -> bool {
        is_loopback(authority) || self.host(authority).is_some_and(|host| host.plain_http)
    }

    /// The mirrors of a registry, and whether their scheme was given.
    pub(crate) fn mirrors(&self, domain: &str) -> Vec<(Url, bool)> {
        let mirrors = self.host(domain).map(|host| host.mirrors.as_slice());
        let urls = mirrors.unwrap_or_default().iter();
        urls.filter_map(|text| Some((mirror_url(text)?, text.contains("://"))))
            .collect()
    }
}

/// An address whose path does not end with a slash.
fn mirror_url(text: &str) -> Option<Url> {
    let mut url = match text.contains("://") {
        true => Url::parse(text)?,
        false => Url::parse(&format!("https://{text}"))?,
    };
    url.path.truncate(url.path.trim_end_matches('/').len());
    (!url.path.contains('?')).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(change: impl FnOnce(&mut HostSettings)) -> RegistrySettings {
        let mut settings = HostSettings::default();
        change(&mut settings);
        RegistrySettings {
            hosts: BTreeMap::from([("h.io".to_owned(), settings)]),
            ..RegistrySettings::default()
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mirrors = |mirror: &str| host(|h| h.mirrors = vec![mirror.to_owned()]);
        for (settings, wrong) in [
            (RegistrySettings::default(), None),
            (mirrors("m.io"), None),
            (mirrors("https://m.io/prefix/"), None),
            (mirrors("http://127.0.0.1:5000"), None),
            (mirrors("http://m.io"), Some("plain-http")),
            (mirrors("ftp://m.io"), Some("not a host")),
            (
                host(|h| h.client_cert = Some("x".into())),
                Some("need each other"),
            ),
            (
                RegistrySettings {
                    timeout: Some(0),
                    ..RegistrySettings::default()
                },
                Some("timeout"),
            ),
        ] {
            match (settings.check(), wrong) {
                (Ok(()), None) => {}
                (Err(text), Some(word)) => assert!(text.contains(word), "{text}"),
                (result, wrong) => panic!("{result:?} instead of {wrong:?}"),
            }
        }
    }

    #[test]
    fn plain_http_is_for_loopback_or_by_leave() {
        let settings = host(|h| h.plain_http = true);
        assert!(settings.allows_plain("h.io"));
        assert!(settings.allows_plain("localhost:5000"));
        assert!(!settings.allows_plain("h.io:5000"));
        assert!(!settings.allows_plain("other.io"));
    }

    #[test]
    fn a_users_hosts_stand_over_the_systems() {
        let own = host(|h| h.plain_http = true);
        let mut system = host(|h| h.mirrors = vec!["m.io".into()]);
        system.hosts.insert("x.io".into(), HostSettings::default());
        system.timeout = Some(5);
        let both = own.over(system);
        assert!(both.hosts["h.io"].mirrors.is_empty());
        assert!(both.hosts.contains_key("x.io"));
        assert_eq!(both.timeout(), Duration::from_secs(5));
    }
}
