//! What is tried, and with which seeds.

mod build;
mod compose;
mod dns;
mod images;
mod kernel;
mod proto;
mod text;
mod volume;

/// Tries one input and says in words what came of it; panics when a property
/// does not hold.
pub(crate) type Run = Box<dyn FnMut(&[u8]) -> String>;

/// A function that reads what others wrote.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) seeds: Vec<Vec<u8>>,
    pub(crate) make: fn() -> Run,
    /// Puts right what would be refused before anything else is looked at
    /// (checksums); applied to every other input.
    pub(crate) fix: fn(&mut [u8]),
}

/// For formats without checksums.
fn nothing(_: &mut [u8]) {}

/// All of them.
pub(crate) fn all() -> Vec<Target> {
    let mut all = vec![
        compose::target(),
        proto::target(),
        kernel::target(),
        dns::target(),
        volume::target(),
    ];
    all.extend(build::targets());
    all.extend(text::targets());
    all.extend(images::targets());
    all
}
