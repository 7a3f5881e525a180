//! From the arguments to a process in its sandbox that serves.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use isola_net::daemon::{Answer, MAX_MESSAGE, NetdConfig, files, receive, send};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Timeout, set_ip_freebind, set_ipv6_freebind, set_ipv6_v6only,
    set_socket_recv_buffer_size_force, set_socket_reuseaddr, set_socket_timeout,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::{LocalSet, spawn_local};

use crate::members::{self, Door};
use crate::resolvers::{PORT, Resolvers};
use crate::state::State;
use crate::{sandbox, serve};

const USAGE: &str = "usage: isola-netd DIR CONFIG (see isola_net::daemon)";
/// How long a predecessor that was killed may keep its ports.
const BIND: Duration = Duration::from_secs(2);
/// How long a starter may take to hear why there is no process.
const TELL: Duration = Duration::from_secs(2);
/// TCP connections that wait in a socket's queue.
const QUEUE: i32 = 128;
/// Kernel memory for packets that wait, in bytes; a query takes about 800. The default
/// is too small for hundreds of members that start at once.
const RECEIVED: usize = 1 << 20;
/// Descriptors that are asked for.
const DESCRIPTORS: u64 = 65_536;

/// Runs the program with these arguments: returns at once, in the process that was
/// started, and after the last member has gone, in the one that serves.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let [dir, config] = arguments.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let config = config.to_str().map(serde_json::from_str::<NetdConfig>);
    let Some(Ok(config)) = config else {
        eprintln!("{USAGE}: CONFIG is malformed");
        return ExitCode::from(2);
    };
    let listener = match sandbox::detach() {
        Ok(Some(listener)) => listener,
        // The other process serves.
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isola-netd: cannot go to the background: {error}");
            return ExitCode::FAILURE;
        }
    };
    let told = listener.as_fd().try_clone_to_owned();
    let failed = match Prepared::new(&PathBuf::from(dir), config, listener) {
        Ok(prepared) => match prepared.serve() {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => error,
        },
        Err(error) => error,
    };
    eprintln!("isola-netd: {failed}");
    if let Ok(listener) = told {
        let _ = tell(&listener, &failed);
    }
    ExitCode::FAILURE
}

/// Answers the starter's hello with the reason why there is no process.
fn tell(listener: &OwnedFd, failed: &Failed) -> io::Result<()> {
    rustix::io::ioctl_fionbio(listener, false)?;
    set_socket_timeout(listener, Timeout::Recv, Some(TELL))?;
    let connection = accept_with(listener, SocketFlags::CLOEXEC)?;
    set_socket_timeout(&connection, Timeout::Recv, Some(TELL))?;
    receive(&connection, &mut vec![0; MAX_MESSAGE])?;
    send(&connection, &Answer::Error(failed.to_string()), &[])
}

/// Why it can't serve, in one line.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("cannot answer on port {PORT} of {0}: {1}")]
    Bind(IpAddr, io::Error),
    #[error("cannot {0}: {1}")]
    System(&'static str, io::Error),
    #[error("cannot go into the sandbox: {0}")]
    Sandbox(#[from] sandbox::Error),
}

fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Failed {
    move |error| Failed::System(what, error.into())
}

/// All that needs privileges or paths is done.
struct Prepared {
    config: NetdConfig,
    resolvers: Resolvers,
    door: Door,
    sockets: Vec<(UdpSocket, TcpListener)>,
    descriptors: usize,
}

impl Prepared {
    fn new(dir: &Path, config: NetdConfig, listener: OwnedFd) -> Result<Prepared, Failed> {
        let descriptors = raise_descriptors();
        rustix::io::ioctl_fionbio(&listener, true).map_err(system("use standard input"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(dir, flags, Mode::empty())
            .map_err(system("open the network's folder"))?;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&folder, files::LOCK, flags, Mode::RUSR | Mode::WUSR)
            .map_err(system("open the lock"))?;
        let resolvers = Resolvers::open(&config.resolvers)
            .map_err(system("find the file of the host's resolvers"))?;
        let until = Instant::now() + BIND;
        let sockets = config
            .listen
            .iter()
            .map(|address| bound(*address, until).map_err(|error| Failed::Bind(*address, error)))
            .collect::<Result<_, _>>()?;
        Ok(Prepared {
            config,
            resolvers,
            door: Door {
                listener,
                lock,
                folder,
            },
            sockets,
            descriptors,
        })
    }

    fn serve(self) -> Result<(), Failed> {
        sandbox::leave_files()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system("make the runtime"))?;
        sandbox::enter(self.resolvers.folder(), self.door.folder.as_fd())?;
        let state = State::new(self.config, self.resolvers, self.descriptors);
        let sockets = self.sockets;
        let door = self.door;
        LocalSet::new()
            .block_on(&runtime, async move {
                for (udp, tcp) in sockets {
                    let udp = tokio::net::UdpSocket::from_std(udp)?;
                    let tcp = tokio::net::TcpListener::from_std(tcp)?;
                    spawn_local(serve::udp(state.clone(), udp));
                    spawn_local(serve::tcp(state.clone(), tcp));
                }
                members::serve(state, door).await
            })
            .map_err(system("serve"))
    }
}

/// Raises the number of descriptors as far as it goes; returns what it is.
fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(DESCRIPTORS).min(DESCRIPTORS);
    let current = limit.current.unwrap_or(DESCRIPTORS).max(wanted);
    let raised = Rlimit {
        current: Some(current),
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => usize::try_from(current).unwrap_or(usize::MAX),
        Err(_) => usize::try_from(limit.current.unwrap_or(1024)).unwrap_or(1024),
    }
}

/// Both sockets of an address. A predecessor's may be there for a moment.
fn bound(address: IpAddr, until: Instant) -> io::Result<(UdpSocket, TcpListener)> {
    loop {
        let tried = bind(address, SocketType::DGRAM)
            .and_then(|udp| Ok((udp, bind(address, SocketType::STREAM)?)));
        match tried {
            Ok((udp, tcp)) => {
                rustix::net::listen(&tcp, QUEUE)?;
                return Ok((udp.into(), tcp.into()));
            }
            Err(Errno::ADDRINUSE) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn bind(address: IpAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, None)?;
    match address {
        IpAddr::V4(_) => set_ip_freebind(&socket, true)?,
        IpAddr::V6(_) => {
            set_ipv6_v6only(&socket, true)?;
            set_ipv6_freebind(&socket, true)?;
        }
    }
    // For TCP it says that old connections don't matter; for UDP it would let two
    // processes have the address.
    if kind == SocketType::STREAM {
        set_socket_reuseaddr(&socket, true)?;
    } else {
        // Without the capability it stays as it is.
        let _ = set_socket_recv_buffer_size_force(&socket, RECEIVED);
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, PORT))?;
    Ok(socket)
}
