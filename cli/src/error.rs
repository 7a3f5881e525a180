//! Errors as the user meets them: one line, maybe a cause and a hint, a stable
//! code, and the exit code of the process.

use std::io::{self, IsTerminal, Write};

use serde_json::{Map, Value};

pub(crate) use crate::codes::Code;
use crate::output::clean;

/// Result of commands.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// What a command ends with when nothing went wrong: the code of its process,
/// which for `run`, `exec`, `wait` is the workload's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// Everything was done.
    pub(crate) const OK: Exit = Exit(0);
    /// Something of several was not done, and was reported.
    pub(crate) const PARTLY: Exit = Exit(1);

    /// The code of a workload; codes are a byte.
    pub(crate) fn of(code: i32) -> Exit {
        Exit(u8::try_from(code & 0xff).unwrap_or(1))
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The class, which `isola explain` explains.
    pub(crate) code: Code,
    /// What failed, on what, and why, in one line.
    pub(crate) message: String,
    /// What lies beneath, where that helps.
    pub(crate) cause: Option<String>,
    /// The next step.
    pub(crate) hint: Option<String>,
    /// Exit code of the process.
    pub(crate) exit: u8,
    /// Nothing is printed: the reader is gone.
    silent: bool,
}

impl Failure {
    /// A failure of a class.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            cause: None,
            hint: None,
            exit: 1,
            silent: false,
        }
    }

    /// What should not happen.
    pub(crate) fn internal(message: impl Into<String>) -> Failure {
        Failure::new(Code::System, message)
    }

    /// The system refused `what`.
    pub(crate) fn system(what: impl std::fmt::Display, error: impl Into<io::Error>) -> Failure {
        Failure::new(Code::System, format!("cannot {what}: {}", error.into()))
    }

    /// Standard output can't be written. A reader that went away is no error to
    /// tell about: the code is the one that SIGPIPE would give.
    pub(crate) fn output(error: io::Error) -> Failure {
        let gone = error.kind() == io::ErrorKind::BrokenPipe;
        let failure = Failure::system("write to standard output", error);
        match gone {
            true => Failure {
                exit: 141,
                silent: true,
                ..failure
            },
            false => failure,
        }
    }

    /// There is nobody to tell it to.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The same with a hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// The same, with what it is about in front.
    #[must_use]
    pub(crate) fn about(mut self, what: &str) -> Failure {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The same with another exit code.
    #[must_use]
    pub(crate) fn exit(mut self, exit: u8) -> Failure {
        self.exit = exit;
        self
    }

    /// Exit codes of `run` and `create`: 126 and 127 for the program, 125 for
    /// everything else.
    #[must_use]
    pub(crate) fn of_run(self) -> Failure {
        let exit = match self.code {
            Code::NotExecutable => 126,
            Code::ProgramNotFound => 127,
            _ if self.silent => self.exit,
            _ => 125,
        };
        self.exit(exit)
    }

    /// Prints it on standard error.
    pub(crate) fn report(&self, json: bool) {
        if self.silent {
            return;
        }
        let text = match json {
            true => self.to_json().to_string() + "\n",
            false => self.to_text(colors()),
        };
        // Nobody is left to hear about a failure of this.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    fn to_text(&self, colors: bool) -> String {
        let (bold, plain) = match colors {
            true => ("\u{1b}[1;31m", "\u{1b}[0m"),
            false => ("", ""),
        };
        let mut text = format!("{bold}error:{plain} {}\n", clean(&self.message));
        if let Some(cause) = &self.cause {
            text.push_str(&format!("cause: {}\n", clean(cause)));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {}\n", clean(hint)));
        }
        text
    }

    fn to_json(&self) -> Value {
        let mut map = Map::new();
        map.insert("error".into(), self.message.as_str().into());
        map.insert("cause".into(), self.cause.as_deref().into());
        map.insert("hint".into(), self.hint.as_deref().into());
        map.insert("code".into(), self.code.id().into());
        Value::Object(map)
    }
}

/// Colours are for terminals whose user did not say no (no-color.org).
fn colors() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && io::stderr().is_terminal()
}

impl From<isola_runtime::Error> for Failure {
    fn from(error: isola_runtime::Error) -> Failure {
        use isola_runtime::Kind;
        let code = match error.kind {
            Kind::Invalid => Code::Invalid,
            Kind::NoSuch => Code::NoSuch,
            Kind::Conflict => Code::Conflict,
            Kind::Unsupported => Code::Unsupported,
            Kind::NotExecutable => Code::NotExecutable,
            Kind::ProgramNotFound => Code::ProgramNotFound,
            Kind::System => Code::System,
        };
        Failure {
            hint: error.hint,
            ..Failure::new(code, error.message)
        }
    }
}

impl From<isola_images::Error> for Failure {
    fn from(error: isola_images::Error) -> Failure {
        use isola_images::Error;
        let code = match root(&error) {
            Error::NotFound(_) | Error::DemoNotMade | Error::NotOnRegistry { .. } => Code::NoImage,
            Error::Unreachable { .. } | Error::RegistryRefused { .. } | Error::Download { .. } => {
                Code::Registry
            }
            Error::RegistryProtocol { .. } | Error::RegistryDigest { .. } => Code::Registry,
            Error::Denied { .. } | Error::Credentials(_) => Code::Denied,
            Error::InUse { .. } | Error::SeveralNames { .. } => Code::ImageInUse,
            Error::Reference { .. } | Error::PlatformName(_) => Code::Invalid,
            Error::Ambiguous { .. } | Error::Change { .. } => Code::Invalid,
            Error::Platform { .. }
            | Error::NoPlatform { .. }
            | Error::ForeignPlatform { .. }
            | Error::Artifact { .. } => Code::Unsupported,
            Error::Io { .. } | Error::NoSpace { .. } | Error::Write(_) | Error::Busy { .. } => {
                Code::System
            }
            _ => Code::BadImage,
        };
        Failure {
            hint: error.hint(),
            ..Failure::new(code, error.to_string())
        }
    }
}

/// What happened in a layer, without the layer.
fn root(error: &isola_images::Error) -> &isola_images::Error {
    match error {
        isola_images::Error::Layer { source, .. } => root(source),
        other => other,
    }
}

impl From<isola_kernel::Error> for Failure {
    fn from(error: isola_kernel::Error) -> Failure {
        use isola_kernel::Error;
        let code = match &error {
            Error::NoKernel(_) => Code::NoKernel,
            Error::Unknown(_) => Code::Invalid,
            Error::Io { .. } | Error::Space { .. } => Code::System,
            _ => Code::BadKernel,
        };
        Failure {
            hint: error.hint(),
            ..Failure::new(code, error.to_string())
        }
    }
}

impl From<isola_net::Error> for Failure {
    fn from(error: isola_net::Error) -> Failure {
        use isola_net::Kind;
        let code = match error.kind {
            Kind::Invalid => Code::Invalid,
            Kind::NoSuch => Code::NoNetwork,
            Kind::Conflict => Code::NetworkInUse,
            Kind::System => Code::System,
        };
        Failure {
            hint: error.hint,
            ..Failure::new(code, error.message)
        }
    }
}

impl From<isola_volume::Error> for Failure {
    fn from(error: isola_volume::Error) -> Failure {
        use isola_volume::Kind;
        let code = match error.kind {
            Kind::Invalid => Code::Invalid,
            Kind::NoSuch => Code::NoVolume,
            Kind::Conflict => Code::VolumeInUse,
            Kind::Unsupported => Code::Unsupported,
            Kind::System => Code::System,
        };
        Failure {
            hint: error.hint,
            ..Failure::new(code, error.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_lines_or_json() {
        let failure = Failure::new(Code::NoSuch, "no instance web").hint("isola ps -a");
        assert_eq!(
            failure.to_text(false),
            "error: no instance web\nhint: isola ps -a\n"
        );
        let json = failure.to_json().to_string();
        let expected =
            r#"{"cause":null,"code":"E0102","error":"no instance web","hint":"isola ps -a"}"#;
        assert_eq!(json, expected);
        let escape = Failure::new(Code::Invalid, "bad \u{1b}[2J\nname");
        assert_eq!(escape.to_text(false), "error: bad \u{fffd}[2J name\n");
    }

    #[test]
    fn run_has_exit_codes_of_its_own() {
        for (code, exit) in [
            (Code::NoSuch, 125),
            (Code::NotExecutable, 126),
            (Code::ProgramNotFound, 127),
        ] {
            assert_eq!(Failure::new(code, "x").of_run().exit, exit);
        }
        assert_eq!(Exit::of(137), Exit(137));
        assert_eq!(Exit::of(-1), Exit(255));
    }
}
