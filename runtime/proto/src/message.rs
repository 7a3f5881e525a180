//! Control messages. The side that runs processes (agent or process server)
//! answers every [`Request`] that names a channel with events on that channel,
//! and every other with one [`Event`] that carries the request's `id`.

use serde::{Deserialize, Serialize};

use crate::net::Interface;
use crate::spec::{ProcessSpec, SandboxSpec, TermSize, TextFile};

/// Towards the side that runs processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// First message; the answer is [`Event::Hello`].
    Hello {
        /// [`crate::VERSION`] of the sender.
        version: u32,
    },
    /// To an agent only, once, before `Start`: put the guest together. Answered
    /// by [`Event::Done`] or [`Event::Failed`].
    Boot {
        /// Number of the request.
        id: u32,
        /// The guest's parts.
        guest: GuestSpec,
    },
    /// Start the sandbox's first process. Answered by [`Event::Started`] or
    /// [`Event::Failed`] on the channel, later by [`Event::Exited`].
    Start {
        /// Channel for its streams.
        channel: u32,
        /// Surroundings and process.
        spec: Box<SandboxSpec>,
    },
    /// Start a further process in the same surroundings; answered like `Start`.
    Exec {
        /// Channel for its streams.
        channel: u32,
        /// The process.
        process: Box<ProcessSpec>,
    },
    /// Send a signal to the process of a channel. No answer.
    Signal {
        /// The process.
        channel: u32,
        /// Number as in signal(7) on x86-64.
        signal: i32,
    },
    /// The terminal of a process has a new size. No answer.
    Resize {
        /// The process.
        channel: u32,
        /// The size.
        size: TermSize,
    },
    /// The sender no longer reads or writes the channel; its process goes on.
    Detach {
        /// The process.
        channel: u32,
    },
    /// List the processes of the sandbox: [`Event::Processes`].
    Processes {
        /// Number of the request.
        id: u32,
    },
    /// What the sandbox uses: [`Event::Usage`].
    Usage {
        /// Number of the request.
        id: u32,
    },
    /// Set these links of the sandbox up as said; links that are not named stay as
    /// they are. Answered by [`Event::Done`] or [`Event::Failed`].
    Interfaces {
        /// Number of the request.
        id: u32,
        /// The links.
        interfaces: Vec<Interface>,
        /// What the files that tell of them hold from now on: some of those that the
        /// sandbox was started with ([`crate::spec::RootSpec::files`]). One that the
        /// workload has changed since stays as it is.
        #[serde(default)]
        files: Vec<TextFile>,
    },
    /// To an agent only: end all processes, sync, remount read-only, power off.
    Shutdown,
}

/// From the side that runs processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Answer to `Hello`; an agent also sends it unasked as its first message.
    Hello {
        /// [`crate::VERSION`] of the sender.
        version: u32,
        /// `uname -r` there.
        kernel: String,
    },
    /// A process runs: its execve has succeeded.
    Started {
        /// Its channel.
        channel: u32,
        /// Its id as the sender sees it.
        pid: i32,
    },
    /// A process has ended; its output was sent before.
    Exited {
        /// Its channel.
        channel: u32,
        /// How.
        status: ExitStatus,
        /// The kernel has killed a process of the sandbox, this one or another, for
        /// want of memory.
        oom_killed: bool,
    },
    /// The request on this channel, or with this id, failed.
    Failed {
        /// The channel, 0 when the request had an `id`.
        channel: u32,
        /// The request, 0 when it had a channel.
        id: u32,
        /// Why.
        failure: Failure,
    },
    /// The request with this id was carried out.
    Done {
        /// The request.
        id: u32,
    },
    /// Answer to `Processes`.
    Processes {
        /// The request.
        id: u32,
        /// Rows of `top`.
        processes: Vec<Process>,
    },
    /// Answer to `Usage`.
    Usage {
        /// The request.
        id: u32,
        /// Totals.
        usage: Usage,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl ExitStatus {
    /// The code that a shell would report: 128+n for a signal.
    pub fn code(self) -> i32 {
        match self {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal(signal) => 128 + signal,
        }
    }
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The class, which decides the exit code.
    pub kind: ErrorKind,
    /// One line: what failed, on what, and why.
    pub message: String,
}

impl Failure {
    /// A failure of the given class.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Failure {
        Failure {
            kind,
            message: message.into(),
        }
    }
}

/// Classes of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The program is there but can't be executed: exit code 126.
    NotExecutable,
    /// The program is not there: exit code 127.
    NotFound,
    /// Anything else on the way to execve: exit code 125 (run) or 126 (exec).
    Setup,
    /// The request made no sense here (no such channel, not started...).
    Invalid,
}

/// One row of `top`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Process id as the reporting side sees it.
    pub pid: i32,
    /// Parent's id.
    pub ppid: i32,
    /// User id.
    pub uid: u32,
    /// CPU time used, in milliseconds.
    pub cpu_ms: u64,
    /// Start, in milliseconds since the epoch.
    pub started_ms: u64,
    /// Controlling terminal, `?` if none.
    pub tty: String,
    /// Resident memory in bytes.
    pub rss: u64,
    /// Command line.
    pub command: String,
}

/// Resource totals of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time since the start, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory in use, in bytes, without page cache that can be dropped.
    pub memory: u64,
    /// Limit of memory in bytes.
    pub memory_limit: u64,
    /// Number of processes and threads.
    pub pids: u64,
    /// Bytes read from block devices.
    pub block_read: u64,
    /// Bytes written to block devices.
    pub block_write: u64,
    /// Bytes received over the network.
    pub net_rx: u64,
    /// Bytes sent over the network.
    pub net_tx: u64,
}

/// What the agent puts a guest together from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// Time of day on the host: nanoseconds since the epoch.
    pub time_ns: u64,
    /// Random bytes for the guest's generator.
    pub entropy: Vec<u8>,
    /// Block devices with EROFS layers, lowest layer first, as device names
    /// (`vda1`). The layer disk has one partition per layer.
    pub layers: Vec<String>,
    /// Block device with the writable layer (ext4), as device name (`vdb`).
    pub writable: Option<String>,
    /// Block devices with an ext4 file system each (`vdc`), mounted on
    /// [`crate::spec::VOLUMES`]`/N` for the N-th of them.
    pub volumes: Vec<String>,
    /// Tag of the virtio-fs device with the host's folders, mounted on
    /// [`crate::spec::SHARES`].
    pub shares: Option<String>,
    /// Links to networks.
    pub interfaces: Vec<Interface>,
    /// Largest number of processes in the sandbox.
    pub pids_limit: Option<u64>,
    /// CPUs that the sandbox may use in percent of one (`--cpus 1.5` is 150).
    pub cpu_percent: Option<u64>,
}
