//! The program `git`, in a repository without a work tree.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use isola_build::GitScheme;

use crate::error::{Code, Failure, Result};

/// Settings of ours, which count more than anybody's: no hooks, no watchers, nothing in
/// the background, no submodules along the way, and no server that stands still.
const SETTINGS: [&str; 8] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
];
/// Variables of git that say who the user is and how servers are reached; all others,
/// such as `GIT_DIR`, would lead it elsewhere.
const KEPT: [&str; 6] = [
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_NO_VERIFY",
    "GIT_ASKPASS",
];
/// Bytes of an answer; of names of files, for one.
const LONGEST: u64 = 256 << 20;

/// A repository, and how its origin is reached.
pub(super) struct Git<'a> {
    pub(super) folder: PathBuf,
    pub(super) agent: Option<&'a Path>,
    pub(super) scheme: GitScheme,
}

impl Git<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("GIT_") && !KEPT.contains(&text.as_ref()) {
                command.env_remove(&name);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", self.protocols())
            .env("GIT_DIR", &self.folder)
            .stdin(Stdio::null());
        if let Some(agent) = self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(words);
        command
    }

    /// A server may redirect, but not to something that is worth less.
    fn protocols(&self) -> &'static str {
        match self.scheme {
            GitScheme::Https => "https",
            GitScheme::Http => "http:https",
            GitScheme::Git => "git",
            GitScheme::Ssh => "ssh",
            GitScheme::File => "file",
        }
    }

    /// Makes the repository, without anybody's template.
    pub(super) fn init(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)
            .map_err(|error| Failure::system(format!("make {}", self.folder.display()), error))?;
        let made = self.try_run(&["init", "--quiet", "--bare", "--template="])?;
        made.map(drop).map_err(|why| {
            Failure::new(Code::System, format!("git can't make a repository: {why}"))
        })
    }

    /// Runs it: what it says, or why it failed.
    pub(super) fn try_run(&self, words: &[&str]) -> Result<std::result::Result<Vec<u8>, String>> {
        let mut child = spawn(
            self.command(words)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        )?;
        let failed = |error| Failure::system("hear from git", error);
        let complaints = child.stderr.take();
        let (mut out, mut told) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let stream = complaints.into_iter();
                stream.for_each(|stream| drop(stream.take(LONGEST).read_to_end(&mut told)));
            });
            let mut stdout = child.stdout.take().into_iter();
            let read = stdout.try_for_each(|s| s.take(LONGEST).read_to_end(&mut out).map(drop));
            let _ = reader.join();
            read
        })
        .map_err(failed)?;
        let status = child.wait().map_err(failed)?;
        match status.success() {
            true => Ok(Ok(out)),
            false => Ok(Err(reason(&String::from_utf8_lossy(&told)))),
        }
    }

    /// Starts `cat-file`, which gives one object after the other.
    pub(super) fn objects(&self) -> Result<Objects> {
        let mut command = self.command(&["cat-file", "--batch"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = spawn(&mut command)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::internal("git has no streams"));
        };
        Ok(Objects {
            child,
            stdin: Some(stdin),
            stdout: std::io::BufReader::with_capacity(64 << 10, stdout),
        })
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new(Code::Unsupported, "the program git is not installed")
                .hint("install it, or fetch the files first and build from a folder")
        }
        _ => Failure::system("run git", error),
    })
}

/// What git says at the end of much that has failed before.
const GENERAL: &str = "Could not read from remote repository.";

/// The line that says why: the first that is marked, or what stands before one that says
/// nothing.
fn reason(told: &str) -> String {
    let lines = || told.lines().map(str::trim).filter(|line| !line.is_empty());
    let marked = |line: &&str| line.starts_with("fatal:") || line.starts_with("error:");
    let first = lines().find(|line| marked(line) && !line.ends_with(GENERAL));
    let before = lines().take_while(|line| !line.ends_with(GENERAL)).last();
    let line = first.or(before).unwrap_or("git has failed");
    // Git shows addresses with what they hold of passwords.
    let line = line
        .trim_start_matches("fatal: ")
        .trim_start_matches("error: ");
    let words = line.split(' ').map(super::shown);
    words.collect::<Vec<_>>().join(" ")
}

/// Objects of a repository.
pub(super) struct Objects {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: std::io::BufReader<ChildStdout>,
}

impl Objects {
    /// The size of a blob; exactly as many bytes and a line break can be read then.
    pub(super) fn open(&mut self, id: &str) -> std::io::Result<u64> {
        use std::io::{BufRead, Error};
        if let Some(stdin) = &mut self.stdin {
            writeln!(stdin, "{id}")?;
        }
        let mut line = String::new();
        Read::by_ref(&mut self.stdout)
            .take(256)
            .read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [found, "blob", size] if found == id => size.parse().map_err(Error::other),
            _ => Err(Error::other(format!("git has no file {id}"))),
        }
    }

    /// The content of what was opened.
    pub(super) fn content(&mut self) -> &mut dyn Read {
        &mut self.stdout
    }

    /// Takes the line break after a content.
    pub(super) fn close(&mut self) -> std::io::Result<()> {
        self.stdout.read_exact(&mut [0])
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        // Without more to come it ends, unless it waits for its reader.
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reason_is_told() {
        let told = "remote: hello\nfatal: couldn't find remote ref x\n\n";
        assert_eq!(super::reason(told), "couldn't find remote ref x");
        let told = "fatal: unable to access 'https://u:p@h.test/x/': no\nwarning: y\n";
        assert!(!super::reason(told).contains("u:p"));
        let told = "fatal: '/x' is none\nfatal: Could not read from remote repository.\n\nPlease\n";
        assert_eq!(super::reason(told), "'/x' is none");
        let told = "ssh: refused\nfatal: Could not read from remote repository.\n\nPlease\n";
        assert_eq!(super::reason(told), "ssh: refused");
        assert_eq!(super::reason(""), "git has failed");
    }
}
