//! One thing that happened.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// What something happens to; the words are Docker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// An instance, behind whatever wall.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A named volume.
    Volume,
}

impl Subject {
    /// All of them.
    pub const ALL: [Subject; 4] = [
        Subject::Container,
        Subject::Image,
        Subject::Network,
        Subject::Volume,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Container => "container",
            Subject::Image => "image",
            Subject::Network => "network",
            Subject::Volume => "volume",
        }
    }
}

/// An event as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds since the epoch.
    pub time: u64,
    /// What it happened to.
    pub subject: Subject,
    /// What happened: `start`, `die`, `health_status: healthy`...
    pub action: String,
    /// Id, or name where there is no id.
    pub id: String,
    /// Labels and what else says more about it.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// Something that happens now.
    pub fn now(subject: Subject, action: impl Into<String>, id: impl Into<String>) -> Event {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Event {
            time: time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            subject,
            action: action.into(),
            id: id.into(),
            attributes: BTreeMap::new(),
        }
    }

    /// The same with further attributes; a later one goes before an earlier one.
    #[must_use]
    pub fn with<K, V>(mut self, more: impl IntoIterator<Item = (K, V)>) -> Event
    where
        K: Into<String>,
        V: Into<String>,
    {
        let more = more.into_iter();
        self.attributes
            .extend(more.map(|(key, value)| (key.into(), value.into())));
        self
    }
}
