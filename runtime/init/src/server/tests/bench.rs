//! A server with a spawner that runs the host's own programs, and what it said.

use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Instant;

use isola_proto::message::{Process, Usage};
use isola_proto::spec::{Program, TermSize, TextFile};
use isola_proto::{ExitStatus, Interface};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::server::*;

pub(super) struct Host;

impl Host {
    fn run(process: &ProcessSpec, streams: Streams) -> Result<Child, Failure> {
        let Program::Exec { args } = &process.program else {
            return Err(Failure::new(ErrorKind::Setup, "only programs here"));
        };
        let (stdio, terminal) = match streams {
            Streams::Pipes(stdio) => (stdio, None),
            Streams::Terminal(size) => {
                let (slave, master) = terminal(size);
                let stdio = Stdio {
                    stdin: slave.try_clone().unwrap(),
                    stdout: slave.try_clone().unwrap(),
                    stderr: slave,
                };
                (stdio, Some(master))
            }
        };
        let mut command = Command::new(&args[0]);
        command.args(&args[1..]).stdin(stdio.stdin);
        command.stdout(stdio.stdout).stderr(stdio.stderr);
        let child = command
            .spawn()
            .map_err(|error| Failure::new(ErrorKind::NotFound, error.to_string()))?;
        let pid = Pid::from_child(&child);
        Ok(Child {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty()).unwrap(),
            terminal,
            texts: crate::Texts::default(),
        })
    }
}

fn terminal(size: TermSize) -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).unwrap();
    (ioctl_tiocgptpeer(&master, flags).unwrap(), master)
}

impl Spawner for Host {
    fn start(&mut self, spec: &SandboxSpec, streams: Streams) -> Result<Child, Failure> {
        Host::run(&spec.process, streams)
    }

    fn exec(&mut self, process: &ProcessSpec, streams: Streams) -> Result<Child, Failure> {
        Host::run(process, streams)
    }

    fn processes(&mut self) -> Result<Vec<Process>, Failure> {
        Ok(Vec::new())
    }

    fn usage(&mut self) -> Result<Usage, Failure> {
        Err(Failure::new(ErrorKind::Setup, "no figures here"))
    }

    fn oom_killed(&mut self) -> bool {
        false
    }

    fn rewrite(&mut self, _: &[TextFile]) -> Result<(), Failure> {
        Ok(())
    }

    fn interfaces(&mut self, interfaces: &[Interface]) -> Result<(), Failure> {
        match interfaces.iter().find(|link| link.name != "eth0") {
            None => Ok(()),
            Some(link) => Err(Failure::new(ErrorKind::Setup, link.name.clone())),
        }
    }
}

pub(super) fn process(args: &[&str]) -> ProcessSpec {
    ProcessSpec {
        program: Program::Exec {
            args: args.iter().map(|arg| arg.to_string()).collect(),
        },
        stdin: true,
        ..ProcessSpec::default()
    }
}

pub(super) fn on_terminal(args: &[&str]) -> ProcessSpec {
    let mut all = vec!["setsid", "--ctty", "--wait"];
    all.extend(args);
    ProcessSpec {
        terminal: Some(TermSize { rows: 24, cols: 80 }),
        ..process(&all)
    }
}

/// A server, and what it said.
pub(super) struct Bench {
    pub(super) server: Server<Host>,
    pub(super) frames: Vec<Frame>,
    /// Grant credit for output as it comes.
    pub(super) generous: bool,
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench {
            server: Server::new(Host),
            frames: Vec::new(),
            generous: true,
        }
    }

    pub(super) fn started(process: ProcessSpec) -> Bench {
        let mut bench = Bench::new();
        bench.start(1, process);
        bench
    }

    pub(super) fn start(&mut self, channel: u32, process: ProcessSpec) {
        let spec = Box::new(SandboxSpec {
            process,
            ..SandboxSpec::default()
        });
        self.request(Request::Start { channel, spec });
    }

    pub(super) fn exec(&mut self, channel: u32, process: ProcessSpec) {
        let process = Box::new(process);
        self.request(Request::Exec { channel, process });
    }

    pub(super) fn request(&mut self, request: Request) {
        self.server.send(Frame::message(Kind::Request, &request));
    }

    pub(super) fn stdin(&mut self, channel: u32, bytes: &[u8]) {
        self.server
            .send(Frame::data(Kind::Stdin, channel, bytes.to_vec()));
    }

    pub(super) fn turn(&mut self) {
        let mut set = PollSet::default();
        self.server.register(&mut set);
        let timeout = self.server.timeout().unwrap_or(Duration::from_millis(20));
        set.wait(Some(timeout)).unwrap();
        self.server.dispatch(&set).unwrap();
        while let Some(frame) = self.server.next_frame() {
            if self.generous && matches!(frame.kind, Kind::Stdout | Kind::Stderr) {
                let count = frame.payload.len() as u32;
                let credit = Frame::credit(Kind::CreditOutput, frame.channel, count);
                self.server.send(credit);
            }
            self.frames.push(frame);
        }
    }

    pub(super) fn until(&mut self, what: impl Fn(&Bench) -> bool) {
        let start = Instant::now();
        while !what(self) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{}",
                self.story()
            );
            self.turn();
        }
    }

    pub(super) fn for_a_while(&mut self) {
        (0..10).for_each(|_| self.turn());
    }

    pub(super) fn events(&self) -> Vec<Event> {
        let events = self.frames.iter().filter(|frame| frame.kind == Kind::Event);
        events.map(|frame| frame.parse().unwrap()).collect()
    }

    pub(super) fn exits(&self, channel: u32) -> Vec<ExitStatus> {
        let of_channel = |event| match event {
            Event::Exited {
                channel: of,
                status,
                ..
            } if of == channel => Some(status),
            _ => None,
        };
        self.events().into_iter().filter_map(of_channel).collect()
    }

    pub(super) fn until_exit(&mut self, channel: u32) -> ExitStatus {
        self.until(|bench| !bench.exits(channel).is_empty());
        self.for_a_while();
        assert_eq!(self.exits(channel).len(), 1, "told once");
        self.exits(channel)[0]
    }

    pub(super) fn failures(&self) -> Vec<(u32, u32, ErrorKind)> {
        let events = self.events().into_iter();
        let failed = events.filter_map(|event| match event {
            Event::Failed {
                channel,
                id,
                failure,
            } => Some((channel, id, failure.kind)),
            _ => None,
        });
        failed.collect()
    }

    pub(super) fn bytes(&self, channel: u32, kind: Kind) -> Vec<u8> {
        let of = |frame: &&Frame| frame.kind == kind && frame.channel == channel;
        let payloads = self.frames.iter().filter(of).map(|f| f.payload.as_slice());
        payloads.collect::<Vec<_>>().concat()
    }

    pub(super) fn text(&self, channel: u32) -> String {
        String::from_utf8(self.bytes(channel, Kind::Stdout)).unwrap()
    }

    pub(super) fn credited(&self, channel: u32) -> u32 {
        let of = |frame: &&Frame| frame.kind == Kind::CreditInput && frame.channel == channel;
        self.frames.iter().filter(of).map(Frame::credited).sum()
    }

    /// The frames in a form for messages and comparisons.
    pub(super) fn story(&self) -> String {
        let line = |frame: &Frame| match frame.kind {
            Kind::Event => String::from_utf8_lossy(&frame.payload).into_owned(),
            kind => format!("{kind:?} {} [{}]", frame.channel, frame.payload.len()),
        };
        self.frames.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
