//! Giving images names.

use super::Store;
use super::index::Entry;
use super::resolve::find;
use crate::error::{Error, Result};
use crate::reference::Reference;

impl Store {
    /// Gives an image a further name. An image that had this name loses it.
    pub fn tag(&self, image: &str, name: &Reference) -> Result<()> {
        if name.digest().is_some() || name.tag().is_none() {
            let reason = "a new name cannot have a digest".into();
            return Err(Error::Reference {
                input: name.to_string(),
                reason,
            });
        }
        let _lock = self.share_content()?;
        self.change_index(|index| {
            let entry = find(index, image)?.clone();
            let id = entry.id;
            index.add(Entry {
                reference: Some(name.clone()),
                ..entry
            });
            Ok(id)
        })
        .map(|id| self.tell("tag", &id, Some(name)))
    }
}
