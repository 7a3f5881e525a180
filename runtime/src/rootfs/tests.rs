//! Real mounts, each test in a mount namespace of its own thread.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root");
    }
    root
}

/// Runs a test in a thread, which has a mount namespace of its own.
fn apart(test: impl FnOnce(&Path) + Send + 'static) {
    if !root() {
        return;
    }
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let thread = std::thread::spawn(move || {
        enter_private_mounts().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Not the file system of the machine's /tmp: that may be an overlay.
        rustix::mount::mount("isola", folder.path(), "tmpfs", MountFlags::empty(), None).unwrap();
        for name in ["base", "top", "root"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        test(folder.path());
        unmount_root(folder.path()).unwrap();
    });
    let result = thread.join();
    let now = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let new: Vec<_> = now
        .lines()
        .filter(|line| line.contains("isola") && !before.contains(*line))
        .collect();
    assert!(new.is_empty(), "the host sees {new:?}");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Two layers: the upper one changes, hides and adds.
fn fill(folder: &Path) {
    let (base, top) = (folder.join("base"), folder.join("top"));
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&top, fs::Permissions::from_mode(0o750)).unwrap();
    fs::write(base.join("same"), "base").unwrap();
    fs::write(base.join("changed"), "base").unwrap();
    fs::write(base.join("hidden"), "base").unwrap();
    fs::write(top.join("changed"), "top").unwrap();
    fs::write(top.join("added"), "top").unwrap();
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(CWD, top.join("hidden"), kind, rustix::fs::Mode::empty(), 0).unwrap();
}

fn image(folder: &Path, name: &str) -> Option<PathBuf> {
    let file = folder.join(format!("{name}.erofs"));
    let made = Command::new("mkfs.erofs")
        .arg(&file)
        .arg(folder.join(name))
        .stdout(Stdio::null())
        .status();
    match made {
        Ok(status) if status.success() => Some(file),
        _ => {
            eprintln!("SKIPPED: needs mkfs.erofs");
            None
        }
    }
}

fn check(folder: &Path, layers: &[RootLayer]) {
    let (upper, work, target) = (
        folder.join("upper"),
        folder.join("work"),
        folder.join("root"),
    );
    let spec = RootFs {
        layers,
        upper: &upper,
        work: &work,
        target: &target,
        namespace: None,
        volatile: false,
    };
    for volatile in [false, true, true] {
        let spec = RootFs { volatile, ..spec };
        spec.mount().unwrap();
        let read = |name: &str| fs::read_to_string(target.join(name)).ok();
        assert_eq!(read("same").as_deref(), Some("base"));
        assert_eq!(read("changed").as_deref(), Some("top"));
        assert_eq!(read("added").as_deref(), Some("top"));
        assert_eq!(read("hidden"), None);
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o750);
        fs::write(target.join("same"), "mine").unwrap();
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let at: Vec<_> = table
            .lines()
            .filter(|line| line.contains(target.to_str().unwrap()))
            .collect();
        assert_eq!(at.len(), 1, "{at:?}");
        unmount_root(&target).unwrap();
        assert_eq!(fs::read_to_string(upper.join("same")).unwrap(), "mine");
        fs::remove_file(upper.join("same")).unwrap();
    }
    remove_tree(&upper).unwrap();
    remove_tree(&work).unwrap();
}

#[test]
fn folders_become_a_root() {
    apart(|folder| {
        fill(folder);
        check(
            folder,
            &["base", "top"].map(|name| RootLayer::Directory(folder.join(name))),
        );
    });
}

#[test]
fn erofs_images_become_a_root() {
    apart(|folder| {
        fill(folder);
        let (Some(base), Some(top)) = (image(folder, "base"), image(folder, "top")) else {
            return;
        };
        assert!(probe_erofs());
        check(folder, &[RootLayer::Erofs(base), RootLayer::Erofs(top)]);
    });
}

fn loop_devices_of(file: &Path) -> usize {
    let entries = fs::read_dir("/sys/block").unwrap().flatten();
    let holds =
        |entry: fs::DirEntry| fs::read_to_string(entry.path().join("loop/backing_file")).ok();
    entries
        .filter_map(holds)
        .filter(|backing| {
            backing
                .trim()
                .ends_with(file.file_name().unwrap().to_str().unwrap())
        })
        .count()
}

#[test]
fn a_file_and_a_loop_device_show_the_same() {
    apart(|folder| {
        fill(folder);
        // On the machine's own file system: tmpfs can't be read without a loop device.
        let store = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let Some(image) = image(folder, "base") else {
            return;
        };
        let file = store
            .path()
            .join(format!("isola-test-{}.erofs", std::process::id()));
        fs::copy(image, &file).unwrap();
        let read =
            |mount: &OwnedFd| fs::read_to_string(format!("{}/same", by_descriptor(mount))).unwrap();
        match layer::from_file(&File::open(&file).unwrap()) {
            Ok(direct) => assert_eq!(read(&direct), "base"),
            Err(error) => {
                eprintln!("SKIPPED: this kernel does not mount EROFS from a file: {error}")
            }
        }
        assert_eq!(loop_devices_of(&file), 0);
        let looped = layer::from_loop(&File::open(&file).unwrap()).unwrap();
        assert_eq!(read(&looped), "base");
        assert_eq!(loop_devices_of(&file), 1);
        drop(looped);
        // The kernel clears the device a moment after its last user is gone.
        let gone = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            loop_devices_of(&file) == 0
        });
        assert!(gone, "the loop device stays");
    });
}

#[test]
fn a_hundred_and_fifty_layers() {
    apart(|folder| {
        let layers: Vec<_> = (0..150)
            .map(|number| {
                let path = folder.join(format!("layer-{number}-{}", "x".repeat(100)));
                fs::create_dir(&path).unwrap();
                fs::write(path.join(format!("file-{number}")), "").unwrap();
                RootLayer::Directory(path)
            })
            .collect();
        let (upper, work, target) = (
            folder.join("upper"),
            folder.join("work"),
            folder.join("root"),
        );
        let spec = RootFs {
            layers: &layers,
            upper: &upper,
            work: &work,
            target: &target,
            namespace: None,
            volatile: false,
        };
        spec.mount().unwrap();
        assert_eq!(fs::read_dir(&target).unwrap().count(), 150);
        unmount_root(&target).unwrap();
        let many: Vec<_> = layers.iter().cycle().take(400).cloned().collect();
        let error = RootFs {
            layers: &many,
            ..spec
        }
        .mount()
        .unwrap_err();
        assert!(error.message.contains("400 layers"), "{error}");
        assert_eq!(
            fs::read_dir(&target).unwrap().count(),
            0,
            "something stays mounted"
        );
    });
}

#[test]
fn owners_are_shown_through_a_user_namespace() {
    apart(|folder| {
        fill(folder);
        let (Some(base), Some(top)) = (image(folder, "base"), image(folder, "top")) else {
            return;
        };
        let mut holder = Command::new("unshare")
            .args(["-U", "sleep", "100"])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare(1) of util-linux");
        let of = |name: &str| format!("/proc/{}/{name}", holder.id());
        let own = fs::read_link("/proc/self/ns/user").unwrap();
        while fs::read_link(of("ns/user")).unwrap() == own {
            std::thread::yield_now();
        }
        for map in ["uid_map", "gid_map"] {
            fs::write(of(map), "0 100000 65536").unwrap();
        }
        let namespace = File::open(of("ns/user")).unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();
        let (upper, work, target) = (
            folder.join("upper"),
            folder.join("work"),
            folder.join("root"),
        );
        let layers = [RootLayer::Erofs(base), RootLayer::Erofs(top)];
        let namespace = Some(namespace.as_fd());
        RootFs {
            layers: &layers,
            upper: &upper,
            work: &work,
            target: &target,
            namespace,
            volatile: false,
        }
        .mount()
        .unwrap();
        for name in ["", "same", "changed"] {
            let found = fs::metadata(target.join(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (100_000, 100_000), "{name:?}");
        }
        fs::write(target.join("same"), "mine").unwrap();
        assert_eq!(
            fs::metadata(upper.join("same")).unwrap().uid(),
            100_000,
            "the copy keeps its owner"
        );
        assert_eq!(fs::metadata(&upper).unwrap().uid(), 100_000);
        unmount_root(&target).unwrap();
    });
}

#[test]
fn whiteouts_are_written_and_failures_leave_nothing() {
    apart(|folder| {
        fill(folder);
        let layers = [RootLayer::Directory(folder.join("base"))];
        let (upper, work, target) = (
            folder.join("upper"),
            folder.join("work"),
            folder.join("root"),
        );
        let spec = RootFs {
            layers: &layers,
            upper: &upper,
            work: &work,
            target: &target,
            namespace: None,
            volatile: false,
        };
        spec.mount().unwrap();
        fs::remove_file(target.join("hidden")).unwrap();
        assert!(
            fs::symlink_metadata(upper.join("hidden"))
                .unwrap()
                .file_type()
                .is_char_device()
        );
        // An upper folder on an overlay can't be used, and the error says so.
        fs::create_dir(target.join("in")).unwrap();
        let inside = target.join("in");
        let (upper, work, target) = (
            inside.join("upper"),
            inside.join("work"),
            folder.join("top"),
        );
        let error = RootFs {
            upper: &upper,
            work: &work,
            target: &target,
            ..spec
        }
        .mount()
        .unwrap_err();
        assert!(error.hint.unwrap().contains("overlay"));
        assert!(target.join("added").exists(), "something stays mounted");
        let missing = [RootLayer::Erofs(folder.join("nowhere"))];
        let error = RootFs {
            layers: &missing,
            ..spec
        }
        .mount()
        .unwrap_err();
        assert!(error.message.contains("nowhere"), "{error}");
    });
}
