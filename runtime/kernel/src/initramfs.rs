//! The initramfs of a guest: the agent as /init, and the modules that its
//! kernel does not have built in.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use crate::cpio::Writer;
use crate::error::{Error, Result};
use crate::store::{Kernel, hash_file};

/// How many initramfs files of one kernel are kept: more than one, because
/// several builds of the tool may share a folder of kernels.
const KEPT: usize = 8;

/// Counted up when [`pack`] puts something else beside agent and modules: archives
/// of an older tool are not taken then.
const LAYOUT: u8 = 2;

/// What a guest is started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFiles {
    /// vmlinux or bzImage, see [`crate::Kernel::format`].
    pub kernel: PathBuf,
    /// An uncompressed newc archive.
    pub initramfs: PathBuf,
}

/// Writes an initramfs to `out`: `/init` is the file `init` (a static program),
/// `/dev/console` and `/dev/null` are nodes, `/modules` holds `modules` under their own names and
/// `/modules.order` those names in load order, one a line. Uncompressed: the
/// kernel only copies it then.
pub fn pack(out: impl Write, init: &Path, modules: &[PathBuf]) -> Result<()> {
    let out_path = Path::new("the initramfs");
    let to_out = || Error::io("write", out_path);
    let mut writer = Writer::new(out);
    writer.folder("dev", 0o755).map_err(to_out())?;
    writer
        .char_device("dev/console", 0o600, (5, 1))
        .map_err(to_out())?;
    // A Rust program that is started without the standard descriptors opens it
    // before its main, or aborts.
    writer
        .char_device("dev/null", 0o666, (1, 3))
        .map_err(to_out())?;
    for folder in ["proc", "sys", "modules"] {
        writer.folder(folder, 0o755).map_err(to_out())?;
    }
    add_file(&mut writer, "init", 0o755, init)?;
    let mut order = String::new();
    for module in modules {
        let name = file_name(module)?;
        add_file(&mut writer, &format!("modules/{name}"), 0o644, module)?;
        order += name;
        order.push('\n');
    }
    let size = order.len() as u64;
    writer
        .file("modules.order", 0o644, size, &mut order.as_bytes())
        .map_err(to_out())?;
    writer
        .finish()
        .and_then(|mut out| out.flush())
        .map_err(to_out())
}

fn add_file<W: Write>(
    writer: &mut Writer<W>,
    name: &str,
    permissions: u32,
    path: &Path,
) -> Result<()> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let size = file.metadata().map_err(Error::io("examine", path))?.len();
    writer
        .file(name, permissions, size, &mut file)
        .map_err(Error::io("pack", path))
}

fn file_name(path: &Path) -> Result<&str> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Error::Incomplete {
            what: path.display().to_string(),
            missing: "file name".into(),
        })
}

impl Kernel {
    /// The files to start a guest from whose PID 1 is `agent`. The initramfs is
    /// packed when none of the same agent and modules is there yet.
    pub fn boot_files(&self, agent: &Path) -> Result<BootFiles> {
        // The modules never change in a kernel's folder: their names will do.
        let mut hash = Sha256::new();
        hash.update([LAYOUT]);
        hash.update(hash_file(agent)?);
        for module in &self.modules {
            hash.update(file_name(module)?);
        }
        let name = format!("{}.cpio", &hex::encode(hash.finalize())[..32]);
        let folder = self.folder.join("initramfs");
        let initramfs = folder.join(name);
        if !initramfs.exists() {
            self.pack_into(&folder, &initramfs, agent)?;
        }
        Ok(BootFiles {
            kernel: self.path.clone(),
            initramfs,
        })
    }

    /// Packs under a temporary name and renames, holding a lock so that what
    /// others left behind can be told from what they are writing.
    fn pack_into(&self, folder: &Path, initramfs: &Path, agent: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let lock = File::open(folder).map_err(Error::io("open", folder))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|e| Error::io("lock", folder)(e.into()))?;
        if initramfs.exists() {
            return Ok(());
        }
        tidy(folder)?;
        let temporary = tempfile::Builder::new()
            .prefix("tmp-")
            .tempfile_in(folder)
            .map_err(Error::io("write in", folder))?;
        let mut out = BufWriter::with_capacity(1 << 18, temporary.as_file());
        pack(&mut out, agent, &self.modules)?;
        drop(out);
        temporary
            .as_file()
            .sync_all()
            .map_err(Error::io("write", initramfs))?;
        temporary
            .persist(initramfs)
            .map_err(|e| Error::io("write", initramfs)(e.error))?;
        lock.sync_all().map_err(Error::io("write", folder))
    }
}

/// Removes what a killed packer left and all but the newest few archives.
fn tidy(folder: &Path) -> Result<()> {
    let mut archives: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if file_name(&path).is_ok_and(|name| name.starts_with("tmp-")) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        } else {
            let age = fs::metadata(&path).and_then(|m| m.modified());
            archives.push((age.unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
    }
    archives.sort();
    for (_, path) in archives.iter().rev().skip(KEPT - 1) {
        fs::remove_file(path).map_err(Error::io("remove", path))?;
    }
    Ok(())
}
