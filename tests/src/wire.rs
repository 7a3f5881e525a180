//! Servers and clients for tests, on the host, on its neighbour and, as the program
//! `probe`, in instances.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(8);
/// How long nothing has to come where nothing may.
pub const SILENCE: Duration = Duration::from_millis(700);

/// Tells each TCP client the address that it comes from, for as long as the program
/// runs.
pub fn serve_tcp(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            if let Ok(from) = stream.peer_addr() {
                let _ = stream.write_all(from.ip().to_canonical().to_string().as_bytes());
            }
        }
    });
}

/// The same over UDP.
pub fn serve_udp(socket: UdpSocket) {
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let text = from.ip().to_canonical().to_string();
            let _ = socket.send_to(text.as_bytes(), from);
        }
    });
}

/// Answers each TCP client, when it has sent all, with the sum of its bytes.
pub fn serve_sums(listener: TcpListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || sum_of(stream));
        }
    });
}

fn sum_of(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    let mut sum = Sum::default();
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        sum.add(&buffer[..count]);
    }
    let _ = stream.write_all(sum.0.to_string().as_bytes());
}

/// Sends so many bytes and tells whether all of them arrived as they were.
///
/// # Errors
/// In words.
pub fn send_bytes(to: SocketAddr, count: usize) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(words)?;
    let mut sum = Sum::default();
    let mut state = 1_u64;
    let mut left = count;
    while left > 0 {
        let block: Vec<u8> = (0..left.min(48 * 1024))
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        sum.add(&block);
        stream.write_all(&block).map_err(words)?;
        left -= block.len();
    }
    stream.shutdown(std::net::Shutdown::Write).map_err(words)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(words)?;
    match text == sum.0.to_string() {
        true => Ok(()),
        false => Err(format!("sent {}, arrived {text}", sum.0)),
    }
}

/// A checksum (FNV-1a).
struct Sum(u64);

impl Default for Sum {
    fn default() -> Sum {
        Sum(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// What a server of [`serve_tcp`] says.
///
/// # Errors
/// In words.
pub fn ask_tcp(to: SocketAddr, patience: Duration) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&to, patience).map_err(words)?;
    stream.set_read_timeout(Some(patience)).map_err(words)?;
    let mut text = String::new();
    match stream.read_to_string(&mut text).map_err(words)? {
        0 => Err("nothing was said".to_owned()),
        _ => Ok(text),
    }
}

/// Gives every byte back, one higher, until the client ends.
pub fn serve_echo(listener: UnixListener) {
    for client in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let mut client = client;
            let mut buffer = [0; 8 << 10];
            while let Ok(count @ 1..) = client.read(&mut buffer) {
                buffer[..count]
                    .iter_mut()
                    .for_each(|byte| *byte = byte.wrapping_add(1));
                if client.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        });
    }
}

/// Sends `count` bytes to [`serve_echo`], ends, and looks at all that comes back.
///
/// # Errors
/// In words.
pub fn echo(socket: &Path, count: usize) -> Result<(), String> {
    let words = |error: std::io::Error| format!("{}: {error}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(words)?;
    let mut writer = stream.try_clone().map_err(words)?;
    let sent: Vec<u8> = (0..count).map(|at| (at / 7 % 251) as u8).collect();
    let wanted: Vec<u8> = sent.iter().map(|byte| byte + 1).collect();
    let sender = std::thread::spawn(move || {
        writer.write_all(&sent)?;
        writer.shutdown(std::net::Shutdown::Write)
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).map_err(words)?;
    let sent = sender.join().map_err(|_| "the sender failed")?;
    sent.map_err(words)?;
    match got == wanted {
        true => Ok(()),
        false => Err(format!(
            "{} bytes came back, not those of {count}",
            got.len()
        )),
    }
}

/// What a server of [`serve_udp`] says.
///
/// # Errors
/// In words.
pub fn ask_udp(to: SocketAddr, patience: Duration) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let any = match to.is_ipv4() {
        true => "0.0.0.0:0",
        false => "[::]:0",
    };
    let socket = UdpSocket::bind(any).map_err(words)?;
    socket.connect(to).map_err(words)?;
    socket.set_read_timeout(Some(patience / 3)).map_err(words)?;
    let mut buffer = [0; 64];
    let mut last = String::new();
    // Packets are lost.
    for _ in 0..3 {
        socket.send(b"?").map_err(words)?;
        match socket.recv(&mut buffer) {
            Ok(count) => return Ok(String::from_utf8_lossy(&buffer[..count]).into_owned()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Asks a name server, in words: the response code, then what it answers.
///
/// # Errors
/// In words.
pub fn ask_dns(server: SocketAddr, name: &str, kind: &str) -> Result<String, String> {
    let kind: RecordType = kind.to_uppercase().parse().map_err(|_| "no such type")?;
    let name = match (kind, name.parse::<IpAddr>()) {
        (RecordType::PTR, Ok(address)) => Name::from(address),
        _ => Name::from_ascii(name).map_err(|error| error.to_string())?,
    };
    let mut message = Message::query();
    message.metadata.message_type = MessageType::Query;
    message.metadata.op_code = OpCode::Query;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    let bytes = message.to_vec().map_err(|error| error.to_string())?;
    let reply = exchange(server, &bytes)?;
    let reply = Message::from_vec(&reply).map_err(|error| error.to_string())?;
    let mut words = vec![format!("{:?}", reply.response_code)];
    let mut answers: Vec<String> = reply
        .answers
        .iter()
        .map(|answer| answer.data.to_string())
        .collect();
    answers.sort();
    words.extend(answers);
    Ok(words.join(" "))
}

fn exchange(server: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let words = |error: std::io::Error| error.to_string();
    let any = match server.is_ipv4() {
        true => "0.0.0.0:0",
        false => "[::]:0",
    };
    let socket = UdpSocket::bind(any).map_err(words)?;
    socket.connect(server).map_err(words)?;
    socket
        .set_read_timeout(Some(Duration::from_secs(4)))
        .map_err(words)?;
    let mut buffer = vec![0; 4096];
    let mut last = String::new();
    for _ in 0..3 {
        socket.send(bytes).map_err(words)?;
        match socket.recv(&mut buffer) {
            Ok(count) => return Ok(buffer[..count].to_vec()),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// A name server that knows these names, for as long as the program runs.
pub fn serve_dns(socket: UdpSocket, names: &'static [(&'static str, &'static str)]) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let Ok(query) = Message::from_vec(&buffer[..count]) else {
                continue;
            };
            if let Ok(reply) = answer(&query, names).to_vec() {
                let _ = socket.send_to(&reply, from);
            }
        }
    });
}

fn answer(query: &Message, names: &[(&str, &str)]) -> Message {
    let mut reply = query.clone();
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_available = true;
    let Some(question) = query.queries.first() else {
        return reply;
    };
    let asked = question.name().to_string();
    let asked = asked.trim_end_matches('.');
    let known: Vec<_> = names.iter().filter(|(name, _)| *name == asked).collect();
    if known.is_empty() {
        reply.metadata.response_code = ResponseCode::NXDomain;
    }
    for (_, address) in known {
        let data = match address.parse() {
            Ok(IpAddr::V4(address)) => RData::A(A(address)),
            Ok(IpAddr::V6(address)) => RData::AAAA(AAAA(address)),
            Err(_) => continue,
        };
        if data.record_type() == question.query_type() {
            reply.add_answer(Record::from_rdata(question.name().clone(), 60, data));
        }
    }
    reply
}
