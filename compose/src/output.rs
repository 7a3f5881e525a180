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

impl Model {
    /// The project as YAML that reads as the same project: dollars are doubled.
    pub fn to_yaml(&self) -> String {
        let tree = self.escaped();
        serde_yaml::to_string(&tree).unwrap_or_default()
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
