//! The network device on a real tap device, with guests of a few instructions. The
//! tap devices live in network namespaces of the tests' own; packets go through
//! packet(7) sockets there. Needs root.
#![allow(unsafe_code, clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use common::code::{off, out, store, wait_and_print};
use common::{file, vm};
use isola_vmm::Outcome;
use isola_vmm::config::Nic;

const DEVICE: u32 = 0xd000_0000;
/// Queues of the guest, 64 KiB for each.
const QUEUES: u32 = 0x30_0000;
/// A buffer for received packets, and one for a packet to send.
const RECEIVED: u32 = 0x8000;
const SENT: u32 = 0x9000;
const FRAME: usize = 64;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Runs in a network namespace of its own; without root, says that it did not.
fn in_namespace(test: fn()) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return;
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: only this thread's namespace changes.
        unsafe {
            rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET).unwrap();
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// An ifreq for the tap device.
fn request(flags: libc::c_int) -> libc::ifreq {
    // SAFETY: zeros are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"tap0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    request
}

/// A queue of the namespace's tap device.
fn tap(flags: libc::c_int) -> OwnedFd {
    let tap = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap();
    let request = request(flags);
    // SAFETY: the request is read and lives longer than the call.
    let result = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    tap.into()
}

const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// A packet socket on the tap device, which is switched on. It waits 20 s at most.
/// The namespace's kernel sends nothing by itself.
fn wire() -> OwnedFd {
    // A kernel without IPv6 has no such file, and no such traffic either.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/tap0/disable_ipv6", "1");
    // SAFETY: these calls read or fill in what is given to them, and the descriptor
    // is new and owned by nobody else.
    unsafe {
        let all = (libc::ETH_P_ALL as u16).to_be();
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, all.into());
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        let wire = OwnedFd::from_raw_fd(fd);
        let mut up = request(libc::IFF_UP);
        assert_eq!(libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw const up), 0);
        assert_eq!(libc::ioctl(fd, libc::SIOCGIFINDEX, &raw mut up), 0);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        address.sll_ifindex = up.ifr_ifru.ifru_ifindex;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        assert_eq!(libc::bind(fd, (&raw const address).cast(), len), 0);
        let patience = Some(Duration::from_secs(20));
        rustix::net::sockopt::set_socket_timeout(
            &wire,
            rustix::net::sockopt::Timeout::Recv,
            patience,
        )
        .unwrap();
        wire
    }
}

/// A frame of a protocol for experiments (EtherType 0x88b5) with this content.
fn frame(content: u8) -> Vec<u8> {
    let mut frame = [&MAC[..], &[2, 0, 0, 0, 0, 2], &[0x88, 0xb5]].concat();
    frame.resize(FRAME, content);
    frame
}

/// The next frame of that protocol.
fn receive(wire: &OwnedFd) -> Vec<u8> {
    loop {
        let mut bytes = vec![0; 2048];
        let (len, _) =
            rustix::net::recv(wire, &mut bytes, rustix::net::RecvFlags::empty()).unwrap();
        if bytes[12..14] == [0x88, 0xb5] {
            bytes.truncate(len);
            return bytes;
        }
    }
}

/// Sets a queue of 16 descriptors up.
fn queue(index: u32) -> Vec<u8> {
    let base = QUEUES + index * 0x1_0000;
    [
        store(DEVICE + 0x30, index),
        store(DEVICE + 0x38, 16),
        store(DEVICE + 0x80, base),
        store(DEVICE + 0x90, base + 0x1000),
        store(DEVICE + 0xa0, base + 0x2000),
        store(DEVICE + 0x44, 1),
    ]
    .concat()
}

/// Acknowledge, driver, features (VERSION_1 and the low bits), queues, ready.
fn driver(features: u32, queues: u32) -> Vec<u8> {
    let mut code = [
        store(DEVICE + 0x70, 3),
        store(DEVICE + 0x24, 0),
        store(DEVICE + 0x20, features),
        store(DEVICE + 0x24, 1),
        store(DEVICE + 0x20, 1),
        store(DEVICE + 0x70, 0xb),
    ]
    .concat();
    (0..queues).for_each(|index| code.extend(queue(index)));
    code.extend(store(DEVICE + 0x70, 0xf));
    code
}

/// Makes a chain of one descriptor available, the first of its queue.
fn offer(index: u32, address: u32, len: u32, flags: u32) -> Vec<u8> {
    let base = QUEUES + index * 0x1_0000;
    [
        store(base, address),
        store(base + 8, len),
        store(base + 12, flags),
        store(base + 0x1000, 1 << 16),
        store(DEVICE + 0x50, index),
    ]
    .concat()
}

/// Puts a frame with this content where packets are sent from.
fn compose(content: u8) -> Vec<u8> {
    let mut packet = vec![0; 12];
    packet.extend(frame(content));
    let words = packet.chunks_exact(4).enumerate();
    words
        .flat_map(|(place, word)| {
            let value = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            store(SENT + 4 * place as u32, value)
        })
        .collect()
}

const WRITE: u32 = 2;
/// The content of the frame that was received.
const CONTENT: u32 = RECEIVED + 12 + 14;
/// Where the device counts what it has returned.
const USED: u32 = 0x2000;

#[test]
fn packets_go_both_ways() {
    in_namespace(|| {
        let tap = tap(FLAGS);
        let wire = wire();
        let guest = [
            driver(0, 2),
            compose(7),
            offer(1, SENT, 12 + FRAME as u32, 0),
            offer(0, RECEIVED, 2000, WRITE),
            wait_and_print(CONTENT),
            off(),
        ]
        .concat();
        let mut vm = vm(&guest);
        let queues = vec![vm.pass(tap)];
        vm.config.nics = vec![Nic {
            queues,
            mac: MAC,
            mtu: None,
        }];
        let child = vm.start();
        assert_eq!(receive(&wire), frame(7));
        rustix::net::send(&wire, &frame(5), rustix::net::SendFlags::empty()).unwrap();
        let ended = vm.finish(child);
        assert_eq!(
            (ended.outcome(), &ended.console[..], &ended.stderr[..]),
            (Some(Outcome::PoweredOff), "5", ""),
            "{ended:?}"
        );
    });
}

#[test]
fn a_second_pair_is_used_after_the_command() {
    const CTRL_VQ_AND_MQ: u32 = 1 << 17 | 1 << 22;
    const COMMAND: u32 = 0xa000;
    in_namespace(|| {
        let flags = FLAGS | libc::IFF_MULTI_QUEUE;
        let taps = [tap(flags), tap(flags)];
        let wire = wire();
        let control = QUEUES + 4 * 0x1_0000;
        let guest = [
            driver(CTRL_VQ_AND_MQ, 5),
            compose(3),
            // Class 4, command 0, two pairs; the answer behind it.
            store(COMMAND, 4 | 2 << 16),
            store(COMMAND + 4, 0xee),
            store(control + 16, COMMAND + 4),
            store(control + 24, 1),
            store(control + 28, WRITE),
            offer(4, COMMAND, 4, 1 << 16 | 1),
            wait_and_print(DEVICE + 0x60),
            // The used index, in the upper half of the word.
            wait_and_print(control + USED),
            offer(3, SENT, 12 + FRAME as u32, 0),
            wait_and_print(QUEUES + 3 * 0x1_0000 + USED),
            off(),
        ]
        .concat();
        let mut vm = vm(&guest);
        let queues = taps.into_iter().map(|tap| vm.pass(tap)).collect();
        vm.config.memory_bytes = 8 << 20;
        vm.config.nics = vec![Nic {
            queues,
            mac: MAC,
            mtu: Some(1400),
        }];
        let child = vm.start();
        assert_eq!(receive(&wire), frame(3));
        let ended = vm.finish(child);
        assert_eq!(
            (ended.outcome(), &ended.console[..], &ended.stderr[..]),
            (Some(Outcome::PoweredOff), "100", ""),
            "{ended:?}"
        );
    });
}

#[test]
fn a_hostile_driver_stops_its_device_and_nothing_else() {
    in_namespace(|| {
        let tap = tap(FLAGS);
        let _wire = wire();
        let guest = [
            driver(0, 2),
            offer(1, SENT, 5, 0),
            wait_and_print(DEVICE + 0x60),
            (0..1000).flat_map(|_| store(DEVICE + 0x50, 1)).collect(),
            out(0x3f8, b'!'),
            off(),
        ]
        .concat();
        let mut vm = vm(&guest);
        let queues = vec![vm.pass(tap)];
        vm.config.nics = vec![Nic {
            queues,
            mac: MAC,
            mtu: None,
        }];
        let ended = vm.run();
        assert_eq!(
            (ended.outcome(), &ended.console[..]),
            (Some(Outcome::PoweredOff), "2!"),
            "{ended:?}"
        );
        let expected = "isola-vmm: network device 02:00:00:00:00:01: stopped until the guest \
                        resets it: a descriptor chain has no packet header\n";
        assert_eq!(ended.stderr, expected);
    });
}

#[test]
fn descriptors_that_are_no_such_tap_are_refused() {
    in_namespace(|| {
        type Queues = fn() -> Vec<OwnedFd>;
        let table: [(Queues, &str); 4] = [
            (|| vec![file(b"").into()], "network device 0: Inappropriate"),
            (
                || vec![tap(libc::IFF_TAP | libc::IFF_NO_PI)],
                "IFF_VNET_HDR",
            ),
            (
                || vec![tap(libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR)],
                "IFF_TAP",
            ),
            (|| vec![tap(FLAGS), file(b"").into()], "single queue"),
        ];
        for (queues, expected) in table {
            let mut vm = vm(&off());
            let queues = queues().into_iter().map(|fd| vm.pass(fd)).collect();
            vm.config.nics = vec![Nic {
                queues,
                mac: MAC,
                mtu: None,
            }];
            let ended = vm.run();
            assert_eq!(ended.outcome(), Some(Outcome::Error), "{expected}");
            assert!(
                ended.stderr.contains(expected),
                "{:?} has no {expected:?}",
                ended.stderr
            );
        }
    });
}

#[test]
fn lanes_have_threads_that_are_shut_in() {
    in_namespace(|| {
        let flags = FLAGS | libc::IFF_MULTI_QUEUE;
        let mut vm = vm(&[0xeb, 0xfe]);
        let queues = vec![vm.pass(tap(flags)), vm.pass(tap(flags))];
        vm.config.nics = vec![Nic {
            queues,
            mac: MAC,
            mtu: None,
        }];
        let mut child = vm.start();
        let mut control = vm.control.try_clone().unwrap();
        std::io::Write::write_all(&mut control, b"state\n").unwrap();
        std::io::Read::read_exact(&mut control, &mut [0; 8]).unwrap();
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let mut names = Vec::new();
        for task in tasks.flatten() {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap();
            let name = status.lines().next().unwrap().replace("Name:\t", "");
            if name.starts_with("net-") {
                assert!(status.contains("Seccomp:\t2"), "{status}");
                names.push(name);
            }
        }
        names.sort_unstable();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(names, ["net-0-0", "net-0-1"]);
    });
}
