//! Guests of the lab's benches: the same kernel, with this program as its first
//! process, in our monitor and in QEMU.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use isola_kernel::{BootFiles, Kernels};

use crate::Result;
use crate::inside::{MAC, MARK, TAG};
use crate::monitor::{pass, written};
use crate::programs::Programs;

/// A device of a guest besides the console.
pub(crate) enum Device {
    /// A tap's only queue.
    Net(OwnedFd),
    /// A connection to a server of shared folders.
    Files(OwnedFd),
    /// The socket of one.
    FilesAt(std::path::PathBuf),
}

const MEMORY_MIB: u64 = 256;
/// The longest that a guest may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// The kernel, and an initramfs with this program.
pub(crate) fn files() -> Result<BootFiles> {
    let kernel = Kernels::open(Kernels::default_dir()).default_kernel()?;
    Ok(kernel.boot_files(&std::env::current_exe()?)?)
}

fn words(role: &str) -> String {
    format!("console=ttyS0 quiet panic=-1 reboot=t mitigations=off rdinit=/init -- {MARK} {role}")
}

/// A guest that runs; it ends with this.
pub(crate) struct Machine {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Machine {
    /// In our monitor.
    pub(crate) fn ours(
        programs: &Programs,
        files: &BootFiles,
        role: &str,
        device: &Device,
    ) -> Result<Machine> {
        let kvm = File::options().read(true).write(true).open("/dev/kvm")?;
        let (kernel, initramfs) = (File::open(&files.kernel)?, File::open(&files.initramfs)?);
        let mut config = serde_json::json!({
            "kvm_fd": pass(&kvm)?, "kernel_fd": pass(&kernel)?, "initrd_fd": pass(&initramfs)?,
            "cmdline": words(role), "memory_bytes": MEMORY_MIB << 20, "vcpus": 1,
            "console": {"output_fd": 1},
        });
        match device {
            Device::Net(tap) => {
                let mac: String = MAC.map(|byte| format!("{byte:02x}")).concat();
                config["nics"] = serde_json::json!([{"queues": [pass(tap)?], "mac": mac}]);
            }
            Device::Files(socket) => {
                config["shares"] =
                    serde_json::json!({"socket_fd": pass(socket)?, "tag": TAG, "queues": 1});
            }
            Device::FilesAt(path) => return Err(format!("not for ours: {path:?}").into()),
        }
        let text = written(config.to_string().as_bytes())?;
        let mut command = Command::new(programs.path("isola-vmm"));
        command.arg("--config-fd").arg(pass(&text)?.to_string());
        Machine::start(command)
    }

    /// In QEMU's machine `microvm`.
    pub(crate) fn qemu(files: &BootFiles, role: &str, device: &Device) -> Result<Machine> {
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-accel", "kvm", "-cpu", "host", "-smp", "1"])
            // virtiofsd serves no legacy devices.
            .args(["-global", "virtio-mmio.force-legacy=false"])
            .args(["-m", &MEMORY_MIB.to_string(), "-nodefaults"])
            .args(["-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-chardev", "stdio,id=out,signal=off"])
            .args(["-serial", "chardev:out", "-append", &words(role)])
            .arg("-kernel")
            .arg(&files.kernel)
            .arg("-initrd")
            .arg(&files.initramfs);
        match device {
            Device::Net(tap) => {
                let mac: Vec<_> = MAC.iter().map(|byte| format!("{byte:02x}")).collect();
                let tap = format!("tap,id=net,fd={},vhost=off", pass(tap)?);
                let device = format!("virtio-net-device,netdev=net,mac={}", mac.join(":"));
                command.args(["-M", "microvm,acpi=on", "-netdev", &tap, "-device", &device]);
            }
            Device::FilesAt(path) => {
                let memory = format!("memory-backend-memfd,id=mem,size={MEMORY_MIB}M,share=on");
                command
                    .args([
                        "-M",
                        "microvm,acpi=on,memory-backend=mem",
                        "-object",
                        &memory,
                    ])
                    .arg("-chardev")
                    .arg(format!("socket,id=fs,path={}", path.display()))
                    .args([
                        "-device",
                        &format!("vhost-user-fs-device,chardev=fs,tag={TAG}"),
                    ]);
            }
            Device::Files(_) => return Err("QEMU connects by itself".into()),
        }
        Machine::start(command)
    }

    fn start(mut command: Command) -> Result<Machine> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run {:?}: {e}", command.get_program()))?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
        // What hangs is ended, and its end is the end of its lines.
        let pid = child.id();
        std::thread::spawn(move || {
            std::thread::sleep(PATIENCE);
            let started = format!("/proc/{pid}/cmdline");
            let line = std::fs::read_to_string(started).unwrap_or_default();
            let pid = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid
                && (line.contains("isola-vmm") || line.contains("qemu-system"))
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        Ok(Machine { child, lines })
    }

    /// The next word of the guest's, and when it came.
    pub(crate) fn word(&mut self) -> Result<(String, Instant)> {
        let (mut line, mut before) = (Vec::new(), String::new());
        loop {
            line.clear();
            if self.lines.read_until(b'\n', &mut line)? == 0 {
                let said = before.trim();
                return Err(format!("the guest ended before its work did: {said:?}").into());
            }
            let (now, text) = (Instant::now(), String::from_utf8_lossy(&line));
            let word = text.trim();
            if let Some(why) = word.strip_prefix("failed ") {
                return Err(format!("in the guest: {why}").into());
            }
            let known = ["begin", "read", "write", "create", "stat", "unlink", "done"];
            if known.contains(&word) {
                return Ok((word.to_owned(), now));
            }
            before = text.into_owned();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
