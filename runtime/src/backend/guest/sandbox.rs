//! A running machine with an agent in it, as the supervisor sees it.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use isola_init::stream::{Peer, PollSet};
use isola_init::{Child, kill, try_wait};
use isola_proto::{ExitStatus, Frame, Interface, Kind, Request};

use crate::backend::{Sandbox, SandboxEnd};
use crate::error::Result;
use crate::links::Link;

use super::console::Console;
use super::jail::last_message;
use super::link::AgentLink;
use super::nics::Plugs;
use super::stall::{self, Stall};

/// How a machine program's end is told.
pub(crate) type Explain = fn(ExitStatus) -> String;

/// A machine and the line to its agent.
pub(crate) struct GuestSandbox {
    child: Child,
    link: AgentLink,
    console: Console,
    explain: Explain,
    messages: PathBuf,
    exit: Option<ExitStatus>,
    power_off_at: Option<Instant>,
    /// Where the sources of the workload's mounts are in the guest.
    sources: Vec<Option<String>>,
    plugs: Plugs,
    /// The process that serves shared folders.
    shares: Option<Child>,
    stall: Option<Stall>,
}

fn end(reason: String) -> SandboxEnd {
    SandboxEnd {
        reason,
        again: false,
    }
}

/// What a machine has besides its program.
pub(crate) struct Parts {
    /// The line to the agent.
    pub(crate) link: AgentLink,
    /// The serial console.
    pub(crate) console: Console,
    /// Where the sources of the workload's mounts are in the guest.
    pub(crate) sources: Vec<Option<String>>,
    /// Its network devices.
    pub(crate) plugs: Plugs,
    /// The process that serves shared folders.
    pub(crate) shares: Option<Child>,
    /// Watches a machine that may hang while it boots.
    pub(crate) stall: Option<Stall>,
}

/// How long a guest may take to switch itself off after it was asked to.
const POWER_OFF: Duration = Duration::from_secs(8);

impl GuestSandbox {
    /// Takes a machine that has just been started.
    pub(crate) fn new(
        child: Child,
        parts: Parts,
        explain: Explain,
        messages: PathBuf,
    ) -> GuestSandbox {
        GuestSandbox {
            child,
            link: parts.link,
            console: parts.console,
            explain,
            messages,
            exit: None,
            power_off_at: None,
            sources: parts.sources,
            plugs: parts.plugs,
            shares: parts.shares,
            stall: parts.stall,
        }
    }

    fn reason(&self, status: ExitStatus) -> String {
        let words = self.console.last_words();
        let said = last_message(&self.messages);
        match words.or(said) {
            Some(line) => format!("{}: {line}", (self.explain)(status)),
            None => (self.explain)(status),
        }
    }
}

impl Sandbox for GuestSandbox {
    fn peer(&mut self) -> &mut dyn Peer {
        &mut self.link
    }

    fn register(&self, set: &mut PollSet) {
        self.link.register(set);
        self.console.register(set);
        if self.exit.is_none() {
            set.add(self.child.pidfd.as_fd(), true, false);
        }
    }

    fn dispatch(&mut self, set: &PollSet) -> io::Result<()> {
        self.console.dispatch(set);
        self.link.dispatch(set)?;
        if self.exit.is_none() && set.readable(self.child.pidfd.as_fd()) {
            self.exit = try_wait(&self.child.pidfd)?;
            self.console.drain();
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        let power_off = self
            .power_off_at
            .map(|at| at.saturating_duration_since(Instant::now()));
        let booting = self.stall.is_some() && self.link.is_booting();
        let look = booting.then_some(stall::LOOK);
        [self.link.timeout(), power_off, look]
            .into_iter()
            .flatten()
            .min()
    }

    fn ended(&mut self) -> Option<SandboxEnd> {
        if let Some(status) = self.exit {
            return Some(end(self.reason(status)));
        }
        if self.power_off_at.is_some_and(|at| at <= Instant::now()) {
            return Some(end("the guest did not switch itself off".to_owned()));
        }
        // A closed line is told by the machine's end, which follows.
        if let Some(reason) = self.link.broken() {
            return Some(end(reason));
        }
        let stall = self.stall.as_mut().filter(|_| self.link.is_booting())?;
        stall.is_stalled().then(|| SandboxEnd {
            reason: "the guest stands still while it boots".to_owned(),
            again: true,
        })
    }

    fn shutdown(&mut self) {
        self.link
            .send(Frame::message(Kind::Request, &Request::Shutdown));
        self.power_off_at = Some(Instant::now() + POWER_OFF);
    }

    fn kill(&mut self) {
        if self.exit.is_none() {
            let _ = kill(&self.child.pidfd, libc::SIGKILL);
            self.exit = isola_init::wait(&self.child.pidfd).ok();
        }
        if let Some(shares) = self.shares.take() {
            super::shares::end(&shares);
        }
        self.console.drain();
    }

    fn pid(&self) -> Option<i32> {
        Some(self.child.pid.as_raw_nonzero().get())
    }

    fn paused(&mut self, paused: bool) {
        self.link.pause(paused);
    }

    fn sources(&self) -> Vec<Option<String>> {
        self.sources.clone()
    }

    fn plug(&mut self, link: &Link, default_routes: bool) -> Result<Interface> {
        self.plugs.plug(link, default_routes)
    }

    fn replug(&mut self, link: &Link) -> Result<Interface> {
        self.plugs.plug(link, true)
    }

    fn unplug(&mut self, link: &Link) -> Result<Option<Interface>> {
        self.plugs.unplug(link)
    }
}
