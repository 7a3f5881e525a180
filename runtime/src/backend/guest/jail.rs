//! The container around a machine program: an empty root, namespaces of its own,
//! no capabilities. A guest that breaks out of its machine lands here.

use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;

use isola_init::{Child, Launch, Pid, Root, Stdio, Streams, launch};
use isola_proto::spec::{Capabilities, Mount, Namespaces, RootSpec, SockFilter};
use isola_proto::{ProcessSpec, Program, SandboxSpec};

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};

/// First number of a descriptor that a machine program inherits.
const FIRST: RawFd = 10;

/// Descriptors for a machine program, each at a number that is known before the
/// program runs.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    list: Vec<(OwnedFd, RawFd)>,
}

impl Descriptors {
    /// Adds one and returns its number in the program.
    pub(crate) fn add(&mut self, fd: impl Into<OwnedFd>) -> RawFd {
        let number = FIRST + RawFd::try_from(self.list.len()).unwrap_or(RawFd::MAX - FIRST);
        self.list.push((fd.into(), number));
        number
    }
}

/// A machine program to be started.
pub(crate) struct Jail<'a> {
    /// Executed by descriptor: the root is empty.
    pub(crate) program: Option<OwnedFd>,
    /// Program and arguments.
    pub(crate) args: Vec<String>,
    /// What it may see beyond nothing.
    pub(crate) mounts: Vec<Mount>,
    /// What it may call.
    pub(crate) seccomp: Vec<SockFilter>,
    /// Capabilities that it has.
    pub(crate) capabilities: &'a [&'a str],
    /// What it inherits.
    pub(crate) descriptors: Descriptors,
    /// Where its messages go.
    pub(crate) messages: &'a Path,
    /// Its cgroup.
    pub(crate) cgroup: &'a Cgroup,
}

impl Jail<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// The sandbox can't be made or the program can't be executed.
    pub(crate) fn start(self) -> Result<Child> {
        let mut spec = spec(self.args, self.mounts, self.seccomp);
        spec.process.capabilities = sets(self.capabilities);
        let null = || File::options().read(true).write(true).open("/dev/null");
        let stdin = null().map_err(|error| Error::io("open", Path::new("/dev/null"), error))?;
        let messages = File::options()
            .create(true)
            .append(true)
            .open(self.messages)
            .map_err(|error| Error::io("open", self.messages, error))?;
        let stdout = messages
            .try_clone()
            .map_err(|error| Error::system("duplicate a descriptor", error))?;
        let streams = Streams::Pipes(Stdio {
            stdin: stdin.into(),
            stdout: stdout.into(),
            stderr: messages.into(),
        });
        let cgroup = self.cgroup;
        let mut enter = |pid: Pid| {
            cgroup
                .join(pid.as_raw_nonzero().get())
                .map_err(std::io::Error::other)
        };
        let mut start = Launch::new(&spec, Root::Empty, streams, &mut enter);
        start.program_fd = self.program;
        start.keep = self.descriptors.list;
        launch(start).map_err(Error::from)
    }
}

fn spec(args: Vec<String>, mounts: Vec<Mount>, seccomp: Vec<SockFilter>) -> SandboxSpec {
    SandboxSpec {
        root: RootSpec {
            mounts,
            readonly: true,
            ..RootSpec::default()
        },
        process: ProcessSpec {
            program: Program::Exec { args },
            cwd: "/".to_owned(),
            no_new_privileges: true,
            seccomp,
            stdin: false,
            ..ProcessSpec::default()
        },
        namespaces: Namespaces {
            pid: true,
            net: true,
            ipc: true,
            uts: true,
            cgroup: true,
            user: None,
        },
        init: false,
    }
}

fn sets(names: &[&str]) -> Capabilities {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
        ..Capabilities::default()
    }
}

/// The last line that a machine program has written, for a report.
pub(crate) fn last_message(path: &Path) -> Option<String> {
    let text = std::fs::read(path).ok()?;
    let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    tail.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .map(|line| line.trim().chars().take(300).collect())
}

/// Opens a file of the host for a machine program.
///
/// # Errors
/// It can't be opened.
pub(crate) fn open(path: &Path, write: bool) -> Result<File> {
    File::options()
        .read(true)
        .write(write)
        .open(path)
        .map_err(|error| Error::io("open", path, error))
}
