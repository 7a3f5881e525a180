//! Doing what rules of `develop.watch` ask for when files have changed.

use std::path::Path;

use isola_compose::apply;
use isola_compose::plan::restart;
use isola_runtime::engine::Instance;

use super::scope::Scope;
use super::work::{self, How, Images};
use crate::context::Context;
use crate::copy::Transfer;
use crate::error::{Code, Failure, Result};
use crate::output::clean;
use crate::streams::Signals;
use crate::watch::{Action, Asked, Batch, Files, Rules, Stopper};

/// A project whose files are watched.
pub(super) struct Watching<'a> {
    context: &'a Context,
    scope: &'a Scope,
    rules: &'a Rules,
    files: Files<'a>,
}

/// The rules of a scope's services.
pub(super) fn rules(scope: &Scope) -> Result<Rules> {
    let (_, project) = scope.file()?;
    let rules = Rules::of(project, &scope.services)?;
    if let Some(service) = rules.services_with(Action::Rebuild).first() {
        let message = format!("services.{service}: the action rebuild is not supported yet");
        return Err(Failure::new(Code::Unsupported, message)
            .hint("take `sync`, `sync+restart`, `sync+exec` or `restart`"));
    }
    Ok(rules)
}

/// Watches beside something else, and until that is done.
pub(super) fn beside<T>(
    scope: &Scope,
    rules: &Rules,
    context: &Context,
    act: impl FnOnce() -> Result<T>,
) -> Result<T> {
    // Whoever follows reads them; other threads must not be ended by one.
    let _signals = Signals::catch(true, false)?;
    let other = context.again();
    let (send, stoppers) = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        threads.spawn(move || {
            let watched = Watching::begin(scope, rules, &other).and_then(|watching| {
                let _ = send.send(watching.stopper());
                watching.run()
            });
            if let Err(failure) = watched {
                other.report(&failure);
            }
        });
        let result = act();
        // There is none when it could not begin.
        if let Ok(stopper) = stoppers.recv() {
            stopper.stop();
        }
        result
    })
}

impl<'a> Watching<'a> {
    /// Watches from here on; nothing is done yet.
    pub(super) fn begin(
        scope: &'a Scope,
        rules: &'a Rules,
        context: &'a Context,
    ) -> Result<Watching<'a>> {
        Ok(Watching {
            files: Files::watch(rules)?,
            context,
            scope,
            rules,
        })
    }

    /// Ends it from another thread.
    pub(super) fn stopper(&self) -> Stopper {
        self.files.stopper()
    }

    /// Goes on until it is stopped. What can't be done is told, and the next change may
    /// do better.
    pub(super) fn run(mut self) -> Result<()> {
        let all = self.files.all();
        self.carry_out(&self.rules.batch(&all, true));
        eprintln!("Watch enabled");
        while let Some(changed) = self.files.next()? {
            self.carry_out(&self.rules.batch(&changed, false));
        }
        Ok(())
    }

    fn carry_out(&self, batch: &Batch) {
        for (service, asked) in batch {
            if let Err(failure) = self.serve(service, asked) {
                self.context
                    .report(&failure.about(&format!("services.{service}")));
            }
        }
    }

    fn serve(&self, service: &str, asked: &Asked) -> Result<()> {
        if !asked.copy.is_empty() || !asked.remove.is_empty() {
            eprintln!("Syncing {service} after {} changes", asked.changes);
            for instance in self.running(service)? {
                self.sync(&instance, asked)?;
            }
        }
        if !asked.exec.is_empty() {
            self.exec(service, asked)?;
        }
        if asked.restart {
            let present = self.scope.present(self.context)?;
            let plan = restart(&present, &[service.to_owned()], false);
            work::carry_out(
                self.context,
                self.scope,
                &plan,
                &Images::new(),
                &How::default(),
            )?;
        }
        Ok(())
    }

    fn running(&self, service: &str) -> Result<Vec<Instance>> {
        let engine = self.context.engine()?;
        let present = self.scope.present(self.context)?;
        let running = present.of(service).filter(|here| here.state.is_live());
        running.map(|here| Ok(engine.find(&here.id)?)).collect()
    }

    fn sync(&self, instance: &Instance, asked: &Asked) -> Result<()> {
        let mut transfer = Transfer::open(self.context.engine()?, instance, false, false)?;
        if !asked.remove.is_empty() {
            transfer.remove(asked.remove.iter().cloned().collect())?;
        }
        let files = asked.copy.iter();
        let files = files.flat_map(|(path, to)| to.iter().map(|to| (Path::new(path), to.as_str())));
        for path in transfer.put(files)? {
            eprintln!("left out: {} (a socket)", clean(&path.to_string_lossy()));
        }
        Ok(())
    }

    fn exec(&self, service: &str, asked: &Asked) -> Result<()> {
        let engine = self.context.engine()?;
        for instance in self.running(service)? {
            apply::exec(engine, &instance, &asked.exec)?;
        }
        Ok(())
    }
}
