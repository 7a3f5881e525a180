//! What `config` prints: the canonical project, hashes, lists of names.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::diagnostic::hint_among;
use crate::load::Model;
use crate::merge;
use crate::schema::PROJECT;
use crate::yaml::{Data, Node};

/// What a service's hash leaves out: it does not change what runs, or does so
/// without a new instance.
const NOT_HASHED: &[&str] = &["build", "pull_policy", "scale", "depends_on", "profiles"];

/// In front of a text it has serde_yaml quote it, which knows YAML 1.2 only: a comment's
/// sign, and a character for private use, which no file has at this place.
const QUOTED: &str = "#\u{e000}";

/// Whether a plain scalar is a boolean (yaml.org/type/bool) or a number to the base 60
/// (yaml.org/type/int, yaml.org/type/float) in YAML 1.1 only.
fn is_no_text_in_yaml_1_1(text: &str) -> bool {
    const BOOLEANS: [&str; 6] = ["y", "yes", "on", "n", "no", "off"];
    let cased = |word: &&str| {
        let mut capital = word.to_string();
        capital[..1].make_ascii_uppercase();
        text == *word || text == capital || text == word.to_ascii_uppercase()
    };
    if BOOLEANS.iter().any(cased) {
        return true;
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit() || c == b'_');
    let first = parts.next().unwrap_or_default();
    let starts = first.starts_with(|c: char| c.is_ascii_digit()) && digits(first);
    let (mut count, mut all) = (0, true);
    for part in parts {
        count += 1;
        let whole = part.split('.').next().unwrap_or_default();
        all &= (1..=2).contains(&whole.len())
            && whole.parse::<u8>().is_ok_and(|number| number < 60)
            && part.split('.').all(digits);
    }
    starts && count > 0 && all
}

impl Model {
    /// The project as YAML that reads as the same project: dollars are doubled.
    /// Texts that YAML 1.1 has other types for are quoted, as many readers are of that
    /// version.
    pub fn to_yaml(&self) -> String {
        let mut tree = self.escaped();
        tree.each_scalar(&mut |node| {
            if let Data::Text(text) = &mut node.data
                && is_no_text_in_yaml_1_1(text)
            {
                text.insert_str(0, QUOTED);
            }
        });
        let text = serde_yaml::to_string(&tree).unwrap_or_default();
        text.replace(&format!("'{QUOTED}"), "'")
    }

    /// The project as JSON, indented.
    pub fn to_json(&self) -> String {
        let mut tree = self.escaped();
        let services = tree.get_mut("services").and_then(Node::as_map_mut);
        for entry in services.into_iter().flat_map(crate::yaml::Map::values_mut) {
            // Compose always has these two: nothing differs from an empty list.
            for key in ["command", "entrypoint"] {
                if entry.node.get(key).is_none() {
                    entry.node.set(key, Node::new(Data::Null, entry.key));
                }
            }
        }
        merge::arrange(&mut tree, &PROJECT);
        serde_json::to_string_pretty(&tree).unwrap_or_default() + "\n"
    }

    /// Without interpolation dollars are what the file has.
    fn escaped(&self) -> Node {
        let mut tree = self.tree.clone();
        if self.interpolated {
            tree.each_scalar(&mut |node| {
                if let Data::Text(text) = &mut node.data
                    && text.contains('$')
                {
                    *text = text.replace('$', "$$");
                }
            });
        }
        tree
    }

    fn section(&self, key: &str) -> impl Iterator<Item = (&String, &Node)> {
        let map = self.tree.get(key).and_then(Node::as_map);
        map.into_iter()
            .flatten()
            .map(|(name, entry)| (name, &entry.node))
    }

    /// Names of services, by the alphabet.
    pub fn services(&self) -> Vec<&str> {
        self.section("services")
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Names of volumes that services use.
    pub fn volumes(&self) -> Vec<&str> {
        self.section("volumes")
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Names of networks that services use.
    pub fn networks(&self) -> Vec<&str> {
        self.section("networks")
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Names of models that services use.
    pub fn models(&self) -> Vec<&str> {
        self.section("models")
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Images of services; one that is built and has no name gets
    /// `PROJECT-SERVICE`.
    pub fn images(&self) -> Vec<String> {
        let image = |(name, service): (&String, &Node)| match service.text_at("image") {
            Some(image) => image.to_owned(),
            None => format!("{}-{name}", self.name),
        };
        let mut images: Vec<String> = self.section("services").map(image).collect();
        images.sort();
        images.dedup();
        images
    }

    /// Puts other names in the place of those of images.
    ///
    /// # Errors
    /// The first name that has none to stand for it.
    pub fn replace_images<E>(
        &mut self,
        mut other: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<(), E> {
        let services = self.tree.get_mut("services").and_then(Node::as_map_mut);
        for entry in services.into_iter().flat_map(crate::yaml::Map::values_mut) {
            if let Some(image) = entry.node.get_mut("image")
                && let Some(text) = image.as_text()
            {
                image.data = Data::Text(other(text)?);
            }
        }
        Ok(())
    }

    /// Images of services by name, as a file that overrides others.
    pub fn image_lock(&self) -> String {
        let images = self.section("services").filter_map(|(name, service)| {
            let image = service.text_at("image")?;
            Some((name.clone(), serde_json::json!({ "image": image })))
        });
        let services: Map<String, Value> = images.collect();
        serde_yaml::to_string(&serde_json::json!({ "services": services })).unwrap_or_default()
    }

    /// The hash of what makes an instance of a service be made anew when it
    /// changes, in hexadecimal.
    ///
    /// # Errors
    /// No such service; the text is a hint.
    pub fn hash(&self, service: &str) -> Result<String, String> {
        let node = self
            .tree
            .get("services")
            .and_then(|services| services.get(service));
        let Some(node) = node else {
            return Err(hint_among(service, self.services()));
        };
        let mut value = serde_json::to_value(node).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, _| !NOT_HASHED.contains(&key.as_str()) && !key.starts_with("x-"));
            let deploy = map.get_mut("deploy").and_then(Value::as_object_mut);
            if let Some(deploy) = deploy {
                deploy.remove("replicas");
                if deploy.is_empty() {
                    map.remove("deploy");
                }
            }
        }
        Ok(hex::encode(Sha256::digest(sorted(value).to_string())))
    }
}

impl Model {
    /// The hash of a network's or volume's configuration, without its name in the
    /// project.
    pub(crate) fn resource_hash(&self, section: &str, key: &str) -> String {
        let node = self.tree.get(section).and_then(|section| section.get(key));
        let value = serde_json::to_value(node).unwrap_or_default();
        hex::encode(Sha256::digest(sorted(value).to_string()))
    }
}

/// Keys by the alphabet: a table that is put into another order changes no hash.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let entries = entries.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_yaml_1_1_reads_otherwise_are_known() {
        for (text, other) in [
            ("no", true),
            ("On", true),
            ("YES", true),
            ("y", true),
            ("nO", false),
            ("none", false),
            ("22:22", true),
            ("-1:30", true),
            ("1:2:3.5", true),
            ("8080:80", false),
            ("a:22", false),
            ("22:", false),
            ("22", false),
            ("", false),
            ("127.0.0.1:22:22", false),
        ] {
            assert_eq!(is_no_text_in_yaml_1_1(text), other, "{text}");
        }
    }

    #[test]
    fn quotes_are_put_around_them() {
        let text = serde_yaml::to_string(&format!("{QUOTED}no")).unwrap();
        assert_eq!(text.replace(&format!("'{QUOTED}"), "'"), "'no'\n");
    }
}
