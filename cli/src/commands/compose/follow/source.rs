//! An instance whose log is shown, and whose end is waited for.

use std::time::Instant;

use isola_compose::plan::Here;
use isola_runtime::control::{Command, Control};
use isola_runtime::engine::{Engine, Instance};
use isola_runtime::workload::Isolation;

use crate::error::Result;
use crate::logfile::LogReader;

/// One instance.
pub(super) struct Source {
    pub(super) instance: Instance,
    pub(super) label: String,
    pub(super) color: usize,
    /// Its lines are shown.
    pub(super) shown: bool,
    pub(super) reader: Option<LogReader>,
    /// It waits for the instance's end.
    pub(super) control: Option<Control>,
    /// When it was found to have ended.
    pub(super) ended: Option<(Instant, i32)>,
    pub(super) told: bool,
}

/// `web-1`, and the wall where it is not a container.
pub(super) fn label(here: &Here, wall: Isolation) -> String {
    let name = format!("{}-{}", here.service, here.number);
    match wall {
        Isolation::Container => name,
        wall => format!("{name} ({wall})"),
    }
}

/// One that can't be asked any more, when its record tells how it has ended.
pub(super) fn at_rest(engine: &Engine, instance: Instance) -> Result<Instance> {
    if !instance.status.state.is_live() {
        return Ok(instance);
    }
    engine.wait(&instance)?;
    // One that goes with its run has no record any more.
    Ok(engine.find(&instance.record.id).unwrap_or(instance))
}

pub(super) fn wait_for(engine: &Engine, instance: &Instance) -> Option<Control> {
    if !instance.status.state.is_live() {
        return None;
    }
    let mut control = engine.connect(instance).ok()?;
    let channel = control.channel();
    control.send(&Command::Wait { channel });
    Some(control)
}
