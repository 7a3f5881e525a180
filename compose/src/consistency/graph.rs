//! Circles of dependencies.

use std::collections::HashMap;

use crate::diagnostic::Sink;
use crate::yaml::{Entry, Map, Node};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Done,
}

/// Tells about the first circle. Not recursive: a chain of dependencies may be
/// as long as the file.
pub(super) fn circles(tree: &Node, sink: &mut Sink) {
    let Some(services) = tree.get("services").and_then(Node::as_map) else {
        return;
    };
    let mut states: HashMap<&str, State> = HashMap::new();
    for start in services.keys() {
        let mut path: Vec<(&str, Vec<&str>)> = Vec::new();
        if !states.contains_key(start.as_str()) {
            states.insert(start, State::Open);
            path.push((start, needs(services, start)));
        }
        while let Some((name, rest)) = path.last_mut() {
            let Some(next) = rest.pop() else {
                states.insert(name, State::Done);
                path.pop();
                continue;
            };
            match states.get(next) {
                Some(State::Done) => {}
                Some(State::Open) => {
                    let from = *name;
                    let names = path.iter().map(|(name, _)| *name);
                    let circle: Vec<&str> = names.skip_while(|name| *name != next).collect();
                    tell(services, from, next, &circle, sink);
                    return;
                }
                None => {
                    states.insert(next, State::Open);
                    path.push((next, needs(services, next)));
                }
            }
        }
    }
}

fn needs<'a>(services: &'a Map, name: &str) -> Vec<&'a str> {
    let service = services.get(name);
    let needs = service.and_then(|entry| entry.node.get("depends_on")?.as_map());
    needs
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect()
}

fn tell(services: &Map, from: &str, next: &str, circle: &[&str], sink: &mut Sink) {
    let dependency: Option<&Entry> = services
        .get(from)
        .and_then(|entry| entry.node.get("depends_on")?.as_map()?.get(next));
    let place = dependency.map(|entry| entry.key).unwrap_or_default();
    let message = format!(
        "services depend on each other in a circle: {} -> {next}",
        circle.join(" -> ")
    );
    sink.error(
        place,
        message,
        "none of them could be started first; take one dependency away",
    );
}
