//! The program `probe` of the small image: this very test program under another name,
//! for what busybox can't do.
//!
//! ```text
//! probe serve tcp:80 udp:53 sum:90 ...  serves for ever; says `ready` first
//! probe ask tcp|udp ADDRESS:PORT        what is answered
//! probe echo SOCKET BYTES               sends to what gives every byte back one higher
//! probe send ADDRESS:PORT BYTES         sends to a `sum`, tells whether all arrived
//! probe dns NAME [TYPE]                 asks the first server of resolv.conf
//! probe flock|posix FILE [hold]         `locked` or `busy`; with `hold` until the input ends
//! probe map FILE WORD                   writes through a shared mapping
//! probe watch FOLDER                    names that appear in it; says `ready` first
//! ```
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

use crate::wire;

/// Is what it says and ends, if the program was called `probe`.
pub fn run_if_called() {
    let words: Vec<String> = std::env::args().collect();
    let name = words.first().map(Path::new).and_then(Path::file_name);
    if name.is_none_or(|name| name != "probe") {
        return;
    }
    let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    match run(&words) {
        Ok(()) => std::process::exit(0),
        Err(why) => {
            eprintln!("probe: {why}");
            std::process::exit(1);
        }
    }
}

fn run(words: &[&str]) -> Result<(), String> {
    match words {
        ["serve", ports @ ..] => serve(ports),
        ["ask", "tcp", to] => say(&wire::ask_tcp(address(to)?, wire::PATIENCE)?),
        ["ask", "udp", to] => say(&wire::ask_udp(address(to)?, wire::PATIENCE)?),
        ["send", to, bytes] => {
            let count = bytes.parse().map_err(|_| "no number of bytes")?;
            wire::send_bytes(address(to)?, count)
        }
        ["echo", socket, bytes] => {
            let count = bytes.parse().map_err(|_| "no number of bytes")?;
            wire::echo(Path::new(socket), count)?;
            say(bytes)
        }
        ["dns", name] => say(&wire::ask_dns(server()?, name, "A")?),
        ["dns", name, kind] => say(&wire::ask_dns(server()?, name, kind)?),
        [kind @ ("flock" | "posix"), file] => lock(kind, file, false),
        [kind @ ("flock" | "posix"), file, "hold"] => lock(kind, file, true),
        ["map", file, word] => map(file, word),
        ["watch", folder] => watch(folder),
        _ => Err(format!("no such thing: {words:?}")),
    }
}

fn say(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let done = writeln!(out, "{text}").and_then(|()| out.flush());
    done.map_err(|error| error.to_string())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text} is no address with a port"))
}

/// On both families where the kernel has both.
fn both<T>(port: &str, bind: impl Fn(&str) -> std::io::Result<T>) -> Result<T, String> {
    bind(&format!("[::]:{port}"))
        .or_else(|_| bind(&format!("0.0.0.0:{port}")))
        .map_err(|error| format!("cannot listen on {port}: {error}"))
}

fn serve(ports: &[&str]) -> Result<(), String> {
    for text in ports {
        match text.split_once(':') {
            Some(("tcp", port)) => wire::serve_tcp(both(port, |at| TcpListener::bind(at))?),
            Some(("udp", port)) => wire::serve_udp(both(port, |at| UdpSocket::bind(at))?),
            Some(("sum", port)) => wire::serve_sums(both(port, |at| TcpListener::bind(at))?),
            _ => return Err(format!("no such server: {text}")),
        }
    }
    say("ready")?;
    loop {
        std::thread::park();
    }
}

fn server() -> Result<SocketAddr, String> {
    let text = std::fs::read_to_string("/etc/resolv.conf").map_err(|error| error.to_string())?;
    let first = text
        .lines()
        .find_map(|line| line.strip_prefix("nameserver "))
        .ok_or("no server in resolv.conf")?;
    let address = first.trim().parse().map_err(|_| "no address of a server")?;
    Ok(SocketAddr::new(address, 53))
}

fn opened(path: &str) -> Result<File, String> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options
        .open(path)
        .map_err(|error| format!("cannot open {path}: {error}"))
}

fn lock(kind: &str, path: &str, hold: bool) -> Result<(), String> {
    let file = opened(path)?;
    let exclusive = FlockOperation::NonBlockingLockExclusive;
    let taken = match kind {
        "flock" => flock(&file, exclusive),
        _ => fcntl_lock(&file, exclusive),
    };
    match taken {
        Ok(()) => say("locked")?,
        Err(Errno::WOULDBLOCK | Errno::ACCESS) => return say("busy"),
        Err(error) => return Err(format!("cannot lock {path}: {error}")),
    }
    if hold {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
    }
    Ok(())
}

fn map(path: &str, word: &str) -> Result<(), String> {
    let file = opened(path)?;
    let words = |error: Errno| format!("cannot map {path}: {error}");
    file.set_len(word.len() as u64)
        .map_err(|error| error.to_string())?;
    let length = word.len();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping of a file that is as long, unmapped before it ends; the
    // pointer is used for its length only.
    unsafe {
        let at = mmap(
            std::ptr::null_mut(),
            length,
            access,
            MapFlags::SHARED,
            &file,
            0,
        )
        .map_err(words)?;
        std::ptr::copy_nonoverlapping(word.as_ptr(), at.cast(), length);
        let synced = msync(at, length, MsyncFlags::SYNC);
        munmap(at, length).map_err(words)?;
        synced.map_err(words)
    }
}

fn watch(folder: &str) -> Result<(), String> {
    let words = |error: Errno| format!("cannot watch {folder}: {error}");
    let watcher = inotify::init(CreateFlags::CLOEXEC).map_err(words)?;
    let made = WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&watcher, folder, made).map_err(words)?;
    say("ready")?;
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watcher, &mut buffer);
    loop {
        let event = reader.next().map_err(words)?;
        if let Some(name) = event.file_name() {
            say(&name.to_string_lossy())?;
        }
    }
}
