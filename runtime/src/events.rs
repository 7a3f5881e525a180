//! What is told in the journal of instances, of their networks and of their volumes,
//! with Docker's words and attributes.

use isola_journal::{Event, Journal, Subject};

use crate::links::Links;
use crate::state::{Paths, Record};
use crate::workload::UserMount;

/// Tells what happens to instances of a data root.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    journal: Journal,
}

impl Events {
    /// Those of a data root.
    pub(crate) fn of(paths: &Paths) -> Events {
        Events {
            journal: Journal::of(paths.root()),
        }
    }

    /// Something happened to an instance.
    pub(crate) fn instance(&self, record: &Record, action: &str, more: &[(&str, &str)]) {
        let workload = &record.workload;
        let own = [
            ("image", workload.image.as_str()),
            ("isolation", workload.isolation.name()),
            ("name", record.name.as_str()),
        ];
        let event = Event::now(Subject::Container, action, &record.id)
            .with(&workload.labels)
            .with(own)
            .with(more.iter().copied());
        self.journal.tell(&event);
    }

    /// It has ended. `ran_ms` is for how long it ran.
    pub(crate) fn died(&self, record: &Record, exit_code: i32, ran_ms: u64) {
        let (code, seconds) = (exit_code.to_string(), (ran_ms / 1000).to_string());
        let more = [("exitCode", code.as_str()), ("execDuration", &seconds)];
        self.instance(record, "die", &more);
    }

    /// It joined or left a network.
    pub(crate) fn network(&self, record: &Record, action: &str, network: &isola_net::Network) {
        let attributes = [
            ("container", record.id.as_str()),
            ("name", &network.name),
            ("type", &network.driver),
        ];
        let event = Event::now(Subject::Network, action, &network.id);
        self.journal.tell(&event.with(attributes));
    }

    /// It joined, or leaves, all of its networks.
    pub(crate) fn links(&self, record: &Record, action: &str, links: &Links) {
        for link in links.all() {
            self.network(record, action, &link.attached.network);
        }
    }

    /// Its volumes were taken or given back.
    pub(crate) fn volumes(&self, record: &Record, action: &str) {
        for mount in &record.workload.mounts {
            let UserMount::Volume {
                name,
                target,
                readonly,
                ..
            } = mount
            else {
                continue;
            };
            let writes = (!readonly).to_string();
            let mut attributes = vec![("container", record.id.as_str()), ("driver", "local")];
            if action == "mount" {
                attributes.extend([("destination", target.as_str()), ("read/write", &writes)]);
            }
            let event = Event::now(Subject::Volume, action, name);
            self.journal.tell(&event.with(attributes));
        }
    }
}
