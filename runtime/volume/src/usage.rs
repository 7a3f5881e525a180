//! How much of the disk a volume takes.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, statat};

use crate::error::{Error, Result};
use crate::spec::Form;
use crate::tree::{names, open_folder};

/// Deepest nesting that is looked into; each level holds a descriptor.
const DEEPEST: usize = 512;

/// Bytes on disk; -1 for a folder that is not ours.
pub(crate) fn of(folder: &Path, form: &Form) -> Result<i64> {
    let bytes = match form {
        Form::Bind(_) => return Ok(-1),
        Form::Limited(_) | Form::Block(_) => {
            let image = folder.join("disk.ext4");
            std::fs::metadata(&image)
                .map(|found| found.blocks() * 512)
                .map_err(|error| Error::io("read", &image, error))?
        }
        Form::Folder => {
            let data = folder.join("_data");
            std::fs::File::open(&data)
                .and_then(|root| walk(root.as_fd(), &mut HashSet::new(), 0))
                .map_err(|error| Error::io("read", &data, error))?
        }
    };
    Ok(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// A file with several names counts once. What vanishes meanwhile counts nothing.
fn walk(folder: BorrowedFd<'_>, seen: &mut HashSet<(u64, u64)>, depth: usize) -> io::Result<u64> {
    let mut sum = 0;
    for name in names(folder)? {
        let Ok(stat) = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_folder && stat.st_nlink > 1 && !seen.insert((stat.st_dev, stat.st_ino)) {
            continue;
        }
        sum += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if is_folder
            && depth < DEEPEST
            && let Ok(inner) = open_folder(folder, &name)
        {
            sum += walk(inner.as_fd(), seen, depth + 1)?;
        }
    }
    Ok(sum)
}
