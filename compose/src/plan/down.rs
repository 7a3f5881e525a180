//! The plan of `down` and `rm`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Here, Plan, Present, What};
use crate::label;
use crate::project::Project;

/// What is to go.
#[derive(Clone, Debug, Default)]
pub struct Removal {
    /// Only these services; none: the whole project.
    pub services: Vec<String>,
    /// Named volumes of the project, and unnamed ones.
    pub volumes: bool,
    /// Images of services: those without a name of their own, or all.
    pub images: Option<bool>,
    /// Instances of services that the files do not have.
    pub orphans: bool,
}

/// What has to be done so that the project is gone. Without a project (there is no
/// file) all that carries its name goes.
pub fn down(
    name: &str,
    project: Option<&Project>,
    known: &[String],
    present: &Present,
    removal: &Removal,
) -> Plan {
    let mut plan = Plan::default();
    let is_named =
        |here: &Here| removal.services.is_empty() || removal.services.contains(&here.service);
    let is_known = |here: &Here| project.is_none() || here.one_off || known.contains(&here.service);
    let (going, orphans): (Vec<&Here>, Vec<&Here>) = present
        .instances
        .iter()
        .filter(|here| is_named(here))
        .partition(|here| removal.orphans || is_known(here));
    plan.orphans = orphans.iter().map(|here| here.name.clone()).collect();
    let removals = instances(&mut plan, &going, removal.volumes);
    if removal.services.is_empty() {
        networks(&mut plan, name, present, &removals, orphans.is_empty());
        if removal.volumes {
            volumes(&mut plan, name, project, present, &removals);
        }
    }
    if let Some(all) = removal.images {
        images(&mut plan, name, project, &going, all, &removals);
    }
    plan
}

/// Stops whoever depends on another before it; returns the steps that remove.
fn instances(plan: &mut Plan, going: &[&Here], volumes: bool) -> Vec<usize> {
    let mut stops: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut order: Vec<&Here> = Vec::new();
    let mut seen = BTreeSet::new();
    for here in going {
        dependents_first(here, going, &mut seen, &mut order);
    }
    let mut removals = Vec::new();
    for here in order {
        let dependents = going.iter().filter(|other| other.needs(&here.service));
        let after: BTreeSet<usize> = dependents
            .filter_map(|other| stops.get(other.service.as_str()))
            .flatten()
            .copied()
            .collect();
        let mut before = after.clone();
        if here.state.is_live() {
            let what = What::Stop {
                service: here.service.clone(),
                name: here.name.clone(),
                id: here.id.clone(),
            };
            let stop = plan.add(what, after);
            stops.entry(&here.service).or_default().push(stop);
            before = BTreeSet::from([stop]);
        }
        let what = What::Remove {
            name: here.name.clone(),
            id: here.id.clone(),
            volumes,
        };
        removals.push(plan.add(what, before));
    }
    removals
}

fn dependents_first<'a>(
    here: &'a Here,
    all: &[&'a Here],
    seen: &mut BTreeSet<&'a str>,
    order: &mut Vec<&'a Here>,
) {
    if !seen.insert(&here.id) {
        return;
    }
    for other in all.iter().filter(|other| other.needs(&here.service)) {
        dependents_first(other, all, seen, order);
    }
    order.push(here);
}

fn networks(plan: &mut Plan, name: &str, present: &Present, removals: &[usize], all_gone: bool) {
    for (network, labels) in &present.networks {
        if labels
            .get(label::PROJECT)
            .is_some_and(|project| project == name)
        {
            let step = plan.add(
                What::RemoveNetwork(network.clone()),
                removals.iter().copied(),
            );
            // Orphans that stay may be in it.
            plan.steps[step].optional = !all_gone;
        }
    }
}

fn volumes(
    plan: &mut Plan,
    name: &str,
    project: Option<&Project>,
    present: &Present,
    removals: &[usize],
) {
    for (volume, labels) in &present.volumes {
        let mine = labels
            .get(label::PROJECT)
            .is_some_and(|project| project == name);
        let declared = project.is_none_or(|project| {
            project
                .volumes
                .values()
                .any(|it| it.name == *volume && !it.external)
        });
        if mine && declared {
            plan.add(What::RemoveVolume(volume.clone()), removals.iter().copied());
        }
    }
}

fn images(
    plan: &mut Plan,
    name: &str,
    project: Option<&Project>,
    going: &[&Here],
    all: bool,
    removals: &[usize],
) {
    // Instances whose service no file has tell by their names.
    let nameless = |service: &str| format!("{name}-{service}");
    let mut local: BTreeSet<String> = BTreeSet::new();
    let mut images: BTreeSet<String> = BTreeSet::new();
    for here in going {
        images.insert(here.image.clone());
        let known = project.is_some_and(|project| project.services.contains_key(&here.service));
        if !known && here.image == nameless(&here.service) {
            local.insert(here.image.clone());
        }
    }
    for (service, it) in project.into_iter().flat_map(|project| &project.services) {
        let named = it.image.as_ref().filter(|image| !image.is_empty());
        if named.is_none() {
            local.insert(nameless(service));
        }
        images.insert(named.cloned().unwrap_or_else(|| nameless(service)));
    }
    for image in images
        .into_iter()
        .filter(|image| all || local.contains(image))
    {
        let step = plan.add(What::RemoveImage(image), removals.iter().copied());
        plan.steps[step].optional = true;
    }
}
