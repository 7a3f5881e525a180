//! `include`: other projects' services, networks and so on become this one's.
//! Each has its own folder and its own `.env`; nothing may be there twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Loader, Result, Scope};
use crate::diagnostic::{Diagnostic, Place};
use crate::forms::absolute;
use crate::merge;
use crate::schema::PROJECT;
use crate::yaml::{Data, Map, Node};

impl Loader<'_> {
    /// Takes the includes of a document and puts what they bring into it.
    pub(super) fn include(
        &mut self,
        document: &mut Node,
        from: &Path,
        scope: &Scope<'_>,
    ) -> Result<()> {
        let Some(Node {
            data: Data::List(list),
            ..
        }) = document.remove("include")
        else {
            return Ok(());
        };
        for include in list {
            let other = self.included(&include, from, scope)?;
            self.sink.check()?;
            self.import(document, other)?;
        }
        Ok(())
    }

    fn included(&mut self, include: &Node, from: &Path, scope: &Scope<'_>) -> Result<Node> {
        let texts = |key: &str| -> Vec<(String, Place)> {
            let list = include.get(key).and_then(Node::as_list).unwrap_or_default();
            let text = |node: &Node| Some((node.as_text()?.to_owned(), node.place));
            list.iter().filter_map(text).collect()
        };
        let home = self.home.clone();
        let locate = |text: &str| absolute(scope.directory, home.as_deref(), text);
        let mut paths = Vec::new();
        for (text, place) in texts("path") {
            if text.contains("://") || text.starts_with("git@") {
                let message = format!("{text}: includes from the net are not supported");
                return Err(self
                    .sink
                    .stop(Diagnostic::error(place, message, "fetch it first")));
            }
            paths.push((locate(&text), place));
        }
        let Some((first, place)) = paths.first().cloned() else {
            let hint = "write `- path/to/compose.yaml`";
            return Err(self.sink.stop(Diagnostic::error(
                include.place,
                "include has no path",
                hint,
            )));
        };
        if scope.included.contains(&first) {
            let message = format!(
                "include goes in a circle: {} includes {}",
                from.display(),
                first.display()
            );
            let hint = "move what both need into a third file";
            return Err(self.sink.stop(Diagnostic::error(place, message, hint)));
        }
        let directory = match include.text_at("project_directory") {
            Some(text) => locate(text),
            None => first.parent().unwrap_or(scope.directory).to_owned(),
        };
        let env_files: Vec<PathBuf> = match texts("env_file") {
            given if given.is_empty() => Some(directory.join(".env"))
                .filter(|path| self.files.is_file(path))
                .into_iter()
                .collect(),
            given => given.iter().map(|(text, _)| locate(text)).collect(),
        };
        let environment = self.widened(scope.environment, &env_files, place)?;
        let mut included = scope.included.to_vec();
        included.push(first);
        let scope = Scope {
            directory: &directory,
            environment: &environment,
            included: &included,
        };
        let mut tree = merge::empty();
        for (path, place) in paths {
            if !self.files.is_file(&path) {
                let message = format!("the included file {} is not there", path.display());
                let hint = "paths start in the project's folder";
                return Err(self.sink.stop(Diagnostic::error(place, message, hint)));
            }
            for document in self.parse_file(&path)? {
                self.apply(&mut tree, &path, document, &scope)?;
            }
        }
        merge::settle(&mut tree, &PROJECT);
        Ok(tree)
    }

    /// The variables of an included project: what is outside wins.
    fn widened(
        &mut self,
        outside: &BTreeMap<String, String>,
        files: &[PathBuf],
        place: Place,
    ) -> Result<BTreeMap<String, String>> {
        for path in files {
            if !self.files.is_file(path) {
                let message = format!(
                    "the variables of this include are not there: {}",
                    path.display()
                );
                let hint = "env_file of an include names a file that must exist";
                return Err(self.sink.stop(Diagnostic::error(place, message, hint)));
            }
        }
        let mut environment = self.env_files(files.iter().cloned(), outside)?;
        environment.extend(outside.clone());
        Ok(environment)
    }

    /// Puts the included tree beside what is there.
    fn import(&mut self, document: &mut Node, mut other: Node) -> Result<()> {
        for section in [
            "services", "networks", "volumes", "secrets", "configs", "models",
        ] {
            let Some(Node {
                data: Data::Map(from),
                place,
                ..
            }) = other.remove(section)
            else {
                continue;
            };
            if document.get(section).is_none() {
                document.set(section, Node::new(Data::Map(Map::new()), place));
            }
            let Some(to) = document.get_mut(section).and_then(Node::as_map_mut) else {
                continue;
            };
            for (name, entry) in from {
                match to.get(&name) {
                    Some(there) if there.node == entry.node => {}
                    Some(there) => {
                        let message = format!("{section}.{name} is in an included file, too");
                        let other = self.sink.sources.show(entry.key);
                        let hint = format!(
                            "{other} has the other one; rename one, or change it in an override file"
                        );
                        self.sink.error(there.key, message, hint);
                    }
                    None => {
                        to.insert(name, entry);
                    }
                }
            }
        }
        self.sink.check()
    }
}
