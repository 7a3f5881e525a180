//! The one error type of this crate: a class, one line, and maybe a hint.

use std::fmt;
use std::io;
use std::path::Path;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Classes of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the user said can't be.
    Invalid,
    /// No such network.
    NoSuch,
    /// A name, an address, a port or a state is in the way.
    Conflict,
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
    /// An error without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Error {
        Error::new(Kind::Conflict, message)
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn io(what: &str, path: &Path, error: impl Into<io::Error>) -> Error {
        Error::system(format!("{what} {}", path.display()), error)
    }

    pub(crate) fn system(what: impl fmt::Display, error: impl Into<io::Error>) -> Error {
        let error = error.into();
        Error::new(Kind::System, format!("cannot {what}: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<isola_netlink::Error> for Error {
    fn from(error: isola_netlink::Error) -> Error {
        Error::new(Kind::System, error.to_string())
    }
}
