//! Images of services: fetched, built, or found, before anything is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use isola_compose::project::{Project, Service};
use isola_compose::{built_images, image};
use isola_images::{Error, Pinned, Reference, Store};

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

/// When an image is fetched that is here already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Never,
    Always,
    /// When the last pull is longer ago.
    After(Duration),
}

/// What an image needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It must be here, or is what another service builds.
    Here,
    /// It is fetched if it is missing, or again.
    Pull(Again),
    /// It is fetched, and built if that fails.
    PullOrBuild(Again),
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
            Need::Pull(_) if service.build.is_none() && elsewhere.contains(&image) => Need::Here,
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
    let due = |again: Again| match again {
        Again::Never => false,
        Again::Always => true,
        Again::After(span) => is_due(last_pull(store, image), SystemTime::now(), span),
    };
    let when = |again: Again| if due(again) { "always" } else { "missing" };
    let missing = || {
        let found = store.resolve(image);
        matches!(found, Err(Error::NotFound(_) | Error::BlobMissing(_)))
    };
    match need {
        Need::Here => Ok(Fetched::Later),
        Need::Build { always } if always || missing() => Ok(Fetched::Build),
        Need::Build { .. } => Ok(Fetched::Later),
        Need::Pull(again) | Need::PullOrBuild(again) if getting.dry => {
            if missing() || due(again) {
                print_line(&format!("pull image {}", clean(image)))?;
            }
            Ok(Fetched::Later)
        }
        Need::Pull(again) => find(context, image, service, when(again), getting)
            .map(|found| Fetched::Here(Box::new(found)))
            .map_err(|failure| failure.about(&format!("services.{name}"))),
        Need::PullOrBuild(again) => match find(context, image, service, when(again), getting) {
            Ok(found) => Ok(Fetched::Here(Box::new(found))),
            Err(failure) => {
                let why = clean(&failure.message);
                eprintln!("warning: services.{name}: {why}; it is built instead");
                Ok(Fetched::Build)
            }
        },
    }
}

fn last_pull(store: &Store, image: &str) -> Option<SystemTime> {
    store.asked(&image.parse::<Reference>().ok()?)
}

/// Whether the last pull is too long ago, or of a clock that was ahead.
fn is_due(last: Option<SystemTime>, now: SystemTime, span: Duration) -> bool {
    let age = last.and_then(|last| now.duration_since(last).ok());
    age.is_none_or(|age| age >= span)
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
    let again = match policy {
        Some("always") => Some(Again::Always),
        Some("missing" | "if_not_present") => Some(Again::Never),
        _ if flag.is_none() => service.refresh_after().map(Again::After),
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
        (true, None) => match again.filter(|_| named) {
            Some(again) => Need::PullOrBuild(again),
            None => Need::Build { always: false },
        },
        (true, Some(false)) => match again.filter(|_| named) {
            Some(again) => Need::Pull(again),
            None => Need::Here,
        },
        (false, _) if never => Need::Here,
        (false, _) => Need::Pull(again.unwrap_or(Again::Never)),
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
            (service(false, "a", ""), none, Need::Pull(Again::Never)),
            (
                service(false, "a", "always"),
                none,
                Need::Pull(Again::Always),
            ),
            (
                service(false, "a", "every_12h"),
                none,
                Need::Pull(Again::After(Duration::from_secs(43_200))),
            ),
            (
                service(false, "a", "daily"),
                flags(Some("missing"), None),
                Need::Pull(Again::Never),
            ),
            (
                service(true, "a", "weekly"),
                none,
                Need::PullOrBuild(Again::After(Duration::from_secs(604_800))),
            ),
            (service(false, "a", "never"), none, Need::Here),
            (
                service(false, "a", "never"),
                flags(Some("always"), None),
                Need::Pull(Again::Always),
            ),
            (
                service(false, "a", "always"),
                flags(Some("policy"), None),
                Need::Pull(Again::Always),
            ),
            (
                service(false, "a", ""),
                flags(None, Some(true)),
                Need::Pull(Again::Never),
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
                Need::PullOrBuild(Again::Never),
            ),
            (
                service(true, "", "missing"),
                none,
                Need::Build { always: false },
            ),
            (
                service(true, "a", ""),
                flags(Some("always"), None),
                Need::PullOrBuild(Again::Always),
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
                Need::Pull(Again::Always),
            ),
        ] {
            assert_eq!(need(&of, &getting), wanted, "{of:?} {getting:?}");
        }
    }

    #[test]
    fn when_a_pull_is_due() {
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let hour = Duration::from_secs(3600);
        for (last, now, wanted) in [
            (None, at(10_000), true),
            (Some(at(10_000)), at(10_000), false),
            (Some(at(10_000)), at(13_599), false),
            (Some(at(10_000)), at(13_600), true),
            (Some(at(10_001)), at(10_000), true),
        ] {
            assert_eq!(is_due(last, now, hour), wanted, "{last:?} {now:?}");
        }
        assert!(is_due(Some(at(1)), at(1), Duration::ZERO));
    }
}
