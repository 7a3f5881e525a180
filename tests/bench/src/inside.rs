//! What this very program does inside of instances and guests, where it is what it
//! is called to be: a sink and its clients, a client of a name server, and the first
//! process of a guest.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use isola_netlink::{Socket, configure};
use isola_proto::{Interface, Mac};
use rustix::mount::{MountFlags, mount};

use crate::Result;
use crate::pairs::median;

/// The word in front of a role.
pub(crate) const MARK: &str = "--inside";
/// Hardware address of a guest's only network device.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Tag of shared folders.
pub(crate) const TAG: &str = "isola";
/// The file that is read from start to end, in the first share.
pub(crate) const BIG: &str = "big";
/// Files that are made, looked at and removed.
pub(crate) const SMALL: usize = 300;

/// Bytes that are written to a new file, in pieces of [`CHUNK`].
pub(crate) const WRITTEN: usize = 64 << 20;

const CHUNK: usize = 128 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays a role.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["sink", port] => {
            let listener = TcpListener::bind(("0.0.0.0", port.parse()?))?;
            say("ready");
            serve(&listener, &mut |_| {})
        }
        ["up", to, bytes] => tell(send(to.parse()?, bytes.parse()?, true)?),
        ["dns", server, name, count] => tell(ask(server.parse()?, name, count.parse()?)?),
        ["net", own, to, bytes] => guest(|| net(own, to.parse()?, bytes.parse()?)),
        ["files"] => guest(files),
        _ => Err(format!("no such role: {words:?}").into()),
    }
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{word}").and_then(|()| out.flush());
}

fn tell(milliseconds: f64) -> Result<()> {
    say(&milliseconds.to_string());
    Ok(())
}

/// Takes or gives what each client asks for, and tells how many milliseconds it took
/// from the request to the last byte.
pub(crate) fn serve(listener: &TcpListener, done: &mut dyn FnMut(f64)) -> Result<()> {
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            continue;
        }
        let started = Instant::now();
        let count = u64::from_le_bytes(head[1..].try_into()?);
        let moved = match head[0] {
            0 => take(&mut stream, count).and_then(|()| stream.write_all(b".")),
            _ => give(&mut stream, count).and_then(|()| stream.read_exact(&mut [0])),
        };
        if moved.is_ok() {
            done(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(())
}

fn take(stream: &mut TcpStream, count: u64) -> std::io::Result<()> {
    let mut left = count;
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            some => left = left.saturating_sub(some as u64),
        }
    }
    Ok(())
}

fn give(stream: &mut TcpStream, count: u64) -> std::io::Result<()> {
    let buffer = vec![0x5a; CHUNK];
    let mut left = count;
    while left > 0 {
        let some = left.min(CHUNK as u64) as usize;
        stream.write_all(&buffer[..some])?;
        left -= some as u64;
    }
    Ok(())
}

/// Milliseconds in which so many bytes arrive at a sink, or come from it.
fn send(to: SocketAddr, count: u64, up: bool) -> Result<f64> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = vec![u8::from(!up)];
    head.extend(count.to_le_bytes());
    let started = Instant::now();
    stream.write_all(&head)?;
    match up {
        true => give(&mut stream, count).and_then(|()| stream.read_exact(&mut [0]))?,
        false => take(&mut stream, count).and_then(|()| stream.write_all(b"."))?,
    }
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds to an answer about a name's address, the middle of `count`.
fn ask(server: SocketAddr, name: &str, count: u16) -> Result<f64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut times = Vec::new();
    for id in 0..count {
        // RFC 1035, 4.1: a header that wishes for recursion, one question, type A.
        let mut query = id.to_be_bytes().to_vec();
        query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in name.split('.') {
            query.push(u8::try_from(label.len())?);
            query.extend(label.bytes());
        }
        query.extend([0, 0, 1, 0, 1]);
        let started = Instant::now();
        socket.send(&query)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        let found = length > query.len() && answer[..2] == query[..2] && answer[7] > 0;
        if !found {
            return Err(format!("no address of {name}").into());
        }
    }
    Ok(median(&times))
}

/// Work of a guest's first process, which must not end.
fn guest(work: impl FnOnce() -> Result<()>) -> Result<()> {
    match work() {
        Ok(()) => say("done"),
        Err(error) => say(&format!("failed {error}")),
    }
    loop {
        std::thread::park();
    }
}

fn net(own: &str, to: SocketAddr, count: u64) -> Result<()> {
    let interface = Interface {
        hardware: Mac(MAC),
        name: "eth0".to_owned(),
        mac: None,
        addresses: vec![own.parse()?],
        gateways: Vec::new(),
        mtu: None,
        up: true,
    };
    configure(&mut Socket::route()?, &[interface])?;
    for up in [true, false] {
        // The first is for neighbour tables and windows.
        send(to, count / 20, up)?;
        send(to, count, up)?;
    }
    Ok(())
}

/// Each step ends with a word, at whose arrival the host looks at its clock.
fn files() -> Result<()> {
    fs::create_dir("/share")?;
    mount(TAG, "/share", "virtiofs", MountFlags::empty(), None)?;
    let folder = "/share/0";
    let path = |number: usize| format!("{folder}/small/{number}");
    say("begin");
    let mut file = File::open(format!("{folder}/{BIG}"))?;
    let mut buffer = vec![0; CHUNK];
    while file.read(&mut buffer)? > 0 {}
    say("read");
    let buffer = vec![0x5a; CHUNK];
    let out = format!("{folder}/out");
    let mut file = File::create(&out)?;
    for _ in 0..WRITTEN / CHUNK {
        file.write_all(&buffer)?;
    }
    drop(file);
    say("write");
    fs::remove_file(out)?;
    fs::create_dir(format!("{folder}/small"))?;
    say("begin");
    for number in 0..SMALL {
        fs::write(path(number), b"a hundred bytes or so")?;
    }
    say("create");
    for number in 0..SMALL {
        fs::metadata(path(number))?;
    }
    say("stat");
    for number in 0..SMALL {
        fs::remove_file(path(number))?;
    }
    fs::remove_dir(format!("{folder}/small"))?;
    say("unlink");
    Ok(())
}
