//! The end of a guest.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use isola_proto::spec::SHARES;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::system::{RebootCommand, reboot};

use super::console::say;
use super::sys::signal_all;
use super::{disks, volumes};
use crate::children::{Children, look_at_children};

/// Time between SIGTERM and SIGKILL, and after SIGKILL. Whoever asks for the end
/// has already given the workload its own time to stop.
const GRACE: Duration = Duration::from_millis(500);

/// How long whoever serves the host's folders may take to write everything.
const SHARES_PATIENCE: Duration = Duration::from_secs(5);

/// Ends all processes, writes everything to the disks and powers off.
pub(super) fn off(why: &str) -> ! {
    if !why.is_empty() {
        say(&format!("power off: {why}"));
    }
    end_processes();
    release_disks();
    cut()
}

fn end_processes() {
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        if childless_within(Duration::ZERO) {
            return;
        }
        signal_all(signal);
        // Stopped processes take SIGTERM only when they go on.
        signal_all(libc::SIGCONT);
        if childless_within(GRACE) {
            return;
        }
    }
    say("some processes can't be ended");
}

/// Buries children until there is none. All processes of the guest are, or by
/// the death of their parents become, children of PID 1.
fn childless_within(patience: Duration) -> bool {
    let start = Instant::now();
    loop {
        match look_at_children(true) {
            Children::None => return true,
            Children::Ended(_) => continue,
            Children::Run if start.elapsed() >= patience => return false,
            Children::Run => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Disks before the host's folders: whoever serves those may be gone, and then
/// whatever touches them waits for ever.
fn release_disks() {
    sync_disks();
    let _ = unmount(disks::ROOT, UnmountFlags::empty());
    for mount in mounted_disks() {
        // The sandbox's copy of the mount may be still on its way out, and holds
        // the file system then. Read-only, it is clean in any case.
        let _ = mount_remount(&mount, MountFlags::RDONLY, "");
        let _ = unmount(&mount, UnmountFlags::empty());
    }
    if Path::new(SHARES).exists() && !within(SHARES_PATIENCE, release_shares) {
        say("the host's folders can't be unmounted: whoever serves them does not answer");
    }
}

/// Where disks that are written to are mounted, if they are.
fn mounted_disks() -> impl Iterator<Item = String> {
    let volumes = (0..).map(volumes::volume);
    let there = |mount: &String| Path::new(mount).exists();
    std::iter::once(disks::WRITABLE.to_owned())
        .filter(there)
        .chain(volumes.take_while(there))
}

/// Writes everything to the disks. Not sync(2), which asks all file systems, those
/// of the host too.
fn sync_disks() {
    for mount in mounted_disks() {
        let _ = File::open(mount).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
    }
}

fn release_shares() {
    let _ = File::open(SHARES).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
    let _ = unmount(SHARES, UnmountFlags::empty());
}

/// Whether `work` is done in time. It goes on by itself else: no process is made
/// any more, so that a second thread is no harm.
fn within(patience: Duration, work: fn()) -> bool {
    let worker = std::thread::Builder::new().spawn(work);
    let start = Instant::now();
    worker.is_ok_and(|worker| {
        while !worker.is_finished() && start.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        worker.is_finished()
    })
}

/// Ends the machine at once.
pub(super) fn cut() -> ! {
    sync_disks();
    // Without ACPI the kernel knows no way to power off and would halt for ever,
    // which nobody outside can tell from a hang. A reset can be seen.
    if Path::new("/sys/firmware/acpi/tables/DSDT").exists() {
        let _ = reboot(RebootCommand::PowerOff);
    }
    let _ = reboot(RebootCommand::Restart);
    // Only a process that may not end the machine comes to here: never PID 1 of
    // a guest, but maybe a child of its that panicked.
    std::process::exit(125)
}
