//! What ends following, and with which exit code.

use crate::error::Exit;

/// When the end of one ends all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands::compose) enum Abort {
    Never,
    OnExit,
    OnFailure,
}

/// How following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands::compose) enum End {
    /// All have ended.
    All,
    /// One has ended with this code, and the others are to follow.
    One(i32),
    /// The user has enough.
    Signal(i32),
}

impl End {
    /// The others are to be stopped.
    pub(in crate::commands::compose) fn is_wanted(self) -> bool {
        self != End::All
    }

    pub(in crate::commands::compose) fn exit(self) -> Exit {
        match self {
            End::All => Exit::OK,
            End::One(code) => Exit::of(code),
            End::Signal(signal) => Exit::of(128 + signal),
        }
    }
}
