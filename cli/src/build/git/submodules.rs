//! Submodules: repositories that a repository names in its `.gitmodules`.

use std::collections::BTreeMap;

use isola_build::GitAddress;

use super::Fetched;
use crate::error::{Code, Failure, Result};

/// A submodule.
pub(super) struct Module {
    /// With its commit as the reference.
    pub(super) address: GitAddress,
    /// Where its files go.
    pub(super) path: Vec<u8>,
    /// How many it is inside of.
    pub(super) depth: usize,
}

/// What is behind these paths, which stand for commits, below `folder`.
pub(super) fn modules(
    fetched: &Fetched<'_>,
    folder: Option<&str>,
    at: &[u8],
    links: Vec<(Vec<u8>, String)>,
) -> Result<Vec<Module>> {
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let urls = urls(fetched)?;
    let mut modules = Vec::new();
    for (path, commit) in links {
        let whole = match folder {
            Some(folder) => [folder.as_bytes(), b"/", &path].concat(),
            None => path.clone(),
        };
        let name = String::from_utf8_lossy(&whole).into_owned();
        // One that nothing leads to stays empty, as git leaves it.
        let Some(url) = urls.get(&name) else { continue };
        let address = fetched
            .address
            .submodule(url, &commit)
            .map_err(|why| Failure::new(Code::Invalid, format!("the submodule {name}: {why}")))?;
        modules.push(Module {
            address,
            path: match at.is_empty() {
                true => path,
                false => [at, b"/", &path].concat(),
            },
            depth: 1,
        });
    }
    Ok(modules)
}

/// Addresses by path, as `.gitmodules` has them.
fn urls(fetched: &Fetched<'_>) -> Result<BTreeMap<String, String>> {
    let blob = format!("{}:.gitmodules", fetched.commit);
    let words = ["config", "--null", "--blob", &blob, "--list"];
    let text = fetched.git.try_run(&words)?.unwrap_or_default();
    Ok(parse(&String::from_utf8_lossy(&text)))
}

/// `submodule.NAME.path<newline>VALUE<nul>` and the same with `url`.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for (key, value) in text.split('\0').filter_map(|item| item.split_once('\n')) {
        let Some((name, field)) = key
            .strip_prefix("submodule.")
            .and_then(|key| key.rsplit_once('.'))
        else {
            continue;
        };
        let module = found.entry(name).or_default();
        match field {
            "path" => module.0 = Some(value),
            "url" => module.1 = Some(value),
            _ => {}
        }
    }
    let whole = found.into_values().filter_map(|(path, url)| {
        let path = path?.trim_matches('/');
        Some((path.to_owned(), url?.to_owned()))
    });
    whole.collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn paths_lead_to_addresses() {
        let text = "submodule.a.b.path\nx/y\0submodule.a.b.url\n../c.git\0submodule.z.path\nz\0other.k\nv\0";
        let found = super::parse(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found["x/y"], "../c.git");
    }
}
