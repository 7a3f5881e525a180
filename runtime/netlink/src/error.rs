//! What the kernel refused, and its own words for why.

use rustix::io::Errno;

/// `Result` of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// One line: what could not be done, on what, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {what}: {why}")]
pub struct Error {
    what: String,
    why: String,
    errno: Option<Errno>,
}

impl Error {
    /// An error that is not the kernel's refusal.
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error {
            what: what.into(),
            why: why.into(),
            errno: None,
        }
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        self.errno
    }
}

/// A refusal before it is known what it was about.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) errno: Errno,
    /// The text of the extended acknowledgement, empty if there was none.
    pub(crate) text: String,
}

impl Refusal {
    /// Adds what was tried.
    pub(crate) fn of(self, what: impl Into<String>) -> Error {
        let system = std::io::Error::from(self.errno);
        let why = if self.text.is_empty() {
            system.to_string()
        } else {
            format!("{system}: {}", self.text)
        };
        Error {
            what: what.into(),
            why,
            errno: Some(self.errno),
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Refusal {
        Refusal {
            errno,
            text: String::new(),
        }
    }
}
