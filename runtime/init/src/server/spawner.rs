//! What the process server needs from whoever makes processes.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use isola_proto::message::{Process, Usage};
use isola_proto::spec::TextFile;
use isola_proto::{ErrorKind, Failure, Interface, Kind, ProcessSpec, SandboxSpec};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};

use super::pump::{Input, Output};

pub use crate::launch::{Child, Stdio, Streams};

/// Makes processes for a [`super::Server`].
pub trait Spawner {
    /// Makes the sandbox and its first process. Returns after its execve.
    ///
    /// # Errors
    /// The failure that the asking side is told.
    fn start(&mut self, spec: &SandboxSpec, streams: Streams) -> Result<Child, Failure>;

    /// Makes a further process in the sandbox. Returns after its execve.
    ///
    /// # Errors
    /// The failure that the asking side is told.
    fn exec(&mut self, process: &ProcessSpec, streams: Streams) -> Result<Child, Failure>;

    /// The processes of the sandbox.
    ///
    /// # Errors
    /// The failure that the asking side is told.
    fn processes(&mut self) -> Result<Vec<Process>, Failure>;

    /// What the sandbox uses.
    ///
    /// # Errors
    /// The failure that the asking side is told.
    fn usage(&mut self) -> Result<Usage, Failure>;

    /// Whether the kernel has killed a process of the sandbox for want of memory.
    fn oom_killed(&mut self) -> bool;

    /// Sets links of the sandbox up; those that are not named stay as they are.
    ///
    /// # Errors
    /// The failure that the asking side is told.
    fn interfaces(&mut self, interfaces: &[Interface]) -> Result<(), Failure>;

    /// Gives small files of the sandbox another content ([`crate::Texts::rewrite`]).
    ///
    /// # Errors
    /// The failure that the asking side is told.
    fn rewrite(&mut self, files: &[TextFile]) -> Result<(), Failure>;
}

/// The server's ends of a process's streams.
pub(super) struct Ends {
    pub(super) input: Input,
    pub(super) outputs: Vec<Output>,
    /// The master side, for its size.
    pub(super) terminal: Option<Arc<OwnedFd>>,
    /// A slave side that is kept open, so that a program which closes all of its
    /// own and opens the terminal again does not find it hung up.
    pub(super) hold: Option<OwnedFd>,
}

/// The server's ends of pipes that were made; those of a terminal come with the
/// child.
pub(super) enum Prepared {
    Pipes(Ends),
    Terminal { stdin: bool },
}

/// Makes the streams that `process` asks for.
pub(super) fn prepare(process: &ProcessSpec) -> Result<(Streams, Prepared), Failure> {
    if let Some(size) = process.terminal {
        let prepared = Prepared::Terminal {
            stdin: process.stdin,
        };
        return Ok((Streams::Terminal(size), prepared));
    }
    pipes(process.stdin).map_err(|error| {
        Failure::new(
            ErrorKind::Setup,
            format!("can't make the standard streams: {error}"),
        )
    })
}

fn pipes(stdin: bool) -> rustix::io::Result<(Streams, Prepared)> {
    let (stdin, input) = if stdin {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        (theirs, Input::pipe(nonblocking(ours)?))
    } else {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
        (null, Input::none())
    };
    let (out, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (err, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let outputs = vec![
        Output::new(Kind::Stdout, nonblocking(out)?),
        Output::new(Kind::Stderr, nonblocking(err)?),
    ];
    let streams = Streams::Pipes(Stdio {
        stdin,
        stdout,
        stderr,
    });
    let ends = Ends {
        input,
        outputs,
        terminal: None,
        hold: None,
    };
    Ok((streams, Prepared::Pipes(ends)))
}

fn nonblocking(fd: OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

impl Prepared {
    /// The ends, once the child is there.
    pub(super) fn ends(self, child: &mut Child) -> Result<Ends, Failure> {
        let stdin = match self {
            Prepared::Pipes(ends) => return Ok(ends),
            Prepared::Terminal { stdin } => stdin,
        };
        let setup = |message: String| Failure::new(ErrorKind::Setup, message);
        let master = child.terminal.take();
        let master = master.ok_or_else(|| setup("the process came without a terminal".into()))?;
        let master = nonblocking(master)
            .map_err(|error| setup(format!("can't set up the terminal: {error}")))?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = Arc::new(master);
        let input = match stdin {
            true => Input::terminal(Arc::clone(&master)),
            false => Input::none(),
        };
        Ok(Ends {
            input,
            outputs: vec![Output::terminal(Arc::clone(&master))],
            hold: ioctl_tiocgptpeer(master.as_fd(), flags).ok(),
            terminal: Some(master),
        })
    }
}
