//! How long it takes from starting `isola-vmm` to the guest's first instruction:
//!
//! ```text
//! cargo run --release -p isola-vmm --example first_instruction -- target/.../isola-vmm [RUNS]
//! ```
//! The guest is a PVH kernel whose first instructions switch the machine off. The
//! clock stops when the line that says so arrives on the status pipe; taking the
//! process apart comes later and is told apart. 128 MiB, one vCPU.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use isola_vmm::config::{Console, VmConfig};

const ENTRY: u32 = 0x10_0000;
/// `mov al, 0x34; mov dx, 0x600; out dx, al`
const CODE: [u8; 7] = [0xb0, 0x34, 0x66, 0xba, 0x00, 0x06, 0xee];

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let vmm = words.next().ok_or("the path of isola-vmm is missing")?;
    let runs: usize = words.next().map_or(Ok(50), |word| word.parse())?;
    let kvm = File::options().read(true).write(true).open("/dev/kvm")?;
    let kernel = file(&kernel())?;
    let output = File::options().write(true).open("/dev/null")?;
    let mut config = VmConfig {
        kvm_fd: pass(&kvm)?,
        kernel_fd: pass(&kernel)?,
        initrd_fd: None,
        cmdline: "quiet".into(),
        memory_bytes: 128 << 20,
        vcpus: 1,
        disks: vec![],
        vsock: None,
        nics: vec![],
        shares: None,
        console: Console {
            output_fd: pass(&output)?,
            input_fd: None,
        },
        entropy: false,
        status_fd: None,
        control_fd: None,
    };
    let (mut starts, mut lives) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let (reader, writer) = std::io::pipe()?;
        config.status_fd = Some(pass(&writer)?);
        let text = file(&serde_json::to_vec(&config)?)?;
        let number = pass(&text)?.to_string();
        let started = Instant::now();
        let mut child = Command::new(&vmm).args(["--config-fd", &number]).spawn()?;
        drop(writer);
        for line in BufReader::new(reader).lines() {
            if line?.contains("ended") {
                starts.push(started.elapsed());
                break;
            }
        }
        let status = child.wait()?;
        lives.push(started.elapsed());
        if !status.success() {
            return Err(format!("{vmm}: {status}").into());
        }
    }
    show("to the first instruction", starts);
    show("to the end of the process", lives);
    Ok(())
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (min, median) = (times[0], times[times.len() / 2]);
    println!("{what}: min {min:?}, median {median:?} of {}", times.len());
}

fn file(content: &[u8]) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn pass(fd: &impl AsFd) -> Result<RawFd, rustix::io::Errno> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    Ok(fd.as_fd().as_raw_fd())
}

/// An ELF file with one segment and a PVH note.
fn kernel() -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    elf.extend(u64::from(ENTRY).to_le_bytes());
    elf.extend(64u64.to_le_bytes());
    elf.extend([0; 12]);
    elf.extend([64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    for (kind, offset, address, len) in [
        (1u32, 0x200u64, u64::from(ENTRY), CODE.len() as u64),
        (4, 0x180, 0, 20),
    ] {
        elf.extend(kind.to_le_bytes());
        elf.extend(5u32.to_le_bytes());
        [offset, address, address, len, len, 4]
            .iter()
            .for_each(|word| elf.extend(word.to_le_bytes()));
    }
    elf.resize(0x180, 0);
    [4u32, 4, 18]
        .iter()
        .for_each(|word| elf.extend(word.to_le_bytes()));
    elf.extend(b"Xen\0");
    elf.extend(ENTRY.to_le_bytes());
    elf.resize(0x200, 0);
    elf.extend(CODE);
    elf.resize(0x400, 0);
    elf
}
