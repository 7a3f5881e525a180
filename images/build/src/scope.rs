//! Variables: which have a value where (Dockerfile reference, "ARG", "Scope").

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use isola_images::RunConfig;
use isola_images::registry::Platform;

use crate::dockerfile::{Arg, Word, expand, expand_doc};
use crate::error::{Error, Result};

/// ARGs that are there without being declared. They reach programs, but no key.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Arguments of the whole build.
#[derive(Debug)]
pub(crate) struct Globals {
    /// `--build-arg`.
    given: BTreeMap<String, String>,
    /// ARG before the first FROM, with values.
    declared: BTreeMap<String, String>,
    /// The platforms, as `TARGETOS` and `BUILDOS`.
    platform: BTreeMap<String, String>,
    /// Those of the given that an ARG has named.
    used: Mutex<BTreeSet<String>>,
    pub(crate) escape: char,
}

impl Globals {
    pub(crate) fn new(
        given: &BTreeMap<String, String>,
        globals: &[Arg],
        (native, target): (&Platform, &Platform),
        epoch: Option<i64>,
        escape: char,
    ) -> Result<Globals> {
        let mut known = BTreeMap::new();
        for (side, platform) in [("TARGET", target), ("BUILD", native)] {
            known.insert(format!("{side}PLATFORM"), platform.to_string());
            known.insert(format!("{side}OS"), platform.os.clone());
            known.insert(format!("{side}ARCH"), platform.architecture.clone());
            let variant = platform.variant.clone().unwrap_or_default();
            known.insert(format!("{side}VARIANT"), variant);
        }
        let mut given = given.clone();
        if let Some(epoch) = epoch {
            given
                .entry("SOURCE_DATE_EPOCH".into())
                .or_insert(epoch.to_string());
        }
        let mut all = Globals {
            given,
            declared: BTreeMap::new(),
            platform: known,
            used: Mutex::default(),
            escape,
        };
        for arg in globals {
            let value = match (all.take(&arg.name), &arg.default) {
                (Some(given), _) => Some(given),
                (None, Some(word)) => Some(all.expand(word)?),
                (None, None) => all.platform.get(&arg.name).cloned(),
            };
            all.declared
                .extend(value.map(|value| (arg.name.clone(), value)));
        }
        Ok(all)
    }

    /// Puts global arguments into a word of FROM.
    pub(crate) fn expand(&self, word: &Word) -> Result<String> {
        let lookup = |name: &str| {
            let own = self.declared.get(name).or_else(|| self.platform.get(name));
            own.cloned()
        };
        expand(&word.text, self.escape, &lookup).map_err(|why| Error::at(word.place, why))
    }

    /// The given value of an argument, which is of use now.
    fn take(&self, name: &str) -> Option<String> {
        let value = self.given.get(name)?;
        if let Ok(mut used) = self.used.lock() {
            used.insert(name.to_owned());
        }
        Some(value.clone())
    }

    /// Arguments that were given and that no ARG has named.
    pub(crate) fn unused(&self) -> Vec<String> {
        let used = self
            .used
            .lock()
            .map(|used| used.clone())
            .unwrap_or_default();
        let odd = |name: &&String| {
            !used.contains(*name)
                && !PROXIES.contains(&name.as_str())
                && *name != "SOURCE_DATE_EPOCH"
        };
        self.given.keys().filter(odd).cloned().collect()
    }
}

/// Variables of one stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    args: BTreeMap<String, String>,
}

impl Scope {
    /// ARG in a stage.
    pub(crate) fn declare(
        &mut self,
        globals: &Globals,
        arg: &Arg,
        config: &RunConfig,
    ) -> Result<()> {
        let value = match (globals.take(&arg.name), &arg.default) {
            (Some(given), _) => Some(given),
            (None, Some(word)) => Some(self.expand(globals, word, config)?),
            (None, None) => {
                let own = globals.declared.get(&arg.name);
                own.or_else(|| globals.platform.get(&arg.name)).cloned()
            }
        };
        match value {
            Some(value) => drop(self.args.insert(arg.name.clone(), value)),
            // A name without a value hides the one of a stage below.
            None => drop(self.args.remove(&arg.name)),
        }
        Ok(())
    }

    /// Takes quotes off and puts variables in.
    pub(crate) fn expand(
        &self,
        globals: &Globals,
        word: &Word,
        config: &RunConfig,
    ) -> Result<String> {
        self.expand_text(globals, &word.text, config)
            .map_err(|why| Error::at(word.place, why))
    }

    pub(crate) fn expand_text(
        &self,
        globals: &Globals,
        text: &str,
        config: &RunConfig,
    ) -> std::result::Result<String, String> {
        // ENV counts more than ARG.
        let lookup = |name: &str| config.env(name).or_else(|| self.args.get(name).cloned());
        expand(text, globals.escape, &lookup)
    }

    /// Puts variables into a here-document, in which quotes stand for themselves.
    pub(crate) fn expand_doc(
        &self,
        globals: &Globals,
        text: &str,
        config: &RunConfig,
    ) -> std::result::Result<String, String> {
        let lookup = |name: &str| config.env(name).or_else(|| self.args.get(name).cloned());
        expand_doc(text, globals.escape, &lookup)
    }

    /// The environment of programs: ENV, and arguments that it does not hide.
    pub(crate) fn environment(&self, config: &RunConfig) -> Vec<String> {
        let mut env = config.env.clone();
        let args = self
            .args
            .iter()
            .filter(|(name, _)| config.env(name).is_none());
        env.extend(args.map(|(name, value)| format!("{name}={value}")));
        env
    }

    /// Proxies that were given, which no key depends on.
    pub(crate) fn proxies(&self, globals: &Globals, config: &RunConfig) -> Vec<String> {
        let known = |name: &&&str| !self.args.contains_key(**name) && config.env(name).is_none();
        let given = PROXIES.iter().filter(known);
        given
            .filter_map(|name| Some(format!("{name}={}", globals.given.get(*name)?)))
            .collect()
    }
}
