//! The child of a launch: from a clone of the maker to a process in its own root.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use isola_proto::Failure;
use isola_proto::spec::SandboxSpec;
use rustix::process::setsid;
use rustix::thread::UnshareFlags;

use crate::control::{Control, Message};
use crate::error::{Setup, failure};
use crate::files::Scratch;
use crate::launch::{Launch, Prepared, Streams};
use crate::path::Tree;
use crate::process::{self, Descriptors};
use crate::pty::{self, Terminal};
use crate::root::{self, Root};
use crate::{cgroup, dev, fds, mask, mounts, net, sys, sysctl, userns};

/// The steps in the child. Each comment says what its place in the order depends on.
pub(crate) fn run(launch: &Launch<'_>, prepared: &Prepared<'_>, control: Control) -> ! {
    let steps = || -> Result<Descriptors, Failure> {
        process::settle_child()?;
        close_others(launch, prepared, &control)?;
        prepared.process.hide_title(launch.spec.init);
        cgroup::enter(&launch.tasks)?;
        match control.receive() {
            Ok(Message::Go) => {}
            _ => sys::exit(125),
        }
        setsid().setup(|| "make a session".to_owned())?;
        let namespaces = &launch.spec.namespaces;
        if namespaces.user.is_some() {
            userns::become_root()?;
            process::die_with_parent().setup(|| "tie the child to its maker".to_owned())?;
        }
        if namespaces.cgroup {
            // After `enter`: the group that we are in now is what the sandbox sees as the root.
            sys::unshare(UnshareFlags::NEWCGROUP).setup(|| "make a cgroup namespace".to_owned())?;
        }
        name_host(launch.spec)?;
        if namespaces.net && launch.netns.is_none() {
            net::loopback_up()?;
        }
        let terminal = put_root_together(launch, prepared, &control)?;
        hand_out(launch, terminal, &control)
    };
    match steps() {
        Ok(descriptors) => {
            process::become_it(&prepared.process, &descriptors, control, launch.spec.init)
        }
        Err(failure) => process::fail(&control, failure),
    }
}

/// Closes what the maker happened to have open: first thing, before anything that
/// the image has a say in.
fn close_others(
    launch: &Launch<'_>,
    prepared: &Prepared<'_>,
    control: &Control,
) -> Result<(), Failure> {
    let mut keep = vec![control.0.as_raw_fd(), prepared.tree.as_raw_fd()];
    keep.extend(
        prepared
            .sources
            .mounts
            .iter()
            .flatten()
            .map(AsRawFd::as_raw_fd),
    );
    keep.extend(prepared.sources.devices.values().map(AsRawFd::as_raw_fd));
    keep.extend(launch.keep.iter().map(|(fd, _)| fd.as_raw_fd()));
    keep.extend(launch.program_fd.as_ref().map(AsRawFd::as_raw_fd));
    keep.extend(launch.tasks.iter().map(AsRawFd::as_raw_fd));
    if let Streams::Pipes(stdio) = &launch.streams {
        keep.extend([&stdio.stdin, &stdio.stdout, &stdio.stderr].map(AsRawFd::as_raw_fd));
    }
    fds::close_all_but(&keep).setup(|| "close inherited descriptors".to_owned())
}

fn name_host(spec: &SandboxSpec) -> Result<(), Failure> {
    if let Some(name) = &spec.root.hostname {
        rustix::system::sethostname(name.as_bytes())
            .setup(|| format!("set the host name '{name}'"))?;
    }
    if let Some(name) = &spec.root.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .setup(|| format!("set the domain name '{name}'"))?;
    }
    Ok(())
}

/// From the maker's file tree to the sandbox's.
fn put_root_together(
    launch: &Launch<'_>,
    prepared: &Prepared<'_>,
    control: &Control,
) -> Result<Option<Terminal>, Failure> {
    let spec = &launch.spec.root;
    let root = Tree(prepared.tree.as_fd());
    root::make_private()?;
    // Below the root, so that no path leads to it.
    let scratch = Scratch::new(&spec.files)?;
    root::stack(prepared.tree.as_fd())?;
    let dev = mounts::make_all(root, launch.spec, &prepared.sources, &prepared.cgroups)?;
    dev::make_devices(root, &spec.devices, &prepared.sources)?;
    let terminal = match (&launch.streams, &dev) {
        (Streams::Pipes(_), _) => None,
        (Streams::Terminal(size), Some(dev)) => {
            let terminal = pty::allocate(dev.pts.as_fd(), *size)?;
            pty::bind_console(dev, &terminal)?;
            Some(terminal)
        }
        (Streams::Terminal(_), None) => {
            return Err(failure("a terminal needs a /dev among the mounts"));
        }
    };
    for (number, file) in scratch.show(root, &spec.files)? {
        control
            .send(&Message::Text(number, file))
            .setup(|| "hand a file over".to_owned())?;
    }
    sysctl::write(&spec.sysctls)?;
    if launch.spec.process.create_cwd {
        // While the root can be written.
        drop(process::open_cwd(root, &launch.spec.process)?);
    }
    if let Some(dev) = dev.filter(|_| mounts::dev_is_readonly(launch.spec)) {
        root::make_readonly(dev.folder.as_fd())?;
    }
    mask::make_readonly(root, &spec.readonly_paths)?;
    mask::hide(root, &spec.masked_paths, &scratch)?;
    if spec.readonly || matches!(launch.root, Root::Empty) {
        root::make_readonly(prepared.tree.as_fd())?;
    }
    root::enter(prepared.tree.as_fd(), 1)?;
    Ok(terminal)
}

/// Numbers the descriptors of the process; the master goes to the maker.
fn hand_out(
    launch: &Launch<'_>,
    terminal: Option<Terminal>,
    control: &Control,
) -> Result<Descriptors, Failure> {
    let keep = launch
        .keep
        .iter()
        .map(|(fd, number)| (fd.as_raw_fd(), *number))
        .collect();
    let program = launch.program_fd.as_ref().map(AsRawFd::as_raw_fd);
    let (stdio, terminal) = stdio_numbers(&launch.streams, terminal, control)?;
    Ok(Descriptors {
        stdio,
        keep,
        program,
        terminal,
    })
}

/// The numbers that are to become 0, 1 and 2.
pub(crate) fn stdio_numbers(
    streams: &Streams,
    terminal: Option<Terminal>,
    control: &Control,
) -> Result<([RawFd; 3], bool), Failure> {
    match (streams, terminal) {
        (Streams::Pipes(stdio), _) => Ok((
            [&stdio.stdin, &stdio.stdout, &stdio.stderr].map(AsRawFd::as_raw_fd),
            false,
        )),
        (Streams::Terminal(_), Some(terminal)) => {
            control
                .send(&Message::Terminal(terminal.master))
                .setup(|| "hand the terminal over".to_owned())?;
            // Closed when the descriptors are arranged.
            let slave = std::os::fd::IntoRawFd::into_raw_fd(terminal.slave);
            Ok(([slave; 3], true))
        }
        (Streams::Terminal(_), None) => Err(failure("there is no terminal")),
    }
}
