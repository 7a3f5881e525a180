//! The one small process per running instance: it puts the wall up, holds the
//! workload's streams, writes its log, serves commands, and when the workload
//! ends starts it again by policy or takes everything down.
//!
//! One thread, one poll(2) loop; what happens in an instance's life is in
//! [`life`], who hears of it in [`clients`].

mod clients;
mod commands;
mod entry;
mod health;
mod input;
mod life;
mod log;
mod networks;
mod peer;
mod restart;
mod signals;
mod surroundings;
mod telling;

pub use entry::main;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use isola_init::stream::PollSet;

use crate::backend::Sandbox;
use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::events::Events;
use crate::links::Links;
use crate::rootfs::remove_tree;
use crate::state::{
    InstancePaths, Lock, Names, Paths, Record, Status, write_json, write_json_unsynced,
};
use crate::storage::Storage;

use clients::{Address, Clients};
use health::HealthWatch;
use input::Input;
use log::LogWriter;
use signals::Signals;

/// The channel of the workload between supervisor and peer.
const MAIN: u32 = 1;

/// Where the supervisor is.
#[derive(Debug)]
enum Phase {
    /// Nobody has said `Launch` yet.
    Idle,
    /// The wall is up or coming up; the workload has not reported.
    Starting,
    /// The workload runs.
    Running,
    /// The workload has ended, its surroundings are going down until the deadline.
    Ending(Instant),
    /// Policy starts it again at that time.
    Waiting(Instant),
    /// All is cleaned up.
    Done,
}

/// A process behind the wall besides the workload.
#[derive(Debug)]
struct Exec {
    /// Who asked for it; `None` once that client has left.
    owner: Option<Address>,
    /// Output that was passed on but not credited yet, in bytes.
    owed: u32,
    /// It was started without streams; its client only waits for `Started`.
    detached: bool,
    /// What it is called where its beginning and end are told, if they are.
    told: Option<telling::Told>,
}

/// All there is to know while an instance runs.
struct Supervisor {
    root: Paths,
    paths: InstancePaths,
    names: Names,
    record: Record,
    status: Status,
    _lock: Lock,
    events: Events,
    listener: Option<UnixListener>,
    signals: Signals,
    clients: Clients,

    phase: Phase,
    sandbox: Option<Box<dyn Sandbox>>,
    cgroup: Option<Cgroup>,
    /// Its places in networks, shared with the wall that makes the links.
    links: Rc<RefCell<Links>>,
    /// What its mounts are taken from; given back after the wall is down.
    storage: Option<Storage>,
    /// Links that the peer has been asked to set up: requests and networks.
    plugging: BTreeMap<u32, String>,
    /// An idle process instead of the workload; the record stays as it is.
    hold: bool,
    /// It gets its places in networks.
    networks: bool,
    /// The removed instance's folder, out of sight.
    hidden: Option<PathBuf>,
    terminal: Option<isola_proto::spec::TermSize>,
    log: LogWriter,
    input: Input,
    owed: u32,
    /// The stop signal was sent: SIGKILL follows then.
    kill_at: Option<Instant>,
    /// Somebody has asked for its stop, and that is to be told.
    stop_asked: bool,
    /// The workload has ended and that is not told yet; for how long it ran.
    died: Option<u64>,
    /// SIGKILL was sent: the wall is torn down then.
    destroy_at: Option<Instant>,
    backoff: Duration,
    /// The wall that is being put up is the second one.
    tried_again: bool,

    attached: Vec<Address>,
    /// Those of the attached whose input is passed on.
    typing: Vec<Address>,
    launchers: Vec<Address>,
    stoppers: Vec<Address>,
    waiters: Vec<Address>,
    /// How its health is being found out.
    health: Option<HealthWatch>,
    /// Who waits until it is healthy.
    health_waiters: Vec<Address>,
    execs: BTreeMap<u32, Exec>,
    queries: BTreeMap<u32, Address>,
    next: u32,
}

impl Supervisor {
    /// Serves until the instance has come to rest.
    fn run(&mut self) -> Result<()> {
        let mut set = PollSet::default();
        while !matches!(self.phase, Phase::Done) {
            set.clear();
            self.register(&mut set);
            let timeout = self.timeout();
            set.wait(timeout)
                .map_err(|error| crate::Error::system("wait for events", error))?;
            self.dispatch(&set)
                .map_err(|error| crate::Error::system("serve the instance", error))?;
        }
        self.clients.flush(Duration::from_secs(2));
        match self.hidden.take() {
            // While the hidden tree is there, a crash of this is found.
            Some(hidden) => self
                .links
                .borrow_mut()
                .tidy()
                .and_then(|()| remove_tree(&hidden)),
            None => Ok(()),
        }
    }

    fn register(&mut self, set: &mut PollSet) {
        set.add(self.signals.as_fd(), true, false);
        if let Some(listener) = &self.listener {
            set.add(listener.as_fd(), true, false);
        }
        self.clients.register(set);
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.register(set);
        }
        self.links.borrow().register(set);
    }

    fn timeout(&mut self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Ending(at) | Phase::Waiting(at) => Some(at),
            _ => None,
        };
        let now = Instant::now();
        let own = [phase, self.kill_at, self.destroy_at, self.health_due()]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(now));
        own.chain(self.sandbox.as_mut().and_then(|sandbox| sandbox.timeout()))
            .chain(self.links.borrow().timeout())
            .min()
    }

    fn dispatch(&mut self, set: &PollSet) -> io::Result<()> {
        if self.signals.pending(set) {
            self.stop_by_signal();
        }
        if let Some(listener) = &self.listener
            && set.readable(listener.as_fd())
            && let Ok((socket, _)) = listener.accept()
        {
            self.clients.add(socket.into());
        }
        for (client, frame) in self.clients.dispatch(set) {
            self.client_frame(client, frame);
        }
        self.forget_the_gone();
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.dispatch(set)?;
        }
        self.links.borrow_mut().dispatch(set);
        self.peer_frames();
        self.feed_input();
        self.settle_credit();
        self.advance();
        Ok(())
    }

    /// Clients that left: their processes go on, unheard.
    fn forget_the_gone(&mut self) {
        for gone in self.clients.reap() {
            for list in [
                &mut self.attached,
                &mut self.typing,
                &mut self.launchers,
                &mut self.stoppers,
                &mut self.waiters,
                &mut self.health_waiters,
            ] {
                list.retain(|address| address.client != gone);
            }
            self.queries.retain(|_, address| address.client != gone);
            let left: Vec<u32> = self
                .execs
                .iter_mut()
                .filter(|(_, exec)| exec.owner.is_some_and(|owner| owner.client == gone))
                .map(|(channel, exec)| {
                    exec.owner = None;
                    *channel
                })
                .collect();
            for channel in left {
                self.to_peer(&isola_proto::Request::Detach { channel });
            }
            if matches!(self.phase, Phase::Idle) && self.clients.is_empty() {
                // Killed before it could say what to launch: nobody else will.
                self.rest(|_| {});
            }
            if self.hold && self.clients.is_empty() {
                self.begin_stop(libc::SIGTERM, Some(Duration::from_secs(1)));
            }
        }
    }

    fn write_status(&self) {
        let written = match self.record.is_transient() {
            true => write_json_unsynced(&self.paths.status(), &self.status),
            false => write_json(&self.paths.status(), &self.status),
        };
        if let Err(error) = written {
            eprintln!("isola-supervisor: {error}");
        }
    }
}
