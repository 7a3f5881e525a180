//! What resolution needs to know of an image.

use std::collections::BTreeMap;

use isola_images::Healthcheck;
use oci_spec::image::ImageConfiguration;

/// The part of an image's configuration (OCI image specification,
/// "Image Configuration") that decides how it is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// The image as the user named it.
    pub name: String,
    /// Digest of its configuration, `sha256:...`.
    pub id: String,
    /// Operating system, as in Go (`linux`).
    pub os: String,
    /// Architecture, as in Go (`amd64`).
    pub architecture: String,
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// ENV, as KEY=VALUE.
    pub env: Vec<String>,
    /// WORKDIR; may be empty.
    pub working_dir: String,
    /// USER; may be empty.
    pub user: String,
    /// VOLUME.
    pub volumes: Vec<String>,
    /// STOPSIGNAL.
    pub stop_signal: Option<String>,
    /// LABEL.
    pub labels: BTreeMap<String, String>,
    /// EXPOSE, as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// HEALTHCHECK.
    pub health: Option<Healthcheck>,
}

impl ImageFacts {
    /// Facts that stand for those of an image that is not here: one that fits this
    /// host and has a command.
    pub fn unknown(name: &str) -> ImageFacts {
        ImageFacts {
            name: name.to_owned(),
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            cmd: vec!["/".to_owned()],
            ..ImageFacts::default()
        }
    }

    /// The facts in `config` of the image that the user calls `name` and whose
    /// configuration has the digest `id`.
    pub fn new(name: &str, id: &str, config: &ImageConfiguration) -> ImageFacts {
        let mut facts = ImageFacts {
            name: name.to_owned(),
            id: id.to_owned(),
            os: config.os().to_string(),
            architecture: config.architecture().to_string(),
            ..ImageFacts::default()
        };
        let Some(run) = config.config() else {
            return facts;
        };
        facts.entrypoint = run.entrypoint().clone().unwrap_or_default();
        facts.cmd = run.cmd().clone().unwrap_or_default();
        facts.env = run.env().clone().unwrap_or_default();
        facts.working_dir = run.working_dir().clone().unwrap_or_default();
        facts.user = run.user().clone().unwrap_or_default();
        facts.volumes = run.volumes().clone().unwrap_or_default();
        facts.volumes.sort();
        facts.stop_signal = run
            .stop_signal()
            .clone()
            .filter(|signal| !signal.is_empty());
        facts.labels = run
            .labels()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect();
        facts.exposed_ports = run.exposed_ports().clone().unwrap_or_default();
        facts.exposed_ports.sort();
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_in_full_and_in_part() {
        let full = r#"{"architecture":"amd64","os":"linux","config":{"User":"app:web","ExposedPorts":{"80/tcp":{}},
            "Env":["A=1"],"Entrypoint":["/e"],"Cmd":["c"],"Volumes":{"/v":{}},"WorkingDir":"/w",
            "Labels":{"k":"v"},"StopSignal":"SIGQUIT"},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let facts = ImageFacts::new(
            "x",
            "sha256:0",
            &ImageConfiguration::from_reader(full.as_bytes()).unwrap(),
        );
        assert_eq!(
            (facts.os.as_str(), facts.architecture.as_str()),
            ("linux", "amd64")
        );
        assert_eq!(
            (facts.user.as_str(), facts.working_dir.as_str()),
            ("app:web", "/w")
        );
        assert_eq!(
            (&facts.entrypoint[..], &facts.cmd[..]),
            (&["/e".to_owned()][..], &["c".to_owned()][..])
        );
        assert_eq!(
            (facts.volumes, facts.exposed_ports),
            (vec!["/v".to_owned()], vec!["80/tcp".to_owned()])
        );
        assert_eq!(facts.labels["k"], "v");
        assert_eq!(facts.stop_signal.as_deref(), Some("SIGQUIT"));

        let bare =
            r#"{"architecture":"arm64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let facts = ImageFacts::new(
            "x",
            "sha256:0",
            &ImageConfiguration::from_reader(bare.as_bytes()).unwrap(),
        );
        assert_eq!(facts.architecture, "arm64");
        assert!(facts.entrypoint.is_empty() && facts.stop_signal.is_none());
    }
}
