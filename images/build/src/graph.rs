//! Which stages a build needs, and what they wait for.

use std::collections::{BTreeMap, BTreeSet};

use crate::dockerfile::{Dockerfile, Instruction, Mount, MountKind};
use crate::error::{Error, Kind, Result};

/// Finds the number of a stage that stands before another: by name or number.
pub(crate) fn stage(file: &Dockerfile, before: usize, name: &str) -> Option<usize> {
    let stages = &file.stages[..before.min(file.stages.len())];
    let lower = name.to_ascii_lowercase();
    let named = stages
        .iter()
        .position(|stage| stage.name.as_deref() == Some(lower.as_str()));
    named.or_else(|| name.parse().ok().filter(|number| *number < stages.len()))
}

/// The stage to build.
pub(crate) fn target(file: &Dockerfile, name: Option<&str>) -> Result<usize> {
    let Some(name) = name else {
        return Ok(file.stages.len() - 1);
    };
    stage(file, file.stages.len(), name).ok_or_else(|| {
        let names: Vec<&str> = file
            .stages
            .iter()
            .filter_map(|stage| stage.name.as_deref())
            .collect();
        let error = Error::new(Kind::Invalid, format!("there is no stage {name:?}"));
        match names.is_empty() {
            true => error,
            false => error.hint(format!("the stages are called {}", names.join(", "))),
        }
    })
}

/// The stages that are needed for `target`, itself among them. `bases` are the names
/// after FROM; `contexts` hide stages.
pub(crate) fn needed(
    file: &Dockerfile,
    target: usize,
    bases: &[String],
    contexts: &BTreeSet<String>,
) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut needed = BTreeMap::new();
    let mut todo = vec![target];
    while let Some(index) = todo.pop() {
        if needed.contains_key(&index) {
            continue;
        }
        let names = [bases[index].clone()]
            .into_iter()
            .chain(sources(file, index));
        let found: BTreeSet<usize> = names
            .filter(|name| !contexts.contains(name))
            .filter_map(|name| stage(file, index, &name))
            .collect();
        todo.extend(&found);
        needed.insert(index, found);
    }
    needed
}

/// What a stage's instructions take files from.
fn sources(file: &Dockerfile, index: usize) -> Vec<String> {
    let mut names = Vec::new();
    for item in &file.stages[index].items {
        match &item.instruction {
            Instruction::Copy(copy) => names.extend(copy.from.iter().map(|word| word.text.clone())),
            Instruction::Run(run) => {
                let mounts = run
                    .mounts
                    .iter()
                    .filter_map(|word| Mount::parse(&word.text).ok());
                names.extend(mounts.filter_map(|mount| match mount.kind {
                    MountKind::Bind { from, .. } | MountKind::Cache { from, .. } => from,
                    _ => None,
                }));
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse;

    #[test]
    fn only_what_is_needed_is_built() {
        let text = "FROM a AS one\nFROM b AS two\nFROM one\nCOPY --from=two /x /y\n\
            FROM c AS last\nRUN --mount=type=bind,from=one,target=/m x\n";
        let file = parse(text).unwrap();
        let bases: Vec<String> = file
            .stages
            .iter()
            .map(|s| s.from.image.text.clone())
            .collect();
        let none = BTreeSet::new();
        let sets = |target| {
            let needed = needed(&file, target, &bases, &none);
            needed
                .into_iter()
                .map(|(at, of)| (at, of.into_iter().collect()))
                .collect::<Vec<(usize, Vec<usize>)>>()
        };
        assert_eq!(sets(3), [(0, vec![]), (3, vec![0])]);
        assert_eq!(sets(2), [(0, vec![]), (1, vec![]), (2, vec![0, 1])]);
        assert_eq!(target(&file, Some("TWO")).unwrap(), 1);
        assert_eq!(target(&file, Some("2")).unwrap(), 2);
        assert_eq!(target(&file, None).unwrap(), 3);
        assert!(
            target(&file, Some("none"))
                .unwrap_err()
                .hint
                .unwrap()
                .contains("one, two, last")
        );
        let hidden = BTreeSet::from(["one".to_owned()]);
        assert_eq!(super::needed(&file, 3, &bases, &hidden).len(), 1);
    }
}
