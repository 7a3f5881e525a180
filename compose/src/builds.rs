//! What services build: which images, what each is built upon, and what is asked of
//! each build. Pure; what can't be done is refused here, before anything is built.

mod check;

use std::collections::{BTreeMap, BTreeSet};

use isola_images::registry::Platform;
use isola_runtime::workload::Isolation;
use isola_runtime::{Error, Kind, Result};

pub(crate) use check::check;

use crate::label;
use crate::options::image;
use crate::project::{Build, Labels, Project, Service};

/// A context that is another service's image.
pub(crate) const SERVICE: &str = "service:";

/// An image that is to be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Building {
    /// The service that it is for; the first, if several have it.
    pub service: String,
    /// Its name.
    pub image: String,
    /// What the file says of it.
    pub build: Build,
    /// Walls of its steps: those of the build, else those of the service; empty: the
    /// user's default.
    pub walls: Vec<Isolation>,
    /// What it is built for; none: this host. Steps that run programs are for this
    /// host alone, and refused by the build for others.
    pub platform: Option<Platform>,
    /// Further contexts that are images of services, by the names of the contexts:
    /// these images are built before it.
    pub upon: BTreeMap<String, String>,
    /// The image's labels.
    pub labels: Labels,
}

/// What has to be built for these services, each after what it is built upon. An
/// image that several services share is built once.
///
/// # Errors
/// A build that can't be had, by its attribute; an image that is built in two ways.
pub fn builds(project: &Project, services: &BTreeSet<&str>) -> Result<Vec<Building>> {
    let mut found = Vec::new();
    for name in services {
        add(project, name, &mut found)?;
    }
    Ok(found)
}

/// Images that services of a project build, by their names.
pub fn built_images(project: &Project) -> BTreeSet<String> {
    project
        .services
        .iter()
        .filter(|(_, service)| service.build.is_some())
        .map(|(name, service)| image(project, name, service))
        .collect()
}

fn find<'a>(project: &'a Project, name: &str) -> Option<&'a Service> {
    let on = project.services.get(name);
    on.or_else(|| project.bases.get(name))
}

/// Circles were refused when the file was read, so this ends.
fn add(project: &Project, name: &str, found: &mut Vec<Building>) -> Result<()> {
    let Some(service) = find(project, name) else {
        return Err(Error::new(Kind::NoSuch, format!("no such service: {name}")));
    };
    let Some(build) = &service.build else {
        return Ok(());
    };
    refuse(name, service, build)?;
    let platform = platforms(name, service, build)?;
    let mut upon = BTreeMap::new();
    for (context, source) in &build.additional_contexts {
        let Some(other) = source.strip_prefix(SERVICE) else {
            continue;
        };
        add(project, other, found)?;
        let of = find(project, other).map(|service| image(project, other, service));
        upon.extend(of.map(|image| (context.clone(), image)));
    }
    let made = Building {
        service: name.to_owned(),
        image: image(project, name, service),
        build: build.clone(),
        walls: walls(service, build),
        platform,
        upon,
        labels: labels(project, name, build),
    };
    match found.iter().find(|other| other.image == made.image) {
        None => found.push(made),
        Some(other)
            if other.build == made.build
                && other.walls == made.walls
                && other.platform == made.platform => {}
        Some(other) => {
            let message = format!(
                "services.{name}: the image {} is built by services.{}, too, and in another way",
                made.image, other.service
            );
            return Err(
                Error::new(Kind::Invalid, message).hint("give each its own `image`, or none")
            );
        }
    }
    Ok(())
}

fn walls(service: &Service, build: &Build) -> Vec<Isolation> {
    match build.isolation.0.is_empty() {
        // What a service's author does not trust is not trusted while it is built.
        true => service.isolation.0.clone(),
        false => build.isolation.0.clone(),
    }
}

/// As Compose writes them.
fn labels(project: &Project, service: &str, build: &Build) -> Labels {
    let mut labels = build.labels.clone();
    for (key, value) in [
        (label::PROJECT, project.name.as_str()),
        (label::SERVICE, service),
        (label::VERSION, env!("CARGO_PKG_VERSION")),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

/// Refuses the first attribute that can't be had: left out silently it would give
/// another image than its author means.
fn refuse(name: &str, service: &Service, build: &Build) -> Result<()> {
    let refused = |what: &str, hint: &str| {
        let message = format!("services.{name}.build: {what}");
        Err(Error::new(Kind::Unsupported, message).hint(hint))
    };
    if build.privileged {
        let hint = "steps have the capabilities of a container; `isolation: vm` gives them a kernel of their own";
        return refused("`privileged` is not supported", hint);
    }
    if let Some(word) = build.entitlements.first() {
        return refused(
            &format!("the entitlement {word} is not supported"),
            "take it away: steps get no more than containers have",
        );
    }
    let network = build.network.as_deref().unwrap_or("default");
    if !matches!(network, "" | "default" | "none" | "host") {
        return refused(
            &format!("`network: {network}` is not supported"),
            "there are default, none and host",
        );
    }
    if let Some(wall) = walls(service, build)
        .into_iter()
        .find(|wall| *wall != Isolation::Container)
        && network == "host"
    {
        return refused(
            &format!("`network: host` can't be had behind the wall {wall}"),
            "take it away, or write `isolation: container` under `build`",
        );
    }
    Ok(())
}

/// The platform that a service's image is built for, as the file says it; none: this
/// host's. One of several is the service's own, else this host's.
pub(crate) fn platform(service: &Service) -> Option<String> {
    let native = Platform::native();
    let platforms = service.build.as_ref().map(|build| &build.platforms);
    let mut several = platforms.into_iter().flatten();
    let serves = |text: &&String| {
        let wanted = text.parse::<Platform>();
        wanted.is_ok_and(|wanted| native.serves(&wanted))
    };
    let own = service.platform.clone().filter(|text| !text.is_empty());
    own.or_else(|| several.clone().find(serves).or(several.next()).cloned())
}

/// Refuses platforms that can't be had: a stack builds an image for one, which is also run.
fn platforms(name: &str, service: &Service, build: &Build) -> Result<Option<Platform>> {
    let Some(chosen) = platform(service) else {
        return Ok(None);
    };
    let of = |text: &str| {
        text.parse::<Platform>().map_err(|error| {
            let message = format!("services.{name}.build: the platform {text:?}: {error}");
            Error::new(Kind::Invalid, message).hint("write it as linux/amd64 or linux/arm64")
        })
    };
    let wanted = of(&chosen)?;
    let mut is_there = build.platforms.is_empty();
    for text in &build.platforms {
        is_there |= of(text)? == wanted;
    }
    if !is_there {
        let message = format!(
            "services.{name}.build: `platforms` has not the service's own platform {chosen}"
        );
        return Err(Error::new(Kind::Invalid, message).hint(format!("add {chosen} to `platforms`")));
    }
    let native = Platform::native();
    if build.platforms.len() > 1 && service.platform.is_none() && !native.serves(&wanted) {
        let all = build.platforms.join(", ");
        let message = format!(
            "services.{name}.build: a stack builds an image for one platform, and none of {all} is this host's {native}"
        );
        return Err(Error::new(Kind::Unsupported, message).hint(
            "say by `platform` which of them is meant; `isola build --platform` takes several",
        ));
    }
    Ok(Some(wanted))
}
