//! Folders, volumes, secrets and configs of an instance.

use std::path::{Path, PathBuf};

use isola_runtime::workload::Options;
use isola_runtime::{Error, Kind, Result};

use super::{Of, contents};
use crate::project::{FileReference, Mount, Project};

/// Puts mounts into `options`. Gives the folders that must be there for them, and those
/// mounts whose sources are made with the instance.
pub(super) fn fill(
    of: &Of<'_>,
    store: &Path,
    options: &mut Options,
) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let Of {
        project, service, ..
    } = *of;
    let (mut folders, mut late) = (Vec::new(), Vec::new());
    for (index, mount) in service.volumes.iter().enumerate() {
        let text = match mount.kind.as_str() {
            "bind" => {
                let before = folders.len();
                let text = bind(mount, &mut folders);
                if folders.len() > before {
                    late.push(text.clone());
                }
                text
            }
            "volume" => volume(project, mount),
            "tmpfs" => tmpfs(mount),
            kind => {
                let at = of.at(&["volumes", &index.to_string()]);
                let message = format!("{at}: volumes of type {kind} are not supported");
                return Err(
                    Error::new(Kind::Unsupported, message).hint("there are bind, volume and tmpfs")
                );
            }
        };
        options.mount.push(text);
    }
    for text in &service.volumes_from {
        let (other, mode) = match text.strip_prefix("container:") {
            Some(rest) => {
                let (other, mode) = rest.split_once(':').unwrap_or((rest, ""));
                (other.to_owned(), mode)
            }
            None => {
                let (other, mode) = text.split_once(':').unwrap_or((text, ""));
                (super::instance_name(project, other, 1), mode)
            }
        };
        options.volumes_from.push(match mode {
            "" => other,
            mode => format!("{other}:{mode}"),
        });
    }
    owners(of, "secrets", &service.secrets)?;
    owners(of, "configs", &service.configs)?;
    for content in contents(project, service) {
        let source = content.path(store);
        let text = fields(&[
            "type=bind".to_owned(),
            format!("source={}", source.display()),
            format!("target={}", content.target),
            "readonly".to_owned(),
        ]);
        late.push(text.clone());
        options.mount.push(text);
    }
    Ok((folders, late))
}

/// Owners of secrets and configs are numbers.
fn owners(of: &Of<'_>, section: &str, references: &[FileReference]) -> Result<()> {
    for (index, reference) in references.iter().enumerate() {
        for (key, value) in [("uid", &reference.uid), ("gid", &reference.gid)] {
            if let Some(text) = value.as_ref().filter(|text| text.parse::<u32>().is_err()) {
                let at = of.at(&[section, &index.to_string(), key]);
                let message = format!("{at}: {key} {text:?} of {} is no number", reference.source);
                return Err(Error::new(Kind::Invalid, message)
                    .hint("names are known within the image only; write the number"));
            }
        }
    }
    Ok(())
}

/// Fields between commas; one that has a comma or a quote is quoted.
fn fields(parts: &[String]) -> String {
    let quoted = |part: &String| match part.contains([',', '"']) {
        true => format!("\"{}\"", part.replace('"', "\"\"")),
        false => part.clone(),
    };
    parts.iter().map(quoted).collect::<Vec<_>>().join(",")
}

fn common(kind: &str, mount: &Mount) -> Vec<String> {
    let mut parts = vec![format!("type={kind}"), format!("target={}", mount.target)];
    if mount.read_only {
        parts.push("readonly".to_owned());
    }
    if kind != "tmpfs" {
        let word = mount.consistency.as_ref();
        parts.extend(word.map(|word| format!("consistency={word}")));
    }
    parts
}

fn bind(mount: &Mount, folders: &mut Vec<PathBuf>) -> String {
    let mut parts = common("bind", mount);
    let source = mount.source.clone().unwrap_or_default();
    let options = mount.bind.clone().unwrap_or_default();
    if options.create_host_path.unwrap_or(true) {
        folders.push(PathBuf::from(&source));
    }
    parts.push(format!("source={source}"));
    parts.extend(
        options
            .propagation
            .map(|word| format!("bind-propagation={word}")),
    );
    parts.extend(
        options
            .recursive
            .map(|word| format!("bind-recursive={word}")),
    );
    fields(&parts)
}

fn volume(project: &Project, mount: &Mount) -> String {
    let mut parts = common("volume", mount);
    let key = mount.source.as_deref().filter(|key| !key.is_empty());
    if let Some(key) = key {
        let name = project
            .volumes
            .get(key)
            .map_or(key, |volume| volume.name.as_str());
        parts.push(format!("source={name}"));
    }
    let options = mount.volume.clone().unwrap_or_default();
    if options.nocopy {
        parts.push("volume-nocopy".to_owned());
    }
    parts.extend(options.subpath.map(|path| format!("volume-subpath={path}")));
    let labels = options
        .labels
        .iter()
        .map(|(key, value)| format!("volume-label={key}={value}"));
    parts.extend(labels);
    fields(&parts)
}

fn tmpfs(mount: &Mount) -> String {
    let mut parts = common("tmpfs", mount);
    let options = mount.tmpfs.clone().unwrap_or_default();
    parts.extend(options.size.map(|size| format!("tmpfs-size={}", size.0)));
    parts.extend(options.mode.map(|mode| format!("tmpfs-mode={:o}", mode.0)));
    fields(&parts)
}
