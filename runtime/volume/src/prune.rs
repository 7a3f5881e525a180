//! Removing what nobody uses.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::store::Volumes;

/// A condition on labels: `label=KEY`, `label=KEY=VALUE`, or `label!=` with the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    key: String,
    value: Option<String>,
    negated: bool,
}

impl LabelFilter {
    /// Reads a `--filter`.
    ///
    /// # Errors
    /// Another filter than `label` or `label!`, or without a key.
    pub fn parse(text: &str) -> Result<LabelFilter> {
        let bad = || {
            Error::new(Kind::Invalid, format!("invalid filter {text:?}"))
                .hint("filters are label=KEY, label=KEY=VALUE and label!=KEY[=VALUE]")
        };
        let (negated, label) = match text.strip_prefix("label!=") {
            Some(label) => (true, label),
            None => (false, text.strip_prefix("label=").ok_or_else(bad)?),
        };
        let (key, value) = match label.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (label, None),
        };
        if key.is_empty() {
            return Err(bad());
        }
        Ok(LabelFilter {
            key: key.to_owned(),
            value,
            negated,
        })
    }

    /// Whether these labels fulfil it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.key);
        let has = match &self.value {
            Some(value) => found == Some(value),
            None => found.is_some(),
        };
        has != self.negated
    }
}

/// Which unused volumes go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prune {
    /// Those with names, too; otherwise only anonymous ones.
    pub all: bool,
    /// All of these must be fulfilled.
    pub labels: Vec<LabelFilter>,
}

/// What went.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Names.
    pub removed: Vec<String>,
    /// Bytes of disk that they took.
    pub bytes: u64,
    /// What could not be removed though nobody uses it.
    pub failed: Vec<Error>,
}

impl Volumes {
    /// Removes unused volumes. `claims` gives the instances, stopped ones included,
    /// that were made with a volume.
    ///
    /// # Errors
    /// The volumes can't be listed; what goes wrong with one is in the result.
    pub fn prune(&self, prune: &Prune, claims: impl Fn(&str) -> Vec<String>) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for volume in self.list()?.volumes {
            let chosen = (prune.all || volume.anonymous)
                && prune
                    .labels
                    .iter()
                    .all(|filter| filter.matches(&volume.labels));
            if !chosen || !claims(&volume.name).is_empty() {
                continue;
            }
            let size = self.inspect(&volume.name, true).ok();
            let size = size
                .and_then(|found| found.usage_data)
                .map(|usage| usage.size);
            match self.remove(&volume.name, &claims) {
                Ok(()) => {
                    pruned.bytes += size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                    pruned.removed.push(volume.name);
                }
                // Taken or removed by another meanwhile.
                Err(error) if matches!(error.kind, Kind::Conflict | Kind::NoSuch) => {}
                Err(error) => pruned.failed.push(error),
            }
        }
        Ok(pruned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VolumeSpec;

    #[test]
    fn filters_are_read_and_applied() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (text, expected) in [
            ("label=a", true),
            ("label=a=1", true),
            ("label=a=2", false),
            ("label=b", false),
            ("label!=a", false),
            ("label!=a=2", true),
            ("label!=b", true),
        ] {
            let filter = LabelFilter::parse(text).unwrap();
            assert_eq!(filter.matches(&labels), expected, "{text}");
        }
        for text in ["", "label", "label=", "label==x", "name=x"] {
            assert!(LabelFilter::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_what_nobody_uses_goes() {
        let root = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(root.path()).unwrap();
        let make = |name: Option<&str>, label: &str| {
            let labels = BTreeMap::from([(label.to_owned(), String::new())]);
            volumes
                .create(&VolumeSpec {
                    name: name.map(str::to_owned),
                    labels,
                    ..VolumeSpec::default()
                })
                .unwrap()
                .name
        };
        let anonymous = make(None, "x");
        let held = make(None, "x");
        let _held = volumes.take(&held, "one").unwrap();
        for name in ["claimed", "keep", "named"] {
            make(Some(name), name);
        }
        let claims = |name: &str| vec!["two".to_owned(); usize::from(name == "claimed")];
        let pruned = volumes.prune(&Prune::default(), claims).unwrap();
        assert_eq!(pruned.removed, [anonymous]);
        let all = Prune {
            all: true,
            labels: vec![LabelFilter::parse("label!=keep").unwrap()],
        };
        let pruned = volumes.prune(&all, claims).unwrap();
        assert_eq!(pruned.removed, ["named"]);
        assert!(pruned.failed.is_empty());
        assert_eq!(volumes.list().unwrap().volumes.len(), 3);
    }
}
