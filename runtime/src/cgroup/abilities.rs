//! What the host's hierarchies can do, told before anything is asked of them.

use std::fs;
use std::path::Path;

use super::hierarchy::{Layout, Version};
use crate::error::Result;

/// What this host's hierarchies can hold an instance to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Controllers of all hierarchies, by name.
    pub controllers: Vec<String>,
    /// Memory and swap can be limited together.
    pub swap: bool,
    /// Groups can be frozen.
    pub freezer: bool,
    /// Rules for devices can be set.
    pub devices: bool,
    /// Rates of block devices can be limited.
    pub rates: bool,
    /// Memory is controlled by version 1, which has a swappiness and a switch for the
    /// OOM killer for each group.
    pub version1: bool,
    /// Block devices, by their numbers, that share by weight as `io.cost.qos` says.
    pub cost: Vec<(u32, u32)>,
}

impl Abilities {
    /// Reads them from the hierarchies that are mounted.
    ///
    /// # Errors
    /// The mount table can't be read.
    pub fn read() -> Result<Abilities> {
        let mut abilities = Abilities::default();
        for hierarchy in Layout::read()?.0 {
            let names = &hierarchy.controllers;
            let memory = names.iter().any(|name| name == "memory");
            abilities.swap |= memory
                && match hierarchy.version {
                    Version::V1 => hierarchy.mount.join("memory.memsw.limit_in_bytes").exists(),
                    // The file is in every group but the topmost; a kernel built
                    // without swap has neither.
                    Version::V2 => Path::new("/proc/swaps").exists(),
                };
            let unified = hierarchy.version == Version::V2;
            let has = |name: &str| names.iter().any(|have| have == name);
            abilities.version1 |= memory && !unified;
            abilities.devices |= unified || has("devices");
            abilities.rates |= match hierarchy.version {
                Version::V1 => hierarchy
                    .mount
                    .join("blkio.throttle.read_bps_device")
                    .exists(),
                // The file is in every group but the topmost.
                Version::V2 => has("io"),
            };
            if unified && has("io") {
                let text = fs::read_to_string(hierarchy.mount.join("io.cost.qos"));
                abilities.cost = cost(&text.unwrap_or_default());
            }
            abilities.freezer |=
                hierarchy.version == Version::V2 || names.iter().any(|name| name == "freezer");
            abilities.controllers.extend(hierarchy.controllers);
        }
        Ok(abilities)
    }
}

/// The devices that are enabled, from lines `MAJOR:MINOR enable=1 ...`.
fn cost(text: &str) -> Vec<(u32, u32)> {
    let device = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let numbers = (major.parse().ok()?, minor.parse().ok()?);
        words.any(|word| word == "enable=1").then_some(numbers)
    };
    text.lines().filter_map(device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_cost() {
        let text = "8:0 enable=1 ctrl=auto rpct=95.00\n8:16 enable=0 ctrl=auto\nodd enable=1\n";
        assert_eq!(cost(text), [(8, 0)]);
        assert_eq!(cost(""), []);
    }

    #[test]
    fn this_host_tells_its_controllers() {
        let abilities = Abilities::read().unwrap();
        let cgroups = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounted = cgroups.contains(" - cgroup");
        assert_eq!(
            !abilities.controllers.is_empty() || abilities.freezer,
            mounted,
            "{abilities:?}"
        );
    }
}
