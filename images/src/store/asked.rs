//! When registries were last asked for a name.
//!
//! An empty file in the folder `asked` for each name that was pulled; its time of
//! modification is the time. So there is nothing that can be damaged, a file that is lost
//! costs one more question, and the index, which is compared and replaced as a whole, does
//! not change when nothing else did.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::Store;
use crate::digest::Digest;
use crate::reference::Reference;

impl Store {
    /// When a registry last told what `reference` stands for, by a pull that went well;
    /// nothing if that never was, or is not known any more.
    pub fn asked(&self, reference: &Reference) -> Option<SystemTime> {
        let file = self.asked_dir().join(file_name(reference));
        fs::metadata(file).ok()?.modified().ok()
    }

    /// Notes that a registry has just told what `reference` stands for, and forgets names
    /// that no image has any more. What can't be noted is asked for again.
    pub(crate) fn note_asked(&self, reference: &Reference) {
        let noted = self.note(reference).and_then(|()| self.forget_others());
        if let Err(error) = noted {
            let folder = self.asked_dir();
            eprintln!("warning: cannot write in {}: {error}", folder.display());
        }
    }

    fn note(&self, reference: &Reference) -> io::Result<()> {
        let folder = self.asked_dir();
        fs::create_dir_all(&folder)?;
        // Made empty or emptied: there is no moment at which it is half of something.
        File::create(folder.join(file_name(reference)))?.set_modified(SystemTime::now())
    }

    fn forget_others(&self) -> io::Result<()> {
        let Ok(index) = self.read_index() else {
            return Ok(());
        };
        let names = index.all_names().into_iter();
        let known: BTreeSet<String> = names.map(|(name, _)| file_name(&name)).collect();
        for entry in fs::read_dir(self.asked_dir())? {
            let entry = entry?;
            let is_known = entry
                .file_name()
                .to_str()
                .is_some_and(|it| known.contains(it));
            if is_known {
                continue;
            }
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn asked_dir(&self) -> PathBuf {
        self.root.join("asked")
    }
}

/// Names hold slashes and may be longer than a file's name: their digest.
fn file_name(reference: &Reference) -> String {
    let digest = Digest::of(reference.to_string().as_bytes()).to_string();
    digest.trim_start_matches("sha256:").to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::LayerFormat;

    #[test]
    fn names_are_noted_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), LayerFormat::Erofs).unwrap();
        let name = |text: &str| text.parse::<Reference>().unwrap();
        assert_eq!(store.asked(&name("a")), None);
        store.note(&name("a")).unwrap();
        let first = store.asked(&name("docker.io/library/a:latest")).unwrap();
        assert!(first.elapsed().unwrap() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
        store.note(&name("a")).unwrap();
        assert!(store.asked(&name("a")).unwrap() > first);
        assert_eq!(store.asked(&name("a:2")), None);
        // The index has no such name.
        store.forget_others().unwrap();
        assert_eq!(store.asked(&name("a")), None);
    }
}
