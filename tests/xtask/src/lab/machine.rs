//! One run of QEMU.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use isola_kernel::cpio;

use crate::Result;
use crate::lab::base::Base;
use crate::lab::job::Job;
use crate::process::which;

/// Memory of the machine. On a share of a small host it is what a build of
/// everything plus a few guests take.
const MEMORY_MIB: u32 = 3072;

/// Size of the scratch disk, sparse.
const DISK_BYTES: u64 = 16 << 30;

/// Runs a job; the command's output goes to standard output.
pub(crate) fn run(base: &Base, job: &Job) -> Result<u8> {
    // All of them have no name, so that nothing stays behind.
    let initramfs = initramfs(base, job)?;
    let disk = scratch_disk()?;
    let mut status = inherited()?;
    let mut console = inherited()?;
    let console_path = match job.console {
        true => "/proc/self/fd/2".into(),
        false => path_of(&console),
    };

    // Dies with this process, whatever kills it.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-M", "q35", "-accel", "tcg,thread=multi"])
        // One: with more, QEMU 7.2's software processors run code that another
        // one has just patched, and the kernel dies at a random jump label.
        .args(["-cpu", "max,+svm,+npt,-la57", "-smp", "1"])
        .args(["-m", &MEMORY_MIB.to_string()])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(&base.kernel)
        .args(["-initrd", &path_of(&initramfs)])
        .args(["-append", &kernel_arguments(job.console)])
        .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
        // Not stdio: that counts as disconnected once its input has ended.
        .args(["-chardev", "file,id=out,append=on,path=/proc/self/fd/1"])
        .args(["-device", "virtserialport,chardev=out,name=lab.out"])
        .args([
            "-chardev",
            &format!("file,id=status,path={}", path_of(&status)),
        ])
        .args(["-device", "virtserialport,chardev=status,name=lab.status"])
        .args([
            "-chardev",
            &format!("file,id=console,append=on,path={console_path}"),
        ])
        .args(["-serial", "chardev:console"])
        .args([
            "-drive",
            &format!(
                "id=disk,if=none,format=raw,cache=unsafe,file={}",
                path_of(&disk)
            ),
        ])
        .args(["-device", "virtio-blk-pci,drive=disk"]);
    for (number, share) in job.shares.iter().enumerate() {
        let readonly = if share.writable { "off" } else { "on" };
        command.arg("-virtfs").arg(format!(
            "local,path={},mount_tag=share{number},security_model=none,readonly={readonly},multidevs=remap",
            share.path.to_string_lossy().replace(',', ",,"),
        ));
    }
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| {
            format!("cannot run qemu-system-x86_64 (cargo xtask setup installs it): {e}")
        })?;
    let timed_out = follow(&mut child, job, started)?;

    let code = read_back(&mut status)?.trim().parse::<u8>().ok();
    let messages = read_back(&mut console)?;
    match code {
        Some(_) => {
            for line in messages.lines().filter(|line| line.contains("lab: ")) {
                eprintln!("{line}");
            }
        }
        None => {
            let lines: Vec<_> = messages.lines().collect();
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("{line}");
            }
        }
    }
    match (code, timed_out) {
        (Some(code), _) => Ok(code),
        (None, true) => {
            eprintln!("lab: switched off after {} s", job.timeout.as_secs());
            Ok(124)
        }
        (None, false) => Err("the lab ended without an exit code".into()),
    }
}

fn kernel_arguments(verbose: bool) -> String {
    [
        "console=ttyS0 panic=-1",
        if verbose { "" } else { "quiet loglevel=4" },
        // Processor time is what the lab has least of.
        "mitigations=off init_on_alloc=0 apparmor=0 audit=0 nowatchdog",
        // On a busy host the software processor is late for what these check.
        "no_timer_check tsc=nowatchdog rcupdate.rcu_cpu_stall_suppress=1",
        // QEMU 7.2 loses the flags register when something interrupts CMPXCHG16B, and
        // the kernel's allocator lives on it: now and then a lab crashed at random.
        // Bit 141 is that instruction; KVM hides it from guests in the lab, then, too.
        "clearcpuid=141",
        "cgroup_no_v1=all",
    ]
    .join(" ")
}

/// Passes the output on until the machine is off; true if its time ran out.
fn follow(child: &mut Child, job: &Job, started: Instant) -> Result<bool> {
    let output = child.stdout.take().ok_or("no output")?;
    // Whole lines: two labs may speak at once.
    let copier = std::thread::spawn(move || {
        let mut output = BufReader::with_capacity(1 << 16, output);
        let mut line = Vec::new();
        while let Ok(1..) = output.read_until(b'\n', &mut line) {
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
            line.clear();
        }
    });
    let mut timed_out = false;
    while child.try_wait()?.is_none() {
        if started.elapsed() > job.timeout && !timed_out {
            timed_out = true;
            child.kill()?;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    copier.join().map_err(|_| "the copier of output failed")?;
    Ok(timed_out)
}

/// The base's initramfs with the job's script behind it: the kernel unpacks
/// archives that follow each other.
fn initramfs(base: &Base, job: &Job) -> Result<File> {
    let mut file = inherited()?;
    io::copy(&mut File::open(&base.initramfs)?, &mut file)?;
    let script = job.script();
    let mut archive = cpio::Writer::new(&mut file);
    archive.folder("lab", 0o755)?;
    archive.file(
        "lab/job.sh",
        0o644,
        script.len() as u64,
        &mut script.as_bytes(),
    )?;
    archive.finish()?;
    Ok(file)
}

fn scratch_disk() -> Result<File> {
    let file = inherited()?;
    file.set_len(DISK_BYTES)?;
    let mkfs = which("mkfs.ext4").ok_or("mkfs.ext4 is missing (cargo xtask setup installs it)")?;
    let output = Command::new(mkfs)
        .args(["-q", "-F", "-m", "0", "-O", "^has_journal"])
        .args(["-E", "lazy_itable_init=1,nodiscard", "-T", "largefile"])
        .arg(path_of(&file))
        .output()?;
    match output.status.success() {
        true => Ok(file),
        false => Err(format!(
            "mkfs.ext4: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )
        .into()),
    }
}

/// A file without a name that a child can open as [`path_of`] tells.
fn inherited() -> Result<File> {
    let file = tempfile::tempfile_in(fs::canonicalize(std::env::temp_dir())?)?;
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
    Ok(file)
}

fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn read_back(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
