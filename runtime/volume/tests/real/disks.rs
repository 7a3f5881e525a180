//! Images: limits, sharing, ownership, and what a killed user leaves.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::mpsc;

use isola_volume::{Data, Kind, Volumes};

use crate::support::{Base, child, given_base, private_mounts, root, spec, wait};

/// The folder of an open volume as a path.
fn path(fd: impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()).into()
}

#[test]
fn twenty_makers_of_one_name_make_one_volume() {
    if !root() {
        return;
    }
    let base = Base::new();
    let made: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| base.create("db", &[("size", "16M")])))
            .collect();
        makers
            .into_iter()
            .map(|maker| maker.join().unwrap())
            .collect()
    });
    assert!(made.iter().all(|volume| *volume == made[0]));
    let left: Vec<_> = fs::read_dir(base.dir.path().join("volumes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    assert_eq!(left, ["db"]);
    base.no_loops();
}

#[test]
fn a_size_holds_and_an_empty_volume_is_empty() {
    if !root() {
        return;
    }
    let base = Base::new();
    base.create("small", &[("size", "16M")]);
    let held = base.volumes.take("small", "one").unwrap();
    let Data::Disk {
        image,
        size,
        exclusive: false,
    } = held.data().clone()
    else {
        panic!("{:?}", held.data());
    };
    assert_eq!(size, 16 << 20);
    let data = held.open().unwrap();
    assert_eq!(
        fs::read_dir(path(&data)).unwrap().count(),
        0,
        "no lost+found"
    );
    let mut file = fs::File::create(path(&data).join("big")).unwrap();
    let piece = vec![7; 1 << 16];
    let mut written = 0;
    let error = loop {
        match file.write_all(&piece) {
            Ok(()) => written += piece.len(),
            Err(error) => break error,
        }
        assert!(written < 32 << 20, "the limit does not hold");
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(written > 8 << 20, "{written}");
    file.sync_all().unwrap_or(());
    assert!(fs::metadata(&image).unwrap().len() == 16 << 20);
    drop((file, data, held));
    base.no_loops();
    let usage = base
        .volumes
        .inspect("small", true)
        .unwrap()
        .usage_data
        .unwrap();
    assert!((8 << 20..=16 << 20).contains(&usage.size), "{usage:?}");
    base.volumes.remove("small", |_| Vec::new()).unwrap();
}

#[test]
fn one_superblock_serves_several_mount_namespaces() {
    if !root() {
        return;
    }
    let base = Base::new();
    base.create("shared", &[("size", "16M")]);
    let target = base.dir.path().join("target");
    fs::create_dir(&target).unwrap();
    // Each has its own mount on the same path, and sees what the other wrote.
    let (mounted, is_mounted) = mpsc::channel();
    let (written, is_written) = mpsc::channel();
    let (base, target) = (&base, &target);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            private_mounts();
            let held = base.volumes.take("shared", "reader").unwrap();
            held.mount(target, true).unwrap();
            mounted.send(()).unwrap();
            is_written.recv().unwrap();
            assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "hello");
            let error = fs::write(target.join("b"), "x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
            assert_eq!(base.loops(), 1);
        });
        scope.spawn(move || {
            private_mounts();
            is_mounted.recv().unwrap();
            let held = base.volumes.take("shared", "writer").unwrap();
            held.mount(target, false).unwrap();
            fs::write(target.join("a"), "hello").unwrap();
            let error = base.volumes.remove("shared", |_| Vec::new()).unwrap_err();
            assert!(error.message.contains("reader, writer"), "{error}");
            written.send(()).unwrap();
        });
    });
    assert_eq!(
        fs::read_dir(target).unwrap().count(),
        0,
        "the host sees nothing"
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(target.to_str().unwrap()));
    base.volumes.remove("shared", |_| Vec::new()).unwrap();
    base.no_loops();
}

#[test]
fn a_block_volume_has_one_owner_and_one_kernel() {
    if !root() {
        return;
    }
    let base = Base::new();
    assert!(base.create("pg", &[("block", "16M")]).block);
    let one = base.volumes.take("pg", "one").unwrap();
    let error = base.volumes.take("pg", "two").unwrap_err();
    assert_eq!(error.kind, Kind::Conflict);
    assert_eq!(error.message, "volume 'pg' is in use by one");
    let data = one.open().unwrap();
    fs::write(path(&data).join("x"), "from here").unwrap();
    drop(data);
    // A machine has the disk and outlives its supervisor.
    let machine = one.disk(false).unwrap();
    drop(one);
    let error = base.volumes.remove("pg", |_| Vec::new()).unwrap_err();
    assert!(error.message.contains("still in use as a disk"), "{error}");
    let two = base.volumes.take("pg", "two").unwrap();
    let late = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(machine);
    });
    // Waited for; and what a guest could write to is not mounted by this kernel.
    let disk = two.disk(false).unwrap();
    late.join().unwrap();
    drop(disk);
    let opened = two.open().map(drop);
    let mounted = two.mount(base.dir.path(), true);
    drop(two);
    let exported = base.volumes.export("pg", std::io::sink());
    for refused in [opened, mounted, exported] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported, "{error}");
    }
    base.volumes.remove("pg", |_| Vec::new()).unwrap();
}

#[test]
#[ignore = "run by killed_users_leave_nothing"]
fn child_that_mounts() {
    let base = given_base();
    private_mounts();
    let held = Volumes::open(&base).unwrap().take("db", "child").unwrap();
    held.mount(&base.join("target"), false).unwrap();
    fs::write(base.join("target/kept"), "kept").unwrap();
    rustix::fs::syncfs(fs::File::open(base.join("target")).unwrap()).unwrap();
    fs::write(base.join("ready"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn killed_users_leave_nothing() {
    if !root() {
        return;
    }
    for option in ["size", "block"] {
        let base = Base::new();
        base.create("db", &[(option, "16M")]);
        fs::create_dir(base.dir.path().join("target")).unwrap();
        let mut user = child("disks::child_that_mounts", base.dir.path());
        wait("the child has mounted", || {
            base.dir.path().join("ready").exists()
        });
        assert_eq!(base.volumes.users("db"), ["child"]);
        assert_eq!(base.loops(), 1);
        user.kill().unwrap();
        user.wait().unwrap();
        assert!(base.volumes.users("db").is_empty());
        let held = base.volumes.take("db", "next").unwrap();
        let data = held.open().unwrap();
        let text = fs::read_to_string(path(&data).join("kept")).unwrap();
        drop(data);
        assert_eq!(text, "kept");
        if option == "block" {
            // Waits for the last mount.
            held.disk(false).unwrap();
            assert_eq!(base.loops(), 0);
        }
        drop(held);
        base.volumes.remove("db", |_| Vec::new()).unwrap();
    }
}

#[test]
fn a_volume_without_room_for_its_image_leaves_nothing() {
    if !root() {
        return;
    }
    let base = Base::new();
    // Of 8 MiB little is left for a journal, but it is a file system.
    base.create("least", &[("size", "8M")]);
    let error = base
        .volumes
        .create(&spec("less", &[("size", "1M")]))
        .unwrap_err();
    assert!(error.message.contains("too small"), "{error}");
    assert!(base.volumes.find("less").unwrap().is_none());
}
