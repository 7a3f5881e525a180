//! From starting a machine monitor to its guest's first instruction, natively on
//! /dev/kvm: the guest's first instructions switch the machine off.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Result;
use crate::pairs::{measure, median};
use crate::programs::{Programs, has};
use crate::table::Row;

const ENTRY: u32 = 0x10_0000;

/// Where both machines listen: `mov al, 0x34; mov dx, 0x600; out dx, al; hlt`.
/// Ours takes it for ACPI's S5; QEMU's isa-debug-exit ends with this number
/// doubled and one added.
const CODE: [u8; 8] = [0xb0, 0x34, 0x66, 0xba, 0x00, 0x06, 0xee, 0xf4];
const QEMU_CODE: i32 = 0x34 * 2 + 1;

pub(crate) fn run(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let what = "monitor: exec to first instruction, and end of process";
    let Ok(kvm) = File::options().read(true).write(true).open("/dev/kvm") else {
        return Ok(vec![Row::skipped(what, "/dev/kvm can't be opened")]);
    };
    let path = programs.data().join("first");
    std::fs::write(&path, kernel())?;
    let kernel = File::open(&path)?;
    let null = File::options().write(true).open("/dev/null")?;
    let mut config = serde_json::json!({
        "kvm_fd": pass(&kvm)?, "kernel_fd": pass(&kernel)?, "cmdline": "",
        "memory_bytes": 128 << 20, "vcpus": 1, "console": {"output_fd": pass(&null)?},
    });
    // The end of a process takes its machine apart, which is told apart.
    let mut first = Vec::new();
    let mut ours = || {
        let (reader, writer) = std::io::pipe()?;
        config["status_fd"] = pass(&writer)?.into();
        let text = written(config.to_string().as_bytes())?;
        let started = Instant::now();
        let mut child = Command::new(programs.path("isola-vmm"))
            .arg("--config-fd")
            .arg(pass(&text)?.to_string())
            .stdin(Stdio::null())
            .spawn()?;
        drop(writer);
        let told = BufReader::new(reader)
            .lines()
            .map_while(std::result::Result::ok)
            .any(|line| line.contains("ended"));
        first.push(started.elapsed().as_secs_f64() * 1e3);
        let status = child.wait()?;
        if !told {
            return Err("isola-vmm said nothing of its guest's end".into());
        }
        match status.success() {
            true => Ok(()),
            false => Err(format!("isola-vmm: {status}").into()),
        }
    };
    if !has("qemu-system-x86_64") {
        return Ok(vec![Row::skipped(what, "QEMU is not installed")]);
    }
    let mut theirs = || {
        let status = Command::new("qemu-system-x86_64")
            .args(["-M", "microvm,acpi=off", "-accel", "kvm", "-m", "128"])
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-device", "isa-debug-exit,iobase=0x600,iosize=4"])
            .arg("-kernel")
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        match status.code() {
            Some(QEMU_CODE) => Ok(()),
            _ => Err(format!("QEMU: {status}").into()),
        }
    };
    let pairs = measure(rounds, &mut ours, &mut theirs)?;
    let mut rows = vec![
        Row::alone(
            "monitor: exec to first instruction",
            median(&first),
            "ms",
            5.0,
        ),
        pairs.row(what, "QEMU microvm", 1.0),
    ];
    for peer in ["firecracker", "cloud-hypervisor"] {
        if !has(peer) {
            rows.push(Row::skipped(what, &format!("{peer} is not installed")));
        }
    }
    Ok(rows)
}

/// A file without a name that holds `content`.
pub(crate) fn written(content: &[u8]) -> Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// Lets a child inherit a file, and gives the number by which it knows it.
pub(crate) fn pass(file: &(impl AsRawFd + std::os::fd::AsFd)) -> Result<RawFd> {
    rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty())?;
    Ok(file.as_raw_fd())
}

/// An ELF file with [`CODE`] at [`ENTRY`] and a PVH note (Xen's elfnote.h, type
/// 18) that says where to enter.
fn kernel() -> Vec<u8> {
    const NOTE: u64 = 0x180;
    const TEXT: u64 = 0x200;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    for half in [2u16, 62, 1, 0] {
        elf.extend(half.to_le_bytes());
    }
    for word in [u64::from(ENTRY), 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0; 4]);
    for half in [64u16, 56, 2, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    let length = CODE.len() as u64;
    for (kind, offset, address, size) in [(1u32, TEXT, u64::from(ENTRY), length), (4, NOTE, 0, 20)]
    {
        elf.extend(kind.to_le_bytes());
        elf.extend(5u32.to_le_bytes());
        for word in [offset, address, address, size, size, 4] {
            elf.extend(word.to_le_bytes());
        }
    }
    elf.resize(NOTE as usize, 0);
    for word in [4u32, 4, 18] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(b"Xen\0");
    elf.extend(ENTRY.to_le_bytes());
    elf.resize(TEXT as usize, 0);
    elf.extend(CODE);
    elf
}
