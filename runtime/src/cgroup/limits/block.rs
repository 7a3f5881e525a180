//! Limits on block devices (the controllers `blkio` of version 1 and `io` of version 2:
//! blkio-controller.rst and cgroup-v2.rst in the kernel's Documentation, and
//! bfq-iosched.rst for weights).
//!
//! Version 1 counts to a group what its processes read and what they write past the page
//! cache; what the kernel writes back later is nobody's. Version 2 knows whose it is.

use std::fs;
use std::path::Path;

use crate::cgroup::hierarchy::Version;
use crate::workload::BlockDevice;

/// A text for a file of a group, and the words that a line of the file has then. Where
/// several files are named, each that is there is written, and one must take it: which
/// depends on what shares the device by weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting(Vec<(&'static str, String, String)>);

impl Setting {
    pub(super) fn new(file: &'static str, text: String, shown: String) -> Setting {
        Setting(vec![(file, text, shown)])
    }

    /// Writes into the group at `path` and reads back.
    pub(super) fn apply(&self, path: &Path) -> Result<(), String> {
        let mut done = false;
        let mut refused = None;
        for (file, text, shown) in &self.0 {
            match set(&path.join(file), text, shown) {
                Ok(()) => done = true,
                Err(why) => refused = refused.or(Some(format!("{file}: {why}"))),
            }
        }
        match refused {
            Some(why) if !done => Err(why),
            _ => Ok(()),
        }
    }
}

fn set(path: &Path, text: &str, shown: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| error.to_string())?;
    let found = fs::read_to_string(path).map_err(|error| error.to_string())?;
    match holds(&found, shown) {
        true => Ok(()),
        false => Err(format!(
            "it is {:?} after {text:?} was written",
            found.trim()
        )),
    }
}

/// Whether a line of the text has all these words.
fn holds(text: &str, shown: &str) -> bool {
    text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        shown.split_whitespace().all(|word| words.contains(&word))
    })
}

/// A weight for all devices that have none of their own.
pub(super) fn weight(version: Version, weight: u16) -> Setting {
    let own = weight.to_string();
    Setting(match version {
        Version::V1 => vec![
            ("blkio.bfq.weight", own.clone(), own.clone()),
            // Kernels before 5.0.
            ("blkio.weight", own.clone(), own),
        ],
        Version::V2 => {
            let wide = wide(weight);
            vec![
                ("io.bfq.weight", own.clone(), format!("default {own}")),
                ("io.weight", wide.to_string(), format!("default {wide}")),
            ]
        }
    })
}

/// All that holds for one device.
pub(super) fn device(version: Version, device: &BlockDevice) -> Vec<Setting> {
    let own = device
        .weight
        .map(|weight| device_weight(version, device, weight));
    own.into_iter().chain(rates(version, device)).collect()
}

fn device_weight(version: Version, device: &BlockDevice, weight: u16) -> Setting {
    let line = |weight: u32| format!("{}:{} {weight}", device.major, device.minor);
    let files = match version {
        Version::V1 => [
            ("blkio.bfq.weight_device", line(weight.into())),
            ("blkio.weight_device", line(weight.into())),
        ],
        Version::V2 => [
            ("io.bfq.weight", line(weight.into())),
            ("io.weight", line(wide(weight))),
        ],
    };
    Setting(files.map(|(file, line)| (file, line.clone(), line)).into())
}

/// Weights of Docker and of the OCI runtime specification are from 10 to 1000, those of
/// `io.weight` from 1 to 10000.
fn wide(weight: u16) -> u32 {
    1 + u32::from(weight).saturating_sub(10) * 9_999 / 990
}

fn rates(version: Version, device: &BlockDevice) -> Vec<Setting> {
    let numbers = format!("{}:{}", device.major, device.minor);
    let rates = [
        ("blkio.throttle.read_bps_device", "rbps", device.read_bps),
        ("blkio.throttle.write_bps_device", "wbps", device.write_bps),
        ("blkio.throttle.read_iops_device", "riops", device.read_iops),
        (
            "blkio.throttle.write_iops_device",
            "wiops",
            device.write_iops,
        ),
    ];
    let given = rates
        .into_iter()
        .filter_map(|(file, key, rate)| Some((file, key, rate?)));
    let setting = |(file, key, rate): (&'static str, &str, u64)| match version {
        Version::V1 => {
            let line = format!("{numbers} {rate}");
            Setting::new(file, line.clone(), line)
        }
        Version::V2 => {
            let line = format!("{numbers} {key}={rate}");
            Setting::new("io.max", line.clone(), line)
        }
    };
    given.map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(settings: &[Setting]) -> Vec<(&str, &str)> {
        let all = settings.iter().flat_map(|setting| &setting.0);
        all.map(|(file, text, _)| (*file, text.as_str())).collect()
    }

    fn some() -> BlockDevice {
        BlockDevice {
            path: "/dev/vda".to_owned(),
            major: 254,
            minor: 0,
            weight: Some(20),
            read_bps: Some(1 << 20),
            write_iops: Some(50),
            ..BlockDevice::default()
        }
    }

    #[test]
    fn files_of_version_1() {
        assert_eq!(
            files(&device(Version::V1, &some())),
            [
                ("blkio.bfq.weight_device", "254:0 20"),
                ("blkio.weight_device", "254:0 20"),
                ("blkio.throttle.read_bps_device", "254:0 1048576"),
                ("blkio.throttle.write_iops_device", "254:0 50"),
            ]
        );
        assert_eq!(
            files(&[weight(Version::V1, 300)]),
            [("blkio.bfq.weight", "300"), ("blkio.weight", "300")]
        );
    }

    #[test]
    fn files_of_version_2() {
        assert_eq!(
            files(&device(Version::V2, &some())),
            [
                ("io.bfq.weight", "254:0 20"),
                ("io.weight", "254:0 102"),
                ("io.max", "254:0 rbps=1048576"),
                ("io.max", "254:0 wiops=50"),
            ]
        );
        assert_eq!(
            files(&[weight(Version::V2, 500)]),
            [("io.bfq.weight", "500"), ("io.weight", "4950")]
        );
        assert_eq!([wide(10), wide(100), wide(1000)], [1, 910, 10_000]);
    }

    #[test]
    fn what_is_read_back_must_say_so() {
        for (text, shown, expected) in [
            ("300\n", "300", true),
            ("100\n", "300", false),
            ("default 100\n7:0 300\n", "7:0 300", true),
            ("default 300\n7:0 100\n", "7:0 300", false),
            (
                "7:0 rbps=max wbps=5 riops=max wiops=9\n",
                "7:0 wbps=5",
                true,
            ),
            (
                "7:0 rbps=max wbps=50 riops=max wiops=9\n",
                "7:0 wbps=5",
                false,
            ),
            ("", "7:0 1", false),
        ] {
            assert_eq!(holds(text, shown), expected, "{text}: {shown}");
        }
    }

    #[test]
    fn one_of_the_files_must_take_it() {
        let group = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(group.path().join(name), "").unwrap();
        // A file that can't be opened for writing, whoever asks.
        let blocked = |name: &str| fs::create_dir(group.path().join(name)).unwrap();
        blocked("io.bfq.weight");
        blocked("io.weight");
        let why = weight(Version::V2, 300).apply(group.path()).unwrap_err();
        assert!(why.starts_with("io.bfq.weight: "), "{why}");
        fs::remove_dir(group.path().join("io.weight")).unwrap();
        put("io.weight");
        // It reads back as what was written, without the word that the kernel adds.
        assert!(weight(Version::V2, 300).apply(group.path()).is_err());
        device_weight(Version::V2, &some(), 20)
            .apply(group.path())
            .unwrap();
        let text = fs::read_to_string(group.path().join("io.weight")).unwrap();
        assert_eq!(text, "254:0 102");
    }
}
