//! A resolver that answers by the name that it is asked for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{RData, Record};

/// Serves an address until the test's process ends; counts the packets.
pub(crate) fn start(address: &str, own: Ipv4Addr) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let udp = UdpSocket::bind((address, 53)).unwrap();
    let tcp = TcpListener::bind((address, 53)).unwrap();
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((size, from)) = udp.recv_from(&mut buffer) {
            counter.fetch_add(1, Ordering::SeqCst);
            // Noise that must not be taken for the answer.
            let mut wrong = buffer[..size].to_vec();
            wrong[0] ^= 0x55;
            wrong[2] |= 0x80;
            udp.send_to(&wrong, from).unwrap();
            if let Some(reply) = reply(&buffer[..size], own, false) {
                udp.send_to(&reply, from).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut bytes = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut bytes).unwrap();
            let reply = reply(&bytes, own, true).unwrap();
            let length = u16::try_from(reply.len()).unwrap();
            stream.write_all(&length.to_be_bytes()).unwrap();
            stream.write_all(&reply).unwrap();
        }
    });
    count
}

fn reply(bytes: &[u8], own: Ipv4Addr, over_tcp: bool) -> Option<Vec<u8>> {
    let request = Message::from_vec(bytes).unwrap();
    let mut reply = Message::response(request.id, request.op_code);
    reply.metadata = Metadata::response_from_request(&request.metadata);
    reply.add_queries(request.queries.iter().cloned());
    let name = request.queries[0].name.clone();
    let text = name.to_ascii();
    let record = |data| Record::from_rdata(name.clone(), 60, data);
    match text.split('.').next().unwrap() {
        "silent" => return None,
        "fail" => {
            reply.metadata.response_code = ResponseCode::ServFail;
        }
        "no" => {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        // Too large for a packet: 800 bytes, and 3000.
        "big" | "huge" if !over_tcp => {
            reply.metadata.truncation = true;
        }
        "big" | "huge" => {
            let count = if text.starts_with("big") { 4 } else { 15 };
            for _ in 0..count {
                let text = TXT::new(vec!["x".repeat(190)]);
                reply.add_answer(record(RData::TXT(text)));
            }
        }
        _ => {
            reply.add_answer(record(RData::A(A(own))));
        }
    }
    Some(reply.to_vec().unwrap())
}
