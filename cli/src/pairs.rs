//! `KEY=VALUE` flags such as `--label` and `--opt`.

use std::collections::BTreeMap;

use crate::error::{Code, Failure, Result};

/// Reads them; a key alone has an empty value, and the last of a key counts.
pub(crate) fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    let read = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        match key.is_empty() {
            true => Err(Failure::new(
                Code::Invalid,
                format!("{flag} {text:?}: no name before `=`"),
            )),
            false => Ok((key.to_owned(), value.to_owned())),
        }
    };
    texts.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_keys() {
        let texts = ["a=1", "b", "c=x=y", "a=2"].map(str::to_owned);
        let map = pairs("--opt", &texts).unwrap();
        let expected = [("a", "2"), ("b", ""), ("c", "x=y")];
        assert!(
            map.iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .eq(expected)
        );
        assert!(pairs("--opt", &["=1".to_owned()]).is_err());
    }
}
