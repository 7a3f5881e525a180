//! How a verb shows what it does: `--progress` and `--ansi`.

use std::io::{IsTerminal, Write, stderr, stdout};

use crate::error::{Code, Failure, Result};
use crate::output::clean;
use crate::progress::Way;

/// What may be written to the terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// How steps are told.
    pub(super) way: Way,
    /// Colours on standard error, and on standard output.
    pub(super) colors: (bool, bool),
}

impl Screen {
    /// Words of `--ansi`.
    pub(super) const ANSI: [&str; 3] = ["auto", "always", "never"];

    pub(super) fn new(progress: &str, ansi: &str) -> Result<Screen> {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colored = |terminal: bool| match ansi {
            "always" => true,
            "never" => false,
            _ => terminal && !refused,
        };
        let way = match (Way::of(progress)?, ansi, progress) {
            (Way::Live, "never", "tty") => {
                let message = "--progress tty and --ansi never exclude each other";
                return Err(Failure::new(Code::Usage, message).hint("there is --progress plain"));
            }
            (Way::Live, "never", _) => Way::Plain,
            (way, ..) => way,
        };
        Ok(Screen {
            way,
            colors: (
                colored(stderr().is_terminal()),
                colored(stdout().is_terminal()),
            ),
        })
    }

    /// Tells that something was done.
    pub(super) fn say(self, text: &str) {
        let _ = match self.way {
            Way::Quiet => Ok(()),
            Way::Json => {
                let object = serde_json::json!({ "text": clean(text), "status": "Done" });
                writeln!(stderr(), "{object}")
            }
            Way::Live | Way::Plain => writeln!(stderr(), " {}", clean(text)),
        };
    }

    /// The same, with nothing told of steps.
    pub(super) fn quiet(self, quiet: bool) -> Screen {
        match quiet {
            true => Screen {
                way: Way::Quiet,
                ..self
            },
            false => self,
        }
    }
}
