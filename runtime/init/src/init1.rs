//! The small first process: forwards signals to the workload, reaps what is left
//! to it, and ends as the workload ends. Also the process that only holds a sandbox open.

use rustix::process::{Pid, WaitOptions, WaitStatus, kill_process, set_child_subreaper, wait};

use crate::sys;

/// Signals that the process itself causes, or that the terminal sends to the whole
/// group: forwarding them would make no sense.
const OWN: [i32; 10] = [
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGPIPE,
];

/// Forks. Returns in the child, in a process group of its own that has the terminal
/// if there is one; the caller stays behind as the first process.
pub(crate) fn split(terminal: bool) -> std::io::Result<()> {
    sys::block_signals();
    if rustix::process::getpid() != Pid::INIT {
        set_child_subreaper(Some(rustix::process::getpid()))?;
    }
    match sys::fork()? {
        None => {
            rustix::process::setpgid(None, None)?;
            if terminal {
                // SIGTTOU is still blocked, so that this does not stop us.
                rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid())?;
            }
            crate::process::die_with_parent()?;
            sys::reset_signals();
            Ok(())
        }
        Some(child) => forward(child),
    }
}

fn forward(child: Pid) -> ! {
    let _ = sys::close_range(0, u32::MAX);
    let _ = rustix::thread::set_name(c"isola-init");
    loop {
        let Ok((number, _)) = sys::wait_signal() else {
            continue;
        };
        if number == libc::SIGCHLD {
            if let Some(code) = reap(Some(child)) {
                sys::exit(code);
            }
        } else if !OWN.contains(&number)
            && let Some(signal) = sys::signal(number)
        {
            let _ = kill_process(child, signal);
        }
    }
}

/// Waits for SIGTERM or SIGINT, reaping what is left to it.
pub(crate) fn idle() -> ! {
    let _ = rustix::thread::set_name(c"isola-builtin");
    loop {
        match sys::wait_signal() {
            Ok((libc::SIGTERM | libc::SIGINT, _)) => sys::exit(0),
            Ok((libc::SIGCHLD, _)) => {
                reap(None);
            }
            _ => {}
        }
    }
}

/// Takes up every child that has ended; the exit code when `main` is among them.
fn reap(main: Option<Pid>) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if Some(pid) == main {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}
