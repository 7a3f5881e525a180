//! What clients are told of an end.

use isola_proto::{ErrorKind, Event, ExitStatus, Failure};

use super::Supervisor;

impl Supervisor {
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
