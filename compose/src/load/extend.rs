//! `extends`: a service starts from another one, of the same file or of another.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Loader, Result, Scope};
use crate::diagnostic::{Diagnostic, Place, hint_among};
use crate::forms::absolute;
use crate::merge;
use crate::schema::{PROJECT, SERVICE};
use crate::yaml::{Data, Entry, Map, Node};

/// Services that extend services that extend...
const DEPTH: usize = 50;

/// Services among which names are looked up.
struct Among<'a> {
    path: &'a Path,
    services: &'a Node,
    /// Those of earlier files.
    earlier: Option<&'a Node>,
}

impl Among<'_> {
    fn get(&self, name: &str) -> Option<&Node> {
        let here = self.services.get(name);
        here.or_else(|| self.earlier.and_then(|earlier| earlier.get(name)))
    }
}

impl Loader<'_> {
    pub(super) fn extend_services(
        &mut self,
        document: &mut Node,
        tree: &Node,
        path: &Path,
        scope: &Scope<'_>,
    ) -> Result<()> {
        let extends = |service: &Node| service.get("extends").is_some();
        let any = |services: &Node| {
            let map = services.as_map();
            map.is_some_and(|map| map.values().any(|entry| extends(&entry.node)))
        };
        if !document.get("services").is_some_and(any) {
            return Ok(());
        }
        let Some(services) = document.remove("services") else {
            return Ok(());
        };
        let among = Among {
            path,
            services: &services,
            earlier: tree.get("services"),
        };
        let mut extended = Map::new();
        for (name, entry) in services.as_map().into_iter().flatten() {
            let node = match extends(&entry.node) {
                true => self.extended(name, entry.key, &among, scope, &mut Vec::new())?,
                false => entry.node.clone(),
            };
            extended.insert(
                name.clone(),
                Entry {
                    key: entry.key,
                    node,
                },
            );
        }
        document.set("services", Node::new(Data::Map(extended), services.place));
        Ok(())
    }

    /// A service with all that it extends. `chain`: who led here.
    fn extended(
        &mut self,
        name: &str,
        place: Place,
        among: &Among<'_>,
        scope: &Scope<'_>,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Result<Node> {
        let Some(service) = among.get(name) else {
            let names = among.services.as_map().into_iter().flat_map(Map::keys);
            let hint = hint_among(name, names.map(String::as_str).collect::<Vec<_>>());
            let message = format!(
                "the service `{name}` that is extended is not in {}",
                among.path.display()
            );
            return Err(self.sink.stop(Diagnostic::error(place, message, hint)));
        };
        let mut service = service.clone();
        let link = (among.path.to_owned(), name.to_owned());
        if chain.contains(&link) || chain.len() >= DEPTH {
            let names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).collect();
            let message = match chain.contains(&link) {
                true => format!("extends goes in a circle: {} -> {name}", names.join(" -> ")),
                false => format!("more than {DEPTH} services extend each other in a row"),
            };
            let hint = "a service can't start from itself";
            return Err(self.sink.stop(Diagnostic::error(place, message, hint)));
        }
        let Some(extends) = service.remove("extends") else {
            return Ok(service);
        };
        let (Some(base), place) = (extends.text_at("service"), extends.place) else {
            let hint = "write `extends: {service: NAME}`";
            return Err(self.sink.stop(Diagnostic::error(
                extends.place,
                "extends names no service",
                hint,
            )));
        };
        chain.push(link);
        let mut node = match extends.get("file") {
            None => self.extended(base, place, among, scope, chain)?,
            Some(file) => self.extended_from(base, file, scope, chain)?,
        };
        merge::merge_records(&mut node, service, &SERVICE);
        chain.pop();
        Ok(node)
    }

    /// A service of another file; its paths start in that file's folder.
    fn extended_from(
        &mut self,
        base: &str,
        file: &Node,
        scope: &Scope<'_>,
        chain: &mut Vec<(PathBuf, String)>,
    ) -> Result<Node> {
        let text = file.as_text().unwrap_or_default();
        let path = absolute(scope.directory, self.home.as_deref(), text);
        if !self.files.is_file(&path) {
            let message = format!("the file {} that is extended is not there", path.display());
            let hint =
                "paths start in the project's folder, within an extended file in that file's";
            return Err(self.sink.stop(Diagnostic::error(file.place, message, hint)));
        }
        let directory = path.parent().unwrap_or(scope.directory).to_owned();
        let inner = Scope {
            directory: &directory,
            ..*scope
        };
        let services = self.services_of(&path, &inner)?;
        let among = Among {
            path: &path,
            services: &services,
            earlier: None,
        };
        self.extended(base, file.place, &among, &inner, chain)
    }

    /// Services of another file in long form, read once.
    fn services_of(&mut self, path: &Path, scope: &Scope<'_>) -> Result<Rc<Node>> {
        if let Some(services) = self.extended.get(path) {
            return Ok(Rc::clone(services));
        }
        let mut tree = merge::empty();
        for document in self.parse_file(path)? {
            if let Some(document) = self.long_form(document, scope) {
                merge::merge_records(&mut tree, document, &PROJECT);
            }
        }
        self.sink.check()?;
        let services = Rc::new(tree.remove("services").unwrap_or_else(merge::empty));
        self.extended.insert(path.to_owned(), Rc::clone(&services));
        Ok(services)
    }
}
