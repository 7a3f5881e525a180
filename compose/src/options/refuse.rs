//! What nothing here carries out. Left out silently it would give a service less than
//! its author relies on, so it is refused by name and place, before anything is made.

use std::path::Path;

use isola_images::registry::Platform;
use isola_runtime::cgroup::{DeviceRule, check_parent};
use isola_runtime::{Error, Kind, Result};

use crate::load::Model;
use crate::project::{FileReference, Network, Project, Service};

/// Something that can't be had: its keys below the service or network, how a person
/// would write it, and what to do about it.
struct Found(Vec<&'static str>, String, &'static str);

/// Refuses the first attribute of a service that can't be had.
pub(super) fn unsupported(model: &Model, name: &str, service: &Service) -> Result<()> {
    let found = devices(service).or_else(|| others(service));
    found.map_or(Ok(()), |found| Err(refused(model, "services", name, found)))
}

fn refused(model: &Model, section: &str, name: &str, found: Found) -> Error {
    let Found(keys, text, hint) = found;
    let path: Vec<&str> = [section, name].into_iter().chain(keys).collect();
    let at = model.place(&path);
    let message = format!("{at}{section}.{name}: `{text}` is not supported");
    Error::new(Kind::Unsupported, message).hint(hint)
}

/// Refuses groups and rules that can't be read.
pub(super) fn cgroups(model: &Model, name: &str, service: &Service) -> Result<()> {
    let wrong = |keys: &[&str], text: &str, why: String, hint: &str| {
        let path = [&["services", name], keys].concat();
        let message = format!(
            "{}services.{name}.{}: {text:?}: {why}",
            model.place(&path),
            keys[0]
        );
        Err(Error::new(Kind::Invalid, message).hint(hint))
    };
    if let Some(text) = &service.cgroup_parent
        && let Err((why, hint)) = check_parent(text)
    {
        return wrong(&["cgroup_parent"], text, why, hint);
    }
    for (index, text) in service.device_cgroup_rules.iter().enumerate() {
        if let Err(why) = DeviceRule::parse(text) {
            let keys = ["device_cgroup_rules", &index.to_string()];
            let hint = "a rule is KIND MAJOR:MINOR ACCESS, as in c 10:229 rwm";
            return wrong(&keys, text, why, hint);
        }
    }
    Ok(())
}

/// Refuses a service whose image is for a platform that this host does not run, before
/// it is fetched or built.
///
/// # Errors
/// The platform, with its place.
pub fn foreign(model: &Model, name: &str, service: &Service) -> Result<()> {
    let Some(platform) = crate::builds::platform(service) else {
        return Ok(());
    };
    let native = Platform::native();
    // What is no platform is told by whoever reads it.
    let is_foreign = |text: &str| {
        let wanted = text.parse::<Platform>();
        wanted.is_ok_and(|wanted| !native.serves(&wanted))
    };
    if !is_foreign(&platform) {
        return Ok(());
    }
    let several = service.build.iter().flat_map(|build| &build.platforms);
    let (keys, platform): (&[&str], String) = match service.platform {
        Some(_) => (&["platform"], platform),
        None => (
            &["build", "platforms"],
            several.cloned().collect::<Vec<_>>().join(", "),
        ),
    };
    let at = model.place(&[&["services", name], keys].concat());
    let message = format!("{at}services.{name}: this host runs {native} only, not {platform}");
    let hint = match &service.build {
        Some(build) if service.platform.is_none() && build.platforms.len() > 1 => {
            "add this host's platform to `platforms`"
        }
        Some(_) => "`isola compose build` builds the image, for a host that runs it",
        None => "name an image that is there for this host's platform",
    };
    Err(Error::new(Kind::Unsupported, message).hint(hint))
}

fn devices(service: &Service) -> Option<Found> {
    let hint = "name the device nodes under `devices`";
    if !service.gpus.is_empty() {
        return Some(Found(vec!["gpus"], "gpus".to_owned(), hint));
    }
    let named = service
        .devices
        .iter()
        .find(|it| !it.source.starts_with('/'));
    if let Some(device) = named {
        let text = format!("devices: {}", device.source);
        return Some(Found(vec!["devices"], text, hint));
    }
    let deploy = service.deploy.as_ref()?;
    let reserved = deploy.resources.reservations.as_ref()?;
    let path = vec!["deploy", "resources", "reservations", "devices"];
    (!reserved.devices.is_empty()).then(|| Found(path.clone(), path.join("."), hint))
}

fn others(service: &Service) -> Option<Found> {
    if let Some(mode) = service.userns_mode.as_deref()
        && !matches!(mode, "" | "host")
    {
        let hint = "there is `isola run --userns`, or `isolation: vm`";
        return Some(Found(
            vec!["userns_mode"],
            format!("userns_mode: {mode}"),
            hint,
        ));
    }
    let aliased = service
        .external_links
        .iter()
        .find(|link| link.contains(':'))?;
    let hint = "instances of one network know each other by name; put both on one network";
    let text = format!("external_links: {aliased}");
    Some(Found(vec!["external_links"], text, hint))
}

/// Refuses what a network can't be.
pub(super) fn network(model: &Model, name: &str, network: &Network) -> Result<()> {
    let found = if network.enable_ipv4 == Some(false) {
        let hint = "IPv6 comes beside IPv4, by `enable_ipv6: true`";
        Found(vec!["enable_ipv4"], "enable_ipv4: false".to_owned(), hint)
    } else if let Some(driver) = &network.ipam.driver
        && driver != "default"
    {
        let hint = "addresses are given out by Isola alone; take it away";
        let text = format!("ipam.driver: {driver}");
        Found(vec!["ipam", "driver"], text, hint)
    } else if network
        .ipam
        .config
        .iter()
        .any(|pool| !pool.aux_addresses.is_empty())
    {
        let text = "ipam.config.aux_addresses".to_owned();
        let hint = "an `ip_range` keeps other addresses free";
        Found(vec!["ipam", "config"], text, hint)
    } else {
        return Ok(());
    };
    Err(refused(model, "networks", name, found))
}

/// Refuses secrets and configs of a service that are not there.
pub(super) fn contents(model: &Model, project: &Project, service: &Service) -> Result<()> {
    for (section, references) in [("secrets", &service.secrets), ("configs", &service.configs)] {
        for reference in references {
            content(model, project, section, reference)?;
        }
    }
    Ok(())
}

fn content(
    model: &Model,
    project: &Project,
    section: &str,
    reference: &FileReference,
) -> Result<()> {
    let key = &reference.source;
    let objects = match section {
        "secrets" => &project.secrets,
        _ => &project.configs,
    };
    let Some(object) = objects.get(key) else {
        return Ok(());
    };
    let at = |part: &str| model.place(&[section, key, part]);
    if object.external {
        let message = format!(
            "{}{section}.{key}: external {section} are not supported",
            at("external")
        );
        return Err(
            Error::new(Kind::Unsupported, message).hint("give it by file, environment or content")
        );
    }
    if let Some(file) = &object.file
        && let Err(error) = std::fs::metadata(Path::new(file))
    {
        let message = format!("{}{section}.{key}: cannot read {file}: {error}", at("file"));
        return Err(Error::new(Kind::Invalid, message)
            .hint("paths start in the project's folder; make the file, or name another"));
    }
    if let Some(variable) = &object.environment
        && !model.environment.contains_key(variable)
    {
        let place = at("environment");
        let message = format!("{place}{section}.{key}: the variable {variable} is not set");
        return Err(Error::new(Kind::Invalid, message)
            .hint(format!("set it, here or in .env: {variable}=...")));
    }
    Ok(())
}

/// Refuses folders of the host that are not there and are not to be made.
pub(super) fn folders(model: &Model, name: &str, service: &Service) -> Result<()> {
    for (index, mount) in service.volumes.iter().enumerate() {
        let options = mount.bind.as_ref();
        let is_made = options.is_none_or(|options| options.create_host_path.unwrap_or(true));
        let Some(source) = mount.source.as_ref().filter(|_| mount.kind == "bind") else {
            continue;
        };
        if let Err(error) = std::fs::symlink_metadata(source)
            && !is_made
        {
            let at = model.place(&["services", name, "volumes", &index.to_string()]);
            let message = format!("{at}services.{name}: cannot mount {source}: {error}");
            return Err(Error::new(Kind::Invalid, message)
                .hint("make it, or let it be made: `create_host_path: true`"));
        }
    }
    Ok(())
}
