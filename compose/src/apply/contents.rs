//! Writing what secrets and configs hold.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use isola_runtime::{Error, Kind, Result};

use super::World;
use super::journal::Done;
use crate::options::{Content, Source, contents};

/// A secret or config has kilobytes; what is larger belongs into a volume.
const LARGEST: usize = 16 << 20;

/// Writes the files that a service gets and that are not the host's own.
pub(super) fn write(world: &World<'_>, service: &str) -> Result<()> {
    let loaded = world.loaded()?;
    let Some(service) = loaded.project.services.get(service) else {
        return Ok(());
    };
    let store = world.store();
    for content in contents(loaded.project, service) {
        let bytes = match &content.source {
            Source::Shown(path) => {
                check(path)?;
                continue;
            }
            Source::Copied(path) => {
                std::fs::read(path).map_err(|error| Error::io("read", path, error))?
            }
            Source::Variable(name) => match loaded.model.environment.get(name) {
                Some(value) => value.clone().into_bytes(),
                None => {
                    let message = format!(
                        "the variable {name}, which {} comes from, is not set",
                        content.target
                    );
                    return Err(Error::new(Kind::Invalid, message));
                }
            },
            Source::Text(text) => text.clone().into_bytes(),
        };
        if bytes.len() > LARGEST {
            let message = format!("{} has more than 16 MiB", content.target);
            return Err(Error::new(Kind::Invalid, message).hint("a volume can hold it"));
        }
        let path = content.path(&store);
        let before = std::fs::read(&path).ok();
        if before.as_deref() == Some(&bytes) {
            continue;
        }
        write_one(&content, &store, &bytes)?;
        world.note(Done::Content(content, before));
    }
    Ok(())
}

/// Writes what was there before.
pub(super) fn put_back(world: &World<'_>, content: &Content, before: Option<&[u8]>) -> Result<()> {
    let store = world.store();
    match before {
        Some(bytes) => write_one(content, &store, bytes),
        None => {
            let path = content.path(&store);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io("remove", &path, error))
                }
                _ => Ok(()),
            }
        }
    }
}

fn check(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::io("read the secret or config", path, error)),
    }
}

/// Replaced whole: whoever has the old file mounted keeps it as it was.
fn write_one(content: &Content, store: &Path, bytes: &[u8]) -> Result<()> {
    let path = content.path(store);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(store)
        .map_err(|error| Error::io("make the folder", store, error))?;
    let suffix = isola_runtime::state::new_id()?;
    let new = store.join(format!(".new-{}", &suffix[..16]));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            fchown(&file, Some(content.owner.0), Some(content.owner.1))?;
            file.set_permissions(std::fs::Permissions::from_mode(content.mode))?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&new, &path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&new);
        Error::io("write", &path, error)
    })
}
