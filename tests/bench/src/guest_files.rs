//! In the lab: files of the host in a guest, against virtiofsd under QEMU. Each
//! round is a guest of its own, so nothing is cached in it. Compared are modes that
//! promise the same: ours, in which each side sees at once what the other wrote, with
//! `cache=none`, and `cached` with `cache=auto`; both of these lag for a second.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use isola_kernel::BootFiles;

use crate::Result;
use crate::inside::{BIG, SMALL, WRITTEN};
use crate::machines::{self, Device, Machine};
use crate::monitor::pass;
use crate::pairs::each;
use crate::programs::{Programs, has};
use crate::table::Row;

/// Where Debian 12 has it.
const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";
const BYTES: usize = 64 << 20;

/// How much the guest may remember.
#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    /// What our server is told about the only share.
    ours: &'static [&'static str],
    theirs: &'static str,
}

const MODES: [Mode; 2] = [
    Mode {
        name: "virtio-fs",
        ours: &[],
        theirs: "cache=none",
    },
    Mode {
        name: "virtio-fs, cached",
        ours: &["--cached", "0"],
        theirs: "cache=auto",
    },
];

pub(crate) fn run(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for mode in MODES {
        rows.extend(in_mode(programs, rounds, mode)?);
    }
    Ok(rows)
}

fn in_mode(programs: &Programs, rounds: u32, mode: Mode) -> Result<Vec<Row>> {
    let name = mode.name;
    let what = [
        format!("{name}: read {} MiB", BYTES >> 20),
        format!("{name}: write {} MiB", WRITTEN >> 20),
        format!("{name}: create {SMALL} files"),
        format!("{name}: stat {SMALL} files"),
        format!("{name}: unlink {SMALL} files"),
    ];
    if !has("qemu-system-x86_64") || !Path::new(VIRTIOFSD).exists() {
        return Ok(vec![Row::skipped(
            &what[0],
            "QEMU or virtiofsd is not installed",
        )]);
    }
    let files = machines::files()?;
    let folder = programs.data().join("share");
    fs::create_dir_all(folder.join("0"))?;
    fs::write(folder.join("0").join(BIG), vec![0x5a; BYTES])?;
    let mut ours = || ours(programs, &files, &folder, mode);
    let mut theirs = || theirs(&files, &folder, mode);
    let pairs = each(rounds, &mut ours, &mut theirs)?;
    let peer = format!("virtiofsd {}", mode.theirs);
    let rows = pairs.iter().zip(&what);
    Ok(rows
        .map(|(pairs, what)| pairs.row(what, &peer, 1.0))
        .collect())
}

/// Ends a server whatever happens.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ours(programs: &Programs, files: &BootFiles, folder: &Path, mode: Mode) -> Result<Vec<f64>> {
    let (near, far) = UnixStream::pair()?;
    let server = Command::new(programs.path("isola-fsd"))
        .args(["--socket-fd", &pass(&far)?.to_string(), "--root"])
        .arg(folder)
        .args(mode.ours)
        .stdin(Stdio::null())
        .spawn()?;
    let _server = Server(server);
    drop(far);
    steps(Machine::ours(
        programs,
        files,
        "files",
        &Device::Files(near.into()),
    )?)
}

fn theirs(files: &BootFiles, folder: &Path, mode: Mode) -> Result<Vec<f64>> {
    let scratch = tempfile::tempdir_in("/var/tmp")?;
    let socket = scratch.path().join("socket");
    let server = Command::new(VIRTIOFSD)
        .arg(format!("--socket-path={}", socket.display()))
        .args(["-o", &format!("source={}", folder.display())])
        .args(["-o", mode.theirs])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _server = Server(server);
    let started = Instant::now();
    while !socket.exists() {
        if started.elapsed() > Duration::from_secs(20) {
            return Err("virtiofsd does not listen".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    steps(Machine::qemu(files, "files", &Device::FilesAt(socket))?)
}

/// Milliseconds of each step, in the order of the guest.
fn steps(mut machine: Machine) -> Result<Vec<f64>> {
    let (_, mut before) = machine.word()?;
    let mut times = Vec::new();
    loop {
        let (word, now) = machine.word()?;
        if word == "done" {
            return Ok(times);
        }
        if word != "begin" {
            times.push((now - before).as_secs_f64() * 1e3);
        }
        before = now;
    }
}
