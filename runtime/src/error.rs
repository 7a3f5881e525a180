//! The one error type of this crate: a class, one line, and maybe a hint.

use std::fmt;
use std::io;
use std::path::Path;

use isola_proto::{ErrorKind, Failure};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Classes of errors; the command line maps them to exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the user said can't be: a flag, a value, a file.
    Invalid,
    /// No such instance, image, process.
    NoSuch,
    /// A name, a lock or a state is in the way.
    Conflict,
    /// The chosen wall can't do it, or can't be put up on this host.
    Unsupported,
    /// The program in the image can't be executed (126).
    NotExecutable,
    /// The program is not in the image (127).
    ProgramNotFound,
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

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// The system refused `what` on `path`.
    pub fn io(what: &str, path: &Path, error: impl Into<io::Error>) -> Error {
        let error = error.into();
        Error::new(
            Kind::System,
            format!("cannot {what} {}: {error}", path.display()),
        )
    }

    /// The system refused `what`.
    pub fn system(what: impl fmt::Display, error: impl Into<io::Error>) -> Error {
        let error = error.into();
        Error::new(Kind::System, format!("cannot {what}: {error}"))
    }
}

impl From<isola_volume::Error> for Error {
    fn from(error: isola_volume::Error) -> Error {
        let kind = match error.kind {
            isola_volume::Kind::Invalid => Kind::Invalid,
            isola_volume::Kind::NoSuch => Kind::NoSuch,
            isola_volume::Kind::Conflict => Kind::Conflict,
            isola_volume::Kind::Unsupported => Kind::Unsupported,
            isola_volume::Kind::System => Kind::System,
        };
        Error {
            kind,
            message: error.message,
            hint: error.hint,
        }
    }
}

impl From<isola_net::Error> for Error {
    fn from(error: isola_net::Error) -> Error {
        let kind = match error.kind {
            isola_net::Kind::Invalid => Kind::Invalid,
            isola_net::Kind::NoSuch => Kind::NoSuch,
            isola_net::Kind::Conflict => Kind::Conflict,
            isola_net::Kind::System => Kind::System,
        };
        Error {
            kind,
            message: error.message,
            hint: error.hint,
        }
    }
}

impl From<isola_netlink::Error> for Error {
    fn from(error: isola_netlink::Error) -> Error {
        Error::new(Kind::System, error.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let kind = match failure.kind {
            ErrorKind::NotExecutable => Kind::NotExecutable,
            ErrorKind::NotFound => Kind::ProgramNotFound,
            ErrorKind::Setup => Kind::System,
            ErrorKind::Invalid => Kind::Invalid,
        };
        Error::new(kind, failure.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let kind = match error.kind {
            Kind::NotExecutable => ErrorKind::NotExecutable,
            Kind::ProgramNotFound => ErrorKind::NotFound,
            Kind::Invalid | Kind::NoSuch | Kind::Conflict => ErrorKind::Invalid,
            Kind::Unsupported | Kind::System => ErrorKind::Setup,
        };
        match error.hint {
            Some(hint) => Failure::new(kind, format!("{}\nhint: {hint}", error.message)),
            None => Failure::new(kind, error.message),
        }
    }
}
