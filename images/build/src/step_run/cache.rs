//! `RUN --mount=type=cache`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::PathBuf;

use isola_images::Digest;

use super::Prepared;
use super::files::{copy_out, mounted};
use crate::dockerfile::{Mount, MountKind, Sharing, Word};
use crate::error::{Error, Result};
use crate::stage::Stage;

impl Stage<'_> {
    /// The folder of a cache, locked as its sharing asks for.
    pub(super) fn cache(
        &self,
        mount: &Mount,
        target: &str,
        word: &Word,
        all: &mut Prepared,
    ) -> Result<PathBuf> {
        let MountKind::Cache {
            id,
            sharing,
            from,
            source,
            mode,
            uid,
            gid,
        } = &mount.kind
        else {
            return Err(Error::at(word.place, "it is no cache"));
        };
        let name = id.as_deref().unwrap_or(target);
        let root = &self.build.options.caches;
        let failed = |what: &str, error: std::io::Error| {
            Error::io(format!("{what} the cache {name}"), error)
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|error| failed("make", error))?;
        let mut number = 0;
        loop {
            let file = Digest::of(format!("{name}\0{number}").as_bytes()).hex();
            let (folder, lock) = (
                root.join(&file[..32]),
                root.join(format!("{}.lock", &file[..32])),
            );
            let lock = fs::File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&lock)
                .map_err(|error| failed("lock", error))?;
            use rustix::fs::FlockOperation as Op;
            let (wanted, wait) = match sharing {
                Sharing::Shared => (Op::LockShared, true),
                Sharing::Locked => (Op::LockExclusive, true),
                Sharing::Private => (Op::NonBlockingLockExclusive, false),
            };
            match rustix::fs::flock(&lock, wanted) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if !wait => {
                    number += 1;
                    continue;
                }
                Err(error) => return Err(failed("lock", error.into())),
            }
            all.locks.push(lock);
            // Steps that share it come at the same time: one makes it.
            let making = fs::File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(root.join("making.lock"))
                .map_err(|error| failed("lock", error))?;
            rustix::fs::flock(&making, Op::LockExclusive)
                .map_err(|error| failed("lock", error.into()))?;
            if !folder.is_dir() {
                let new = folder.with_extension("new");
                let _ = fs::remove_dir_all(&new);
                match from {
                    Some(from) => {
                        let held = self.source(from, word.place)?;
                        let node = mounted(held.tree(), source, word)?;
                        copy_out(held.tree(), &node, &new)?;
                    }
                    None => fs::create_dir(&new).map_err(|error| failed("make", error))?,
                }
                chown(&new, Some(*uid), Some(*gid)).map_err(|error| failed("make", error))?;
                fs::set_permissions(&new, fs::Permissions::from_mode(*mode))
                    .map_err(|error| failed("make", error))?;
                fs::rename(&new, &folder).map_err(|error| failed("make", error))?;
            }
            return Ok(folder);
        }
    }
}
