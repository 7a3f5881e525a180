//! The stream to the host.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use isola_proto::{Failure, Frame, Kind};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};

use super::cmdline::Transport;
use super::setup;
use crate::server::hello;
use crate::stream::Conn;

/// The host's context id (vsock(7)).
const HOST: u32 = 2;
/// Port that the host listens on.
const PORT: u32 = 1024;
/// Name of the virtio-serial port.
const PORT_NAME: &str = "org.isola.agent";
/// How long devices may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the stream and says hello.
pub(super) fn open(transport: Transport) -> Result<Conn, Failure> {
    let (name, opened) = match transport {
        Transport::Vsock => ("vsock", await_some(PATIENCE, vsock)),
        Transport::VirtioPort => ("the virtio port", await_some(PATIENCE, virtio_port)),
    };
    let fail = |error: io::Error| setup(format!("can't reach the host over {name}: {error}"));
    let mut stream = File::from(opened.map_err(fail)?);
    // Still blocking: a virtio port waits here until the host has opened it.
    let mut bytes = Vec::new();
    Frame::message(Kind::Event, &hello()).encode(&mut bytes);
    stream.write_all(&bytes).map_err(fail)?;
    Conn::new(OwnedFd::from(stream)).map_err(fail)
}

/// Tries until it works, at first without a noticeable pause.
///
/// # Errors
/// The last one, when the time is over.
pub(super) fn await_some<T>(
    patience: Duration,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() > patience => return Err(error),
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn vsock() -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Vsock,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    connect(fd.as_raw_fd(), &VsockAddr::new(HOST, PORT))?;
    Ok(fd)
}

fn virtio_port() -> io::Result<OwnedFd> {
    let node = find_port()?;
    let file = OpenOptions::new().read(true).write(true).open(node)?;
    Ok(file.into())
}

fn find_port() -> io::Result<PathBuf> {
    let absent = || {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("no port is named {PORT_NAME}"),
        )
    };
    let ports = fs::read_dir("/sys/class/virtio-ports").map_err(|_| absent())?;
    let mut ports = ports.flatten().map(|entry| entry.path());
    let ours = ports.find(|port| {
        fs::read_to_string(port.join("name")).is_ok_and(|name| name.trim_end() == PORT_NAME)
    });
    let ours = ours.ok_or_else(absent)?;
    let name = ours.file_name().ok_or_else(absent)?;
    Ok(PathBuf::from("/dev").join(name))
}
