//! Locks against other processes, and their waits.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::guest::{Guest, is_root};
use crate::sys::{self, Range};
use crate::wire::*;

const READ: u32 = libc::F_RDLCK as u32;
const WRITE: u32 = libc::F_WRLCK as u32;
const UNLOCK: u32 = libc::F_UNLCK as u32;

fn request(fh: u64, owner: u64, kind: u32, start: u64, end: u64, flags: u32) -> LkIn {
    LkIn {
        fh,
        owner,
        lock: Lock {
            start,
            end,
            kind,
            pid: 1,
        },
        flags,
        padding: 0,
    }
}

/// Another process that holds a flock on a file until its input is closed.
fn holder(path: &Path) -> Child {
    let mut child = Command::new("flock")
        .arg(path)
        .args(["-c", "echo locked; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 7];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    child
}

fn setup() -> (tempfile::TempDir, Guest, u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "0123456789").unwrap();
    let mut guest = Guest::new(folder.path());
    let node = guest.lookup(ROOT, "file").unwrap().nodeid;
    let fh = guest.open(node, libc::O_RDWR).unwrap().fh;
    (folder, guest, node, fh)
}

#[test]
fn ranges_belong_to_owners() {
    if !is_root() {
        return;
    }
    let (folder, mut guest, node, fh) = setup();
    let mut set = |owner, kind, start, end| {
        let body = request(fh, owner, kind, start, end, 0);
        guest.bytes(op::SETLK, node, body.as_bytes()).map(drop)
    };
    assert_eq!(set(1, WRITE, 0, 4), Ok(()));
    assert_eq!(set(1, WRITE, 2, 6), Ok(()), "its own");
    assert_eq!(set(2, READ, 6, 9), Err(Errno::AGAIN));
    assert_eq!(set(2, READ, 7, i64::MAX as u64), Ok(()));
    assert_eq!(set(2, UNLOCK, 0, i64::MAX as u64), Ok(()));
    for (start, end) in [(5, 4), (u64::MAX, u64::MAX), (0, u64::MAX)] {
        assert_eq!(
            set(1, WRITE, start, end),
            Err(Errno::INVAL),
            "{start}-{end}"
        );
    }
    assert_eq!(set(1, 7, 0, 1), Err(Errno::INVAL));
    // A process of the host meets the same lock.
    let host = File::options()
        .write(true)
        .open(folder.path().join("file"))
        .unwrap();
    let range = Range {
        kind: WRITE as i16,
        start: 3,
        len: 1,
        pid: 0,
    };
    assert_eq!(
        sys::lock(host.as_fd(), sys::Lock::Set, range),
        Err(Errno::AGAIN)
    );
    let ask = request(fh, 2, WRITE, 0, 100, 0);
    let found: Lock = guest.ask(op::GETLK, node, ask.as_bytes()).unwrap();
    assert_eq!((found.start, found.end, found.kind), (0, 6, WRITE));
    // Closing any descriptor of the owner drops them.
    let flush = FlushIn {
        fh,
        lock_owner: 1,
        ..FlushIn::default()
    };
    guest.bytes(op::FLUSH, node, flush.as_bytes()).unwrap();
    sys::lock(host.as_fd(), sys::Lock::Set, range).unwrap();
    let found: Lock = guest.ask(op::GETLK, node, ask.as_bytes()).unwrap();
    assert_eq!((found.start, found.end), (3, 3));
}

#[test]
fn owners_are_bounded() {
    if !is_root() {
        return;
    }
    let (_folder, mut guest, node, fh) = setup();
    let mut last = Ok(());
    for owner in 0..100 {
        let body = request(fh, owner, READ, 0, 0, 0);
        last = guest.bytes(op::SETLK, node, body.as_bytes()).map(drop);
    }
    assert_eq!(last, Err(Errno::NOLCK));
}

#[test]
fn waits_last_until_the_other_process_ends() {
    if !is_root() {
        return;
    }
    let (folder, mut guest, node, fh) = setup();
    let mut other = holder(&folder.path().join("file"));
    let now = request(fh, 1, WRITE, 0, 0, flag::LK_FLOCK);
    assert_eq!(
        guest.bytes(op::SETLK, node, now.as_bytes()),
        Err(Errno::AGAIN)
    );
    let end = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(other.stdin.take());
        other.wait().unwrap();
    });
    let start = Instant::now();
    guest.bytes(op::SETLKW, node, now.as_bytes()).unwrap();
    assert!(start.elapsed() > Duration::from_millis(100));
    end.join().unwrap();
    // It is ours now.
    let file = File::open(folder.path().join("file")).unwrap();
    let shared = rustix::fs::FlockOperation::NonBlockingLockShared;
    assert_eq!(rustix::fs::flock(&file, shared), Err(Errno::AGAIN));
    guest.release(fh).unwrap();
    rustix::fs::flock(&file, shared).unwrap();
}

#[test]
fn waits_end_when_the_guest_wants_it() {
    if !is_root() {
        return;
    }
    for posix in [false, true] {
        let (folder, mut guest, node, fh) = setup();
        let host = File::options()
            .write(true)
            .open(folder.path().join("file"))
            .unwrap();
        rustix::fs::flock(&host, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let range = Range {
            kind: WRITE as i16,
            start: 0,
            len: 0,
            pid: 0,
        };
        sys::lock(host.as_fd(), sys::Lock::Set, range).unwrap();
        let server = guest.server.clone();
        let (send, receive) = mpsc::channel();
        let flags = if posix { 0 } else { flag::LK_FLOCK };
        let wait = request(fh, 1, WRITE, 0, 9, flags);
        let waiter = thread::spawn(move || {
            let mut waiting = Guest::raw(server);
            let mut body = waiting.request(op::SETLKW, node, wait.as_bytes());
            send.send(waiting.last_unique).unwrap();
            waiting.send(&mut body, 64)
        });
        let unique = receive.recv().unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(!waiter.is_finished());
        let interrupt = InterruptIn { unique };
        guest.bytes(op::INTERRUPT, 0, interrupt.as_bytes()).unwrap();
        let answer = waiter.join().unwrap();
        assert_eq!(
            i32::from_ne_bytes(answer[4..8].try_into().unwrap()),
            -libc::EINTR
        );
    }
}
