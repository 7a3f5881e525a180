use super::packet::{SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND};
use super::*;
use crate::virtio::queue::testing::{Harness, r, w};
use connection::BUFFER;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

const CID: u32 = 42;
const PORT: u32 = 1024;
/// Where the guest's packets lie, and where its buffers are.
const OUT: u64 = 0x2_0000;
const IN: u64 = 0x10_0000;
const IN_LEN: u32 = 4096;

/// A guest with a device, and the host's end of port [`PORT`].
struct Guest {
    harness: Harness<Vsock>,
    buffers: u64,
    seen: u64,
}

fn guest(listener: Option<OwnedFd>, ports: Vec<(u32, UnixStream)>) -> Guest {
    let offered = ports
        .into_iter()
        .map(|(port, stream)| (port, stream.into()))
        .collect();
    let device = Vsock::new(CID, listener, offered).unwrap();
    Guest {
        harness: Harness::new(device, &[128, 128, 16]),
        buffers: 0,
        seen: 0,
    }
}

impl Guest {
    /// Gives the device buffers to fill.
    fn give_buffers(&mut self, count: u64) {
        for _ in 0..count {
            let address = IN + self.buffers % 128 * u64::from(IN_LEN);
            self.buffers += 1;
            self.harness.add(
                RX,
                &[
                    w(address, HEADER as u32),
                    w(address + HEADER as u64, IN_LEN - HEADER as u32),
                ],
            );
        }
    }

    fn header(&self, host: u32, op: Op) -> Header {
        Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: 7,
            dst_port: host,
            kind: STREAM,
            op: op as u16,
            buf_alloc: 1 << 16,
            ..Header::default()
        }
    }

    fn send_raw(&mut self, header: Header, payload: &[u8]) {
        self.harness
            .put(OUT, &[header.to_bytes(), payload.to_vec()].concat());
        self.harness
            .add(TX, &[r(OUT, (HEADER + payload.len()) as u32)]);
        self.harness.kick(TX).unwrap();
        self.harness.used(TX);
    }

    fn send(&mut self, host: u32, op: Op, payload: &[u8]) {
        let header = Header {
            len: payload.len() as u32,
            ..self.header(host, op)
        };
        self.send_raw(header, payload);
    }

    /// What the device sent since the last call.
    fn received(&mut self) -> Vec<(Header, Vec<u8>)> {
        let used = self.harness.used(RX);
        used.into_iter()
            .map(|(_, len)| {
                let address = IN + self.seen % 128 * u64::from(IN_LEN);
                self.seen += 1;
                let bytes = self.harness.bytes(address, len as usize);
                let header = Header::from_bytes(bytes[..HEADER].try_into().unwrap());
                (header, bytes[HEADER..].to_vec())
            })
            .collect()
    }

    fn ops(&mut self) -> Vec<u16> {
        self.received()
            .iter()
            .map(|(header, _)| header.op)
            .collect()
    }

    /// One turn of the event loop after something happened to the host's sockets.
    fn host_turn(&mut self) {
        self.harness.device.host_events().unwrap();
        let Harness {
            device,
            queues,
            memory,
            ..
        } = &mut self.harness;
        device.deliver(queues, memory).unwrap();
    }
}

/// A connection that the guest made to [`PORT`].
fn connected() -> (Guest, UnixStream) {
    let (host, device) = UnixStream::pair().unwrap();
    let mut guest = guest(None, vec![(PORT, device)]);
    guest.give_buffers(64);
    guest.send(PORT, Op::Request, b"");
    assert_eq!(guest.ops(), [Op::Response as u16]);
    (guest, host)
}

#[test]
fn the_guest_reaches_an_offered_port_once() {
    let (mut guest, mut host) = connected();
    guest.send(PORT, Op::Data, b"ping");
    let mut bytes = [0; 4];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"ping");
    host.write_all(b"pong").unwrap();
    guest.host_turn();
    let [(header, payload)] = &guest.received()[..] else {
        panic!("one packet")
    };
    assert_eq!(
        (header.op, header.len, &payload[..]),
        (Op::Data as u16, 4, &b"pong"[..])
    );
    assert_eq!((header.src_cid, header.dst_cid), (HOST_CID, CID.into()));
    assert_eq!((header.src_port, header.dst_port), (PORT, 7));
    assert_eq!((header.buf_alloc, header.fwd_cnt), (BUFFER, 4));
    // From another port of the guest, and to a port that is not offered.
    let again = Header {
        src_port: 8,
        ..guest.header(PORT, Op::Request)
    };
    guest.send_raw(again, b"");
    guest.send(PORT + 1, Op::Request, b"");
    assert_eq!(guest.ops(), [Op::Reset as u16, Op::Reset as u16]);
}

#[test]
fn the_host_connects_through_the_listener() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vsock");
    let mut guest = guest(Some(UnixListener::bind(&path).unwrap().into()), vec![]);
    guest.give_buffers(8);
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"CONNECT 52\nearly").unwrap();
    guest.host_turn();
    let requests = guest.received();
    assert_eq!(requests.len(), 1);
    let request = requests[0].0;
    assert_eq!((request.op, request.dst_port), (Op::Request as u16, 52));
    let answer = |guest: &Guest, op| Header {
        src_port: 52,
        ..guest.header(request.src_port, op)
    };
    let response = answer(&guest, Op::Response);
    guest.send_raw(response, b"");
    let mut line = vec![0; 3 + request.src_port.to_string().len() + 1];
    client.read_exact(&mut line).unwrap();
    assert_eq!(
        String::from_utf8(line).unwrap(),
        format!("OK {}\n", request.src_port)
    );
    let data = guest.received();
    assert_eq!(
        (data[0].0.op, &data[0].1[..]),
        (Op::Data as u16, &b"early"[..])
    );
    // A second one, which the guest refuses.
    let mut refused = UnixStream::connect(&path).unwrap();
    refused.write_all(b"CONNECT 53\n").unwrap();
    guest.host_turn();
    let request = guest.received()[0].0;
    let reset = Header {
        src_port: 53,
        ..guest.header(request.src_port, Op::Reset)
    };
    guest.send_raw(reset, b"");
    assert_eq!(refused.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn data_waits_for_room_in_the_guest() {
    let (mut guest, mut host) = connected();
    host.write_all(&[1; 100_000]).unwrap();
    let small = Header {
        buf_alloc: 10_000,
        ..guest.header(PORT, Op::CreditUpdate)
    };
    guest.send_raw(small, b"");
    guest.host_turn();
    let packets = guest.received();
    let bytes: usize = packets.iter().map(|(_, payload)| payload.len()).sum();
    assert_eq!(bytes, 10_000);
    // It was asked for room once, and then left alone.
    assert_eq!(packets.last().unwrap().0.op, Op::CreditRequest as u16);
    guest.host_turn();
    assert!(guest.ops().is_empty());
    let more = Header {
        buf_alloc: 10_000,
        fwd_cnt: 6_000,
        ..guest.header(PORT, Op::CreditUpdate)
    };
    guest.send_raw(more, b"");
    let bytes: usize = guest
        .received()
        .iter()
        .map(|(_, payload)| payload.len())
        .sum();
    assert_eq!(bytes, 6_000);
}

#[test]
fn data_waits_for_buffers_of_the_guest() {
    let (host, device) = UnixStream::pair().unwrap();
    let mut guest = guest(None, vec![(PORT, device)]);
    guest.send(PORT, Op::Request, b"");
    (&host).write_all(b"hello").unwrap();
    guest.host_turn();
    assert!(guest.ops().is_empty());
    guest.give_buffers(2);
    guest.harness.kick(RX).unwrap();
    assert_eq!(guest.ops(), [Op::Response as u16, Op::Data as u16]);
}

#[test]
fn a_host_that_does_not_read_holds_the_guest_back_and_loses_nothing() {
    let (mut guest, mut host) = connected();
    let piece = [5u8; 4096];
    let mut sent = 0u32;
    let mut forwarded = 0u32;
    // The guest sends while it has credit.
    while sent + 4096 - forwarded <= BUFFER {
        guest.send(PORT, Op::Data, &piece);
        sent += 4096;
        if let Some((header, _)) = guest.received().last() {
            assert_eq!(header.op, Op::CreditUpdate as u16);
            forwarded = header.fwd_cnt;
            guest.give_buffers(1);
        }
    }
    assert!(sent > BUFFER, "the socket's own buffer takes some");
    let mut total = 0;
    let mut buffer = vec![0; 1 << 16];
    host.set_nonblocking(true).unwrap();
    while total < sent as usize {
        total += host.read(&mut buffer).unwrap();
        guest.host_turn();
    }
    assert!(guest.ops().contains(&(Op::CreditUpdate as u16)));
}

#[test]
fn a_guest_that_sends_beyond_its_credit_is_cut_off() {
    let (mut guest, _host) = connected();
    for _ in 0..600 {
        guest.send(PORT, Op::Data, &[0; 4096]);
        if guest.harness.device.connections.is_empty() {
            break;
        }
        let waiting: usize = guest.harness.device.connections.len();
        assert_eq!(waiting, 1);
    }
    assert!(guest.ops().contains(&(Op::Reset as u16)));
    assert!(guest.harness.device.connections.is_empty());
}

#[test]
fn both_directions_close_one_by_one() {
    let (mut guest, mut host) = connected();
    host.write_all(b"last").unwrap();
    host.shutdown(std::net::Shutdown::Write).unwrap();
    guest.host_turn();
    let packets = guest.received();
    assert_eq!(packets[0].1, b"last");
    assert_eq!(
        (packets[1].0.op, packets[1].0.flags),
        (Op::Shutdown as u16, SHUT_SEND)
    );
    guest.send(PORT, Op::Data, b"bye");
    let shut = Header {
        flags: SHUT_BOTH,
        ..guest.header(PORT, Op::Shutdown)
    };
    guest.send_raw(shut, b"");
    let mut rest = Vec::new();
    host.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"bye");
    assert_eq!(guest.ops(), [Op::Reset as u16]);
    assert!(guest.harness.device.connections.is_empty());
}

#[test]
fn a_host_that_goes_away_is_told_after_its_data() {
    let (mut guest, mut host) = connected();
    host.write_all(b"result").unwrap();
    drop(host);
    guest.host_turn();
    let packets = guest.received();
    assert_eq!(packets[0].1, b"result");
    let (last, _) = packets.last().unwrap();
    assert_eq!((last.op, last.flags), (Op::Shutdown as u16, SHUT_BOTH));
    // What the guest still sends is taken and dropped.
    guest.send(PORT, Op::Data, b"late");
    guest.send(PORT, Op::Reset, b"");
    assert!(guest.ops().is_empty());
    assert!(guest.harness.device.connections.is_empty());
}

#[test]
fn the_guest_can_stop_reading_only() {
    let (mut guest, mut host) = connected();
    let shut = Header {
        flags: SHUT_RECEIVE,
        ..guest.header(PORT, Op::Shutdown)
    };
    guest.send_raw(shut, b"");
    host.write_all(b"unwanted").unwrap();
    guest.host_turn();
    assert!(guest.ops().is_empty());
    guest.send(PORT, Op::Data, b"still");
    let mut bytes = [0; 5];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"still");
}

#[test]
fn packets_against_the_rules_are_answered_with_a_reset_or_dropped() {
    type Change = fn(&mut Header);
    let table: &[(&str, Change, bool)] = &[
        ("another guest's", |h| h.src_cid = 43, false),
        ("to nobody", |h| h.dst_cid = 3, false),
        ("datagram", |h| h.kind = 3, true),
        ("unknown operation", |h| h.op = 99, true),
        ("operation 0", |h| h.op = 0, true),
        ("data without connection", |h| h.src_port = 99, true),
        ("second request", |h| h.op = Op::Request as u16, true),
        ("response to nothing", |h| h.op = Op::Response as u16, true),
    ];
    for (name, change, reset) in table {
        let (mut guest, _host) = connected();
        let mut header = guest.header(PORT, Op::Data);
        change(&mut header);
        guest.send_raw(header, b"");
        let expected: &[u16] = if *reset { &[Op::Reset as u16] } else { &[] };
        assert_eq!(guest.ops(), expected, "{name}");
    }
}

#[test]
fn chains_that_hold_no_packet_break_the_queue() {
    for (len, payload) in [
        (HEADER - 1, 0),
        (HEADER, 1),
        (HEADER + 10, 11),
        (HEADER, u32::MAX),
    ] {
        let (mut guest, _host) = connected();
        let header = Header {
            len: payload,
            ..guest.header(PORT, Op::Data)
        };
        guest.harness.put(OUT, &header.to_bytes());
        guest.harness.add(TX, &[r(OUT, len as u32)]);
        assert!(
            guest.harness.kick(TX).is_err(),
            "{len} bytes, payload of {payload}"
        );
    }
    let (mut guest, mut host) = connected();
    (0..200).for_each(|_| drop(guest.harness.queues[RX].pop(&guest.harness.memory)));
    guest.harness.add(RX, &[w(IN, HEADER as u32)]);
    host.write_all(b"x").unwrap();
    guest.harness.device.host_events().unwrap();
    let Harness {
        device,
        queues,
        memory,
        ..
    } = &mut guest.harness;
    assert!(device.deliver(queues, memory).is_err());
}

#[test]
fn resets_that_the_guest_does_not_take_stop_its_packets() {
    let (mut guest, _host) = connected();
    (0..200).for_each(|_| drop(guest.harness.queues[RX].pop(&guest.harness.memory)));
    let header = Header {
        src_port: 99,
        ..guest.header(PORT, Op::Data)
    };
    guest.harness.put(OUT, &header.to_bytes());
    let mut taken = 0;
    for _ in 0..400 {
        guest.harness.add(TX, &[r(OUT, HEADER as u32)]);
        guest.harness.kick(TX).unwrap();
        let now = guest.harness.used(TX).len();
        taken += now;
        if now == 0 {
            break;
        }
    }
    assert_eq!(taken, MAX_RESETS);
    assert_eq!(guest.harness.device.resets.len(), MAX_RESETS);
    // Once there are buffers again, everything goes on.
    guest.give_buffers(64);
    guest.harness.kick(RX).unwrap();
    assert_eq!(guest.harness.used(RX).len(), 64);
    assert_eq!(guest.harness.used(TX).len(), 1);
}

#[test]
fn the_number_of_connections_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vsock");
    let mut guest = guest(Some(UnixListener::bind(&path).unwrap().into()), vec![]);
    let mut clients = Vec::new();
    for _ in 0..MAX_CONNECTIONS + 10 {
        clients.push(UnixStream::connect(&path).unwrap());
        guest.host_turn();
    }
    assert_eq!(guest.harness.device.handshakes.len(), MAX_CONNECTIONS);
    // Who goes away makes room for who waits.
    clients.drain(..20);
    guest.host_turn();
    assert_eq!(guest.harness.device.handshakes.len(), MAX_CONNECTIONS - 10);
}

#[test]
fn a_reset_of_the_device_ends_its_connections() {
    let (mut guest, mut host) = connected();
    guest.harness.device.reset();
    assert_eq!(host.read(&mut [0; 4]).unwrap(), 0);
    assert!(guest.harness.device.by_ports.is_empty());
}

#[test]
fn many_connections_take_turns() {
    let pairs: Vec<_> = (0..16).map(|_| UnixStream::pair().unwrap()).collect();
    let (mut hosts, devices): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let ports = (PORT..).zip(devices).collect();
    let mut guest = guest(None, ports);
    guest.give_buffers(64);
    for port in PORT..PORT + 16 {
        guest.send(port, Op::Request, b"");
    }
    assert_eq!(guest.ops().len(), 16);
    hosts
        .iter_mut()
        .for_each(|host| host.write_all(&[9; 50_000]).unwrap());
    guest.host_turn();
    let from: Vec<u32> = guest
        .received()
        .iter()
        .take(16)
        .map(|(header, _)| header.src_port)
        .collect();
    let mut sorted = from.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 16, "{from:?}");
}
