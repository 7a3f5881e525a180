//! Capability sets, each set by one call, in the only order in which every call
//! still has the right to do its work (capabilities(7)).

use std::str::FromStr;

use caps::{CapSet, Capability, CapsHashSet};
use isola_proto::Failure;
use isola_proto::spec::Capabilities;

use crate::error::failure;

/// The five sets, names checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sets {
    bounding: CapsHashSet,
    effective: CapsHashSet,
    permitted: CapsHashSet,
    inheritable: CapsHashSet,
    ambient: CapsHashSet,
}

impl Sets {
    /// Checks the names.
    pub(crate) fn parse(spec: &Capabilities) -> Result<Sets, Failure> {
        Ok(Sets {
            bounding: set(&spec.bounding)?,
            effective: set(&spec.effective)?,
            permitted: set(&spec.permitted)?,
            inheritable: set(&spec.inheritable)?,
            ambient: set(&spec.ambient)?,
        })
    }

    /// First, while CAP_SETPCAP is there: what no execve will ever give back.
    pub(crate) fn drop_bounding(&self) -> Result<(), Failure> {
        for capability in caps::runtime::thread_all_supported() {
            let has = caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false);
            if has && !self.bounding.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability)
                    .map_err(|error| explain("bounding", &error))?;
            }
        }
        Ok(())
    }

    /// After the change of user: all sets, but for CAP_SYS_ADMIN, which stays in
    /// permitted and effective when `admin` says that a filter is yet to be installed.
    pub(crate) fn apply(&self, admin: bool) -> Result<(), Failure> {
        let with_admin = |set: &CapsHashSet| {
            let mut set = set.clone();
            if admin {
                set.insert(Capability::CAP_SYS_ADMIN);
            }
            set
        };
        caps::set(None, CapSet::Inheritable, &self.inheritable)
            .map_err(|error| explain("inheritable", &error))?;
        // Effective must lie in permitted at each step.
        caps::clear(None, CapSet::Effective).map_err(|error| explain("effective", &error))?;
        caps::set(None, CapSet::Permitted, &with_admin(&self.permitted))
            .map_err(|error| explain("permitted", &error))?;
        caps::set(None, CapSet::Effective, &with_admin(&self.effective))
            .map_err(|error| explain("effective", &error))?;
        if !self.ambient.is_empty() {
            caps::set(None, CapSet::Ambient, &self.ambient)
                .map_err(|error| explain("ambient", &error))?;
        }
        Ok(())
    }

    /// Whether CAP_SYS_ADMIN stays for good.
    pub(crate) fn keeps_admin(&self) -> bool {
        self.effective.contains(&Capability::CAP_SYS_ADMIN)
    }

    /// Last, behind the filter: lets go of CAP_SYS_ADMIN where it was only lent.
    pub(crate) fn drop_admin(&self) -> Result<(), Failure> {
        caps::set(None, CapSet::Effective, &self.effective)
            .map_err(|error| explain("effective", &error))?;
        caps::set(None, CapSet::Permitted, &self.permitted)
            .map_err(|error| explain("permitted", &error))
    }
}

fn set(names: &[String]) -> Result<CapsHashSet, Failure> {
    names
        .iter()
        .map(|name| {
            Capability::from_str(name)
                .map_err(|_| failure(format!("capability '{name}' is not known")))
        })
        .collect()
}

fn explain(set: &str, error: &caps::errors::CapsError) -> Failure {
    failure(format!("set the {set} capabilities: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_refused_by_name() {
        let spec = Capabilities {
            bounding: vec!["CAP_CHOWN".into(), "CAP_NO_SUCH".into()],
            ..Capabilities::default()
        };
        assert_eq!(
            Sets::parse(&spec).unwrap_err().message,
            "capability 'CAP_NO_SUCH' is not known"
        );
    }
}
