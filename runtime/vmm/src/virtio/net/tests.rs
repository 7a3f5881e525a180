use std::cell::Cell;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use vm_memory::{Bytes, GuestAddress};

use super::lane::Events;
use super::*;
use crate::virtio::COMMON_FEATURES;
use crate::virtio::queue::testing::{Harness, Part, indirect, put_descriptor, r, w};
use virtio_queue::QueueT;

const RX: usize = 0;
const TX: usize = 1;
const BUFFERS: u64 = 0x10_0000;
const MERGEABLE: u64 = 1 << spec::VIRTIO_NET_F_MRG_RXBUF;
const SUMS: u64 = 1 << spec::VIRTIO_NET_F_GUEST_CSUM;
const NOTHING: Events = Events {
    readable: false,
    writable: false,
    buffers: false,
    packets: false,
};
const PACKET: Events = Events {
    readable: true,
    ..NOTHING
};
const ROOM: Events = Events {
    buffers: true,
    ..NOTHING
};
const SEND: Events = Events {
    packets: true,
    ..NOTHING
};

/// A device with one pair, and the other end of what stands in for its tap device:
/// a socket that keeps packets apart.
struct Bench {
    harness: Harness<Net>,
    wire: OwnedFd,
    interrupts: Cell<u32>,
}

fn socket_pair() -> (OwnedFd, OwnedFd) {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::NONBLOCK);
    rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None).unwrap()
}

fn device(pairs: usize) -> (Net, Vec<OwnedFd>) {
    let (taps, wires): (Vec<_>, Vec<_>) = (0..pairs)
        .map(|_| socket_pair())
        .map(|(ours, theirs)| (Tap::stand_in(ours), theirs))
        .unzip();
    let abilities = Abilities { uso: true };
    let net = Net::assemble(taps, abilities, [2, 0, 0, 0, 0, 7], Some(1400));
    (net, wires)
}

/// A bench whose driver accepted these features.
fn bench(features: u64) -> Bench {
    let (net, mut wires) = device(1);
    let mut harness = Harness::new(net, &[256, 256]);
    let Harness { device, queues, .. } = &mut harness;
    device.activate(features | COMMON_FEATURES, queues);
    Bench {
        harness,
        wire: wires.remove(0),
        interrupts: Cell::new(0),
    }
}

impl Bench {
    fn turn(&self, events: Events) -> Result<bool, Broken> {
        let raise = || self.interrupts.set(self.interrupts.get() + 1);
        self.harness.device.lanes[0].turn(events, &self.harness.memory, raise)
    }

    /// Puts a packet on the wire: this start of its header, and a body.
    fn arrive(&self, start: [u8; 2], body: &[u8]) {
        let packet = [&start[..], &[0; HEADER - 2], body].concat();
        rustix::net::send(&self.wire, &packet, SendFlags::empty()).unwrap();
    }

    /// Takes a packet from the wire.
    fn sent(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 70_000];
        let (len, _) = rustix::net::recv(&self.wire, &mut bytes, RecvFlags::empty()).ok()?;
        bytes.truncate(len);
        Some(bytes)
    }

    /// Offers `count` buffers of `len` bytes for packets, from the buffer `first` on.
    fn offer(&mut self, first: u64, count: u64, len: u32) {
        for index in first..first + count {
            self.harness
                .add(RX, &[w(BUFFERS + index * u64::from(len), len)]);
        }
    }
}

/// Bytes that differ from place to place.
fn body(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32)
        .map(|at| (at.wrapping_mul(31) ^ at >> 8 ^ seed) as u8)
        .collect()
}

#[test]
fn configuration_space_tells_address_link_pairs_and_mtu() {
    let (net, _wires) = device(3);
    assert_eq!(net.config(), [2, 0, 0, 0, 0, 7, 1, 0, 3, 0, 0x78, 5]);
    assert_eq!(net.queue_sizes().len(), 7);
    let bit = |bit: u32| 1u64 << bit;
    let (many, control) = (bit(spec::VIRTIO_NET_F_MQ), bit(spec::VIRTIO_NET_F_CTRL_VQ));
    for (features, needed) in [(0, 2), (control, 3), (many, 6), (many | control, 7)] {
        assert_eq!(net.needed_queues(features), needed, "{features:#x}");
    }
    assert_eq!(device(1).0.queue_sizes().len(), 2);
}

#[test]
fn a_packet_fills_one_buffer_or_several() {
    let mut bench = bench(MERGEABLE | SUMS);
    // The first long packet comes as a surprise and is partly copied; the second
    // is read straight into the guest's buffers.
    bench.offer(0, 128, 1536);
    let mut used = 0;
    for (seed, len) in [(1, 60), (2, 65_000), (3, 65_000), (4, 1524), (5, 1525)] {
        let content = body(len, seed);
        bench.arrive([1, 0], &content);
        assert_eq!(bench.turn(PACKET), Ok(false), "nothing more");
        let total = len + HEADER;
        let buffers = bench.harness.used(RX);
        assert_eq!(buffers.len(), total.div_ceil(1536), "packet of {len}");
        let written: u32 = buffers.iter().map(|(_, written)| written).sum();
        assert_eq!(written as usize, total);
        let start = BUFFERS + used * 1536;
        let packet = bench.harness.bytes(start, total);
        assert_eq!(packet[..2], [1, 0]);
        assert_eq!(packet[10..12], (buffers.len() as u16).to_le_bytes());
        assert!(packet[HEADER..] == content, "packet of {len}");
        used += buffers.len() as u64;
    }
    assert!(bench.interrupts.get() > 0);
}

#[test]
fn a_packet_waits_for_buffers_and_shows_all_at_once() {
    let mut bench = bench(MERGEABLE);
    bench.offer(0, 3, 2000);
    let content = body(9000, 9);
    bench.arrive([0, 0], &content);
    bench.arrive([0, 0], b"a second packet");
    assert_eq!(bench.turn(PACKET), Ok(false));
    assert_eq!(bench.harness.used(RX), []);
    bench.offer(3, 1, 2000);
    assert_eq!(bench.turn(ROOM), Ok(false));
    assert_eq!(bench.harness.used(RX), []);
    bench.offer(4, 2, 2000);
    assert_eq!(bench.turn(ROOM), Ok(false));
    let lengths: Vec<u32> = bench.harness.used(RX).iter().map(|(_, len)| *len).collect();
    assert_eq!(lengths, [2000, 2000, 2000, 2000, 1012, 27]);
    let packet = bench.harness.bytes(BUFFERS, 9000 + HEADER);
    assert_eq!(packet[10..12], [5, 0]);
    assert!(packet[HEADER..] == content);
    let second = bench.harness.bytes(BUFFERS + 10_000 + 12, 15);
    assert_eq!(second, b"a second packet");
}

#[test]
fn a_packet_that_never_fits_is_dropped() {
    let mut bench = bench(MERGEABLE);
    bench.offer(0, 256, 16);
    bench.arrive([0, 0], &body(5000, 0));
    bench.arrive([0, 0], &body(36, 7));
    assert_eq!(bench.turn(PACKET), Ok(false));
    assert_eq!(bench.harness.used(RX).len(), 3);
    assert_eq!(bench.harness.bytes(BUFFERS + 12, 36), body(36, 7));
}

#[test]
fn without_mergeable_buffers_each_packet_has_one_chain() {
    let mut bench = bench(0);
    let parts = [w(BUFFERS, 12), w(BUFFERS + 12, 100), w(BUFFERS + 200, 1000)];
    bench.harness.add(RX, &parts);
    bench.harness.add(RX, &[w(BUFFERS + 4096, 100)]);
    bench.arrive([0, 0], &body(1200, 1));
    bench.arrive([0, 0], &body(1100, 2));
    bench.arrive([0, 0], &body(89, 3));
    bench.arrive([0, 0], &body(88, 4));
    assert_eq!(bench.turn(PACKET), Ok(false));
    assert_eq!(bench.harness.used(RX), [(0, 1112), (3, 100)]);
    let packet = [
        bench.harness.bytes(BUFFERS + 12, 100),
        bench.harness.bytes(BUFFERS + 200, 1000),
    ];
    assert_eq!(packet.concat(), body(1100, 2));
    assert_eq!(bench.harness.bytes(BUFFERS + 10, 2), [1, 0]);
    assert_eq!(bench.harness.bytes(BUFFERS + 4096 + 12, 88), body(88, 4));
}

#[test]
fn packets_that_the_guest_cannot_take_are_dropped() {
    let mut bench = bench(MERGEABLE);
    bench.offer(0, 4, 1536);
    bench.arrive([1, 0], &[1; 60]);
    bench.arrive([0, 1], &[2; 60]);
    bench.arrive([2, 0], &[3; 60]);
    // Shorter than an Ethernet header.
    bench.arrive([0, 0], &[4; 13]);
    bench.arrive([0, 0], &[5; 14]);
    assert_eq!(bench.turn(PACKET), Ok(false));
    assert_eq!(bench.harness.used(RX), [(0, 72), (1, 26)]);
    let first = bench.harness.bytes(BUFFERS, 13);
    assert_eq!((first[0], first[12]), (0, 3), "flags are cleared");
}

#[test]
fn packets_are_sent_from_chains_of_any_shape() {
    let mut bench = bench(0);
    bench.harness.put(BUFFERS, &body(2000, 1));
    let table: [&[Part]; 3] = [
        &[r(BUFFERS, 72)],
        &[r(BUFFERS, 5), r(BUFFERS + 5, 0), r(BUFFERS + 5, 1000)],
        &[indirect(0x2_0000, 3 * 16)],
    ];
    for (index, part) in (0..).zip([r(BUFFERS, 12), r(BUFFERS + 12, 1), r(BUFFERS + 13, 1500)]) {
        let next = (index < 2).then_some(index + 1);
        put_descriptor(
            &bench.harness.memory,
            0x2_0000 + 16 * u64::from(index),
            part,
            next,
        );
    }
    for (parts, len) in table.into_iter().zip([72, 1005, 1513]) {
        bench.harness.add(TX, parts);
        assert_eq!(bench.turn(SEND), Ok(false));
        assert_eq!(bench.sent().unwrap(), body(2000, 1)[..len]);
        assert_eq!(bench.sent(), None);
        assert_eq!(bench.harness.used(TX).len(), 1);
    }
}

#[test]
fn packets_that_are_too_long_or_in_too_many_pieces_are_dropped() {
    let mut bench = bench(0);
    bench.harness.add(TX, &[r(BUFFERS, MAX_PACKET as u32 + 1)]);
    for index in 0..300u16 {
        let place = 0x2_0000 + 16 * u64::from(index);
        let next = (index < 299).then_some(index + 1);
        put_descriptor(&bench.harness.memory, place, r(BUFFERS, 8), next);
    }
    bench.harness.add(TX, &[indirect(0x2_0000, 300 * 16)]);
    bench.harness.add(TX, &[r(BUFFERS, MAX_PACKET as u32)]);
    assert_eq!(bench.turn(SEND), Ok(false));
    assert_eq!(bench.sent().unwrap().len(), MAX_PACKET);
    assert_eq!(bench.sent(), None);
    assert_eq!(bench.harness.used(TX).len(), 3);
}

#[test]
fn a_tap_that_takes_no_more_holds_packets_back() {
    let mut bench = bench(0);
    for index in 0..100 {
        bench
            .harness
            .put(BUFFERS + index * 0x2000, &[index as u8; 64]);
        bench.harness.add(TX, &[r(BUFFERS + index * 0x2000, 8000)]);
    }
    assert_eq!(bench.turn(SEND), Ok(false));
    let first = bench.harness.used(TX).len();
    assert!(first > 0 && first < 100, "{first} fit");
    let mut seen = Vec::new();
    let mut returned = first;
    let writable = Events {
        writable: true,
        ..NOTHING
    };
    for _ in 0..100 {
        while let Some(packet) = bench.sent() {
            seen.push(packet[0]);
        }
        assert_eq!(bench.turn(NOTHING), Ok(false), "waits for the tap");
        assert_eq!(bench.turn(writable), Ok(false));
        returned += bench.harness.used(TX).len();
        if seen.len() == 100 {
            break;
        }
    }
    assert_eq!(returned, 100);
    assert_eq!(seen, (0..100).collect::<Vec<u8>>());
}

#[test]
fn a_flood_from_either_side_takes_a_turn_at_a_time() {
    let mut bench = bench(MERGEABLE);
    bench.offer(0, 128, 1536);
    for _ in 0..100 {
        bench.arrive([0, 0], &[1; 60]);
    }
    assert_eq!(bench.turn(PACKET), Ok(true));
    assert_eq!(bench.harness.used(RX).len(), 64);
    assert_eq!(bench.turn(NOTHING), Ok(false));
    assert_eq!(bench.harness.used(RX).len(), 36);
    // The same descriptor all over the ring: a driver that adds as fast as they go.
    let mut harness = bench.harness;
    harness.descriptor(TX, 0, r(BUFFERS, MAX_PACKET as u32 + 1), None);
    (0..256).for_each(|_| harness.offer(TX, 0));
    bench.harness = harness;
    assert_eq!(bench.turn(SEND), Ok(true));
    assert_eq!(bench.harness.used(TX).len(), 256);
    assert_eq!(bench.turn(NOTHING), Ok(false));
}

#[test]
fn both_sides_are_notified_only_where_they_asked() {
    let mut bench = bench(MERGEABLE);
    let ring = &bench.harness.queues[RX].ring;
    let (available, used) = (ring.avail_ring(), ring.used_ring());
    let event_of_driver = available + 4 + 2 * 256;
    let event_of_device = used + 4 + 8 * 256;
    let read = |bench: &Bench, at: u64| -> u16 {
        bench.harness.memory.read_obj(GuestAddress(at)).unwrap()
    };
    // No buffers: the device asks for the bell of the next one.
    bench.arrive([0, 0], &[0; 60]);
    assert_eq!(bench.turn(PACKET), Ok(false));
    assert_eq!(read(&bench, event_of_device), 0);
    bench.offer(0, 100, 1536);
    // The driver wants an interrupt with the third buffer, not before.
    bench.harness.put(event_of_driver, &2u16.to_le_bytes());
    for (count, expected) in [(1, 0), (2, 0), (3, 1), (4, 1)] {
        assert_eq!(bench.turn(PACKET), Ok(false));
        assert_eq!(bench.harness.used(RX).len(), 1);
        assert_eq!(bench.interrupts.get(), expected, "after {count}");
        bench.arrive([0, 0], &[0; 60]);
    }
    // A packet over several buffers passes the mark as well.
    bench.turn(PACKET).unwrap();
    bench.harness.put(event_of_driver, &7u16.to_le_bytes());
    bench.arrive([0, 0], &[0; 9000]);
    bench.turn(PACKET).unwrap();
    assert_eq!(bench.interrupts.get(), 2);
    assert_eq!(read(&bench, event_of_device), 0, "there were buffers");
    // Without the feature the flag counts.
    bench.harness.queues[RX].ring.set_event_idx(false);
    let queue = bench.harness.queues[RX].copy().unwrap();
    let mut queue = queue;
    queue.ring.set_next_used(1);
    for (flag, expected) in [(0u16, true), (1, false)] {
        bench.harness.put(available, &flag.to_le_bytes());
        let wants = queue.wants_interrupt_since(&bench.harness.memory, 0);
        assert_eq!(wants, Ok(expected));
    }
    assert_eq!(
        queue.wants_interrupt_since(&bench.harness.memory, 1),
        Ok(false)
    );
}

#[test]
fn what_breaks_the_rules_ends_the_lane() {
    type Setup = fn(&mut Harness<Net>);
    let table: &[(&str, Setup)] = &[
        ("room for less than a header", |h| {
            h.add(RX, &[w(BUFFERS, 11)]);
        }),
        ("nothing to write to", |h| {
            h.add(RX, &[r(BUFFERS, 2000)]);
        }),
        ("less than a header to send", |h| {
            h.add(TX, &[r(BUFFERS, 11)]);
        }),
        ("nothing to send", |h| {
            h.add(TX, &[r(BUFFERS, 0)]);
        }),
        ("only room in what is to be sent", |h| {
            h.add(TX, &[w(BUFFERS, 2000)]);
        }),
        ("a loop", |h| {
            h.descriptor(TX, 0, r(BUFFERS, 64), Some(0));
            h.offer(TX, 0);
        }),
        ("a loop of buffers", |h| {
            h.descriptor(RX, 0, w(BUFFERS, 64), Some(1));
            h.descriptor(RX, 1, w(BUFFERS, 64), Some(0));
            h.offer(RX, 0);
        }),
        ("an address out of memory", |h| {
            h.add(TX, &[r(u64::MAX - 64, 128)]);
        }),
        ("a buffer out of memory", |h| {
            h.add(RX, &[w(1 << 40, 2000)]);
        }),
        ("a head out of the table", |h| h.offer(RX, 256)),
        ("an index that jumps", |h| {
            let at = h.queues[TX].ring.avail_ring() + 2;
            h.put(at, &300u16.to_le_bytes());
        }),
    ];
    let all = Events {
        readable: true,
        writable: true,
        buffers: true,
        packets: true,
    };
    for (name, setup) in table {
        let mut bench = bench(MERGEABLE);
        setup(&mut bench.harness);
        bench.arrive([0, 0], &[0; 64]);
        assert!(bench.turn(all).is_err(), "{name}");
        assert_eq!(bench.turn(all), Ok(false), "{name}: it stays silent");
        assert!(!bench.harness.device.lanes[0].is_live());
    }
}

#[test]
fn random_rings_never_get_out_of_hand() {
    // A small generator (xorshift); half of the bits are small numbers, so that much
    // of what it makes is nearly valid.
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let all = Events {
        readable: true,
        writable: true,
        buffers: true,
        packets: true,
    };
    for round in 0..300u64 {
        let mut bench = bench(if round % 2 == 0 { MERGEABLE } else { 0 });
        for _ in 0..24 {
            let queue = (random() % 2) as usize;
            let index = (random() % 8) as u16;
            let part = Part {
                address: BUFFERS + random() % 0x30_0100,
                len: (random() % 3000) as u32,
                flags: [0, 2, 2, 4][(random() % 4) as usize],
            };
            let next = (random() % 3 == 0).then_some((random() % 9) as u16);
            bench.harness.descriptor(queue, index, part, next);
            bench.harness.offer(queue, (random() % 8) as u16);
        }
        for _ in 0..4 {
            bench.arrive([0, 0], &body((random() % 9000) as usize, 0));
            let _ = bench.turn(all);
        }
        let _ = bench.sent();
    }
}

#[test]
fn the_control_queue_sets_the_number_of_pairs() {
    let (net, _wires) = device(2);
    let mut harness = Harness::new(net, &[64; 5]);
    let wanted = |harness: &Harness<Net>| -> Vec<bool> {
        let lanes = &harness.device.lanes;
        lanes.iter().map(|lane| lane.is_wanted()).collect()
    };
    assert_eq!(wanted(&harness), [true, false]);
    assert!(harness.device.lanes.iter().all(|lane| lane.is_live()));
    let table: [(&[u8], u8, [bool; 2]); 7] = [
        (&[4, 0, 2, 0], 0, [true, true]),
        (&[4, 0, 3, 0], 1, [true, true]),
        (&[4, 0, 0, 0], 1, [true, true]),
        (&[4, 0, 2], 1, [true, true]),
        (&[4, 1, 1, 0], 1, [true, true]),
        (&[0, 0, 1], 1, [true, true]),
        (&[4, 0, 1, 0], 0, [true, false]),
    ];
    for (command, answer, expected) in table {
        harness.put(BUFFERS, command);
        harness.put(BUFFERS + 100, &[0xee]);
        harness.add(4, &[r(BUFFERS, command.len() as u32), w(BUFFERS + 100, 1)]);
        harness.kick(4).unwrap();
        assert_eq!(harness.used(4).len(), 1);
        assert_eq!(harness.bytes(BUFFERS + 100, 1), [answer], "{command:?}");
        assert_eq!(wanted(&harness), expected, "{command:?}");
    }
    harness.add(4, &[r(BUFFERS, 4)]);
    assert!(harness.kick(4).is_err());
    harness.device.reset();
    assert_eq!(wanted(&harness), [true, false]);
    assert!(harness.device.lanes.iter().all(|lane| !lane.is_live()));
}

#[test]
fn a_driver_without_many_pairs_has_its_control_queue_third() {
    let (net, _wires) = device(2);
    let mut harness = Harness::new(net, &[64; 5]);
    let features = COMMON_FEATURES | 1 << spec::VIRTIO_NET_F_CTRL_VQ;
    let Harness { device, queues, .. } = &mut harness;
    device.reset();
    device.activate(features, &queues[..3]);
    let live: Vec<bool> = device.lanes.iter().map(|lane| lane.is_live()).collect();
    assert_eq!(live, [true, false]);
    harness.put(BUFFERS, &[4, 0, 1, 0]);
    harness.add(2, &[r(BUFFERS, 4), w(BUFFERS + 100, 1)]);
    harness.kick(2).unwrap();
    assert_eq!(harness.used(2).len(), 1);
    harness.add(4, &[r(BUFFERS, 4), w(BUFFERS + 100, 1)]);
    harness.kick(4).unwrap();
    assert_eq!(harness.used(4), []);
}
