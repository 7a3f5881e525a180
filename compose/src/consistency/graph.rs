//! Circles of dependencies, and of images that are built upon each other.

use std::collections::HashMap;

use crate::diagnostic::{Place, Sink};
use crate::load::built_upon;
use crate::yaml::{Map, Node};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Done,
}

/// Tells about the first circle of dependencies.
pub(super) fn circles(tree: &Node, sink: &mut Sink) {
    let Some(services) = tree.get("services").and_then(Node::as_map) else {
        return;
    };
    let needs = |service: &Node| -> Vec<(String, Place)> {
        let needs = service.get("depends_on").and_then(Node::as_map);
        let needs = needs.into_iter().flatten();
        needs
            .map(|(name, entry)| (name.clone(), entry.key))
            .collect()
    };
    if let Some((circle, place)) = find(services, needs) {
        let message = format!("services depend on each other in a circle: {circle}");
        let hint = "none of them could be started first; take one dependency away";
        sink.error(place, message, hint);
    }
}

/// Tells about the first circle of images.
pub(crate) fn build_circles(services: &Map, sink: &mut Sink) {
    let needs = |service: &Node| -> Vec<(String, Place)> {
        let needs = built_upon(service);
        needs
            .map(|(name, entry)| (name.to_owned(), entry.node.place))
            .collect()
    };
    if let Some((circle, place)) = find(services, needs) {
        let message = format!("images are built upon each other in a circle: {circle}");
        let hint = "none of them could be built first; take one context away";
        sink.error(place, message, hint);
    }
}

type Needs = Vec<(String, Place)>;

/// The first circle as text, and the place that closes it. Not recursive: a chain of
/// dependencies may be as long as the file.
fn find(services: &Map, needs: impl Fn(&Node) -> Needs) -> Option<(String, Place)> {
    let needs = |name: &str| {
        services
            .get(name)
            .map_or(Vec::new(), |entry| needs(&entry.node))
    };
    let mut states: HashMap<String, State> = HashMap::new();
    for start in services.keys() {
        let mut path: Vec<(String, Needs)> = Vec::new();
        if !states.contains_key(start) {
            states.insert(start.clone(), State::Open);
            path.push((start.clone(), needs(start)));
        }
        while let Some((name, rest)) = path.last_mut() {
            let Some((next, place)) = rest.pop() else {
                states.insert(std::mem::take(name), State::Done);
                path.pop();
                continue;
            };
            match states.get(&next) {
                Some(State::Done) => {}
                Some(State::Open) => {
                    let names = path.iter().map(|(name, _)| name.as_str());
                    let circle: Vec<&str> = names.skip_while(|name| *name != next).collect();
                    return Some((format!("{} -> {next}", circle.join(" -> ")), place));
                }
                None => {
                    states.insert(next.clone(), State::Open);
                    path.push((next.clone(), needs(&next)));
                }
            }
        }
    }
    None
}
