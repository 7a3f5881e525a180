//! `--filter key=value`: several of one key are alternatives, different keys
//! must all hold, as with Docker.

use std::collections::BTreeMap;

use crate::error::{Code, Failure, Result};

/// Filters by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters {
    by_key: BTreeMap<String, Vec<String>>,
}

impl Filters {
    /// Reads flags; keys that are not in `known` are refused.
    pub(crate) fn parse(flags: &[String], known: &[&str]) -> Result<Filters> {
        let mut filters = Filters::default();
        for flag in flags {
            let (key, value) = flag
                .split_once('=')
                .ok_or_else(|| wrong(format!("the filter {flag:?} is not key=value"), known))?;
            let key = key.trim().to_lowercase();
            if !known.contains(&key.as_str()) {
                return Err(wrong(format!("there is no filter {key:?}"), known));
            }
            filters.add(&key, value.trim());
        }
        Ok(filters)
    }

    /// Adds one more.
    pub(crate) fn add(&mut self, key: &str, value: &str) {
        self.by_key
            .entry(key.to_owned())
            .or_default()
            .push(value.to_owned());
    }

    /// Something is filtered by `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// Values given for `key`.
    pub(crate) fn values(&self, key: &str) -> &[String] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// No filter of `key`, or one whose value `fits`.
    pub(crate) fn any(&self, key: &str, fits: impl FnMut(&String) -> bool) -> bool {
        !self.has(key) || self.values(key).iter().any(fits)
    }

    /// `label=KEY` or `label=KEY=VALUE`: here all must hold, and of `label!=...` none.
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let holds = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|is| is == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").iter().all(holds) && !self.values("label!").iter().any(holds)
    }

    /// Values of `key` as one of some words.
    pub(crate) fn words(&self, key: &str, allowed: &[&str]) -> Result<()> {
        let stranger = self
            .values(key)
            .iter()
            .find(|value| !allowed.contains(&value.as_str()));
        match stranger {
            None => Ok(()),
            Some(value) => Err(Failure::new(
                Code::Filter,
                format!("the filter {key} can't be {value:?}"),
            )
            .hint(format!("it is one of {}", allowed.join(", ")))),
        }
    }
}

fn wrong(message: String, known: &[&str]) -> Failure {
    Failure::new(Code::Filter, message).hint(format!("keys are {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(flags: &[&str]) -> Result<Filters> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Filters::parse(&flags, &["name", "label", "label!", "status"])
    }

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let two = filters(&["name=a", "name=b"]).unwrap();
        assert!(two.any("name", |value| value == "b"));
        assert!(!two.any("name", |value| value == "c"));
        assert!(two.any("status", |_| false), "not filtered");
        assert!(
            filters(&["status=up"])
                .unwrap()
                .words("status", &["running"])
                .is_err()
        );
        assert!(filters(&["name"]).is_err());
        assert!(
            filters(&["nosuch=1"])
                .unwrap_err()
                .hint
                .unwrap()
                .contains("label")
        );
    }

    #[test]
    fn labels_must_all_hold() {
        let labels = BTreeMap::from([
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), String::new()),
        ]);
        for (flags, fits) in [
            (&["label=a"][..], true),
            (&["label=a=1"], true),
            (&["label=a=2"], false),
            (&["label=a", "label=c"], false),
            (&["label=b="], true),
            (&["label!=c", "label!=a=2", "label=b"], true),
            (&["label!=a"], false),
            (&[], true),
        ] {
            assert_eq!(filters(flags).unwrap().labels(&labels), fits, "{flags:?}");
        }
    }
}
