//! What a guest is made of, from what is installed.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use isola_proto::Mac;

/// The files that a machine is started from.
const PARTS: [&str; 3] = ["initramfs.cpio", "layers.img", "writable.img"];

/// What a guest is made of.
pub(crate) struct Parts {
    pub(crate) kernel: Kernel,
    /// Hardware addresses of NICs, all on one wire.
    pub(crate) nics: Vec<Mac>,
    /// Has a third disk, `volume.img`.
    pub(crate) volume: bool,
    folder: tempfile::TempDir,
}

/// A guest kernel and the modules that it needs, in load order.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    modules: Vec<PathBuf>,
}

impl Kernel {
    /// The kernels that were built or fetched here, and the one that
    /// ISOLA_TEST_KERNEL names.
    pub(crate) fn all() -> Vec<Kernel> {
        let named = std::env::var_os("ISOLA_TEST_KERNEL").map(PathBuf::from);
        let mut images: Vec<PathBuf> = named.into_iter().collect();
        let folders = fs::read_dir("/var/lib/isola/kernels").into_iter().flatten();
        let mut folders: Vec<PathBuf> = folders.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        images.extend(folders.into_iter().map(|folder| folder.join("kernel")));
        images.retain(|image| image.exists());
        if images.is_empty() {
            eprintln!(
                "SKIPPED: no guest kernel below /var/lib/isola/kernels, none in ISOLA_TEST_KERNEL"
            );
        }
        let with_modules = |image: PathBuf| {
            let modules = fs::read_dir(image.with_file_name("modules"));
            let modules = modules.into_iter().flatten().flatten();
            let mut modules: Vec<PathBuf> = modules.map(|entry| entry.path()).collect();
            modules.sort();
            Kernel { image, modules }
        };
        images.into_iter().map(with_modules).collect()
    }
}

impl Parts {
    /// Makes a guest of the first kernel.
    pub(crate) fn find() -> Option<Parts> {
        Kernel::all().into_iter().next().and_then(Parts::of)
    }

    /// Makes a guest of a kernel; says what is missing.
    pub(crate) fn of(kernel: Kernel) -> Option<Parts> {
        let folder = tempfile::Builder::new().prefix("isola-guest-").tempdir();
        let parts = Parts {
            kernel,
            nics: Vec::new(),
            volume: false,
            folder: folder.unwrap(),
        };
        // The KVM lab has none of the tools: the parts are brought along.
        if let Some(ready) = std::env::var_os("ISOLA_TEST_PARTS") {
            for name in PARTS {
                fs::copy(Path::new(&ready).join(name), parts.path(name)).unwrap();
            }
            return Some(parts);
        }
        for tool in [
            "qemu-system-x86_64",
            "mkfs.erofs",
            "mkfs.ext4",
            "cpio",
            "busybox",
        ] {
            let found = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
            if !found
                .iter()
                .any(|folder| Path::new(folder).join(tool).exists())
            {
                eprintln!("SKIPPED: {tool} is not installed");
                return None;
            }
        }
        parts.make_initramfs();
        parts.make_layers();
        parts.make_writable();
        if let Some(keep) = std::env::var_os("ISOLA_TEST_KEEP_PARTS") {
            for name in PARTS {
                fs::copy(parts.path(name), Path::new(&keep).join(name)).unwrap();
            }
        }
        Some(parts)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make_initramfs(&self) {
        let tree = self.path("initramfs");
        for folder in ["dev", "proc", "sys", "modules"] {
            fs::create_dir_all(tree.join(folder)).unwrap();
        }
        fs::copy(env!("CARGO_BIN_EXE_isola-agent"), tree.join("init")).unwrap();
        let mut order = String::new();
        for module in &self.kernel.modules {
            let name = module.file_name().unwrap().to_str().unwrap();
            fs::copy(module, tree.join("modules").join(name)).unwrap();
            order += &format!("{name}\n");
        }
        fs::write(tree.join("modules.order"), order).unwrap();
        // The console's node: without it PID 1 has no standard error.
        run(Command::new("mknod")
            .arg(tree.join("dev/console"))
            .args(["c", "5", "1"]));
        let names = Command::new("find")
            .arg(".")
            .current_dir(&tree)
            .output()
            .unwrap()
            .stdout;
        let archive = File::create(self.path("initramfs.cpio")).unwrap();
        let mut cpio = Command::new("cpio")
            .args(["--quiet", "-o", "-H", "newc"])
            .current_dir(&tree)
            .stdin(Stdio::piped())
            .stdout(archive)
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&names).unwrap();
        assert!(cpio.wait().unwrap().success());
    }

    /// Two layers on one disk with a partition table (MBR).
    fn make_layers(&self) {
        let (lower, upper) = (self.path("lower"), self.path("upper"));
        for folder in ["bin", "etc", "tmp", "dev", "proc", "sys"] {
            fs::create_dir_all(lower.join(folder)).unwrap();
        }
        fs::copy("/usr/bin/busybox", lower.join("bin/busybox")).unwrap();
        for name in [
            "sh", "cat", "echo", "sleep", "id", "mount", "stty", "ps", "dd", "head", "hostname",
            "setsid", "date", "sync", "kill", "ip", "ls", "mknod", "chmod", "true",
        ] {
            std::os::unix::fs::symlink("busybox", lower.join("bin").join(name)).unwrap();
        }
        fs::write(
            lower.join("etc/passwd"),
            "root:x:0:0::/:/bin/sh\nguest:x:1000:1000::/tmp:/bin/sh\n",
        )
        .unwrap();
        fs::write(lower.join("etc/which"), "lower\n").unwrap();
        fs::create_dir_all(upper.join("etc")).unwrap();
        fs::write(upper.join("etc/which"), "upper\n").unwrap();
        let disk = File::create(self.path("layers.img")).unwrap();
        let mut table = [0; 512];
        let mut sector = 2048;
        for (index, layer) in [lower, upper].iter().enumerate() {
            let image = self.path(&format!("layer{index}.erofs"));
            run(Command::new("mkfs.erofs")
                .arg("--quiet")
                .arg(&image)
                .arg(layer));
            let data = fs::read(&image).unwrap();
            let count = data.len().div_ceil(512) as u32;
            disk.write_all_at(&data, u64::from(sector) * 512).unwrap();
            let entry = &mut table[446 + 16 * index..][..16];
            entry[4] = 0x83;
            entry[8..12].copy_from_slice(&u32::to_le_bytes(sector));
            entry[12..16].copy_from_slice(&count.to_le_bytes());
            sector = (sector + count).next_multiple_of(2048);
        }
        table[510..].copy_from_slice(&[0x55, 0xaa]);
        disk.write_all_at(&table, 0).unwrap();
        disk.set_len(u64::from(sector) * 512).unwrap();
    }

    fn make_writable(&self) {
        self.make_ext4("writable.img");
    }

    /// Adds a disk with an empty file system.
    pub(crate) fn add_volume(&mut self) {
        self.make_ext4("volume.img");
        self.volume = true;
    }

    fn make_ext4(&self, name: &str) {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(64 << 20).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&path));
    }

    /// The writable disks were unmounted cleanly.
    pub(crate) fn assert_clean(&self) {
        self.assert_clean_disk("writable.img");
        if self.volume {
            self.assert_clean_disk("volume.img");
        }
    }

    fn assert_clean_disk(&self, name: &str) {
        let mut superblock = [0; 1024];
        let mut file = File::open(self.path(name)).unwrap();
        file.seek(SeekFrom::Start(1024)).unwrap();
        std::io::Read::read_exact(&mut file, &mut superblock).unwrap();
        let incompatible = u32::from_le_bytes(superblock[0x60..0x64].try_into().unwrap());
        assert_eq!(incompatible & 4, 0, "{name}: the journal needs recovery");
        assert_eq!(superblock[0x3a] & 1, 1, "{name}: not clean");
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
