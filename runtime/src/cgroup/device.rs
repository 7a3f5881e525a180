//! Which device nodes the processes of an instance may open or make.

use std::fmt;

use isola_proto::spec::Device;

use crate::workload::{UserDevice, Workload};

/// Ways to use a device, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// Make a node of it (mknod(2)).
    pub const MAKE: Access = Access(1);
    /// Read from it.
    pub const READ: Access = Access(2);
    /// Write to it.
    pub const WRITE: Access = Access(4);
    /// All of them.
    pub const ALL: Access = Access(7);

    /// Reads a set as users write it: any of `r`, `w` and `m`.
    pub fn parse(text: &str) -> Option<Access> {
        let bits = text.chars().try_fold(0, |bits, letter| {
            Some(
                bits | match letter {
                    'r' => Access::READ.0,
                    'w' => Access::WRITE.0,
                    'm' => Access::MAKE.0,
                    _ => return None,
                },
            )
        })?;
        (bits != 0).then_some(Access(bits))
    }

    /// The bits as `BPF_DEVCG_ACC_*` number them (linux/bpf.h).
    pub(crate) fn bits(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [
            (Access::READ, 'r'),
            (Access::WRITE, 'w'),
            (Access::MAKE, 'm'),
        ] {
            if self.0 & bit.0 != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Kind of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// Character device.
    Char,
    /// Block device.
    Block,
}

/// One permission; everything that no rule permits is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Kind of the node.
    pub kind: DeviceKind,
    /// Major number; `None` is any.
    pub major: Option<u32>,
    /// Minor number; `None` is any.
    pub minor: Option<u32>,
    /// What is permitted.
    pub access: Access,
}

/// The form that `devices.allow` reads (devices controller of version 1).
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
        };
        let number =
            |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        write!(
            f,
            "{kind} {}:{} {}",
            number(self.major),
            number(self.minor),
            self.access
        )
    }
}

impl DeviceRule {
    /// Reads `KIND MAJOR:MINOR ACCESS` as Docker's `--device-cgroup-rule` has it: `c`,
    /// `b` or `a` for both kinds, numbers or `*`, and some of `r`, `w`, `m`.
    ///
    /// # Errors
    /// Why it is no rule.
    pub fn parse(text: &str) -> Result<Vec<DeviceRule>, String> {
        let form = "not of the form KIND MAJOR:MINOR ACCESS, as in c 10:229 rwm";
        let mut words = text.split(' ');
        let (Some(kind), Some(numbers), Some(access), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(form.to_owned());
        };
        let kinds: &[DeviceKind] = match kind {
            "a" => &[DeviceKind::Char, DeviceKind::Block],
            "c" => &[DeviceKind::Char],
            "b" => &[DeviceKind::Block],
            _ => return Err(format!("{kind:?} is neither c, b nor a")),
        };
        let (major, minor) = numbers.split_once(':').ok_or(form)?;
        // makedev(3): the kernel's numbers have 12 and 20 bits.
        let number = |text: &str, bits: u32| match text {
            "*" => Ok(None),
            text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number = text.parse::<u32>().ok();
                let number = number.filter(|number| *number < 1 << bits);
                number
                    .map(Some)
                    .ok_or(format!("there is no device number {text:?}"))
            }
            _ => Err(format!("{text:?} is neither a number nor *")),
        };
        let (major, minor) = (number(major, 12)?, number(minor, 20)?);
        let access =
            Access::parse(access).ok_or_else(|| format!("{access:?} is not made of r, w and m"))?;
        let rule = |kind: &DeviceKind| DeviceRule {
            kind: *kind,
            major,
            minor,
            access,
        };
        Ok(kinds.iter().map(rule).collect())
    }
}

/// What the device cgroup is asked to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DevicePolicy {
    /// Whatever the host permits (`--privileged`).
    All,
    /// These and no others.
    Only {
        /// The permissions.
        rules: Vec<DeviceRule>,
        /// Without the device cgroup the processes could make and open nodes of
        /// the host's devices, so it must hold. Where it need not (no CAP_MKNOD,
        /// or a user namespace of their own) a host without one is tolerated.
        required: bool,
    },
}

impl DevicePolicy {
    /// The policy of a workload behind namespaces.
    pub fn of(workload: &Workload) -> DevicePolicy {
        if workload.security.privileged {
            return DevicePolicy::All;
        }
        let may_make_nodes = workload
            .security
            .capabilities
            .bounding
            .iter()
            .any(|name| name == "CAP_MKNOD");
        DevicePolicy::Only {
            rules: standard()
                .into_iter()
                .chain(workload.devices.iter().filter_map(user_rule))
                .chain(workload.device_rules.iter().flat_map(|text| {
                    // Checked when the workload was resolved.
                    DeviceRule::parse(text).unwrap_or_default()
                }))
                .collect(),
            required: may_make_nodes && workload.security.userns.is_none()
                || !workload.device_rules.is_empty(),
        }
    }
}

fn user_rule(device: &UserDevice) -> Option<DeviceRule> {
    let Device {
        kind, major, minor, ..
    } = device.node;
    let kind = match kind {
        'c' | 'u' => DeviceKind::Char,
        'b' => DeviceKind::Block,
        _ => return None,
    };
    Some(DeviceRule {
        kind,
        major: Some(major),
        minor: Some(minor),
        access: Access::parse(&device.access)?,
    })
}

/// The standard nodes of a container's /dev; any node may be made, as package
/// managers do, but not opened.
fn standard() -> Vec<DeviceRule> {
    let make = |kind| DeviceRule {
        kind,
        major: None,
        minor: None,
        access: Access::MAKE,
    };
    let node = |major, minor| DeviceRule {
        kind: DeviceKind::Char,
        major: Some(major),
        minor,
        access: Access::ALL,
    };
    vec![
        make(DeviceKind::Char),
        make(DeviceKind::Block),
        node(1, Some(3)), // null
        node(1, Some(5)), // zero
        node(1, Some(7)), // full
        node(1, Some(8)), // random
        node(1, Some(9)), // urandom
        node(5, Some(0)), // tty
        node(5, Some(1)), // console
        node(5, Some(2)), // ptmx
        node(136, None),  // pts/*
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_is_a_set_of_letters() {
        for (text, shown) in [("rwm", "rwm"), ("mr", "rm"), ("w", "w"), ("rr", "r")] {
            assert_eq!(Access::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "x", "rwx", "R"] {
            assert_eq!(Access::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rules_of_users() {
        let read = |text: &str| -> Vec<String> {
            let rules = DeviceRule::parse(text).unwrap();
            rules.iter().map(ToString::to_string).collect()
        };
        assert_eq!(read("c 10:229 rwm"), ["c 10:229 rwm"]);
        assert_eq!(read("b *:* r"), ["b *:* r"]);
        assert_eq!(read("c 1:* mr"), ["c 1:* rm"]);
        assert_eq!(read("a 7:0 w"), ["c 7:0 w", "b 7:0 w"]);
        for text in [
            "",
            "c",
            "c 1:3",
            "x 1:3 r",
            "c 13 r",
            "c 1:3 x",
            "c 1:3 ",
            "c  1:3 r",
            "c 1:3 r w",
            "c -1:3 r",
            "c +1:3 r",
            "c :3 r",
            "c 1: r",
            "c 4096:0 r",
            "c 0:1048576 r",
            "c 99999999999:0 r",
            "cc 1:3 r",
        ] {
            assert!(DeviceRule::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn rules_have_the_form_of_the_controller() {
        let shown: Vec<_> = standard().iter().map(ToString::to_string).collect();
        assert_eq!(shown[0], "c *:* m");
        assert_eq!(shown[1], "b *:* m");
        assert_eq!(shown[2], "c 1:3 rwm");
        assert_eq!(shown.last().unwrap(), "c 136:* rwm");
    }
}
