//! The program with guests of a few instructions, natively on /dev/kvm. The code is
//! 32-bit: port and memory accesses leave KVM, everything else is plain.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::code::{off, out, store, wait_and_print};
use common::{file, vm};
use isola_vmm::Outcome;
use isola_vmm::config::{Disk, Port, Segment, Vsock};
use isola_vmm::outcome::{Answer, Event};

/// Writes a text to the serial port.
fn print(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|byte| out(0x3f8, byte)).collect()
}

fn code(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

/// `jmp $`
const SPIN: [u8; 2] = [0xeb, 0xfe];

#[test]
fn a_guest_prints_and_switches_off() {
    let ended = vm(&code(&[print("hello\n"), off()])).run();
    assert_eq!(ended.outcome(), Some(Outcome::PoweredOff), "{ended:?}");
    assert_eq!(ended.console, "hello\n");
    assert_eq!(ended.events[0], Event::Running);
    assert!(
        matches!(&ended.events[1], Event::Ended(report) if report.outcome == Outcome::PoweredOff)
    );
    assert_eq!(ended.stderr, "");
}

#[test]
fn ways_to_end_have_their_codes() {
    // `lidt [0]` loads a limit of 0 from empty memory, then `ud2` can't be handled.
    let triple_fault = vec![0x0f, 0x01, 0x1d, 0, 0x20, 0, 0, 0x0f, 0x0b];
    let table = [
        (out(0x64, 0xfe), Outcome::Reset),
        (out(0xcf9, 0x06), Outcome::Reset),
        (off(), Outcome::PoweredOff),
        (triple_fault, Outcome::Crashed),
    ];
    for (code, expected) in table {
        let ended = vm(&code).run();
        assert_eq!(ended.outcome(), Some(expected), "{ended:?}");
        assert_eq!(
            ended.stderr.is_empty(),
            expected != Outcome::Crashed,
            "{ended:?}"
        );
    }
}

#[test]
fn the_start_info_is_where_the_register_says() {
    // mov eax, [ebx]; write its four bytes; switch off.
    let mut guest = vec![0x8b, 0x03, 0x66, 0xba, 0xf8, 0x03];
    (0..4).for_each(|_| guest.extend([0xee, 0xc1, 0xe8, 0x08]));
    let ended = vm(&code(&[guest, off()])).run();
    assert_eq!(ended.console.as_bytes()[0], 0x78);
    assert_eq!(ended.outcome(), Some(Outcome::PoweredOff));
}

#[test]
fn virtio_devices_are_found_in_their_slots() {
    // Reads the device ids of the first four slots and prints them as digits.
    let mut guest = Vec::new();
    for slot in 0..4u32 {
        guest.push(0xa1);
        guest.extend((0xd000_0008 + slot * 0x1000).to_le_bytes());
        guest.extend([0x04, b'0', 0x66, 0xba, 0xf8, 0x03, 0xee]);
    }
    let mut vm = vm(&code(&[guest, off()]));
    let fd = vm.pass(file(&[0; 4096]));
    let disk = Disk {
        segments: vec![Segment::File {
            fd,
            offset: 0,
            len: 4096,
        }],
        readonly: true,
        serial: "test".into(),
    };
    let (_agent, theirs) = UnixStream::pair().unwrap();
    let port = Port {
        port: 1,
        fd: vm.pass(theirs),
    };
    vm.config.disks = vec![disk];
    vm.config.vsock = Some(Vsock {
        cid: 3,
        listener_fd: None,
        ports: vec![port],
    });
    vm.config.entropy = true;
    let ended = vm.run();
    // 2 is a disk, 0x13 the socket device ('0' + 19 is 'C'), 4 random numbers, and
    // nothing answers in the fourth (all ones: '0' - 1).
    assert_eq!(ended.console, "2C4/", "{ended:?}");
}

/// Brings up the random number device in the first slot, with one chain of a
/// descriptor of 8 bytes at 0x8000 that has `flags` and is followed by itself, and
/// rings the bell.
fn rng_driver(flags: u32) -> Vec<u8> {
    const DEVICE: u32 = 0xd000_0000;
    const QUEUE: u32 = 0x30_0000;
    [
        // Descriptor 0, and the available ring with head 0 and index 1.
        store(QUEUE, 0x8000),
        store(QUEUE + 8, 8),
        store(QUEUE + 12, flags),
        store(QUEUE + 0x1000, 1 << 16),
        // Acknowledge, driver, VERSION_1, features agreed.
        store(DEVICE + 0x70, 3),
        store(DEVICE + 0x24, 1),
        store(DEVICE + 0x20, 1),
        store(DEVICE + 0x70, 0xb),
        store(DEVICE + 0x38, 16),
        store(DEVICE + 0x80, QUEUE),
        store(DEVICE + 0x90, QUEUE + 0x1000),
        store(DEVICE + 0xa0, QUEUE + 0x2000),
        store(DEVICE + 0x44, 1),
        store(DEVICE + 0x70, 0xf),
        store(DEVICE + 0x50, 0),
    ]
    .concat()
}

#[test]
fn a_driver_of_a_few_instructions_gets_random_numbers() {
    const WRITE: u32 = 2;
    const INTERRUPT_STATUS: u32 = 0xd000_0060;
    let guest = code(&[rng_driver(WRITE), wait_and_print(INTERRUPT_STATUS), off()]);
    let mut vm = vm(&guest);
    vm.config.entropy = true;
    let ended = vm.run();
    assert_eq!(
        (ended.outcome(), &ended.console[..]),
        (Some(Outcome::PoweredOff), "1"),
        "{ended:?}"
    );
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_chain_that_loops_stops_the_device_and_nothing_else() {
    const WRITE_AND_NEXT: u32 = 3;
    const INTERRUPT_STATUS: u32 = 0xd000_0060;
    // Waits for the interrupt (2: look at the status), rings the bell some more, and
    // tells by the next device's answer that the loop still runs.
    let bells = (0..1000).flat_map(|_| store(0xd000_0050, 0)).collect();
    let parts = [
        rng_driver(WRITE_AND_NEXT),
        wait_and_print(INTERRUPT_STATUS),
        bells,
        print("!"),
        off(),
    ];
    let mut vm = vm(&code(&parts));
    vm.config.entropy = true;
    let ended = vm.run();
    assert_eq!(
        (ended.outcome(), &ended.console[..]),
        (Some(Outcome::PoweredOff), "2!"),
        "{ended:?}"
    );
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains("has no end"), "{ended:?}");
}

#[test]
fn every_thread_is_shut_in_and_holds_only_what_it_was_given() {
    let mut vm = vm(&SPIN);
    let fd = vm.pass(file(&[0; 4096]));
    vm.config.disks = vec![Disk {
        segments: vec![Segment::File {
            fd,
            offset: 0,
            len: 4096,
        }],
        readonly: false,
        serial: String::new(),
    }];
    // Something that the program was not told about.
    let stray = vm.pass(file(b"stray secret"));
    let mut child = vm.start();
    let mut control = vm.control.try_clone().unwrap();
    control.write_all(b"state\n").unwrap();
    control.read_exact(&mut [0; 8]).unwrap();
    let process = format!("/proc/{}", child.id());
    let mut names = Vec::new();
    for task in std::fs::read_dir(format!("{process}/task"))
        .unwrap()
        .flatten()
    {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap();
        let name = status.lines().next().unwrap().replace("Name:\t", "");
        // KVM has workers of its own in the process (kvm-nx-lpage-recovery).
        if name.starts_with("kvm-") {
            continue;
        }
        for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "Seccomp_filters:\t1"] {
            assert!(status.contains(line), "{line} in {status}");
        }
        names.push(name);
    }
    names.sort_unstable();
    assert_eq!(names, ["disk-0", "isola-vmm", "vcpu-0"]);
    for entry in std::fs::read_dir(format!("{process}/fd"))
        .unwrap()
        .flatten()
    {
        let Ok(mut file) = std::fs::File::open(entry.path()) else {
            continue;
        };
        let mut start = [0; 5];
        let link = std::fs::read_link(entry.path()).unwrap();
        if link.to_string_lossy().contains("deleted") && file.read_exact(&mut start).is_ok() {
            assert_ne!(&start, b"stray", "descriptor {stray} is still open");
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn several_vcpus_are_made_and_only_the_first_runs() {
    let mut vm = vm(&code(&[print("x"), off()]));
    vm.config.vcpus = 4;
    let ended = vm.run();
    assert_eq!(
        (ended.outcome(), &ended.console[..]),
        (Some(Outcome::PoweredOff), "x"),
        "{ended:?}"
    );
}

#[test]
fn memory_beyond_the_hole_is_no_obstacle() {
    let mut vm = vm(&code(&[print("x"), off()]));
    vm.config.memory_bytes = 6 << 30;
    assert_eq!(vm.run().outcome(), Some(Outcome::PoweredOff));
}

#[test]
fn the_control_socket_answers_and_stops() {
    let mut vm = vm(&code(&[print("up"), SPIN.to_vec()]));
    let child = vm.start();
    let mut control = vm.control.try_clone().unwrap();
    control
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut lines = BufReader::new(control.try_clone().unwrap()).lines();
    let mut ask = |command: &str| -> Answer {
        control.write_all(command.as_bytes()).unwrap();
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    assert_eq!(
        ask("state\n"),
        Answer::State {
            state: "running".into(),
            vcpus: 1
        }
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while !matches!(ask("stats\n"), Answer::Stats(stats) if stats.port_writes == 2) {
        assert!(
            Instant::now() < deadline,
            "the guest's two writes are not counted"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ask("power-off\n"), Answer::Ok);
    assert!(matches!(ask("dance\n"), Answer::Error { .. }));
    assert_eq!(ask("stop\n"), Answer::Ok);
    let ended = vm.finish(child);
    assert_eq!(
        (ended.outcome(), &ended.console[..]),
        (Some(Outcome::Stopped), "up"),
        "{ended:?}"
    );
}

#[test]
fn a_parent_that_goes_away_takes_the_machine_with_it() {
    let mut vm = vm(&SPIN);
    let child = vm.start();
    std::thread::sleep(Duration::from_millis(100));
    vm.control.shutdown(std::net::Shutdown::Both).unwrap();
    let ended = vm.finish(child);
    assert_eq!(ended.outcome(), Some(Outcome::Stopped), "{ended:?}");
}

#[test]
fn console_input_reaches_the_guest() {
    // Waits for a character, prints it plus one, switches off.
    let guest = vec![
        0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7, 0x66, 0xba, 0xf8, 0x03, 0xec, 0xfe,
        0xc0, 0xee,
    ];
    let mut vm = vm(&code(&[guest, off()]));
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    vm.config.console.input_fd = Some(vm.pass(theirs));
    let child = vm.start();
    ours.write_all(b"a").unwrap();
    let ended = vm.finish(child);
    assert_eq!(ended.console, "b", "{ended:?}");
}

#[test]
fn a_console_flood_is_held_back_by_its_reader() {
    // mov dx, 0x3f8; mov al, 'x'; again: out dx, al; jmp again
    let flood = vec![0x66, 0xba, 0xf8, 0x03, 0xb0, b'x', 0xee, 0xeb, 0xfd];
    let mut vm = vm(&flood);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    vm.config.console.output_fd = vm.pass(theirs);
    let mut child = vm.start();
    std::thread::sleep(Duration::from_millis(1500));
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let anonymous = status
        .lines()
        .find(|line| line.starts_with("RssAnon"))
        .unwrap();
    let kib: u64 = anonymous
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    // Huge pages of the guest (up to 4 MiB) and little else.
    assert!(kib < 4096 + 2048, "{anonymous}");
    let mut some = vec![0; 100_000];
    ours.read_exact(&mut some).unwrap();
    assert!(some.iter().all(|byte| *byte == b'x'));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_makes_no_machine_is_told_in_one_line() {
    type Change = fn(&mut common::Vm);
    let table: &[(Change, &str)] = &[
        (|vm| vm.config.vcpus = 0, "vCPUs"),
        (|vm| vm.config.kernel_fd = 999, "descriptor 999"),
        (
            |vm| vm.config.kvm_fd = vm.config.kernel_fd,
            "KVM: create a machine",
        ),
        (
            |vm| vm.config.kernel_fd = vm.pass(file(b"no kernel")),
            "read the kernel",
        ),
        (
            |vm| vm.config.initrd_fd = Some(vm.pass(file(&vec![0; 5 << 20]))),
            "does not fit",
        ),
        (|vm| vm.config.memory_bytes = 1 << 60, "guest memory"),
        (
            |vm| {
                let segments = vec![Segment::File {
                    fd: vm.pass(file(b"x")),
                    offset: 0,
                    len: 512,
                }];
                vm.config.disks = vec![Disk {
                    segments,
                    readonly: true,
                    serial: "short".into(),
                }];
            },
            "too short",
        ),
    ];
    for (change, expected) in table {
        let mut vm = vm(&off());
        change(&mut vm);
        let ended = vm.run();
        assert_eq!(
            ended.outcome(),
            Some(Outcome::Error),
            "{expected}: {ended:?}"
        );
        assert!(
            ended.stderr.contains(expected),
            "{:?} has no {expected:?}",
            ended.stderr
        );
        assert_eq!(ended.stderr.lines().count(), 1, "{:?}", ended.stderr);
    }
}
