//! Drives `isola_init` for its tests: a job as JSON on standard input, what came of it as
//! JSON on standard output. A program of its own, because the maker of a sandbox must be
//! single-threaded and a test harness is not.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use isola_init::{Child, Launch, Pid, Root, Stdio, Streams, Target};
use isola_netlink::Socket;
use isola_proto::{ExitStatus, Failure, Mac, ProcessSpec, SandboxSpec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Job {
    spec: SandboxSpec,
    /// Folder; absent is an empty root.
    root: Option<String>,
    #[serde(default)]
    execs: Vec<ProcessSpec>,
    #[serde(default)]
    stdin: Vec<u8>,
    /// Sent to the first process once everything else is done.
    signal: Option<i32>,
    /// Opened without close-on-exec before anything else.
    #[serde(default)]
    leak: Vec<String>,
    /// Executed by descriptor.
    program: Option<String>,
    /// Handed on at these numbers.
    #[serde(default)]
    keep: Vec<(String, i32)>,
    /// Map the root's owners for the user namespace.
    #[serde(default)]
    idmap_root: bool,
    #[serde(default)]
    own_kernel: bool,
    /// End without a word while the sandbox runs, and tell its pid.
    #[serde(default)]
    abandon: bool,
    /// Fail when asked to put the child into its groups.
    #[serde(default)]
    enter_fails: bool,
    /// A bridge of this name is made in the child's network while it waits.
    link: Option<String>,
    /// Network namespace to join.
    netns: Option<String>,
    /// Version 2 group to be born in.
    cgroup: Option<String>,
}

#[derive(Default, Serialize)]
struct Outcome {
    failure: Option<Failure>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<ExitStatus>,
    /// Seen from the first process while it ran.
    pid: i32,
}

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("escape") {
        return escape();
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let job: Job = serde_json::from_str(&text)?;
    for path in &job.leak {
        let file = std::fs::File::open(path)?;
        fcntl_setfd(&file, FdFlags::empty())?;
        std::mem::forget(file);
    }
    let outcomes = run(&job)?;
    serde_json::to_writer(io::stdout(), &outcomes)?;
    io::stdout().flush()
}

/// Run inside: the classic way out of a chroot, then what is seen there.
fn escape() -> io::Result<()> {
    std::fs::create_dir_all("/tmp/inner")?;
    let above = std::fs::File::open("/")?;
    rustix::process::chroot("/tmp/inner")?;
    rustix::process::fchdir(&above)?;
    for _ in 0..64 {
        rustix::process::chdir("..")?;
    }
    rustix::process::chroot(".")?;
    let mut names: Vec<_> = std::fs::read_dir("/")?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    println!("{names:?}");
    Ok(())
}

fn run(job: &Job) -> io::Result<BTreeMap<String, Outcome>> {
    let mut outcomes = BTreeMap::new();
    let (streams, ends) = streams(&job.spec.process)?;
    let mut enter = |pid: Pid| {
        if job.enter_fails {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let Some(name) = &job.link else { return Ok(()) };
        let netns = std::fs::File::open(format!("/proc/{}/ns/net", pid.as_raw_nonzero()))?;
        Socket::route_in(netns.as_fd())
            .and_then(|mut socket| socket.add_bridge(name, Mac([2, 0, 0, 0, 0, 1])))
            .map(drop)
            .map_err(io::Error::other)
    };
    let root = job
        .root
        .as_ref()
        .map_or(Root::Empty, |path| Root::Path(path.into()));
    let mut launch = Launch::new(&job.spec, root, streams, &mut enter);
    launch.own_kernel = job.own_kernel;
    launch.cgroup = job
        .cgroup
        .as_ref()
        .map(std::fs::File::open)
        .transpose()?
        .map(OwnedFd::from);
    launch.netns = job
        .netns
        .as_ref()
        .map(std::fs::File::open)
        .transpose()?
        .map(OwnedFd::from);
    launch.program_fd = job
        .program
        .as_ref()
        .map(std::fs::File::open)
        .transpose()?
        .map(OwnedFd::from);
    for (path, number) in &job.keep {
        launch
            .keep
            .push((std::fs::File::open(path)?.into(), *number));
    }
    if job.idmap_root {
        launch.root = idmapped(job)?;
    }
    let child = match isola_init::launch(launch) {
        Ok(child) => child,
        Err(failure) => {
            outcomes.insert(
                "first".to_owned(),
                Outcome {
                    failure: Some(failure),
                    ..Outcome::default()
                },
            );
            return Ok(outcomes);
        }
    };
    if job.abandon {
        outcomes.insert(
            "first".to_owned(),
            Outcome {
                pid: pid(&child),
                ..Outcome::default()
            },
        );
        return Ok(outcomes);
    }
    let target = Target::of(&child, &job.spec.namespaces)?;
    for (number, process) in job.execs.iter().enumerate() {
        let (streams, ends) = self::streams(process)?;
        let outcome = match isola_init::join(&target, process, streams, &mut |_| Ok(()), Vec::new())
        {
            Ok(child) => follow(child, ends, &[])?,
            Err(failure) => Outcome {
                failure: Some(failure),
                ..Outcome::default()
            },
        };
        outcomes.insert(format!("exec{number}"), outcome);
    }
    if let Some(signal) = job.signal {
        isola_init::kill(&child.pidfd, signal)?;
    }
    outcomes.insert("first".to_owned(), follow(child, ends, &job.stdin)?);
    Ok(outcomes)
}

fn pid(child: &Child) -> i32 {
    child.pid.as_raw_nonzero().get()
}

/// The maker's ends of three pipes; none with a terminal.
struct Ends(Option<(OwnedFd, OwnedFd, OwnedFd)>);

fn streams(process: &ProcessSpec) -> io::Result<(Streams, Ends)> {
    if let Some(size) = process.terminal {
        return Ok((Streams::Terminal(size), Ends(None)));
    }
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let ((stdin, to), (from_out, stdout), (from_err, stderr)) = (pipe()?, pipe()?, pipe()?);
    Ok((
        Streams::Pipes(Stdio {
            stdin,
            stdout,
            stderr,
        }),
        Ends(Some((to, from_out, from_err))),
    ))
}

/// Feeds the process, collects what it writes, waits for it.
fn follow(child: Child, ends: Ends, stdin: &[u8]) -> io::Result<Outcome> {
    let mut outcome = Outcome {
        pid: pid(&child),
        ..Outcome::default()
    };
    match (ends.0, &child.terminal) {
        (Some((to, out, err)), _) => {
            // Jobs write less than a pipe holds.
            let mut to = std::fs::File::from(to);
            let _ = to.write_all(stdin);
            drop(to);
            collect(
                &[out.as_fd(), err.as_fd()],
                &mut [&mut outcome.stdout, &mut outcome.stderr],
            )?;
        }
        (None, Some(master)) => {
            rustix::io::write(master, stdin)?;
            collect(&[master.as_fd()], &mut [&mut outcome.stdout])?;
        }
        (None, None) => {}
    }
    outcome.status = Some(isola_init::wait(&child.pidfd)?);
    Ok(outcome)
}

fn collect(from: &[std::os::fd::BorrowedFd<'_>], to: &mut [&mut Vec<u8>]) -> io::Result<()> {
    let mut open = vec![true; from.len()];
    while open.contains(&true) {
        let mut fds: Vec<PollFd<'_>> = from
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        for (number, fd) in fds.iter_mut().enumerate() {
            if !open[number] {
                *fd = PollFd::from_borrowed_fd(from[number], PollFlags::empty());
            }
        }
        poll(&mut fds, None)?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for number in 0..from.len() {
            if !(open[number] && ready[number]) {
                continue;
            }
            let mut bytes = [0; 65536];
            match rustix::io::read(from[number], &mut bytes) {
                // A terminal whose other end is closed.
                Ok(0) | Err(rustix::io::Errno::IO) => open[number] = false,
                Ok(length) => to[number].extend_from_slice(&bytes[..length]),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// The root as the user namespace's ids own it, attached at the folder `mapped` beside it.
fn idmapped(job: &Job) -> io::Result<Root> {
    use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
    let maps = job
        .spec
        .namespaces
        .user
        .as_ref()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let path = job.root.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
    let namespace = isola_init::userns_fd(maps)?;
    let tree = open_tree(
        rustix::fs::CWD,
        path.as_str(),
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )?;
    isola_init::idmap(tree.as_fd(), namespace.as_fd())?;
    // In a mount namespace of our own, so that nothing is left behind.
    isola_init::private_mounts()?;
    let target = std::fs::File::open(path)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &target, "", flags)?;
    let _ = target.as_raw_fd();
    Ok(Root::Path(path.into()))
}
