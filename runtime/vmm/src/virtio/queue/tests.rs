use super::testing::{Harness, MEMORY, QUEUES_END, indirect, put_descriptor, r, w};
use super::*;
use crate::virtio::rng::Rng;

type Setup = fn(&mut Harness<Rng>);

fn harness() -> Harness<Rng> {
    Harness::new(Rng, &[16])
}

#[test]
fn sound_chains_are_split_into_both_sides() {
    let mut harness = harness();
    harness.add(
        0,
        &[
            r(QUEUES_END, 10),
            r(QUEUES_END + 100, 6),
            w(QUEUES_END + 200, 5),
            w(QUEUES_END + 300, 0),
        ],
    );
    harness.put(QUEUES_END, b"0123456789");
    harness.put(QUEUES_END + 100, b"abcdef");
    let chain = harness.queues[0].pop(&harness.memory).unwrap().unwrap();
    assert_eq!((chain.readable().len(), chain.writable().len()), (16, 5));
    let mut bytes = [0; 8];
    assert_eq!(chain.readable().read(&harness.memory, 6, &mut bytes), 8);
    assert_eq!(&bytes, b"6789abcd");
    assert_eq!(chain.readable().read(&harness.memory, 14, &mut bytes), 2);
    assert_eq!(chain.writable().write(&harness.memory, 3, b"xyz"), 2);
    assert_eq!(harness.bytes(QUEUES_END + 200, 6), b"\0\0\0xy\0");
    assert!(harness.queues[0].pop(&harness.memory).unwrap().is_none());
}

#[test]
fn a_full_indirect_table_is_one_chain() {
    let mut harness = harness();
    for index in 0..40 {
        let next = (index < 39).then_some(index + 1);
        put_descriptor(
            &harness.memory,
            0x2_0000 + 16 * u64::from(index),
            w(0x3_0000, 8),
            next,
        );
    }
    harness.add(0, &[indirect(0x2_0000, 40 * 16)]);
    let chain = harness.queues[0].pop(&harness.memory).unwrap().unwrap();
    assert_eq!(chain.writable().len(), 320);
}

#[test]
fn malformed_chains_are_refused() {
    let table: &[(&str, Setup)] = &[
        ("a loop of one", |h| {
            h.descriptor(0, 0, r(QUEUES_END, 8), Some(0));
            h.offer(0, 0);
        }),
        ("a loop of two", |h| {
            h.descriptor(0, 0, w(QUEUES_END, 8), Some(1));
            h.descriptor(0, 1, w(QUEUES_END, 8), Some(0));
            h.offer(0, 0);
        }),
        ("a next index out of the table", |h| {
            h.descriptor(0, 0, r(QUEUES_END, 8), Some(16));
            h.offer(0, 0);
        }),
        ("a head out of the table", |h| h.offer(0, 16)),
        ("a head far out of the table", |h| h.offer(0, 0xffff)),
        ("an address behind memory", |h| {
            h.add(0, &[w(MEMORY, 1)]);
        }),
        ("a buffer that ends behind memory", |h| {
            h.add(0, &[w(MEMORY - 8, 9)]);
        }),
        ("an address that wraps", |h| {
            h.add(0, &[w(u64::MAX - 4, 64)]);
        }),
        ("a length of 4 GiB", |h| {
            h.add(0, &[r(QUEUES_END, u32::MAX)]);
        }),
        ("readable behind writable", |h| {
            h.add(0, &[w(QUEUES_END, 8), r(QUEUES_END + 8, 8)]);
        }),
        ("an indirect table of odd length", |h| {
            h.add(0, &[indirect(0x2_0000, 17)]);
        }),
        ("an empty indirect table", |h| {
            h.add(0, &[indirect(0x2_0000, 0)]);
        }),
        ("an indirect table behind memory", |h| {
            h.add(0, &[indirect(MEMORY, 16)]);
        }),
        ("an indirect table in an indirect table", |h| {
            put_descriptor(&h.memory, 0x2_0000, indirect(0x2_0000, 16), None);
            h.add(0, &[indirect(0x2_0000, 16)]);
        }),
        ("a loop in an indirect table", |h| {
            put_descriptor(&h.memory, 0x2_0000, w(0x3_0000, 8), Some(0));
            h.add(0, &[indirect(0x2_0000, 16)]);
        }),
        ("an endless indirect table", |h| {
            for index in 0..2000u16 {
                let place = 0x2_0000 + 16 * u64::from(index);
                put_descriptor(&h.memory, place, w(0x10_0000, 8), Some(index + 1));
            }
            h.add(0, &[indirect(0x2_0000, 2000 * 16)]);
        }),
    ];
    for (name, setup) in table {
        let mut harness = harness();
        setup(&mut harness);
        let result = harness.kick(0);
        assert!(
            matches!(result, Err(Broken::Chain(_))),
            "{name}: {result:?}"
        );
    }
}

#[test]
fn an_available_index_that_jumps_breaks_the_ring() {
    let mut harness = harness();
    let available = harness.queues[0].ring.avail_ring();
    for index in [17u16, 0x8000, 0xffff] {
        harness.put(available + 2, &index.to_le_bytes());
        assert!(
            matches!(harness.kick(0), Err(Broken::Ring(_))),
            "index {index}"
        );
    }
}

#[test]
fn one_turn_handles_each_descriptor_once() {
    // The same descriptor 16 times, all at once: as many turns as the queue is long.
    let mut harness = harness();
    harness.descriptor(0, 0, w(QUEUES_END, 4), None);
    (0..16).for_each(|_| harness.offer(0, 0));
    let work = harness.kick(0).unwrap();
    assert_eq!(
        work,
        Work {
            interrupt: true,
            more: true
        }
    );
    assert_eq!(harness.used(0).len(), 16);
    assert_eq!(harness.kick(0).unwrap(), Work::default());
}

#[test]
fn a_chain_can_be_put_back() {
    let mut harness = harness();
    harness.add(0, &[w(QUEUES_END, 4)]);
    let memory = harness.memory.clone();
    let work = harness.queues[0].drain(&memory, |_| Ok(None)).unwrap();
    assert_eq!(work, Work::default());
    assert!(harness.kick(0).unwrap().interrupt);
}
