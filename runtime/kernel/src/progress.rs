//! How far a long step is.

use std::fmt;

/// One report of a long operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// How much of it is done: bytes when downloading and unpacking, compiler
    /// runs when compiling, else 0.
    pub done: u64,
    /// How much there is to do in the same unit, where known. An estimate when
    /// compiling: never exceeded by `done`.
    pub total: Option<u64>,
}

/// The steps of [`crate::Kernels::fetch`] and [`crate::Kernels::build`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Another command is changing the kernels; waiting for it.
    Waiting,
    /// Downloading this package.
    Download(String),
    /// Unpacking this file.
    Unpack(String),
    /// Configuring the source tree of this version.
    Configure(String),
    /// Compiling this version.
    Compile(String),
    /// Putting the result in place.
    Install,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Waiting => write!(f, "waiting for another isola kernel command"),
            Step::Download(what) => write!(f, "downloading {what}"),
            Step::Unpack(what) => write!(f, "unpacking {what}"),
            Step::Configure(what) => write!(f, "configuring {what}"),
            Step::Compile(what) => write!(f, "compiling {what}"),
            Step::Install => write!(f, "installing"),
        }
    }
}

/// Where reports go.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&Progress);

/// Reports the beginning of a step that can't be measured.
pub(crate) fn step(sink: Sink<'_>, step: Step) {
    sink(&Progress {
        step,
        done: 0,
        total: None,
    });
}
