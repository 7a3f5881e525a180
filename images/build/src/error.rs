//! What can go wrong in a build.

use std::fmt;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A place in a Dockerfile, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Classes of errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The Dockerfile is wrong.
    Dockerfile,
    /// An option or argument is wrong.
    Invalid,
    /// What is asked for can't be done here.
    Unsupported,
    /// A program of a step ended with this code.
    Run(i32),
    /// Another step failed first.
    Cancelled,
    /// The context or the system.
    System,
    /// An image, a layer, the store.
    Image,
    /// The wall or a process behind it.
    Wall,
}

/// What failed, where, and why.
#[derive(Debug)]
pub struct Error {
    /// The class.
    pub kind: Kind,
    /// One line.
    pub message: String,
    /// What may help.
    pub hint: Option<String>,
    /// The Dockerfile and the place in it.
    pub at: Option<(String, Place)>,
    /// The last lines that a failing program wrote.
    pub tail: Box<[String]>,
    /// What the store said, where that was the reason.
    pub source: Option<Box<isola_images::Error>>,
}

impl Error {
    /// An error without a place.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            hint: None,
            at: None,
            tail: Box::default(),
            source: None,
        }
    }

    /// The Dockerfile is wrong at this place.
    pub fn at(place: Place, message: impl Into<String>) -> Error {
        Error {
            at: Some((String::new(), place)),
            ..Error::new(Kind::Dockerfile, message)
        }
    }

    /// A system call on something failed.
    pub fn io(what: impl fmt::Display, error: impl fmt::Display) -> Error {
        Error::new(Kind::System, format!("cannot {what}: {error}"))
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Says where it happened, unless that is known better.
    #[must_use]
    pub fn or_at(mut self, place: Place) -> Error {
        self.at.get_or_insert((String::new(), place));
        self
    }

    /// Names the file of the place.
    #[must_use]
    pub fn in_file(mut self, name: &str) -> Error {
        if let Some((file, _)) = self.at.as_mut().filter(|(file, _)| file.is_empty()) {
            name.clone_into(file);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, place)) = &self.at {
            write!(f, "{file}:{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<isola_images::Error> for Error {
    fn from(error: isola_images::Error) -> Error {
        Error {
            hint: error.hint(),
            ..Error::new(Kind::Image, error.to_string())
        }
        .with(error)
    }
}

impl Error {
    fn with(mut self, source: isola_images::Error) -> Error {
        self.source = Some(Box::new(source));
        self
    }
}
