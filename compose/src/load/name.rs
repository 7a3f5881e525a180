//! The project's name: `-p`, `COMPOSE_PROJECT_NAME`, `name:` of the last file
//! that has one, or the folder's.

use std::path::PathBuf;

use super::{Loader, Located, Result};
use crate::diagnostic::{Diagnostic, Severity};
use crate::interpolate::{fill, template};
use crate::yaml::Node;

/// A name with only what names may have: lower-case letters, digits, `_`, `-`,
/// the first a letter or digit.
fn normalized(name: &str) -> String {
    let known = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let kept: String = name.to_lowercase().chars().filter(known).collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

impl Loader<'_> {
    pub(super) fn project_name(
        &mut self,
        located: &Located,
        documents: &[(PathBuf, Node)],
    ) -> Result<String> {
        let variable = located.environment.get("COMPOSE_PROJECT_NAME");
        let given = [
            ("-p", self.request.project_name.as_ref()),
            ("COMPOSE_PROJECT_NAME", variable),
        ];
        let given = given
            .into_iter()
            .find_map(|(from, name)| Some((from, name.filter(|name| !name.is_empty())?)));
        if let Some((from, name)) = given {
            if normalized(name) == *name {
                return Ok(name.clone());
            }
            let message = format!("{from}: {name:?} can't be the name of a project");
            let hint = match normalized(name).as_str() {
                "" => "names have lower-case letters, digits, `_` and `-`".to_owned(),
                better => format!("names have lower-case letters, digits, `_` and `-`: {better}"),
            };
            return Err(self.sink.stop(Diagnostic::outside(message, hint)));
        }
        let written = documents.iter().rev().find_map(|(_, document)| {
            let node = document.get("name")?;
            Some((node.place, node.as_text().filter(|_| !node.is_null())?))
        });
        if let Some((place, text)) = written {
            let lookup = |name: &str| located.environment.get(name).cloned();
            let name = template(text)
                .and_then(|parts| fill(&parts, &lookup, &mut |_| {}))
                .map_err(|wrong| {
                    self.sink
                        .stop(Diagnostic::error(place, wrong.message, wrong.hint))
                })?;
            let better = normalized(&name);
            if better.is_empty() {
                let message = format!("name: {name:?} can't be the name of a project");
                let hint = "names have lower-case letters, digits, `_` and `-`";
                return Err(self.sink.stop(Diagnostic::error(place, message, hint)));
            }
            if better != name {
                let message = format!("name: {name:?} is read as {better:?}");
                self.sink.note(
                    place,
                    message,
                    "names have lower-case letters, digits, `_` and `-`",
                );
            }
            return Ok(better);
        }
        let folder = located.directory.file_name().unwrap_or_default();
        match normalized(&folder.to_string_lossy()).as_str() {
            "" => {
                let message = "the folder's name gives no name for the project";
                let diagnostic =
                    Diagnostic::outside(message, "give one by -p, or as `name:` in the file");
                Err(self.sink.stop(diagnostic.severity(Severity::Error)))
            }
            name => Ok(name.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::normalized;

    #[test]
    fn names_keep_what_names_may_have() {
        for (name, kept) in [
            ("shop", "shop"),
            ("My Shop", "myshop"),
            ("__x-y_z", "x-y_z"),
            ("a.b", "ab"),
            ("-", ""),
            ("Über", "ber"),
        ] {
            assert_eq!(normalized(name), kept, "{name}");
        }
    }
}
