//! Words on the console: for people who look for the reason of a failed boot.

use std::fs::OpenOptions;
use std::io::Write;

use super::power;

/// Writes one line. A guest without console gets on without.
pub(super) fn say(message: &str) {
    // The kernel's own log is written out at once. What is written to the
    // console's terminal waits for interrupts and is lost at a power-off.
    let line = format!("<3>isola-agent: {}\n", message.replace('\n', " "));
    let log = OpenOptions::new().write(true).open("/dev/kmsg");
    if log
        .and_then(|mut log| log.write_all(line.as_bytes()))
        .is_err()
    {
        // Before /dev is there: PID 1 has the console as standard error.
        let _ = std::io::stderr().write_all(&line.as_bytes()[3..]);
    }
}

/// A panic of PID 1 would be one of the kernel, which tells nothing about ours.
pub(super) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        say(&format!("internal error: {info}"));
        power::cut();
    }));
}
