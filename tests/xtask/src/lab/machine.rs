//! One run of QEMU.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

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

/// Without what costs a software processor more than it gives: `rep stosb`, by which
/// kernels fill pages where there are "fast strings", is done byte by byte (a third of
/// the time of a guest's life), and each access of the kernel to a process's memory
/// ends a block of translated code where there is SMAP.
const PROCESSOR: &str = "max,+svm,+npt,-la57,-erms,-smap";

/// The lab's init gives a sign of life every 5 seconds. On a busy host one may be
/// late, but not by this much: QEMU's software processor loses a kernel now and
/// then without a word.
const LIFELESS: Duration = Duration::from_secs(120);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum End {
    /// With the command's exit code.
    #[error("lab: exit code {0}")]
    Code(u8),
    /// The job's time was over.
    #[error("lab: switched off after {} s", .0.as_secs())]
    OutOfTime(Duration),
    /// The command wrote nothing for too long.
    #[error("lab: switched off, as its command was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// Init gave no sign of life.
    #[error("lab: switched off, as its kernel stood still for {} s", LIFELESS.as_secs())]
    Lifeless,
    /// The machine went off by itself before the command had ended.
    #[error("lab: ended without an exit code")]
    Crashed,
}

/// Runs a job; the command's output goes to standard output, and `see` is given
/// each line of it.
pub(crate) fn run(base: &Base, job: &Job, see: &(dyn Fn(&str) + Sync)) -> Result<End> {
    // All of them have no name, so that nothing stays behind.
    let initramfs = initramfs(base, job)?;
    let disk = scratch_disk()?;
    let mut status = inherited()?;
    let beat = inherited()?;
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
        .args(["-cpu", PROCESSOR, "-smp", "1"])
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
            &format!("file,id=beat,append=on,path={}", path_of(&beat)),
        ])
        .args(["-device", "virtserialport,chardev=beat,name=lab.beat"])
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
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| {
            format!("cannot run qemu-system-x86_64 (cargo xtask setup installs it): {e}")
        })?;
    let lost = follow(&mut child, job, &beat, see)?;

    let code = read_back(&mut status)?.trim().parse::<u8>().ok();
    let messages = read_back(&mut console)?;
    let lines: Vec<_> = messages.lines().collect();
    match code {
        Some(code) => {
            for line in lines.iter().filter(|line| line.contains("lab: ")) {
                eprintln!("{line}");
            }
            Ok(End::Code(code))
        }
        None => {
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("{line}");
            }
            Ok(lost.unwrap_or(End::Crashed))
        }
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

/// Passes the output on until the machine is off, and switches it off when it is
/// lost; tells why.
fn follow(
    child: &mut Child,
    job: &Job,
    beat: &File,
    see: &(dyn Fn(&str) + Sync),
) -> Result<Option<End>> {
    let output = child.stdout.take().ok_or("no output")?;
    let started = Instant::now();
    let spoke = Mutex::new(started);
    let last_word = || *spoke.lock().unwrap_or_else(|e| e.into_inner());
    std::thread::scope(|scope| {
        // Whole lines: two labs may speak at once.
        scope.spawn(|| {
            let mut output = BufReader::with_capacity(1 << 16, output);
            let mut line = Vec::new();
            while let Ok(1..) = output.read_until(b'\n', &mut line) {
                *spoke.lock().unwrap_or_else(|e| e.into_inner()) = Instant::now();
                see(&String::from_utf8_lossy(&line));
                let mut stdout = io::stdout().lock();
                let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
                line.clear();
            }
        });
        let mut end = None;
        let mut beats = (0, started);
        while child.try_wait()?.is_none() {
            let now = Instant::now();
            let length = beat.metadata()?.len();
            if length != beats.0 {
                beats = (length, now);
            }
            let silence = job.silence.filter(|most| now - last_word() > *most);
            let lost = match silence {
                Some(most) => Some(End::Silent(most)),
                None if now - started > job.timeout => Some(End::OutOfTime(job.timeout)),
                None if now - beats.1 > LIFELESS => Some(End::Lifeless),
                None => None,
            };
            if let (Some(lost), None) = (lost, end) {
                end = Some(lost);
                child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(end)
    })
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
