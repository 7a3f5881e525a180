//! The sockets on port 53.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::answer::{Step, Transport, answer, failure};
use crate::forward::{Question, forward};
use crate::limit::Permit;
use crate::state::State;

/// Packets that are read before others get their turn.
const BURST: usize = 64;
/// Largest query in bytes; real ones are below 512.
const LARGEST: usize = 4096;
/// A connection that is silent so long is closed (RFC 7766, 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// Pause after an accept(2) that failed for want of something.
pub(crate) const BREATH: Duration = Duration::from_millis(100);

/// Whether a source is served: a member, or this host.
fn served(state: &State, source: IpAddr) -> bool {
    let source = source.to_canonical();
    source.is_loopback()
        || state.config.listen.contains(&source)
        || state.table.borrow().has(source)
}

fn decided(state: &State, bytes: &[u8], source: IpAddr, transport: Transport) -> Step {
    let table = state.table.borrow();
    answer(bytes, source, transport, &table, &state.config)
}

/// Answers packets, for ever.
pub(crate) async fn udp(state: Rc<State>, socket: UdpSocket) {
    let socket = Rc::new(socket);
    loop {
        if socket.readable().await.is_err() {
            sleep(BREATH).await;
            continue;
        }
        for _ in 0..BURST {
            let mut scratch = state.scratch.borrow_mut();
            match socket.try_recv_from(&mut scratch) {
                Ok((size, source)) if size <= LARGEST && served(&state, source.ip()) => {
                    packet(&state, &socket, &scratch[..size], source);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What an ICMP message told about an earlier answer.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}

fn packet(state: &Rc<State>, socket: &Rc<UdpSocket>, bytes: &[u8], source: SocketAddr) {
    let step = decided(state, bytes, source.ip(), Transport::Udp);
    match step {
        Step::Drop => {}
        // What does not fit into the socket's buffer is lost, as packets are.
        Step::Reply(reply) => {
            let _ = socket.try_send_to(&reply, source);
        }
        Step::Forward {
            question_end,
            limit,
            outside,
        } => {
            let Some(permit) = state.forwards.take(source.ip()) else {
                if let Some(reply) = failure(bytes, ResponseCode::ServFail) {
                    let _ = socket.try_send_to(&reply, source);
                }
                return;
            };
            let question = Question {
                bytes: bytes.to_vec(),
                end: question_end,
                limit,
                outside,
            };
            let (state, socket) = (Rc::clone(state), Rc::clone(socket));
            spawn_local(async move {
                if let Some(reply) = forward(&state, source.ip(), question).await {
                    let _ = socket.try_send_to(&reply, source);
                }
                drop(permit);
            });
        }
    }
}

/// Answers connections, for ever.
pub(crate) async fn tcp(state: Rc<State>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((connection, source)) => {
                if served(&state, source.ip())
                    && let Some(permit) = state.connections.take(source.ip())
                {
                    spawn_local(converse(Rc::clone(&state), connection, source.ip(), permit));
                }
            }
            Err(_) => sleep(BREATH).await,
        }
    }
}

async fn converse(state: Rc<State>, mut connection: TcpStream, source: IpAddr, _permit: Permit) {
    let _ = connection.set_nodelay(true);
    while let Ok(Ok(Some(query))) = timeout(IDLE, query(&mut connection)).await {
        let reply = match decided(&state, &query, source, Transport::Tcp) {
            Step::Drop => None,
            Step::Reply(reply) => Some(reply),
            Step::Forward {
                question_end,
                limit,
                outside,
            } => match state.forwards.take(source) {
                Some(_permit) => {
                    let question = Question {
                        bytes: query,
                        end: question_end,
                        limit,
                        outside,
                    };
                    forward(&state, source, question).await
                }
                None => failure(&query, ResponseCode::ServFail),
            },
        };
        let Some(reply) = reply else { return };
        let Ok(length) = u16::try_from(reply.len()) else {
            return;
        };
        let mut message = length.to_be_bytes().to_vec();
        message.extend_from_slice(&reply);
        if !matches!(
            timeout(IDLE, connection.write_all(&message)).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
}

/// The next query of a connection; `None` when it is too large.
async fn query(connection: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = usize::from(connection.read_u16().await?);
    if length > LARGEST {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    connection.read_exact(&mut bytes).await?;
    Ok(Some(bytes))
}
