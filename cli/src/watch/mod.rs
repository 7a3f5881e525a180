//! `develop.watch`: files of the host that are looked after. [`rules`] says which file
//! concerns which service and where it goes (pure); [`files`] waits for changes and
//! gives them in batches. What is done about them is the verb's.

mod files;
mod rules;

pub(crate) use files::{Files, Stopper};
pub(crate) use rules::{Asked, Batch, Rules};
