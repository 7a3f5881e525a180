//! What is told of images, with Docker's words.

use isola_journal::{Event, Subject};

use super::{Removed, Store};
use crate::digest::ImageId;
use crate::reference::Reference;

impl Store {
    /// Something happened to an image; what has no name is called by its id.
    pub(crate) fn tell(&self, action: &str, id: &ImageId, name: Option<&Reference>) {
        let name = name.map(Reference::familiar);
        self.tell_of(action, &id.to_string(), name);
    }

    /// It came from, or went to, a registry: its name there is its identity.
    pub(crate) fn tell_transfer(&self, action: &str, name: &Reference) {
        self.tell_of(action, &name.familiar(), Some(name.familiar_name()));
    }

    /// A build has made an image.
    pub fn tell_built(&self, id: &ImageId) {
        self.tell("build", id, None);
    }

    /// `known` is whose names they were.
    pub(super) fn tell_removed(&self, removed: &Removed, known: &[(Reference, ImageId)]) {
        for (name, id) in known {
            if removed.untagged.contains(name) {
                self.tell("untag", id, Some(name));
            }
        }
        for id in &removed.deleted {
            self.tell("delete", id, None);
        }
    }

    fn tell_of(&self, action: &str, id: &str, name: Option<String>) {
        let Some(journal) = &self.journal else { return };
        let name = name.unwrap_or_else(|| id.to_owned());
        journal.tell(&Event::now(Subject::Image, action, id).with([("name", name)]));
    }
}
