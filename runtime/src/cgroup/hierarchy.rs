//! Which cgroup hierarchies this host has mounted, and with which controllers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Controllers of version 1 that limits, usage or device rules need. A process
/// stays where it is in all others: joining one costs a lock of the whole system.
const USED: [&str; 7] = [
    "cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "blkio",
];
/// Those that the unified hierarchy makes superfluous where it is mounted: it
/// freezes and kills without any controller, and systemd tracks services in it.
const WITHOUT_UNIFIED: [&str; 2] = ["freezer", "name=systemd"];

/// The two interfaces of the kernel (cgroups(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// One hierarchy per set of controllers.
    V1,
    /// The unified hierarchy.
    V2,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// Which interface it has.
    pub(crate) version: Version,
    /// Its controllers by name; `name=...` for a named one of version 1.
    pub(crate) controllers: Vec<String>,
}

/// All mounted hierarchies, the unified one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout(pub(crate) Vec<Hierarchy>);

impl Layout {
    /// Reads the caller's mount table.
    pub(crate) fn read() -> Result<Layout> {
        let path = Path::new("/proc/self/mountinfo");
        let table = fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        Ok(Layout::parse(&table, |mount| {
            fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
        }))
    }

    /// Takes the hierarchies from the text of a mount table (proc_pid_mountinfo(5));
    /// `available` gives the text of `cgroup.controllers` of the unified one.
    pub(crate) fn parse(table: &str, available: impl Fn(&Path) -> String) -> Layout {
        let mut found: Vec<Hierarchy> = Vec::new();
        for line in table.lines() {
            let Some((mount, kind, options)) = split(line) else {
                continue;
            };
            let hierarchy = match kind {
                "cgroup2" => {
                    let controllers = available(&mount)
                        .split_whitespace()
                        .map(str::to_owned)
                        .collect();
                    Hierarchy {
                        mount,
                        version: Version::V2,
                        controllers,
                    }
                }
                "cgroup" => {
                    let known = |name: &&str| USED.contains(name) || WITHOUT_UNIFIED.contains(name);
                    let controllers = options
                        .split(',')
                        .filter(known)
                        .map(str::to_owned)
                        .collect();
                    Hierarchy {
                        mount,
                        version: Version::V1,
                        controllers,
                    }
                }
                _ => continue,
            };
            // The same hierarchy mounted a second time is no second hierarchy.
            let again = found.iter().any(|other| {
                other.version == hierarchy.version
                    && (hierarchy.version == Version::V2
                        || other.controllers == hierarchy.controllers)
            });
            if !again {
                found.push(hierarchy);
            }
        }
        found.sort_by_key(|hierarchy| hierarchy.version == Version::V1);
        Layout(found)
    }

    /// The hierarchies in which an instance gets a group. `cpuset` of version 1
    /// only where CPUs are to be chosen: it can't be joined before it is filled.
    pub(crate) fn used(&self, cpuset: bool) -> impl Iterator<Item = &Hierarchy> {
        let unified = self
            .0
            .iter()
            .any(|hierarchy| hierarchy.version == Version::V2);
        self.0.iter().filter(move |hierarchy| {
            hierarchy.version == Version::V2
                || hierarchy
                    .controllers
                    .iter()
                    .any(|name| match name.as_str() {
                        "cpuset" => cpuset,
                        name if WITHOUT_UNIFIED.contains(&name) => !unified,
                        _ => true,
                    })
        })
    }
}

/// Mount point, type and super block options of one line.
fn split(line: &str) -> Option<(PathBuf, &str, &str)> {
    let (front, back) = line.split_once(" - ")?;
    let mount = front.split(' ').nth(4)?;
    let mut back = back.split(' ');
    let kind = back.next()?;
    Some((
        PathBuf::from(unescape(mount)),
        kind,
        back.nth(1).unwrap_or_default(),
    ))
}

/// Undoes the octal escapes of blanks in a path.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
28 25 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
29 25 0:26 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
30 25 0:27 / /sys/fs/cgroup/net_cls rw - cgroup cgroup rw,net_cls
31 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
32 25 0:29 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
33 1 0:25 / /mnt/my\\040memory rw - cgroup cgroup rw,memory
";

    fn names(layout: &Layout, cpuset: bool) -> Vec<String> {
        layout
            .used(cpuset)
            .map(|hierarchy| hierarchy.mount.display().to_string())
            .collect()
    }

    #[test]
    fn a_hybrid_host_uses_the_unified_one_to_freeze() {
        let layout = Layout::parse(HYBRID, |_| "hugetlb\n".to_owned());
        let base = "/sys/fs/cgroup";
        let expected = ["unified", "cpu,cpuacct", "memory"].map(|name| format!("{base}/{name}"));
        assert_eq!(names(&layout, false), expected);
        assert!(names(&layout, true).contains(&format!("{base}/cpuset")));
        assert_eq!(layout.0[0].controllers, ["hugetlb"]);
    }

    #[test]
    fn a_host_with_version_1_alone_uses_the_freezer() {
        let table: String = HYBRID
            .lines()
            .filter(|line| !line.contains("cgroup2"))
            .fold(String::new(), |all, line| all + line + "\n");
        let used = names(&Layout::parse(&table, |_| String::new()), false);
        assert!(
            used.iter().any(|name| name.ends_with("/freezer")),
            "{used:?}"
        );
        assert!(
            used.iter().any(|name| name.ends_with("/systemd")),
            "{used:?}"
        );
        assert!(
            !used.iter().any(|name| name.ends_with("/net_cls")),
            "{used:?}"
        );
    }

    #[test]
    fn blanks_in_paths_and_short_lines() {
        let layout = Layout::parse(
            "33 1 0:25 / /mnt/my\\040memory rw - cgroup cgroup rw,memory\nbroken - x\n\n",
            |_| String::new(),
        );
        assert_eq!(layout.0.len(), 1);
        assert_eq!(layout.0[0].mount, Path::new("/mnt/my memory"));
    }

    #[test]
    fn a_unified_host_has_one_group() {
        let layout = Layout::parse(
            "30 25 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            |_| "cpu memory pids".to_owned(),
        );
        assert_eq!(names(&layout, true), ["/sys/fs/cgroup"]);
        assert_eq!(layout.0[0].controllers, ["cpu", "memory", "pids"]);
    }
}
