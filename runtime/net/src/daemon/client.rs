//! Joining a network's process, starting it where there is none.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::message::{
    Answer, MAX_FDS, MAX_MESSAGE, NetdConfig, Protocol, Registration, Relay, Request, VERSION,
    receive, send,
};
use super::{Error, files};

/// A process that takes longer to answer is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that wait in the socket's queue.
const QUEUE: i32 = 1024;
/// A log that is longer is begun anew by the next start, in bytes.
const LOG_KEPT: u64 = 64 * 1024;
/// A process may go between two steps; then the next one is joined.
const ATTEMPTS: u32 = 5;

/// A listening socket whose connections (TCP) or packets (UDP) are relayed.
#[derive(Debug)]
pub struct Listener {
    /// Its protocol.
    pub protocol: Protocol,
    /// Bound, and for TCP listening.
    pub socket: OwnedFd,
    /// Where they are sent on.
    pub target: std::net::SocketAddr,
}

/// A member's connection; dropping it takes back all that it registered.
#[derive(Debug)]
pub struct Member {
    dir: PathBuf,
    program: PathBuf,
    config: NetdConfig,
    registration: Registration,
    listeners: Vec<Listener>,
    connection: OwnedFd,
}

impl Member {
    /// Joins the process of the network whose folder is `dir`, and starts `program`
    /// (`isola-netd`) with `config` if there is none. Blocks for some milliseconds,
    /// for seconds when something is wrong. The process is no child of the caller,
    /// has a session of its own and inherits no descriptor; it inherits the
    /// namespaces, of which it needs the host's network.
    ///
    /// # Errors
    /// The folder can't be written, the program can't be started or its configuration
    /// is impossible (port 53 of an address is taken), it does not answer for seconds,
    /// or the registration is refused.
    pub fn join(
        dir: &Path,
        program: &Path,
        config: &NetdConfig,
        registration: Registration,
        listeners: Vec<Listener>,
    ) -> Result<Member, Error> {
        // The process is started in another folder.
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|why| Error::file("find", path, why));
        let (dir, program) = (absolute(dir)?, absolute(program)?);
        let connection = established(&dir, &program, config, &registration, &listeners)?;
        Ok(Member {
            dir,
            program,
            config: config.clone(),
            registration,
            listeners,
            connection,
        })
    }

    /// Registers other names and addresses in place of the present ones.
    ///
    /// # Errors
    /// The process refuses: the present ones stay. It is dead: the others are what
    /// [`Member::rejoin`] registers.
    pub fn update(&mut self, registration: Registration) -> Result<(), Error> {
        let request = Request::Register(registration.clone());
        let result = ask(self.connection.as_fd(), &self.config, &request, &[]);
        if !matches!(result, Err(Error::Refused { .. })) {
            self.registration = registration;
        }
        result
    }

    /// What it registers.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Relays other sockets in place of the present ones, whose connections end.
    ///
    /// # Errors
    /// The process is dead, or refuses; the present ones stay. When it is dead, they
    /// are what [`Member::rejoin`] passes on.
    pub fn relay(&mut self, listeners: Vec<Listener>) -> Result<(), Error> {
        relay(self.connection.as_fd(), &self.config, &listeners)?;
        self.listeners = listeners;
        Ok(())
    }

    /// Registers all of it anew, after the process has died. The caller should not do
    /// so more than once in a second: a process that dies at once would keep it busy.
    ///
    /// # Errors
    /// As [`Member::join`].
    pub fn rejoin(&mut self) -> Result<(), Error> {
        self.connection = established(
            &self.dir,
            &self.program,
            &self.config,
            &self.registration,
            &self.listeners,
        )?;
        Ok(())
    }

    /// The connection, for poll(2): the process never speaks first, so that readable
    /// or hung up means dead. It is another one after [`Member::rejoin`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// A connection on which all is registered.
fn established(
    dir: &Path,
    program: &Path,
    config: &NetdConfig,
    registration: &Registration,
    listeners: &[Listener],
) -> Result<OwnedFd, Error> {
    let folder = Folder::open(dir)?;
    let mut attempt = 1;
    loop {
        let tried = folder
            .connection(program, config)
            .and_then(|connection| register(connection, config, registration, listeners));
        match tried {
            Err(Error::Connection { why, .. }) if gone(&why) && attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn register(
    connection: OwnedFd,
    config: &NetdConfig,
    registration: &Registration,
    listeners: &[Listener],
) -> Result<OwnedFd, Error> {
    let request = Request::Register(registration.clone());
    ask(connection.as_fd(), config, &request, &[])?;
    if !listeners.is_empty() {
        relay(connection.as_fd(), config, listeners)?;
    }
    Ok(connection)
}

fn relay(
    connection: BorrowedFd<'_>,
    config: &NetdConfig,
    listeners: &[Listener],
) -> Result<(), Error> {
    let mut replace = true;
    let mut rest = listeners;
    while replace || !rest.is_empty() {
        let (some, others) = rest.split_at(rest.len().min(MAX_FDS));
        let relays = some
            .iter()
            .map(|listener| Relay {
                protocol: listener.protocol,
                target: listener.target,
            })
            .collect();
        let fds: Vec<_> = some.iter().map(|one| one.socket.as_fd()).collect();
        let request = Request::Relays { replace, relays };
        ask(connection, config, &request, &fds)?;
        replace = false;
        rest = others;
    }
    Ok(())
}

/// Sends a request and waits for its answer.
fn ask(
    connection: BorrowedFd<'_>,
    config: &NetdConfig,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> Result<(), Error> {
    let failed = |what| {
        move |why: io::Error| Error::Connection {
            what,
            network: config.network.clone(),
            why: match why.kind() {
                // What a socket's timeout looks like.
                io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
                _ => why,
            },
        }
    };
    let sent = send(connection, request, fds);
    // It may have said why before it hung up.
    let mut buffer = vec![0; MAX_MESSAGE];
    let answer = receive(connection, &mut buffer);
    sent.map_err(failed("talk to"))
        .or_else(|error| match &answer {
            Ok(Some(_)) => Ok(()),
            _ => Err(error),
        })?;
    let Some((bytes, _)) = answer.map_err(failed("get an answer of"))? else {
        return Err(failed("get an answer of")(
            io::ErrorKind::ConnectionReset.into(),
        ));
    };
    match serde_json::from_slice(bytes) {
        Ok(Answer::Ok) => Ok(()),
        Ok(Answer::Error(why)) => Err(Error::Refused {
            network: config.network.clone(),
            why,
        }),
        Err(error) => Err(failed("understand")(error.into())),
    }
}

/// Whether an error means that there is no process, or no longer one.
fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotFound
    )
}

/// A network's folder, by descriptor: a socket's address has 107 bytes, a path may
/// have more.
struct Folder<'a> {
    path: &'a Path,
    fd: OwnedFd,
}

impl<'a> Folder<'a> {
    fn open(path: &'a Path) -> Result<Folder<'a>, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| Error::file("open", path, error))?;
        Ok(Folder { path, fd })
    }

    /// A connection whose hello was answered.
    fn connection(&self, program: &Path, config: &NetdConfig) -> Result<OwnedFd, Error> {
        match self.greet(config) {
            Err(Error::Connection { why, .. }) if gone(&why) => {}
            result => return result,
        }
        // Held until the new process has answered.
        let _lock = self.lock()?;
        match self.greet(config) {
            Err(Error::Connection { why, .. }) if gone(&why) => {}
            result => return result,
        }
        self.start(program, config)?;
        self.greet(config)
    }

    fn greet(&self, config: &NetdConfig) -> Result<OwnedFd, Error> {
        let failed = |why: Errno| Error::Connection {
            what: "connect to",
            network: config.network.clone(),
            why: why.into(),
        };
        let connection = socket().map_err(failed)?;
        for timeout in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&connection, timeout, Some(PATIENCE)).map_err(failed)?;
        }
        connect(&connection, &self.address().map_err(failed)?).map_err(failed)?;
        let hello = Request::Hello { version: VERSION };
        ask(connection.as_fd(), config, &hello, &[])?;
        Ok(connection)
    }

    fn address(&self) -> Result<SocketAddrUnix, Errno> {
        SocketAddrUnix::new(format!(
            "/proc/self/fd/{}/{}",
            self.fd.as_raw_fd(),
            files::SOCKET
        ))
    }

    /// Takes the lock; a holder that does not let go is an error.
    fn lock(&self) -> Result<OwnedFd, Error> {
        let path = self.path.join(files::LOCK);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, files::LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| Error::file("open", &path, error))?;
        let until = Instant::now() + 2 * PATIENCE;
        let mut pause = Duration::from_micros(200);
        loop {
            match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(fd),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < until => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(5));
                }
                Err(error) => return Err(Error::file("lock", &path, error)),
            }
        }
    }

    /// Starts the process on a new socket, under the lock.
    fn start(&self, program: &Path, config: &NetdConfig) -> Result<(), Error> {
        let path = self.path.join(files::SOCKET);
        let failed = |what, why: Errno| Error::file(what, &path, why);
        match rustix::fs::unlinkat(&self.fd, files::SOCKET, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("remove", error)),
        }
        let socket = socket().map_err(|error| failed("make", error))?;
        let address = self.address().map_err(|error| failed("bind", error))?;
        bind(&socket, &address).map_err(|error| failed("bind", error))?;
        listen(&socket, QUEUE).map_err(|error| failed("listen on", error))?;
        let text = serde_json::to_string(config)
            .map_err(|error| Error::file("describe", &path, io::Error::from(error)))?;
        let cannot = |why: io::Error| Error::file("start", program, why);
        // Its first process ends as soon as it has made the second one.
        let status = Command::new(program)
            .arg0("isola-netd")
            .arg(self.path)
            .arg(text)
            .current_dir("/")
            .env_clear()
            .stdin(socket)
            .stdout(Stdio::null())
            .stderr(self.log()?)
            .status()
            .map_err(cannot)?;
        if !status.success() {
            let log = self.path.join(files::LOG);
            let why = format!("{status}; {} may say why", log.display());
            return Err(cannot(io::Error::other(why)));
        }
        Ok(())
    }

    fn log(&self) -> Result<File, Error> {
        let path = self.path.join(files::LOG);
        let long = std::fs::metadata(&path).is_ok_and(|log| log.len() > LOG_KEPT);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened
            .and_then(|log| {
                if long {
                    log.set_len(0)?;
                }
                Ok(log)
            })
            .map_err(|error| Error::file("open", &path, error))
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}
