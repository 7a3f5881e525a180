//! Trying again: what may pass, how often, and how long to wait.

use std::io;
use std::time::{Duration, SystemTime};

use crate::error::Error;

/// Tries of one request before it is given up. A try that timed out counts for
/// two, since each took the whole timeout.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// A registry that wants more patience than this gets none.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why one try failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Box<Error>,
    pub(crate) again: Again,
}

impl Failed {
    pub(crate) fn new(error: Error, again: Again) -> Self {
        let error = Box::new(error);
        Self { error, again }
    }
}

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Never,
    Soon,
    /// Nothing came for the whole timeout.
    Stalled,
    /// The registry says when.
    After(Duration),
}

pub(crate) type Tried<T> = std::result::Result<T, Failed>;

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::new(error, Again::Never)
    }
}

/// Counts the tries of one request.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    spent: u32,
}

impl Patience {
    /// Something came of the last try: it does not count.
    pub(crate) fn renew(&mut self) {
        self.spent = 0;
    }

    /// How long to wait before the next try, or the error that ends it.
    pub(crate) fn wait(&mut self, failed: Failed) -> Result<Duration, Error> {
        let doubled = FIRST_WAIT * 2_u32.pow(self.spent.min(8));
        let (cost, wait) = match failed.again {
            Again::Never => return Err(*failed.error),
            Again::Soon => (1, doubled),
            Again::Stalled => (2, FIRST_WAIT),
            Again::After(wait) if wait > LONGEST_WAIT => return Err(*failed.error),
            Again::After(wait) => (1, wait.max(FIRST_WAIT)),
        };
        self.spent += cost;
        match self.spent < TRIES {
            true => Ok(wait),
            false => Err(*failed.error),
        }
    }
}

/// Whether an answer with this status may be another one next time.
pub(crate) fn passes(status: u16, retry_after: Option<&str>, now: SystemTime) -> Again {
    match status {
        408 | 429 | 500 | 502..=504 => match retry_after.and_then(|text| seconds(text, now)) {
            Some(wait) => Again::After(wait),
            None => Again::Soon,
        },
        _ => Again::Never,
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn seconds(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let date = SystemTime::from(date.timestamp());
    Some(date.duration_since(now).unwrap_or_default())
}

/// What a failure of the connection means for the next try.
pub(crate) fn of_io(error: &io::Error) -> Again {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::TimedOut | Kind::WouldBlock => Again::Stalled,
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::NotConnected
        | Kind::UnexpectedEof => Again::Soon,
        _ => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(inner) => of_ureq(inner),
            None => Again::Never,
        },
    }
}

/// The same for ureq's errors.
pub(crate) fn of_ureq(error: &ureq::Error) -> Again {
    match error {
        ureq::Error::Timeout(_) => Again::Stalled,
        ureq::Error::Io(error) => of_io(error),
        ureq::Error::BodyStalled => Again::Soon,
        _ => Again::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(again: Again) -> Failed {
        let error = Error::Unreachable {
            host: "h.io".into(),
            reason: "x".into(),
        };
        Failed::new(error, again)
    }

    #[test]
    fn patience_ends() {
        for (again, tries) in [
            (Again::Never, 0),
            (Again::Soon, 4),
            (Again::Stalled, 2),
            (Again::After(Duration::from_secs(1)), 4),
            (Again::After(Duration::from_secs(61)), 0),
        ] {
            let mut patience = Patience::default();
            let waits = (0..100).take_while(|_| patience.wait(failed(again)).is_ok());
            assert_eq!(waits.count(), tries, "{again:?}");
        }
        let mut patience = Patience::default();
        for _ in 0..50 {
            assert_eq!(patience.wait(failed(Again::Soon)).unwrap(), FIRST_WAIT);
            patience.renew();
        }
    }

    #[test]
    fn waits_grow() {
        let mut patience = Patience::default();
        let waits: Vec<_> = (0..4)
            .map(|_| patience.wait(failed(Again::Soon)).unwrap().as_millis())
            .collect();
        assert_eq!(waits, [250, 500, 1000, 2000]);
    }

    #[test]
    fn answers_tell_whether_to_try_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let after = |seconds| Again::After(Duration::from_secs(seconds));
        for (status, header, expected) in [
            (429, Some("7"), after(7)),
            (429, None, Again::Soon),
            (503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), after(7)),
            (503, Some("Sun, 06 Nov 1994 08:49:00 GMT"), after(0)),
            (500, Some("soon"), Again::Soon),
            (501, None, Again::Never),
            (404, Some("7"), Again::Never),
            (401, None, Again::Never),
        ] {
            assert_eq!(passes(status, header, now), expected, "{status} {header:?}");
        }
    }
}
