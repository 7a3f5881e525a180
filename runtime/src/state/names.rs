//! Names of instances: symbolic links to ids, because symlink(2) claims a name
//! and says whose it is in one step that can't be half done.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};

use super::{Paths, new_id};

/// The folder of names.
#[derive(Debug)]
pub struct Names {
    folder: PathBuf,
    instances: PathBuf,
}

impl Names {
    /// The names below a data root.
    pub fn new(paths: &Paths) -> Names {
        Names {
            folder: paths.names(),
            instances: paths.instances(),
        }
    }

    /// The id that a name stands for.
    pub fn lookup(&self, name: &str) -> Option<String> {
        if !valid_name(name) {
            return None;
        }
        let id = std::fs::read_link(self.folder.join(name)).ok()?;
        self.instances
            .join(&id)
            .is_dir()
            .then(|| id.to_string_lossy().into_owned())
    }

    /// Gives `name` to the instance `id`. The caller holds the root's lock.
    ///
    /// # Errors
    /// The name is malformed or another instance's.
    pub fn claim(&self, name: &str, id: &str) -> Result<()> {
        if !valid_name(name) {
            return Err(Error::new(Kind::Invalid, format!("invalid name {name:?}"))
                .hint("a name has 1 to 128 of the characters a-z A-Z 0-9 _ . - and starts with a letter or digit"));
        }
        let link = self.folder.join(name);
        for _ in 0..2 {
            match symlink(id, &link) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => match self.lookup(name) {
                    Some(owner) if owner == id => return Ok(()),
                    Some(owner) => return Err(taken(name, &owner)),
                    // Left by a command that was killed before its instance was there.
                    None => std::fs::remove_file(&link)
                        .map_err(|error| Error::io("remove", &link, error))?,
                },
                Err(error) => return Err(Error::io("write", &link, error)),
            }
        }
        Err(Error::new(
            Kind::Conflict,
            format!("the name {name:?} could not be claimed"),
        ))
    }

    /// Takes back every name that is `id`'s.
    pub fn release_all(&self, id: &str) {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        for entry in entries.flatten() {
            self.release(&entry.file_name().to_string_lossy(), id);
        }
    }

    /// Takes a name back, if it is `id`'s.
    pub fn release(&self, name: &str, id: &str) {
        let link = self.folder.join(name);
        if std::fs::read_link(&link).is_ok_and(|owner| owner.as_os_str() == id) {
            let _ = std::fs::remove_file(link);
        }
    }
}

fn taken(name: &str, owner: &str) -> Error {
    let short = owner.get(..12).unwrap_or(owner);
    Error::new(
        Kind::Conflict,
        format!("the name {name:?} is in use by instance {short}"),
    )
    .hint(format!("choose another --name, or `isola rm {name}` first"))
}

/// Docker's rule for names: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, here of two characters
/// as there, and at most 128.
pub fn valid_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    (2..=128).contains(&name.len())
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// A name to offer when the user gave none: an adjective and a mineral.
///
/// # Errors
/// The kernel has no random bytes to give.
pub fn random_name() -> Result<String> {
    const FIRST: [&str; 32] = [
        "able", "amber", "brisk", "calm", "clear", "crisp", "deft", "early", "fair", "fleet",
        "fresh", "glad", "green", "keen", "kind", "light", "live", "lucid", "mild", "neat",
        "noble", "plain", "prime", "quick", "quiet", "ready", "sharp", "sound", "steady", "swift",
        "warm", "wise",
    ];
    const SECOND: [&str; 32] = [
        "agate", "azurite", "basalt", "beryl", "borax", "calcite", "chert", "cobalt", "copper",
        "diorite", "feldspar", "flint", "gabbro", "galena", "garnet", "granite", "gypsum", "jade",
        "jasper", "marble", "mica", "nickel", "olivine", "onyx", "opal", "pumice", "pyrite",
        "quartz", "schist", "slate", "topaz", "zircon",
    ];
    let id = new_id()?;
    let pick = |at: usize| usize::from_str_radix(&id[at..at + 4], 16).unwrap_or(0);
    Ok(format!(
        "{}_{}_{}",
        FIRST[pick(0) % 32],
        SECOND[pick(4) % 32],
        &id[8..11]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["web", "web-1", "a.b", "0x", "Ab_c"] {
            assert!(valid_name(good), "{good}");
        }
        let long = "x".repeat(129);
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a b",
            "-a",
            "_a",
            "a/b",
            "a\n",
            "é1",
            long.as_str(),
        ] {
            assert!(!valid_name(bad), "{bad}");
        }
        assert!(valid_name(&random_name().unwrap()));
    }

    #[test]
    fn a_name_has_one_owner_and_a_stale_one_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        std::fs::create_dir_all(paths.names()).unwrap();
        std::fs::create_dir_all(paths.instance("one").dir()).unwrap();
        std::fs::create_dir_all(paths.instance("two").dir()).unwrap();
        let names = Names::new(&paths);
        names.claim("web", "one").unwrap();
        assert_eq!(names.claim("web", "two").unwrap_err().kind, Kind::Conflict);
        names.release("web", "two");
        assert_eq!(names.lookup("web").as_deref(), Some("one"));
        std::fs::remove_dir(paths.instance("one").dir()).unwrap();
        names.claim("web", "two").unwrap();
        assert_eq!(names.lookup("web").as_deref(), Some("two"));
    }
}
