//! The user's terminal: its size, and raw mode that is always undone.

use std::io::{IsTerminal, stdin, stdout};
use std::sync::{Mutex, Once, PoisonError};

use isola_proto::spec::TermSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::error::{Failure, Result};

/// Modes to go back to, for the guard and for the panic hook: release builds
/// abort on a panic, which runs no destructor.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode; the terminal is itself again when this goes.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Switches standard input's terminal to raw mode.
    pub(crate) fn enter() -> Result<RawMode> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                next(info);
            }));
        });
        let modes = tcgetattr(stdin())
            .map_err(|error| Failure::system("read the terminal's modes", error))?;
        let mut raw = modes.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(modes);
        let guard = RawMode(());
        tcsetattr(stdin(), OptionalActions::Now, &raw)
            .map_err(|error| Failure::system("switch the terminal to raw mode", error))?;
        Ok(guard)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(modes) = saved {
        // A terminal that is gone can't be restored.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
    }
}

/// Standard input is a terminal.
pub(crate) fn is_input() -> bool {
    stdin().is_terminal()
}

/// The terminal's size: standard output's, else standard input's.
pub(crate) fn size() -> Option<TermSize> {
    let size = tcgetwinsize(stdout())
        .or_else(|_| tcgetwinsize(stdin()))
        .ok()?;
    Some(TermSize {
        rows: size.ws_row,
        cols: size.ws_col,
    })
    .filter(|size| size.rows > 0)
}

/// Docker's refusal of `-it` without a terminal to read from.
pub(crate) fn require(tty: bool, stdin: bool) -> Result<()> {
    if !tty || !stdin || is_input() {
        return Ok(());
    }
    Err(Failure::new(
        crate::error::Code::Invalid,
        "the input device is not a terminal",
    )
    .hint("leave out -t when input comes from a file or a pipe"))
}
