//! The one error type of this crate: a class, one line, and maybe a hint.

use std::fmt;
use std::io;
use std::path::Path;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Classes of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the user said can't be: a name, an option, an archive.
    Invalid,
    /// No such volume, or nothing at that path in it.
    NoSuch,
    /// In use, or there already and different.
    Conflict,
    /// This host or this kind of volume can't do it.
    Unsupported,
    /// The system refused.
    System,
}

/// What failed, on what, and why, in one line; and what may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The class.
    pub kind: Kind,
    /// One line.
    pub message: String,
    /// The next step, where there is one.
    pub hint: Option<String>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// The system refused `what` on `path`.
    pub(crate) fn io(what: &str, path: &Path, error: impl Into<io::Error>) -> Error {
        let error = error.into();
        Error::new(
            Kind::System,
            format!("cannot {what} {}: {}", path.display(), reason(&error)),
        )
    }

    /// The system refused `what`.
    pub(crate) fn system(what: impl fmt::Display, error: impl Into<io::Error>) -> Error {
        let error = error.into();
        Error::new(Kind::System, format!("cannot {what}: {}", reason(&error)))
    }
}

/// The system's words without the number behind them.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// A name that others chose, on one line and without what moves a terminal's cursor.
pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().to_string()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
