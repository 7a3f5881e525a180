//! What each wall can do, as data. Options are refused by this table before
//! anything is made, and `isola capabilities` prints it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::host::HostFacts;
use super::model::Isolation;
use crate::error::{Error, Kind, Result};

/// Defines the features with the words under which they are shown.
macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Something that a wall may or may not be able to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Feature {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Feature {
            /// All features.
            pub const ALL: &'static [Feature] = &[$(Feature::$name,)*];

            /// The word under which it is shown.
            pub fn name(self) -> &'static str {
                match self { $(Feature::$name => $word,)* }
            }
        }
    };
}

features! {
    /// A shared image with a writable layer of its own.
    WritableLayer = "writable-layer",
    /// `--disk`: a writable layer of fixed size.
    Disk = "disk",
    /// `--read-only`.
    ReadOnly = "read-only",
    /// `-v` and `--mount type=bind`.
    BindMounts = "bind-mounts",
    /// A propagation other than private for them.
    BindPropagation = "bind-propagation",
    /// `-v NAME:TARGET` and `--mount type=volume`.
    NamedVolumes = "named-volumes",
    /// `--mount type=volume,volume-opt=block=SIZE`.
    BlockVolumes = "block-volumes",
    /// inotify(7) in a mounted folder tells of what others change there.
    ForeignEvents = "foreign-events",
    /// A signal ends the wait for a lock in a mounted folder.
    LockSignals = "lock-signals",
    /// `--tmpfs` and `--mount type=tmpfs`.
    Tmpfs = "tmpfs",
    /// `--device`.
    Devices = "devices",
    /// `--device-cgroup-rule`.
    DeviceRules = "device-rules",
    /// `--gpus`.
    Gpus = "gpus",
    /// `--network none`.
    NetworkNone = "network-none",
    /// `--network host`.
    NetworkHost = "network-host",
    /// `--network NAME`.
    NetworkBridge = "network-bridge",
    /// `--network container:INSTANCE`.
    NetworkContainer = "network-container",
    /// `-p` and `-P`.
    PublishedPorts = "published-ports",
    /// `--userns`.
    UserNamespace = "user-namespace",
    /// `--pid host` and `--pid container:INSTANCE`.
    SharedPid = "shared-pid",
    /// `--ipc host`, `shareable` and `container:INSTANCE`.
    SharedIpc = "shared-ipc",
    /// `--uts host`.
    SharedUts = "shared-uts",
    /// `--cgroupns host`.
    SharedCgroupns = "shared-cgroupns",
    /// `--privileged`.
    Privileged = "privileged",
    /// `--cap-add` and `--cap-drop`.
    LinuxCapabilities = "linux-capabilities",
    /// `--security-opt seccomp`.
    Seccomp = "seccomp",
    /// `--security-opt no-new-privileges`.
    NoNewPrivileges = "no-new-privileges",
    /// `--sysctl`.
    Sysctls = "sysctls",
    /// `--ulimit`.
    Ulimits = "ulimits",
    /// `--oom-score-adj`.
    OomScoreAdj = "oom-score-adj",
    /// `--memory`.
    Memory = "memory",
    /// `--memory-swap`.
    MemorySwap = "memory-swap",
    /// `--memory-reservation`.
    MemoryReservation = "memory-reservation",
    /// `--memory-swappiness`.
    Swappiness = "memory-swappiness",
    /// `--oom-kill-disable`.
    OomKillDisable = "oom-kill-disable",
    /// `--cpus`, `--cpu-quota` and `--cpu-period`.
    Cpus = "cpus",
    /// `--cpu-shares`.
    CpuShares = "cpu-shares",
    /// `--cpuset-cpus`.
    CpusetCpus = "cpuset-cpus",
    /// `--cpuset-mems`.
    CpusetMems = "cpuset-mems",
    /// `--blkio-weight` and `--blkio-weight-device`.
    BlockWeight = "block-weight",
    /// `--device-read-bps` and its like.
    BlockRates = "block-rates",
    /// `--cgroup-parent`.
    CgroupParent = "cgroup-parent",
    /// `--pids-limit`.
    PidsLimit = "pids-limit",
    /// `--shm-size`.
    ShmSize = "shm-size",
    /// `--init`.
    Init = "init",
    /// `-t`.
    Terminal = "terminal",
    /// `--restart`.
    Restart = "restart",
    /// `isola exec`.
    Exec = "exec",
    /// `isola attach`.
    Attach = "attach",
    /// `isola cp`.
    Copy = "copy",
    /// `isola pause`.
    Pause = "pause",
    /// `isola top`.
    Top = "top",
    /// `isola stats`.
    Stats = "stats",
    /// `isola console`.
    Console = "console",
}

/// Whether a feature is there, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// It is there.
    pub supported: bool,
    /// Why it is not, as the end of a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What one wall can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WallCapabilities {
    /// The wall.
    pub isolation: Isolation,
    /// The workload runs on a kernel of its own: the host's capabilities, limits
    /// and security modules do not bound it.
    pub own_kernel: bool,
    /// Every feature.
    pub features: BTreeMap<Feature, Support>,
    /// What is taken when the user says nothing.
    pub defaults: WallDefaults,
}

/// Sizes that a wall needs even when the user says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WallDefaults {
    /// Bytes of memory; `None` is no limit.
    pub memory: Option<u64>,
    /// Least bytes of memory that can work.
    pub min_memory: u64,
    /// Virtual CPUs; `None` where there are none.
    pub vcpus: Option<u32>,
    /// Bytes of the writable layer's disk; `None` where there is none.
    pub disk: Option<u64>,
}

const MIB: u64 = 1 << 20;
const NO_BLOCK: &str =
    "the host's kernel does not mount a file system that a guest wrote or may write";
const NO_GUEST_PROPAGATION: &str =
    "a guest gets the folder as a share, and mounts don't travel between two kernels";
const NO_GUEST_EVENTS: &str = "FUSE can't tell a guest of them: inotify there tells of what the \
     guest itself changes in a share";
const NO_GUEST_LOCK_SIGNALS: &str = "Linux sends no interrupts over virtio-fs: whoever waits for a \
     lock in a share stays until it is free, even when killed";
const NO_GUEST_DEVICES: &str =
    "a guest has its own kernel, which does not drive the host's devices";
const NO_GUEST_RULES: &str = "a guest has its own kernel, whose devices are no devices of the host";
const NO_GPUS: &str = "there is no driver here that would ready GPUs and bring their libraries";
const NO_GUEST_SWAPPINESS: &str = "a guest has no swap, and its kernel has one swappiness for all";
const NO_GUEST_OOM: &str = "its memory runs out in a kernel of its own, which kills then";
const NO_GUEST_JOIN: &str = "a guest has its own network stack and can't join another instance's";
const NO_GUEST_HOST_NET: &str = "a guest has its own network stack and can't join the host's";
const NO_GUEST_USERNS: &str = "a guest's users are its own kernel's already, apart from the host's \
     (--userns host, which maps none, is taken)";
const NO_GUEST_PROCESSES: &str =
    "a guest's processes are its own kernel's, which shares none with others";
const NO_GUEST_IPC: &str =
    "a guest's memory and queues are its own kernel's, which shares none with others";
const NO_GUEST_NAMES: &str = "a guest's kernel has a host name of its own";
const NO_GUEST_CGROUPS: &str = "a guest's cgroups are its own kernel's";
const NO_CGROUP_TO_END: &str =
    "this host has no cgroup by which its processes could be told      from others' and ended";
const NO_GUEST_SWAP: &str = "a guest has no swap; its RAM is all that --memory gives";
const NO_GUEST_RESERVATION: &str = "a guest's RAM is fixed at its start";
const NO_DISK: &str =
    "its writable layer is a folder on the host's file system and has no size of its own";
const NO_SWAP: &str = "this host's kernel does not account swap to cgroups";
const NO_RATES: &str = "this host's kernel can't hold block devices to rates";
const NO_V1: &str =
    "only version 1 of the cgroup controller 'memory' has it, which this host has not mounted";
const NO_CONSOLE: &str = "it has no kernel of its own, so no kernel console";

impl WallCapabilities {
    /// The table of a wall on a host that has all that the wall needs. What a
    /// given host lacks is taken out with [`WallCapabilities::without`].
    pub fn of(isolation: Isolation) -> WallCapabilities {
        let refused: &[(Feature, &str)] = match isolation {
            Isolation::Container => &[
                (Feature::BlockVolumes, NO_BLOCK),
                (Feature::Disk, NO_DISK),
                (Feature::Gpus, NO_GPUS),
                (Feature::Console, NO_CONSOLE),
            ],
            Isolation::Vm | Isolation::Emulated => &[
                (Feature::BindPropagation, NO_GUEST_PROPAGATION),
                (Feature::ForeignEvents, NO_GUEST_EVENTS),
                (Feature::LockSignals, NO_GUEST_LOCK_SIGNALS),
                (Feature::Devices, NO_GUEST_DEVICES),
                (Feature::DeviceRules, NO_GUEST_RULES),
                (Feature::Gpus, NO_GUEST_DEVICES),
                (Feature::NetworkHost, NO_GUEST_HOST_NET),
                (Feature::NetworkContainer, NO_GUEST_JOIN),
                (Feature::UserNamespace, NO_GUEST_USERNS),
                (Feature::SharedPid, NO_GUEST_PROCESSES),
                (Feature::SharedIpc, NO_GUEST_IPC),
                (Feature::SharedUts, NO_GUEST_NAMES),
                (Feature::SharedCgroupns, NO_GUEST_CGROUPS),
                (Feature::MemorySwap, NO_GUEST_SWAP),
                (Feature::MemoryReservation, NO_GUEST_RESERVATION),
                (Feature::Swappiness, NO_GUEST_SWAPPINESS),
                (Feature::OomKillDisable, NO_GUEST_OOM),
            ],
        };
        let own_kernel = isolation != Isolation::Container;
        let defaults = if own_kernel {
            // A guest must be given a size. 512 MiB serves what images usually
            // hold and is only taken from the host as it is touched.
            WallDefaults {
                memory: Some(512 * MIB),
                min_memory: 64 * MIB,
                vcpus: Some(1),
                disk: Some(10 << 30),
            }
        } else {
            // Docker's least; below it the first process can't be started.
            WallDefaults {
                min_memory: 6 * MIB,
                ..WallDefaults::default()
            }
        };
        let present = Support {
            supported: true,
            reason: None,
        };
        let features = Feature::ALL
            .iter()
            .map(|feature| (*feature, present.clone()))
            .collect();
        let table = WallCapabilities {
            isolation,
            own_kernel,
            features,
            defaults,
        };
        refused.iter().fold(table, |table, (feature, reason)| {
            table.without(*feature, reason)
        })
    }

    /// The table without a feature that the host lacks. `reason` is the end of a
    /// sentence, as "the kernel has no swap accounting".
    #[must_use]
    pub fn without(mut self, feature: Feature, reason: &str) -> WallCapabilities {
        self.features.insert(
            feature,
            Support {
                supported: false,
                reason: Some(reason.to_owned()),
            },
        );
        self
    }

    /// The table on a given host: without what needs a cgroup controller that the
    /// host has not mounted.
    #[must_use]
    pub fn on(self, host: &HostFacts<'_>) -> WallCapabilities {
        let cgroups = &host.cgroups;
        let controller = |name: &str| cgroups.controllers.iter().any(|have| have == name);
        let block = controller("io") || controller("blkio");
        let any = cgroups.freezer || !cgroups.controllers.is_empty();
        let absent = |name: &str| format!("this host has no cgroup controller '{name}' mounted");
        // A guest's memory and processes are bounded by its own kernel.
        let shared = [
            (Feature::Memory, controller("memory"), absent("memory")),
            (
                Feature::MemoryReservation,
                controller("memory"),
                absent("memory"),
            ),
            (Feature::MemorySwap, controller("memory"), absent("memory")),
            (Feature::PidsLimit, controller("pids"), absent("pids")),
        ];
        let both = [
            (Feature::Cpus, controller("cpu"), absent("cpu")),
            (Feature::CpuShares, controller("cpu"), absent("cpu")),
            (Feature::CpusetCpus, controller("cpuset"), absent("cpuset")),
            (Feature::CpusetMems, controller("cpuset"), absent("cpuset")),
            (Feature::BlockWeight, block, absent("io' or 'blkio")),
            (Feature::BlockRates, block, absent("io' or 'blkio")),
            (Feature::BlockRates, cgroups.rates, NO_RATES.to_owned()),
            (Feature::DeviceRules, cgroups.devices, absent("devices")),
            (
                Feature::CgroupParent,
                any,
                "this host has no cgroups".to_owned(),
            ),
            (Feature::SharedPid, any, NO_CGROUP_TO_END.to_owned()),
            (Feature::Pause, cgroups.freezer, absent("freezer")),
            (Feature::MemorySwap, cgroups.swap, NO_SWAP.to_owned()),
            (Feature::Swappiness, cgroups.version1, NO_V1.to_owned()),
            (Feature::OomKillDisable, cgroups.version1, NO_V1.to_owned()),
        ];
        let mut table = self;
        let shared = shared.into_iter().filter(|_| !table.own_kernel);
        for (feature, there, reason) in shared.chain(both).collect::<Vec<_>>() {
            if !there && table.has(feature) {
                table = table.without(feature, &reason);
            }
        }
        table
    }

    /// Whether the wall has a feature.
    pub fn has(&self, feature: Feature) -> bool {
        self.features
            .get(&feature)
            .is_some_and(|support| support.supported)
    }

    /// Refuses `what` (a flag with its value, or a verb) when the feature that it
    /// needs is not there.
    ///
    /// # Errors
    /// [`Kind::Unsupported`], with the reason in the table.
    pub fn require(&self, feature: Feature, what: &str) -> Result<()> {
        if self.has(feature) {
            return Ok(());
        }
        let reason = self
            .features
            .get(&feature)
            .and_then(|support| support.reason.as_deref());
        let reason = reason.unwrap_or("it is not known to this wall");
        let message = format!(
            "{what} can't be had with isolation {}: {reason}",
            self.isolation
        );
        Err(Error::new(Kind::Unsupported, message)
            .hint("`isola capabilities` shows what each wall can do"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wall_answers_for_every_feature() {
        for isolation in Isolation::ALL {
            let table = WallCapabilities::of(isolation);
            assert_eq!(table.features.len(), Feature::ALL.len());
            for (feature, support) in &table.features {
                assert_eq!(
                    support.supported,
                    support.reason.is_none(),
                    "{isolation} {}",
                    feature.name()
                );
            }
        }
    }

    #[test]
    fn a_refusal_names_the_flag_the_wall_and_the_reason() {
        let error = WallCapabilities::of(Isolation::Vm)
            .require(Feature::Devices, "--device /dev/fuse")
            .unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported);
        assert!(
            error
                .message
                .starts_with("--device /dev/fuse can't be had with isolation vm: "),
            "{error}"
        );
        let table = WallCapabilities::of(Isolation::Container)
            .without(Feature::MemorySwap, "no swap accounting");
        assert!(
            table
                .require(Feature::MemorySwap, "--memory-swap")
                .unwrap_err()
                .message
                .ends_with("accounting")
        );
        assert!(table.require(Feature::Memory, "--memory").is_ok());
    }

    #[test]
    fn the_table_goes_through_json() {
        let table = WallCapabilities::of(Isolation::Emulated);
        let text = serde_json::to_string(&table).unwrap();
        assert!(
            text.contains(r#""devices":{"supported":false,"reason":"#),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<WallCapabilities>(&text).unwrap(),
            table
        );
    }
}
