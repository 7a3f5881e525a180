//! Starting a sandbox: what the maker does before and around the clone.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use isola_proto::Failure;
use isola_proto::spec::{Namespaces, SandboxSpec, TermSize, TextFile};
use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::control::{Control, Message};
use crate::error::{Setup, failure, reason};
use crate::files::Texts;
use crate::process::{self, Checked};
use crate::root::{self, Root};
use crate::sources::Sources;
use crate::sys::{self, Forked};
use crate::sysctl::Owned;
use crate::{cgroup, child, fds, limits, sysctl, userns, wait};

/// The three standard streams.
#[derive(Debug)]
pub struct Stdio {
    /// Read by the process.
    pub stdin: OwnedFd,
    /// Written by the process.
    pub stdout: OwnedFd,
    /// Written by the process.
    pub stderr: OwnedFd,
}

/// What a process reads and writes.
#[derive(Debug)]
pub enum Streams {
    /// These descriptors.
    Pipes(Stdio),
    /// A new terminal of the sandbox's own devpts; its master comes back as
    /// [`Child::terminal`].
    Terminal(TermSize),
}

/// A sandbox to be started.
pub struct Launch<'a> {
    /// Surroundings and process.
    pub spec: &'a SandboxSpec,
    /// Its root.
    pub root: Root,
    /// The process's streams; `spec.process.terminal` and `spec.process.stdin` are
    /// for whoever makes these.
    pub streams: Streams,
    /// Called with the child's pid before the child goes on: to put it into its
    /// cgroups and to make links in its new network namespace. Sysctls are written
    /// later, so that they can name such links; the maps of a user namespace are
    /// written before, by `launch`.
    pub enter: &'a mut dyn FnMut(Pid) -> io::Result<()>,
    /// A network namespace to join instead of making a new one. Its sysctls are
    /// refused but for [`Launch::own_kernel`]: it is another sandbox's.
    pub netns: Option<OwnedFd>,
    /// A pid namespace to join instead of making a new one: the kernel ends the
    /// sandbox together with that namespace (pid_namespaces(7)).
    pub pidns: Option<OwnedFd>,
    /// An IPC namespace to join instead of making a new one.
    pub ipcns: Option<OwnedFd>,
    /// The mount for [`isola_proto::spec::MountSource::JoinedShm`], as from
    /// [`crate::mount_of`].
    pub shm: Option<OwnedFd>,
    /// A folder of a version 2 cgroup hierarchy in which the child is born.
    pub cgroup: Option<OwnedFd>,
    /// The `tasks` files of version 1 cgroups, which the child enters itself. Moving a
    /// process by its number, as `enter` can, stops all forks of the host for 10 to
    /// 20 ms; a thread that moves itself stops nobody.
    pub tasks: Vec<OwnedFd>,
    /// Execute this open file; the arguments are those of the specification.
    pub program_fd: Option<OwnedFd>,
    /// Descriptors that the process inherits, at these numbers (3 to 1023).
    pub keep: Vec<(OwnedFd, RawFd)>,
    /// The kernel serves this sandbox alone (a guest's does): all of its sysctls
    /// may be written, those of no new namespace too.
    pub own_kernel: bool,
}

impl<'a> Launch<'a> {
    /// A sandbox with nothing special about it.
    pub fn new(
        spec: &'a SandboxSpec,
        root: Root,
        streams: Streams,
        enter: &'a mut dyn FnMut(Pid) -> io::Result<()>,
    ) -> Launch<'a> {
        Launch {
            spec,
            root,
            streams,
            enter,
            netns: None,
            pidns: None,
            ipcns: None,
            shm: None,
            cgroup: None,
            tasks: Vec::new(),
            program_fd: None,
            keep: Vec::new(),
            own_kernel: false,
        }
    }
}

/// A process that runs: its execve has succeeded.
#[derive(Debug)]
pub struct Child {
    /// Its number as the maker sees it.
    pub pid: Pid,
    /// Its descriptor: polls readable when it has ended, then [`crate::wait`] for it.
    pub pidfd: OwnedFd,
    /// Master of its terminal.
    pub terminal: Option<OwnedFd>,
    /// The small files of a sandbox that was made for it.
    pub texts: Texts,
}

/// What the maker opened and checked before the clone.
pub(crate) struct Prepared<'a> {
    pub(crate) process: Checked<'a>,
    pub(crate) tree: OwnedFd,
    pub(crate) sources: Sources,
    pub(crate) cgroups: String,
}

/// Starts a sandbox and returns when its first process has been executed. The child,
/// and with it the sandbox, is killed when this process (thread) ends.
///
/// # Errors
/// What could not be done, with the class that decides the exit code. Nothing is
/// left then: the child was waited for and its namespaces went with it.
pub fn launch(launch: Launch<'_>) -> Result<Child, Failure> {
    let prepared = prepare(&launch)?;
    let (ours, theirs) = Control::pair().setup(|| "make a control socket".to_owned())?;
    match start(&launch)? {
        Forked::Child => {
            // A panic must not unwind into the maker's code.
            let _guard = ExitGuard;
            drop(ours);
            child::run(&launch, &prepared, theirs)
        }
        Forked::Parent { pid, pidfd } => {
            drop((theirs, prepared));
            let mut child = Child {
                pid,
                pidfd,
                terminal: None,
                texts: Texts::default(),
            };
            let maps = launch.spec.namespaces.user.as_ref();
            let spec = &launch.spec.process;
            let went = maps
                .map_or(Ok(()), |maps| {
                    userns::write_maps(pid, maps).setup(|| "map the user namespace".to_owned())
                })
                .and_then(|()| go(&ours, pid, spec, launch.enter));
            finish(&ours, &mut child, &launch.spec.root.files, went)?;
            Ok(child)
        }
    }
}

/// Ends the child when it unwinds.
pub(crate) struct ExitGuard;

impl Drop for ExitGuard {
    fn drop(&mut self) {
        sys::exit(125);
    }
}

fn prepare<'a>(launch: &Launch<'a>) -> Result<Prepared<'a>, Failure> {
    let spec = launch.spec;
    let process = process::check(&spec.process)?;
    fds::check_targets(launch.keep.iter().map(|(_, number)| *number))?;
    sysctl::check(
        &spec.root.sysctls,
        Owned::new(&spec.namespaces, launch.netns.is_some(), launch.own_kernel),
    )?;
    if (spec.root.hostname.is_some() || spec.root.domainname.is_some()) && !spec.namespaces.uts {
        return Err(failure("a host name needs a UTS namespace of its own"));
    }
    let sources = Sources::open(spec, launch.shm.as_ref())?;
    Ok(Prepared {
        process,
        tree: root::take(&launch.root)?,
        sources,
        cgroups: cgroup::hierarchies(),
    })
}

/// The clone. Namespaces that exist are entered before it and left after it: a pid
/// namespace can't be entered later, and from inside a new user namespace the child
/// would not have the right to.
fn start(launch: &Launch<'_>) -> Result<Forked, Failure> {
    use LinkNameSpaceType::{InterProcessCommunication, Network, ProcessID};
    let joins = [
        (&launch.netns, Network, "net", "network"),
        (&launch.ipcns, InterProcessCommunication, "ipc", "IPC"),
        (&launch.pidns, ProcessID, "pid", "pid"),
    ];
    let mut own = Vec::new();
    let mut entered = Ok(());
    for (wanted, kind, file, name) in joins {
        let Some(wanted) = wanted else { continue };
        let what = || format!("enter the {name} namespace");
        entered = std::fs::File::open(format!("/proc/self/ns/{file}"))
            .setup(what)
            .and_then(|before| {
                own.push((before, kind, name));
                move_into_link_name_space(wanted.as_fd(), Some(kind)).setup(what)
            });
        if entered.is_err() {
            break;
        }
    }
    let flags = clone_flags(&launch.spec.namespaces, launch);
    let cgroup = launch.cgroup.as_ref().map(AsFd::as_fd);
    let forked =
        entered.and_then(|()| sys::clone3(flags, cgroup).setup(|| "start a child process".into()));
    if !matches!(forked, Ok(Forked::Child)) {
        for (before, kind, name) in own {
            move_into_link_name_space(before.as_fd(), Some(kind))
                .setup(|| format!("return to the maker's {name} namespace"))?;
        }
    }
    forked
}

fn clone_flags(namespaces: &Namespaces, launch: &Launch<'_>) -> u64 {
    // The cgroup namespace comes later: its root is the group that `enter` chooses.
    let flags = [
        (true, libc::CLONE_NEWNS),
        (namespaces.pid && launch.pidns.is_none(), libc::CLONE_NEWPID),
        (namespaces.net && launch.netns.is_none(), libc::CLONE_NEWNET),
        (namespaces.ipc && launch.ipcns.is_none(), libc::CLONE_NEWIPC),
        (namespaces.uts, libc::CLONE_NEWUTS),
        (namespaces.user.is_some(), libc::CLONE_NEWUSER),
    ];
    flags
        .into_iter()
        .filter_map(|(wanted, flag)| wanted.then_some(flag as u64))
        .sum()
}

/// Maker's side: what only it has the right to do, then the word to go on.
pub(crate) fn go(
    control: &Control,
    pid: Pid,
    process: &isola_proto::ProcessSpec,
    enter: &mut dyn FnMut(Pid) -> io::Result<()>,
) -> Result<(), Failure> {
    limits::raise(pid, &process.rlimits)?;
    if let Some(score) = process.oom_score_adj {
        limits::set_oom_score(pid, score)?;
    }
    enter(pid).setup(|| "set up the child's groups and links".to_owned())?;
    control
        .send(&Message::Go)
        .setup(|| "let the child go on".to_owned())
}

/// Maker's side: listens until the child's end closes, which it does at execve.
/// A child that failed is ended and waited for.
pub(crate) fn finish(
    control: &Control,
    child: &mut Child,
    files: &[TextFile],
    went: Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = match went {
        Ok(()) => listen(control, child, files),
        Err(failure) => Some(failure),
    };
    let Some(failed) = failed else { return Ok(()) };
    let _ = wait::kill(&child.pidfd, libc::SIGKILL);
    let _ = wait::wait(&child.pidfd);
    Err(failed)
}

/// What went wrong in the child, if anything did.
fn listen(control: &Control, child: &mut Child, files: &[TextFile]) -> Option<Failure> {
    let (mut ready, mut failed) = (false, None);
    loop {
        match control.receive() {
            Ok(Message::Ready) => ready = true,
            Ok(Message::Failed(failure)) => failed = Some(failure),
            Ok(Message::Terminal(master)) => child.terminal = Some(master),
            Ok(Message::Text(number, file)) => {
                if let Some(said) = files.get(number as usize) {
                    child.texts.add(said, file);
                }
            }
            Ok(Message::Process(number, pidfd)) => {
                child.pid = Pid::from_raw(number).unwrap_or(child.pid);
                child.pidfd = pidfd;
            }
            Ok(Message::Closed) => break,
            Ok(Message::Go | Message::Mount(_)) => {
                return Some(failure("the child sent a message out of turn"));
            }
            Err(error) => return Some(failure(format!("listen to the child: {}", reason(&error)))),
        }
    }
    match failed {
        None if !ready => Some(failure(
            "the child ended before its program could be started",
        )),
        failed => failed,
    }
}
