//! Registries (OCI distribution specification): pulling, pushing, logging in.
//!
//! From below: `url`, `challenge`, `platform`, `manifest` and `retry` know text
//! alone; `docker_config` and `helper` know logins, `tls` certificates, `auth`
//! tokens; `http` asks one thing of one host, `answer` is what comes back; `remote` is a repository, with its
//! mirrors, `tags` what it has; `plan`, `fetch`, `pull` and `push` are what the store does with it.

mod answer;
mod auth;
pub(crate) mod challenge;
mod docker_config;
mod download;
mod fetch;
mod helper;
pub(crate) mod http;
mod login;
pub(crate) mod manifest;
mod plan;
mod platform;
mod pull;
mod push;
mod remote;
mod retry;
mod settings;
mod tags;
mod tls;
pub(crate) mod url;

pub use docker_config::{Credentials, DockerConfig, KeptIn};
pub use download::Download;
pub use http::Client;
pub use login::{logout, registry_name};
pub use platform::Platform;
pub(crate) use platform::PlatformOf;
pub use pull::{Platforms, Pulled, Told, Transfer};
pub use push::Pushed;
pub use settings::{HostSettings, RegistrySettings};
pub use tags::tags;
