//! What a volume is asked to be: a pure reading of names and options.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};

/// Smallest image: below this ext4 has no room for a journal and files.
const SMALLEST: u64 = 8 << 20;
/// Largest image, that of a file on ext4 (ext4(5), blocks of 4 KiB).
const LARGEST: u64 = 16 << 40;
/// Longest name (NAME_MAX).
const LONGEST: usize = 255;
/// A size in bytes for people: what messages say about them.
const SIZES: &str = "a size is a number of bytes or has one of k m g t behind it, as in 10G";

/// A volume to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Its name; without one it is anonymous and gets a random name.
    pub name: Option<String>,
    /// It is anonymous although its name was chosen before.
    pub anonymous: bool,
    /// The driver; empty means `local`, the only one.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options (`--opt`, `volume-opt=`): `size`, `block`, or `type=none`, `o=bind`
    /// and `device=/folder` together.
    pub options: BTreeMap<String, String>,
}

/// Where a volume's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In the folder `_data`.
    Folder,
    /// In a folder of the host that is not ours.
    Bind(PathBuf),
    /// In an image of so many bytes that its users share.
    Limited(u64),
    /// In an image of so many bytes that one instance at a time owns.
    Block(u64),
}

impl Form {
    /// Bytes of its image.
    pub(crate) fn image(&self) -> Option<u64> {
        match self {
            Form::Limited(size) | Form::Block(size) => Some(*size),
            Form::Folder | Form::Bind(_) => None,
        }
    }
}

/// Docker's rule for volumes: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255 bytes.
pub fn valid_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    (2..=LONGEST).contains(&name.len())
        && bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// The name, or why it is none.
pub(crate) fn check_name(name: &str) -> Result<&str> {
    if valid_name(name) {
        return Ok(name);
    }
    Err(Error::new(
        Kind::Invalid,
        format!("invalid volume name {name:?}"),
    )
    .hint("a name has 2 to 255 of the characters a-z A-Z 0-9 _ . - and starts with a letter or digit"))
}

/// Refuses drivers that are not there.
pub(crate) fn check_driver(driver: &str) -> Result<()> {
    if matches!(driver, "" | "local") {
        return Ok(());
    }
    Err(Error::new(
        Kind::Unsupported,
        format!("there is no volume driver {driver:?}"),
    )
    .hint("the only driver is `local`"))
}

/// Reads the options.
///
/// # Errors
/// An option that is unknown, malformed, or does not go with another, by its name.
pub(crate) fn form(options: &BTreeMap<String, String>) -> Result<Form> {
    for (key, value) in options {
        match key.as_str() {
            "size" | "block" | "device" => {}
            "type" if matches!(value.as_str(), "none" | "bind") => {}
            "type" if value == "tmpfs" => {
                return Err(refused("type", value).hint("use --mount type=tmpfs"));
            }
            "type" => {
                return Err(refused("type", value)
                    .hint("the host may mount it: use type=none,o=bind,device=FOLDER"));
            }
            "o" if matches!(value.as_str(), "bind" | "rbind") => {}
            "o" => return Err(refused("o", value).hint("the only one is o=bind")),
            _ => {
                return Err(
                    Error::new(Kind::Invalid, format!("unknown volume option {key:?}"))
                        .hint("known options are size, block, and type=none,o=bind,device=FOLDER"),
                );
            }
        }
    }
    let get = |key: &str| options.get(key).map(String::as_str);
    let bind = ["type", "o", "device"].iter().any(|key| get(key).is_some());
    match (get("size"), get("block"), bind) {
        (None, None, false) => Ok(Form::Folder),
        (Some(size), None, false) => image_size("size", size).map(Form::Limited),
        (None, Some(size), false) => image_size("block", size).map(Form::Block),
        (None, None, true) => bound(get("o"), get("device")),
        _ => Err(Error::new(
            Kind::Invalid,
            "volume options size, block and device exclude each other",
        )),
    }
}

fn refused(key: &str, value: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!("volume option {key}={value} is not supported"),
    )
}

fn bound(o: Option<&str>, device: Option<&str>) -> Result<Form> {
    let (Some(_), Some(device)) = (o, device) else {
        return Err(Error::new(
            Kind::Invalid,
            "a volume on a folder of the host needs both o=bind and device=FOLDER",
        ));
    };
    let path = PathBuf::from(device);
    if !path.is_absolute() {
        return Err(Error::new(
            Kind::Invalid,
            format!("volume option device={device} is not an absolute path"),
        ));
    }
    Ok(Form::Bind(path))
}

/// Bytes of an image, a multiple of ext4's 4 KiB blocks.
fn image_size(key: &str, text: &str) -> Result<u64> {
    let bad = |why: &str| {
        Error::new(Kind::Invalid, format!("volume option {key}={text}: {why}")).hint(SIZES)
    };
    let size = parse_size(text).ok_or_else(|| bad("not a size"))?;
    match size {
        SMALLEST..=LARGEST => Ok(size & !4095),
        0..SMALLEST => Err(bad("too small, the least is 8M")),
        _ => Err(bad("too large, the most is 16T")),
    }
}

/// `10G`, `512m`, `1073741824`, `1.5GiB`: powers of 1024, in either case.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if matches!(unit, "" | "b") => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    if !matches!(unit.len(), 0..=3) || unit.ends_with("bb") || unit.ends_with('i') {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || number.ends_with('.') {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    u64::try_from(digits.checked_mul(1 << shift)? / scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn names_follow_dockers_rule() {
        let longest = "x".repeat(255);
        for good in ["db", "a.b", "0-", "Ab_c", "lock", longest.as_str()] {
            assert!(valid_name(good), "{good}");
        }
        let long = "x".repeat(256);
        for bad in [
            "", "a", ".", "..", "../x", "a/b", "-a", "_a", ".lock", "a b", "a\n", "é1", &long,
        ] {
            assert_eq!(check_name(bad).unwrap_err().kind, Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("8388608", 8 << 20),
            ("16M", 16 << 20),
            ("16mb", 16 << 20),
            ("1.5GiB", 3 << 29),
            ("2t", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "G",
            "-1",
            "1x",
            "1ib",
            "1i",
            "1.",
            ".5",
            "1..2",
            "1gg",
            "1gbb",
            "99999999999999999999t",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn options_are_read() {
        let folder = PathBuf::from("/srv/x");
        for (list, expected) in [
            (&[][..], Form::Folder),
            (&[("size", "16M")], Form::Limited(16 << 20)),
            (&[("block", "10000001")], Form::Block(9_998_336)),
            (
                &[("type", "none"), ("o", "bind"), ("device", "/srv/x")],
                Form::Bind(folder),
            ),
        ] {
            assert_eq!(form(&options(list)).unwrap(), expected, "{list:?}");
        }
    }

    #[test]
    fn options_are_refused_by_name() {
        for (list, kind, named) in [
            (&[("sise", "1G")][..], Kind::Invalid, "\"sise\""),
            (&[("size", "1x")], Kind::Invalid, "size=1x"),
            (&[("size", "4M")], Kind::Invalid, "too small"),
            (&[("block", "17T")], Kind::Invalid, "too large"),
            (&[("size", "1G"), ("block", "1G")], Kind::Invalid, "exclude"),
            (&[("type", "nfs")], Kind::Unsupported, "type=nfs"),
            (&[("type", "tmpfs")], Kind::Unsupported, "type=tmpfs"),
            (&[("o", "addr=1.2.3.4")], Kind::Unsupported, "o=addr"),
            (&[("device", "/x")], Kind::Invalid, "o=bind"),
            (&[("o", "bind"), ("device", "x")], Kind::Invalid, "absolute"),
        ] {
            let error = form(&options(list)).unwrap_err();
            assert_eq!(error.kind, kind, "{list:?}");
            assert!(error.message.contains(named), "{error}");
        }
        assert!(check_driver("local").is_ok() && check_driver("").is_ok());
        assert!(check_driver("nfs").unwrap_err().message.contains("\"nfs\""));
    }
}
