//! What verbs work with, opened when first needed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;

use isola_images::registry::{Client, DockerConfig};
use isola_images::{ImageId, LayerFormat, Store};
use isola_journal::Journal;
use isola_kernel::Kernels;
use isola_net::Networks;
use isola_proto::ProcessSpec;
use isola_runtime::config::Config;
use isola_runtime::control::Control;
use isola_runtime::engine::{Engine, Instance};
use isola_runtime::rootfs::probe_erofs;
use isola_runtime::workload::{ExecOptions, HostFacts, UserMount, exec_spec};
use isola_volume::Volumes;

use crate::args::CommandLine;
use crate::error::{Exit, Failure, Result};
use crate::instances::Links;
use crate::streams::{DETACH_KEYS, Keys};
use crate::terminal;

/// The data root and what is in it.
#[derive(Debug)]
pub(crate) struct Context {
    root: Option<PathBuf>,
    json: bool,
    engine: OnceLock<Engine>,
    settings: OnceLock<Config>,
}

impl Context {
    /// Opens nothing yet.
    pub(crate) fn new(line: &CommandLine) -> Context {
        Context {
            json: line.json,
            ..Context::at(line.root.clone())
        }
    }

    /// For completion, which has no whole command line.
    pub(crate) fn at(root: Option<PathBuf>) -> Context {
        let root = root.filter(|root| !root.as_os_str().is_empty());
        Context {
            root,
            json: false,
            engine: OnceLock::new(),
            settings: OnceLock::new(),
        }
    }

    /// One for another thread.
    pub(crate) fn again(&self) -> Context {
        Context {
            json: self.json,
            ..Context::at(self.root.clone())
        }
    }

    /// Errors are JSON.
    pub(crate) fn json_errors(&self) -> bool {
        self.json
    }

    /// Instances.
    pub(crate) fn engine(&self) -> Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = Engine::open(self.root.as_deref())?;
        Ok(self.engine.get_or_init(|| engine))
    }

    /// The user's settings.
    pub(crate) fn settings(&self) -> Result<&Config> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings);
        }
        let settings = Config::load(&self.environment())?;
        Ok(self.settings.get_or_init(|| settings))
    }

    /// The user's environment, what of it is text.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    /// Keys that leave a session: the flag, the settings, or Docker's.
    pub(crate) fn detach_keys(&self, flag: Option<&str>) -> Result<Keys> {
        let settings = self.settings()?.detach_keys.as_deref();
        Keys::parse(flag.or(settings).unwrap_or(DETACH_KEYS))
    }

    /// Images.
    pub(crate) fn store(&self) -> Result<Store> {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        // The probe mounts something; it is for kernels with a module to load.
        let erofs = known
            .lines()
            .any(|line| line.trim_end().ends_with("\terofs"))
            || probe_erofs();
        let format = if erofs {
            LayerFormat::Erofs
        } else {
            LayerFormat::Directory
        };
        let paths = self.engine()?.paths();
        let store = Store::open(&paths.images(), format)?;
        Ok(store.with_journal(self.journal()?))
    }

    /// Where everything that happens is told.
    pub(crate) fn journal(&self) -> Result<Journal> {
        Ok(Journal::of(self.engine()?.paths().root()))
    }

    /// For speaking with registries, with the user's settings and logins.
    pub(crate) fn registries(&self) -> Result<Client> {
        let settings = self.settings()?.registry.clone();
        Ok(Client::new(
            settings,
            DockerConfig::load(&self.environment())?,
        ))
    }

    /// Guest kernels.
    pub(crate) fn kernels(&self) -> Result<Kernels> {
        Ok(Kernels::open(self.engine()?.paths().kernels()))
    }

    /// Networks.
    pub(crate) fn networks(&self) -> Result<Networks> {
        Ok(Networks::open(self.engine()?.paths().root())?)
    }

    /// Networks with the places that instances have in them.
    pub(crate) fn links(&self) -> Result<Links> {
        Links::read(&self.networks()?)
    }

    /// Volumes.
    pub(crate) fn volumes(&self) -> Result<Volumes> {
        Ok(Volumes::open(self.engine()?.paths().root())?)
    }

    /// Ids of the instances that were made with each volume, running or not.
    pub(crate) fn users_of_volumes(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for instance in self.engine()?.list()? {
            for mount in instance.record.workload.mounts {
                if let UserMount::Volume { name, .. } = mount {
                    users
                        .entry(name)
                        .or_default()
                        .push(instance.record.id.clone());
                }
            }
        }
        Ok(users)
    }

    /// The instance called `key`.
    pub(crate) fn find(&self, key: &str) -> Result<Instance> {
        Ok(self.engine()?.find(key)?)
    }

    /// Names of the instances made from an image.
    pub(crate) fn users_of_image(&self, id: &str) -> Result<Vec<String>> {
        let users = self.engine()?.users_of_image(id)?;
        Ok(users
            .into_iter()
            .map(|instance| instance.record.name)
            .collect())
    }

    /// The same for the image store. Instances that can't be read may use an
    /// image: it then counts as used.
    pub(crate) fn image_users(&self) -> impl Fn(&ImageId) -> Vec<String> + '_ {
        |id| {
            self.users_of_image(&id.to_string())
                .unwrap_or_else(|failure| vec![failure.message])
        }
    }

    /// Does something with every name. One that fails is reported and the rest
    /// still done; the code is then 1. When nobody reads what is printed, it ends.
    pub(crate) fn each<T: AsRef<str>>(
        &self,
        names: &[T],
        mut action: impl FnMut(&str) -> Result<()>,
    ) -> Result<Exit> {
        let mut exit = Exit::OK;
        for name in names {
            match action(name.as_ref()) {
                Ok(()) => {}
                Err(failure) if failure.is_silent() => return Err(failure),
                Err(failure) => {
                    self.report(&failure);
                    exit = Exit::PARTLY;
                }
            }
        }
        Ok(exit)
    }

    /// Tells what a start has changed about the host.
    pub(crate) fn notices(&self, control: &Control) {
        for notice in control.notices() {
            self.notice(notice);
        }
    }

    /// Tells something that is neither an error nor what was asked for.
    pub(crate) fn notice(&self, notice: &str) {
        let text = match self.json {
            true => serde_json::json!({ "notice": notice }).to_string(),
            false => format!("notice: {notice}"),
        };
        // Nobody is left to hear about a failure of this.
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Tells about a failure that does not end the command.
    pub(crate) fn report(&self, failure: &Failure) {
        failure.report(self.json);
    }
}

/// A further process of an instance.
pub(crate) fn further_process(instance: &Instance, options: &ExecOptions) -> Result<ProcessSpec> {
    let size = terminal::size().unwrap_or_default();
    Ok(exec_spec(
        &instance.record.workload,
        options,
        &HostFacts::read()?,
        size,
    )?)
}
