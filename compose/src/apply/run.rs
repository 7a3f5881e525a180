//! Which step when, and what a failure means for the others.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;

use isola_runtime::{Error, Kind, Result};

use super::{Stage, World, instances, resources, waits};
use crate::plan::{Plan, Step, What};

/// Steps at once that keep a processor busy, by processor; and others.
const BUSY: usize = 2;
const IDLE: usize = 64;

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps that failed, with why.
    pub failed: Vec<(What, Error)>,
    /// Optional ones among them are here.
    pub tolerated: Vec<(What, Error)>,
    /// Steps that were never begun.
    pub left: usize,
    /// It was cancelled.
    pub cancelled: bool,
    /// It was taken back, but for what failed then.
    pub taken_back: Option<Vec<Error>>,
}

/// Carries out a plan. When a step fails, those that run are finished and no other
/// is begun: what is there stays for a look.
pub fn run(plan: &Plan, world: &World<'_>) -> Outcome {
    if plan.steps.is_empty() {
        return Outcome::default();
    }
    let (sender, receiver) = channel();
    world.cancel.wake(sender.clone());
    std::thread::scope(|scope| {
        let mut run = Run {
            plan,
            world,
            todo: (0..plan.steps.len()).collect(),
            done: BTreeSet::new(),
            busy: 0,
            idle: 0,
            acting: 0,
            outcome: Outcome::default(),
        };
        run.turn(scope, &sender, &receiver);
        run.outcome
    })
    .close(world)
}

impl Outcome {
    /// What is noted of a plan that failed is taken back.
    fn close(mut self, world: &World<'_>) -> Outcome {
        let Some(journal) = world.journal else {
            return self;
        };
        match self.failed.is_empty() && !self.cancelled {
            true => {
                let left = journal.finish(world).into_iter();
                let what = || What::Remove {
                    name: "what was replaced".to_owned(),
                    id: String::new(),
                    volumes: false,
                };
                self.tolerated.extend(left.map(|error| (what(), error)));
            }
            false => self.taken_back = Some(journal.take_back(world)),
        }
        self
    }
}

struct Run<'a> {
    plan: &'a Plan,
    world: &'a World<'a>,
    todo: BTreeSet<usize>,
    done: BTreeSet<usize>,
    busy: usize,
    idle: usize,
    /// Those of both that do something.
    acting: usize,
    outcome: Outcome,
}

/// A step that has ended, and how; nothing when it is over for all.
pub(super) type Word = Option<(usize, Result<()>)>;

impl<'a> Run<'a> {
    fn turn<'s>(
        &mut self,
        scope: &'s Scope<'s, 'a>,
        sender: &Sender<Word>,
        receiver: &Receiver<Word>,
    ) where
        'a: 's,
    {
        loop {
            let stop = !self.outcome.failed.is_empty() || self.world.cancel.is_over();
            if !stop {
                for index in self.ready() {
                    self.begin(index);
                    let (plan, world, sender) = (self.plan, self.world, sender.clone());
                    scope.spawn(move || {
                        let result = carry_out(&plan.steps[index], world);
                        let _ = sender.send(Some((index, result)));
                    });
                }
            }
            if self.busy + self.idle == 0 {
                break;
            }
            // Senders live as long as this loop.
            if let Ok(Some((index, result))) = receiver.recv() {
                self.end(index, result);
            }
        }
        self.outcome.left = self.todo.len();
        self.outcome.cancelled = self.world.cancel.is_over();
    }

    /// Steps that can be begun now, in the plan's order.
    fn ready(&self) -> Vec<usize> {
        let most = BUSY
            * std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(8);
        let (mut busy, mut idle, mut acting) = (self.busy, self.idle, self.acting);
        let at_once = self.world.at_once.unwrap_or(usize::MAX);
        let mut ready = Vec::new();
        for index in &self.todo {
            let step = &self.plan.steps[*index];
            if !step.after.is_subset(&self.done) {
                continue;
            }
            let (count, limit) = match is_busy(&step.what) {
                true => (&mut busy, most),
                false => (&mut idle, IDLE),
            };
            let acts = acts(&step.what);
            if *count < limit && (!acts || acting < at_once) {
                *count += 1;
                acting += usize::from(acts);
                ready.push(*index);
            }
        }
        ready
    }

    fn count(&mut self, index: usize) -> &mut usize {
        match is_busy(&self.plan.steps[index].what) {
            true => &mut self.busy,
            false => &mut self.idle,
        }
    }

    fn begin(&mut self, index: usize) {
        self.todo.remove(&index);
        *self.count(index) += 1;
        self.acting += usize::from(acts(&self.plan.steps[index].what));
        self.world
            .teller
            .step(&self.plan.steps[index].what, Stage::Working);
    }

    fn end(&mut self, index: usize, result: Result<()>) {
        *self.count(index) -= 1;
        self.acting -= usize::from(acts(&self.plan.steps[index].what));
        let step = &self.plan.steps[index];
        match result {
            Ok(()) => {
                self.world.teller.step(&step.what, Stage::Done);
                self.done.insert(index);
            }
            Err(error) if step.optional => {
                self.world.teller.step(&step.what, Stage::Failed);
                self.done.insert(index);
                self.outcome.tolerated.push((step.what.clone(), error));
            }
            // Whoever was told that it is over has not failed.
            Err(_) if self.world.cancel.is_over() && matches!(step.what, What::Await { .. }) => {
                self.todo.insert(index);
            }
            Err(error) => {
                self.world.teller.step(&step.what, Stage::Failed);
                self.outcome.failed.push((step.what.clone(), error));
                // Others may wait for what never comes.
                self.world.cancel.cancel();
            }
        }
    }
}

/// Whether a step works rather than waits.
fn is_busy(what: &What) -> bool {
    !matches!(
        what,
        What::Await { .. } | What::Stop { .. } | What::PreStart(_)
    )
}

/// Whether a step does something rather than wait for what others do.
fn acts(what: &What) -> bool {
    !matches!(what, What::Await { .. })
}

fn carry_out(step: &Step, world: &World<'_>) -> Result<()> {
    match &step.what {
        What::CreateNetwork(key) => resources::create_network(world, key),
        What::RemoveNetwork(name) => resources::remove_network(world, name),
        What::CreateVolume(key) => resources::create_volume(world, key),
        What::RemoveVolume(name) => resources::remove_volume(world, name),
        What::RemoveImage(name) => (world.remove_image)(name),
        What::Create {
            service,
            number,
            name,
            replaces,
        } => instances::recreate(world, service, *number, name, replaces.as_deref())
            .map_err(|error| of_service(service, error)),
        What::PreStart(service) => instances::pre_start(world, service),
        What::Start { service, name } => {
            instances::start(world, service, name).map_err(|error| of_service(service, error))
        }
        What::Await { service, until } => waits::wait(world, service, *until),
        What::Stop { service, id, .. } => instances::stop_step(world, service, id),
        What::Remove { id, volumes, .. } => instances::remove(world, id, *volumes),
    }
}

/// Names the service that an error is about.
fn of_service(service: &str, error: Error) -> Error {
    let named = error.message.starts_with("services.")
        || error.kind == Kind::NoSuch && error.message.contains(service);
    match named {
        true => error,
        false => Error {
            message: format!("services.{service}: {}", error.message),
            ..error
        },
    }
}
