//! Carrying plans out for verbs: images first, then the steps, with the user's
//! signals listened to all the while.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use isola_compose::apply::{Cancel, Outcome, Teller, World, run};
use isola_compose::plan::Plan;
use isola_compose::{Model, project::Project};
use isola_images::Pinned;
use isola_init::stream::PollSet;

use super::scope::Scope;
use super::teller::Lines;
use crate::context::Context;
use crate::error::{Code, Failure, Result};
use crate::output::print_line;
use crate::pulling;
use crate::streams::Signals;

/// Images by the names that services give.
pub(super) type Images = BTreeMap<String, Pinned>;

/// How a plan is carried out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct How {
    pub(super) renew_volumes: bool,
    pub(super) timeout: Option<u64>,
    pub(super) deadline: Option<Instant>,
    pub(super) quiet: bool,
}

/// When images are fetched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulls<'a> {
    /// `--pull`: always, missing, never, policy.
    pub(super) when: Option<&'a str>,
    pub(super) quiet: bool,
}

/// All images of a project's services; what is missing is fetched where that is
/// allowed, before anything is made.
pub(super) fn images(
    context: &Context,
    project: &Project,
    only: &dyn Fn(&str) -> bool,
    pulls: Pulls<'_>,
) -> Result<Images> {
    let mut images = Images::new();
    // Options were checked for all services before the first image is asked for.
    let checked = || Ok(());
    for (name, service) in project.services.iter().filter(|(name, _)| only(name)) {
        let built = || format!("{}-{name}", project.name);
        let image = service
            .image
            .clone()
            .filter(|image| !image.is_empty())
            .unwrap_or_else(built);
        if images.contains_key(&image) {
            continue;
        }
        let wanted = pulling::Wanted {
            when: policy(
                service.pull_policy.as_deref(),
                service.build.is_some(),
                pulls.when,
            ),
            platform: service.platform.as_deref(),
            quiet: pulls.quiet,
        };
        let found = pulling::find(context, &image, &wanted, &checked).map_err(|failure| match service.build {
            Some(_) if failure.code == Code::NoImage => {
                let message = format!("services.{name}: the image {image} is not here, and `build` is not supported yet");
                let hint = format!("build it by other means and load it: `isola load` or `isola import - {image}`");
                Failure::new(Code::NoImage, message).hint(hint)
            }
            _ => failure.about(&format!("services.{name}")),
        })?;
        images.insert(image, found);
    }
    Ok(images)
}

/// The service's policy unless the flag says otherwise; what is built is never asked
/// for at registries.
fn policy<'a>(own: Option<&str>, built: bool, flag: Option<&'a str>) -> &'a str {
    let own = match own {
        _ if built => "never",
        Some("always") => "always",
        Some("never") => "never",
        // Times that a policy may name are those after which it is asked for again.
        Some(word) if word.starts_with("every_") || matches!(word, "daily" | "weekly") => "always",
        _ => "missing",
    };
    match flag {
        Some("always") if !built => "always",
        Some("missing") if !built => "missing",
        Some("never") => "never",
        _ => own,
    }
}

/// Carries a plan out. What failed is reported.
pub(super) fn carry_out(
    context: &Context,
    scope: &Scope,
    plan: &Plan,
    images: &Images,
    how: &How,
) -> Result<()> {
    let teller = Lines::new(how.quiet);
    let outcome = with_world(context, scope, images, how, &teller, |world| {
        run(plan, world)
    })?;
    drop(teller);
    report(context, outcome)
}

/// Calls `act` with what steps need; the first signal cancels it, the second ends
/// this process.
pub(super) fn with_world<T>(
    context: &Context,
    scope: &Scope,
    images: &Images,
    how: &How,
    teller: &dyn Teller,
    act: impl FnOnce(&World<'_>) -> T,
) -> Result<T> {
    let engine = context.engine()?;
    let store = context.store()?;
    let users = |id: &isola_images::ImageId| match engine.users_of_image(&id.to_string()) {
        Ok(users) => users.into_iter().map(|user| user.record.name).collect(),
        Err(error) => vec![error.message],
    };
    let remove_image = |name: &str| -> isola_runtime::Result<()> {
        match store.remove(name, false, &users) {
            Ok(_) | Err(isola_images::Error::NotFound(_)) => Ok(()),
            Err(error) => {
                let kind = isola_runtime::Kind::Conflict;
                Err(isola_runtime::Error::new(kind, error.to_string()))
            }
        }
    };
    let default_walls = context.settings()?.choose(None, &context.environment())?;
    let cancel = Cancel::new()?;
    let world = World {
        engine,
        config: context.settings()?,
        default_walls: &default_walls,
        loaded: scope.loaded(),
        name: &scope.name,
        images,
        remove_image: &remove_image,
        teller,
        cancel: &cancel,
        renew_volumes: how.renew_volumes,
        stop_timeout: how.timeout,
        deadline: how.deadline,
    };
    let signals = Signals::catch(true, false)?;
    let (over, done) =
        UnixStream::pair().map_err(|error| Failure::system("make a pair of sockets", error))?;
    Ok(std::thread::scope(|threads| {
        let (signals, cancel) = (&signals, &cancel);
        threads.spawn(move || listen(signals, &done, cancel));
        let result = act(&world);
        drop(over);
        result
    }))
}

/// Until the other end of `done` is closed.
fn listen(signals: &Signals, done: &UnixStream, cancel: &Cancel) {
    use nix::sys::signal::Signal;
    let mut set = PollSet::default();
    loop {
        set.clear();
        set.add(signals.as_fd(), true, false);
        set.add(done.as_fd(), true, false);
        if set.wait(None).is_err() || set.readable(done.as_fd()) || set.hangup(done.as_fd()) {
            return;
        }
        while let Some(signal) = signals.next() {
            if !matches!(
                signal,
                Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT
            ) {
                continue;
            }
            if cancel.is_over() {
                // The user has asked twice. Records tell the next command what is left.
                std::process::exit(128 + signal as i32);
            }
            cancel.cancel();
        }
    }
}

/// Tells what failed; the last failure ends the command.
pub(super) fn report(context: &Context, outcome: Outcome) -> Result<()> {
    for (what, error) in outcome.tolerated {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!(
                "warning: cannot {what}: {}\n",
                crate::output::clean(&error.message)
            )
            .as_bytes(),
        );
    }
    let mut failures: Vec<Failure> = outcome
        .failed
        .into_iter()
        .map(|(_, error)| Failure::from(error))
        .collect();
    let last = failures.pop();
    failures.iter().for_each(|failure| context.report(failure));
    match last {
        Some(failure) => Err(failure),
        None if outcome.cancelled => Err(Failure::new(
            Code::Conflict,
            "interrupted; what was done so far stays",
        )
        .exit(130)
        .hint("the same command goes on where it stopped")),
        None => Ok(()),
    }
}

/// Shows a plan instead of carrying it out.
pub(super) fn show(plan: &Plan) -> Result<()> {
    for step in &plan.steps {
        print_line(&step.what.to_string())?;
    }
    Ok(())
}

/// Warns about instances that no service has.
pub(super) fn tell_orphans(plan: &Plan) {
    if plan.orphans.is_empty() {
        return;
    }
    eprintln!(
        "warning: instances of services that the file does not have: {}",
        plan.orphans.join(", ")
    );
    eprintln!("hint: --remove-orphans takes them away");
}

/// The hash of what a model holds must be there for every service that is planned.
pub(super) fn check_services(
    model: &Model,
    project: &Project,
    store: &std::path::Path,
) -> Result<()> {
    for name in project.services.keys() {
        isola_compose::wanted(model, project, name, 1, store)?;
    }
    Ok(())
}
