//! Folders, volumes, secrets and configs of an instance.

use std::path::{Path, PathBuf};

use isola_runtime::workload::Options;
use isola_runtime::{Error, Kind, Result};

use super::contents;
use crate::project::{Mount, Project, Service};

/// Puts mounts into `options`, and into `folders` what must be there for them.
pub(super) fn fill(
    project: &Project,
    name: &str,
    service: &Service,
    store: &Path,
    options: &mut Options,
    folders: &mut Vec<PathBuf>,
) -> Result<()> {
    for mount in &service.volumes {
        let text = match mount.kind.as_str() {
            "bind" => bind(mount, folders),
            "volume" => volume(project, mount),
            "tmpfs" => tmpfs(mount),
            kind => {
                let message = format!("services.{name}: volumes of type {kind} are not supported");
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
    for reference in service.secrets.iter().chain(&service.configs) {
        for (key, value) in [("uid", &reference.uid), ("gid", &reference.gid)] {
            if let Some(text) = value.as_ref().filter(|text| text.parse::<u32>().is_err()) {
                let message = format!(
                    "services.{name}: {key} {text:?} of {} is no number",
                    reference.source
                );
                return Err(Error::new(Kind::Invalid, message)
                    .hint("names are known within the image only; write the number"));
            }
        }
    }
    for content in contents(project, service) {
        let source = content.path(store);
        options.mount.push(fields(&[
            "type=bind".to_owned(),
            format!("source={}", source.display()),
            format!("target={}", content.target),
            "readonly".to_owned(),
        ]));
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
