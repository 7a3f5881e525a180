//! The folder of kernels: what is there, which one is taken, how one is added.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::modules::Module;
use crate::progress::{Sink, Step, step};

const RECORD: &str = "record.json";
const IMAGE: &str = "kernel";
const CHOICE: &str = "default";
const TEMPORARY: &str = "tmp-";

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Compiled from the distribution's sources with the project's fragment.
    Built,
    /// The distribution's cloud kernel.
    Fetched,
    /// A file of the user's own.
    User,
}

impl Source {
    /// `built`, `fetched` or `user`.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Built => "built",
            Source::Fetched => "fetched",
            Source::User => "user",
        }
    }
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// An uncompressed ELF file.
    #[serde(rename = "vmlinux")]
    Vmlinux,
    /// A compressed image with the setup header of x86's boot protocol.
    #[serde(rename = "bzImage")]
    BzImage,
}

impl Format {
    /// `vmlinux` or `bzImage`.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Vmlinux => "vmlinux",
            Format::BzImage => "bzImage",
        }
    }
}

/// One kernel that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// Unique in its folder.
    pub name: String,
    /// The package's version, or the kernel's release for one of the user's.
    pub version: String,
    /// Where it comes from.
    pub source: Source,
    /// How it is entered.
    pub format: Format,
    /// Bytes of the image.
    pub size: u64,
    /// Seconds since 1970 at which it was added.
    pub created: u64,
    /// It is the one that [`Kernels::default_kernel`] gives.
    pub default: bool,
    /// The image.
    pub path: PathBuf,
    /// Modules for the initramfs in load order.
    pub modules: Vec<PathBuf>,
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

/// What is written to disk about a kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    version: String,
    source: Source,
    format: Format,
    created: u64,
    modules: Vec<String>,
}

/// What is to be added.
pub(crate) struct New<'a> {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) source: Source,
    pub(crate) format: Format,
    pub(crate) image: &'a [u8],
    pub(crate) modules: &'a [Module],
}

/// A folder of kernels.
#[derive(Clone, Debug)]
pub struct Kernels {
    dir: PathBuf,
}

/// Held while the folder is changed.
pub(crate) struct Locked<'a> {
    kernels: &'a Kernels,
    _lock: File,
}

impl Kernels {
    /// `ISOLA_KERNELS`, or `kernels` in `ISOLA_ROOT`, or in /var/lib/isola.
    pub fn default_dir() -> PathBuf {
        if let Some(dir) = std::env::var_os("ISOLA_KERNELS").filter(|d| !d.is_empty()) {
            return dir.into();
        }
        let root = std::env::var_os("ISOLA_ROOT").filter(|d| !d.is_empty());
        PathBuf::from(root.unwrap_or_else(|| "/var/lib/isola".into())).join("kernels")
    }

    /// The kernels in `dir`, which is made when the first one is added.
    pub fn open(dir: impl Into<PathBuf>) -> Kernels {
        Kernels { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All kernels, by name.
    pub fn list(&self) -> Result<Vec<Kernel>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(Error::io("read", &self.dir))?,
        };
        let mut kernels = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io("read", &self.dir))?.path();
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or(TEMPORARY);
            if !name.starts_with(TEMPORARY) && path.join(RECORD).exists() {
                kernels.push(read_kernel(name, &path)?);
            }
        }
        kernels.sort_by(|a, b| a.name.cmp(&b.name));
        let chosen = fs::read_to_string(self.dir.join(CHOICE)).unwrap_or_default();
        if let Some(index) = pick(&kernels, chosen.trim()) {
            kernels[index].default = true;
        }
        Ok(kernels)
    }

    /// The kernel that guests get: the chosen one, else the newest built one,
    /// else the newest fetched one.
    pub fn default_kernel(&self) -> Result<Kernel> {
        self.list()?
            .into_iter()
            .find(|kernel| kernel.default)
            .ok_or_else(|| Error::NoKernel(self.dir.clone()))
    }

    /// The kernel called `name`.
    pub fn get(&self, name: &str) -> Result<Kernel> {
        self.list()?
            .into_iter()
            .find(|kernel| kernel.name == name)
            .ok_or_else(|| Error::Unknown(name.to_owned()))
    }

    /// Makes `name` the default.
    pub fn choose(&self, name: &str) -> Result<Kernel> {
        let locked = self.lock(&mut |_| {})?;
        self.get(name)?;
        locked.choose(name)?;
        self.get(name)
    }

    /// Removes a kernel; if it was the chosen one, the choice is forgotten.
    pub fn remove(&self, name: &str) -> Result<()> {
        let locked = self.lock(&mut |_| {})?;
        // Found by its folder, so that one with a damaged record can be removed.
        let folder = self.dir.join(name);
        if !is_plain(name) || !folder.join(RECORD).exists() {
            return Err(Error::Unknown(name.to_owned()));
        }
        let choice = self.dir.join(CHOICE);
        if fs::read_to_string(&choice).is_ok_and(|chosen| chosen.trim() == name) {
            fs::remove_file(&choice).map_err(Error::io("remove", &choice))?;
        }
        // Renamed first: half of a kernel must not be taken for a whole one.
        let doomed = locked.temporary()?.keep().join("removed");
        fs::rename(&folder, &doomed).map_err(Error::io("remove", &folder))?;
        locked.tidy()
    }

    /// Waits until no other command changes the folder, and clears away what a
    /// killed one left.
    pub(crate) fn lock(&self, sink: Sink<'_>) -> Result<Locked<'_>> {
        fs::create_dir_all(&self.dir).map_err(Error::io("create", &self.dir))?;
        let path = self.dir.join("lock");
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            step(sink, Step::Waiting);
            rustix::fs::flock(&lock, FlockOperation::LockExclusive)
                .map_err(|e| Error::io("lock", &path)(e.into()))?;
        }
        let locked = Locked {
            kernels: self,
            _lock: lock,
        };
        locked.tidy()?;
        Ok(locked)
    }
}

impl Locked<'_> {
    /// A folder for work in progress.
    pub(crate) fn temporary(&self) -> Result<TempDir> {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempdir_in(&self.kernels.dir)
            .map_err(Error::io("write in", &self.kernels.dir))
    }

    fn tidy(&self) -> Result<()> {
        let dir = &self.kernels.dir;
        for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
            let path = entry.map_err(Error::io("read", dir))?.path();
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            if name.starts_with(TEMPORARY) {
                fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Adds a kernel, or replaces the one of the same name.
    pub(crate) fn add(&self, new: &New<'_>) -> Result<Kernel> {
        let temporary = self.temporary()?;
        let folder = temporary.path();
        write_synced(&folder.join(IMAGE), new.image)?;
        let mut record = Record {
            version: new.version.clone(),
            source: new.source,
            format: new.format,
            created: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            modules: Vec::new(),
        };
        let modules = folder.join("modules");
        fs::create_dir(&modules).map_err(Error::io("create", &modules))?;
        for (number, module) in new.modules.iter().enumerate() {
            let name = format!("{number:03}-{}.ko", module.name);
            write_synced(&modules.join(&name), &module.object)?;
            record.modules.push(name);
        }
        let json = serde_json::to_vec_pretty(&record).map_err(|e| Error::Record {
            path: folder.join(RECORD),
            why: e.to_string(),
        })?;
        write_synced(&folder.join(RECORD), &json)?;
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(Error::io("write", folder))?;
        self.install(temporary, &new.name)?;
        self.kernels.get(&new.name)
    }

    fn install(&self, temporary: TempDir, name: &str) -> Result<()> {
        let dir = &self.kernels.dir;
        let place = dir.join(name);
        if place.exists() {
            let old = self.temporary()?.keep().join("replaced");
            fs::rename(&place, &old).map_err(Error::io("replace", &place))?;
        }
        fs::rename(temporary.keep(), &place).map_err(Error::io("write", &place))?;
        sync_folder(dir)?;
        self.tidy()
    }

    pub(crate) fn choose(&self, name: &str) -> Result<()> {
        let dir = &self.kernels.dir;
        let temporary = self.temporary()?;
        let written = temporary.path().join(CHOICE);
        write_synced(&written, format!("{name}\n").as_bytes())?;
        let choice = dir.join(CHOICE);
        fs::rename(&written, &choice).map_err(Error::io("write", &choice))?;
        sync_folder(dir)
    }
}

/// Whether `name` can only be an entry of the folder itself.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

/// The index of the default among `kernels`.
fn pick(kernels: &[Kernel], chosen: &str) -> Option<usize> {
    let newest = |source: Source| {
        (0..kernels.len())
            .filter(|i| kernels[*i].source == source)
            .max_by_key(|i| (kernels[*i].created, *i))
    };
    kernels
        .iter()
        .position(|kernel| kernel.name == chosen)
        .or_else(|| newest(Source::Built))
        .or_else(|| newest(Source::Fetched))
}

fn read_kernel(name: &str, folder: &Path) -> Result<Kernel> {
    let path = folder.join(RECORD);
    let text = fs::read(&path).map_err(Error::io("read", &path))?;
    let record: Record = serde_json::from_slice(&text).map_err(|e| Error::Record {
        path,
        why: e.to_string(),
    })?;
    let image = folder.join(IMAGE);
    let size = fs::metadata(&image).map_err(Error::io("examine", &image))?;
    let modules = folder.join("modules");
    Ok(Kernel {
        name: name.to_owned(),
        version: record.version,
        source: record.source,
        format: record.format,
        size: size.len(),
        created: record.created,
        default: false,
        path: image,
        modules: record.modules.iter().map(|m| modules.join(m)).collect(),
        folder: folder.to_path_buf(),
    })
}

fn write_synced(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", path))
}

fn sync_folder(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::io("write", path))
}

/// SHA-256 of a file's content.
pub(crate) fn hash_file(path: &Path) -> Result<[u8; 32]> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
    }
}
