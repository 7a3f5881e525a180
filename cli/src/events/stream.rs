//! Events of a span of time, the past ones and those that are still to come.

use std::os::fd::AsFd;
use std::time::Duration;

use isola_init::stream::PollSet;
use isola_journal::{Event, Reader, Watch};
use jiff::Timestamp;

use super::time;
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::logfile::parse_moment;

/// `--since` and `--until`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Span {
    /// From this time on: 2026-11-22T15:04:05, seconds since 1970, or 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until this time; in the future, it ends then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Hands over the events of the span, from the oldest on. Without an end it goes on for
/// ever; without a beginning and an end it begins now. `flush` follows each batch.
pub(crate) fn follow(
    context: &Context,
    span: &Span,
    mut each: impl FnMut(&Event) -> Result<()>,
    mut flush: impl FnMut() -> Result<()>,
) -> Result<()> {
    let now = Timestamp::now();
    let moment = |flag: &str, text: &Option<String>| {
        let text = text.as_deref();
        text.map(|text| parse_moment(flag, text, now)).transpose()
    };
    let until = moment("--until", &span.until)?;
    let since = match (moment("--since", &span.since)?, until) {
        (None, None) => Some(now),
        (since, _) => since,
    };
    let failed = |error| Failure::system("read what has happened", error);
    let journal = context.journal()?;
    let watch = Watch::new(&journal).map_err(failed)?;
    let mut reader = Reader::new(&journal);
    loop {
        // Asked for first: what came before the end is then read.
        let left = until.map(|until| Timestamp::now().duration_until(until));
        let over = left.is_some_and(|left| !left.is_positive());
        watch.clear();
        while let Some(event) = reader.next_event().map_err(failed)? {
            let at = time(&event);
            let early = since.is_some_and(|since| at < since);
            let late = until.is_some_and(|until| at > until);
            if !early && !late {
                each(&event)?;
            }
        }
        flush()?;
        if over {
            return Ok(());
        }
        let mut set = PollSet::default();
        set.add(watch.as_fd(), true, false);
        let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
        set.wait(left)
            .map_err(|error| Failure::system("wait for events", error))?;
    }
}
