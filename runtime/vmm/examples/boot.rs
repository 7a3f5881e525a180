//! Starts `isola-vmm` with files by path, for trying things by hand:
//!
//! ```text
//! boot --vmm target/.../isola-vmm --kernel vmlinux --initrd init.cpio --memory 256 \
//!      --append "console=ttyS0" --disk writable.img --layer layer.erofs --vsock /tmp/s \
//!      --nic 3
//! ```
//! `--nic` wants the number of an inherited descriptor of a tap device, or several
//! with commas between them.
//! Console on standard output and input. `--probe` asks only whether KVM works.
//! `--share SOCKET` connects a server of shared folders (tag `isola`).
//! `--stats WORD` asks for statistics, `--press WORD` presses the power button,
//! when the guest prints a line that holds the word. How the machine ended is told
//! on standard error.
//!
//! On a host whose KVM can't run a guest this is done inside of QEMU with
//! `-accel tcg -cpu max,+svm,+npt,-la57` (a kernel with kvm-amd, this program,
//! `isola-vmm` and the guest's files in its initramfs or on a 9p share).

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use isola_vmm::Outcome;
use isola_vmm::config::{Console, Disk, Nic, Segment, Share, VmConfig, Vsock};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Descriptors that the child gets.
#[derive(Default)]
struct Passed(Vec<OwnedFd>);

impl Passed {
    fn add(&mut self, fd: impl Into<OwnedFd>) -> Result<RawFd> {
        let fd = fd.into();
        rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::empty())?;
        let number = fd.as_raw_fd();
        self.0.push(fd);
        Ok(number)
    }

    fn open(&mut self, path: &str, write: bool) -> Result<RawFd> {
        let file = File::options().read(true).write(write).open(path);
        self.add(file.map_err(|error| format!("{path}: {error}"))?)
    }

    fn disk(&mut self, path: &str, readonly: bool) -> Result<Disk> {
        let fd = self.open(path, !readonly)?;
        let size = std::fs::metadata(path)?.len();
        let mut segments = vec![Segment::File {
            fd,
            offset: 0,
            len: size,
        }];
        if readonly && !size.is_multiple_of(512) {
            segments.push(Segment::Zero {
                len: 512 - size % 512,
            });
        }
        let name = Path::new(path)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        Ok(Disk {
            segments,
            readonly,
            serial: name.chars().take(20).collect(),
        })
    }
}

fn main() -> Result<()> {
    let mut passed = Passed::default();
    let mut words = std::env::args().skip(1);
    let mut vmm = "isola-vmm".to_owned();
    let mut reactions = Vec::new();
    let (console, console_theirs) = UnixStream::pair()?;
    let (control, control_theirs) = UnixStream::pair()?;
    let mut config = VmConfig {
        kvm_fd: passed.open("/dev/kvm", true)?,
        kernel_fd: -1,
        initrd_fd: None,
        cmdline: String::new(),
        memory_bytes: 256 << 20,
        vcpus: 1,
        disks: vec![],
        vsock: None,
        nics: vec![],
        shares: None,
        console: Console {
            output_fd: passed.add(console_theirs)?,
            input_fd: Some(0),
        },
        entropy: true,
        status_fd: None,
        control_fd: Some(passed.add(control_theirs)?),
    };
    while let Some(word) = words.next() {
        if word == "--probe" {
            println!("{:?}", isola_vmm::probe::probe_path(Path::new("/dev/kvm")));
            return Ok(());
        }
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--vmm" => vmm = value,
            "--kernel" => config.kernel_fd = passed.open(&value, false)?,
            "--initrd" => config.initrd_fd = Some(passed.open(&value, false)?),
            "--append" => config.cmdline = value,
            "--memory" => config.memory_bytes = value.parse::<u64>()? << 20,
            "--cpus" => config.vcpus = value.parse()?,
            "--disk" => config.disks.push(passed.disk(&value, false)?),
            "--layer" => config.disks.push(passed.disk(&value, true)?),
            "--vsock" => {
                let listener_fd = Some(passed.add(UnixListener::bind(&value)?)?);
                config.vsock = Some(Vsock {
                    cid: 3,
                    listener_fd,
                    ports: vec![],
                });
            }
            "--nic" => {
                let queues = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
                let last = config.nics.len() as u8 + 1;
                config.nics.push(Nic {
                    queues,
                    mac: [2, 0, 0, 0, 0, last],
                    mtu: None,
                });
            }
            "--share" => {
                let socket = UnixStream::connect(&value)?;
                config.shares = Some(Share {
                    socket_fd: passed.add(socket)?,
                    tag: "isola".into(),
                    queues: 1,
                });
            }
            "--stats" => reactions.push((value, "stats\n")),
            "--press" => reactions.push((value, "power-off\n")),
            _ => return Err(format!("unknown word {word}").into()),
        }
    }
    let mut text = tempfile::tempfile()?;
    text.write_all(&serde_json::to_vec(&config)?)?;
    std::io::Seek::rewind(&mut text)?;
    let number = passed.add(text)?;
    let started = Instant::now();
    let mut child = Command::new(vmm)
        .args(["--config-fd", &number.to_string()])
        .spawn()?;
    drop(passed);
    show(console, control, reactions)?;
    let status = child.wait()?;
    let outcome = status.code().and_then(Outcome::from_code);
    eprintln!("ended after {:?}: {status}, {outcome:?}", started.elapsed());
    Ok(())
}

/// Copies the console to standard output until it ends, and sends a command when
/// its word comes by.
fn show(
    console: UnixStream,
    control: UnixStream,
    mut reactions: Vec<(String, &'static str)>,
) -> Result<()> {
    let mut lines = BufReader::new(console);
    let mut answers = BufReader::new(&control);
    let mut line = Vec::new();
    while lines.by_ref().take(4096).read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        std::io::stdout().flush()?;
        let text = String::from_utf8_lossy(&line);
        for (_, command) in reactions.extract_if(.., |(word, _)| text.contains(word.as_str())) {
            (&control).write_all(command.as_bytes())?;
            let mut answer = String::new();
            answers.read_line(&mut answer)?;
            eprint!("{answer}");
        }
        line.clear();
    }
    Ok(())
}
