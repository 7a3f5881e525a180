//! Secrets and configs: files that an instance gets.
//!
//! One that is a file of the host, as it is, is shown to the instance by itself.
//! Others (given by a variable or in the compose file, or with an owner or mode of
//! their own) are written below the data root, under a name that comes from what
//! they hold, and shown from there: the same on every wall, and there again after
//! the host was restarted.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::load::Model;
use crate::project::{FileObject, FileReference, Project, Service};

/// A file that an instance gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Where it is within the instance.
    pub target: String,
    /// Where it comes from.
    pub source: Source,
    /// Owner, group and mode, for what is written.
    pub owner: (u32, u32),
    /// File mode.
    pub mode: u32,
}

/// Where a content comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of the host, shown as it is.
    Shown(PathBuf),
    /// A file of the host that is copied.
    Copied(PathBuf),
    /// A variable of the user's environment.
    Variable(String),
    /// The text itself.
    Text(String),
}

/// What everybody may read, as Compose has it.
const MODE: u32 = 0o444;

/// All files that a service gets.
pub fn contents(project: &Project, service: &Service) -> Vec<Content> {
    let secrets = service.secrets.iter().filter_map(|reference| {
        let target = match reference.target.as_deref() {
            Some(target) if target.starts_with('/') => target.to_owned(),
            Some(target) => format!("/run/secrets/{target}"),
            None => format!("/run/secrets/{}", reference.source),
        };
        content(project.secrets.get(&reference.source)?, reference, target)
    });
    let configs = service.configs.iter().filter_map(|reference| {
        let target = match reference.target.as_deref() {
            Some(target) if target.starts_with('/') => target.to_owned(),
            Some(target) => format!("/{target}"),
            None => format!("/{}", reference.source),
        };
        content(project.configs.get(&reference.source)?, reference, target)
    });
    secrets.chain(configs).collect()
}

fn content(object: &FileObject, reference: &FileReference, target: String) -> Option<Content> {
    let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    let plain = reference.uid.is_none() && reference.gid.is_none() && reference.mode.is_none();
    let source = match (&object.file, &object.environment, &object.content) {
        (Some(file), ..) if plain => Source::Shown(PathBuf::from(file)),
        (Some(file), ..) => Source::Copied(PathBuf::from(file)),
        (_, Some(variable), _) => Source::Variable(variable.clone()),
        (.., Some(text)) => Source::Text(text.clone()),
        _ => return None,
    };
    Some(Content {
        target,
        source,
        owner: (
            number(&reference.uid).unwrap_or(0),
            number(&reference.gid).unwrap_or(0),
        ),
        mode: reference.mode.map_or(MODE, |mode| mode.0),
    })
}

impl Content {
    /// Where it is on the host. The name of what is written is a hash of where it
    /// comes from and how it is to be, so that two of one text never share a mode.
    pub fn path(&self, store: &Path) -> PathBuf {
        let text = match &self.source {
            Source::Shown(path) => return path.clone(),
            Source::Copied(path) => format!("file {}", path.display()),
            Source::Variable(name) => format!("variable {name}"),
            Source::Text(text) => format!("text {text}"),
        };
        let key = format!("{text}\0{}\0{:?}\0{}", self.target, self.owner, self.mode);
        store.join(hex::encode(&Sha256::digest(key)[..16]))
    }
}

/// A hash of what variables hold that secrets and configs come from: when it changes
/// the instance is made anew. Texts of the file itself are in its hash here, too,
/// because the service's own hash has only their names.
pub(crate) fn hash(model: &Model, project: &Project, service: &Service) -> Option<String> {
    let mut hasher = Sha256::new();
    let mut any = false;
    for content in contents(project, service) {
        let text = match &content.source {
            Source::Shown(_) => continue,
            Source::Copied(path) => std::fs::read(path).unwrap_or_default(),
            Source::Variable(name) => {
                let value = model.environment.get(name).cloned();
                value.unwrap_or_default().into_bytes()
            }
            Source::Text(text) => text.clone().into_bytes(),
        };
        any = true;
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    any.then(|| hex::encode(hasher.finalize()))
}
