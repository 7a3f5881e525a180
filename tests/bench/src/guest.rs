//! In the lab: from starting a machine monitor to the agent's first message,
//! with the same kernel and initramfs; exits and private memory until then.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use isola_kernel::{BootFiles, Kernels};

use crate::Result;
use crate::monitor::{pass, written};
use crate::pairs::{measure, median};
use crate::programs::{Programs, has};
use crate::table::Row;

const MEMORY: u64 = 256 << 20;
const WORDS: &str = "console=ttyS0 quiet panic=-1 reboot=t mitigations=off";

/// Devices of ours besides the console and the agent's: none here.
const EXITS_AIM: f64 = 2_100.0;

/// The longest that a guest may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was seen when the agent had said its first word.
#[derive(Default)]
struct Seen {
    exits: Vec<f64>,
    private: Vec<f64>,
}

pub(crate) fn run(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let kernel = Kernels::open(Kernels::default_dir()).default_kernel()?;
    let files = kernel.boot_files(&programs.path("isola-agent"))?;
    let (mut ours, mut theirs) = (Seen::default(), Seen::default());
    let what = "guest: exec to the agent's first message";
    let mut rows = Vec::new();
    let mut start_ours = || until_hello(programs, &files, &mut ours, vmm);
    if has("qemu-system-x86_64") {
        let mut start_theirs = || until_hello(programs, &files, &mut theirs, qemu);
        let pairs = measure(rounds, &mut start_ours, &mut start_theirs)?;
        rows.push(pairs.row(what, "QEMU microvm", 1.0));
    } else {
        rows.push(Row::skipped(what, "QEMU is not installed"));
        for _ in 0..rounds {
            start_ours()?;
        }
    }
    let mut exits = Row::alone(
        "guest: exits until then",
        median(&ours.exits),
        "",
        EXITS_AIM,
    );
    let mut memory = Row::alone(
        "guest: private memory beyond the guest's",
        median(&ours.private),
        "KiB",
        2048.0,
    );
    exits.peer = format!("QEMU microvm {:.0}", median(&theirs.exits));
    memory.peer = format!("QEMU microvm {:.0} KiB", median(&theirs.private));
    rows.extend([exits, memory]);
    Ok(rows)
}

/// Starts a monitor and waits for the agent's first bytes.
fn until_hello(
    programs: &Programs,
    files: &BootFiles,
    seen: &mut Seen,
    start: fn(&Programs, &BootFiles, &UnixStream) -> Result<Child>,
) -> Result<()> {
    let (mut agent, theirs) = UnixStream::pair()?;
    agent.set_read_timeout(Some(PATIENCE))?;
    let mut child = start(programs, files, &theirs)?;
    drop(theirs);
    let hello = agent.read(&mut [0; 64]);
    let pid = child.id();
    let figures = exits(pid).and_then(|exits| Ok((exits, private_kib(pid)?)));
    let _ = child.kill();
    let _ = child.wait();
    // The folder of a machine in debugfs goes a little later than its process.
    let waited = Instant::now();
    while exits(pid).is_ok() && waited.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(5));
    }
    match hello {
        Ok(1..) => {}
        Ok(0) => return Err("the agent ended without a word".into()),
        Err(error) => return Err(format!("no word from the agent: {error}").into()),
    }
    let (exits, private) = figures?;
    seen.exits.push(exits);
    seen.private.push(private);
    Ok(())
}

fn vmm(programs: &Programs, files: &BootFiles, agent: &UnixStream) -> Result<Child> {
    let kvm = File::options().read(true).write(true).open("/dev/kvm")?;
    let kernel = File::open(&files.kernel)?;
    let initramfs = File::open(&files.initramfs)?;
    let null = File::options().write(true).open("/dev/null")?;
    let config = serde_json::json!({
        "kvm_fd": pass(&kvm)?, "kernel_fd": pass(&kernel)?, "initrd_fd": pass(&initramfs)?,
        "cmdline": format!("{WORDS} isola.transport=vsock"),
        "memory_bytes": MEMORY, "vcpus": 1, "console": {"output_fd": pass(&null)?},
        "vsock": {"cid": 3, "ports": [{"port": 1024, "fd": pass(agent)?}]},
    });
    let text = written(config.to_string().as_bytes())?;
    Ok(Command::new(programs.path("isola-vmm"))
        .arg("--config-fd")
        .arg(pass(&text)?.to_string())
        .stdin(Stdio::null())
        .spawn()?)
}

fn qemu(_: &Programs, files: &BootFiles, agent: &UnixStream) -> Result<Child> {
    let agent = format!("socket,id=agent,fd={}", pass(agent)?);
    Ok(Command::new("qemu-system-x86_64")
        .args(["-M", "microvm,acpi=off", "-accel", "kvm", "-cpu", "host"])
        .args(["-m", &(MEMORY >> 20).to_string(), "-smp", "1"])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-serial", "null", "-device", "virtio-serial-device"])
        .args(["-chardev", &agent])
        .args([
            "-device",
            "virtserialport,chardev=agent,name=org.isola.agent",
        ])
        .args(["-append", &format!("{WORDS} isola.transport=virtio-port")])
        .arg("-kernel")
        .arg(&files.kernel)
        .arg("-initrd")
        .arg(&files.initramfs)
        .stdin(Stdio::null())
        .spawn()?)
}

/// Exits of the machine of a process, as KVM counts them. The folder is named
/// by the thread that made the machine.
fn exits(pid: u32) -> Result<f64> {
    for entry in fs::read_dir("/sys/kernel/debug/kvm")? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        let thread = name.split('-').next().unwrap_or_default();
        let is_ours = thread.parse::<u32>().is_ok()
            && Path::new(&format!("/proc/{pid}/task/{thread}")).exists();
        if is_ours {
            return Ok(fs::read_to_string(path.join("exits"))?.trim().parse()?);
        }
    }
    Err("KVM counts nothing for the machine (is debugfs mounted?)".into())
}

/// Private pages outside of the guest's memory, in KiB.
fn private_kib(pid: u32) -> Result<f64> {
    let mut total = 0.0;
    let mut guest = false;
    for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
        let number = |text: &str| text.trim().trim_end_matches(" kB").parse::<f64>();
        if let Some(size) = line.strip_prefix("Size:") {
            guest = number(size)? >= (MEMORY >> 10) as f64 * 0.9;
        } else if let Some(dirty) = line.strip_prefix("Private_Dirty:")
            && !guest
        {
            total += number(dirty)?;
        }
    }
    Ok(total)
}
