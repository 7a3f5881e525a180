//! Running the program and looking at what it did.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longest that one command may take before the test fails: guests are slow on a
/// busy machine, but a hang must not stop the suite.
const PATIENCE: Duration = Duration::from_secs(240);

/// Waits until it is so.
///
/// # Panics
/// It does not become so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE / 4;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a command left.
#[derive(Debug)]
pub struct Output {
    /// Exit code; 128+n when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    line: String,
}

impl Output {
    /// Runs a command with that on standard input.
    ///
    /// # Panics
    /// It can't be started, or takes too long.
    pub fn of(command: &mut Command, input: &[u8]) -> Output {
        let mut running = Running::piped(command);
        let mut stdin = running.stdin.take().expect("standard input");
        let input = input.to_vec();
        // A program that does not read its input must not block the test.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = running.wait();
        drop(writer);
        output
    }

    /// Expects success.
    ///
    /// # Panics
    /// The exit code is not 0.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.exits(0)
    }

    /// Expects this exit code.
    ///
    /// # Panics
    /// It is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        assert_eq!(
            self.code, code,
            "{}\nstdout: {}\nstderr: {}",
            self.line, self.stdout, self.stderr
        );
        self
    }

    /// Expects one clear error: this exit code, `error:` with these words in it,
    /// and nothing on standard output.
    ///
    /// # Panics
    /// It is otherwise.
    #[track_caller]
    pub fn fails(self, code: i32, words: &str) -> Output {
        let output = self.exits(code);
        let first = output
            .stderr
            .lines()
            .find(|line| line.starts_with("error:"))
            .unwrap_or_default();
        assert!(
            first.contains(words),
            "{}: no {words:?} in the error line of: {}",
            output.line,
            output.stderr
        );
        assert_eq!(output.stdout, "", "{}: an error and output", output.line);
        output
    }
}

/// A command that runs.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    line: String,
}

impl Running {
    /// Starts a command with pipes.
    pub fn start(mut command: Command) -> Running {
        Running::piped(&mut command)
    }

    fn piped(command: &mut Command) -> Running {
        let line = format!("{command:?}")
            .split(" \"")
            .skip(1)
            .collect::<Vec<_>>()
            .join(" \"");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdin = child.stdin.take();
        let stdout = collect(child.stdout.take().expect("a pipe"));
        let stderr = collect(child.stderr.take().expect("a pipe"));
        Running {
            child,
            stdin,
            stdout,
            stderr,
            seen: Vec::new(),
            line,
        }
    }

    /// Process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Types something.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin
            .as_mut()
            .expect("standard input is open")
            .write_all(bytes)
            .expect("standard input");
    }

    /// Ends standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until standard output holds these words.
    ///
    /// # Panics
    /// They do not come.
    pub fn expect(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            if String::from_utf8_lossy(&self.seen).contains(words) {
                return;
            }
            match self
                .stdout
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(bytes) => self.seen.extend(bytes),
                Err(error) => panic!(
                    "{}: {words:?} did not come ({error}); output: {}; errors: {}",
                    self.line,
                    String::from_utf8_lossy(&self.seen),
                    String::from_utf8_lossy(&self.stderr.try_iter().flatten().collect::<Vec<_>>())
                ),
            }
        }
    }

    /// Standard output so far.
    pub fn seen(&mut self) -> String {
        self.seen.extend(self.stdout.try_iter().flatten());
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Waits until standard error holds these words; they are taken from it.
    ///
    /// # Panics
    /// They do not come.
    pub fn expect_error(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(words) {
            let left = until.saturating_duration_since(Instant::now());
            match self.stderr.recv_timeout(left) {
                Ok(bytes) => seen.extend(bytes),
                Err(error) => panic!(
                    "{}: {words:?} did not come ({error}); errors: {}",
                    self.line,
                    String::from_utf8_lossy(&seen)
                ),
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a process id");
        let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal");
        rustix::process::kill_process(pid, signal).expect("kill");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It takes too long.
    pub fn wait(mut self) -> Output {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                panic!("{} took longer than {} s", self.line, PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        use std::os::unix::process::ExitStatusExt;
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        // A process in the background may hold the pipes: what is there is enough.
        let rest = |receiver: &Receiver<Vec<u8>>| {
            let mut bytes = Vec::new();
            while let Ok(more) = receiver.recv_timeout(Duration::from_secs(2)) {
                bytes.extend(more);
            }
            bytes
        };
        let mut stdout = std::mem::take(&mut self.seen);
        stdout.extend(rest(&self.stdout));
        let stderr = rest(&self.stderr);
        Output {
            code,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            line: self.line.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(count) = pipe.read(&mut bytes) {
            if count == 0 || sender.send(bytes[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
