//! Host and guest change the same files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::guest::{Guest, is_root, server};
use crate::wire::*;

#[test]
fn pages_are_kept_only_while_nothing_changes() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "one").unwrap();
    let mut guest = Guest::new(folder.path());
    let node = guest.lookup(ROOT, "file").unwrap().nodeid;
    let mut keeps = || guest.open(node, libc::O_RDONLY).unwrap().open_flags & flag::KEEP_CACHE != 0;
    assert_eq!(
        [keeps(), keeps()],
        [false, false],
        "too fresh to tell changes"
    );
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!([keeps(), keeps(), keeps()], [false, true, true]);
    fs::write(&path, "two").unwrap();
    assert_eq!([keeps(), keeps()], [false, false]);
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!([keeps(), keeps()], [false, true]);
}

#[test]
fn data_goes_by_the_cache_but_where_pages_are_wanted() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cached")).unwrap();
    for (path, mode) in [("data", 0o644), ("program", 0o711), ("cached/data", 0o644)] {
        let path = folder.path().join(path);
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let direct = |guest: &mut Guest| {
        let cached = guest.lookup(ROOT, "cached").unwrap().nodeid;
        [(ROOT, "data"), (ROOT, "program"), (cached, "data")].map(|(parent, name)| {
            let node = guest.lookup(parent, name).unwrap().nodeid;
            guest.open(node, libc::O_RDWR).unwrap().open_flags & flag::DIRECT_IO != 0
        })
    };
    let mut guest = Guest::new(folder.path());
    assert_eq!(direct(&mut guest), [true, false, false]);
    // A kernel that does not say that it can map such files.
    let init = InitIn {
        major: 7,
        minor: 38,
        max_readahead: 1 << 20,
        flags: !(init::INIT_EXT as u32),
    };
    let out: InitOut = guest.ask(op::INIT, 0, init.as_bytes()).unwrap();
    assert_eq!(out.flags2, 0);
    assert_eq!(direct(&mut guest), [false; 3]);
}

#[test]
fn names_of_the_host_come_and_go_at_once() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cached")).unwrap();
    let mut guest = Guest::new(folder.path());
    assert_eq!(guest.lookup(ROOT, "new").unwrap_err(), Errno::NOENT);
    fs::write(folder.path().join("new"), "12").unwrap();
    let first = guest.lookup(ROOT, "new").unwrap();
    assert_eq!(
        (first.entry_valid, first.attr_valid, first.attr.size),
        (0, 0, 2)
    );
    // Another file under the same name is another node.
    fs::write(folder.path().join("other"), "123").unwrap();
    fs::rename(folder.path().join("other"), folder.path().join("new")).unwrap();
    let second = guest.lookup(ROOT, "new").unwrap();
    assert!(second.nodeid != first.nodeid && second.attr.size == 3);
    assert_eq!(guest.stat(first.nodeid).unwrap().nlink, 0);
    // A renamed folder stays what it is.
    let cached = guest.lookup(ROOT, "cached").unwrap();
    assert_eq!((cached.entry_valid, cached.attr_valid), (1, 1));
    fs::rename(folder.path().join("cached"), folder.path().join("moved")).unwrap();
    let below = guest.mkdir(cached.nodeid, "below", 0o755).unwrap();
    assert_eq!(below.entry_valid, 1, "handed down");
    assert!(folder.path().join("moved/below").is_dir());
}

#[test]
fn descriptors_that_are_short_are_opened_again() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b/c");
    fs::create_dir_all(&deep).unwrap();
    for number in 0..300 {
        fs::write(deep.join(number.to_string()), number.to_string()).unwrap();
    }
    // Room for some 32 nodes.
    let mut guest = Guest::raw(server(folder.path(), 64, &[])).mounted();
    let mut node = ROOT;
    for name in ["a", "b", "c"] {
        node = guest.lookup(node, name).unwrap().nodeid;
    }
    let files: Vec<_> = (0..300)
        .map(|number| guest.lookup(node, &number.to_string()).unwrap().nodeid)
        .collect();
    assert!(fs::read_dir("/proc/self/fd").unwrap().count() < 250);
    for (number, file) in files.iter().enumerate() {
        let fh = guest.open(*file, libc::O_RDONLY).unwrap().fh;
        assert_eq!(guest.read(fh, 0, 9).unwrap(), number.to_string().as_bytes());
        guest.release(fh).unwrap();
    }
    // Moved by the host while closed: stale, until it is looked up again; another
    // file in its place is never taken for it.
    fs::rename(deep.join("0"), deep.join("x")).unwrap();
    fs::rename(deep.join("1"), deep.join("0")).unwrap();
    guest.server.nodes.shrink();
    assert_eq!(guest.stat(files[0]).unwrap_err(), Errno::STALE);
    assert_eq!(guest.lookup(node, "x").unwrap().nodeid, files[0]);
    assert_eq!(guest.stat(files[0]).unwrap().size, 1);
    // Handles have an end, too.
    let open: Vec<_> = (0..40)
        .map_while(|n| guest.open(files[n + 20], libc::O_RDONLY).ok())
        .collect();
    assert_eq!(open.len(), 24);
    assert_eq!(
        guest.open(files[70], libc::O_RDONLY).unwrap_err(),
        Errno::NFILE
    );
}

#[test]
fn mount_points_are_told_as_such() {
    if !is_root() {
        return;
    }
    // In a mount namespace that goes with this thread.
    std::thread::spawn(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("0/plain")).unwrap();
        let mount = crate::sys::tests::private_tmpfs(&folder.path().join("0"));
        if let Err(error) = mount {
            return eprintln!("SKIPPED: no mounts here: {error}");
        }
        fs::create_dir(folder.path().join("0/inner")).unwrap();
        let mut guest = Guest::new(folder.path());
        let share = guest.lookup(ROOT, "0").unwrap();
        assert_eq!(share.attr.flags, flag::SUBMOUNT);
        assert_eq!(guest.lookup(share.nodeid, "inner").unwrap().attr.flags, 0);
        guest
            .bytes(op::SYNCFS, share.nodeid, [0u8; 8].as_bytes())
            .unwrap();
    })
    .join()
    .unwrap();
}
