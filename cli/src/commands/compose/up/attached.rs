//! `up` that stays: what services write, until they end or the user has enough.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Args;
use crate::commands::compose::follow::{Abort, Follow, Look};
use crate::commands::compose::scope::Scope;
use crate::commands::compose::stop::stop_plan;
use crate::commands::compose::work::{self, How, Images};
use crate::context::Context;
use crate::error::{Exit, Result};

impl Args {
    /// Shows what the services write until they have ended or the user has enough;
    /// then they are stopped.
    pub(super) fn attach_to(
        &self,
        scope: &Scope,
        began: Timestamp,
        how: &How,
        context: &Context,
    ) -> Result<Exit> {
        let (_, project) = scope.file()?;
        let named =
            |name: &str| scope.services.is_empty() || scope.services.iter().any(|it| it == name);
        let shown: BTreeSet<String> = project
            .services
            .iter()
            .filter(|(name, service)| {
                let chosen = self.attach.is_empty() || self.attach.contains(name);
                let own = service.attach.unwrap_or(true) || self.attach.contains(name);
                chosen
                    && own
                    && !self.no_attach.contains(name)
                    && (named(name) || self.attach_dependencies || self.attach.contains(name))
            })
            .map(|(name, _)| name.clone())
            .collect();
        let abort = match (
            self.abort_on_container_exit || self.exit_code_from.is_some(),
            self.abort_on_container_failure,
        ) {
            (true, _) => Abort::OnExit,
            (_, true) => Abort::OnFailure,
            _ => Abort::Never,
        };
        let look = Look {
            since: Some(began),
            timestamps: self.timestamps,
            no_prefix: self.no_log_prefix,
            colors: scope.screen.colors.1 && !self.no_color,
            ..Look::default()
        };
        let instances: Vec<_> = scope.present(context)?.instances;
        let instances = instances
            .into_iter()
            .filter(|here| !here.one_off && project.services.contains_key(&here.service));
        let mut follow = Follow::new(context, look)?;
        follow.welcome(context, &scope.name, |here| {
            let known = project.services.contains_key(&here.service);
            known.then(|| shown.contains(&here.service))
        })?;
        if self.watch {
            follow.stay_open();
        }
        for here in instances {
            follow.add(&here, shown.contains(&here.service), true)?;
        }
        let end = follow.until_end(abort)?;
        if end.is_wanted() {
            stop(scope, how, context)?;
            follow.rest()?;
        }
        match &self.exit_code_from {
            Some(service) => {
                let instance = scope.one(service, None, context)?;
                Ok(Exit::of(instance.status.exit_code.unwrap_or(0)))
            }
            None => Ok(end.exit()),
        }
    }
}

/// The user has had enough.
pub(super) fn stop(scope: &Scope, how: &How, context: &Context) -> Result<()> {
    eprintln!("Stopping... (the same again kills at once)");
    let plan = stop_plan(scope, context)?;
    let how = How {
        rollback: false,
        kill: true,
        ..*how
    };
    work::carry_out(context, scope, &plan, &Images::new(), &how)
}
