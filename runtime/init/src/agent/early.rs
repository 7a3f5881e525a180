//! What is done once, whatever the host will ask for: a root that can be pivoted
//! away from, drivers, the kernel's file systems.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use isola_proto::Failure;
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::process::{Resource, Rlimit, chdir, chroot, setrlimit};

use super::console::say;
use super::setup;

/// Limits of open descriptors that a distribution's init gives: the kernel's own
/// for PID 1 (4096) are too low for what images expect.
const NOFILE: Rlimit = Rlimit {
    current: Some(1024),
    maximum: Some(524_288),
};

/// The agent's own folder.
const OWN: &str = "/run/isola";

/// What the stream to the host needs.
pub(super) fn before_hello() -> Result<(), Failure> {
    // Modes of what is made below are meant as they are written.
    rustix::process::umask(Mode::empty());
    leave_rootfs().map_err(|error| setup(format!("can't set the root up: {error}")))?;
    mount_all(&[
        ("proc", "/proc", QUIET, c""),
        ("sysfs", "/sys", QUIET, c""),
        ("devtmpfs", "/dev", NODES, c"mode=0755"),
    ])?;
    load_modules();
    Ok(())
}

/// The rest, done while the host reads the hello.
pub(super) fn after_hello() -> Result<(), Failure> {
    mount_all(&[
        ("tmpfs", "/run", PLAIN, c"mode=0755"),
        ("cgroup2", "/sys/fs/cgroup", QUIET, c""),
    ])?;
    // All that is mounted for the sandbox comes below, and reaches it by way of
    // its own mounts alone.
    rustix::fs::mkdirat(CWD, OWN, Mode::RWXU)
        .map_err(|error| setup(format!("can't make {OWN}: {error}")))?;
    let _ = setrlimit(Resource::Nofile, NOFILE);
    // The workload's network namespace may be this one.
    crate::net::loopback_up()
}

const PLAIN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const NODES: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);
const QUIET: MountFlags = PLAIN.union(MountFlags::NOEXEC);

/// Mounts file systems: type, target, flags, options.
fn mount_all(mounts: &[(&str, &str, MountFlags, &CStr)]) -> Result<(), Failure> {
    for (kind, target, flags, options) in mounts {
        folder(target).map_err(|error| setup(format!("can't make {target}: {error}")))?;
        mount(*kind, *target, *kind, *flags, *options)
            .map_err(|error| setup(format!("can't mount {kind} on {target}: {error}")))?;
    }
    Ok(())
}

/// Makes one folder if it is not there.
fn folder(path: &str) -> io::Result<()> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The kernel unpacked the initramfs into its rootfs, which pivot_root(2) can't
/// replace. A bind mount of it on top of itself can be replaced.
fn leave_rootfs() -> io::Result<()> {
    let above = "/.root";
    folder(above)?;
    mount_bind("/", above)?;
    chdir(above)?;
    mount_move(".", "/")?;
    chroot(".")?;
    chdir("/")?;
    rustix::fs::rmdir(above)?;
    Ok(())
}

/// Loads the modules that the initramfs brought, in the order that it says. One
/// that fails is told; what needs it will fail with a better message.
fn load_modules() {
    let Ok(order) = fs::read_to_string("/modules.order") else {
        return;
    };
    for name in order.lines().map(str::trim).filter(|name| !name.is_empty()) {
        if let Err(error) = load_module(&Path::new("/modules").join(name)) {
            say(&format!("can't load the module {name}: {error}"));
        }
    }
}

fn load_module(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    // The initramfs is memory of the guest.
    let _ = fs::remove_file(path);
    Ok(())
}
