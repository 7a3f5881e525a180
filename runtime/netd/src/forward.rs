//! Asking other resolvers.
//!
//! A query goes on as it came, but for its number, and so does the answer: nothing is
//! lost that this program does not know. Every query has a socket of its own, so that
//! its port is as hard to guess as its number (RFC 5452).

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::task::Poll;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::answer::{HEADER, failure};
use crate::resolvers::{MOST, PORT};
use crate::state::State;

/// A server that is silent so long gets company: the next one is asked, too.
const NEXT: Duration = Duration::from_millis(1500);
/// All of it. Resolvers give up after five seconds (resolv.conf(5)), and shall hear
/// of the failure before.
const TOTAL: Duration = Duration::from_millis(4500);
/// How long another network's server may take. It is on this host and asks nobody.
const OTHER: Duration = Duration::from_millis(500);
/// All of them together.
const OTHERS: Duration = Duration::from_millis(1500);

/// Bits of a header's third and fourth byte.
const RESPONSE: u8 = 0x80;
const TRUNCATED: u8 = 0x02;
const RECURSION: u8 = 0x01;
const CODE: u8 = 0x0f;
/// SERVFAIL, NXDOMAIN, REFUSED: another network's server does not know the name.
const KNOWN_BY_NONE: [u8; 3] = [2, 3, 5];

/// A query to be forwarded.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: usize,
    /// Largest answer in bytes.
    pub(crate) limit: usize,
    /// Resolvers are asked, too.
    pub(crate) outside: bool,
}

/// The servers to ask for a source: its own, or the host's. Never ourselves.
fn servers(state: &State, source: IpAddr) -> Vec<SocketAddr> {
    let table = state.table.borrow();
    let own = table.resolvers_of(source);
    let mut servers: Vec<SocketAddr> = if own.is_empty() {
        state.resolvers.borrow_mut().servers().to_vec()
    } else {
        own.iter()
            .map(|address| SocketAddr::new(*address, PORT))
            .collect()
    };
    servers.retain(|server| !state.config.listen.contains(&server.ip()));
    servers.truncate(MOST);
    servers
}

/// The answer to a question; SERVFAIL when nobody has one. The asker's other networks
/// are asked first.
pub(crate) async fn forward(state: &State, source: IpAddr, question: Question) -> Option<Vec<u8>> {
    let deadline = Instant::now() + TOTAL;
    let answer = match ask_others(state, source, &question).await {
        Others::Answer(answer) => Some(answer),
        _ if question.outside => {
            let servers = servers(state, source);
            exchange(state, &servers, question.clone(), deadline).await
        }
        Others::Unknown => return failure(&question.bytes, ResponseCode::NXDomain),
        Others::Silent => None,
    };
    let Some(mut answer) = answer else {
        return failure(&question.bytes, ResponseCode::ServFail);
    };
    answer[..2].copy_from_slice(&question.bytes[..2]);
    answer[2] = (answer[2] & !RECURSION) | (question.bytes[2] & RECURSION);
    Some(answer)
}

/// The name servers of a source's other networks. Never ourselves.
fn others(state: &State, source: IpAddr) -> Vec<SocketAddr> {
    let table = state.table.borrow();
    let others = table.others_of(source).iter();
    others
        .filter(|server| !state.config.listen.contains(server))
        .map(|server| SocketAddr::new(*server, PORT))
        .collect()
}

/// What other networks say.
enum Others {
    Answer(Vec<u8>),
    /// None of them has such a name.
    Unknown,
    /// One that did not answer may have it: to say that there is none would be wrong.
    Silent,
}

/// Asks other networks for their own members, one after the other, so that a name
/// that several have is always the same one's.
async fn ask_others(state: &State, source: IpAddr, question: &Question) -> Others {
    let deadline = Instant::now() + OTHERS;
    let mut silent = false;
    for server in others(state, source) {
        let mut question = question.clone();
        question.bytes[2] &= !RECURSION;
        let patience = deadline.min(Instant::now() + OTHER);
        match exchange(state, &[server], question, patience).await {
            Some(answer) if KNOWN_BY_NONE.contains(&(answer[3] & CODE)) => {}
            Some(answer) => return Others::Answer(answer),
            None => silent = true,
        }
    }
    match silent {
        true => Others::Silent,
        false => Others::Unknown,
    }
}

/// The answer of the first server that has one, as it came but for its number.
async fn exchange(
    state: &State,
    servers: &[SocketAddr],
    mut question: Question,
    deadline: Instant,
) -> Option<Vec<u8>> {
    let mut number = [0; 2];
    // Not the crate of that name: in a static program it wants /dev/random.
    let filled = rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(number.len()) {
        return None;
    }
    question.bytes[..2].copy_from_slice(&number);
    let (server, answer) = over_udp(state, servers, &question, deadline).await?;
    if answer[2] & TRUNCATED == 0 {
        return Some(answer);
    }
    // Who asked over UDP gets the whole answer, too, if it fits: some never ask again.
    match timeout_at(deadline, over_tcp(server, &question)).await {
        Ok(Ok(whole)) if whole.len() <= question.limit => Some(whole),
        _ => Some(answer).filter(|answer| answer.len() <= question.limit),
    }
}

/// Asks one server after the other. An answer that says no more than that a server
/// can't help counts when there is no better one.
async fn over_udp(
    state: &State,
    servers: &[SocketAddr],
    question: &Question,
    deadline: Instant,
) -> Option<(SocketAddr, Vec<u8>)> {
    let mut rest = servers.iter().copied();
    let mut asked: Vec<(SocketAddr, UdpSocket)> = Vec::new();
    let mut unwilling = None;
    let mut next = Instant::now();
    loop {
        if asked.is_empty() || Instant::now() >= next {
            next = match rest.next() {
                Some(server) => {
                    if let Ok(socket) = ask(server, &question.bytes).await {
                        asked.push((server, socket));
                    }
                    Instant::now() + NEXT
                }
                None if asked.is_empty() => return unwilling,
                None => deadline,
            };
            continue;
        }
        match timeout_at(next.min(deadline), receive(state, &asked)).await {
            Err(_) if Instant::now() >= deadline => return unwilling,
            Err(_) => {}
            Ok((index, Ok(answer))) => match judge(&answer, question) {
                Judgement::Foreign => {}
                Judgement::Good => return Some((asked.swap_remove(index).0, answer)),
                Judgement::Unwilling => unwilling = Some((asked.swap_remove(index).0, answer)),
            },
            Ok((index, Err(_))) => {
                asked.swap_remove(index);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// Not an answer to this question.
    Foreign,
    Good,
    /// Another server may do better: SERVFAIL, NOTIMP, REFUSED.
    Unwilling,
}

fn judge(answer: &[u8], question: &Question) -> Judgement {
    let asked = &question.bytes[..question.end];
    if answer.len() < HEADER || answer[..2] != asked[..2] || answer[2] & RESPONSE == 0 {
        return Judgement::Foreign;
    }
    let code = answer[3] & CODE;
    let same = answer
        .get(HEADER..question.end)
        .is_some_and(|found| found.eq_ignore_ascii_case(&asked[HEADER..]));
    // Some refuse without repeating the question.
    let bare = code != 0 && answer[4..6] == [0, 0];
    match code {
        _ if !same && !bare => Judgement::Foreign,
        2 | 4 | 5 => Judgement::Unwilling,
        _ => Judgement::Good,
    }
}

async fn ask(server: SocketAddr, bytes: &[u8]) -> io::Result<UdpSocket> {
    let socket = UdpSocket::from_std(udp(server)?.into())?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    Ok(socket)
}

/// A datagram socket for a peer's family. The kernel binds it when it is connected:
/// this process may not.
pub(crate) fn udp(peer: SocketAddr) -> io::Result<OwnedFd> {
    let family = match peer {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::DGRAM, flags, None)?)
}

/// The first packet that comes from any of them.
async fn receive(state: &State, asked: &[(SocketAddr, UdpSocket)]) -> (usize, io::Result<Vec<u8>>) {
    poll_fn(|context| {
        let mut scratch = state.scratch.borrow_mut();
        for (index, (_, socket)) in asked.iter().enumerate() {
            // That nobody listens at a loopback address is known at once, but it makes
            // no socket readable.
            if let Ok(Some(error)) = socket.take_error() {
                return Poll::Ready((index, Err(error)));
            }
            let mut buffer = ReadBuf::new(&mut scratch);
            if let Poll::Ready(got) = socket.poll_recv(context, &mut buffer) {
                let got = got.map(|()| buffer.filled().to_vec());
                return Poll::Ready((index, got));
            }
        }
        Poll::Pending
    })
    .await
}

async fn over_tcp(server: SocketAddr, question: &Question) -> io::Result<Vec<u8>> {
    let socket = match server {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    let mut connection = socket.connect(server).await?;
    let length = u16::try_from(question.bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(&question.bytes);
    connection.write_all(&message).await?;
    let length = connection.read_u16().await?;
    let mut answer = vec![0; length.into()];
    connection.read_exact(&mut answer).await?;
    match judge(&answer, question) {
        Judgement::Good => Ok(answer),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_to_the_question_count() {
        let mut bytes = vec![7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(b"\x01A\x02bc\x00\x00\x01\x00\x01");
        let question = Question {
            end: bytes.len(),
            bytes: bytes.clone(),
            limit: 512,
            outside: true,
        };
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut answer = bytes.clone();
            answer[2] |= RESPONSE;
            change(&mut answer);
            judge(&answer, &question)
        };
        assert_eq!(with(&|_| {}), Judgement::Good);
        assert_eq!(with(&|a| a[13] = b'a'), Judgement::Good);
        assert_eq!(with(&|a| a[3] = 3), Judgement::Good);
        assert_eq!(with(&|a| a[3] = 2), Judgement::Unwilling);
        assert_eq!(with(&|a| a[2] = 1), Judgement::Foreign);
        assert_eq!(with(&|a| a[1] = 9), Judgement::Foreign);
        assert_eq!(with(&|a| a[13] = b'x'), Judgement::Foreign);
        assert_eq!(with(&|a| a.truncate(12)), Judgement::Foreign);
        assert_eq!(with(&|a| a.truncate(3)), Judgement::Foreign);
        let refused = |a: &mut Vec<u8>| {
            a.truncate(12);
            a[3] = 5;
            a[5] = 0;
        };
        assert_eq!(with(&refused), Judgement::Unwilling);
    }
}
