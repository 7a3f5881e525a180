//! Files that commands write.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::error::{Failure, Result};

/// Writes a file that is there whole or not at all.
pub(crate) fn write_file(path: &Path, write: impl FnOnce(&File) -> Result<()>) -> Result<()> {
    let failed = |error: io::Error| Failure::system(format!("write {}", path.display()), error);
    if !path.is_file() && path.exists() {
        // A device or a pipe can't be replaced.
        let file = File::options().write(true).open(path).map_err(failed)?;
        return write(&file);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let file = File::create_new(&partial).map_err(failed)?;
    let written = write(&file)
        .and_then(|()| file.sync_all().map_err(failed))
        .and_then(|()| fs::rename(&partial, path).map_err(failed));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::error::Code;

    #[test]
    fn a_file_is_whole_or_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let text = |text: &'static str| {
            move |mut file: &File| {
                file.write_all(text.as_bytes())
                    .map_err(|error| Failure::system("write", error))
            }
        };
        write_file(&path, text("one")).unwrap();
        let refused = write_file(&path, |file| {
            text("two")(file)?;
            Err(Failure::new(Code::Invalid, "no"))
        });
        assert_eq!(refused.unwrap_err().message, "no");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_file(Path::new("/dev/null"), text("gone")).unwrap();
    }
}
