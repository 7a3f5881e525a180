//! `SOURCE:TARGET[:OPTIONS]` of volumes, `SOURCE[:TARGET[:PERMISSIONS]]` of
//! devices.

use super::{Reader, complaint};
use crate::diagnostic::Place;
use crate::schema::Complaint;
use crate::yaml::{Data, Map, Node};

/// A short form becomes the long one; paths of the host become absolute.
pub(crate) fn volume(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let place = node.place;
    let Some(text) = node.as_text().filter(|_| !node.is_null()) else {
        return Some(long(reader, node));
    };
    if reader.unread(&node) {
        return Some(node);
    }
    match short(text, place) {
        Ok(mount) => Some(long(reader, mount)),
        Err(Complaint { message, hint }) => {
            reader.complain(place, message, hint);
            None
        }
    }
}

fn long(reader: &Reader<'_>, mut node: Node) -> Node {
    if node.text_at("type") != Some("bind") {
        return node;
    }
    if let Some(source) = node.get_mut("source") {
        let text = source
            .as_text()
            .map(|text| match reader.lenient && text.contains('$') {
                true => text.to_owned(),
                false => reader.host_path(text),
            });
        if let Some(text) = text {
            source.data = Data::Text(text);
        }
    }
    node
}

fn empty(place: Place) -> Node {
    Node::new(Data::Map(Map::new()), place)
}

fn truth(place: Place) -> Node {
    Node::new(Data::Bool(true), place)
}

fn short(text: &str, place: Place) -> Result<Node, Complaint> {
    let hint =
        "volumes are SOURCE:TARGET[:OPTIONS]; a source that is a path starts with `.`, `/` or `~`";
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) || parts.len() > 3 {
        return Err(complaint(format!("{text:?} is no volume"), hint));
    }
    let (source, target) = match parts.as_slice() {
        [target] => (None, *target),
        [source, target, ..] => (Some(*source), *target),
        [] => (None, ""),
    };
    let path = source.is_some_and(|source| source.starts_with(['.', '/', '~']));
    let mut node = match path {
        true => Node::record(place, [("type", Node::text("bind", place))]),
        false => Node::record(place, [("type", Node::text("volume", place))]),
    };
    if let Some(source) = source {
        node.set("source", Node::text(source, place));
    }
    node.set("target", Node::text(target, place));
    let (section, mut inner) = match path {
        // What is not there is made, as it always was for short forms.
        true => (
            "bind",
            Node::record(place, [("create_host_path", truth(place))]),
        ),
        false => ("volume", empty(place)),
    };
    for option in parts
        .get(2)
        .into_iter()
        .flat_map(|options| options.split(','))
    {
        let wrong_kind = |what: &str| {
            complaint(
                format!("{text:?}: the option {option} is for {what}"),
                "take it away",
            )
        };
        match option {
            "rw" => {}
            "ro" => node.set("read_only", truth(place)),
            "cached" | "delegated" | "consistent" => {
                node.set("consistency", Node::text(option, place));
            }
            "nocopy" if path => return Err(wrong_kind("named volumes")),
            "nocopy" => inner.set("nocopy", truth(place)),
            "z" | "Z" if path => inner.set("selinux", Node::text(option, place)),
            // Labels of a named volume are its driver's business.
            "z" | "Z" => {}
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" => match path {
                true => inner.set("propagation", Node::text(option, place)),
                false => return Err(wrong_kind("folders of the host")),
            },
            _ => {
                return Err(complaint(
                    format!("{text:?}: {option:?} is no option of volumes"),
                    "there are ro, rw, nocopy, z, Z and the kinds of propagation",
                ));
            }
        }
    }
    node.set(section, inner);
    Ok(node)
}

/// A device of the host, or one by its name in the Container Device Interface.
pub(crate) fn device(reader: &mut Reader<'_>, node: Node) -> Option<Node> {
    let place = node.place;
    let Some(text) = node.as_text().filter(|_| !node.is_null()) else {
        return Some(node);
    };
    if reader.unread(&node) {
        return Some(node);
    }
    let parts: Vec<&str> = text.split(':').collect();
    let by_name = !text.starts_with('/') && text.contains('=');
    let (source, target, permissions) = match parts.as_slice() {
        _ if by_name => (text, text, "rwm"),
        [source] => (*source, *source, "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => {
            let message = format!("{text:?} is no device");
            reader.complain(
                place,
                message,
                "devices are SOURCE[:TARGET[:PERMISSIONS]]: /dev/fuse:/dev/fuse:rw",
            );
            return None;
        }
    };
    Some(Node::record(
        place,
        [
            ("source", Node::text(source, place)),
            ("target", Node::text(target, place)),
            ("permissions", Node::text(permissions, place)),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_volumes() {
        for (text, expected) in [
            (
                "data:/var/lib",
                r#"{"type":"volume","source":"data","target":"/var/lib","volume":{}}"#,
            ),
            ("/data", r#"{"type":"volume","target":"/data","volume":{}}"#),
            (
                "./src:/app:ro",
                r#"{"type":"bind","source":"./src","target":"/app","read_only":true,"bind":{"create_host_path":true}}"#,
            ),
            (
                "~/x:/y:z,rshared",
                r#"{"type":"bind","source":"~/x","target":"/y","bind":{"create_host_path":true,"selinux":"z","propagation":"rshared"}}"#,
            ),
            (
                "v:/y:nocopy,ro",
                r#"{"type":"volume","source":"v","target":"/y","read_only":true,"volume":{"nocopy":true}}"#,
            ),
        ] {
            let node = short(text, Place::default()).map_err(|wrong| wrong.message);
            assert_eq!(
                serde_json::to_string(&node.unwrap()).unwrap(),
                expected,
                "{text}"
            );
        }
        for (text, message) in [
            ("a::b", "\"a::b\" is no volume"),
            ("a:/b:ro:x", "\"a:/b:ro:x\" is no volume"),
            ("a:/b:rx", "\"a:/b:rx\": \"rx\" is no option of volumes"),
            (
                "./a:/b:nocopy",
                "\"./a:/b:nocopy\": the option nocopy is for named volumes",
            ),
            (
                "a:/b:slave",
                "\"a:/b:slave\": the option slave is for folders of the host",
            ),
        ] {
            let wrong = short(text, Place::default()).err().unwrap();
            assert_eq!(wrong.message, message, "{text}");
        }
    }
}
