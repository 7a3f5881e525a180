//! Our own programs, with a folder of data of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use isola_kernel::Kernels;
use tempfile::TempDir;

use crate::Result;

/// An image with busybox in it, see [`Programs::import_box`].
pub(crate) const BOX: &str = "isola-bench-box:1";

/// Where this program itself is in that image.
pub(crate) const BENCH: &str = "/bin/bench";

/// The programs and where they keep their data while benches run.
pub(crate) struct Programs {
    folder: PathBuf,
    data: TempDir,
}

impl Programs {
    pub(crate) fn open(folder: &Path) -> Result<Programs> {
        let folder = folder
            .canonicalize()
            .map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Programs {
            folder,
            data: tempfile::Builder::new()
                .prefix("isola-bench-")
                .tempdir_in("/var/tmp")?,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes [`BOX`] known.
    pub(crate) fn import_box(&self) -> Result<()> {
        let folder = self.data.path().join("box");
        std::fs::create_dir_all(folder.join("bin"))?;
        let busybox = find("busybox").ok_or("busybox is not installed")?;
        std::fs::copy(busybox, folder.join("bin/busybox"))?;
        std::fs::copy(std::env::current_exe()?, folder.join("bin/bench"))?;
        for name in ["true", "sleep", "sh"] {
            std::os::unix::fs::symlink("busybox", folder.join("bin").join(name))?;
        }
        quiet(self.isola(&["import"]).arg(&folder).arg(BOX))
    }

    /// A folder for a bench's own files, gone afterwards.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// `isola` with its data in this bench's folder.
    pub(crate) fn isola(&self, args: &[&str]) -> Command {
        self.isola_at(&self.data.path().join("root"), args)
    }

    /// `isola` with its data in `root`.
    pub(crate) fn isola_at(&self, root: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("isola"));
        command
            .args(args)
            .env("ISOLA_ROOT", root)
            .env("ISOLA_KERNELS", Kernels::default_dir());
        command
    }
}

/// Runs a program without a word; fails with its words when it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Standard output of a program.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{name}: {e}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "{name}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )
        .into()),
    }
}

/// Whether a program is installed.
pub(crate) fn has(program: &str) -> bool {
    find(program).is_some()
}

pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
