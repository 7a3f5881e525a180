//! Starting a guest: under QEMU's software CPU, or under our own monitor where
//! ISOLA_TEST_VMM names its program (as in the KVM lab).

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use rustix::io::FdFlags;
use serde_json::{Value, json};

use crate::parts::Parts;

const WORDS: &str = "console=ttyS0 loglevel=4 panic=-1 mitigations=off";

/// Only one program is started at a time: one that is started meanwhile would
/// get its descriptors too and keep them open.
static ONE: Mutex<()> = Mutex::new(());

/// Starts the program. Returns it and the stream to the agent.
pub(crate) fn start(parts: &Parts) -> (Child, UnixStream) {
    let _one = ONE.lock();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut passed = vec![OwnedFd::from(theirs)];
    let mut command = match std::env::var_os("ISOLA_TEST_VMM") {
        Some(program) => vmm(Command::new(program), parts, &mut passed),
        None => qemu(parts, passed[0].as_raw_fd()),
    };
    for fd in &passed {
        rustix::io::fcntl_setfd(fd, FdFlags::empty()).unwrap();
    }
    (command.spawn().unwrap(), ours)
}

fn qemu(parts: &Parts, agent: RawFd) -> Command {
    let acpi = std::env::var("ISOLA_TEST_ACPI").unwrap_or_else(|_| "on".into());
    let console = parts.path("console");
    let words = format!("{WORDS} reboot=t tsc=reliable tsc_early_khz={}", tsc_khz());
    let fixed =
        "-accel tcg -cpu max -m 256 -smp 2 -nodefaults -no-user-config -no-reboot -display none";
    let mut command = Command::new("qemu-system-x86_64");
    let mut arguments: Vec<String> = fixed.split(' ').map(String::from).collect();
    for (option, value) in [
        ("-M", format!("microvm,acpi={acpi}")),
        ("-kernel", parts.kernel.image.display().to_string()),
        (
            "-initrd",
            parts.path("initramfs.cpio").display().to_string(),
        ),
        ("-append", format!("{words} isola.transport=virtio-port")),
        ("-serial", format!("file:{}", console.display())),
        ("-device", "virtio-serial-device".into()),
        ("-chardev", format!("socket,id=agent,fd={agent}")),
        (
            "-device",
            "virtserialport,chardev=agent,name=org.isola.agent".into(),
        ),
    ] {
        arguments.extend([option.into(), value]);
    }
    let mut disks = vec![("a", "layers.img", "on"), ("b", "writable.img", "off")];
    if parts.volume {
        disks.push(("c", "volume.img", "off"));
    }
    for (id, image, readonly) in disks {
        let path = parts.path(image);
        let drive = format!(
            "id={id},file={},format=raw,if=none,readonly={readonly}",
            path.display()
        );
        let device = format!("virtio-blk-device,drive={id}");
        arguments.extend(["-drive".into(), drive, "-device".into(), device]);
    }
    for (number, mac) in parts.nics.iter().enumerate() {
        let wire = format!("hubport,id=n{number},hubid=0");
        let device = format!("virtio-net-device,netdev=n{number},mac={mac}");
        arguments.extend(["-netdev".into(), wire, "-device".into(), device]);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The rate of the CPU's clock. The guest's software CPU shows the host's, and
/// the machine has nothing that a kernel could measure it with.
fn tsc_khz() -> u64 {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("cpu MHz"));
    let mhz: f64 = line
        .unwrap()
        .trim_start_matches(['\t', ' ', ':'])
        .parse()
        .unwrap();
    (mhz * 1000.0) as u64
}

fn vmm(mut command: Command, parts: &Parts, passed: &mut Vec<OwnedFd>) -> Command {
    let agent = passed[0].as_raw_fd();
    let mut open = |file: File| -> RawFd {
        passed.push(file.into());
        passed[passed.len() - 1].as_raw_fd()
    };
    let reader = |path| File::open(path).unwrap();
    let writer = |path| File::options().read(true).write(true).open(path).unwrap();
    let mut disk = |name: &str, readonly: bool| -> Value {
        let path = parts.path(name);
        let len = fs::metadata(&path).unwrap().len();
        let fd = open(if readonly { reader(path) } else { writer(path) });
        json!({ "segments": [{ "file": { "fd": fd, "offset": 0, "len": len } }], "readonly": readonly })
    };
    let disks = [disk("layers.img", true), disk("writable.img", false)];
    let config = json!({
        "kvm_fd": open(writer("/dev/kvm".into())),
        "kernel_fd": open(reader(parts.kernel.image.clone())),
        "initrd_fd": open(reader(parts.path("initramfs.cpio"))),
        "cmdline": format!("{WORDS} isola.transport=vsock"),
        "memory_bytes": 256 << 20,
        "vcpus": 2,
        "disks": disks,
        "vsock": { "cid": 3, "ports": [{ "port": 1024, "fd": agent }] },
        "console": { "output_fd": open(File::create(parts.path("console")).unwrap()) },
    });
    let path = parts.path("config.json");
    fs::write(&path, config.to_string()).unwrap();
    let config = open(reader(path));
    command
        .arg("--config-fd")
        .arg(config.to_string())
        .stdin(Stdio::null());
    command
}
