use super::*;
use crate::virtio::queue::testing::{Harness, r, w};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

const HEADER: u64 = 0x2_0000;
const DATA: u64 = 0x3_0000;
const STATUS: u64 = 0x5_0000;

fn file(content: &[u8]) -> Arc<File> {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(content, 0).unwrap();
    Arc::new(file)
}

fn part(file: &Arc<File>, offset: u64, len: u64) -> Extent {
    Extent::File {
        file: file.clone(),
        offset,
        len,
    }
}

fn disk(extents: Vec<Extent>, readonly: bool) -> Harness<Block> {
    Harness::new(
        Block::new(Extents::new(extents).unwrap(), readonly, "test-disk"),
        &[64],
    )
}

/// Runs one request; its status.
fn run(
    harness: &mut Harness<Block>,
    kind: u32,
    sector: u64,
    data: &[crate::virtio::queue::testing::Part],
) -> u8 {
    let header = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
    harness.put(HEADER, &header);
    harness.put(STATUS, &[0xee]);
    let parts = [&[r(HEADER, 16)], data, &[w(STATUS, 1)]].concat();
    harness.add(0, &parts);
    harness.kick(0).unwrap();
    harness.bytes(STATUS, 1)[0]
}

#[test]
fn reads_cross_extents() {
    let (first, second) = (file(&[b'a'; 1000]), file(&[b'b'; 4096]));
    let mut harness = disk(
        vec![
            Extent::Bytes(vec![b'h'; 512]),
            part(&first, 0, 1000),
            Extent::Zero { len: 24 },
            part(&second, 100, 512),
        ],
        true,
    );
    assert_eq!(harness.device.config()[..8], 4u64.to_le_bytes());
    let status = run(
        &mut harness,
        0,
        0,
        &[w(DATA, 100), w(DATA + 100, 2048 - 100)],
    );
    assert_eq!(status, 0);
    assert_eq!(harness.used(0), [(0, 2049)]);
    let expected = [
        vec![b'h'; 512],
        vec![b'a'; 1000],
        vec![0; 24],
        vec![b'b'; 512],
    ]
    .concat();
    assert_eq!(harness.bytes(DATA, 2048), expected);
    // From the middle.
    assert_eq!(run(&mut harness, 0, 2, &[w(DATA, 1024)]), 0);
    assert_eq!(harness.bytes(DATA, 1024), expected[1024..]);
}

#[test]
fn writes_reach_the_right_place_only() {
    let file = file(&[0; 4096]);
    let mut harness = disk(vec![part(&file, 512, 1024), part(&file, 2048, 1024)], false);
    harness.put(DATA, &[7; 1024]);
    assert_eq!(
        run(&mut harness, 1, 1, &[r(DATA, 600), r(DATA + 600, 424)]),
        0
    );
    let mut content = [0; 4096];
    file.read_exact_at(&mut content, 0).unwrap();
    let written: Vec<usize> = (0..4096).filter(|at| content[*at] == 7).collect();
    assert_eq!(written, (1024..1536).chain(2048..2560).collect::<Vec<_>>());
    assert_eq!(run(&mut harness, 4, 0, &[]), 0, "flush");
}

#[test]
fn requests_off_the_disk_or_against_its_rules_fail() {
    let content = file(&[1; 8192]);
    let huge = 1u64 << 60;
    // kind, sector, data, read-only, status
    let table = [
        (0, 16, vec![w(DATA, 512)], true, 1),
        (0, 15, vec![w(DATA, 1024)], true, 1),
        (0, u64::MAX, vec![w(DATA, 512)], true, 1),
        (0, huge, vec![w(DATA, 512)], true, 1),
        (0, 0, vec![w(DATA, 100)], true, 1),
        (1, 0, vec![r(DATA, 512)], true, 1),
        (1, 16, vec![r(DATA, 512)], false, 1),
        (1, 0, vec![r(DATA, 3)], false, 1),
        (11, 0, vec![r(DATA, 16)], true, 1),
        (11, 0, vec![r(DATA, 15)], false, 1),
        (11, 0, vec![], false, 1),
        (13, 0, vec![r(DATA, 65 * 16)], false, 1),
        (99, 0, vec![], false, 2),
        (u32::MAX, 0, vec![], false, 2),
        (0, 15, vec![w(DATA, 512)], true, 0),
    ];
    for (kind, sector, data, readonly, expected) in table {
        let mut harness = disk(vec![part(&content, 0, 8192)], readonly);
        harness.put(DATA, &[0; 4096]);
        assert_eq!(
            run(&mut harness, kind, sector, &data),
            expected,
            "request {kind} at {sector}"
        );
    }
    assert_eq!(content.metadata().unwrap().len(), 8192);
    let mut now = [0; 8192];
    content.read_exact_at(&mut now, 0).unwrap();
    assert_eq!(now, [1; 8192]);
}

#[test]
fn discarded_ranges_become_holes_and_zeros_are_zeros() {
    const SIZE: u64 = 1 << 20;
    for (kind, flags, thin) in [(11, 0u32, true), (13, 1, true), (13, 0, false)] {
        let content = file(&vec![9; SIZE as usize]);
        content.sync_all().unwrap();
        let before = content.metadata().unwrap().blocks();
        let mut harness = disk(vec![part(&content, 0, SIZE)], false);
        let range = [
            &0u64.to_le_bytes()[..],
            &1024u32.to_le_bytes(),
            &flags.to_le_bytes(),
        ]
        .concat();
        harness.put(DATA, &range);
        assert_eq!(run(&mut harness, kind, 0, &[r(DATA, 16)]), 0);
        let mut half = vec![0; SIZE as usize];
        content.read_exact_at(&mut half, 0).unwrap();
        assert!(half[..SIZE as usize / 2].iter().all(|byte| *byte == 0));
        assert!(half[SIZE as usize / 2..].iter().all(|byte| *byte == 9));
        let after = content.metadata().unwrap().blocks();
        assert_eq!(content.metadata().unwrap().len(), SIZE);
        if thin {
            assert!(after < before, "{before} blocks, then {after}");
        }
    }
}

#[test]
fn unknown_flags_of_a_range_are_refused() {
    for (kind, flags) in [(11, 1u32), (13, 2)] {
        let mut harness = disk(vec![part(&file(&[1; 4096]), 0, 4096)], false);
        harness.put(
            DATA,
            &[
                &0u64.to_le_bytes()[..],
                &1u32.to_le_bytes(),
                &flags.to_le_bytes(),
            ]
            .concat(),
        );
        assert_eq!(run(&mut harness, kind, 0, &[r(DATA, 16)]), 2);
    }
}

#[test]
fn the_serial_is_told() {
    let mut harness = disk(vec![Extent::Zero { len: 512 }], true);
    assert_eq!(run(&mut harness, 8, 0, &[w(DATA, 20)]), 0);
    assert_eq!(harness.bytes(DATA, 20), b"test-disk\0\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn chains_without_header_or_status_break_the_queue() {
    for parts in [
        vec![r(HEADER, 15), w(STATUS, 1)],
        vec![w(STATUS, 1)],
        vec![r(HEADER, 16)],
    ] {
        let mut harness = disk(vec![Extent::Zero { len: 512 }], true);
        harness.add(0, &parts);
        assert!(harness.kick(0).is_err(), "{parts:?}");
    }
}

#[test]
fn a_file_that_is_too_short_is_refused() {
    let short = file(&[0; 511]);
    assert!(Extents::new(vec![part(&short, 0, 512)]).is_err());
    assert!(Extents::new(vec![part(&short, u64::MAX, 2)]).is_err());
    assert!(Extents::new(vec![part(&short, 10, 501)]).is_ok());
}

#[test]
fn random_requests_agree_with_a_plain_file() {
    // A small generator (xorshift) is enough: the point is odd sizes and places.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let lengths = [512, 1, 4095, 1000, 8192, 2560, 24];
    let files: Vec<_> = lengths
        .iter()
        .map(|len| file(&vec![0; *len as usize + 7]))
        .collect();
    let extents: Vec<_> = files
        .iter()
        .zip(lengths)
        .map(|(file, len)| part(file, 7, len))
        .collect();
    let mut harness = disk(extents, false);
    let size: u64 = lengths.iter().sum();
    let sectors = size / 512;
    let mut model = vec![0u8; size as usize];
    for round in 0..400u64 {
        let sector = random(sectors);
        let count = 1 + random(sectors - sector);
        let (start, len) = (sector as usize * 512, count as usize * 512);
        let cut = 1 + random(len as u64 - 1);
        let address = |at: u64| DATA + at;
        if round % 2 == 0 {
            let bytes: Vec<u8> = (0..len).map(|_| random(256) as u8).collect();
            harness.put(DATA, &bytes);
            let parts = [
                r(address(0), cut as u32),
                r(address(cut), len as u32 - cut as u32),
            ];
            assert_eq!(run(&mut harness, 1, sector, &parts), 0);
            model[start..start + len].copy_from_slice(&bytes);
        } else {
            let parts = [
                w(address(0), cut as u32),
                w(address(cut), len as u32 - cut as u32),
            ];
            assert_eq!(run(&mut harness, 0, sector, &parts), 0);
            assert_eq!(
                harness.bytes(DATA, len),
                model[start..start + len],
                "round {round}"
            );
        }
    }
}
