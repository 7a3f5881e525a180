//! What an instance has of others: names, addresses, namespaces.

use std::borrow::Cow;

use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};
use crate::joined::Joined;
use crate::state::{Paths, Record};
use crate::workload::{PidMode, Surroundings, Workload};

use super::Supervisor;

/// Takes the namespaces of other instances that the workload of `record` asks for.
///
/// # Errors
/// As for [`Joined::take`]; or there is no `cgroup` by which its processes could be told
/// from others' and ended.
pub(super) fn join(cgroup: &Cgroup, root: &Paths, record: &Record) -> Result<Joined> {
    if record.workload.namespaces.pid != PidMode::Private && cgroup.is_absent() {
        let message = "a pid namespace can't be shared here: without a cgroup its \
                       processes could not be told from others' and ended";
        return Err(Error::new(Kind::Unsupported, message));
    }
    Joined::take(root, record)
}

impl Supervisor {
    /// The workload, with the names of the instance whose network it shares.
    pub(super) fn workload(&self) -> Cow<'_, Workload> {
        let own = &self.record.workload;
        let links = self.links.borrow();
        let Some(neighbour) = links.neighbour() else {
            return Cow::Borrowed(own);
        };
        let mut workload = own.clone();
        self.name_neighbour(&mut workload.env);
        workload.hostname = neighbour.hostname.clone();
        workload.domainname = neighbour.domainname.clone();
        Cow::Owned(workload)
    }

    /// The variable that names the host, where it is that of another instance.
    pub(super) fn name_neighbour(&self, env: &mut [String]) {
        let links = self.links.borrow();
        let Some(neighbour) = links.neighbour() else {
            return;
        };
        let own = format!("HOSTNAME={}", self.record.workload.hostname);
        for text in env.iter_mut().filter(|text| **text == own) {
            *text = format!("HOSTNAME={}", neighbour.hostname);
        }
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let links = self.links.borrow();
        let sandbox = self.sandbox.as_ref();
        Surroundings {
            addresses: links.addresses(),
            nameservers: links.nameservers(),
            host_gateway: links.host_gateway(),
            sources: sandbox.map(|it| it.sources()).unwrap_or_default(),
            hosts: text("/etc/hosts"),
            resolv_conf: text("/etc/resolv.conf"),
            terminal: self.terminal.unwrap_or_default(),
        }
    }
}
