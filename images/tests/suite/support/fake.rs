//! A registry that does as it is told: well, or badly.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    /// How many of this method and path came before it.
    pub(crate) before: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What it answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Status, headers, body; `Content-Length` is added unless it is among them.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The same, but the connection is cut after so many bytes of the body.
    Cut(Vec<u8>, usize),
    /// The same, but silence after so many bytes.
    Stall(Vec<u8>, usize),
    /// The body at so many bytes a second.
    Slow(Vec<u8>, usize),
}

/// What is done instead of serving; `None` serves.
pub(crate) type Mischief = Box<dyn Fn(&Seen) -> Option<Reply> + Send + Sync>;

/// It runs until it is dropped.
pub(crate) struct Fake {
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    ended: Arc<AtomicBool>,
    listener: Arc<TcpListener>,
}

/// What it has: content type and body by path.
pub(crate) type Served = HashMap<String, (&'static str, Vec<u8>)>;

impl Fake {
    pub(crate) fn new(served: Served, mischief: Mischief) -> Fake {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let host = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let ended = Arc::new(AtomicBool::new(false));
        let shared = Arc::new((served, mischief));
        let (log, end) = (Arc::clone(&seen), Arc::clone(&ended));
        let accepting = Arc::clone(&listener);
        std::thread::spawn(move || {
            for stream in accepting.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, log, end) = (Arc::clone(&shared), Arc::clone(&log), Arc::clone(&end));
                let stream = stream.unwrap();
                std::thread::spawn(move || serve(&stream, &shared.0, &shared.1, &log, &end));
            }
        });
        Fake {
            host,
            seen,
            ended,
            listener,
        }
    }

    /// Requests that came, whose path holds this.
    pub(crate) fn seen(&self, part: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.path.contains(part))
            .cloned()
            .collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection, in whatever network it is.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
    }
}

fn serve(
    stream: &TcpStream,
    served: &Served,
    mischief: &Mischief,
    log: &Mutex<Vec<Seen>>,
    ended: &AtomicBool,
) {
    let mut reader = BufReader::new(stream);
    // A TLS greeting.
    if reader
        .fill_buf()
        .is_ok_and(|bytes| bytes.first() == Some(&0x16))
    {
        return;
    }
    let Some(mut seen) = read(&mut reader) else {
        return;
    };
    {
        let mut log = log.lock().unwrap();
        let same = |other: &&Seen| other.path == seen.path && other.method == seen.method;
        seen.before = log.iter().filter(same).count();
        log.push(seen.clone());
    }
    let reply = mischief(&seen).unwrap_or_else(|| ordinary(&seen, served));
    let _ = answer(stream, &seen, &reply, ended);
}

fn read(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length: u64 = headers
        .get("content-length")
        .map_or(0, |text| text.parse().unwrap());
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some(Seen {
        method,
        path,
        headers,
        before: 0,
    })
}

/// What a registry does; it knows ranges.
fn ordinary(seen: &Seen, served: &Served) -> Reply {
    let Some((kind, body)) = served.get(&seen.path) else {
        let text = r#"{"errors":[{"code":"UNKNOWN","message":"not here"}]}"#;
        return Reply::Full(404, Vec::new(), text.into());
    };
    let range = seen
        .header("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let headers = vec![("content-type", (*kind).to_owned())];
    match range.and_then(|range| range.trim_end_matches('-').parse::<usize>().ok()) {
        Some(at) => {
            let range = format!("bytes {at}-{}/{}", body.len() - 1, body.len());
            Reply::Full(206, vec![("content-range", range)], body[at..].to_vec())
        }
        None => Reply::Full(200, headers, body.clone()),
    }
}

fn answer(
    mut stream: &TcpStream,
    seen: &Seen,
    reply: &Reply,
    ended: &AtomicBool,
) -> std::io::Result<()> {
    let (status, headers, body) = match reply {
        Reply::Full(status, headers, body) => (*status, headers.clone(), body),
        Reply::Cut(body, _) | Reply::Stall(body, _) | Reply::Slow(body, _) => {
            (200, Vec::new(), body)
        }
    };
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    if !headers
        .iter()
        .any(|(name, _)| *name == "content-length" || *name == "transfer-encoding")
    {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in &headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if seen.method == "HEAD" {
        return Ok(());
    }
    match reply {
        Reply::Full(..) => stream.write_all(body),
        Reply::Cut(_, after) => stream.write_all(&body[..*after]),
        Reply::Stall(_, after) => {
            stream.write_all(&body[..*after])?;
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        Reply::Slow(_, rate) => {
            for piece in body.chunks(rate / 20 + 1) {
                stream.write_all(piece)?;
                std::thread::sleep(Duration::from_millis(50));
                if ended.load(Ordering::Relaxed) {
                    break;
                }
            }
            Ok(())
        }
    }
}
