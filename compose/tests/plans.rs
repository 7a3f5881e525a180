//! Plans: what `up` and others would do, as `--dry-run` shows it.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::load;
use isola_compose::plan::{
    Here, Needed, Plan, Present, Recreate, Removal, Until, What, Wish, down, restart, start, stop,
    up,
};
use isola_compose::{Model, label, wanted};
use isola_runtime::state::State;

fn model(text: &str) -> Model {
    load(&[("compose.yaml", text)], |_| {}).unwrap_or_else(|invalid| panic!("{invalid}"))
}

/// Steps with the numbers of those before them.
fn show(plan: &Plan) -> String {
    let mut text = String::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let after: Vec<String> = step.after.iter().map(ToString::to_string).collect();
        let optional = if step.optional { " (optional)" } else { "" };
        text.push_str(&format!(
            "{index} {}{optional} <- {}\n",
            step.what,
            after.join(" ")
        ));
    }
    for (word, names) in [
        ("orphan", &plan.orphans),
        ("outdated", &plan.outdated_volumes),
    ] {
        names
            .iter()
            .for_each(|name| text.push_str(&format!("{word} {name}\n")));
    }
    text
}

/// What is there after all of a plan's steps were carried out.
fn after(model: &Model, plan: &Plan, mut present: Present) -> Present {
    let project = model.project().expect("a project");
    for step in &plan.steps {
        match &step.what {
            What::CreateNetwork(key) => {
                present
                    .networks
                    .insert(project.networks[key].name.clone(), BTreeMap::new());
            }
            What::CreateVolume(key) => {
                let labels = [(label::PROJECT, "p"), (label::HASH, "first")];
                let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
                present
                    .volumes
                    .insert(project.volumes[key].name.clone(), labels.into());
            }
            What::Create {
                service,
                number,
                name,
                replaces,
            } => {
                present
                    .instances
                    .retain(|here| Some(&here.id) != replaces.as_ref());
                let wanted = wanted(model, &project, service, *number, Path::new("/store"))
                    .expect("options");
                let labels: BTreeMap<&str, &str> = wanted
                    .options
                    .label
                    .iter()
                    .filter_map(|text| text.split_once('='))
                    .collect();
                let needs = project.services[service]
                    .depends_on
                    .iter()
                    .map(|(other, needed)| Needed {
                        service: other.clone(),
                        until: match needed.condition.as_str() {
                            "service_healthy" => Some(Until::Healthy),
                            "service_completed_successfully" => Some(Until::Completed),
                            _ => None,
                        },
                        restart: needed.restart,
                    });
                present.instances.push(Here {
                    id: format!("id-{name}-{}", present.instances.len()),
                    name: name.clone(),
                    service: service.clone(),
                    number: *number,
                    one_off: false,
                    hash: labels[label::HASH].to_owned(),
                    contents: labels.get(label::CONTENTS).map(|text| (*text).to_owned()),
                    image_id: String::new(),
                    image: wanted.image,
                    state: State::Created,
                    depends_on: needs.collect(),
                    networks: Vec::new(),
                });
            }
            What::Start { name, .. } => {
                let here = present.instances.iter_mut().find(|here| here.name == *name);
                here.expect("what is started").state = State::Running;
            }
            What::Remove { id, .. } => present.instances.retain(|here| here.id != *id),
            _ => {}
        }
    }
    present
        .instances
        .sort_by(|a, b| (&a.service, a.number).cmp(&(&b.service, b.number)));
    present
}

const SHOP: &str = "
services:
  web:
    image: web
    depends_on: {db: {condition: service_healthy, restart: true}, job: {condition: service_completed_successfully, required: false}, log: {condition: service_started}}
    networks: [front, back]
  db: {image: db, volumes: ['data:/data'], networks: [back], healthcheck: {test: 'true'}}
  job: {image: job, scale: 2, volumes_from: [db], networks: [back], pre_start: [{command: hook}]}
  log: {image: log, network_mode: none}
networks: {front: , back: , unused: }
volumes: {data: , unused: }
";

fn planned(text: &str, present: &Present, wish: &Wish) -> Plan {
    let model = model(text);
    up(&model, &model.project().expect("a project"), present, wish)
}

#[test]
fn from_nothing_to_up_and_down_again() {
    let model = model(SHOP);
    let first = planned(SHOP, &Present::default(), &Wish::default());
    let there = after(&model, &first, Present::default());
    let mut text = format!("up\n{}", show(&first));
    let again = planned(SHOP, &there, &Wish::default());
    assert_eq!(
        show(&again).replace("1 wait until job has completed (optional) <- \n", ""),
        show(&again)
    );
    for (name, plan) in [
        ("stop", stop(&there, &[])),
        ("restart db", restart(&there, &["db".to_owned()], false)),
        (
            "restart db alone",
            restart(&there, &["db".to_owned()], true),
        ),
        (
            "down",
            down(
                "p",
                None,
                &[],
                &there,
                &Removal {
                    volumes: true,
                    ..Removal::default()
                },
            ),
        ),
    ] {
        text.push_str(&format!("\n{name}\n{}", show(&plan)));
    }
    let mut stopped = there;
    stopped
        .instances
        .iter_mut()
        .for_each(|here| here.state = State::Exited);
    text.push_str(&format!("\nstart\n{}", show(&start(&stopped, &[]))));
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_up_stays_as_it_is() {
    let text = SHOP.replace(
        "job: {condition: service_completed_successfully, required: false}, ",
        "",
    );
    let model = model(&text);
    let there = after(
        &model,
        &planned(&text, &Present::default(), &Wish::default()),
        Present::default(),
    );
    let again = planned(&text, &there, &Wish::default());
    assert!(again.is_empty(), "{}", show(&again));
    assert_eq!(again.kept.len(), 5);
}

#[test]
fn changes_and_wishes() {
    let model = model(SHOP);
    let first = planned(SHOP, &Present::default(), &Wish::default());
    let there = after(&model, &first, Present::default());
    let named = |services: &[&str]| Wish {
        services: services.iter().map(|name| (*name).to_owned()).collect(),
        ..Wish::default()
    };
    let changed = SHOP.replace("image: db,", "image: db2,");
    let volume = SHOP.replace("volumes: {data: ,", "volumes: {data: {labels: {a: b}},");
    let fewer = SHOP
        .replace("  log: {image: log, network_mode: none}\n", "")
        .replace(", log: {condition: service_started}", "");
    let mut text = String::new();
    for (name, plan) in [
        (
            "db has another image",
            planned(&changed, &there, &Wish::default()),
        ),
        (
            "and nothing is made anew",
            planned(
                &changed,
                &there,
                &Wish {
                    recreate: Recreate::Never,
                    ..Wish::default()
                },
            ),
        ),
        (
            "web alone by force",
            planned(
                SHOP,
                &there,
                &Wish {
                    no_deps: true,
                    recreate: Recreate::Always,
                    ..named(&["web"])
                },
            ),
        ),
        (
            "job at 1",
            planned(
                SHOP,
                &there,
                &Wish {
                    scale: [("job".to_owned(), 1)].into(),
                    ..Wish::default()
                },
            ),
        ),
        (
            "the volume is another",
            planned(&volume, &there, &Wish::default()),
        ),
        (
            "and may be replaced",
            planned(
                &volume,
                &there,
                &Wish {
                    replace_volumes: true,
                    ..named(&["db"])
                },
            ),
        ),
        ("log is gone", planned(&fewer, &there, &named(&["db"]))),
        (
            "and is taken away",
            planned(
                &fewer,
                &there,
                &Wish {
                    remove_orphans: true,
                    ..named(&["db"])
                },
            ),
        ),
        (
            "only created",
            planned(
                SHOP,
                &Present::default(),
                &Wish {
                    no_start: true,
                    ..named(&["db"])
                },
            ),
        ),
        (
            "waited for",
            planned(
                SHOP,
                &there,
                &Wish {
                    wait: true,
                    ..named(&["db"])
                },
            ),
        ),
    ] {
        text.push_str(&format!("{name}\n{}\n", show(&plan)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_service_becomes_options() {
    let text = "
services:
  aa:
    image: a
    command: [x, y]
    environment: {A: '1', GONE: }
    ports: ['8000-8001:80', '127.0.0.1:53:53/udp', '443']
    networks: {n: {aliases: [other], ipv4_address: 10.0.0.9}}
    volumes: ['/srv/x, y:/x:ro', 'data:/data', '/anonymous', {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}]
    deploy: {resources: {limits: {cpus: '0.5', memory: 64m}}, restart_policy: {condition: on-failure, max_attempts: 3}}
    healthcheck: {test: [CMD, ok], interval: 1m30s}
    stop_grace_period: 1500ms
    ulimits: {nofile: {soft: 1, hard: 2}}
    logging: {driver: local, options: {max-size: 1m, compress: 'true'}}
    secrets: [{source: token, mode: 0400}]
    links: ['bb:cc']
  bb: {image: b, networks: [n], network_mode: , depends_on: [aa]}
networks: {n: }
volumes: {data: }
secrets: {token: {content: hush}}
";
    let model = load(
        &[(
            "compose.yaml",
            &text
                .replace(", network_mode: ", "")
                .replace(", depends_on: [aa]", ""),
        )],
        |_| {},
    )
    .unwrap_or_else(|invalid| panic!("{invalid}"));
    let project = model.project().expect("a project");
    let aa = wanted(&model, &project, "aa", 2, Path::new("/store")).expect("options");
    let bb = wanted(&model, &project, "bb", 1, Path::new("/store")).expect("options");
    insta::assert_debug_snapshot!((aa, bb.options.network));
}
