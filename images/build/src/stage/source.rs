//! Where a stage takes files from.

use crate::tree::Tree;

/// Files to take from.
pub(crate) enum Source<'a> {
    Context(&'a Tree),
    Own(Box<Tree>),
}

impl Source<'_> {
    pub(crate) fn tree(&self) -> &Tree {
        match self {
            Source::Context(tree) => tree,
            Source::Own(tree) => tree,
        }
    }
}
