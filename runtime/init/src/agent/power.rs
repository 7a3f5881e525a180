//! The end of a guest.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::system::{RebootCommand, reboot};

use super::console::say;
use super::disks;
use super::sys::{Children, look_at_children, signal_all};

/// Time between SIGTERM and SIGKILL, and after SIGKILL. Whoever asks for the end
/// has already given the workload its own time to stop.
const GRACE: Duration = Duration::from_millis(500);

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

fn release_disks() {
    rustix::fs::sync();
    for mount in [disks::ROOT, disks::WRITABLE] {
        if !Path::new(mount).exists() || unmount(mount, UnmountFlags::empty()).is_ok() {
            continue;
        }
        // Not mounted, or still in use: what was written is safe in either case.
        let _ = mount_remount(mount, MountFlags::RDONLY, "");
    }
}

/// Ends the machine at once.
pub(super) fn cut() -> ! {
    rustix::fs::sync();
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
