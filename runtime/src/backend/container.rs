//! Namespaces and cgroups on the host's own kernel.
//!
//! The peer is the process server inside the supervisor itself; its processes are
//! made by `isola_init`, with the overlay of the image's layers as their root.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use isola_init::server::Server;
use isola_init::stream::{Peer, PollSet};
use isola_init::{Orphans, Texts};
use isola_net::link::veth;
use isola_proto::Interface;
use rustix::mount::{FsOpenFlags, fsopen};

use super::spawner::ContainerSpawner;
use super::{Backend, LaunchContext, Sandbox, SandboxEnd, Unusable};
use crate::cgroup::{DevicePolicy, Limits};
use crate::error::{Error, Kind, Result};
use crate::links::Link;
use crate::rootfs::{RootFs, unmount_root};
use crate::state::Paths;
use crate::storage::Source;
use crate::workload::{Isolation, PidMode, Workload};

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
            upper: context.paths.upper(),
            cgroup: context.cgroup.clone(),
            links: Rc::clone(context.links),
            target: None,
            texts: Texts::default(),
            netns: None,
            joined: context.joined.take(),
            own_pids: true,
            pid: Rc::clone(&pid),
        };
        let sources = context.storage.sources().iter();
        let orphans = match context.record.workload.namespaces.pid {
            PidMode::Host => {
                let adopted = Orphans::adopt();
                Some(adopted.map_err(|error| Error::system("watch children", error))?)
            }
            // The first process of the namespace gets them.
            PidMode::Private | PidMode::Instance(_) => None,
        };
        Ok(Box::new(ContainerSandbox {
            server: Server::new(spawner),
            orphans,
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
pub(super) struct MountedRoot(pub(super) PathBuf);

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

/// A container. Its surroundings are the kernel's: they end with its first process, or
/// with its control group where it has no pid namespace of its own.
struct ContainerSandbox {
    server: Server<ContainerSpawner>,
    /// What its processes leave behind in the host's pid namespace.
    orphans: Option<Orphans>,
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
        if let Some(orphans) = &self.orphans {
            orphans.register(set);
        }
    }

    fn dispatch(&mut self, set: &PollSet) -> io::Result<()> {
        self.server.dispatch(set)?;
        if let Some(orphans) = &mut self.orphans {
            orphans.reap(set, |pid| self.server.owns(pid));
        }
        Ok(())
    }

    fn timeout(&self) -> Option<Duration> {
        self.server.timeout()
    }

    fn ended(&mut self) -> Option<SandboxEnd> {
        self.down.then(|| SandboxEnd {
            reason: "the container was shut down".to_owned(),
            again: false,
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
        // has those that are not in the namespace, which is all of them in a shared one.
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
