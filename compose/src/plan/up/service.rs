//! What `up` does about one service, and what waits for it.

use std::collections::BTreeMap;

use super::{Steps, Up};
use crate::options::instance_name;
use crate::plan::scale::Choice;
use crate::plan::{Here, Until, What, until};
use crate::project::Service;

impl<'a> Up<'a> {
    pub(super) fn service(&mut self, name: &'a str, choices: &BTreeMap<&str, Choice<'_>>) {
        let (Some(service), Some(choice)) = (self.project.services.get(name), choices.get(name))
        else {
            return;
        };
        let mut steps = Steps::default();
        for here in &choice.remove {
            self.remove(here, false, []);
        }
        let before = self.before_creation(service);
        let mut starting = Vec::new();
        for here in &choice.renew {
            // One whose volume is made anew is gone already.
            let gone = self.removals.get(&here.id).copied();
            let what = What::Create {
                service: name.to_owned(),
                number: here.number,
                name: instance_name(self.project, name, here.number),
                replaces: gone.is_none().then(|| here.id.clone()),
            };
            let stop = self.stops.get(&here.id).copied();
            let after = before.iter().copied().chain(gone).chain(stop);
            let step = self.plan.add(what, after.collect::<Vec<_>>());
            steps.creates.push(step);
            starting.push((instance_name(self.project, name, here.number), Some(step)));
        }
        for number in &choice.create {
            let what = What::Create {
                service: name.to_owned(),
                number: *number,
                name: instance_name(self.project, name, *number),
                replaces: None,
            };
            // The name may still be that of one that goes.
            let gone = choice.remove.iter().filter(|here| here.number == *number);
            let gone: Vec<usize> = gone
                .filter_map(|here| self.removals.get(&here.id).copied())
                .collect();
            let step = self.plan.add(what, before.iter().copied().chain(gone));
            steps.creates.push(step);
            starting.push((instance_name(self.project, name, *number), Some(step)));
        }
        steps.renewed = !steps.creates.is_empty();
        let restart = self.restart_for(service, &choice.keep);
        for here in &choice.keep {
            let stopped = self.stops.get(&here.id).copied();
            match (here.state.is_live(), stopped, restart) {
                (true, None, false) => self.plan.kept.push(here.name.clone()),
                (_, stopped, _) => starting.push((here.name.clone(), stopped)),
            }
        }
        if !self.wish.no_start && !starting.is_empty() {
            self.starts(name, service, starting, &mut steps);
        }
        self.services.insert(name.to_owned(), steps);
    }

    fn starts(
        &mut self,
        name: &str,
        service: &Service,
        starting: Vec<(String, Option<usize>)>,
        steps: &mut Steps,
    ) {
        let ready = self.conditions(service);
        let networks = service.networks.keys();
        let networks: Vec<usize> = networks
            .filter_map(|key| self.networks.get(key).copied())
            .collect();
        let mut before: Vec<usize> = ready.into_iter().chain(networks).collect();
        if steps.renewed && !service.pre_start.is_empty() {
            let after = before
                .iter()
                .chain(&steps.creates)
                .copied()
                .collect::<Vec<_>>();
            before = vec![self.plan.add(What::PreStart(name.to_owned()), after)];
        }
        for (instance, made) in starting {
            let what = What::Start {
                service: name.to_owned(),
                name: instance,
            };
            let step = self.plan.add(what, before.iter().copied().chain(made));
            steps.starts.push(step);
        }
    }

    /// What must be there before an instance can be made.
    fn before_creation(&self, service: &Service) -> Vec<usize> {
        let networks = service
            .networks
            .keys()
            .filter_map(|key| self.networks.get(key));
        let keys = service
            .volumes
            .iter()
            .filter_map(|mount| mount.source.as_ref());
        let volumes = keys.filter_map(|key| self.volumes.get(key));
        let first = |text: &String| text.split(':').next().unwrap_or_default().to_owned();
        let others = service.volumes_from.iter().map(first);
        let others = others.filter_map(|name| self.services.get(&name));
        let others = others.flat_map(|steps| &steps.creates);
        networks.chain(volumes).chain(others).copied().collect()
    }

    /// Steps after which a service may start.
    fn conditions(&mut self, service: &Service) -> Vec<usize> {
        let mut steps = Vec::new();
        for (other, dependency) in &service.depends_on {
            let Some(of) = self.project.services.get(other) else {
                continue;
            };
            if !self.is_meant(other) || self.count(other, of) == 0 {
                continue;
            }
            let optional = !dependency.required;
            match until(dependency.condition) {
                Some(until) => steps.push(self.await_service(other, until, optional)),
                None => steps.extend(self.started(other)),
            }
        }
        steps
    }

    fn started(&self, name: &str) -> Vec<usize> {
        self.services
            .get(name)
            .map(|steps| steps.starts.clone())
            .unwrap_or_default()
    }

    pub(super) fn await_service(&mut self, name: &str, until: Until, optional: bool) -> usize {
        let key = (name.to_owned(), until, optional);
        if let Some(step) = self.awaits.get(&key) {
            return *step;
        }
        let what = What::Await {
            service: name.to_owned(),
            until,
        };
        let after = self.started(name);
        let step = self.plan.add(what, after);
        self.plan.steps[step].optional = optional;
        self.awaits.insert(key, step);
        step
    }

    /// Stops instances that are to be started again with what they depend on.
    fn restart_for(&mut self, service: &Service, keep: &[&Here]) -> bool {
        let renewed: Vec<usize> = service
            .depends_on
            .iter()
            .filter(|(_, dependency)| dependency.restart)
            .filter_map(|(other, _)| self.services.get(other))
            .filter(|steps| steps.renewed)
            .flat_map(|steps| steps.creates.clone())
            .collect();
        if renewed.is_empty() {
            return false;
        }
        for here in keep {
            if let Some(stop) = self.stop(here, []) {
                // Before the other one goes away.
                for step in &renewed {
                    self.plan.steps[*step].after.insert(stop);
                }
            }
        }
        true
    }
}
