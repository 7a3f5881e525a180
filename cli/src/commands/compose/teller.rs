//! How far steps are, on standard error: on a terminal one line for each thing,
//! which changes; else a line for each step that is done.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use isola_compose::apply::{Stage, Teller};
use isola_compose::plan::{Until, What};

use crate::output::clean;

/// Tells about the steps of one command.
pub(super) struct Lines {
    shown: Shown,
}

enum Shown {
    Live(MultiProgress, Mutex<BTreeMap<String, ProgressBar>>),
    Plain,
    Nothing,
}

impl Lines {
    /// Tells, unless `quiet`.
    pub(super) fn new(quiet: bool) -> Lines {
        let shown = match quiet {
            true => Shown::Nothing,
            false if stderr().is_terminal() => Shown::Live(
                MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)),
                Mutex::default(),
            ),
            false => Shown::Plain,
        };
        Lines { shown }
    }
}

impl Teller for Lines {
    fn step(&self, what: &What, stage: Stage) {
        let (subject, words) = words(what);
        let word = match stage {
            Stage::Working => words[0],
            Stage::Done => words[1],
            Stage::Failed => "Failed",
        };
        match &self.shown {
            Shown::Nothing => {}
            Shown::Plain if stage == Stage::Working && !matches!(what, What::Await { .. }) => {}
            Shown::Plain => {
                let _ = writeln!(stderr(), " {}  {word}", clean(&subject));
            }
            Shown::Live(all, bars) => {
                let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
                let bar = bars.entry(subject.clone()).or_insert_with(|| {
                    let bar = all.add(ProgressBar::new_spinner());
                    bar.enable_steady_tick(Duration::from_millis(200));
                    bar
                });
                let mark = match stage {
                    Stage::Working => " {spinner} {msg} {elapsed}",
                    Stage::Done => " ✔ {msg} {elapsed}",
                    Stage::Failed => " ✘ {msg} {elapsed}",
                };
                if let Ok(style) = ProgressStyle::with_template(mark) {
                    bar.set_style(style);
                }
                bar.set_message(format!("{}  {word}", clean(&subject)));
            }
        }
    }

    fn say(&self, text: &str) {
        match &self.shown {
            Shown::Live(all, _) => {
                let _ = all.println(clean(text));
            }
            _ => {
                let _ = writeln!(stderr(), "{}", clean(text));
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if let Shown::Live(_, bars) = &self.shown {
            let bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
            bars.values().for_each(ProgressBar::abandon);
        }
    }
}

/// What a step is about, and its words while it lasts and after it.
fn words(what: &What) -> (String, [&'static str; 2]) {
    let instance = |name: &str| format!("Instance {name}");
    match what {
        What::CreateNetwork(key) => (format!("Network {key}"), ["Creating", "Created"]),
        What::RemoveNetwork(name) => (format!("Network {name}"), ["Removing", "Removed"]),
        What::CreateVolume(key) => (format!("Volume {key}"), ["Creating", "Created"]),
        What::RemoveVolume(name) => (format!("Volume {name}"), ["Removing", "Removed"]),
        What::RemoveImage(name) => (format!("Image {name}"), ["Removing", "Removed"]),
        What::Create {
            name,
            replaces: None,
            ..
        } => (instance(name), ["Creating", "Created"]),
        What::Create { name, .. } => (instance(name), ["Recreating", "Recreated"]),
        What::PreStart(service) => (format!("Service {service}"), ["Preparing", "Prepared"]),
        What::Start { name, .. } => (instance(name), ["Starting", "Started"]),
        What::Await { service, until } => {
            let done = match until {
                Until::Healthy => "Healthy",
                Until::Completed => "Completed",
                Until::Up => "Up",
            };
            (format!("Service {service}"), ["Waiting", done])
        }
        What::Stop { name, .. } => (instance(name), ["Stopping", "Stopped"]),
        What::Remove { name, .. } => (instance(name), ["Removing", "Removed"]),
    }
}
