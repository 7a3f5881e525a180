//! Resolution, over tables, on a host that is made up.

mod exec;
mod limits;
mod mounts;
mod namespaces;
mod network;
mod process;
mod security;
mod snapshots;
mod volumes;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use isola_proto::spec::{IdMap, IdMaps};

use super::*;
use crate::cgroup::Abilities;
use crate::error::{Error, Kind, Result};

/// Files that are named here, and no others.
pub(super) struct FakeFiles;

const FILES: &[(&str, &[u8])] = &[
    (
        "/home/u/env",
        b"\xef\xbb\xbf# comment\n\nA=1\n  B=two words \r\nTOKEN\nABSENT\nC=a=b\n",
    ),
    ("/home/u/bad-name", b"OK=1\nexport X=1\n"),
    ("/home/u/bad-empty", b"\n=1\n"),
    ("/home/u/bad-utf8", b"A=1\nB=2\nC=\xff\n"),
    ("/home/u/labels", b"# l\na=1\nb\n"),
    (
        "/home/u/allow.json",
        br#"{"defaultAction":"SCMP_ACT_ALLOW"}"#,
    ),
    ("/home/u/broken.json", b"{"),
    (
        "/proc/partitions",
        b"major minor  #blocks  name\n\n 254        0   1024 vda\n   8        0   1024 sda\n",
    ),
    ("/sys/dev/block/8:0/queue/scheduler", b"none [bfq]\n"),
    ("/sys/dev/block/254:0/queue/scheduler", b"[none] bfq\n"),
    ("/sys/dev/block/254:1/partition", b"1\n"),
    ("/sys/devices/system/node/online", b"0-1\n"),
];

fn node(kind: FileKind, major: u32, minor: u32) -> Stat {
    Stat {
        kind,
        mode: 0o660,
        uid: 0,
        gid: 5,
        major,
        minor,
    }
}

fn devices() -> Vec<(PathBuf, Stat)> {
    [
        ("/dev/console", node(FileKind::Char, 5, 1)),
        ("/dev/fuse", node(FileKind::Char, 10, 229)),
        ("/dev/pts/0", node(FileKind::Char, 136, 0)),
        ("/dev/snd/pcm", node(FileKind::Char, 116, 1)),
        ("/dev/vda", node(FileKind::Block, 254, 0)),
    ]
    .map(|(path, stat)| (PathBuf::from(path), stat))
    .into()
}

impl Files for FakeFiles {
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let plain = |kind| Stat {
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            major: 0,
            minor: 0,
        };
        if let Some((_, stat)) = devices().into_iter().find(|(device, _)| device == path) {
            return Ok(stat);
        }
        // These are not listed.
        match path.to_str() {
            Some("/dev/sda") => return Ok(node(FileKind::Block, 8, 0)),
            Some("/dev/vda1") => return Ok(node(FileKind::Block, 254, 1)),
            _ => {}
        }
        if FILES.iter().any(|(file, _)| Path::new(file) == path) {
            return Ok(plain(FileKind::File));
        }
        let folders = [
            "/home/u",
            "/home/u/data",
            "/dev",
            "/dev/snd",
            "/dev/pts",
            "/srv",
        ];
        if folders.iter().any(|folder| Path::new(folder) == path) {
            return Ok(plain(FileKind::Dir));
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn read(&self, path: &Path, _limit: u64) -> io::Result<Vec<u8>> {
        let file = FILES.iter().find(|(file, _)| Path::new(file) == path);
        file.map(|(_, bytes)| bytes.to_vec())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn nodes_below(&self, path: &Path) -> io::Result<Vec<(PathBuf, Stat)>> {
        Ok(devices()
            .into_iter()
            .filter(|(device, _)| device.starts_with(path))
            .collect())
    }
}

/// A host with four CPUs, 8 GiB and all capabilities but one.
pub(super) fn host() -> HostFacts<'static> {
    let all = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "NET_ADMIN",
        "NET_RAW",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_ADMIN",
        "MKNOD",
        "AUDIT_WRITE",
        "SETFCAP",
    ];
    let range = |outside| {
        vec![IdMap {
            inside: 0,
            outside,
            size: 65_536,
        }]
    };
    HostFacts {
        hostname: "metal".to_owned(),
        cwd: PathBuf::from("/home/u"),
        env: BTreeMap::from([("TOKEN".to_owned(), "secret".to_owned())]),
        architecture: "amd64".to_owned(),
        kernel: (6, 12),
        memory: 8 << 30,
        cpus: (0..4).collect(),
        capabilities: all.iter().map(|name| format!("CAP_{name}")).collect(),
        hard_limits: BTreeMap::from([("nofile".to_owned(), 20_000)]),
        selinux: false,
        cgroups: Abilities {
            controllers: words(&["blkio", "cpu", "cpuset", "memory", "pids"]),
            swap: true,
            freezer: true,
            devices: true,
            rates: true,
            version1: true,
            cost: Vec::new(),
        },
        subordinate: IdMaps {
            uids: range(100_000),
            gids: range(200_000),
        },
        files: &FakeFiles,
    }
}

pub(super) fn image() -> ImageFacts {
    ImageFacts {
        name: "web".to_owned(),
        id: format!("sha256:{}", "a".repeat(64)),
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        entrypoint: words(&["/entry"]),
        cmd: words(&["serve", "80"]),
        env: words(&["PATH=/bin", "LANG=C"]),
        working_dir: "/srv".to_owned(),
        user: "www".to_owned(),
        stop_signal: Some("SIGQUIT".to_owned()),
        labels: BTreeMap::from([("from".to_owned(), "image".to_owned())]),
        ..ImageFacts::default()
    }
}

pub(super) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

pub(super) const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(super) fn behind(isolation: Isolation, options: &Options) -> Result<Workload> {
    resolve(
        options,
        &image(),
        &WallCapabilities::of(isolation),
        &host(),
        ID,
    )
}

pub(super) fn container(options: &Options) -> Result<Workload> {
    behind(Isolation::Container, options)
}

/// Options from JSON, as compose will give them.
pub(super) fn options(json: &str) -> Options {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// Each of these is refused with an error of the given class that has the part in it.
pub(super) fn refused(table: &[(&str, Kind, &str)]) {
    for (json, kind, part) in table {
        check(json, container(&options(json)), *kind, part);
    }
}

pub(super) fn check<T: std::fmt::Debug>(what: &str, result: Result<T>, kind: Kind, part: &str) {
    let error: Error = result.expect_err(what);
    assert_eq!(error.kind, kind, "{what}: {error}");
    assert!(error.message.contains(part), "{what}: {error}");
    assert!(!error.message.contains('\n'), "{what}: {error}");
}
