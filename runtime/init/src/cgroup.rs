//! The cgroup tree as the sandbox sees it: what its cgroup namespace shows, which is
//! its own groups as the roots, or the maker's whole tree without a namespace of its own.

use std::os::fd::{BorrowedFd, OwnedFd};

use isola_proto::Failure;
use isola_proto::spec::Mount;
use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::mount::MountAttrFlags;

use crate::error::Setup;
use crate::mountfd::{attach, new_fs};
use crate::sys::{MountChange, mount_setattr};

/// One line of /proc/self/cgroup (cgroups(7)).
#[derive(Debug, PartialEq, Eq)]
enum Hierarchy {
    /// `0::`, the unified one.
    Unified,
    /// Controllers of version 1, mounted together.
    Controllers(String),
    /// A version 1 hierarchy with a name and no controller.
    Named(String),
}

fn parse(table: &str) -> Vec<Hierarchy> {
    table
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .map(|name| match name.strip_prefix("name=") {
            _ if name.is_empty() => Hierarchy::Unified,
            Some(name) => Hierarchy::Named(name.to_owned()),
            None => Hierarchy::Controllers(name.to_owned()),
        })
        .collect()
}

/// Moves the calling thread, the only one of its process, into groups of version 1
/// by their open `tasks` files.
pub(crate) fn enter(tasks: &[OwnedFd]) -> Result<(), Failure> {
    let write = |file| rustix::io::write(file, b"0").map(drop);
    tasks
        .iter()
        .try_for_each(write)
        .setup(|| "enter the control groups".to_owned())
}

/// The hierarchies that the kernel has, read before the root is changed.
pub(crate) fn hierarchies() -> String {
    std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// Mounts the tree on an open folder.
pub(crate) fn mount(target: BorrowedFd<'_>, mount: &Mount, table: &str) -> Result<(), Failure> {
    let attributes = MountAttrFlags::from_bits_retain(crate::sources::attributes(mount) as u32);
    let hierarchies = parse(table);
    if hierarchies
        .iter()
        .all(|hierarchy| *hierarchy == Hierarchy::Unified)
    {
        let tree = new_fs("cgroup2", &[], attributes)?;
        return attach(&tree, target).setup(|| "attach the cgroup tree".to_owned());
    }
    let folder = new_fs(
        "tmpfs",
        &[("mode", Some("0755")), ("size", Some("64k"))],
        attributes - MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?;
    attach(&folder, target).setup(|| "attach the cgroup tree".to_owned())?;
    for hierarchy in &hierarchies {
        mount_one(std::os::fd::AsFd::as_fd(&folder), hierarchy, attributes)?;
    }
    let readonly = MountChange {
        set: if mount.readonly {
            libc::MOUNT_ATTR_RDONLY
        } else {
            0
        },
        ..MountChange::default()
    };
    mount_setattr(std::os::fd::AsFd::as_fd(&folder), false, readonly)
        .setup(|| "make the cgroup tree read-only".to_owned())
}

fn mount_one(
    folder: BorrowedFd<'_>,
    hierarchy: &Hierarchy,
    attributes: MountAttrFlags,
) -> Result<(), Failure> {
    let (name, tree) = match hierarchy {
        Hierarchy::Unified => ("unified", new_fs("cgroup2", &[], attributes)?),
        Hierarchy::Named(name) => (
            name.as_str(),
            new_fs(
                "cgroup",
                &[("none", None), ("name", Some(name))],
                attributes,
            )?,
        ),
        Hierarchy::Controllers(list) => {
            let options: Vec<(&str, Option<&str>)> = list
                .split(',')
                .map(|controller| (controller, None))
                .collect();
            (list.as_str(), new_fs("cgroup", &options, attributes)?)
        }
    };
    let what = || format!("make the cgroup folder '{name}'");
    mkdirat(folder, name, Mode::from_raw_mode(0o755)).setup(what)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = openat(folder, name, flags, Mode::empty()).setup(what)?;
    attach(&tree, &target).setup(what)?;
    if name.contains(',') {
        for controller in name.split(',') {
            symlinkat(name, folder, controller).setup(what)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(
            parse("12:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/x\n"),
            [
                Hierarchy::Controllers("cpu,cpuacct".to_owned()),
                Hierarchy::Named("systemd".to_owned()),
                Hierarchy::Unified
            ]
        );
        assert_eq!(parse(""), []);
    }
}
