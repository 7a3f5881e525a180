//! `--filter` of events, with Docker's keys.

use isola_journal::{Event, Subject};

use crate::error::Result;
use crate::filter::Filters;

/// Keys of filters.
const KEYS: &[&str] = &[
    "type",
    "event",
    "container",
    "image",
    "label",
    "label!",
    "network",
    "volume",
    "isolation",
];

/// Which events are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    filters: Filters,
}

impl Wanted {
    /// Reads flags.
    pub(crate) fn parse(flags: &[String]) -> Result<Wanted> {
        let filters = Filters::parse(flags, KEYS)?;
        filters.words("type", &Subject::ALL.map(Subject::as_str))?;
        Ok(Wanted { filters })
    }

    /// Whether an event fits all filters.
    pub(crate) fn fits(&self, event: &Event) -> bool {
        let filters = &self.filters;
        let of = |subject: Subject| {
            filters.any(subject.as_str(), |key| {
                event.subject == subject && is_called(event, key)
            })
        };
        filters.any("type", |word| word == event.subject.as_str())
            && filters.any("event", |word| does(event, word))
            && filters.labels(&event.attributes)
            && filters.any("image", |key| is_of_image(event, key))
            && filters.any("isolation", |wall| {
                event.attributes.get("isolation") == Some(wall)
            })
            && of(Subject::Container)
            && of(Subject::Network)
            && of(Subject::Volume)
    }
}

/// `exec_start` stands for `exec_start: sh -c ...`, too.
fn does(event: &Event, word: &str) -> bool {
    let (name, _) = event.action.split_once(':').unwrap_or((&event.action, ""));
    event.action == word || name == word
}

/// By name, by id, or by the beginning of an id.
fn is_called(event: &Event, key: &str) -> bool {
    let named = event.attributes.get("name").is_some_and(|name| name == key);
    let id = event.id.strip_prefix("sha256:").unwrap_or(&event.id);
    let begins = key.len() >= 4 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    named || event.id == key || begins && id.starts_with(key)
}

/// An image, or an instance that was made of it; a name without a tag is all of them.
fn is_of_image(event: &Event, key: &str) -> bool {
    let same = |name: &String| {
        let untagged = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
        name == key || untagged.is_some_and(|(name, _)| name == key)
    };
    match event.subject {
        Subject::Image => is_called(event, key) || event.attributes.get("name").is_some_and(same),
        Subject::Container => event.attributes.get("image").is_some_and(same),
        Subject::Network | Subject::Volume => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(flags: &[&str], event: &Event) -> bool {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Wanted::parse(&flags).unwrap().fits(event)
    }

    #[test]
    fn filters_are_dockers() {
        let exec = Event::now(Subject::Container, "exec_start: sh -c x", "0123456789ab").with([
            ("name", "web"),
            ("image", "localhost:5000/nginx:1"),
            ("tier", "front"),
            ("isolation", "vm"),
        ]);
        for (flags, expected) in [
            (&[][..], true),
            (&["type=container"], true),
            (&["type=image"], false),
            (&["type=image", "type=container"], true),
            (&["event=exec_start"], true),
            (&["event=exec_start: sh -c x"], true),
            (&["event=exec"], false),
            (&["event=start", "event=exec_start"], true),
            (&["container=web"], true),
            (&["container=we"], false),
            (&["container=01234"], true),
            (&["image=localhost:5000/nginx"], true),
            (&["image=localhost:5000/nginx:1"], true),
            (&["image=localhost"], false),
            (&["label=tier"], true),
            (&["label=tier=back"], false),
            (&["label!=tier"], false),
            (&["isolation=vm"], true),
            (&["isolation=container"], false),
            (&["network=web"], false),
            (&["volume=web"], false),
        ] {
            assert_eq!(fits(flags, &exec), expected, "{flags:?}");
        }
        let joined = Event::now(Subject::Network, "connect", "ffff0000").with([("name", "lan")]);
        assert!(fits(&["network=lan"], &joined) && fits(&["network=ffff"], &joined));
        assert!(!fits(&["container=lan"], &joined));
        let deleted = Event::now(Subject::Image, "delete", "sha256:abcd12").with([("name", "a:1")]);
        assert!(fits(&["image=abcd"], &deleted) && fits(&["image=a"], &deleted));
        for wrong in [&["type=daemon"][..], &["node=x"], &["event"]] {
            let flags: Vec<String> = wrong.iter().map(|flag| (*flag).to_owned()).collect();
            assert!(Wanted::parse(&flags).is_err(), "{wrong:?}");
        }
    }
}
