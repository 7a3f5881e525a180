//! Starts the program with tiny guests.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod code;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use isola_vmm::Outcome;
use isola_vmm::config::{Console, VmConfig};
use isola_vmm::outcome::Event;

/// Where the code of a guest is loaded and entered.
pub(crate) const ENTRY: u32 = 0x10_0000;

/// An ELF file whose PVH entry runs `code` in 32-bit protected mode.
pub(crate) fn pvh_kernel(code: &[u8]) -> Vec<u8> {
    const HEADERS: u64 = 0x200;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    elf.extend(u64::from(ENTRY).to_le_bytes());
    elf.extend(64u64.to_le_bytes());
    elf.extend([0; 12]);
    elf.extend([64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    let mut header = |kind: u32, offset: u64, address: u64, len: u64| {
        elf.extend(kind.to_le_bytes());
        elf.extend(5u32.to_le_bytes());
        for word in [offset, address, address, len, len, 4] {
            elf.extend(word.to_le_bytes());
        }
    };
    header(1, HEADERS, ENTRY.into(), code.len() as u64);
    header(4, 0x180, 0, 20);
    elf.resize(0x180, 0);
    // Owner "Xen", XEN_ELFNOTE_PHYS32_ENTRY.
    for word in [4u32, 4, 18] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(b"Xen\0");
    elf.extend(ENTRY.to_le_bytes());
    elf.resize(HEADERS as usize, 0);
    elf.extend(code);
    // Shorter than a sector with a header no kernel is.
    elf.resize(elf.len().max(0x400), 0);
    elf
}

/// A file with this content.
pub(crate) fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

/// Lets a child have the descriptor.
pub(crate) fn pass(fd: impl AsFd) -> RawFd {
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).unwrap();
    fd.as_fd().as_raw_fd()
}

/// A machine's parts on the parent's side.
pub(crate) struct Vm {
    pub(crate) config: VmConfig,
    pub(crate) control: UnixStream,
    output: File,
    status: File,
    keep: Vec<OwnedFd>,
}

/// What is left of a machine.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) console: String,
    pub(crate) events: Vec<Event>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.code.and_then(Outcome::from_code)
    }
}

/// A machine with 4 MiB and one vCPU that runs `code`.
pub(crate) fn vm(code: &[u8]) -> Vm {
    let kvm = File::options().read(true).write(true).open("/dev/kvm");
    let kvm = kvm.expect("this test needs /dev/kvm");
    let (kernel, output, status) = (file(&pvh_kernel(code)), file(b""), file(b""));
    let (control, theirs) = UnixStream::pair().unwrap();
    let config = VmConfig {
        kvm_fd: pass(&kvm),
        kernel_fd: pass(&kernel),
        initrd_fd: None,
        cmdline: "test".into(),
        memory_bytes: 4 << 20,
        vcpus: 1,
        disks: vec![],
        vsock: None,
        nics: vec![],
        shares: None,
        console: Console {
            output_fd: pass(&output),
            input_fd: None,
        },
        entropy: false,
        status_fd: Some(pass(&status)),
        control_fd: Some(pass(&theirs)),
    };
    Vm {
        config,
        control,
        output,
        status,
        keep: vec![kvm.into(), kernel.into(), theirs.into()],
    }
}

impl Vm {
    /// Passes a further descriptor.
    pub(crate) fn pass(&mut self, fd: impl Into<OwnedFd>) -> RawFd {
        let fd = fd.into();
        let number = pass(&fd);
        self.keep.push(fd);
        number
    }

    /// Starts the program.
    pub(crate) fn start(&mut self) -> Child {
        let config = file(&serde_json::to_vec(&self.config).unwrap());
        let number = pass(&config);
        let child = Command::new(env!("CARGO_BIN_EXE_isola-vmm"))
            .args(["--config-fd", &number.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // What was passed on is closed here, so that ends are seen.
        self.keep.clear();
        child
    }

    /// Waits for the program.
    pub(crate) fn finish(mut self, child: Child) -> Ended {
        let result = child.wait_with_output().unwrap();
        let mut console = Vec::new();
        self.output.rewind().unwrap();
        self.output.read_to_end(&mut console).unwrap();
        let mut status = String::new();
        self.status.rewind().unwrap();
        self.status.read_to_string(&mut status).unwrap();
        Ended {
            code: result.status.code(),
            console: String::from_utf8_lossy(&console).into_owned(),
            events: status
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
            stderr: String::from_utf8_lossy(&result.stderr).into_owned(),
        }
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Ended {
        let child = self.start();
        self.finish(child)
    }
}
