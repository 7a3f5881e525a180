//! Images of services: fetched, built, or found, before anything is made of them.

use std::collections::{BTreeMap, BTreeSet};

use isola_compose::project::{Project, Service};
use isola_compose::{built_images, image};
use isola_images::{Error, Pinned, Store};

use super::building::{self, Extra};
use super::scope::Scope;
use super::work::Images;
use crate::context::Context;
use crate::error::{Code, Failure, Result};
use crate::output::{clean, print_line};
use crate::pulling;

/// What flags say about images.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Getting<'a> {
    /// `--pull`: always, missing, never, policy.
    pub(super) pull: Option<&'a str>,
    pub(super) quiet_pull: bool,
    /// `--build` or `--no-build`.
    pub(super) build: Option<bool>,
    pub(super) quiet_build: bool,
    /// Nothing is fetched or built; it is said instead.
    pub(super) dry: bool,
}

/// What an image needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It must be here, or is what another service builds.
    Here,
    /// It is fetched: always, or if it is missing.
    Pull { always: bool },
    /// It is fetched, and built if that fails.
    PullOrBuild { always: bool },
    /// It is built: always, or if it is missing.
    Build { always: bool },
}

/// All images of the project's services that `only` is for.
pub(super) fn images(
    context: &Context,
    scope: &Scope,
    only: &dyn Fn(&str) -> bool,
    getting: &Getting<'_>,
) -> Result<Images> {
    let (model, project) = scope.file()?;
    let store = context.store()?;
    // Nobody waits for an image that can't be run.
    for (name, service) in project.services.iter().filter(|(name, _)| only(name)) {
        isola_compose::foreign(model, name, service)?;
    }
    let elsewhere = built_images(project);
    let mut needs: BTreeMap<String, (&str, &Service, Need)> = BTreeMap::new();
    for (name, service) in project.services.iter().filter(|(name, _)| only(name)) {
        let image = image(project, name, service);
        let need = match need(service, getting) {
            // The service that builds it says how.
            Need::Pull { .. } if service.build.is_none() && elsewhere.contains(&image) => {
                Need::Here
            }
            need => need,
        };
        let entry = needs.entry(image).or_insert((name, service, need));
        if entry.2 == Need::Here {
            *entry = (name, service, need);
        }
    }
    let mut building = BTreeSet::new();
    let mut images = Images::new();
    for (image, (name, service, need)) in &needs {
        match fetch(context, &store, image, (name, service, *need), getting)? {
            Fetched::Here(found) => drop(images.insert(image.clone(), *found)),
            Fetched::Build => drop(building.insert(*name)),
            Fetched::Later => {}
        }
    }
    match getting.dry {
        true => building
            .iter()
            .for_each(|name| drop(print_line(&format!("build the image of {name}")))),
        false => {
            let screen = scope.screen.quiet(getting.quiet_build);
            building::build(context, scope, &building, &Extra::default(), screen)?;
        }
    }
    for (image, (name, service, _)) in &needs {
        if images.contains_key(image) {
            continue;
        }
        match find(context, image, service, "never", getting) {
            Ok(found) => drop(images.insert(image.clone(), found)),
            Err(_) if getting.dry => {}
            Err(failure) => return Err(absent(project, failure, image, (name, service))),
        }
    }
    Ok(images)
}

enum Fetched {
    Here(Box<Pinned>),
    Build,
    /// It is looked for when all is built.
    Later,
}

fn fetch(
    context: &Context,
    store: &Store,
    image: &str,
    (name, service, need): (&str, &Service, Need),
    getting: &Getting<'_>,
) -> Result<Fetched> {
    let when = |always: bool| if always { "always" } else { "missing" };
    let missing = || {
        let found = store.resolve(image);
        matches!(found, Err(Error::NotFound(_) | Error::BlobMissing(_)))
    };
    match need {
        Need::Here => Ok(Fetched::Later),
        Need::Build { always } if always || missing() => Ok(Fetched::Build),
        Need::Build { .. } => Ok(Fetched::Later),
        Need::Pull { always } | Need::PullOrBuild { always } if getting.dry => {
            if always || missing() {
                print_line(&format!("pull image {}", clean(image)))?;
            }
            Ok(Fetched::Later)
        }
        Need::Pull { always } => find(context, image, service, when(always), getting)
            .map(|found| Fetched::Here(Box::new(found)))
            .map_err(|failure| failure.about(&format!("services.{name}"))),
        Need::PullOrBuild { always } => {
            match find(context, image, service, when(always), getting) {
                Ok(found) => Ok(Fetched::Here(Box::new(found))),
                Err(failure) => {
                    let why = clean(&failure.message);
                    eprintln!("warning: services.{name}: {why}; it is built instead");
                    Ok(Fetched::Build)
                }
            }
        }
    }
}

fn find(
    context: &Context,
    image: &str,
    service: &Service,
    when: &str,
    getting: &Getting<'_>,
) -> Result<Pinned> {
    let wanted = pulling::Wanted {
        when,
        platform: service.platform.as_deref(),
        quiet: getting.quiet_pull,
    };
    // Options were checked for all services before the first image is asked for.
    pulling::find(context, image, &wanted, &|| Ok(()))
}

fn absent(
    project: &Project,
    failure: Failure,
    image: &str,
    (name, service): (&str, &Service),
) -> Failure {
    let built = service.build.is_some() || built_images(project).contains(image);
    match failure.code {
        Code::NoImage if built => {
            let message = format!(
                "services.{name}: the image {image} is not here, and it is not to be built"
            );
            Failure::new(Code::NoImage, message).hint("`isola compose build` builds it")
        }
        _ => failure.about(&format!("services.{name}")),
    }
}

/// As Compose chooses: what can be built is fetched only where a policy says so.
fn need(service: &Service, getting: &Getting<'_>) -> Need {
    let flag = getting.pull.filter(|flag| *flag != "policy");
    let policy = flag.or(service.pull_policy.as_deref());
    // Times that a policy may name are those after which it is asked for again.
    let always = match policy {
        Some("always" | "daily" | "weekly" | "refresh") => Some(true),
        Some(word) if word.starts_with("every_") => Some(true),
        Some("missing" | "if_not_present") => Some(false),
        _ => None,
    };
    let named = service
        .image
        .as_ref()
        .is_some_and(|image| !image.is_empty());
    let never = policy == Some("never");
    match (service.build.is_some(), getting.build) {
        (true, Some(true)) => Need::Build { always: true },
        (true, None) if policy == Some("build") => Need::Build { always: true },
        (true, None) => match always.filter(|_| named) {
            Some(always) => Need::PullOrBuild { always },
            None => Need::Build { always: false },
        },
        (true, Some(false)) => match always.filter(|_| named) {
            Some(always) => Need::Pull { always },
            None => Need::Here,
        },
        (false, _) if never => Need::Here,
        (false, _) => Need::Pull {
            always: always.unwrap_or(false),
        },
    }
}

#[cfg(test)]
mod tests {
    use isola_compose::project::Build;

    use super::*;

    #[test]
    fn what_is_fetched_and_what_is_built() {
        let service = |build: bool, image: &str, policy: &str| Service {
            build: build.then(Build::default),
            image: Some(image.to_owned()).filter(|image| !image.is_empty()),
            pull_policy: Some(policy.to_owned()).filter(|policy| !policy.is_empty()),
            ..Service::default()
        };
        let flags = |pull: Option<&'static str>, build: Option<bool>| Getting {
            pull,
            build,
            ..Getting::default()
        };
        let none = flags(None, None);
        for (of, getting, wanted) in [
            (service(false, "a", ""), none, Need::Pull { always: false }),
            (
                service(false, "a", "always"),
                none,
                Need::Pull { always: true },
            ),
            (
                service(false, "a", "every_12h"),
                none,
                Need::Pull { always: true },
            ),
            (service(false, "a", "never"), none, Need::Here),
            (
                service(false, "a", "never"),
                flags(Some("always"), None),
                Need::Pull { always: true },
            ),
            (
                service(false, "a", "always"),
                flags(Some("policy"), None),
                Need::Pull { always: true },
            ),
            (
                service(false, "a", ""),
                flags(None, Some(true)),
                Need::Pull { always: false },
            ),
            (service(true, "", ""), none, Need::Build { always: false }),
            (service(true, "a", ""), none, Need::Build { always: false }),
            (
                service(true, "a", "build"),
                none,
                Need::Build { always: true },
            ),
            (
                service(true, "a", "never"),
                none,
                Need::Build { always: false },
            ),
            (
                service(true, "a", "missing"),
                none,
                Need::PullOrBuild { always: false },
            ),
            (
                service(true, "", "missing"),
                none,
                Need::Build { always: false },
            ),
            (
                service(true, "a", ""),
                flags(Some("always"), None),
                Need::PullOrBuild { always: true },
            ),
            (
                service(true, "a", "always"),
                flags(None, Some(true)),
                Need::Build { always: true },
            ),
            (
                service(true, "a", "build"),
                flags(None, Some(false)),
                Need::Here,
            ),
            (
                service(true, "a", "always"),
                flags(None, Some(false)),
                Need::Pull { always: true },
            ),
        ] {
            assert_eq!(need(&of, &getting), wanted, "{of:?} {getting:?}");
        }
    }
}
