//! The device with the real server behind it, driven as a guest's driver does.

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use virtio_bindings::virtio_mmio as reg;
use vm_memory::Bytes;

use super::*;
use crate::devices::Registers;
use crate::memory;
use crate::virtio::queue::testing::{put_descriptor, r, w};

const SIZE: u16 = 64;
/// Queue 1 in memory, and buffers.
const QUEUE: u64 = 0x1_0000;
const REQUEST: u64 = 0x2_0000;
const ANSWER: u64 = 0x3_0000;

struct Guest {
    transport: Arc<Transport<Share>>,
    verdict: Arc<Verdict>,
    sent: u16,
}

/// Serves a folder until the other end of the socket is closed.
fn serve(folder: &std::path::Path, socket: UnixStream) {
    let open = |path: &std::path::Path| {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap()
    };
    let server = isola_fs::Server::new(isola_fs::Options {
        root: open(folder),
        descriptors: open(std::path::Path::new("/proc/self/fd")),
        cached: vec![],
        open_files: 1000,
    })
    .unwrap();
    isola_fs::vhost::serve(Arc::new(server), socket).unwrap();
}

fn guest(socket: UnixStream) -> io::Result<Guest> {
    let memory = memory::allocate(4 << 20, true).unwrap();
    let share = config::Share {
        socket_fd: -1,
        tag: "isola".into(),
        queues: 2,
    };
    let device = Share::new(&share, memory.clone())?;
    let line = EventFd::new(libc::EFD_NONBLOCK)?;
    let transport = Arc::new(Transport::new(device, memory, line, libc::EFD_NONBLOCK)?);
    let talk = Talk::greet(&transport, socket.into())?;
    let verdict = Arc::new(Verdict::new()?);
    let told = verdict.clone();
    thread::spawn(move || talk.run(&told));
    Ok(Guest {
        transport,
        verdict,
        sent: 0,
    })
}

impl Guest {
    fn write(&self, register: u32, value: u32) {
        self.transport.write(register.into(), &value.to_le_bytes());
    }

    fn read(&self, register: u32) -> u32 {
        let mut data = [0; 4];
        self.transport.read(register.into(), &mut data);
        u32::from_le_bytes(data)
    }

    fn bring_up(&mut self) {
        self.write(reg::VIRTIO_MMIO_STATUS, 0);
        self.sent = 0;
        let zeros = vec![0; 0x3_0000];
        let memory = self.transport.memory();
        memory.write_slice(&zeros, GuestAddress(QUEUE)).unwrap();
        self.write(reg::VIRTIO_MMIO_STATUS, 3);
        self.write(reg::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
        self.write(reg::VIRTIO_MMIO_DRIVER_FEATURES, 1);
        self.write(reg::VIRTIO_MMIO_STATUS, 0xb);
        for queue in 0..3u32 {
            let base = queue * QUEUE as u32 + if queue == 0 { 0x8_0000 } else { 0 };
            let base = if queue == 2 { 0x9_0000 } else { base };
            self.write(reg::VIRTIO_MMIO_QUEUE_SEL, queue);
            self.write(reg::VIRTIO_MMIO_QUEUE_NUM, SIZE.into());
            self.write(reg::VIRTIO_MMIO_QUEUE_DESC_LOW, base);
            self.write(reg::VIRTIO_MMIO_QUEUE_AVAIL_LOW, base + 0x1000);
            self.write(reg::VIRTIO_MMIO_QUEUE_USED_LOW, base + 0x2000);
            self.write(reg::VIRTIO_MMIO_QUEUE_READY, 1);
        }
        self.write(reg::VIRTIO_MMIO_STATUS, 0xf);
        assert_eq!(self.read(reg::VIRTIO_MMIO_STATUS), 0xf);
    }

    /// Sends FUSE_INIT in the first queue for requests; the answer's error and major
    /// version.
    fn init(&mut self) -> Option<(i32, u32)> {
        let memory = self.transport.memory();
        let mut request = vec![];
        for word in [56u32, 26, 7, 0, 0, 0, 0, 0, 0, 0, 7, 38, 1 << 20, 0] {
            request.extend(word.to_le_bytes());
        }
        memory.write_slice(&request, GuestAddress(REQUEST)).unwrap();
        put_descriptor(memory, QUEUE, r(REQUEST, 56), Some(1));
        put_descriptor(memory, QUEUE + 16, w(ANSWER, 80), None);
        let place = QUEUE + 0x1004 + 2 * u64::from(self.sent % SIZE);
        memory.write_obj(0u16, GuestAddress(place)).unwrap();
        self.sent += 1;
        let index = GuestAddress(QUEUE + 0x1002);
        memory.write_obj(self.sent, index).unwrap();
        self.transport.bells()[1].write(1).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        let used = GuestAddress(QUEUE + 0x2002);
        while memory.read_obj::<u16>(used).unwrap() != self.sent {
            if Instant::now() > end || self.verdict.get().is_some() {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let error = memory.read_obj(GuestAddress(ANSWER + 4)).unwrap();
        let major = memory.read_obj(GuestAddress(ANSWER + 16)).unwrap();
        Some((error, major))
    }
}

#[test]
fn requests_go_straight_to_the_server_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let path = folder.path().to_owned();
    let server = thread::spawn(move || serve(&path, theirs));
    let end = ours.try_clone().unwrap();
    let mut guest = guest(ours).unwrap();
    assert_eq!(guest.read(reg::VIRTIO_MMIO_DEVICE_ID), 26);
    let mut config = [0; 40];
    guest.transport.read(0x100, &mut config);
    assert_eq!(&config[..6], b"isola\0");
    assert_eq!(config[36..], [2, 0, 0, 0]);
    for _ in 0..3 {
        guest.bring_up();
        assert_eq!(guest.init(), Some((0, 7)));
        assert_eq!(guest.init(), Some((0, 7)));
        // The server raised the line itself, and the register shows why.
        let rung = guest.transport.line().read().unwrap();
        assert!((1..=2).contains(&rung));
        assert_eq!(guest.read(reg::VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    }
    // After a reset nothing is served.
    guest.write(reg::VIRTIO_MMIO_STATUS, 0);
    assert_eq!(guest.read(reg::VIRTIO_MMIO_STATUS), 0);
    assert!(guest.verdict.get().is_none());
    end.shutdown(std::net::Shutdown::Both).unwrap();
    server.join().unwrap();
}

#[test]
fn the_end_of_the_server_is_the_end_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let kill = theirs.try_clone().unwrap();
    let path = folder.path().to_owned();
    let server = thread::spawn(move || serve(&path, theirs));
    let mut guest = guest(ours).unwrap();
    guest.bring_up();
    kill.shutdown(std::net::Shutdown::Both).unwrap();
    server.join().unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while guest.verdict.get().is_none() && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
    let report = guest.verdict.get().unwrap();
    assert_eq!(report.outcome, Outcome::Error);
    assert!(report.detail.contains("shared folders"), "{report:?}");
    // A vCPU that sets the device up again is not left waiting.
    guest.write(reg::VIRTIO_MMIO_STATUS, 0);
}

#[test]
fn a_server_that_is_none_is_refused() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert!(guest(ours).is_err());
    // A socket that is a file gives an error, not a panic.
    let file = File::open("/dev/null").unwrap();
    assert!(guest(UnixStream::from(OwnedFd::from(file))).is_err());
}
