//! The host as it is at this moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use isola_proto::spec::{IdMap, IdMaps};
use nix::sys::resource::{Resource, getrlimit};

use super::{FileKind, Files, HostFacts, Stat};
use crate::cgroup::Abilities;
use crate::error::{Error, Kind, Result};
use crate::workload::units::parse_cpu_list;

/// The range that `--userns auto` maps when /etc/subuid gives none: the first
/// that systemd sets aside for containers.
const DEFAULT_SUBORDINATE: (u32, u32) = (524_288, 65_536);
/// Folders below the one that `nodes_below` was asked for, at most.
const MAX_DEPTH: usize = 8;

impl HostFacts<'static> {
    /// Reads the facts of this host.
    ///
    /// # Errors
    /// A file below /proc or /sys that every Linux has can't be read.
    pub fn read() -> Result<HostFacts<'static>> {
        let text = |path: &str| {
            fs::read_to_string(path).map_err(|error| Error::io("read", Path::new(path), error))
        };
        let odd = |path: &str| {
            Error::new(
                Kind::System,
                format!("{path} is not of the form that is known"),
            )
        };
        let release = text("/proc/sys/kernel/osrelease")?;
        let cpus = "/sys/devices/system/cpu/online";
        Ok(HostFacts {
            hostname: text("/proc/sys/kernel/hostname")?.trim().to_owned(),
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            env: environment(),
            architecture: go_architecture(std::env::consts::ARCH).to_owned(),
            kernel: kernel_version(&release).ok_or_else(|| odd("/proc/sys/kernel/osrelease"))?,
            memory: total_memory(&text("/proc/meminfo")?).ok_or_else(|| odd("/proc/meminfo"))?,
            cpus: online_cpus(cpus).ok_or_else(|| odd(cpus))?,
            capabilities: own_capabilities()?,
            hard_limits: hard_limits(),
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            cgroups: Abilities::read()?,
            subordinate: subordinate(),
            files: &LiveFiles,
        })
    }
}

/// Variables whose name and value are text; a program can't be given others by
/// a record in JSON.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn go_architecture(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The CPUs that are online; where /sys is not mounted, as many as this process
/// may use.
fn online_cpus(path: &str) -> Option<BTreeSet<u32>> {
    match fs::read_to_string(path) {
        Ok(list) => parse_cpu_list(list.trim()).ok(),
        Err(_) => Some(
            (0..u32::try_from(std::thread::available_parallelism().ok()?.get()).ok()?).collect(),
        ),
    }
}

fn own_capabilities() -> Result<Vec<String>> {
    let set = caps::read(None, caps::CapSet::Bounding);
    let set = set.map_err(|error| {
        Error::new(
            Kind::System,
            format!("cannot read the bounding set: {error}"),
        )
    })?;
    let mut set: Vec<_> = set.into_iter().collect();
    set.sort_by_key(|capability| capability.index());
    Ok(set
        .into_iter()
        .map(|capability| capability.to_string())
        .collect())
}

fn hard_limits() -> BTreeMap<String, u64> {
    let known = [
        ("as", Resource::RLIMIT_AS),
        ("core", Resource::RLIMIT_CORE),
        ("cpu", Resource::RLIMIT_CPU),
        ("data", Resource::RLIMIT_DATA),
        ("fsize", Resource::RLIMIT_FSIZE),
        ("locks", Resource::RLIMIT_LOCKS),
        ("memlock", Resource::RLIMIT_MEMLOCK),
        ("msgqueue", Resource::RLIMIT_MSGQUEUE),
        ("nice", Resource::RLIMIT_NICE),
        ("nofile", Resource::RLIMIT_NOFILE),
        ("nproc", Resource::RLIMIT_NPROC),
        ("rss", Resource::RLIMIT_RSS),
        ("rtprio", Resource::RLIMIT_RTPRIO),
        ("rttime", Resource::RLIMIT_RTTIME),
        ("sigpending", Resource::RLIMIT_SIGPENDING),
        ("stack", Resource::RLIMIT_STACK),
    ];
    let hard = |resource| {
        getrlimit(resource)
            .map(|(_, hard)| hard)
            .unwrap_or(u64::MAX)
    };
    known
        .into_iter()
        .map(|(name, resource)| (name.to_owned(), hard(resource)))
        .collect()
}

/// The range that subuid(5) and subgid(5) give to `isola`, or else to root.
fn subordinate() -> IdMaps {
    let range = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let (outside, size) = subordinate_range(&text).unwrap_or(DEFAULT_SUBORDINATE);
        vec![IdMap {
            inside: 0,
            outside,
            size,
        }]
    };
    IdMaps {
        uids: range("/etc/subuid"),
        gids: range("/etc/subgid"),
    }
}

fn subordinate_range(text: &str) -> Option<(u32, u32)> {
    let of = |user: &str| {
        text.lines().find_map(|line| {
            let (first, size) = line
                .strip_prefix(user)?
                .strip_prefix(':')?
                .split_once(':')?;
            let (first, size): (u32, u32) = (first.trim().parse().ok()?, size.trim().parse().ok()?);
            (size > 0 && first.checked_add(size).is_some()).then_some((first, size))
        })
    };
    of("isola").or_else(|| of("root"))
}

/// The files of this host.
#[derive(Debug)]
struct LiveFiles;

impl Files for LiveFiles {
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        fs::metadata(path).map(|metadata| stat(&metadata))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = fs::File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn nodes_below(&self, path: &Path) -> io::Result<Vec<(PathBuf, Stat)>> {
        let mut nodes = Vec::new();
        let device = fs::metadata(path)?.dev();
        let mut folders = vec![(path.to_owned(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                // Gone in the meantime, or not ours: only the first one counts.
                Err(_) if depth > 0 => continue,
                Err(error) => return Err(error),
            };
            for entry in entries.flatten() {
                let Ok(metadata) = entry.metadata() else {
                    continue;
                };
                let kind = metadata.file_type();
                if kind.is_dir() && depth < MAX_DEPTH && metadata.dev() == device {
                    folders.push((entry.path(), depth + 1));
                } else if kind.is_char_device() || kind.is_block_device() {
                    nodes.push((entry.path(), stat(&metadata)));
                }
            }
        }
        nodes.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(nodes)
    }
}

fn stat(metadata: &fs::Metadata) -> Stat {
    let file_type = metadata.file_type();
    let kind = if file_type.is_file() {
        FileKind::File
    } else if file_type.is_dir() {
        FileKind::Dir
    } else if file_type.is_char_device() {
        FileKind::Char
    } else if file_type.is_block_device() {
        FileKind::Block
    } else {
        FileKind::Other
    };
    let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
    Stat {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        major,
        minor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_facts() {
        let host = HostFacts::read().unwrap();
        assert!(host.memory > 1 << 20 && !host.cpus.is_empty() && host.kernel >= (4, 8));
        assert!(!host.hostname.is_empty() && host.hard_limits["nofile"] > 0);
        assert!(
            host.capabilities
                .iter()
                .all(|name| name.starts_with("CAP_")),
            "{:?}",
            host.capabilities
        );
    }

    #[test]
    fn files_are_seen_through_the_view() {
        let null = LiveFiles.stat(Path::new("/dev/null")).unwrap();
        assert_eq!((null.kind, null.major, null.minor), (FileKind::Char, 1, 3));
        let nodes = LiveFiles.nodes_below(Path::new("/dev")).unwrap();
        assert!(nodes.iter().any(|(path, _)| path == Path::new("/dev/null")));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "12345").unwrap();
        assert_eq!(LiveFiles.read(&path, 5).unwrap(), b"12345");
        assert_eq!(
            LiveFiles.read(&path, 4).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(
            LiveFiles.read(folder.path(), 4).unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
    }

    #[test]
    fn ranges_of_ids_and_versions() {
        assert_eq!(
            subordinate_range("x:1:2\nroot:100000:65536\n"),
            Some((100_000, 65_536))
        );
        assert_eq!(subordinate_range("root:1:2\nisola:3:4\n"), Some((3, 4)));
        for text in [
            "",
            "root",
            "root:a:b",
            "root:1:0",
            "root:4294967295:9",
            "rootx:1:2",
        ] {
            assert_eq!(subordinate_range(text), None, "{text}");
        }
        for (text, version) in [
            ("6.18.0-rc1", Some((6, 18))),
            ("6.1", Some((6, 1))),
            ("x", None),
            ("6", None),
        ] {
            assert_eq!(kernel_version(text), version, "{text}");
        }
        assert_eq!(
            total_memory("MemTotal:       1024 kB\nMemFree: 1 kB\n"),
            Some(1 << 20)
        );
    }
}
