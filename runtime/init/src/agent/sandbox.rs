//! Makes the sandbox's processes: the same calls that a container's supervisor
//! makes, with the guest's own tree and control group.

use isola_proto::message::{Process, Usage};
use isola_proto::spec::TextFile;
use isola_proto::{ErrorKind, Failure, Interface, ProcessSpec, SandboxSpec};
use rustix::process::Pid;

use super::cgroup::Group;
use super::{disks, links, setup};
use crate::launch::{Child, Launch, Streams, launch};
use crate::server::{Filter, Spawner, list_processes};
use crate::{Root, Target, Texts, join};

/// The guest as it was put together.
#[derive(Debug, Default)]
pub(super) struct Guest {
    group: Option<Group>,
    target: Option<Target>,
    texts: Texts,
}

impl Guest {
    /// The guest was put together.
    pub(super) fn ready(&mut self, group: Group) {
        self.group = Some(group);
    }

    fn group(&self) -> Result<&Group, Failure> {
        let absent = || Failure::new(ErrorKind::Invalid, "the guest was not booted");
        self.group.as_ref().ok_or_else(absent)
    }
}

impl Spawner for Guest {
    fn start(&mut self, spec: &SandboxSpec, streams: Streams) -> Result<Child, Failure> {
        let group = self.group()?;
        let mut enter = |pid: Pid| group.add(pid);
        // The guest's links are in its own network namespace, which serves this
        // sandbox alone: a new one would have nothing but a loopback device.
        let netns = std::fs::File::open("/proc/self/ns/net")
            .map_err(|error| setup(format!("can't open the guest's network: {error}")))?;
        let mut child = launch(Launch {
            own_kernel: true,
            netns: Some(netns.into()),
            ..Launch::new(spec, Root::Path(disks::ROOT.into()), streams, &mut enter)
        })?;
        self.texts = std::mem::take(&mut child.texts);
        let target = Target::of(&child, &spec.namespaces);
        self.target = Some(target.map_err(|e| setup(format!("can't keep the process: {e}")))?);
        Ok(child)
    }

    fn exec(&mut self, process: &ProcessSpec, streams: Streams) -> Result<Child, Failure> {
        let group = self.group()?;
        let absent = || Failure::new(ErrorKind::Invalid, "the sandbox was not started");
        let target = self.target.as_ref().ok_or_else(absent)?;
        let mut enter = |pid: Pid| group.add(pid);
        let upper = std::path::Path::new(disks::WRITABLE).join("upper");
        let keep = crate::changes(&process.program, &upper, target.user)?;
        join(target, process, streams, &mut enter, keep)
    }

    fn processes(&mut self) -> Result<Vec<Process>, Failure> {
        let pids = self.group()?.pids();
        list_processes(Filter::Pids(&pids))
            .map_err(|error| setup(format!("can't list the processes: {error}")))
    }

    fn usage(&mut self) -> Result<Usage, Failure> {
        Ok(self.group()?.usage())
    }

    fn oom_killed(&mut self) -> bool {
        self.group.as_ref().is_some_and(Group::oom_killed)
    }

    fn interfaces(&mut self, interfaces: &[Interface]) -> Result<(), Failure> {
        self.group()?;
        links::set_up(interfaces)
    }

    fn rewrite(&mut self, files: &[TextFile]) -> Result<(), Failure> {
        self.texts.rewrite(files)
    }
}
