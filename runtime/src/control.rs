//! What a command says to a supervisor, over the same framing and with the same
//! events that supervisor and agent use.
//!
//! Every command has an answer on `channel`: [`isola_proto::Event::Failed`], or
//! what the command's own line says. Channels are chosen by the client, from 1.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use isola_init::stream::{Conn, Peer, PollSet};
use isola_proto::spec::TermSize;
use isola_proto::{Event, Failure, Frame, Kind as FrameKind, ProcessSpec};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::state::InstancePaths;
use crate::workload::Attachment;

/// A client's request to a supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// First on the connection that a supervisor is started with: put the wall up
    /// and start the workload. Answer: `Started`; then, if `attach` is set, as
    /// for `Attach`.
    Launch {
        /// The client's channel.
        channel: u32,
        /// Attach at once, so that no early output is missed.
        attach: bool,
        /// Pass the client's input on.
        stdin: bool,
        /// Hold the wall open with an idle process instead of the workload and
        /// without touching the record, for copies in and out.
        hold: bool,
        /// Take its places in networks while it is held, too.
        networks: bool,
        /// Size of the client's terminal.
        size: Option<TermSize>,
    },
    /// The workload's streams: output frames come as they are made, `Exited` when
    /// it ends.
    Attach {
        /// The client's channel.
        channel: u32,
        /// Pass the client's input on.
        stdin: bool,
    },
    /// Another process behind the wall. `Started`, output frames, `Exited`.
    Exec {
        /// The client's channel.
        channel: u32,
        /// The process.
        process: Box<ProcessSpec>,
        /// Let it go on when the client leaves; no streams.
        detach: bool,
    },
    /// A signal for the process of a channel of this client. No answer.
    Signal {
        /// Channel of an `Exec`, `Attach` or `Launch`.
        channel: u32,
        /// Number.
        signal: i32,
    },
    /// A new size of the terminal of a channel. No answer.
    Resize {
        /// Channel of an `Exec`, `Attach` or `Launch`.
        channel: u32,
        /// The size.
        size: TermSize,
    },
    /// Leave a channel without ending its process. No answer.
    Detach {
        /// The channel.
        channel: u32,
    },
    /// Ask the workload to end, and make it after the timeout. `Done` when it has
    /// ended and everything is cleaned up. Policy does not start it again.
    Stop {
        /// The client's channel.
        channel: u32,
        /// Seconds instead of the workload's own timeout.
        timeout: Option<u64>,
        /// Signal instead of the workload's own.
        signal: Option<i32>,
        /// Its instance goes with it, which tells enough.
        #[serde(default)]
        removal: bool,
    },
    /// Send a signal to the workload. `Done` when it is sent; of SIGKILL when the workload
    /// has ended and everything is cleaned up.
    Kill {
        /// The client's channel.
        channel: u32,
        /// Number.
        signal: i32,
    },
    /// Freeze. `Done`.
    Pause {
        /// The client's channel.
        channel: u32,
    },
    /// Thaw. `Done`.
    Unpause {
        /// The client's channel.
        channel: u32,
    },
    /// `Exited` when the workload ends for good.
    Wait {
        /// The client's channel.
        channel: u32,
    },
    /// `Done` when the workload is healthy; `Failed` when it turns out unhealthy,
    /// ends for good, or has no health check.
    Healthy {
        /// The client's channel.
        channel: u32,
    },
    /// `Processes`.
    Processes {
        /// The client's channel.
        channel: u32,
    },
    /// `Usage`.
    Usage {
        /// The client's channel.
        channel: u32,
        /// As the guest sees it, rather than what the host pays.
        inside: bool,
    },
    /// Link the running workload to one more network. `Done` when its addresses are
    /// set.
    Connect {
        /// The client's channel.
        channel: u32,
        /// The network and what is wanted of it.
        attachment: Attachment,
    },
    /// Take the link to a network away. `Done`.
    Disconnect {
        /// The client's channel.
        channel: u32,
        /// The network's id.
        network: String,
    },
    /// The instance has this name now: read the record again. `Done`.
    Renamed {
        /// The client's channel.
        channel: u32,
    },
}

/// A client's connection to a supervisor.
#[derive(Debug)]
pub struct Control {
    conn: Conn,
    next_channel: u32,
    notices: Vec<String>,
}

impl Control {
    /// Speaks over a connected socket.
    ///
    /// # Errors
    /// The descriptor can't be made non-blocking.
    pub fn over(socket: OwnedFd) -> Result<Control> {
        let conn = Conn::new(socket)
            .map_err(|error| Error::system("use the supervisor's socket", error))?;
        Ok(Control {
            conn,
            next_channel: 1,
            notices: Vec::new(),
        })
    }

    /// Connects to the supervisor of an instance.
    ///
    /// # Errors
    /// Nobody listens: the instance does not run.
    pub fn connect(instance: &InstancePaths) -> io::Result<UnixStream> {
        connect(instance)
    }

    /// What the start has changed about the host, for its owner.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    pub(crate) fn set_notices(&mut self, notices: Vec<String>) {
        self.notices = notices;
    }

    /// A channel that this client has not used yet.
    pub fn channel(&mut self) -> u32 {
        let channel = self.next_channel;
        self.next_channel += 1;
        channel
    }

    /// Queues a command.
    pub fn send(&mut self, command: &Command) {
        self.conn.send(Frame::message(FrameKind::Request, command));
    }

    /// Sends everything queued and waits for the next frame.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub fn receive(&mut self) -> Result<Frame> {
        let mut set = PollSet::default();
        loop {
            if let Some(frame) = self.conn.next_frame() {
                return Ok(frame);
            }
            if self.conn.closed().is_some() {
                return Err(Error::new(
                    Kind::System,
                    "the supervisor of the instance has gone away",
                )
                .hint("`isola ps -a` shows what became of the instance"));
            }
            set.clear();
            self.conn.register(&mut set);
            set.wait(None)
                .and_then(|()| self.conn.dispatch(&set))
                .map_err(|error| Error::system("talk to the supervisor", error))?;
        }
    }

    /// Waits for the next event, skipping data.
    ///
    /// # Errors
    /// The supervisor is gone, or said `Failed`.
    pub fn event(&mut self) -> Result<Event> {
        loop {
            let frame = self.receive()?;
            if frame.kind == FrameKind::Event {
                let event = frame
                    .parse::<Event>()
                    .map_err(|error| Error::new(Kind::System, error.to_string()))?;
                if let Event::Failed { failure, .. } = event {
                    return Err(decode(failure));
                }
                return Ok(event);
            }
        }
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// The supervisor is gone, or refused.
    pub fn ask(&mut self, command: &Command) -> Result<Event> {
        self.send(command);
        self.event()
    }

    /// The connection, for an event loop of the caller's own.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Tries to push out what is queued, for at most `patience`.
    pub fn flush(&mut self, patience: Duration) {
        let mut set = PollSet::default();
        while self.conn.backlog() > 0 && self.conn.closed().is_none() {
            set.clear();
            self.conn.register(&mut set);
            if set
                .wait(Some(patience))
                .and_then(|()| self.conn.dispatch(&set))
                .is_err()
            {
                return;
            }
        }
    }
}

/// A failure that came over the wire, with its hint split off again.
pub fn decode(failure: Failure) -> Error {
    let mut error = Error::from(failure);
    if let Some((message, hint)) = error.message.clone().split_once("\nhint: ") {
        error = Error {
            message: message.to_owned(),
            ..error
        }
        .hint(hint);
    }
    error
}

/// UNIX socket paths hold 107 bytes, data roots may be deeper: the way leads
/// through the folder's descriptor.
pub(crate) fn socket_path(folder: &impl AsFd, name: &str) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}/{name}", folder.as_fd().as_raw_fd())
}

fn connect(instance: &InstancePaths) -> io::Result<UnixStream> {
    let folder = std::fs::File::open(instance.dir())?;
    UnixStream::connect(socket_path(&folder, "control.sock"))
}
