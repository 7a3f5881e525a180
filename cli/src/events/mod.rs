//! Events of the journal: which of them are wanted, and going through them as they
//! come.

mod fit;
mod stream;

pub(crate) use fit::Wanted;
pub(crate) use stream::{Span, follow};

use isola_journal::Event;
use jiff::Timestamp;

/// When it happened.
pub(crate) fn time(event: &Event) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(event.time)).unwrap_or_default()
}
