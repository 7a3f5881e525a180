//! The plans of `start`, `stop` and `restart`: of what is there, by its labels.

use std::collections::{BTreeMap, BTreeSet};

use super::{Here, Plan, Present, Until, What};

/// Those of some services, or all; never one-off ones.
fn chosen<'a>(present: &'a Present, services: &[String]) -> Vec<&'a Here> {
    let meant = |here: &&Here| services.is_empty() || services.contains(&here.service);
    present
        .instances
        .iter()
        .filter(|here| !here.one_off)
        .filter(meant)
        .collect()
}

/// Stops instances; whoever depends on another goes before it.
pub fn stop(present: &Present, services: &[String]) -> Plan {
    let mut plan = Plan::default();
    stops(&mut plan, &chosen(present, services));
    plan
}

/// The steps that stop, by service.
fn stops(plan: &mut Plan, going: &[&Here]) -> BTreeMap<String, Vec<usize>> {
    let mut found: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for here in in_order(going)
        .into_iter()
        .rev()
        .filter(|here| here.state.is_live())
    {
        let dependents = going.iter().filter(|other| other.needs(&here.service));
        let after: BTreeSet<usize> = dependents
            .filter_map(|other| found.get(&other.service))
            .flatten()
            .copied()
            .collect();
        let what = What::Stop {
            service: here.service.clone(),
            name: here.name.clone(),
            id: here.id.clone(),
        };
        let step = plan.add(what, after);
        found.entry(here.service.clone()).or_default().push(step);
    }
    found
}

/// Starts instances that do not run, after what they depend on.
pub fn start(present: &Present, services: &[String]) -> Plan {
    let mut plan = Plan::default();
    let going = chosen(present, services);
    let resting: Vec<&Here> = going
        .into_iter()
        .filter(|here| !here.state.is_live())
        .collect();
    starts(&mut plan, present, &resting, &BTreeMap::new());
    plan
}

/// Stops and starts instances, and those that are to be restarted with them.
pub fn restart(present: &Present, services: &[String], no_deps: bool) -> Plan {
    let mut plan = Plan::default();
    let mut names: BTreeSet<&str> = chosen(present, services)
        .iter()
        .map(|here| here.service.as_str())
        .collect();
    let mut grown = !no_deps;
    while grown {
        let with = |here: &&Here| {
            let restarts =
                |needed: &super::Needed| needed.restart && names.contains(needed.service.as_str());
            here.state.is_live() && !here.one_off && here.depends_on.iter().any(restarts)
        };
        let more: Vec<&str> = present
            .instances
            .iter()
            .filter(with)
            .map(|here| here.service.as_str())
            .collect();
        let before = names.len();
        names.extend(more);
        grown = names.len() > before;
    }
    let meant = |here: &&Here| !here.one_off && names.contains(here.service.as_str());
    let going: Vec<&Here> = present.instances.iter().filter(meant).collect();
    let stopped = stops(&mut plan, &going);
    starts(&mut plan, present, &going, &stopped);
    plan
}

fn starts(
    plan: &mut Plan,
    present: &Present,
    going: &[&Here],
    stopped: &BTreeMap<String, Vec<usize>>,
) {
    let mut started: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut awaits: BTreeMap<(String, Until), usize> = BTreeMap::new();
    for here in in_order(going) {
        let mut after: Vec<usize> = stopped.get(&here.service).cloned().unwrap_or_default();
        for needed in &here.depends_on {
            let before = started.get(&needed.service).cloned().unwrap_or_default();
            let Some(until) = needed
                .until
                .filter(|_| present.of(&needed.service).next().is_some())
            else {
                after.extend(before);
                continue;
            };
            let key = (needed.service.clone(), until);
            let step = *awaits.entry(key).or_insert_with(|| {
                let what = What::Await {
                    service: needed.service.clone(),
                    until,
                };
                plan.add(what, before)
            });
            after.push(step);
        }
        let what = What::Start {
            service: here.service.clone(),
            name: here.name.clone(),
        };
        let step = plan.add(what, after);
        started.entry(here.service.clone()).or_default().push(step);
    }
}

/// What is depended on comes first.
fn in_order<'a>(all: &[&'a Here]) -> Vec<&'a Here> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for here in all {
        visit(here, all, &mut seen, &mut order);
    }
    order
}

fn visit<'a>(
    here: &'a Here,
    all: &[&'a Here],
    seen: &mut BTreeSet<&'a str>,
    order: &mut Vec<&'a Here>,
) {
    if !seen.insert(&here.id) {
        return;
    }
    for other in all.iter().filter(|other| here.needs(&other.service)) {
        visit(other, all, seen, order);
    }
    order.push(here);
}
