//! Instances that come while others are followed: what another command, or a watch,
//! makes anew or starts.

use std::os::fd::{AsFd, BorrowedFd};

use isola_compose::label;
use isola_compose::plan::Here;
use isola_journal::{Journal, Reader, Subject, Watch};

use crate::error::{Failure, Result};

/// What is to be done with one that comes: nothing, or follow it, shown or not.
pub(super) type Meant<'a> = Box<dyn Fn(&Here) -> Option<bool> + 'a>;

/// Starts of a project's instances.
pub(super) struct Arrivals<'a> {
    project: String,
    watch: Watch,
    reader: Reader,
    pub(super) meant: Meant<'a>,
}

impl<'a> Arrivals<'a> {
    /// Those from now on.
    pub(super) fn of(journal: &Journal, project: &str, meant: Meant<'a>) -> Result<Arrivals<'a>> {
        let mut arrivals = Arrivals {
            project: project.to_owned(),
            watch: Watch::new(journal)
                .map_err(|error| Failure::system("wait for instances", error))?,
            reader: Reader::new(journal),
            meant,
        };
        arrivals.next()?;
        Ok(arrivals)
    }

    /// Ids of those that were started since the last call.
    pub(super) fn next(&mut self) -> Result<Vec<String>> {
        self.watch.clear();
        let mut ids = Vec::new();
        while let Some(event) = self
            .reader
            .next_event()
            .map_err(|error| Failure::system("read what has happened", error))?
        {
            if event.subject == Subject::Container
                && event.action == "start"
                && event.attributes.get(label::PROJECT) == Some(&self.project)
                && !ids.contains(&event.id)
            {
                ids.push(event.id);
            }
        }
        Ok(ids)
    }
}

impl AsFd for Arrivals<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}
