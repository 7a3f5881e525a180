//! Folders, trees and children for the tests.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use isola_volume::{Volume, VolumeSpec, Volumes};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// Whether these tests can run; says so when not.
pub(crate) fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: this test needs root");
    }
    root
}

/// A data root; in the end no loop device may have a file in it.
pub(crate) struct Base {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) volumes: Volumes,
}

impl Base {
    pub(crate) fn new() -> Base {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(dir.path()).unwrap();
        Base { dir, volumes }
    }

    pub(crate) fn create(&self, name: &str, options: &[(&str, &str)]) -> Volume {
        self.volumes.create(&spec(name, options)).unwrap()
    }

    /// Loop devices with files of this data root.
    pub(crate) fn loops(&self) -> usize {
        let inside = |path: &Path| {
            fs::read_to_string(path.join("loop/backing_file"))
                .is_ok_and(|file| Path::new(file.trim_end()).starts_with(self.dir.path()))
        };
        let devices = fs::read_dir("/sys/block").unwrap();
        devices
            .filter(|entry| inside(&entry.as_ref().unwrap().path()))
            .count()
    }

    pub(crate) fn no_loops(&self) {
        wait("the loop devices are gone", || self.loops() == 0);
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.no_loops();
        }
    }
}

pub(crate) fn spec(name: &str, options: &[(&str, &str)]) -> VolumeSpec {
    VolumeSpec {
        name: Some(name.to_owned()),
        options: options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..VolumeSpec::default()
    }
}

pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs the ignored test `name` of this program as a process of its own.
pub(crate) fn child(name: &str, base: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env("VOLUME_TEST_BASE", base)
        .spawn()
        .unwrap()
}

/// The data root of the test that has started this one.
pub(crate) fn given_base() -> std::path::PathBuf {
    std::env::var_os("VOLUME_TEST_BASE")
        .expect("run by another test")
        .into()
}

/// A mount namespace of this thread's own.
pub(crate) fn private_mounts() {
    nix_unshare();
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .unwrap();
}

#[allow(unsafe_code)]
fn nix_unshare() {
    // SAFETY: only this thread's view of the mounts and its working directory change.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
}

/// An access control list as the kernel has it: version 2, user 10 (a line feed in
/// the bytes) may read.
pub(crate) const ACL: [u8; 44] = {
    let mut acl = [0xff; 44];
    let entries: [(u8, u8, Option<u8>); 5] = [
        (0x01, 7, None),
        (0x02, 4, Some(10)),
        (0x04, 5, None),
        (0x10, 5, None),
        (0x20, 0, None),
    ];
    (acl[0], acl[1], acl[2], acl[3]) = (2, 0, 0, 0);
    let mut at = 0;
    while at < 5 {
        let (tag, rights, id) = entries[at];
        let start = 4 + at * 8;
        (acl[start], acl[start + 1], acl[start + 2], acl[start + 3]) = (tag, 0, rights, 0);
        if let Some(id) = id {
            (
                acl[start + 4],
                acl[start + 5],
                acl[start + 6],
                acl[start + 7],
            ) = (id, 0, 0, 0);
        }
        at += 1;
    }
    acl
};

/// A tree with everything that a file system has.
pub(crate) fn everything(base: &Path) {
    fs::create_dir_all(base.join("dir/deep")).unwrap();
    fs::write(base.join("dir/file"), "text").unwrap();
    fs::hard_link(base.join("dir/file"), base.join("second")).unwrap();
    symlink("/etc/passwd", base.join("link")).unwrap();
    let long = "n".repeat(140);
    fs::write(base.join(&long), "long").unwrap();
    symlink(long.as_str(), base.join("dir/long-link")).unwrap();
    fs::hard_link(base.join(&long), base.join("dir/long-hard")).unwrap();
    fs::write(base.join("empty"), "").unwrap();
    let node = |name: &str, kind, device| {
        mknodat(CWD, base.join(name), kind, Mode::RUSR | Mode::WUSR, device).unwrap();
    };
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("disk", FileType::BlockDevice, makedev(7, 300));
    node("pipe", FileType::Fifo, 0);
    sparse(&base.join("sparse"), 9);
    sparse(&base.join("dir/few"), 2);
    fs::File::create(base.join("hole"))
        .unwrap()
        .set_len(3 << 20)
        .unwrap();
    for (name, key, value) in [
        ("dir/file", "user.note", &b"a\nb\0c"[..]),
        ("dir", "user.note", b"folder"),
        ("dir", "system.posix_acl_default", &ACL),
        ("empty", "system.posix_acl_access", &ACL),
        // VFS_CAP_REVISION_2, CAP_NET_BIND_SERVICE permitted (linux/capability.h).
        (
            "sparse",
            "security.capability",
            &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
    ] {
        xattr::set(base.join(name), key, value).unwrap();
    }
    for (name, mode) in [
        ("second", 0o4751),
        ("dir", 0o1770),
        ("dir/deep", 0o500),
        ("empty", 0o754),
    ] {
        fs::set_permissions(base.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (at, name) in ["link", "null", "dir/deep", "dir", "hole"]
        .iter()
        .enumerate()
    {
        let id = 1000 + u32::try_from(at).unwrap();
        std::os::unix::fs::lchown(base.join(name), Some(id), Some(id + 70_000)).unwrap();
    }
    for (at, name) in ["dir/few", "link", "pipe", "dir/deep", "dir", ""]
        .iter()
        .enumerate()
    {
        let time = rustix::fs::Timespec {
            tv_sec: 1_000_000_007 - 300_000_000 * at as i64,
            tv_nsec: 120_000_000,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        let path = if name.is_empty() {
            base.to_owned()
        } else {
            base.join(name)
        };
        rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// A file of 1 MiB pieces, of which every other is a hole.
pub(crate) fn sparse(path: &Path, pieces: u64) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).unwrap();
    for at in 0..pieces {
        file.write_all_at(format!("piece {at}").as_bytes(), at << 20)
            .unwrap();
    }
    file.set_len(pieces << 20).unwrap();
}

/// Everything about a tree, by path; `""` is its root.
pub(crate) fn describe(base: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    walk(base, base, &mut inodes, &mut found);
    found
}

fn walk(
    base: &Path,
    path: &Path,
    inodes: &mut BTreeMap<u64, String>,
    found: &mut BTreeMap<String, String>,
) {
    let name = path
        .strip_prefix(base)
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let meta = fs::symlink_metadata(path).unwrap();
    let kind = meta.file_type();
    let mut text = format!(
        "{:o} {}:{} {}.{:09} ",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    if kind.is_symlink() {
        text += &fs::read_link(path).unwrap().to_string_lossy();
    } else {
        let mut keys: Vec<_> = xattr::list(path).unwrap().collect();
        keys.sort();
        for key in keys {
            text += &format!("{key:?}={:?} ", xattr::get(path, &key).unwrap());
        }
    }
    if kind.is_file() {
        let data = fs::read(path).unwrap();
        let sum = data.iter().fold(7_u64, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        let thin = meta.blocks() * 512 < meta.len();
        text += &format!("{} bytes {sum:x} thin={thin}", data.len());
    }
    if !kind.is_dir() {
        text += &format!(" dev={}", meta.rdev());
        let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone());
        text += &format!(" same={first}");
    }
    found.insert(name, text);
    if kind.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        entries.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        for entry in entries {
            walk(base, &entry, inodes, found);
        }
    }
}

/// Shows only what differs.
pub(crate) fn same(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    for name in found.keys().chain(expected.keys()) {
        assert_eq!(found.get(name), expected.get(name), "{name:?}");
    }
}
