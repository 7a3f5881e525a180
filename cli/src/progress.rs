//! How far a long step is, on standard error: a line that changes on a terminal,
//! else a line for each step.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::{Code, Failure, Result};

/// How steps of several things are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Lines that change, on a terminal.
    Live,
    /// A line for all that happens.
    Plain,
    /// A JSON object for all that happens.
    Json,
    Quiet,
}

impl Way {
    /// Words of `--progress`.
    pub(crate) const WORDS: [&str; 5] = ["auto", "tty", "plain", "json", "quiet"];

    /// What a word means here.
    pub(crate) fn of(word: &str) -> Result<Way> {
        let terminal = stderr().is_terminal();
        match word {
            "plain" => Ok(Way::Plain),
            "json" => Ok(Way::Json),
            "quiet" => Ok(Way::Quiet),
            "tty" if !terminal => {
                let message = "--progress tty: standard error is no terminal";
                Err(Failure::new(Code::Usage, message).hint("--progress plain writes lines"))
            }
            _ if terminal => Ok(Way::Live),
            _ => Ok(Way::Plain),
        }
    }
}

/// Tells about one command's steps.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    /// A terminal.
    Bar(ProgressBar),
    /// A file or a pipe: the step that was told last, and when.
    Lines(Mutex<Option<(String, Instant)>>),
    /// Nothing (`--quiet`).
    Nothing,
}

/// Without a terminal a long step is told about again after this time.
const AGAIN: Duration = Duration::from_secs(30);

impl Progress {
    /// Shows progress, unless `quiet`.
    pub(crate) fn new(quiet: bool) -> Progress {
        let shown = match quiet {
            true => Shown::Nothing,
            false if stderr().is_terminal() => {
                let bar =
                    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
                bar.set_style(spinner());
                bar.enable_steady_tick(Duration::from_millis(200));
                Shown::Bar(bar)
            }
            false => Shown::Lines(Mutex::new(None)),
        };
        Progress { shown }
    }

    /// A step, and how much of it is done: of `total`, where that is known.
    pub(crate) fn step(&self, what: &str, done: u64, total: Option<u64>) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                if bar.length() != total {
                    match total {
                        Some(total) => {
                            bar.set_length(total);
                            bar.set_style(with_length());
                        }
                        None => {
                            bar.unset_length();
                            bar.set_style(spinner());
                        }
                    }
                }
                bar.set_position(done);
                bar.set_message(what.to_owned());
            }
            Shown::Lines(last) => {
                let Ok(mut last) = last.lock() else { return };
                let news = match &*last {
                    Some((told, when)) => told != what || when.elapsed() >= AGAIN,
                    None => true,
                };
                if news {
                    let share = total
                        .filter(|total| *total > 0 && done > 0)
                        .map(|total| done.saturating_mul(100) / total);
                    let share = share
                        .map(|percent| format!(" {percent}%"))
                        .unwrap_or_default();
                    let _ = writeln!(stderr(), "{what}{share}");
                    *last = Some((what.to_owned(), Instant::now()));
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressStyle {
    style("{spinner} {msg} {elapsed}")
}

fn with_length() -> ProgressStyle {
    style("{spinner} {msg} [{bar:30}] {percent}% {elapsed}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
