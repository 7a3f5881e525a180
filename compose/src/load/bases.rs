//! Services that are off, and whose images others that are on are built upon: they
//! are read like others, but are no part of the project.

use std::collections::BTreeSet;

use super::{Loader, Located, Result};
use crate::builds::SERVICE;
use crate::consistency;
use crate::diagnostic::hint_among;
use crate::yaml::{Entry, Map, Node};

/// What of a service matters for its image.
const KEPT: [&str; 4] = ["build", "image", "isolation", "platform"];

/// Contexts of a service's build that are images of other services.
pub(crate) fn built_upon(service: &Node) -> impl Iterator<Item = (&str, &Entry)> {
    let contexts = service
        .get("build")
        .and_then(|build| build.get("additional_contexts")?.as_map());
    let contexts = contexts.into_iter().flat_map(Map::values);
    contexts.filter_map(|entry| Some((entry.node.as_text()?.strip_prefix(SERVICE)?, entry)))
}

impl Loader<'_> {
    /// Whether any service is built upon another's image. Nothing is looked for where
    /// references are not checked.
    pub(super) fn has_bases(&self, tree: &Node) -> bool {
        let services = tree.get("services").and_then(Node::as_map);
        let mut services = services.into_iter().flat_map(Map::values);
        self.request.consistency && services.any(|entry| built_upon(&entry.node).next().is_some())
    }

    /// `whole` is the tree before services were chosen, `on` the one after.
    pub(super) fn bases(
        &mut self,
        mut whole: Node,
        on: &Node,
        name: &str,
        located: &Located,
    ) -> Result<Option<Node>> {
        let Some(services) = whole.get_mut("services").and_then(Node::as_map_mut) else {
            return Ok(None);
        };
        let on = on.get("services").and_then(Node::as_map);
        let is_on = |name: &str| on.is_some_and(|on| on.contains_key(name));
        let mut rest: Vec<String> = on.into_iter().flat_map(Map::keys).cloned().collect();
        let mut needed = BTreeSet::new();
        while let Some(service) = rest.pop() {
            if !needed.insert(service.clone()) {
                continue;
            }
            let Some(entry) = services.get(&service) else {
                continue;
            };
            for (other, context) in built_upon(&entry.node) {
                let place = context.node.place;
                let about = format!("services.{service}.build.additional_contexts");
                match services.get(other) {
                    Some(entry) if entry.node.get("build").is_some() => rest.push(other.to_owned()),
                    Some(_) => self.sink.error(
                        place,
                        format!("{about}: the service `{other}` is not built"),
                        "name its image: `docker-image://IMAGE`",
                    ),
                    None => {
                        let names: Vec<&str> = services.keys().map(String::as_str).collect();
                        self.sink.error(
                            place,
                            format!("{about}: no such service: {other}"),
                            hint_among(other, names),
                        );
                    }
                }
            }
        }
        consistency::build_circles(services, &mut self.sink);
        self.sink.check()?;
        services.retain(|name, _| needed.contains(name) && !is_on(name));
        if services.is_empty() {
            return Ok(None);
        }
        for entry in services.values_mut() {
            if let Some(map) = entry.node.as_map_mut() {
                map.retain(|key, _| KEPT.contains(&key.as_str()));
            }
        }
        self.finish(&mut whole, name, located)?;
        Ok(Some(whole))
    }
}
