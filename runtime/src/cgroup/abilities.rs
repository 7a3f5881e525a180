//! What the host's hierarchies can do, told before anything is asked of them.

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
            abilities.freezer |=
                hierarchy.version == Version::V2 || names.iter().any(|name| name == "freezer");
            abilities.controllers.extend(hierarchy.controllers);
        }
        Ok(abilities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
