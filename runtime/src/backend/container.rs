//! Namespaces and cgroups on the host's own kernel.
//!
//! The peer is the process server inside the supervisor itself; its processes are
//! made by `isola_init`, with the overlay of the image's layers as their root.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use isola_init::server::{Filter, Server, Spawner, list_processes};
use isola_init::stream::{Peer, PollSet};
use isola_init::{Child, Launch, Pid, Root, Streams, Target, Texts};
use isola_net::link::veth;
use isola_netlink::{Socket, configure, in_namespace, refuse_router_advertisements};
use isola_proto::message::{Process, Usage};
use isola_proto::spec::TextFile;
use isola_proto::{ErrorKind, Failure, Interface, ProcessSpec, SandboxSpec};
use rustix::mount::{FsOpenFlags, fsopen};

use super::{Backend, LaunchContext, Sandbox, SandboxEnd, Unusable};
use crate::cgroup::{Cgroup, DevicePolicy, Limits};
use crate::error::{Error, Kind, Result};
use crate::links::{Link, Links};
use crate::rootfs::{RootFs, unmount_root};
use crate::state::Paths;
use crate::storage::Source;
use crate::workload::{Isolation, Workload};

/// How long killed processes may take to show as ended.
const PATIENCE: Duration = Duration::from_secs(2);
/// Namespaces that every container gets.
const NAMESPACES: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// Puts containers up.
#[derive(Clone, Copy, Debug)]
pub struct Container;

impl Backend for Container {
    fn isolation(&self) -> Isolation {
        Isolation::Container
    }

    fn probe(&self, _: &Paths) -> std::result::Result<(), Unusable> {
        if !rustix::process::geteuid().is_root() {
            return Err(Unusable::new("it needs root").hint("run isola as root, as with sudo"));
        }
        let missing = NAMESPACES
            .iter()
            .find(|name| !PathBuf::from(format!("/proc/self/ns/{name}")).exists());
        if let Some(name) = missing {
            return Err(Unusable::new(format!(
                "this kernel has no {name} namespaces"
            )));
        }
        fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| {
            Unusable::new(format!(
                "overlayfs can't be mounted: {}",
                io::Error::from(error)
            ))
            .hint("the kernel needs CONFIG_OVERLAY_FS, and the caller CAP_SYS_ADMIN")
        })?;
        Ok(())
    }

    fn holds(&self, workload: &Workload) -> (Limits, DevicePolicy) {
        (
            Limits::from(&workload.resources),
            DevicePolicy::of(workload),
        )
    }

    fn launch(&self, context: &LaunchContext<'_>) -> Result<Box<dyn Sandbox>> {
        let root = mount_root(context)?;
        let pid = Rc::new(Cell::new(None));
        let spawner = ContainerSpawner {
            root,
            cgroup: context.cgroup.clone(),
            links: Rc::clone(context.links),
            target: None,
            texts: Texts::default(),
            netns: None,
            pid: Rc::clone(&pid),
        };
        let sources = context.storage.sources().iter();
        Ok(Box::new(ContainerSandbox {
            server: Server::new(spawner),
            sources: sources.map(path_of).collect(),
            pid,
            down: false,
            killed: false,
        }))
    }
}

/// Where a source is: the container's maker sees what the supervisor sees.
fn path_of(source: &Source) -> Option<String> {
    match source {
        Source::Path { path, .. } => Some(path.display().to_string()),
        Source::None | Source::Disk { .. } => None,
    }
}

/// The mounted root; unmounted when dropped.
struct MountedRoot(PathBuf);

impl Drop for MountedRoot {
    fn drop(&mut self) {
        if let Err(error) = unmount_root(&self.0) {
            eprintln!("isola-supervisor: {error}");
        }
    }
}

fn mount_root(context: &LaunchContext<'_>) -> Result<MountedRoot> {
    let workload = &context.record.workload;
    let namespace = match &workload.security.userns {
        Some(maps) => {
            let made = isola_init::userns_fd(maps);
            Some(made.map_err(|error| {
                Error::system("make the user namespace of the image's layers", error)
            })?)
        }
        None => None,
    };
    let (upper, work, target) = (
        context.paths.upper(),
        context.paths.work(),
        context.paths.mount(),
    );
    match fs::create_dir(&target) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io("make the folder", &target, error));
        }
        _ => {}
    }
    let root = RootFs {
        layers: &context.record.layers,
        upper: &upper,
        work: &work,
        target: &target,
        namespace: namespace.as_ref().map(AsFd::as_fd),
        volatile: context.record.is_transient(),
    };
    root.mount()?;
    Ok(MountedRoot(target))
}

/// A container. Its surroundings are the kernel's: they end with its first process.
struct ContainerSandbox {
    server: Server<ContainerSpawner>,
    sources: Vec<Option<String>>,
    /// The first process.
    pid: Rc<Cell<Option<i32>>>,
    down: bool,
    killed: bool,
}

impl Sandbox for ContainerSandbox {
    fn peer(&mut self) -> &mut dyn Peer {
        &mut self.server
    }

    fn register(&self, set: &mut PollSet) {
        self.server.register(set);
    }

    fn dispatch(&mut self, set: &PollSet) -> io::Result<()> {
        self.server.dispatch(set)
    }

    fn timeout(&self) -> Option<Duration> {
        self.server.timeout()
    }

    fn ended(&mut self) -> Option<SandboxEnd> {
        self.down.then(|| SandboxEnd {
            reason: "the container was shut down".to_owned(),
        })
    }

    fn shutdown(&mut self) {
        self.down = true;
    }

    fn kill(&mut self) {
        self.down = true;
        self.killed = true;
        let spawner = self.server.spawner();
        // The first process of a pid namespace takes all others with it; the group
        // has those that are not in the namespace.
        if let Some(target) = &spawner.target {
            let _ = isola_init::kill(&target.pidfd, libc::SIGKILL);
        }
        if let Err(error) = spawner.cgroup.kill() {
            eprintln!("isola-supervisor: {error}");
        }
        self.reap();
    }

    fn pid(&self) -> Option<i32> {
        self.pid.get()
    }

    fn sources(&self) -> Vec<Option<String>> {
        self.sources.clone()
    }

    fn plug(&mut self, link: &Link, default_routes: bool) -> Result<Interface> {
        let netns = self.server.spawner().netns.as_ref().ok_or_else(|| {
            Error::new(
                Kind::Conflict,
                "the container has no network namespace of its own yet",
            )
        })?;
        let made = veth(
            &link.attached,
            netns.as_fd(),
            &link.interface,
            default_routes,
        );
        Ok(made?)
    }

    fn replug(&mut self, link: &Link) -> Result<Interface> {
        let attached = &link.attached;
        let network = &attached.network;
        Ok(attached
            .lease
            .interface(network, &link.interface, None, true))
    }

    fn unplug(&mut self, _: &Link) -> Result<Option<Interface>> {
        // The link goes with the place in the network, inside and outside.
        Ok(None)
    }
}

impl Drop for ContainerSandbox {
    fn drop(&mut self) {
        if !self.killed {
            self.kill();
        }
    }
}

impl ContainerSandbox {
    /// Takes up the last output and the ends of processes that were killed, so
    /// that no zombie stays with the supervisor.
    fn reap(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut set = PollSet::default();
        while !self.server.is_idle() && Instant::now() < deadline {
            set.clear();
            self.server.register(&mut set);
            let wait = self
                .server
                .timeout()
                .unwrap_or(PATIENCE)
                .max(Duration::from_millis(1))
                .min(Duration::from_millis(20));
            if set
                .wait(Some(wait))
                .and_then(|()| self.server.dispatch(&set))
                .is_err()
            {
                return;
            }
        }
    }
}

/// Makes the processes of one container.
struct ContainerSpawner {
    root: MountedRoot,
    cgroup: Cgroup,
    links: Rc<RefCell<Links>>,
    /// The first process, once it was started.
    target: Option<Target>,
    /// Its small files.
    texts: Texts,
    /// Its network namespace, unless it is the host's.
    netns: Option<OwnedFd>,
    pid: Rc<Cell<Option<i32>>>,
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
        let entry = self.cgroup.entry().map_err(setup)?;
        (target.cgroup, target.tasks) = (entry.unified, entry.tasks);
        let result = isola_init::join(target, process, streams, &mut |_| Ok(()), Vec::new());
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
