//! The program `isola-supervisor ROOT ID LOCK CONTROL`: data root, instance id,
//! and the inherited descriptors of the instance's lock and of the connection to
//! the command that starts it.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use crate::control::socket_path;
use crate::error::{Error, Kind, Result};
use crate::events::Events;
use crate::links::Links;
use crate::rootfs::enter_private_mounts;
use crate::state::{Lock, Names, Paths, read_json};

use super::clients::Clients;
use super::input::Input;
use super::log::LogWriter;
use super::signals::Signals;
use super::{MAIN, Phase, Supervisor};

/// Entry point of the supervisor's program.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isola-supervisor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, id, lock, control] = arguments.as_slice() else {
        return Err(Error::new(
            Kind::Invalid,
            "this program is started by isola, not by hand",
        ));
    };
    let (lock, control) = (inherited(lock)?, inherited(control)?);
    let mut supervisor = prepare(PathBuf::from(root), id, lock)?;
    supervisor.clients.add(control);
    supervisor.run()
}

fn prepare(root: PathBuf, id: &str, lock: OwnedFd) -> Result<Supervisor> {
    let paths = Paths::new(root);
    let instance = paths.instance(id);
    let lost = |what: &str| Error::new(Kind::System, format!("instance {id} has no {what}"));
    let record: crate::state::Record =
        read_json(&instance.config())?.ok_or_else(|| lost("record"))?;
    let status = read_json(&instance.status())?.ok_or_else(|| lost("status"))?;
    // Fails when it is a group leader already, which is as good.
    let _ = rustix::process::setsid();
    enter_private_mounts()?;
    let _ = std::fs::remove_file(instance.socket());
    let folder = std::fs::File::open(instance.dir())
        .map_err(|error| Error::io("open", instance.dir(), error))?;
    let listener = UnixListener::bind(socket_path(&folder, "control.sock"))
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| Error::io("listen on", &instance.socket(), error))?;
    let log = LogWriter::open(&instance.log(), &record.workload.log)
        .map_err(|error| Error::io("open", &instance.log(), error))?;
    Ok(Supervisor {
        names: Names::new(&paths),
        links: Rc::new(RefCell::new(Links::none(&paths, &record))),
        events: Events::of(&paths),
        storage: None,
        plugging: Default::default(),
        paths: instance,
        root: paths,
        record,
        status,
        _lock: Lock::inherited(lock),
        listener: Some(listener),
        signals: Signals::listen().map_err(|error| Error::system("listen to signals", error))?,
        clients: Clients::default(),
        phase: Phase::Idle,
        sandbox: None,
        cgroup: None,
        hold: false,
        networks: true,
        hidden: None,
        terminal: None,
        log,
        input: Input::default(),
        owed: 0,
        kill_at: None,
        stop_asked: false,
        died: None,
        destroy_at: None,
        backoff: Duration::ZERO,
        tried_again: false,
        attached: Vec::new(),
        typing: Vec::new(),
        launchers: Vec::new(),
        stoppers: Vec::new(),
        waiters: Vec::new(),
        health: None,
        health_waiters: Vec::new(),
        execs: Default::default(),
        queries: Default::default(),
        next: MAIN,
    })
}

fn inherited(number: &str) -> Result<OwnedFd> {
    let fd: RawFd = number.parse().ok().filter(|fd| *fd > 2).ok_or_else(|| {
        Error::new(
            Kind::Invalid,
            format!("{number:?} is no inherited descriptor"),
        )
    })?;
    // SAFETY: the command that starts this program opened the descriptor for it
    // alone; nothing else here knows its number.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)
        .map_err(|error| Error::system(format!("use inherited descriptor {number}"), error))?;
    Ok(fd)
}
