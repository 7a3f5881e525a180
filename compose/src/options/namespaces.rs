//! Whose namespaces an instance is in.

use isola_runtime::workload::Options;

use super::Of;

/// Puts `pid`, `ipc`, `uts` and `cgroup` into `options`.
pub(super) fn fill(of: &Of<'_>, options: &mut Options) {
    let service = of.service;
    // What a variable left empty is as good as absent.
    let mode = |value: &Option<String>| {
        let text = value.as_deref().filter(|text| !text.is_empty())?;
        Some(match text.strip_prefix("service:") {
            Some(other) => format!("container:{}", first_of(of, other)),
            None => text.to_owned(),
        })
    };
    options.pid = mode(&service.pid);
    options.ipc = mode(&service.ipc);
    options.uts = mode(&service.uts);
    options.cgroupns = mode(&service.cgroup);
}

/// The instance of a service whose namespaces others join.
fn first_of(of: &Of<'_>, service: &str) -> String {
    super::instance_name(of.project, service, 1)
}
