//! A further process in a sandbox that runs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use isola_proto::Failure;
use isola_proto::spec::{Namespaces, ProcessSpec};
use rustix::process::{Pid, setsid};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::child::stdio_numbers;
use crate::control::{Control, Message};
use crate::error::{Setup, failure};
use crate::files::Texts;
use crate::launch::{Child, ExitGuard, Streams, finish, go};
use crate::path::Tree;
use crate::process::{self, Checked, Descriptors};
use crate::sys::{self, Forked};
use crate::{cgroup, fds, pty, root, userns, wait};

/// The first process of a sandbox.
#[derive(Debug)]
pub struct Target {
    /// Its number.
    pub pid: Pid,
    /// Its descriptor, through which its namespaces are entered.
    pub pidfd: OwnedFd,
    /// The sandbox has a user namespace of its own.
    pub user: bool,
    /// As [`crate::Launch::cgroup`], for further processes.
    pub cgroup: Option<OwnedFd>,
    /// As [`crate::Launch::tasks`], for further processes.
    pub tasks: Vec<OwnedFd>,
}

impl Target {
    /// The target for what [`crate::launch`] gave.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn of(child: &Child, namespaces: &Namespaces) -> io::Result<Target> {
        Ok(Target {
            pid: child.pid,
            pidfd: child.pidfd.try_clone()?,
            user: namespaces.user.is_some(),
            cgroup: None,
            tasks: Vec::new(),
        })
    }
}

/// Starts a process in all namespaces of the target and returns when it has been
/// executed. It is a child of the caller's; `enter` is called before it is there, with
/// the number of a go-between whose control groups and limits it inherits.
///
/// # Errors
/// As [`crate::launch`]; also when the target has ended.
pub fn join(
    target: &Target,
    process: &ProcessSpec,
    streams: Streams,
    enter: &mut dyn FnMut(Pid) -> io::Result<()>,
    keep: Vec<(OwnedFd, RawFd)>,
) -> Result<Child, Failure> {
    let checked = process::check(process)?;
    fds::check_targets(keep.iter().map(|(_, number)| *number))?;
    let (ours, theirs) = Control::pair().setup(|| "make a control socket".to_owned())?;
    let cgroup = target.cgroup.as_ref().map(AsFd::as_fd);
    match sys::clone3(0, cgroup).setup(|| "start a child process".to_owned())? {
        Forked::Child => {
            let _guard = ExitGuard;
            drop(ours);
            go_between(target, &checked, &streams, &keep, theirs)
        }
        Forked::Parent { pid, pidfd } => {
            drop(theirs);
            let between = pidfd.try_clone().setup(|| "copy a descriptor".to_owned());
            let went = between
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|_| go(&ours, pid, process, enter));
            let mut child = Child {
                pid,
                pidfd,
                terminal: None,
                texts: Texts::default(),
            };
            let result = finish(&ours, &mut child, &[], went);
            if let (true, Ok(between)) = (child.pid != pid, between) {
                // It ends as soon as it has handed on the process.
                let _ = wait::wait(between);
            }
            result.map(|()| child)
        }
    }
}

/// Enters the namespaces. A pid namespace can only be entered by a child, which is
/// made a sibling, so that it belongs to the caller.
fn go_between(
    target: &Target,
    checked: &Checked<'_>,
    streams: &Streams,
    keep: &[(OwnedFd, RawFd)],
    control: Control,
) -> ! {
    let steps = || -> Result<(), Failure> {
        // Not dumpable before any process of the sandbox can see us (CVE-2016-9962).
        process::settle_child()?;
        close_others(target, streams, keep, &control)?;
        checked.hide_title(false);
        cgroup::enter(&target.tasks)?;
        match control.receive() {
            Ok(Message::Go) => {}
            _ => sys::exit(125),
        }
        enter_namespaces(target)?;
        let forked = sys::clone3(libc::CLONE_PARENT as u64, None);
        match forked.setup(|| "start a process in the sandbox, which may be ending".to_owned())? {
            Forked::Child => Ok(()),
            Forked::Parent { pid, pidfd } => {
                let number = pid.as_raw_nonzero().get();
                let told = control.send(&Message::Process(number, pidfd));
                sys::exit(if told.is_ok() { 0 } else { 125 })
            }
        }
    };
    match steps().and_then(|()| settle(streams, keep, &control)) {
        Ok(descriptors) => process::become_it(checked, &descriptors, control, false),
        Err(failure) => process::fail(&control, failure),
    }
}

fn close_others(
    target: &Target,
    streams: &Streams,
    keep: &[(OwnedFd, RawFd)],
    control: &Control,
) -> Result<(), Failure> {
    let mut open = vec![control.0.as_raw_fd(), target.pidfd.as_raw_fd()];
    open.extend(keep.iter().map(|(fd, _)| fd.as_raw_fd()));
    open.extend(target.tasks.iter().map(AsRawFd::as_raw_fd));
    if let Streams::Pipes(stdio) = streams {
        open.extend([&stdio.stdin, &stdio.stdout, &stdio.stderr].map(AsRawFd::as_raw_fd));
    }
    fds::close_all_but(&open).setup(|| "close inherited descriptors".to_owned())
}

/// One call for all of them: the user namespace gives the right to enter the others.
fn enter_namespaces(target: &Target) -> Result<(), Failure> {
    let mut kinds = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    if target.user {
        kinds |= ThreadNameSpaceType::USER;
    }
    match move_into_thread_name_spaces(target.pidfd.as_fd(), kinds) {
        Err(rustix::io::Errno::SRCH) => Err(failure("the sandbox has ended")),
        other => other.setup(|| "enter the sandbox's namespaces".to_owned()),
    }?;
    if target.user {
        userns::become_root()?;
        process::die_with_parent().setup(|| "tie the child to its maker".to_owned())?;
    }
    Ok(())
}

/// In the new process: a session, and a terminal if one is wanted.
fn settle(
    streams: &Streams,
    keep: &[(OwnedFd, RawFd)],
    control: &Control,
) -> Result<Descriptors, Failure> {
    process::settle_child()?;
    setsid().setup(|| "make a session".to_owned())?;
    let terminal = match streams {
        Streams::Pipes(_) => None,
        Streams::Terminal(size) => {
            let root = root::open_current()?;
            Some(pty::allocate_in(Tree(root.as_fd()), *size)?)
        }
    };
    let (stdio, terminal) = stdio_numbers(streams, terminal, control)?;
    let keep = keep
        .iter()
        .map(|(fd, number)| (fd.as_raw_fd(), *number))
        .collect();
    Ok(Descriptors {
        stdio,
        keep,
        program: None,
        terminal,
    })
}
