//! Which image of an image layout is meant. No I/O.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::registry::Platform;
use crate::registry::manifest::{self, Descriptor};

/// The tag that is meant where none is given and there are several images, as Docker has it.
const USUAL: &str = "latest";
/// Names that a hint lists.
const LISTED: usize = 8;

/// An image in a folder that is an OCI image layout: `PATH[:TAG|@sha256:DIGEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutAddress {
    pub(super) folder: PathBuf,
    pub(super) which: Which,
}

/// Which of the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The only one.
    Only,
    /// The one with this `org.opencontainers.image.ref.name`.
    Tag(String),
    /// A manifest, or an index of some.
    Digest(Digest),
}

impl FromStr for LayoutAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (folder, which) = match (text.rsplit_once('@'), text.rsplit_once(':')) {
            // A folder may have such a sign in its name.
            (Some((folder, digest)), _) if digest.contains(':') && !digest.contains('/') => {
                let digest = digest.parse().map_err(|_| Error::Layout {
                    layout: text.to_owned(),
                    reason: format!("{digest} is no SHA-256 digest"),
                    hint: FORM.to_owned(),
                })?;
                (folder, Which::Digest(digest))
            }
            (_, Some((folder, tag))) if !tag.contains('/') => (folder, Which::Tag(tag.to_owned())),
            _ => (text, Which::Only),
        };
        let address = Self {
            folder: PathBuf::from(folder),
            which,
        };
        if folder.is_empty() {
            return Err(address.wrong("it names no folder", FORM));
        }
        if matches!(&address.which, Which::Tag(tag) if tag.is_empty()) {
            return Err(address.wrong("its tag is empty", FORM));
        }
        Ok(address)
    }
}

/// How an address is written, for hints.
pub(super) const FORM: &str =
    "a layout is named as PATH, PATH:TAG or PATH@sha256:DIGEST, where PATH is its folder";

impl fmt::Display for LayoutAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.folder.display())?;
        match &self.which {
            Which::Only => Ok(()),
            Which::Tag(tag) => write!(f, ":{tag}"),
            Which::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl LayoutAddress {
    pub(super) fn wrong(&self, reason: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Layout {
            layout: self.to_string(),
            reason: reason.into(),
            hint: hint.into(),
        }
    }

    /// What is meant, from what the layout's `index.json` lists; nothing if a digest is
    /// meant that is not listed there.
    pub(super) fn choose<'a>(
        &self,
        listed: &'a [Descriptor],
        platform: &Platform,
    ) -> Result<Option<&'a Descriptor>> {
        let images: Vec<&Descriptor> = listed.iter().filter(|d| !d.is_attachment()).collect();
        let tagged = |tag: &str| -> Vec<&'a Descriptor> {
            let fits = images.iter().filter(|found| found.ref_name() == Some(tag));
            distinct(fits.copied())
        };
        let fits = match &self.which {
            Which::Digest(digest) => {
                return Ok(listed.iter().find(|found| found.digest == *digest));
            }
            Which::Tag(tag) => tagged(tag),
            Which::Only => match distinct(images.iter().copied()) {
                all if all.len() > 1 => tagged(USUAL),
                all => all,
            },
        };
        match (fits.as_slice(), &self.which) {
            ([only], _) => Ok(Some(only)),
            ([], _) if images.is_empty() => {
                Err(self.wrong("it holds no image", "its index.json lists none"))
            }
            ([], Which::Tag(tag)) => {
                let reason = format!("no image in it has the tag {tag}");
                Err(self.wrong(reason, names(&images)))
            }
            ([], _) => {
                let count = distinct(images.iter().copied()).len();
                let reason = format!("it holds {count} images, and none was named");
                Err(self.wrong(reason, names(&images)))
            }
            // The same tag for several platforms.
            (several, _) => {
                let several: Vec<Descriptor> = several.iter().map(|&d| d.clone()).collect();
                let digest = manifest::choose(&self.to_string(), &several, platform)?.digest;
                Ok(listed.iter().find(|found| found.digest == digest))
            }
        }
    }
}

/// Each digest once.
fn distinct<'a>(found: impl Iterator<Item = &'a Descriptor>) -> Vec<&'a Descriptor> {
    let mut kept: Vec<&Descriptor> = Vec::new();
    for descriptor in found {
        if !kept.iter().any(|other| other.digest == descriptor.digest) {
            kept.push(descriptor);
        }
    }
    kept
}

/// What the images can be named by.
fn names(images: &[&Descriptor]) -> String {
    let all: Vec<String> = distinct(images.iter().copied())
        .iter()
        .map(|found| match found.ref_name() {
            Some(tag) => format!(":{}", tag.escape_debug()),
            None => format!("@{}", found.digest),
        })
        .collect();
    let more = match all.len() > LISTED {
        true => ", ...",
        false => "",
    };
    let listed = &all[..all.len().min(LISTED)];
    format!("after the folder, name one of {}{more}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn addresses_name_a_folder_and_an_image() {
        let digest = Digest::of(b"");
        for (text, folder, which) in [
            ("/a/b", "/a/b", Which::Only),
            ("/a/b:1.2", "/a/b", Which::Tag("1.2".into())),
            ("a", "a", Which::Only),
            ("/a:b/c", "/a:b/c", Which::Only),
            ("/a@b/c@d", "/a@b/c@d", Which::Only),
            ("/a:b:c", "/a:b", Which::Tag("c".into())),
        ] {
            let parsed: LayoutAddress = text.parse().unwrap();
            let expected = LayoutAddress {
                folder: folder.into(),
                which,
            };
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
        let text = format!("/a/b@{digest}");
        let parsed: LayoutAddress = text.parse().unwrap();
        assert_eq!(parsed.which, Which::Digest(digest));
        assert_eq!(parsed.to_string(), text);
        for wrong in ["", ":a", "/a:", "/a@sha256:12", "/a@md5:12", "/a@b:c"] {
            assert!(wrong.parse::<LayoutAddress>().is_err(), "{wrong}");
        }
    }

    fn listed(seed: &str, tag: Option<&str>, architecture: Option<&str>) -> Descriptor {
        let platform = architecture.map(|name| json!({"os": "linux", "architecture": name}));
        let notes = tag.map(|tag| json!({"org.opencontainers.image.ref.name": tag}));
        let value: Value = json!({
            "mediaType": "x", "digest": Digest::of(seed.as_bytes()), "size": 1,
            "platform": platform, "annotations": notes,
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_named_image_is_chosen() {
        let platform = "linux/arm64".parse().unwrap();
        let choose = |all: &[Descriptor], address: &str| {
            let address: LayoutAddress = address.parse().unwrap();
            let chosen = address.choose(all, &platform);
            chosen.map(|found| found.map(|found| found.digest))
        };
        let is = |seed: &str| Some(Digest::of(seed.as_bytes()));
        let one = &[listed("a", Some("1"), None)];
        assert_eq!(choose(one, "/l").unwrap(), is("a"));
        assert_eq!(choose(one, "/l:1").unwrap(), is("a"));
        let twice = [listed("a", Some("1"), None), listed("a", Some("2"), None)];
        assert_eq!(choose(&twice, "/l").unwrap(), is("a"));
        assert_eq!(choose(&twice, "/l:2").unwrap(), is("a"));
        let several = [listed("a", Some("1"), None), listed("b", Some("2"), None)];
        assert_eq!(choose(&several, "/l:2").unwrap(), is("b"));
        let usual = [listed("a", Some("1"), None), listed("b", Some(USUAL), None)];
        assert_eq!(choose(&usual, "/l").unwrap(), is("b"));
        let platforms = [
            listed("x", Some("1"), Some("amd64")),
            listed("y", Some("1"), Some("arm64")),
        ];
        assert_eq!(choose(&platforms, "/l:1").unwrap(), is("y"));
        let digest = Digest::of(b"b");
        assert_eq!(choose(&several, &format!("/l@{digest}")).unwrap(), is("b"));
        assert_eq!(choose(one, &format!("/l@{digest}")).unwrap(), None);
        for (all, address, reason, hint) in [
            (&several[..], "/l", "2 images", ":1, :2"),
            (&several[..], "/l:3", "the tag 3", ":1, :2"),
            (&[][..], "/l", "no image", "index.json"),
            (&[][..], "/l:1", "no image", "index.json"),
        ] {
            let error = choose(all, address).unwrap_err();
            let (text, found) = (error.to_string(), error.hint().unwrap());
            assert!(text.contains(reason) && text.contains("/l"), "{text}");
            assert!(found.contains(hint), "{found}");
        }
    }
}
