//! Paths by their texts alone.

use std::path::{Path, PathBuf};

/// A path without `.` and `..`, from `base` where it is relative.
pub(crate) fn absolute(base: &Path, home: Option<&str>, text: &str) -> PathBuf {
    let from_home = match (text, home) {
        ("~", Some(home)) => Some(PathBuf::from(home)),
        (text, Some(home)) => text
            .strip_prefix("~/")
            .map(|rest| Path::new(home).join(rest)),
        _ => None,
    };
    clean(&base.join(from_home.unwrap_or_else(|| text.into())))
}

/// Takes out `.` and `..` by the text alone: the path need not exist.
pub(crate) fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if clean.file_name().is_some() => {
                clean.pop();
            }
            Component::ParentDir if clean.has_root() => {}
            component => clean.push(component),
        }
    }
    clean
}
