//! The small image: busybox with its links and the files that a root needs.

use std::path::Path;
use std::process::Command;

/// Where a static busybox may be (Debian package `busybox-static`).
const PLACES: [&str; 3] = [
    "/bin/busybox",
    "/usr/bin/busybox",
    "/usr/lib/busybox/bin/busybox",
];

/// A tar archive of a root file system around busybox.
///
/// # Panics
/// There is no busybox.
pub fn busybox_layer() -> Vec<u8> {
    layer_with(&[])
}

/// The same with this program in it as `/bin/probe` ([`crate::run_probe_if_called`]).
pub(crate) fn box_layer() -> Vec<u8> {
    let own = std::env::current_exe().expect("the test's own path");
    let own = std::fs::read(own).expect("the test's own program");
    layer_with(&[LayerFile {
        path: "bin/probe",
        mode: 0o755,
        owner: 0,
        content: &own,
    }])
}

/// A file of a layer; one whose path ends with a slash is a folder.
#[derive(Clone, Copy, Debug)]
pub struct LayerFile<'a> {
    /// Path without a slash in front.
    pub path: &'a str,
    /// Mode.
    pub mode: u32,
    /// User and group.
    pub owner: u64,
    /// Content.
    pub content: &'a [u8],
}

/// The root file system around busybox and more files.
///
/// # Panics
/// There is no busybox.
pub fn layer_with(more: &[LayerFile<'_>]) -> Vec<u8> {
    let busybox = PLACES.iter().map(Path::new).find(|path| path.is_file());
    let busybox = busybox.expect("busybox is missing: apt-get install busybox-static");
    let list = Command::new(busybox)
        .arg("--list")
        .output()
        .expect("busybox --list")
        .stdout;
    let mut archive = tar::Builder::new(Vec::new());
    let mut folder = |path: &str, mode: u32| {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        archive
            .append_data(&mut header, path, std::io::empty())
            .expect("a folder");
    };
    for (path, mode) in [
        ("bin", 0o755),
        ("etc", 0o755),
        ("tmp", 0o1777),
        ("root", 0o700),
        ("home", 0o755),
        ("var", 0o755),
        ("proc", 0o755),
        ("sys", 0o755),
        ("dev", 0o755),
    ] {
        folder(path, mode);
    }
    let mut file = |path: &str, mode: u32, content: &[u8]| {
        let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
        archive
            .append_data(&mut header, path, content)
            .expect("a file");
    };
    file(
        "bin/busybox",
        0o755,
        &std::fs::read(busybox).expect("busybox"),
    );
    file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n",
    );
    file(
        "etc/group",
        0o644,
        b"root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
    );
    file("etc/plain", 0o644, b"no program\n");
    for applet in String::from_utf8_lossy(&list)
        .lines()
        .filter(|applet| *applet != "busybox")
    {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        archive
            .append_link(&mut header, format!("bin/{applet}"), "busybox")
            .expect("a link");
    }
    for file in more {
        let kind = match file.path.ends_with('/') {
            true => tar::EntryType::Directory,
            false => tar::EntryType::Regular,
        };
        let mut header = header(kind, file.mode, file.content.len() as u64);
        header.set_uid(file.owner);
        header.set_gid(file.owner);
        archive
            .append_data(&mut header, file.path, file.content)
            .expect("a file");
    }
    archive.into_inner().expect("an archive")
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1_700_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header
}
