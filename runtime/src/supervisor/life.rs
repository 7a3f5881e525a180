//! An instance's life from `Launch` to rest.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use isola_proto::{ErrorKind, Event, ExitStatus, Failure, Program, Request};
use isola_volume::Volumes;

use crate::backend::{self, LaunchContext, SandboxEnd};
use crate::cgroup::Cgroup;
use crate::engine::{hide_files, remove_own_volumes};
use crate::error::Result;
use crate::joined::Joined;
use crate::links::Links;
use crate::state::{State, now_ms};
use crate::storage::Storage;
use crate::workload::{NamespaceModes, WallCapabilities, sandbox_spec};

use super::surroundings::join;
use super::{MAIN, Phase, Supervisor, restart};

/// How long a wall may take to go down after its workload has ended.
const ENDING_PATIENCE: Duration = Duration::from_secs(15);
/// How long SIGKILL may take to show, before the wall itself is torn down. A
/// guest that hangs never carries it out.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(3);

impl Supervisor {
    /// Puts the wall up and starts the workload.
    pub(super) fn launch(&mut self) {
        if !matches!(self.phase, Phase::Idle | Phase::Waiting(_)) {
            return self.workload_failed(Failure::new(
                ErrorKind::Invalid,
                "the instance is started already",
            ));
        }
        // Written before anything is taken: whoever finds this record without a
        // living supervisor knows that there may be something to clean up.
        self.status.supervisor_pid = i32::try_from(std::process::id()).ok();
        self.write_status();
        self.phase = Phase::Starting;
        self.input = super::Input::default();
        self.owed = 0;
        self.tried_again = false;
        if let Err(error) = self.put_up() {
            self.workload_failed(error.into());
        }
    }

    fn put_up(&mut self) -> Result<()> {
        let workload = &self.record.workload;
        let backend = backend::of(workload.isolation)?;
        let cgroup = match self.cgroup.take() {
            Some(cgroup) => cgroup,
            None => {
                let (limits, devices) = backend.holds(workload);
                let parent = workload.resources.cgroup_parent.as_deref();
                Cgroup::create(&self.record.id, parent, &limits, &devices)?
            }
        };
        let cgroup = self.cgroup.insert(cgroup);
        // What is only held open needs nobody else, who may not be there.
        let joined = match self.hold {
            true => Joined::default(),
            false => join(cgroup, &self.root, &self.record)?,
        };
        let own_kernel = WallCapabilities::of(workload.isolation).own_kernel;
        let volumes = Volumes::open(self.root.root())?;
        let storage = Storage::take(&volumes, &self.record, &self.paths, own_kernel)?;
        let storage = self.storage.insert(storage);
        if !self.hold {
            self.events.volumes(&self.record, "mount");
        }
        // Files are copied without a network.
        if self.networks {
            let links = Links::take(&self.root, &self.record)?;
            *self.links.borrow_mut() = links;
            if !self.hold {
                self.events
                    .links(&self.record, "connect", &self.links.borrow());
            }
        }
        let context = LaunchContext {
            record: &self.record,
            paths: &self.paths,
            cgroup,
            links: &self.links,
            storage,
            joined: &RefCell::new(joined),
        };
        self.sandbox = Some(backend.launch(&context)?);
        let surroundings = self.surroundings();
        let mut workload = self.workload();
        if self.hold && !workload.namespaces.is_private() {
            workload.to_mut().namespaces = NamespaceModes::default();
        }
        let mut spec = sandbox_spec(&workload, &surroundings);
        drop(workload);
        if self.hold {
            spec.process.program = Program::Idle;
            spec.process.terminal = None;
            spec.init = false;
        }
        self.to_peer(&Request::Start {
            channel: MAIN,
            spec: Box::new(spec),
        });
        Ok(())
    }

    pub(super) fn workload_started(&mut self) {
        self.phase = Phase::Running;
        if !self.hold {
            self.status.state = State::Running;
            self.status.pid = self.sandbox.as_mut().and_then(|sandbox| sandbox.pid());
            self.status.started_ms = Some(now_ms());
            self.status.error = None;
            self.status.oom_killed = false;
            self.status.stopped_by_user = false;
            self.watch_health();
            self.write_status();
            self.tell("start", &[]);
        }
        for to in std::mem::take(&mut self.launchers) {
            self.clients.event(
                to.client,
                &Event::Started {
                    channel: to.channel,
                    pid: self.status.pid.unwrap_or(0),
                },
            );
        }
    }

    pub(super) fn workload_failed(&mut self, failure: Failure) {
        let code = match failure.kind {
            ErrorKind::NotFound => 127,
            ErrorKind::NotExecutable => 126,
            ErrorKind::Setup | ErrorKind::Invalid => 125,
        };
        if !self.hold {
            self.status.error = Some(failure.message.clone());
            self.status.exit_code = Some(code);
            if self.status.state != State::Created {
                self.status.state = State::Exited;
                self.status.finished_ms = Some(now_ms());
            }
        }
        self.tear_down();
        self.rest(|supervisor| {
            for to in std::mem::take(&mut supervisor.launchers) {
                supervisor.clients.fail(to, failure.clone());
            }
        });
    }

    pub(super) fn workload_ended(&mut self, status: ExitStatus, oom_killed: bool) {
        if !matches!(self.phase, Phase::Starting | Phase::Running) {
            return;
        }
        self.thaw_if_paused();
        self.status.exit_code = Some(status.code());
        self.status.oom_killed = oom_killed;
        self.kill_at = None;
        self.destroy_at = None;
        self.phase = Phase::Ending(Instant::now() + ENDING_PATIENCE);
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.shutdown();
        }
    }

    /// Does what time or the wall's end ask for.
    pub(super) fn advance(&mut self) {
        let now = Instant::now();
        let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if passed(self.kill_at) {
            self.kill_at = None;
            self.begin_stop(libc::SIGKILL, None);
        }
        let ended = self.sandbox.as_mut().and_then(|sandbox| sandbox.ended());
        match self.phase {
            Phase::Starting
                if !passed(self.destroy_at) && ended.as_ref().is_some_and(|end| end.again) =>
            {
                self.try_again(ended)
            }
            Phase::Starting | Phase::Running if ended.is_some() || passed(self.destroy_at) => {
                self.lost(ended)
            }
            Phase::Ending(until) if ended.is_some() || until <= now => self.settle(),
            Phase::Waiting(at) if at <= now => self.launch(),
            _ => {}
        }
        self.advance_health(now);
    }

    /// The wall stands still before the workload is there. It is put up once more; the
    /// second one is waited for as long as it takes.
    fn try_again(&mut self, end: Option<SandboxEnd>) {
        if self.tried_again {
            return;
        }
        self.tried_again = true;
        let reason = end.map(|end| end.reason).unwrap_or_default();
        eprintln!("isola-supervisor: {reason}; it is started once more");
        self.tear_down();
        if let Some(cgroup) = &self.cgroup
            && let Err(error) = cgroup.kill()
        {
            eprintln!("isola-supervisor: {error}");
        }
        if let Err(error) = self.put_up() {
            self.workload_failed(error.into());
        }
    }

    /// The wall went down under the workload, or had to be torn down.
    fn lost(&mut self, end: Option<SandboxEnd>) {
        let reason = end.map(|end| end.reason);
        if matches!(self.phase, Phase::Starting) {
            let message =
                reason.unwrap_or_else(|| "stopped before the workload had started".to_owned());
            return self.workload_failed(Failure::new(ErrorKind::Setup, message));
        }
        self.status.error.clone_from(&reason);
        self.status.exit_code = Some(if reason.is_some() { 125 } else { 137 });
        self.settle();
    }

    /// The workload has ended and its wall is down: again, or rest?
    fn settle(&mut self) {
        // A guest's kernel counts for the guest; the host's may have killed the
        // machine program.
        self.status.oom_killed |= self.cgroup.as_ref().is_some_and(Cgroup::oom_killed);
        self.tear_down();
        if self.hold {
            return self.rest(|_| {});
        }
        let now = now_ms();
        self.status.pid = None;
        self.status.finished_ms = Some(now);
        let code = self.status.exit_code.unwrap_or(0);
        let ran = now.saturating_sub(self.status.started_ms.unwrap_or(now));
        self.died = Some(ran);
        let run = Duration::from_millis(ran);
        let count = if run >= restart::GOOD_RUN {
            0
        } else {
            self.status.restart_count
        };
        let policy = self.record.workload.restart;
        if !restart::wanted(policy, code, count, self.status.stopped_by_user)
            || !self.stoppers.is_empty()
        {
            self.status.state = State::Exited;
            return self.rest(|_| {});
        }
        // The next run gets the same group.
        if let Some(cgroup) = &self.cgroup
            && let Err(error) = cgroup.kill()
        {
            eprintln!("isola-supervisor: {error}");
        }
        self.backoff = restart::next_wait(self.backoff, run);
        self.status.state = State::Restarting;
        self.status.restart_count = count + 1;
        self.write_status();
        self.tell_death();
        self.tell_exit();
        self.phase = Phase::Waiting(Instant::now() + self.backoff);
    }

    /// A stop while the next start was waited for.
    pub(super) fn finish(&mut self) {
        self.status.state = State::Exited;
        self.rest(|_| {});
    }

    fn tear_down(&mut self) {
        if let Some(mut sandbox) = self.sandbox.take() {
            sandbox.kill();
            // What was still in the pipes belongs to the log and to the listeners.
            self.sandbox = Some(sandbox);
            self.peer_frames();
            self.sandbox = None;
        }
        self.plugging.clear();
        self.health = None;
        if !self.hold {
            self.events
                .links(&self.record, "disconnect", &self.links.borrow());
        }
        // Nothing of the wall holds them any more.
        let mut links = self.links.borrow_mut();
        let given = match self.goes_with_its_run() {
            true => links.give_back_places(),
            false => links.give_back(),
        };
        drop(links);
        if let Err(error) = given {
            eprintln!("isola-supervisor: {error}");
        }
        if self.storage.take().is_some() && !self.hold {
            self.events.volumes(&self.record, "unmount");
        }
        if let Err(error) = self.log.finish() {
            eprintln!("isola-supervisor: cannot write the log: {error}");
        }
        for (_, exec) in std::mem::take(&mut self.execs) {
            self.tell_exec_end(exec.told.as_ref(), ExitStatus::Signal(libc::SIGKILL));
            if let Some(to) = exec.owner {
                self.clients.event(
                    to.client,
                    &Event::Exited {
                        channel: to.channel,
                        status: ExitStatus::Signal(libc::SIGKILL),
                        oom_killed: false,
                    },
                );
            }
        }
        for (_, to) in std::mem::take(&mut self.queries) {
            self.refuse_ended(to);
        }
    }

    /// Gives everything back, writes the last word, and only then tells those who
    /// wait: what they find after that is final.
    pub(super) fn rest(&mut self, tell: impl FnOnce(&mut Supervisor)) {
        if let Some(cgroup) = self.cgroup.take()
            && let Err(error) = cgroup.destroy()
        {
            eprintln!("isola-supervisor: {error}");
        }
        // In this order: whoever is hung up on finds no socket any more, and knows
        // that the instance is coming to rest.
        let _ = std::fs::remove_file(self.paths.socket());
        self.listener = None;
        self.status.supervisor_pid = None;
        self.status.pid = None;
        if self.goes_with_its_run() {
            self.tell_rest();
            // Gone for everybody from here on; the tree is taken apart when nobody
            // waits any more.
            match hide_files(&self.root, &self.names, &self.record) {
                Ok(hidden) => self.hidden = Some(hidden),
                Err(error) => eprintln!("isola-supervisor: {error}"),
            }
            if let Err(error) = remove_own_volumes(self.root.root(), &self.record) {
                eprintln!("isola-supervisor: {error}");
            }
        } else {
            self.write_status();
            self.tell_rest();
        }
        tell(self);
        for to in std::mem::take(&mut self.health_waiters) {
            self.refuse_ended(to);
        }
        self.tell_exit();
        for to in std::mem::take(&mut self.stoppers) {
            self.clients.done(to);
        }
        self.phase = Phase::Done;
    }

    /// Removed when it ends; what takes long is then done when nobody waits any more.
    fn goes_with_its_run(&self) -> bool {
        // A copy from or to an instance leaves it.
        self.record.workload.auto_remove && self.networks
    }
}
