//! A command on a terminal of its own, as a person has it: it is the terminal's
//! foreground, so that ctrl-c reaches it as it does there.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// A command on a terminal.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Terminal {
    /// Starts a command.
    ///
    /// # Panics
    /// There is no terminal, or no such command.
    pub fn start(mut command: Command) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let size = Winsize {
            ws_row: 40,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).expect("a size");
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let end: OwnedFd = ioctl_tiocgptpeer(&master, flags).expect("a terminal");
        let stdio = || Stdio::from(end.try_clone().expect("a descriptor"));
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        command.env("TERM", "xterm");
        let lead = || {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        };
        // SAFETY: two system calls.
        unsafe { command.pre_exec(lead) };
        let child = command.spawn().expect("the command");
        // It holds ends of the terminal, too, and must not outlive this.
        drop(command);
        drop(end);
        let mut reader = File::from(master.try_clone().expect("a descriptor"));
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal that nobody has open any more gives an error.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal {
            child,
            keyboard: File::from(master),
            screen,
            seen: Vec::new(),
        }
    }

    /// Types something; `\x03` is ctrl-c.
    ///
    /// # Panics
    /// The terminal is gone.
    pub fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).expect("a keyboard");
    }

    /// Waits until these words were shown.
    ///
    /// # Panics
    /// They do not come.
    #[track_caller]
    pub fn expect(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.shown().contains(words) {
            let left = until.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.extend(bytes),
                Err(error) => panic!("{words:?} did not come ({error}): {}", self.shown()),
            }
        }
    }

    /// All that was shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Waits for the end; gives the exit code (128+n when a signal ended it) and all
    /// that was shown.
    ///
    /// # Panics
    /// It takes too long.
    pub fn wait(mut self) -> (i32, String) {
        use std::os::unix::process::ExitStatusExt;
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            assert!(Instant::now() < until, "too long: {}", self.shown());
            self.seen.extend(self.screen.try_iter().flatten());
            std::thread::sleep(Duration::from_millis(5));
        };
        while let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(200)) {
            self.seen.extend(bytes);
        }
        let code = status.code();
        let code = code.unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        (code, self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes back that SIGINT and SIGQUIT are ignored, as a shell has it for what
/// runs in the background: the programs under test inherit it, and tests interrupt them.
pub fn hear_interrupts() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: the default action, before there are threads.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
