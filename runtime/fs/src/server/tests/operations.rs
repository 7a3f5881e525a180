//! What each operation does to the host's files.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::guest::{Guest, is_root, parts, text, with};
use crate::wire::*;

#[test]
fn files_are_made_written_read_and_removed() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut guest = Guest::new(folder.path());
    let made = guest.create(ROOT, "file", libc::O_RDWR).unwrap();
    assert_eq!(made.entry.attr.mode, libc::S_IFREG | 0o644);
    let data: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    assert_eq!(guest.write(made.open.fh, 10, &data).unwrap(), 100_000);
    assert_eq!(
        guest.read(made.open.fh, 11, 50_000).unwrap(),
        data[1..50_001]
    );
    assert_eq!(guest.read(made.open.fh, 100_000, 100).unwrap().len(), 10);
    assert_eq!(guest.read(made.open.fh, 1 << 40, 100).unwrap(), []);
    assert_eq!(fs::read(folder.path().join("file")).unwrap()[10..], data);
    assert_eq!(guest.stat(made.entry.nodeid).unwrap().size, 100_010);
    let sync = FsyncIn {
        fh: made.open.fh,
        ..FsyncIn::default()
    };
    guest
        .bytes(op::FSYNC, made.entry.nodeid, sync.as_bytes())
        .unwrap();
    guest.release(made.open.fh).unwrap();
    assert_eq!(guest.read(made.open.fh, 0, 1), Err(Errno::BADF));
    assert_eq!(
        guest
            .create(ROOT, "file", libc::O_RDWR | libc::O_EXCL)
            .unwrap_err(),
        Errno::EXIST
    );
    guest.bytes(op::UNLINK, ROOT, &text("file")).unwrap();
    assert_eq!(guest.lookup(ROOT, "file").unwrap_err(), Errno::NOENT);
    assert_eq!(
        guest.bytes(op::UNLINK, ROOT, &text("file")),
        Err(Errno::NOENT)
    );
}

#[test]
fn owners_modes_and_masks_are_the_callers() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut guest = Guest::new(folder.path());
    guest.caller = (1234, 2345);
    guest.create(ROOT, "file", libc::O_RDWR).unwrap();
    guest.mkdir(ROOT, "folder", 0o777).unwrap();
    let node = MknodIn {
        mode: libc::S_IFIFO | 0o666,
        rdev: 0,
        umask: 0o077,
        padding: 0,
    };
    guest
        .bytes(op::MKNOD, ROOT, &with(&node, &["fifo"]))
        .unwrap();
    guest
        .bytes(op::SYMLINK, ROOT, &parts(&[b"link\0/nowhere\0"]))
        .unwrap();
    for (name, mode) in [
        ("file", 0o644),
        ("folder", 0o755),
        ("fifo", 0o600),
        ("link", 0o777),
    ] {
        let meta = fs::symlink_metadata(folder.path().join(name)).unwrap();
        assert_eq!(
            (meta.uid(), meta.gid(), meta.mode() & 0o7777),
            (1234, 2345, mode),
            "{name}"
        );
    }
    // The test thread itself is root as before.
    fs::write(folder.path().join("own"), "x").unwrap();
    assert_eq!(fs::metadata(folder.path().join("own")).unwrap().uid(), 0);
    // A folder with sgid gives its group on.
    fs::set_permissions(
        folder.path().join("folder"),
        fs::Permissions::from_mode(0o2777),
    )
    .unwrap();
    std::os::unix::fs::chown(folder.path().join("folder"), None, Some(77)).unwrap();
    let inner = guest.lookup(ROOT, "folder").unwrap().nodeid;
    let file = guest
        .create(inner, "file", libc::O_RDWR)
        .unwrap()
        .entry
        .attr;
    assert_eq!((file.uid, file.gid), (1234, 77));
    let below = guest.mkdir(inner, "below", 0o755).unwrap().attr;
    assert_eq!((below.gid, below.mode & 0o7777), (77, 0o2755));
}

#[test]
fn attributes_are_set() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "0123456789").unwrap();
    let mut guest = Guest::new(folder.path());
    let node = guest.lookup(ROOT, "file").unwrap().nodeid;
    let set = |valid| SetattrIn {
        valid,
        ..SetattrIn::default()
    };
    let attr = guest
        .setattr(
            node,
            SetattrIn {
                mode: 0o6755,
                ..set(flag::MODE)
            },
        )
        .unwrap();
    assert_eq!(attr.mode & 0o7777, 0o6755);
    let attr = guest
        .setattr(
            node,
            SetattrIn {
                size: 4,
                ..set(flag::SIZE)
            },
        )
        .unwrap();
    assert_eq!(
        (attr.size, attr.mode & 0o7777),
        (4, 0o6755),
        "root keeps the bits"
    );
    let cut = SetattrIn {
        size: 5,
        ..set(flag::SIZE | flag::KILL_SUIDGID)
    };
    assert_eq!(guest.setattr(node, cut).unwrap().mode & 0o7777, 0o755);
    let attr = guest
        .setattr(
            node,
            SetattrIn {
                uid: 5,
                gid: 6,
                ..set(flag::UID | flag::GID)
            },
        )
        .unwrap();
    assert_eq!((attr.uid, attr.gid), (5, 6));
    let attr = guest
        .setattr(
            node,
            SetattrIn {
                gid: 9,
                ..set(flag::GID)
            },
        )
        .unwrap();
    assert_eq!((attr.uid, attr.gid), (5, 9));
    let times = SetattrIn {
        atime: 1,
        mtime: 2,
        mtimensec: 3,
        ..set(flag::ATIME | flag::MTIME)
    };
    let attr = guest.setattr(node, times).unwrap();
    assert_eq!((attr.atime, attr.mtime, attr.mtimensec), (1, 2, 3));
    let attr = guest
        .setattr(node, set(flag::ATIME | flag::ATIME_NOW))
        .unwrap();
    assert!(attr.atime > 1_700_000_000 && attr.mtime == 2);
}

#[test]
fn suid_and_sgid_bits_go_with_a_write_of_others() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    fs::write(&path, "x").unwrap();
    let mut guest = Guest::new(folder.path());
    let node = guest.lookup(ROOT, "program").unwrap().nodeid;
    let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
    let reset = || fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    reset();
    let fh = guest.open(node, libc::O_WRONLY).unwrap().fh;
    guest.write(fh, 0, b"y").unwrap();
    assert_eq!(mode(), 0o6755);
    guest
        .write_flags(fh, 0, b"y", flag::WRITE_KILL_SUIDGID)
        .unwrap();
    assert_eq!(mode(), 0o755);
    reset();
    let open = OpenIn {
        flags: (libc::O_WRONLY | libc::O_TRUNC) as u32,
        open_flags: flag::OPEN_KILL_SUIDGID,
    };
    guest.bytes(op::OPEN, node, open.as_bytes()).unwrap();
    assert_eq!((mode(), fs::metadata(&path).unwrap().len()), (0o755, 0));
}

#[test]
fn names_move_and_link() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("one"), "1").unwrap();
    fs::write(folder.path().join("two"), "2").unwrap();
    let mut guest = Guest::new(folder.path());
    let sub = guest.mkdir(ROOT, "sub", 0o755).unwrap().nodeid;
    let rename = |flags| Rename2In {
        newdir: sub,
        flags,
        padding: 0,
    };
    guest
        .bytes(op::RENAME2, ROOT, &with(&rename(0), &["one", "moved"]))
        .unwrap();
    let again = with(&rename(libc::RENAME_NOREPLACE), &["two", "moved"]);
    assert_eq!(guest.bytes(op::RENAME2, ROOT, &again), Err(Errno::EXIST));
    let swap = with(&rename(libc::RENAME_EXCHANGE), &["two", "moved"]);
    guest.bytes(op::RENAME2, ROOT, &swap).unwrap();
    assert_eq!(
        fs::read_to_string(folder.path().join("sub/moved")).unwrap(),
        "2"
    );
    assert_eq!(
        guest.bytes(op::RENAME2, ROOT, &with(&rename(64), &["two", "x"])),
        Err(Errno::INVAL)
    );
    let node = guest.lookup(sub, "moved").unwrap().nodeid;
    let link = LinkIn { oldnodeid: node };
    let linked: EntryOut = guest.ask(op::LINK, ROOT, &with(&link, &["hard"])).unwrap();
    assert_eq!((linked.nodeid, linked.attr.nlink), (node, 2));
    // A link to a symbolic link is one to the link itself.
    guest
        .bytes(op::SYMLINK, ROOT, &parts(&[b"soft\0/etc/passwd\0"]))
        .unwrap();
    let soft = guest.lookup(ROOT, "soft").unwrap();
    assert_eq!(soft.attr.mode & libc::S_IFMT, libc::S_IFLNK);
    let link = LinkIn {
        oldnodeid: soft.nodeid,
    };
    guest
        .bytes(op::LINK, ROOT, &with(&link, &["soft2"]))
        .unwrap();
    let target = fs::read_link(folder.path().join("soft2")).unwrap();
    assert_eq!(target.to_str(), Some("/etc/passwd"));
    assert_eq!(
        guest.bytes(op::READLINK, soft.nodeid, &[]).unwrap(),
        b"/etc/passwd"
    );
    assert_eq!(
        guest.bytes(op::RMDIR, ROOT, &text("sub")),
        Err(Errno::NOTEMPTY)
    );
}

#[test]
fn folders_are_listed_in_pieces() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut expected = vec![".".to_owned(), "..".to_owned()];
    for number in 0..1500 {
        let name = format!("{number:0width$}", width = 1 + number % 200);
        fs::write(folder.path().join(&name), "").unwrap();
        expected.push(name);
    }
    expected.sort();
    let mut guest = Guest::new(folder.path());
    for (plus, size) in [(false, 4096), (false, 300), (true, 4096), (true, 70_000)] {
        let mut names = guest.list(ROOT, plus, size);
        names.sort();
        assert!(
            names == expected,
            "plus {plus}, {size} bytes: {} names",
            names.len()
        );
    }
    // READDIRPLUS told of each file twice, and of the root never.
    assert_eq!(guest.server.nodes.len(), 1501);
    let ids: Vec<u64> = (2..=1501).collect();
    for id in ids {
        let forget = ForgetIn { nlookup: 2 };
        let mut request = guest.request(op::FORGET, id, forget.as_bytes());
        assert!(guest.send(&mut request, 1024).is_empty());
    }
    // Shares, which lie in the root, are kept.
    assert_eq!(guest.server.nodes.len(), 1501);
}

#[test]
fn nodes_are_forgotten_below_the_shares() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("0")).unwrap();
    fs::write(folder.path().join("0/file"), "").unwrap();
    let mut guest = Guest::new(folder.path());
    let share = guest.lookup(ROOT, "0").unwrap().nodeid;
    let first = guest.lookup(share, "file").unwrap().nodeid;
    assert_eq!(guest.lookup(share, "file").unwrap().nodeid, first);
    let batch = BatchForgetIn { count: 1, dummy: 0 };
    for (count, left) in [(1, 3), (1, 2)] {
        let one = ForgetOne {
            nodeid: first,
            nlookup: count,
        };
        let mut request = guest.request(
            op::BATCH_FORGET,
            0,
            &parts(&[batch.as_bytes(), one.as_bytes()]),
        );
        assert!(guest.send(&mut request, 64).is_empty());
        assert_eq!(guest.server.nodes.len(), left);
    }
    assert_eq!(guest.stat(first).unwrap_err(), Errno::STALE);
    assert!(guest.lookup(share, "file").unwrap().nodeid > first);
}

#[test]
fn extended_attributes_are_those_of_guests() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
    let mut guest = Guest::new(folder.path());
    let node = guest.lookup(ROOT, "file").unwrap().nodeid;
    let set = |name: &str, value: &[u8]| {
        let body = SetxattrIn {
            size: value.len() as u32,
            ..SetxattrIn::default()
        };
        parts(&[&with(&body, &[name]), value])
    };
    let get = |name: &str, size| with(&GetxattrIn { size, padding: 0 }, &[name]);
    guest
        .bytes(op::SETXATTR, node, &set("user.one", b"value"))
        .unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    guest
        .bytes(op::SETXATTR, node, &set("security.capability", &capability))
        .unwrap();
    assert_eq!(
        guest
            .bytes(op::GETXATTR, node, &get("user.one", 100))
            .unwrap(),
        b"value"
    );
    assert_eq!(
        guest
            .bytes(op::GETXATTR, node, &get("user.one", 0))
            .unwrap()[0],
        5
    );
    assert_eq!(
        guest.bytes(op::GETXATTR, node, &get("user.one", 4)),
        Err(Errno::RANGE)
    );
    assert_eq!(
        guest.bytes(op::GETXATTR, node, &get("user.two", 0)),
        Err(Errno::NODATA)
    );
    let list = GetxattrIn {
        size: 1000,
        padding: 0,
    };
    let names = guest.bytes(op::LISTXATTR, node, list.as_bytes()).unwrap();
    let mut names: Vec<_> = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    assert_eq!(names, [&b"security.capability"[..], b"user.one"]);
    for (name, error) in [
        ("trusted.overlay.opaque", Errno::PERM),
        ("security.selinux", Errno::OPNOTSUPP),
        ("system.nfs4_acl", Errno::OPNOTSUPP),
    ] {
        assert_eq!(
            guest.bytes(op::SETXATTR, node, &set(name, b"y")),
            Err(error),
            "{name}"
        );
    }
    guest
        .bytes(op::REMOVEXATTR, node, &text("user.one"))
        .unwrap();
    assert_eq!(
        guest.bytes(op::GETXATTR, node, &get("user.one", 9)),
        Err(Errno::NODATA)
    );
    // Never the link's target.
    let link = guest.lookup(ROOT, "link").unwrap().nodeid;
    assert!(
        guest
            .bytes(op::SETXATTR, link, &set("user.one", b"x"))
            .is_err()
    );
}

#[test]
fn ranges_are_allocated_copied_and_found() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut guest = Guest::new(folder.path());
    let one = guest.create(ROOT, "one", libc::O_RDWR).unwrap();
    let two = guest.create(ROOT, "two", libc::O_RDWR).unwrap();
    guest.write(one.open.fh, 0, b"0123456789").unwrap();
    let more = FallocateIn {
        fh: one.open.fh,
        offset: 0,
        len: 1 << 20,
        mode: 0,
        padding: 0,
    };
    guest.bytes(op::FALLOCATE, 0, more.as_bytes()).unwrap();
    assert_eq!(guest.stat(one.entry.nodeid).unwrap().size, 1 << 20);
    let copy = CopyFileRangeIn {
        fh_in: one.open.fh,
        off_in: 2,
        nodeid_out: two.entry.nodeid,
        fh_out: two.open.fh,
        off_out: 1,
        len: 5,
        flags: 0,
    };
    let copied: WriteOut = guest.ask(op::COPY_FILE_RANGE, 0, copy.as_bytes()).unwrap();
    assert_eq!(copied.size, 5);
    assert_eq!(fs::read(folder.path().join("two")).unwrap(), b"\x0023456");
    let seek = LseekIn {
        fh: two.open.fh,
        offset: 0,
        whence: libc::SEEK_HOLE as u32,
        padding: 0,
    };
    assert_eq!(
        guest
            .ask::<LseekOut>(op::LSEEK, 0, seek.as_bytes())
            .unwrap()
            .offset,
        6
    );
    let stat: StatfsOut = guest.ask(op::STATFS, ROOT, &[]).unwrap();
    assert!(stat.blocks > 0 && stat.namelen == 255);
    guest.bytes(op::SYNCFS, ROOT, &[0; 8]).unwrap();
}

#[test]
fn appending_is_atomic_but_for_dirty_pages() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, "host ").unwrap();
    let mut guest = Guest::new(folder.path());
    let node = guest.lookup(ROOT, "log").unwrap().nodeid;
    let fh = guest
        .open(node, libc::O_WRONLY | libc::O_APPEND)
        .unwrap()
        .fh;
    // The guest does not know yet how long the file is.
    guest.write(fh, 0, b"guest").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "host guest");
    guest
        .write_flags(fh, 0, b"HOST", flag::WRITE_CACHE)
        .unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "HOST guest");
}

#[test]
fn files_without_names_get_one_later() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut guest = Guest::new(folder.path());
    guest.caller = (5, 6);
    let body = CreateIn {
        flags: libc::O_RDWR as u32,
        mode: libc::S_IFREG | 0o600,
        ..CreateIn::default()
    };
    let made: CreateOut = match guest.ask(op::TMPFILE, ROOT, &with(&body, &["/1"])) {
        Err(Errno::OPNOTSUPP) => return eprintln!("SKIPPED: no O_TMPFILE here"),
        made => made.unwrap(),
    };
    guest.write(made.open.fh, 0, b"content").unwrap();
    let link = LinkIn {
        oldnodeid: made.entry.nodeid,
    };
    guest
        .bytes(op::LINK, ROOT, &with(&link, &["name"]))
        .unwrap();
    let path = folder.path().join("name");
    assert_eq!(fs::read_to_string(&path).unwrap(), "content");
    assert_eq!(fs::metadata(&path).unwrap().uid(), 5);
}

#[test]
fn special_files_are_made_but_never_opened() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut guest = Guest::new(folder.path());
    // /dev/zero
    let node = MknodIn {
        mode: libc::S_IFCHR | 0o666,
        rdev: 1 << 8 | 5,
        umask: 0,
        padding: 0,
    };
    let made: EntryOut = match guest.ask(op::MKNOD, ROOT, &with(&node, &["zero"])) {
        Err(Errno::PERM) => return eprintln!("SKIPPED: no CAP_MKNOD"),
        made => made.unwrap(),
    };
    assert_eq!(made.attr.rdev, 1 << 8 | 5);
    assert!(
        fs::metadata(folder.path().join("zero"))
            .unwrap()
            .file_type()
            .is_char_device()
    );
    assert_eq!(
        guest.open(made.nodeid, libc::O_RDONLY).unwrap_err(),
        Errno::NXIO
    );
    let node = MknodIn {
        mode: libc::S_IFIFO | 0o666,
        ..node
    };
    let fifo: EntryOut = guest.ask(op::MKNOD, ROOT, &with(&node, &["fifo"])).unwrap();
    for flags in [libc::O_RDONLY, libc::O_WRONLY] {
        assert_eq!(guest.open(fifo.nodeid, flags).unwrap_err(), Errno::NXIO);
        assert_eq!(guest.create(ROOT, "fifo", flags).unwrap_err(), Errno::EXIST);
    }
    let access = AccessIn {
        mask: 4,
        padding: 0,
    };
    guest
        .bytes(op::ACCESS, fifo.nodeid, access.as_bytes())
        .unwrap();
    assert_eq!(guest.bytes(39, ROOT, &[]), Err(Errno::NOSYS), "ioctl");
    assert_eq!(guest.bytes(40, ROOT, &[]), Err(Errno::NOSYS), "poll");
}
