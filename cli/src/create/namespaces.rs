//! Flags about namespaces that can be shared.

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use isola_runtime::workload::Options;

use crate::complete;

#[derive(Debug, Args)]
#[command(next_help_heading = "Namespaces")]
pub(super) struct NamespaceFlags {
    /// Processes that it sees: private, host or container:INSTANCE
    #[arg(long, value_name = "MODE", add = ArgValueCandidates::new(complete::pid_modes))]
    pid: Option<String>,
    /// Shared memory and queues: private, shareable, none, host or container:INSTANCE
    #[arg(long, value_name = "MODE", add = ArgValueCandidates::new(complete::ipc_modes))]
    ipc: Option<String>,
    /// Host and domain name: private or host
    #[arg(long, value_name = "MODE", add = ArgValueCandidates::new(complete::own_modes))]
    uts: Option<String>,
    /// Tree of cgroups: private or host
    #[arg(long, value_name = "MODE", add = ArgValueCandidates::new(complete::own_modes))]
    cgroupns: Option<String>,
    /// Users: host, auto, or ranges INSIDE:OUTSIDE:SIZE[,...]
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
}

impl NamespaceFlags {
    /// Puts the flags into `options`.
    pub(super) fn fill(&self, options: &mut Options) {
        options.pid.clone_from(&self.pid);
        options.ipc.clone_from(&self.ipc);
        options.uts.clone_from(&self.uts);
        options.cgroupns.clone_from(&self.cgroupns);
        options.userns.clone_from(&self.userns);
    }
}
