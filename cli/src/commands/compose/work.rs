//! Carrying plans out for verbs: images first, then the steps, with the user's
//! signals listened to all the while.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use isola_compose::apply::{Cancel, Journal, Outcome, Teller, World, run, store};
use isola_compose::plan::{Plan, Present, Step, What};
use isola_compose::{Model, Wanted, project::Project};
use isola_images::Pinned;
use isola_init::stream::PollSet;
use isola_runtime::engine::{Checker, Engine, Wish};
use nix::sys::signal::Signal;

use super::scope::Scope;
use super::teller::Lines;
use crate::context::Context;
use crate::error::{Code, Failure, Result};
use crate::output::print_line;
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
    /// The first signal kills instead of ending it early.
    pub(super) kill: bool,
    /// What fails is taken back.
    pub(super) rollback: bool,
    /// What was made is followed then: a signal after the last step ends that.
    pub(super) stays: bool,
}

/// How a plan ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All is done.
    Done,
    /// All is done, and a signal came when nothing was left to be ended early.
    Late,
}

/// Carries a plan out. What failed is reported.
pub(super) fn carry_out(
    context: &Context,
    scope: &Scope,
    plan: &Plan,
    images: &Images,
    how: &How,
) -> Result<()> {
    carry_out_and_stay(context, scope, plan, images, how).map(drop)
}

/// The same, for who follows what was made ([`How::stays`]).
pub(super) fn carry_out_and_stay(
    context: &Context,
    scope: &Scope,
    plan: &Plan,
    images: &Images,
    how: &How,
) -> Result<End> {
    let teller = Lines::new(context.engine()?, scope.screen.quiet(how.quiet));
    let (mut outcome, came) = with_world(context, scope, images, how, &teller, |world| {
        run(plan, world)
    })?;
    drop(teller);
    // It may have come when the last step had been looked at for the last time.
    outcome.cancelled |= came && !how.kill;
    let late = outcome.cancelled && outcome.left == 0 && outcome.failed.is_empty();
    if how.stays && late && outcome.taken_back.is_none() {
        let outcome = Outcome {
            cancelled: false,
            ..outcome
        };
        return report(context, outcome).map(|()| End::Late);
    }
    report(context, outcome).map(|()| End::Done)
}

/// Calls `act` with what steps need; the first signal cancels it, the second ends
/// this process. Tells, too, whether one came, which may be too late for `act` to see.
pub(super) fn with_world<T>(
    context: &Context,
    scope: &Scope,
    images: &Images,
    how: &How,
    teller: &dyn Teller,
    act: impl FnOnce(&World<'_>) -> T,
) -> Result<(T, bool)> {
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
    let journal = Journal::default();
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
        at_once: scope.at_once,
        journal: how.rollback.then_some(&journal),
    };
    let first = || match how.kill {
        true => {
            teller.say("Killing...");
            kill_all(engine, &scope.name);
        }
        false => cancel.cancel(),
    };
    interruptible(&first, || act(&world))
}

/// Who is asked to stop has asked to be quick.
fn kill_all(engine: &Engine, project: &str) {
    let present = Present::read(engine, project).unwrap_or_default();
    for here in present.instances.iter().filter(|here| !here.one_off) {
        if let Ok(instance) = engine.find(&here.id) {
            // One that has ended meanwhile is what is wanted.
            let _ = engine.kill(&instance, Signal::SIGKILL as i32);
        }
    }
}

/// Calls `act`, and `first` when the first signal comes; the second ends this process.
/// Tells, too, whether one came: it may be too late for `act` to see, and is lost then if
/// the caller does not heed it.
pub(super) fn interruptible<T>(
    first: &(dyn Fn() + Sync),
    act: impl FnOnce() -> T,
) -> Result<(T, bool)> {
    let signals = Signals::catch(true, false)?;
    let (over, done) =
        UnixStream::pair().map_err(|error| Failure::system("make a pair of sockets", error))?;
    Ok(std::thread::scope(|threads| {
        let signals = &signals;
        let listener = threads.spawn(move || listen(signals, &done, first));
        let result = act();
        drop(over);
        // One that panicked has heard nothing that is known of.
        (result, listener.join().unwrap_or_default())
    }))
}

/// Until the other end of `done` is closed; whether a signal came.
fn listen(signals: &Signals, done: &UnixStream, first: &dyn Fn()) -> bool {
    let mut came = false;
    let mut set = PollSet::default();
    loop {
        set.clear();
        set.add(signals.as_fd(), true, false);
        set.add(done.as_fd(), true, false);
        if set.wait(None).is_err() || set.readable(done.as_fd()) || set.hangup(done.as_fd()) {
            return came;
        }
        while let Some(signal) = signals.next() {
            if !matches!(
                signal,
                Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT
            ) {
                continue;
            }
            if std::mem::replace(&mut came, true) {
                // The user has asked twice. Records tell the next command what is left.
                std::process::exit(128 + signal as i32);
            }
            first();
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
    let taken_back = outcome.taken_back.is_some();
    for error in outcome.taken_back.into_iter().flatten() {
        context.report(&Failure::from(error).about("cannot take all back"));
    }
    if taken_back && last.is_some() {
        eprintln!("note: what this command had made was taken back");
    }
    match last {
        // What the other hint leads to is gone.
        Some(failure) if taken_back => {
            Err(failure.hint("without --rollback all stays for a look, logs too"))
        }
        Some(failure) => Err(failure),
        None if outcome.cancelled => Err(interrupted(taken_back)),
        None => Ok(()),
    }
}

pub(super) fn interrupted(taken_back: bool) -> Failure {
    let (message, hint) = match taken_back {
        true => (
            "interrupted; what was done so far was taken back",
            "the same command begins anew",
        ),
        false => (
            "interrupted; what was done so far stays",
            "the same command goes on where it stopped",
        ),
    };
    Failure::new(Code::Conflict, message).exit(130).hint(hint)
}

/// Shows a plan instead of carrying it out.
pub(super) fn show(plan: &Plan) -> Result<()> {
    for step in &plan.steps {
        print_line(&step.what.to_string())?;
    }
    Ok(())
}

/// What a volume held can't be brought back.
pub(super) fn check_rollback(plan: &Plan) -> Result<()> {
    let removes = |what: &What| matches!(what, What::RemoveVolume(_));
    match plan.steps.iter().find(|step| removes(&step.what)) {
        Some(Step {
            what: What::RemoveVolume(name),
            ..
        }) => {
            let message = format!("--rollback: what the volume {name} holds can't be brought back");
            Err(Failure::new(Code::Unsupported, message)
                .hint("make the volume anew first, without --rollback"))
        }
        _ => Ok(()),
    }
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

/// Asks the engine about the services that a plan makes instances of: what their walls
/// or the image's platform can't do is refused before the first of them is made.
/// Networks, other instances and new folders are not there yet, so they are left out.
pub(super) fn check_new(
    context: &Context,
    model: &Model,
    project: &Project,
    plan: &Plan,
) -> Result<()> {
    let engine = context.engine()?;
    let store = store(engine, &project.name);
    let checker = engine.checker()?;
    let mut asked = BTreeSet::new();
    for step in &plan.steps {
        let What::Create { service, .. } = &step.what else {
            continue;
        };
        if asked.insert(service) {
            let wanted = isola_compose::wanted(model, project, service, 1, &store)?;
            check_one(context, &checker, model, service, wanted)?;
        }
    }
    Ok(())
}

/// The same of one instance.
pub(super) fn check_one(
    context: &Context,
    checker: &Checker<'_>,
    model: &Model,
    service: &str,
    mut wanted: Wanted,
) -> Result<()> {
    let settings = context.settings()?;
    let options = &mut wanted.options;
    options.volumes_from.clear();
    options.mount.retain(|mount| !wanted.late.contains(mount));
    options
        .network
        .retain(|network| matches!(network.as_str(), "none" | "host"));
    if options.network.is_empty() {
        options.mac_address = None;
    }
    settings.fill(options, &Default::default());
    let walls = match wanted.walls.is_empty() {
        true => settings.choose(None, &context.environment())?,
        false => wanted.walls.clone(),
    };
    let wish = Wish {
        image_name: &wanted.image,
        options: &wanted.options,
        config: settings,
        isolation: &walls,
        name: None,
    };
    checker.check(&wish).map_err(|error| {
        let keys = isola_compose::keys_of(&error.message);
        let place = model.place(&[&["services", service], keys].concat());
        Failure::from(error).about(&format!("{place}services.{service}"))
    })
}
