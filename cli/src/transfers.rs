//! Blobs on their way from or to a registry, on standard error: a bar for each on
//! a terminal, else nothing.

use std::collections::HashMap;
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use isola_images::Digest;
use isola_images::registry::Transfer;

use crate::output::clean;

/// Shows one pull or push.
#[derive(Debug)]
pub(crate) struct Transfers {
    /// None on a terminal that is none, or with `--quiet`.
    all: Option<MultiProgress>,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
    /// What the last step of a blob is called.
    last_step: &'static str,
}

impl Transfers {
    /// Of a pull: what has come is unpacked.
    pub(crate) fn of_pull(quiet: bool) -> Transfers {
        Transfers::new(quiet, "unpacking")
    }

    /// Of a push.
    pub(crate) fn of_push(quiet: bool) -> Transfers {
        Transfers::new(quiet, "waiting for the registry")
    }

    fn new(quiet: bool, last_step: &'static str) -> Transfers {
        let shown = !quiet && stderr().is_terminal();
        let target = || ProgressDrawTarget::stderr_with_hz(10);
        Transfers {
            all: shown.then(|| MultiProgress::with_draw_target(target())),
            bars: Mutex::default(),
            last_step,
        }
    }

    /// Shows what happened.
    pub(crate) fn tell(&self, event: Transfer) {
        let Some(all) = &self.all else { return };
        match event {
            Transfer::Blob { blob, size, here } => {
                let bar = all.add(ProgressBar::new(size));
                bar.set_style(style("{prefix} {msg}"));
                bar.set_prefix(blob.short());
                match here {
                    true => bar.finish_with_message("is there already"),
                    false => bar.set_message("waits"),
                }
                self.bars().insert(blob, bar);
            }
            Transfer::Bytes { blob, done } => {
                if let Some(bar) = self.bars().get(&blob).filter(|bar| !bar.is_finished()) {
                    if bar.position() == 0 {
                        bar.set_style(style(MOVING));
                    }
                    bar.set_position(done);
                    if Some(done) == bar.length() {
                        bar.set_style(style("{prefix} {msg}"));
                        bar.set_message(self.last_step);
                    }
                }
            }
            Transfer::Done { blob } => {
                if let Some(bar) = self.bars().get(&blob) {
                    bar.set_style(style("{prefix} {msg}"));
                    bar.finish_with_message("done");
                }
            }
            Transfer::Again { why } => {
                let _ = all.println(format!("trying again: {}", clean(&why)));
            }
            _ => {}
        }
    }

    fn bars(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        for bar in self.bars().values().filter(|bar| !bar.is_finished()) {
            bar.abandon();
        }
    }
}

const MOVING: &str = "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
