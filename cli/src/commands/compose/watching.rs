//! Doing what rules of `develop.watch` ask for when files have changed.

use std::path::Path;

use isola_compose::apply;
use isola_compose::plan::restart;
use isola_images::ImageId;
use isola_runtime::engine::Instance;

use super::scope::Scope;
use super::up::MakeArgs;
use super::work::{self, How, Images};
use crate::context::Context;
use crate::copy::Transfer;
use crate::error::Result;
use crate::output::clean;
use crate::streams::Signals;
use crate::watch::{Asked, Batch, Files, Rules, Stopper};

/// A project whose files are watched.
pub(super) struct Watching<'a> {
    context: &'a Context,
    scope: &'a Scope,
    rules: &'a Rules,
    rebuilds: Rebuilds,
    files: Files<'a>,
}

/// How images are made anew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rebuilds {
    /// Nothing that builds write is shown.
    pub(super) quiet: bool,
    /// The image before goes, if it is left without a name and a user.
    pub(super) prune: bool,
}

/// The rules of a scope's services.
pub(super) fn rules(scope: &Scope) -> Result<Rules> {
    let (_, project) = scope.file()?;
    Rules::of(project, &scope.services)
}

/// Watches beside something else, and until that is done.
pub(super) fn beside<T>(
    scope: &Scope,
    rules: &Rules,
    rebuilds: Rebuilds,
    context: &Context,
    act: impl FnOnce() -> Result<T>,
) -> Result<T> {
    // Whoever follows reads them; other threads must not be ended by one.
    let _signals = Signals::catch(true, false)?;
    let other = context.again();
    let (send, stoppers) = std::sync::mpsc::channel();
    std::thread::scope(|threads| {
        threads.spawn(move || {
            let watched = Watching::begin(scope, rules, rebuilds, &other).and_then(|watching| {
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
        rebuilds: Rebuilds,
        context: &'a Context,
    ) -> Result<Watching<'a>> {
        Ok(Watching {
            files: Files::watch(rules)?,
            rebuilds,
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
        // What is copied comes after it: new instances have nothing of it.
        if asked.rebuild {
            self.rebuild(service, asked.changes)?;
        }
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

    /// Builds the service's image, and as many instances of it as there are.
    fn rebuild(&self, service: &str, changes: usize) -> Result<()> {
        eprintln!("Rebuilding {service} after {changes} changes");
        let before = self.image(service)?;
        let number = self.scope.present(self.context)?.of(service).count();
        let make = MakeArgs::rebuilding(service, number, self.rebuilds.quiet);
        let ready = make.prepare(self.scope, false, false, self.context)?;
        let how = How {
            quiet: self.rebuilds.quiet,
            ..make.how()
        };
        work::carry_out(self.context, self.scope, &ready.plan, &ready.images, &how)?;
        drop(ready);
        match before.filter(|_| self.rebuilds.prune) {
            Some(before) => self.remove_if_unnamed(before),
            None => Ok(()),
        }
    }

    fn image(&self, service: &str) -> Result<Option<ImageId>> {
        let (_, project) = self.scope.file()?;
        let Some(of) = project.services.get(service) else {
            return Ok(None);
        };
        let name = isola_compose::image(project, service, of);
        match self.context.store()?.resolve(&name) {
            Ok(found) => Ok(Some(found.id)),
            Err(isola_images::Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn remove_if_unnamed(&self, image: ImageId) -> Result<()> {
        let store = self.context.store()?;
        let images = store.list()?;
        let unnamed = |it: &isola_images::Summary| it.id == image && it.references.is_empty();
        if images.iter().any(unnamed) {
            let removed = store.remove(&image.to_string(), false, &self.context.image_users());
            match removed {
                // Others run it.
                Err(isola_images::Error::InUse { .. }) => {}
                other => drop(other?),
            }
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
