//! What makes the processes of a container, for the process server.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use isola_init::server::{Filter, Spawner, list_processes};
use isola_init::{Child, Launch, Pid, Root, Streams, Target, Texts};
use isola_net::link::veth;
use isola_netlink::{Socket, configure, in_namespace, refuse_router_advertisements};
use isola_proto::message::{Process, Usage};
use isola_proto::spec::TextFile;
use isola_proto::{ErrorKind, Failure, Interface, ProcessSpec, Program, SandboxSpec};

use super::container::MountedRoot;
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::joined::Joined;
use crate::links::Links;

/// Makes the processes of one container.
pub(super) struct ContainerSpawner {
    pub(super) root: MountedRoot,
    /// The upper folder of its overlay.
    pub(super) upper: PathBuf,
    pub(super) cgroup: Cgroup,
    pub(super) links: Rc<RefCell<Links>>,
    /// The first process, once it was started.
    pub(super) target: Option<Target>,
    /// Its small files.
    pub(super) texts: Texts,
    /// Its network namespace, unless it is the host's.
    pub(super) netns: Option<OwnedFd>,
    /// Namespaces of other instances, until the first process has entered them.
    pub(super) joined: Joined,
    /// Its pid namespace holds nobody else.
    pub(super) own_pids: bool,
    pub(super) pid: Rc<Cell<Option<i32>>>,
}

/// Makes all links and sets them up, while the first process waits.
fn connect(links: &Links, namespace: BorrowedFd<'_>) -> Result<()> {
    if links.all().is_empty() {
        return Ok(());
    }
    let mut interfaces = Vec::new();
    for link in links.all() {
        let default_routes = links.is_default(link);
        interfaces.push(veth(
            &link.attached,
            namespace,
            &link.interface,
            default_routes,
        )?);
    }
    let mut socket = Socket::route_in(namespace)?;
    Ok(configure(&mut socket, &interfaces)?)
}

fn setup(error: Error) -> Failure {
    Failure::from(error)
}

impl Spawner for ContainerSpawner {
    fn start(
        &mut self,
        spec: &SandboxSpec,
        streams: Streams,
    ) -> std::result::Result<Child, Failure> {
        let entry = self.cgroup.entry().map_err(setup)?;
        // It is born in its cgroups. Its network is taken hold of while it waits:
        // later it may be gone before we look.
        let mut netns = None;
        let mut enter = |pid: Pid| {
            if !spec.namespaces.net {
                return Ok(());
            }
            let path = format!("/proc/{}/ns/net", pid.as_raw_nonzero());
            let namespace = netns.insert(OwnedFd::from(fs::File::open(path)?));
            // Before the sysctls that the user asks for.
            in_namespace(namespace.as_fd(), refuse_router_advertisements)
                .and_then(|refused| refused)
                .map_err(io::Error::other)?;
            connect(&self.links.borrow(), namespace.as_fd()).map_err(io::Error::other)
        };
        let mut launch = Launch::new(spec, Root::Path(self.root.0.clone()), streams, &mut enter);
        launch.cgroup = entry.unified;
        launch.tasks = entry.tasks;
        launch.netns = self.links.borrow().namespace().map_err(|error| {
            Failure::new(
                ErrorKind::Setup,
                format!("cannot share the network: {error}"),
            )
        })?;
        let joined = std::mem::take(&mut self.joined);
        (launch.pidns, launch.ipcns, launch.shm) = (joined.pid, joined.ipc, joined.shm);
        self.own_pids = spec.namespaces.pid;
        let mut child = isola_init::launch(launch)?;
        self.texts = std::mem::take(&mut child.texts);
        let target = Target::of(&child, &spec.namespaces).map_err(|error| {
            let _ = isola_init::kill(&child.pidfd, libc::SIGKILL);
            let _ = isola_init::wait(&child.pidfd);
            Failure::new(
                ErrorKind::Setup,
                format!("cannot keep hold of the container: {error}"),
            )
        })?;
        self.pid.set(Some(target.pid.as_raw_nonzero().get()));
        self.target = Some(target);
        self.netns = netns;
        Ok(child)
    }

    fn exec(
        &mut self,
        process: &ProcessSpec,
        streams: Streams,
    ) -> std::result::Result<Child, Failure> {
        let target = self
            .target
            .as_mut()
            .ok_or_else(|| Failure::new(ErrorKind::Invalid, "the container was not started"))?;
        if matches!(process.program, Program::Changes { alone: true }) && !self.own_pids {
            let message = "the processes of others, which it sees, can't be ended";
            return Err(Failure::new(ErrorKind::Invalid, message));
        }
        let keep = isola_init::changes(&process.program, &self.upper, target.user)?;
        // Who reads the changes stays with the supervisor: the group may be frozen.
        if keep.is_empty() {
            let entry = self.cgroup.entry().map_err(setup)?;
            (target.cgroup, target.tasks) = (entry.unified, entry.tasks);
        }
        let result = isola_init::join(target, process, streams, &mut |_| Ok(()), keep);
        (target.cgroup, target.tasks) = (None, Vec::new());
        result
    }

    fn processes(&mut self) -> std::result::Result<Vec<Process>, Failure> {
        let pids = self.cgroup.processes().map_err(setup)?;
        list_processes(Filter::Pids(&pids)).map_err(|error| {
            Failure::new(
                ErrorKind::Setup,
                format!("cannot list the processes: {error}"),
            )
        })
    }

    fn usage(&mut self) -> std::result::Result<Usage, Failure> {
        let mut usage = self.cgroup.usage().map_err(setup)?;
        if let Some(target) = &self.target {
            let table =
                fs::read_to_string(format!("/proc/{}/net/dev", target.pid.as_raw_nonzero()))
                    .unwrap_or_default();
            (usage.net_rx, usage.net_tx) = network(&table);
        }
        Ok(usage)
    }

    fn oom_killed(&mut self) -> bool {
        self.cgroup.oom_killed()
    }

    fn interfaces(&mut self, interfaces: &[Interface]) -> std::result::Result<(), Failure> {
        let invalid = |message| Err(Failure::new(ErrorKind::Invalid, message));
        let netns = match &self.netns {
            Some(netns) => netns,
            None if self.target.is_none() => return invalid("the container was not started"),
            None => return invalid("the container has no network namespace of its own"),
        };
        Socket::route_in(netns.as_fd())
            .and_then(|mut socket| configure(&mut socket, interfaces))
            .map_err(|error| Failure::new(ErrorKind::Setup, error.to_string()))
    }

    fn rewrite(&mut self, files: &[TextFile]) -> std::result::Result<(), Failure> {
        self.texts.rewrite(files)
    }
}

/// Bytes received and sent over all links but loopback (proc_pid_net(5)).
fn network(table: &str) -> (u64, u64) {
    let rows = table
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.trim() != "lo");
    rows.fold((0, 0), |(received, sent), (_, numbers)| {
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        let at = |index| numbers.get(index).copied().unwrap_or(0);
        (at(0).saturating_add(received), at(8).saturating_add(sent))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_does_not_count_as_network() {
        let table = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  999    9    0    0    0     0          0         0      999    9    0    0    0     0       0          0
  eth0: 1500    3    0    0    0     0          0         0      700    2    0    0    0     0       0          0
  eth1:  500    1    0    0    0     0          0         0       30    2    0    0    0     0       0          0
";
        assert_eq!(network(table), (2000, 730));
        assert_eq!(network(""), (0, 0));
    }
}
