//! How a machine ends, and the lines on the status pipe and the control socket.

use serde::{Deserialize, Serialize};

use crate::stats::Snapshot;

/// How a machine ended: the program's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Outcome {
    /// The guest switched the machine off.
    PoweredOff = 0,
    /// The monitor could not make or run the machine; standard error says why.
    Error = 1,
    /// The guest asked for a reset. Nothing is started again: that is the caller's
    /// decision.
    Reset = 10,
    /// The guest crashed: a triple fault, or an instruction that KVM could not run.
    Crashed = 11,
    /// `stop` on the control socket, or its end.
    Stopped = 12,
}

impl Outcome {
    /// The exit code of the program.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What an exit code of the program means; `None` when no outcome has it.
    pub fn from_code(code: i32) -> Option<Outcome> {
        [
            Outcome::PoweredOff,
            Outcome::Error,
            Outcome::Reset,
            Outcome::Crashed,
            Outcome::Stopped,
        ]
        .into_iter()
        .find(|outcome| i32::from(outcome.code()) == code)
    }
}

/// An outcome with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// One line: why.
    pub detail: String,
}

impl Report {
    /// A report.
    pub fn new(outcome: Outcome, detail: impl Into<String>) -> Report {
        Report {
            outcome,
            detail: detail.into(),
        }
    }
}

/// A line on the status pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// All filters are in place and the vCPUs start.
    Running,
    /// The machine has ended; the last line.
    Ended(Report),
}

/// A line that the program understands on the control socket: the name alone,
/// as `stats`. Each is answered by one line, an [`Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `power-off`: press the power button. A guest without ACPI, or without a
    /// program that listens to the button, does not react.
    PowerOff,
    /// `stop`: end the machine at once.
    Stop,
    /// `state`: tell whether the machine runs.
    State,
    /// `stats`: count what happened so far.
    Stats,
}

impl Command {
    /// Reads a line without its end.
    pub fn parse(line: &str) -> Option<Command> {
        Some(match line.trim() {
            "power-off" => Command::PowerOff,
            "stop" => Command::Stop,
            "state" => Command::State,
            "stats" => Command::Stats,
            _ => return None,
        })
    }
}

/// The answer to a command, one JSON object on a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It was done.
    Ok,
    /// To `state`.
    State {
        /// Always `running`: a machine that has ended answers nothing.
        state: String,
        /// Number of vCPUs.
        vcpus: u32,
    },
    /// To `stats`.
    Stats(Snapshot),
    /// The line is no command.
    Error {
        /// Why.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_name_outcomes() {
        for code in 0..=255 {
            if let Some(outcome) = Outcome::from_code(code) {
                assert_eq!(i32::from(outcome.code()), code);
            }
        }
        assert_eq!(Outcome::from_code(0), Some(Outcome::PoweredOff));
        assert_eq!(Outcome::from_code(11), Some(Outcome::Crashed));
        assert_eq!(Outcome::from_code(159), None);
    }

    #[test]
    fn lines_read_back() {
        let event = Event::Ended(Report::new(Outcome::Reset, "port 0x64"));
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"event":"ended","outcome":"reset","detail":"port 0x64"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        assert_eq!(Command::parse("power-off\r"), Some(Command::PowerOff));
        assert_eq!(Command::parse("format c:"), None);
    }
}
