//! Completion of the command line, with the names that there are now.
//!
//! The shell calls `isola` itself for candidates (`isola completion SHELL` prints
//! the few lines that tell it so), which then never gets to a verb.

use std::path::PathBuf;

use clap_complete::engine::CompletionCandidate;
use isola_runtime::engine::Instance;
use isola_runtime::state::State;
use isola_runtime::workload::{Feature, Isolation, WallCapabilities, signal_name};

use crate::context::Context;

/// Variable by which the shell asks for candidates.
pub(crate) const VARIABLE: &str = "ISOLA_COMPLETE";

/// Answers a shell that asks for candidates, and ends; else does nothing.
pub(crate) fn answer() {
    if std::env::var_os(VARIABLE).is_some() {
        clap_complete::CompleteEnv::with_factory(crate::args::command)
            .var(VARIABLE)
            .complete();
    }
}

/// The data root: completion sees no parsed flags.
fn context() -> Context {
    let mut words = std::env::args_os().skip_while(|word| word != "--root");
    let root = words.nth(1).map(PathBuf::from);
    Context::at(root)
}

fn names(fits: impl Fn(&Instance) -> bool) -> Vec<CompletionCandidate> {
    let context = context();
    let all = context
        .engine()
        .map_err(drop)
        .and_then(|engine| engine.list().map_err(drop));
    let fitting = all.unwrap_or_default().into_iter().filter(fits);
    let candidate = |instance: Instance| {
        let help = format!(
            "{} ({})",
            instance.record.workload.image,
            instance.status.state.as_str()
        );
        CompletionCandidate::new(instance.record.name).help(Some(help.into()))
    };
    fitting.map(candidate).collect()
}

/// All instances.
pub(crate) fn instances() -> Vec<CompletionCandidate> {
    names(|_| true)
}

/// Those that run.
pub(crate) fn running() -> Vec<CompletionCandidate> {
    names(|instance| instance.status.state.is_live())
}

/// Those that do not.
pub(crate) fn stopped() -> Vec<CompletionCandidate> {
    names(|instance| matches!(instance.status.state, State::Created | State::Exited))
}

/// Those that have a console.
pub(crate) fn guests() -> Vec<CompletionCandidate> {
    names(|instance| WallCapabilities::of(instance.record.workload.isolation).has(Feature::Console))
}

/// Instances with a colon.
pub(crate) fn instance_paths() -> Vec<CompletionCandidate> {
    let with_colon = |candidate: CompletionCandidate| {
        let mut value = candidate.get_value().to_owned();
        value.push(":");
        CompletionCandidate::new(value)
    };
    instances().into_iter().map(with_colon).collect()
}

/// Names of images.
pub(crate) fn images() -> Vec<CompletionCandidate> {
    let listed = context().store().and_then(|store| Ok(store.list()?));
    let references = listed
        .unwrap_or_default()
        .into_iter()
        .flat_map(|image| image.references);
    let mut names: Vec<String> = references.map(|reference| reference.familiar()).collect();
    names.push(isola_images::DEMO.to_owned());
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// Names of guest kernels.
pub(crate) fn kernels() -> Vec<CompletionCandidate> {
    let listed = context().kernels().and_then(|kernels| Ok(kernels.list()?));
    let candidate = |kernel: isola_kernel::Kernel| CompletionCandidate::new(kernel.name);
    listed
        .unwrap_or_default()
        .into_iter()
        .map(candidate)
        .collect()
}

/// Names of networks.
pub(crate) fn networks() -> Vec<CompletionCandidate> {
    let listed = context()
        .networks()
        .and_then(|networks| Ok(networks.list()?));
    let candidate = |network: isola_net::Network| CompletionCandidate::new(network.name);
    listed
        .unwrap_or_default()
        .into_iter()
        .map(candidate)
        .collect()
}

/// What `--network` takes.
pub(crate) fn attachable() -> Vec<CompletionCandidate> {
    let fixed = ["default", "none", "host", "container:"].map(CompletionCandidate::new);
    let named = networks();
    let known = |candidate: &CompletionCandidate| candidate.get_value() != "default";
    fixed
        .into_iter()
        .chain(named.into_iter().filter(known))
        .collect()
}

/// What `--pid` takes.
pub(crate) fn pid_modes() -> Vec<CompletionCandidate> {
    modes(&["private", "host", "container:"])
}

/// What `--ipc` takes.
pub(crate) fn ipc_modes() -> Vec<CompletionCandidate> {
    modes(&["private", "shareable", "none", "host", "container:"])
}

/// What `--uts` and `--cgroupns` take.
pub(crate) fn own_modes() -> Vec<CompletionCandidate> {
    modes(&["private", "host"])
}

fn modes(words: &[&'static str]) -> Vec<CompletionCandidate> {
    words
        .iter()
        .copied()
        .map(CompletionCandidate::new)
        .collect()
}

/// Names of volumes.
pub(crate) fn volumes() -> Vec<CompletionCandidate> {
    let listed = context().volumes().and_then(|volumes| Ok(volumes.list()?));
    let candidate = |volume: isola_volume::Volume| CompletionCandidate::new(volume.name);
    let volumes = listed.map(|listing| listing.volumes).unwrap_or_default();
    volumes.into_iter().map(candidate).collect()
}

/// The walls.
pub(crate) fn walls() -> Vec<CompletionCandidate> {
    let lists = Isolation::ALL
        .map(Isolation::name)
        .into_iter()
        .chain(["vm,emulated"]);
    lists.map(CompletionCandidate::new).collect()
}

/// Names of signals.
pub(crate) fn signals() -> Vec<CompletionCandidate> {
    let name = |number| signal_name(number).trim_start_matches("SIG").to_owned();
    (1..=31)
        .map(|number| CompletionCandidate::new(name(number)))
        .collect()
}

/// Codes of errors.
pub(crate) fn codes() -> Vec<CompletionCandidate> {
    let candidate = |entry: &crate::codes::Entry| {
        CompletionCandidate::new(entry.id).help(Some(entry.title.into()))
    };
    crate::codes::ENTRIES.iter().map(candidate).collect()
}
