//! Docker's rules for what a copy makes, from what is at both ends. Pure.

use crate::error::{Code, Failure, Result};

/// What is at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Absent,
    /// A folder.
    Folder,
    /// Anything else.
    File,
}

/// What becomes of the first part of every name in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rename {
    /// It stays.
    Keep,
    /// It goes: the content of the copied folder lands in the destination.
    Strip,
    /// It becomes this.
    To(String),
}

/// Where an archive is laid out, and under which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// An existing folder.
    pub(crate) folder: String,
    /// The new names.
    pub(crate) rename: Rename,
}

/// Says where `source` goes, whose path was given as `source_path`.
pub(crate) fn plan(
    source_path: &str,
    source: Kind,
    target_path: &str,
    target: Kind,
) -> Result<Plan> {
    let wrong = |message: String| Err(Failure::new(Code::Copy, message));
    let content_only = is_content(source_path);
    let slash = target_path.ends_with('/');
    let (parent, name) = split(target_path);
    let inside = |rename: Rename| {
        Ok(Plan {
            folder: target_path.to_owned(),
            rename,
        })
    };
    match (source, target) {
        (Kind::Absent, _) => wrong(format!("{source_path} is not there")),
        (Kind::File, _) if source_path.ends_with('/') || content_only => {
            wrong(format!("{source_path} is not a folder"))
        }
        (Kind::File, Kind::Absent) if slash => {
            wrong(format!("the destination folder {target_path} is not there"))
        }
        (Kind::File, Kind::File) if slash => wrong(format!("{target_path} is not a folder")),
        (Kind::Folder, Kind::File) => wrong(format!(
            "the folder {source_path} can't replace the file {target_path}"
        )),
        (Kind::File | Kind::Folder, Kind::Absent) | (Kind::File, Kind::File) => match name {
            Some(name) => Ok(Plan {
                folder: parent.to_owned(),
                rename: Rename::To(name.to_owned()),
            }),
            None => wrong(format!("{target_path} is not there")),
        },
        (Kind::Folder, Kind::Folder) if content_only => inside(Rename::Strip),
        (Kind::File | Kind::Folder, Kind::Folder) => inside(Rename::Keep),
    }
}

/// The path ends with `/.`: the content of a folder is meant, not the folder.
pub(crate) fn is_content(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// The folder of a path and the last name in it, if that is a name.
pub(crate) fn split(path: &str) -> (&str, Option<&str>) {
    let path = path
        .strip_suffix("/.")
        .unwrap_or(path)
        .trim_end_matches('/');
    let (parent, name) = match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => (".", path),
    };
    (
        parent,
        Some(name).filter(|name| !matches!(*name, "" | "." | "..")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_land_where_dockers_do() {
        use Kind::{Absent, File, Folder};
        let to = |name: &str| Rename::To(name.to_owned());
        for (source, kind, target, there, expected) in [
            ("a", File, "/d", Folder, Some(("/d", Rename::Keep))),
            ("a", File, "/d/b", Absent, Some(("/d", to("b")))),
            ("a", File, "/d/b", File, Some(("/d", to("b")))),
            ("a", File, "b", Absent, Some((".", to("b")))),
            ("a", File, "/d/", Absent, None),
            ("a", File, "/d/b/", File, None),
            ("a/", File, "/d", Folder, None),
            ("f", Folder, "/d", Folder, Some(("/d", Rename::Keep))),
            ("f/", Folder, "/d", Folder, Some(("/d", Rename::Keep))),
            ("f/.", Folder, "/d", Folder, Some(("/d", Rename::Strip))),
            (".", Folder, "/d", Folder, Some(("/d", Rename::Strip))),
            ("f", Folder, "/new", Absent, Some(("/", to("new")))),
            ("f/.", Folder, "/new/", Absent, Some(("/", to("new")))),
            ("f", Folder, "/b", File, None),
            ("f", Folder, "..", Absent, None),
            ("x", Absent, "/d", Folder, None),
        ] {
            let made = plan(source, kind, target, there)
                .ok()
                .map(|plan| (plan.folder, plan.rename));
            let expected = expected.map(|(folder, rename)| (folder.to_owned(), rename));
            assert_eq!(made, expected, "{source} {target}");
        }
    }
}
