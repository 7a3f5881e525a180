//! The image `debian` that tests run real programs in: made by mmdebstrap from
//! the distribution's packages, imported by the built `isola` into a data root of
//! its own. Made once and kept in the user's cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::Result;
use crate::workspace::{Workspace, cache};

/// What mmdebstrap makes; any change makes a new image.
const ARGUMENTS: &[&str] = &[
    "--quiet",
    "--variant=essential",
    "--include=nginx-light,redis-server,postgresql,python3,python3-pip-whl",
    "--include=curl,iperf3,iproute2,procps",
    "--aptopt=Apt::Install-Recommends \"0\"",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "bookworm",
];

/// Counted up when what is imported changes in another way.
const REVISION: &str = "1";

/// After this there may be newer packages.
const FRESH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Gives the folder of the data root, making it if it isn't there.
pub(crate) fn ensure(workspace: &Workspace, programs: &Path) -> Result<PathBuf> {
    let folder = cache()?.join("debian");
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
    let parts = ARGUMENTS.iter().map(|word| word.as_bytes().to_vec());
    let packages = fingerprint(parts.clone());
    // The store's form is its code's: another code, another store.
    let code = sources(&workspace.root.join("images/src"))?;
    let parts = parts.chain([REVISION.into()]).chain(code);
    let place = folder.join(format!("store-{:016x}", fingerprint(parts)));
    let archive = folder.join(format!("root-{packages:016x}.tar"));
    if is_fresh(&place) && is_fresh(&archive) {
        return Ok(place);
    }
    clear(&folder, &archive)?;
    let started = Instant::now();
    let scratch = tempfile::tempdir_in(&folder)?;
    if !is_fresh(&archive) {
        eprintln!("debian: making a root file system with mmdebstrap");
        let made = scratch.path().join("root.tar");
        run_quiet(Command::new("mmdebstrap").args(ARGUMENTS).arg(&made))?;
        fs::rename(&made, &archive)?;
    }
    eprintln!("debian: importing {}", archive.display());
    let made = scratch.path().join("store");
    let mut import = Command::new(programs.join("isola"));
    import
        .arg("import")
        .args(["--change", "CMD [\"/bin/bash\"]"])
        .arg(&archive)
        .arg("debian")
        .env("ISOLA_ROOT", &made)
        .env("ISOLA_CONFIG", "/dev/null");
    run_quiet(&mut import)?;
    fs::rename(&made, &place)?;
    eprintln!("debian: ready after {} s", started.elapsed().as_secs());
    Ok(place)
}

fn is_fresh(place: &Path) -> bool {
    let age = fs::metadata(place)
        .and_then(|meta| meta.modified())
        .map(|made| made.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age < FRESH)
}

/// Runs a program whose words are of interest only when it fails.
fn run_quiet(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run {name}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{name}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )
        .into()),
    }
}

/// Removes older ones and what killed runs left, but for a fresh archive.
fn clear(folder: &Path, archive: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.extension().is_some_and(|end| end == "tar")
            && (path != archive || !is_fresh(&path))
        {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// All source files below a folder, in the order of their paths.
fn sources(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let mut entries: Vec<_> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        match path.is_dir() {
            true => found.extend(sources(&path)?),
            false => found.push(fs::read(path)?),
        }
    }
    Ok(found)
}

/// FNV-1a: names a cache, guards nothing.
fn fingerprint(parts: impl Iterator<Item = Vec<u8>>) -> u64 {
    parts
        .flat_map(|part| part.into_iter().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_tell_parts_apart() {
        let of = |parts: &[&str]| fingerprint(parts.iter().map(|part| part.as_bytes().to_vec()));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["ab"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
    }

    #[test]
    fn clearing_keeps_the_fresh_archive_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("store-1")).unwrap();
        for name in ["root-1.tar", "root-2.tar", "lock"] {
            fs::write(path(name), "x").unwrap();
        }
        clear(folder.path(), &path("root-2.tar")).unwrap();
        let there = ["store-1", "root-1.tar", "root-2.tar", "lock"].map(|n| path(n).exists());
        assert_eq!(there, [false, false, true, true]);
    }
}
