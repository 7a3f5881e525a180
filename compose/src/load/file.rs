//! One document: variables, then long forms, then include and extends, then it
//! is merged over what the documents before it gave.

use std::path::Path;

use super::{Loader, Result, Scope};
use crate::forms::Reader;
use crate::interpolate::{Rule, fill, source, template, variables};
use crate::merge;
use crate::schema::PROJECT;
use crate::yaml::{Data, Node};

impl Loader<'_> {
    /// Reads a document and merges it into the tree.
    pub(super) fn apply(
        &mut self,
        tree: &mut Node,
        path: &Path,
        document: Node,
        scope: &Scope<'_>,
    ) -> Result<()> {
        let Some(mut document) = self.long_form(document, scope) else {
            return Ok(());
        };
        if let Some(version) = document.remove("version") {
            let message = "`version` has no meaning any more";
            self.sink.warn(version.place, message, "take the line away");
        }
        self.include(&mut document, path, scope)?;
        self.extend_services(&mut document, tree, path, scope)?;
        merge::merge_records(tree, document, &PROJECT);
        Ok(())
    }

    /// Variables are replaced and short forms written out. `None`: the document
    /// is empty, or can't be used.
    pub(super) fn long_form(&mut self, mut document: Node, scope: &Scope<'_>) -> Option<Node> {
        if document.is_null() {
            return None;
        }
        self.interpolate(&mut document, scope);
        let lenient = !self.request.interpolate;
        let home = self.home.as_deref();
        let mut reader = Reader::new(&mut self.sink, scope.directory, home, lenient);
        reader.raw_paths = !self.request.resolve_paths;
        reader.read(document, &crate::schema::Shape::Record(&PROJECT))
    }

    fn interpolate(&mut self, document: &mut Node, scope: &Scope<'_>) {
        let lookup = |name: &str| scope.environment.get(name).cloned();
        let replace = self.request.interpolate;
        document.each_scalar(&mut |node| {
            let Some(text) = node.as_text().filter(|text| text.contains('$')) else {
                return;
            };
            let place = node.place;
            let parts = match template(text) {
                Ok(parts) => parts,
                Err(wrong) => return self.sink.error(place, wrong.message, wrong.hint),
            };
            variables(&parts, &mut |name, rule| {
                let variable = self.variables.entry(name.to_owned()).or_default();
                match rule {
                    Some((Rule::Default { .. }, operand)) => variable.default = source(operand),
                    Some((Rule::Required { .. }, _)) => variable.required = true,
                    Some((Rule::Other { .. }, operand)) => variable.alternate = source(operand),
                    None => {}
                }
            });
            if !replace {
                return;
            }
            let mut absent = Vec::new();
            match fill(&parts, &lookup, &mut |name| absent.push(name.to_owned())) {
                Ok(text) => node.data = Data::Text(text),
                Err(wrong) => self.sink.error(place, wrong.message, wrong.hint),
            }
            for name in absent {
                if self.unset.insert(name.clone()) {
                    let message = format!("the variable `{name}` is not set, so it is empty");
                    let hint =
                        format!("set it in the environment or in `.env`, or write ${{{name}:-}}");
                    self.sink.warn(place, message, hint);
                }
            }
        });
    }
}
