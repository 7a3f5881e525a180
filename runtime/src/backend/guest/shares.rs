//! The process that serves folders of the host to one guest (`isola-fsd`), in a
//! jail that holds nothing but these folders.

use std::os::unix::net::UnixStream;

use isola_init::{Child, kill};
use isola_proto::spec::{Mount, MountSource};

use crate::backend::LaunchContext;
use crate::engine::helper;
use crate::error::{Error, Result};

use super::jail::{Descriptors, Jail, open};
use super::plan::Share;

/// Where the jail shows the folders, by number.
const ROOT: &str = "/shares";
/// What keeping the owners, modes and attributes that a guest gives its files takes.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_MKNOD",
    "CAP_SETFCAP",
];

/// Starts the process; the socket is the machine's end.
///
/// # Errors
/// A folder is gone, or the program can't be started.
pub(crate) fn start(
    context: &LaunchContext<'_>,
    shares: &[Share],
) -> Result<Option<(Child, UnixStream)>> {
    if shares.is_empty() {
        return Ok(None);
    }
    let (theirs, ours) =
        UnixStream::pair().map_err(|error| Error::system("make a socket", error))?;
    let mut descriptors = Descriptors::default();
    let socket = descriptors.add(ours);
    let mut args: Vec<String> = ["isola-fsd", "--socket-fd", &socket.to_string()]
        .map(str::to_owned)
        .into();
    args.extend(["--root".to_owned(), ROOT.to_owned()]);
    args.extend(cached(shares));
    let messages = context.paths.dir().join("shares.log");
    let jail = Jail {
        program: Some(open(&helper("isola-fsd")?, false)?.into()),
        args,
        mounts: mounts(shares),
        // The program installs its own filter.
        seccomp: Vec::new(),
        capabilities: CAPABILITIES,
        descriptors,
        messages: &messages,
        cgroup: context.cgroup,
    };
    Ok(Some((jail.start()?, theirs)))
}

/// Names those that the guest may remember for a second.
fn cached(shares: &[Share]) -> impl Iterator<Item = String> {
    let numbers = shares.iter().enumerate().filter(|(_, share)| share.cached);
    numbers.flat_map(|(number, _)| ["--cached".to_owned(), number.to_string()])
}

fn mounts(shares: &[Share]) -> Vec<Mount> {
    let proc = Mount {
        target: "/proc".to_owned(),
        source: MountSource::Proc,
        readonly: false,
        nosuid: true,
        nodev: true,
        noexec: true,
    };
    let bind = |(number, share): (usize, &Share)| Mount {
        target: format!("{ROOT}/{number}"),
        source: MountSource::Bind {
            source: share.path.display().to_string(),
            recursive: true,
            propagation: "rprivate".to_owned(),
        },
        readonly: share.readonly,
        nosuid: true,
        // A device that a guest makes must not open one of the host's.
        nodev: true,
        noexec: true,
    };
    let shares = shares.iter().enumerate().map(bind);
    std::iter::once(proc).chain(shares).collect()
}

/// Ends the process and waits for it.
pub(crate) fn end(child: &Child) {
    let _ = kill(&child.pidfd, libc::SIGKILL);
    let _ = isola_init::wait(&child.pidfd);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_mounts_by_number_without_devices() {
        let share = |path: &str, readonly| Share {
            path: path.into(),
            readonly,
            cached: readonly,
        };
        let shares = [share("/a", false), share("/b", true)];
        assert_eq!(cached(&shares).collect::<Vec<_>>(), ["--cached", "1"]);
        let mounts = mounts(&shares);
        let targets: Vec<_> = mounts
            .iter()
            .map(|it| (it.target.as_str(), it.readonly))
            .collect();
        assert_eq!(
            targets,
            [("/proc", false), ("/shares/0", false), ("/shares/1", true)]
        );
        assert!(mounts.iter().all(|mount| mount.nodev && mount.nosuid));
    }
}
