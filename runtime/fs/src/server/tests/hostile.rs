//! A guest that plays by no rules.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::guest::{Guest, is_root, parts, text, with};
use crate::wire::*;

/// A share beside something that is none of the guest's business.
fn setup() -> (tempfile::TempDir, Guest) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("share/sub/deep")).unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    let guest = Guest::new(&folder.path().join("share"));
    (folder, guest)
}

#[test]
fn names_lead_nowhere_else() {
    if !is_root() {
        return;
    }
    let (folder, mut guest) = setup();
    let long = "x".repeat(256);
    for (name, error) in [
        ("", Errno::INVAL),
        (".", Errno::INVAL),
        ("..", Errno::INVAL),
        ("../secret", Errno::INVAL),
        ("/etc/passwd", Errno::INVAL),
        ("sub/deep", Errno::INVAL),
        ("sub/", Errno::INVAL),
        (long.as_str(), Errno::NAMETOOLONG),
    ] {
        assert_eq!(guest.lookup(ROOT, name).unwrap_err(), error, "{name}");
        assert_eq!(guest.mkdir(ROOT, name, 0o755).unwrap_err(), error, "{name}");
        assert_eq!(guest.create(ROOT, name, 0).unwrap_err(), error, "{name}");
        assert_eq!(
            guest.bytes(op::UNLINK, ROOT, &text(name)),
            Err(error),
            "{name}"
        );
        assert_eq!(
            guest.bytes(op::RMDIR, ROOT, &text(name)),
            Err(error),
            "{name}"
        );
        let rename = RenameIn { newdir: ROOT };
        let there = with(&rename, &["sub", name]);
        assert_eq!(guest.bytes(op::RENAME, ROOT, &there), Err(error), "{name}");
        let back = with(&rename, &[name, "sub"]);
        assert_eq!(guest.bytes(op::RENAME, ROOT, &back), Err(error), "{name}");
    }
    assert_eq!(guest.bytes(op::LOOKUP, ROOT, b"no end"), Err(Errno::INVAL));
    assert!(folder.path().join("share/sub/deep").is_dir());
}

#[test]
fn links_are_never_followed() {
    if !is_root() {
        return;
    }
    let (folder, mut guest) = setup();
    let share = folder.path().join("share");
    symlink("../secret", share.join("file")).unwrap();
    symlink("..", share.join("up")).unwrap();
    symlink("/proc/self/root", share.join("magic")).unwrap();
    symlink("/dev/zero", share.join("device")).unwrap();
    for name in ["file", "up", "magic", "device"] {
        let link = guest.lookup(ROOT, name).unwrap();
        assert_eq!(link.attr.mode & libc::S_IFMT, libc::S_IFLNK, "{name}");
        let node = link.nodeid;
        assert_eq!(guest.open(node, libc::O_RDONLY).unwrap_err(), Errno::NXIO);
        assert_eq!(guest.lookup(node, "secret").unwrap_err(), Errno::NOTDIR);
        assert_eq!(guest.mkdir(node, "made", 0o755).unwrap_err(), Errno::NOTDIR);
        assert_eq!(guest.create(node, "made", 0).unwrap_err(), Errno::NOTDIR);
        assert_eq!(guest.bytes(op::OPENDIR, node, &[0; 8]), Err(Errno::NOTDIR));
        assert_eq!(
            guest.bytes(op::UNLINK, node, &text("secret")),
            Err(Errno::NOTDIR)
        );
        // CREATE without O_EXCL on a link.
        assert_eq!(
            guest.create(ROOT, name, libc::O_RDWR).unwrap_err(),
            Errno::EXIST
        );
        let mode = SetattrIn {
            valid: flag::MODE,
            mode: 0,
            ..SetattrIn::default()
        };
        assert_eq!(guest.setattr(node, mode).unwrap_err(), Errno::OPNOTSUPP);
        let size = SetattrIn {
            valid: flag::SIZE,
            ..SetattrIn::default()
        };
        assert_eq!(guest.setattr(node, size).unwrap_err(), Errno::INVAL);
        // Owner and times are the link's own.
        let owner = SetattrIn {
            valid: flag::UID,
            uid: 9,
            ..SetattrIn::default()
        };
        assert_eq!(guest.setattr(node, owner).unwrap().uid, 9);
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("secret")).unwrap(),
        "secret"
    );
    let meta = fs::metadata(folder.path().join("secret")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 0);
}

/// The host moves folders about while the guest looks names up: the guest sees what
/// it holds, and never what lies around.
#[test]
fn renames_during_lookups_lead_nowhere() {
    if !is_root() {
        return;
    }
    let (folder, mut guest) = setup();
    let share = folder.path().join("share");
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mover = {
        let (share, outside, stop) = (share.clone(), outside.clone(), stop.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(share.join("sub/deep"), outside.join("deep")).unwrap();
                symlink("..", share.join("sub/deep")).unwrap();
                fs::remove_file(share.join("sub/deep")).unwrap();
                fs::rename(outside.join("deep"), share.join("sub/deep")).unwrap();
            }
        })
    };
    let sub = guest.lookup(ROOT, "sub").unwrap().nodeid;
    let mut found = 0;
    for _ in 0..20_000 {
        if let Ok(deep) = guest.lookup(sub, "deep") {
            found += 1;
            let node = deep.nodeid;
            for name in ["secret", "share", "..", "deep"] {
                assert!(guest.lookup(node, name).is_err(), "{name}");
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    mover.join().unwrap();
    assert!(found > 0);
}

#[test]
fn numbers_that_are_none_are_refused() {
    if !is_root() {
        return;
    }
    let (_folder, mut guest) = setup();
    let sub = guest.lookup(ROOT, "sub").unwrap().nodeid;
    for node in [0, 99, u64::MAX] {
        assert_eq!(guest.lookup(node, "x").unwrap_err(), Errno::STALE);
        assert_eq!(guest.stat(node).unwrap_err(), Errno::STALE);
        assert_eq!(guest.read(node, 0, 1), Err(Errno::BADF));
    }
    let folder = guest.ask::<OpenOut>(op::OPENDIR, sub, &[0; 8]).unwrap().fh;
    assert_eq!(guest.read(folder, 0, 1), Err(Errno::BADF));
    assert_eq!(guest.write(folder, 0, b"x"), Err(Errno::BADF));
    let file = guest.create(ROOT, "file", libc::O_RDWR).unwrap();
    let read = ReadIn {
        fh: file.open.fh,
        size: 100,
        ..ReadIn::default()
    };
    assert_eq!(
        guest.bytes(op::READDIR, sub, read.as_bytes()),
        Err(Errno::NOTDIR)
    );
    // Another file's handle.
    let set = SetattrIn {
        valid: flag::SIZE | flag::FH,
        fh: folder,
        ..SetattrIn::default()
    };
    assert_eq!(
        guest.setattr(file.entry.nodeid, set).unwrap_err(),
        Errno::BADF
    );
    // More data than there is.
    let write = WriteIn {
        fh: file.open.fh,
        size: u32::MAX,
        ..WriteIn::default()
    };
    let body = parts(&[write.as_bytes(), b"abc"]);
    assert_eq!(guest.bytes(op::WRITE, 0, &body), Err(Errno::INVAL));
    assert_eq!(guest.write(file.open.fh, u64::MAX, b"x"), Err(Errno::FBIG));
    assert_eq!(guest.read(file.open.fh, u64::MAX, 9), Err(Errno::INVAL));
    // A folder into itself.
    let rename = RenameIn { newdir: sub };
    assert_eq!(
        guest.bytes(op::RENAME, ROOT, &with(&rename, &["sub", "in"])),
        Err(Errno::INVAL)
    );
    // The share itself can't be removed, only what is in it.
    let forget = ForgetIn { nlookup: u64::MAX };
    let mut request = guest.request(op::FORGET, ROOT, forget.as_bytes());
    guest.send(&mut request, 0);
    assert_eq!(guest.stat(ROOT).unwrap().mode & libc::S_IFMT, libc::S_IFDIR);
}

#[test]
fn nothing_is_served_before_init() {
    if !is_root() {
        return;
    }
    let (_folder, guest) = setup();
    guest.server.forget_all();
    let mut guest = Guest::raw(guest.server.clone());
    assert_eq!(guest.lookup(ROOT, "sub").unwrap_err(), Errno::IO);
    for (major, minor, error) in [(6, 50, Errno::PROTO), (7, 12, Errno::PROTO)] {
        let init = InitIn {
            major,
            minor,
            max_readahead: 0,
            flags: 0,
        };
        assert_eq!(guest.bytes(op::INIT, 0, init.as_bytes()), Err(error));
    }
    let init = InitIn {
        major: 8,
        minor: 0,
        max_readahead: 0,
        flags: 0,
    };
    let answer: InitOut = guest.ask(op::INIT, 0, init.as_bytes()).unwrap();
    assert_eq!(answer.major, 7);
    assert_eq!(guest.lookup(ROOT, "sub").unwrap_err(), Errno::IO);
    let mut guest = guest.mounted();
    guest.lookup(ROOT, "sub").unwrap();
    guest.bytes(op::DESTROY, 0, &[]).unwrap();
    assert_eq!(guest.server.nodes.len(), 1);
}

/// Requests of every kind with bytes changed at random. The only promise is that
/// the server goes on, with nothing outside of the share changed.
#[test]
fn damaged_requests_do_no_harm() {
    if !is_root() {
        return;
    }
    let (folder, mut guest) = setup();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let file = guest.create(ROOT, "file", libc::O_RDWR).unwrap();
    guest.ask::<OpenOut>(op::OPENDIR, ROOT, &[0; 8]).unwrap();
    for round in 0..30_000u32 {
        let opcode = (random() % 53) as u32;
        // A wait for a lock that nobody gives up would end the test's own thread.
        if opcode == op::SETLKW || opcode == op::INIT || opcode == op::DESTROY {
            continue;
        }
        let mut body = vec![0u8; (random() % 120) as usize];
        for _ in 0..random() % 12 {
            let at = random() as usize % body.len().max(1);
            if let Some(byte) = body.get_mut(at) {
                *byte = random() as u8;
            }
        }
        if random() % 2 == 0 && body.len() >= 8 {
            body[..8].copy_from_slice(&(random() % 4).to_le_bytes());
        }
        if random() % 2 == 0 {
            body.extend_from_slice(b"sub\0file\0");
        }
        let node = match random() % 4 {
            0 => random(),
            1 => file.entry.nodeid,
            _ => ROOT,
        };
        guest.caller = ((random() % 3) as u32, (random() % 3) as u32);
        let mut request = guest.request(opcode, node, &body);
        if random() % 8 == 0 {
            let at = random() as usize % request.len();
            request[at] = random() as u8;
        }
        if random() % 8 == 0 {
            request.truncate(random() as usize % (request.len() + 1));
        }
        let opcode = request
            .get(4..8)
            .map(|bytes| u32::from_ne_bytes(bytes.try_into().unwrap()));
        if opcode.is_some_and(|code| [op::SETLKW, op::INIT, op::DESTROY].contains(&code)) {
            continue;
        }
        let room = [0, 15, 16, 40, 200, 8192][random() as usize % 6];
        let answer = guest.send(&mut request, room);
        assert!(answer.len() <= room, "round {round}");
    }
    guest.caller = (0, 0);
    assert_eq!(
        fs::read_to_string(folder.path().join("secret")).unwrap(),
        "secret"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    let mut guest = Guest::raw(guest.server.clone()).mounted();
    guest.create(ROOT, "after", libc::O_RDWR).unwrap();
}
