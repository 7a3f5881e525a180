//! What is written down about an instance.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::rootfs::RootLayer;
use crate::workload::{Restart, Workload};

/// Fixed when the instance is created, but for its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name.
    pub name: String,
    /// Creation, in milliseconds since the epoch.
    pub created_ms: u64,
    /// Why this wall was chosen, when several were allowed.
    pub isolation_reason: Option<String>,
    /// The image's layers, lowest first.
    pub layers: Vec<RootLayer>,
    /// What it runs.
    pub workload: Workload,
}

impl Record {
    /// It goes with its run, whatever ends that: nothing of it must outlive a crash
    /// of the host.
    pub fn is_transient(&self) -> bool {
        self.workload.auto_remove && self.workload.restart == Restart::No
    }

    /// The first twelve digits, as people say it.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// Where an instance is in its life.
///
/// ```text
/// created --start--> running <--unpause-- paused
///                    |  ^  \---pause----> paused
///                    |  |
///                 ends  +-- (policy) restarting
///                    v            |
///                  exited <-------+--- stop
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Never started.
    Created,
    /// Its first process runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended, and waits to be started again.
    Restarting,
    /// Ended.
    Exited,
}

impl State {
    /// The word that `ps` filters and `inspect` use.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Running => "running",
            State::Paused => "paused",
            State::Restarting => "restarting",
            State::Exited => "exited",
        }
    }

    /// A supervisor must be there in this state.
    pub fn is_live(self) -> bool {
        matches!(self, State::Running | State::Paused | State::Restarting)
    }
}

/// What became of an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Where it is in its life.
    pub state: State,
    /// Host process: the container's first process, or the machine monitor.
    pub pid: Option<i32>,
    /// The supervisor.
    pub supervisor_pid: Option<i32>,
    /// Last start, in milliseconds since the epoch.
    pub started_ms: Option<u64>,
    /// Last end.
    pub finished_ms: Option<u64>,
    /// Exit code of the last end (128+n for a signal).
    pub exit_code: Option<i32>,
    /// The kernel's OOM killer struck.
    pub oom_killed: bool,
    /// Why it could not be started, or was lost.
    pub error: Option<String>,
    /// Starts by policy.
    pub restart_count: u32,
    /// It was ended by hand (`unless-stopped` asks).
    pub stopped_by_user: bool,
    /// Its health, where a check says; that of the last run when it has ended.
    #[serde(default)]
    pub health: Option<Health>,
}

/// What health checks found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub state: HealthState,
    /// Failures since the last good run.
    pub failing_streak: u32,
    /// The last runs, oldest first, at most [`Health::RUNS`].
    pub runs: Vec<HealthRun>,
}

impl Health {
    /// Runs that are remembered.
    pub const RUNS: usize = 5;

    /// Of a workload that was just started.
    pub fn starting() -> Health {
        Health {
            state: HealthState::Starting,
            failing_streak: 0,
            runs: Vec::new(),
        }
    }
}

/// The verdict of health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// Not known yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// As many checks in a row failed as it takes.
    Unhealthy,
}

impl HealthState {
    /// The word that `ps` and `inspect` use.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Starting => "starting",
            HealthState::Healthy => "healthy",
            HealthState::Unhealthy => "unhealthy",
        }
    }
}

/// One run of a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRun {
    /// Start, in milliseconds since the epoch.
    pub started_ms: u64,
    /// End.
    pub ended_ms: u64,
    /// Exit code; -1 when it could not be run or took too long.
    pub exit_code: i32,
    /// What it wrote, the first 4096 bytes.
    pub output: String,
}

impl Status {
    /// Of an instance that was never started.
    pub fn created() -> Status {
        Status {
            state: State::Created,
            pid: None,
            supervisor_pid: None,
            started_ms: None,
            finished_ms: None,
            exit_code: None,
            oom_killed: false,
            error: None,
            restart_count: 0,
            stopped_by_user: false,
            health: None,
        }
    }
}

/// A new instance id: 32 random bytes in hexadecimal.
///
/// # Errors
/// The kernel has no random bytes to give.
pub fn new_id() -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(
            crate::error::Kind::System,
            format!("cannot get random bytes: {error}"),
        )
    })?;
    Ok(hex::encode(bytes))
}

/// Now, in milliseconds since the epoch.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| {
            u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
        })
}
