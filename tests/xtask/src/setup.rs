//! Installs what is missing on this machine, and nothing else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::Result;
use crate::process::which;
use crate::workspace::Workspace;

/// One thing that is needed, how it is found, and where it comes from.
struct Need {
    /// A program's name, or a path when it starts with a slash.
    probe: &'static str,
    package: &'static str,
    why: &'static str,
}

const fn need(probe: &'static str, package: &'static str, why: &'static str) -> Need {
    Need {
        probe,
        package,
        why,
    }
}

/// What building and testing take.
const BASE: &[Need] = &[
    need("gcc", "gcc", "links programs, compiles the guest kernel"),
    need("make", "make", "builds the guest kernel"),
    need("flex", "flex", "builds the guest kernel"),
    need("bison", "bison", "builds the guest kernel"),
    need("bc", "bc", "builds the guest kernel"),
    need("strip", "binutils", "builds the guest kernel"),
    need(
        "/usr/include/gelf.h",
        "libelf-dev",
        "builds the guest kernel",
    ),
    need(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "the emulated wall and the lab",
    ),
    need(
        "mkfs.ext4",
        "e2fsprogs",
        "makes writable layers and the lab's disk",
    ),
    need(
        "busybox",
        "busybox-static",
        "the built-in image and the lab",
    ),
    need(
        "fsck.erofs",
        "erofs-utils",
        "judges the layers that we write",
    ),
    need("umoci", "umoci", "unpacks images for comparison"),
    need(
        "mmdebstrap",
        "mmdebstrap",
        "makes a Debian root file system to test with",
    ),
    need("setpriv", "util-linux", "ends the lab with its starter"),
    need("nft", "nftables", "networks of instances"),
    need("cpio", "cpio", "reads initramfs files in tests"),
    need("xz", "xz-utils", "makes archives to test with"),
    need("zstd", "zstd", "makes archives to test with"),
    need("bzip2", "bzip2", "makes archives to test with"),
    need(
        "git",
        "git",
        "contexts of builds, and repositories to test with",
    ),
    need(
        "docker-registry",
        "docker-registry",
        "a registry to test with, on loopback",
    ),
    need("htpasswd", "apache2-utils", "makes that registry's users"),
    need(
        "skopeo",
        "skopeo",
        "pushes and pulls independently of us; makes archives for benches",
    ),
    need(
        "podman",
        "podman",
        "the same, and runs what we push; benches compare with it",
    ),
    need(
        "buildah",
        "buildah",
        "builds the same Dockerfiles; benches compare with it",
    ),
    need(
        "dockerd",
        "docker.io",
        "the same, with manifests of its own; benches compare with it",
    ),
    need(
        "docker-compose",
        "docker-compose",
        "reads compose files for comparison; benches compare with it",
    ),
];

/// Programs that benches compare with; none is needed for a test.
const PEERS: &[Need] = &[
    need("crun", "crun", "benches compare with it"),
    need(
        "podman-compose",
        "podman-compose",
        "benches compare with it",
    ),
];

/// `cargo xtask setup`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Also install the programs that benches compare with
    #[arg(long)]
    pub(crate) peers: bool,
}

/// Installs what is missing for tests, and for benches if asked.
pub(crate) fn main(args: &Args) -> Result<()> {
    install(BASE)?;
    if args.peers {
        install(PEERS)?;
    }
    Ok(())
}

fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<_> = needs.iter().filter(|n| !is_there(n.probe)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if which("apt-get").is_none() {
        let names: Vec<_> = missing.iter().map(|n| n.probe).collect();
        return Err(format!("missing {}, and there is no apt-get", names.join(", ")).into());
    }
    for need in &missing {
        eprintln!("setup: installing {} ({})", need.package, need.why);
    }
    let mut packages: Vec<_> = missing.iter().map(|n| n.package).collect();
    packages.dedup();
    let log = log_file()?;
    if lists_are_stale() {
        apt(&["update"], &log)?;
    }
    let mut words = vec!["install", "-y", "--no-install-recommends"];
    words.extend(packages);
    apt(&words, &log)?;
    match missing.iter().find(|n| !is_there(n.probe)) {
        Some(need) => Err(format!("{} did not bring {}", need.package, need.probe).into()),
        None => Ok(()),
    }
}

fn is_there(probe: &str) -> bool {
    match probe.starts_with('/') {
        true => Path::new(probe).exists(),
        false => which(probe).is_some(),
    }
}

/// Whether apt has no lists of packages, or none of this day.
pub(crate) fn lists_are_stale() -> bool {
    let newest = fs::read_dir("/var/lib/apt/lists")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .max();
    newest.is_none_or(|time| {
        let age = SystemTime::now().duration_since(time).unwrap_or_default();
        age > Duration::from_secs(24 * 3600)
    })
}

fn log_file() -> Result<PathBuf> {
    let folder = Workspace::find()?.target.join("xtask");
    fs::create_dir_all(&folder)?;
    Ok(folder.join("apt.log"))
}

/// Runs apt-get as root; what it says is shown only if it fails.
pub(crate) fn apt(words: &[&str], log: &Path) -> Result<()> {
    let mut command = match rustix::process::geteuid().is_root() {
        true => Command::new("apt-get"),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "apt-get"]);
            sudo
        }
    };
    let out = File::options().create(true).append(true).open(log)?;
    let status = command
        .args(["-q", "-o", "DPkg::Lock::Timeout=300"])
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .status()
        .map_err(|e| format!("cannot run apt-get: {e}"))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(30)..] {
        eprintln!("{line}");
    }
    Err(format!(
        "apt-get {}: {status}; all of it is in {}",
        words.join(" "),
        log.display()
    )
    .into())
}
