//! The agent: PID 1 of a guest. It puts the guest together, then is a process
//! [`Server`] behind a stream to the host.
//!
//! ```text
//! early set-up ─▶ transport ─▶ Hello ─▶ Boot ─▶ Start, Exec, ... ─▶ Shutdown
//!                     │ host gone, or garbage from it                  │
//!                     └──────────────▶ end processes, sync, power off ◀┘
//! ```
//!
//! Nothing in here may fail without a word on the console and a power-off: a
//! guest without its PID 1 panics, and a guest without its host is of no use.

mod cgroup;
mod cmdline;
mod console;
mod disks;
mod early;
mod guest;
mod links;
mod power;
mod sandbox;
mod sys;
mod transport;
mod volumes;

use std::io;
use std::process::ExitCode;

use isola_proto::{ErrorKind, Event, Failure, Frame, Kind, Request};

use crate::Orphans;
use crate::server::Server;
use crate::stream::{Conn, Peer, PollSet};
use console::say;
use sandbox::Guest;

/// Runs the agent. As PID 1 it never returns.
pub fn run() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("error: isola-agent is PID 1 of a guest and nothing else");
        return ExitCode::from(125);
    }
    console::install_panic_hook();
    let why = match start() {
        Ok(mut agent) => match agent.serve() {
            Ok(why) => why,
            Err(error) => format!("can't go on: {error}"),
        },
        Err(failure) => failure.message,
    };
    power::off(&why)
}

fn setup(message: String) -> Failure {
    Failure::new(ErrorKind::Setup, message)
}

fn start() -> Result<Agent, Failure> {
    early::before_hello()?;
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let children = Orphans::new().map_err(|e| setup(format!("can't watch children: {e}")))?;
    let conn = transport::open(cmdline::transport(&cmdline))?;
    early::after_hello()?;
    Ok(Agent {
        server: Server::new(Guest::default()),
        conn,
        children,
        booted: false,
    })
}

struct Agent {
    server: Server<Guest>,
    conn: Conn,
    children: Orphans,
    booted: bool,
}

impl Agent {
    /// Serves until there is a reason to power off, and returns it.
    fn serve(&mut self) -> io::Result<String> {
        let mut set = PollSet::default();
        loop {
            set.clear();
            self.conn.register(&mut set);
            self.server.register(&mut set);
            self.children.register(&mut set);
            set.wait(self.server.timeout())?;
            self.conn.dispatch(&set)?;
            self.server.dispatch(&set)?;
            while let Some(frame) = self.conn.next_frame() {
                if let Some(why) = self.handle(frame) {
                    return Ok(why);
                }
            }
            while let Some(frame) = self.server.next_frame() {
                self.conn.send(frame);
            }
            self.children.reap(&set, |pid| self.server.owns(pid));
            if let Some(why) = self.conn.closed() {
                return Ok(format!("lost the host: {why}"));
            }
        }
    }

    /// Takes one frame of the host. Returns why to power off, if it asks for it.
    fn handle(&mut self, frame: Frame) -> Option<String> {
        if frame.kind != Kind::Request {
            self.server.send(frame);
            return None;
        }
        match frame.parse() {
            Ok(Request::Shutdown) => return Some(String::new()),
            Ok(Request::Boot { id, guest }) if !self.booted && !self.server.refuses() => {
                let event = match guest::boot(&guest) {
                    Ok(group) => {
                        self.server.spawner().ready(group);
                        self.booted = true;
                        Event::Done { id }
                    }
                    Err(failure) => {
                        say(&failure.message);
                        Event::Failed {
                            channel: 0,
                            id,
                            failure,
                        }
                    }
                };
                self.conn.send(Frame::message(Kind::Event, &event));
            }
            Ok(request) => self.server.request(request),
            Err(error) => return Some(format!("the host sent no valid request: {error}")),
        }
        None
    }
}
