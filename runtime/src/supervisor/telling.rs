//! What clients are told of an end, and what the journal is told.

use isola_proto::{ErrorKind, Event, ExitStatus, Failure, Program};

use super::Supervisor;

/// A further process as the journal knows it.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Made up, as Docker has one for each.
    id: String,
    /// The command line.
    line: String,
}

impl Supervisor {
    /// Something happened to the instance. Nothing does where the wall is held open for
    /// something else than the workload.
    pub(super) fn tell(&self, action: &str, more: &[(&str, &str)]) {
        if !self.hold {
            self.events.instance(&self.record, action, more);
        }
    }

    pub(super) fn tell_signal(&self, signal: i32) {
        self.tell("kill", &[("signal", &signal.to_string())]);
    }

    /// Tells of the end, once whoever hears of it finds it in the record, too.
    pub(super) fn tell_death(&mut self) {
        let Some(ran) = self.died.take() else { return };
        if self.status.oom_killed {
            self.tell("oom", &[]);
        }
        let code = self.status.exit_code.unwrap_or(0);
        self.events.died(&self.record, code, ran);
    }

    /// Tells that it has come to rest.
    pub(super) fn tell_rest(&mut self) {
        self.tell_death();
        if std::mem::take(&mut self.stop_asked) {
            self.tell("stop", &[]);
        }
    }

    /// A program is to be run beside the workload. Copies and the like are none.
    pub(super) fn tell_exec(&self, program: &Program) -> Option<Told> {
        let Program::Exec { args } = program else {
            return None;
        };
        let told = Told {
            id: crate::state::new_id().ok()?,
            line: args.join(" "),
        };
        let action = format!("exec_create: {}", told.line);
        self.tell(&action, &[("execID", &told.id)]);
        Some(told)
    }

    pub(super) fn tell_exec_start(&self, told: Option<&Told>) {
        if let Some(told) = told {
            let action = format!("exec_start: {}", told.line);
            self.tell(&action, &[("execID", &told.id)]);
        }
    }

    pub(super) fn tell_exec_end(&self, told: Option<&Told>, status: ExitStatus) {
        if let Some(told) = told {
            let code = status.code().to_string();
            self.tell("exec_die", &[("execID", &told.id), ("exitCode", &code)]);
        }
    }

    pub(super) fn refuse_ended(&mut self, to: super::Address) {
        self.clients.fail(
            to,
            Failure::new(
                ErrorKind::Invalid,
                format!("instance {} has ended", self.record.name),
            ),
        );
    }

    pub(super) fn tell_exit(&mut self) {
        let status = ExitStatus::Code(self.status.exit_code.unwrap_or(0));
        self.typing.clear();
        let listeners = std::mem::take(&mut self.attached)
            .into_iter()
            .chain(std::mem::take(&mut self.waiters));
        for to in listeners {
            self.clients.event(
                to.client,
                &Event::Exited {
                    channel: to.channel,
                    status,
                    oom_killed: self.status.oom_killed,
                },
            );
        }
    }
}
