//! Attacks that an image's files make on whoever puts a sandbox together.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod driver;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use driver::{Tree, bind, container, tmpfs};
use isola_proto::spec::{Device, MountSource, TermSize, TextFile};

fn entries(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

#[test]
fn a_linked_dev_writes_nothing_outside() {
    let outside = tempfile::tempdir().unwrap();
    let device = Device {
        path: "/dev/made".to_owned(),
        kind: 'c',
        major: 1,
        minor: 3,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    for target in [
        outside.path().to_str().unwrap().to_owned(),
        format!("../../../../../{}", outside.path().display()),
    ] {
        let tree = Tree::new();
        symlink(&target, tree.join("dev")).unwrap();
        let failure = container(&tree, &["true"]).first().failed();
        assert_eq!(
            failure.message,
            "mount on '/dev': it is a symbolic link in the image"
        );
        // Without a /dev of ours, and with a tmpfs at its place: both stay inside.
        for mounts in [vec![], vec![tmpfs("/dev")]] {
            let first = container(&tree, &["true"])
                .edit(|spec| {
                    spec.root.mounts = mounts;
                    spec.root.devices = vec![device.clone()];
                })
                .first();
            assert!(first.failure.is_none(), "{first:?}");
            assert_eq!(entries(outside.path()), 0);
        }
    }
}

#[test]
fn linked_kernel_file_systems_are_refused() {
    // CVE-2019-19921, CVE-2023-27561
    for name in ["proc", "sys"] {
        let tree = Tree::new();
        std::fs::create_dir_all(tree.join("evil")).unwrap();
        symlink("/evil", tree.join(name)).unwrap();
        let failure = container(&tree, &["true"]).first().failed();
        assert_eq!(
            failure.message,
            format!("mount on '/{name}': it is a symbolic link in the image")
        );
        let tree = Tree::new();
        tree.write(name, "a file");
        let failure = container(&tree, &["true"]).first().failed();
        assert_eq!(
            failure.message,
            format!("mount on '/{name}': it is not a folder in the image")
        );
    }
}

#[test]
fn mount_targets_do_not_follow_links_out() {
    // CVE-2021-30465
    let tree = Tree::new();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), tree.join("abs")).unwrap();
    symlink("../../../../../../../../tmp", tree.join("up")).unwrap();
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("mark"), "m").unwrap();
    let source = data.path().to_str().unwrap();
    let script = format!(
        "cat {}/new/mark /tmp/isola-up/mark",
        outside.path().display()
    );
    let first = container(&tree, &["sh", "-c", &script])
        .edit(|spec| {
            spec.root
                .mounts
                .extend([bind(source, "/abs/new"), bind(source, "/up/isola-up")])
        })
        .first();
    assert_eq!(first.ok(), "mm");
    assert_eq!(entries(outside.path()), 0);
    assert!(!Path::new("/tmp/isola-up").exists());
}

#[test]
fn a_mount_target_that_is_swapped_meanwhile_stays_inside() {
    // CVE-2021-30465, CVE-2024-45310
    let tree = Tree::new();
    let outside = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(tree.join("volume/sub")).unwrap();
    symlink(outside.path(), tree.join("link")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let here = rustix::fs::CWD;
                let _ = rustix::fs::renameat_with(
                    here,
                    tree.join("volume"),
                    here,
                    tree.join("link"),
                    flags,
                );
            }
        });
        let mut ran = 0;
        for _ in 0..40 {
            let first = container(
                &tree,
                &["grep", "-c", "isola-swap-mark", "/proc/self/mountinfo"],
            )
            .edit(|spec| {
                spec.root
                    .mounts
                    .push(bind(data.path().to_str().unwrap(), "/volume/sub"));
                spec.root.mounts.push(tmpfs("/volume/isola-swap-mark"));
            })
            .first();
            // It may fail, but where it did not, all mounts are seen from inside.
            if first.failure.is_none() {
                assert_eq!(first.out(), "1\n");
                ran += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(ran > 0, "no sandbox came up");
    });
    assert_eq!(entries(outside.path()), 0, "something was made outside");
}

#[test]
fn hidden_paths_do_not_rely_on_the_image() {
    // CVE-2025-31133
    let tree = Tree::new();
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("x"), "secret").unwrap();
    std::fs::create_dir_all(tree.join("dev")).unwrap();
    std::fs::create_dir_all(tree.join("data")).unwrap();
    tree.write("data/file", "hidden");
    symlink(secret.path().join("x"), tree.join("dev/null")).unwrap();
    let script = "cat /proc/version /data/file; ls /proc/fs; echo x > /data/file; \
                  echo 1 > /proc/sys/kernel/hostname; stat -c %s /data/file";
    let change = |spec: &mut isola_proto::SandboxSpec| {
        let paths = ["/proc/version", "/data/file", "/proc/fs", "/no/such/path"];
        spec.root.masked_paths = paths.map(str::to_owned).to_vec();
        spec.root.readonly_paths = vec!["/proc/sys".to_owned(), "/nosuch".to_owned()];
    };
    for own_dev in [true, false] {
        let first = container(&tree, &["sh", "-c", script])
            .edit(change)
            .edit(|spec| {
                if !own_dev {
                    spec.root
                        .mounts
                        .retain(|mount| !mount.target.starts_with("/dev"));
                }
            })
            .first();
        assert_eq!(first.out(), "0\n", "{}", first.err());
        assert_eq!(
            first.err().matches("Read-only file system").count(),
            2,
            "{}",
            first.err()
        );
    }
    assert_eq!(
        std::fs::read_to_string(secret.path().join("x")).unwrap(),
        "secret"
    );
    assert_eq!(
        std::fs::read_to_string(tree.join("data/file")).unwrap(),
        "hidden"
    );
    let failure = container(&tree, &["true"])
        .edit(|spec| spec.root.masked_paths = vec!["/".to_owned()])
        .first()
        .failed();
    assert!(failure.message.contains("it is the root"), "{failure}");
}

#[test]
fn a_console_in_the_image_is_not_used() {
    // CVE-2025-52565
    let tree = Tree::new();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    std::fs::create_dir_all(tree.join("dev/pts")).unwrap();
    for name in ["dev/console", "dev/pts/0", "dev/ptmx", "dev/pts/ptmx"] {
        symlink(&victim, tree.join(name)).unwrap();
    }
    let first = container(&tree, &["sh", "-c", "stat -c %t /dev/console; tty"])
        .edit(|spec| spec.process.terminal = Some(TermSize::default()))
        .first();
    assert_eq!(first.ok(), "88\r\n/dev/pts/0\r\n");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    // Without a devpts of ours there is no terminal.
    let failure = container(&tree, &["true"])
        .edit(|spec| {
            spec.root
                .mounts
                .retain(|mount| mount.source != MountSource::Dev);
            spec.process.terminal = Some(TermSize::default());
        })
        .first()
        .failed();
    assert!(
        failure.message.contains("a terminal needs a /dev"),
        "{failure}"
    );
}

#[test]
fn the_tools_files_do_not_follow_links_out() {
    let tree = Tree::new();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("hosts");
    std::fs::write(&victim, "untouched").unwrap();
    std::fs::create_dir_all(tree.join("run")).unwrap();
    symlink(&victim, tree.join("etc/hosts")).unwrap();
    symlink(
        "../../../../run/systemd/resolve/stub",
        tree.join("etc/resolv.conf"),
    )
    .unwrap();
    symlink("/proc/self/fd/1", tree.join("etc/hostname")).unwrap();
    let text = |path: &str| TextFile {
        path: path.to_owned(),
        content: format!("of {path}\n"),
        mode: 0o644,
    };
    let first = container(
        &tree,
        &["cat", "/etc/hosts", "/etc/resolv.conf", "/etc/absent"],
    )
    .edit(|spec| {
        spec.root.files = vec![
            text("/etc/hosts"),
            text("/etc/resolv.conf"),
            text("/etc/absent"),
        ]
    })
    .first();
    assert_eq!(
        first.ok(),
        "of /etc/hosts\nof /etc/resolv.conf\nof /etc/absent\n"
    );
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    let magic = container(&tree, &["true"])
        .edit(|spec| spec.root.files = vec![text("/etc/hostname")])
        .first();
    assert!(magic.failure.is_some());
}

#[test]
fn parameters_can_not_be_diverted() {
    // CVE-2025-52881: nothing can lie over the procfs that is written through.
    let tree = Tree::new();
    let fake = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(tree.join("proc/sys/net/ipv4")).unwrap();
    std::fs::write(fake.path().join("victim"), "untouched").unwrap();
    symlink(
        fake.path().join("victim"),
        tree.join("proc/sys/net/ipv4/ip_default_ttl"),
    )
    .unwrap();
    let first = container(&tree, &["true"])
        .edit(|spec| {
            spec.root
                .mounts
                .retain(|mount| mount.source != MountSource::Proc);
            spec.root.sysctls = vec![("net.ipv4.ip_default_ttl".to_owned(), "77".to_owned())];
        })
        .first();
    first.ok();
    assert_eq!(
        std::fs::read_to_string(fake.path().join("victim")).unwrap(),
        "untouched"
    );
}
