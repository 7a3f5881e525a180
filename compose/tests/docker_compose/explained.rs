//! What may differ between our canonical form and that of docker-compose 1.29, and why.

use serde_json::{Map, Value, json};

/// Whose form is changed before the two are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Theirs,
    Ours,
    Both,
}

/// What differs, why, and how it is taken away.
type Difference = (Of, &'static str, fn(&mut Value));

const EXPLAINED: &[Difference] = &[
    (
        Of::Theirs,
        "the version of the file format means nothing any more",
        |project| drop(remove(project, "version")),
    ),
    (
        Of::Ours,
        "the project's name and names of resources are written in, as Compose 2 does",
        names,
    ),
    (
        Of::Ours,
        "extensions are kept, as Compose 2 does",
        |project| root(project).retain(|key, _| !key.starts_with("x-")),
    ),
    (
        Of::Theirs,
        "the default network is written in, as Compose 2 does",
        default_network,
    ),
    (
        Of::Theirs,
        "resources that no service uses go away, as in Compose 2",
        unused,
    ),
    (
        Of::Theirs,
        "variables in keys stay as they are, without a second dollar",
        |project| services(project, &mut |service| labels_keys(service)),
    ),
    (
        Of::Ours,
        "dependencies that links, namespaces and volumes_from imply are written in; `required` and `restart` are newer than 1.29",
        |project| services(project, &mut |service| dependencies(service)),
    ),
    (
        Of::Theirs,
        "the conditions of a service without any other dependency are the same",
        |project| services(project, &mut |service| dependencies(service)),
    ),
    (
        Of::Theirs,
        "volumes, devices and ports are written in the long form, as Compose 2 does",
        |project| services(project, &mut |service| long_forms(service)),
    ),
    (
        Of::Both,
        "commands in one text are split into words, as Compose 2 does",
        |project| services(project, &mut |service| words(service)),
    ),
    (
        Of::Theirs,
        "health tests in one text run in a shell; a check that is off is written as such",
        |project| services(project, &mut |service| health(service)),
    ),
    (
        Of::Both,
        "sizes and spans of time are compared by what they mean",
        |project| services(project, &mut |service| quantities(service)),
    ),
    (Of::Theirs, "values of variables are texts", |project| {
        services(project, &mut |service| texts(service, "environment"))
    }),
    (
        Of::Theirs,
        "modes of files are octal; where a secret is seen is written in",
        |project| services(project, &mut |service| secrets(service)),
    ),
    (
        Of::Theirs,
        "hosts are NAME=ADDRESS, as in Compose 2",
        |project| services(project, &mut |service| hosts(service)),
    ),
    (
        Of::Theirs,
        "`isolation: default`, an absent `privileged` and the word if_not_present mean what is there without them",
        |project| services(project, &mut |service| defaults(service)),
    ),
    (
        Of::Ours,
        "the usual name of a Dockerfile is written in, as Compose 2 does",
        |project| services(project, &mut |service| dockerfile(service)),
    ),
    (
        Of::Both,
        "the order of ports and volumes means nothing",
        |project| services(project, &mut |service| in_order(service)),
    ),
];

fn root(project: &mut Value) -> &mut Map<String, Value> {
    project.as_object_mut().expect("a mapping")
}

fn remove(value: &mut Value, key: &str) -> Option<Value> {
    value.as_object_mut()?.remove(key)
}

fn services(project: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    let services = project["services"].as_object_mut().expect("services");
    services.values_mut().for_each(change);
}

const SECTIONS: [&str; 4] = ["networks", "volumes", "secrets", "configs"];

fn names(project: &mut Value) {
    let name = remove(project, "name").expect("a name");
    let name = name.as_str().expect("a text").to_owned();
    for section in SECTIONS {
        for (key, resource) in project[section].as_object_mut().into_iter().flatten() {
            if resource["name"] == format!("{name}_{key}") {
                remove(resource, "name");
            }
        }
    }
    project
        .as_object_mut()
        .expect("a mapping")
        .retain(|_, value| !value.is_null());
}

fn default_network(project: &mut Value) {
    let mut used = false;
    services(project, &mut |service| {
        if service.get("network_mode").is_none() && service.get("networks").is_none() {
            service["networks"] = json!({"default": null});
        }
        used |= service["networks"].get("default").is_some();
        if service["networks"].is_null() {
            remove(service, "networks");
        }
    });
    if used {
        let networks = root(project).entry("networks").or_insert(json!({}));
        let networks = networks.as_object_mut().expect("networks");
        networks.entry("default").or_insert(json!({}));
    }
}

fn unused(project: &mut Value) {
    let mut used = Vec::new();
    services(project, &mut |service| {
        for key in service["networks"].as_object().into_iter().flatten() {
            used.push(("networks", key.0.clone()));
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let short = volume.as_str().and_then(|text| text.split(':').next());
            let source = volume.get("source").and_then(Value::as_str).or(short);
            used.extend(source.map(|source| ("volumes", source.to_owned())));
        }
        for section in ["secrets", "configs"] {
            for reference in service[section].as_array().into_iter().flatten() {
                let source = reference["source"].as_str().expect("a source");
                used.push((section, source.to_owned()));
            }
        }
        service
            .as_object_mut()
            .expect("a service")
            .retain(|_, value| !value.is_null());
    });
    for section in SECTIONS {
        if let Some(map) = project.get_mut(section).and_then(Value::as_object_mut) {
            map.retain(|key, _| used.contains(&(section, key.clone())));
            if map.is_empty() {
                remove(project, section);
            }
        }
    }
}

fn labels_keys(service: &mut Value) {
    if let Some(labels) = service.get_mut("labels").and_then(Value::as_object_mut) {
        let old = std::mem::take(labels);
        labels.extend(
            old.into_iter()
                .map(|(key, value)| (key.replace("$$", "$"), value)),
        );
    }
}

fn dependencies(service: &mut Value) {
    if service.get("depends_on").is_none() {
        return;
    }
    // Only implied ones are restarted with what they depend on in this corpus; those of
    // volumes_from are told by that key.
    let from = service["volumes_from"].to_string();
    let depends = service["depends_on"].as_object_mut().expect("dependencies");
    depends
        .retain(|other, it| it.get("restart").is_none() && !from.contains(&format!("{other}:ro")));
    depends
        .values_mut()
        .for_each(|it| drop(remove(it, "required")));
    if depends.is_empty() {
        remove(service, "depends_on");
    }
    if service["volumes_from"].is_null() {
        remove(service, "volumes_from");
    }
}

fn long_forms(service: &mut Value) {
    let list = |service: &mut Value, key: &str, change: fn(&mut Value)| {
        let list = service.get_mut(key).and_then(Value::as_array_mut);
        list.into_iter().flatten().for_each(change);
    };
    list(service, "volumes", |volume| {
        let Some(text) = volume.as_str() else { return };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target) = match parts.as_slice() {
            [target] => (None, *target),
            [source, target, ..] => (Some(*source), *target),
            [] => panic!("an empty volume"),
        };
        let mut long = match source {
            Some(path) if path.starts_with('/') => {
                json!({"type": "bind", "bind": {"create_host_path": true}})
            }
            _ => json!({"type": "volume", "volume": {}}),
        };
        if let Some(source) = source {
            long["source"] = source.into();
        }
        long["target"] = target.into();
        if parts.get(2) == Some(&"ro") {
            long["read_only"] = true.into();
        }
        *volume = long;
    });
    list(service, "devices", |device| {
        let text = device.as_str().expect("a text").to_owned();
        let parts: Vec<&str> = text.split(':').collect();
        *device = json!({"source": parts[0], "target": parts[1], "permissions": parts[2]});
    });
    list(service, "ports", |port| {
        if let Some(text) = port.as_str().map(str::to_owned) {
            let (rest, protocol) = text.split_once('/').expect("a protocol");
            let parts: Vec<&str> = rest.split(':').collect();
            let target: u16 = parts[2].parse().expect("a port");
            *port = json!({"host_ip": parts[0], "published": parts[1], "target": target, "protocol": protocol});
        }
        let map = port.as_object_mut().expect("a port");
        if let Some(published) = map.get_mut("published") {
            *published = published.to_string().replace('"', "").into();
        }
        map.entry("mode").or_insert("ingress".into());
        map.entry("protocol").or_insert("tcp".into());
    });
    let from = service
        .get_mut("volumes_from")
        .and_then(Value::as_array_mut);
    for text in from.into_iter().flatten() {
        let plain = text.as_str().expect("a text").replace("service:", "");
        *text = plain.into();
    }
}

fn words(service: &mut Value) {
    for key in ["command", "entrypoint"] {
        let split = |text: &str| -> Vec<Value> {
            let text = text.replace('"', "");
            text.split_whitespace().map(Value::from).collect()
        };
        match service.get_mut(key) {
            Some(Value::Null) => drop(remove(service, key)),
            Some(value) => {
                let text = match &*value {
                    Value::Array(list) => {
                        let words = list.iter().map(|word| word.as_str().expect("a word"));
                        words.collect::<Vec<_>>().join(" ")
                    }
                    value => value.as_str().expect("a text").to_owned(),
                };
                *value = split(&text).into();
            }
            None => {}
        }
    }
}

fn health(service: &mut Value) {
    let Some(check) = service.get_mut("healthcheck") else {
        return;
    };
    if check["test"] == json!(["NONE"]) {
        *check = json!({"disable": true});
    } else if let Some(text) = check["test"].as_str() {
        check["test"] = json!(["CMD-SHELL", text]);
    }
}

/// Bytes, or nanoseconds.
fn amount(text: &str) -> u64 {
    let units = [
        ("ms", 1_000_000),
        ("ns", 1),
        ("s", 1_000_000_000),
        ("h", 3_600_000_000_000),
        ("k", 1 << 10),
        ("M", 1 << 20),
        ("g", 1 << 30),
        ("", 1),
    ];
    let mut total = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let found = units.iter().find(|(name, _)| *name == unit);
        let (_, factor) = found.unwrap_or_else(|| panic!("{text}: {unit}"));
        total += number.parse::<u64>().expect("a number") * factor;
        rest = after;
    }
    total
}

fn quantities(service: &mut Value) {
    let mut visit = |path: &[&str], minutes: bool| {
        let found = path
            .iter()
            .try_fold(&mut *service, |value, key| value.get_mut(key));
        let Some(value) = found.filter(|value| !value.is_null()) else {
            return;
        };
        let text = value.to_string().replace('"', "");
        // An `m` is minutes or mebibytes.
        let text = match minutes {
            true => text.replace("ms", "M").replace('m', "*").replace('M', "ms"),
            false => text.replace('m', "M"),
        };
        let minutes: u64 = text
            .split_once('*')
            .map_or(0, |(m, _)| m.parse().expect("minutes"));
        let rest = text.split_once('*').map_or(text.as_str(), |(_, rest)| rest);
        *value = (minutes * 60_000_000_000 + amount(rest)).into();
    };
    for key in ["mem_limit", "mem_reservation", "memswap_limit", "shm_size"] {
        visit(&[key], false);
    }
    visit(&["build", "shm_size"], false);
    for kind in ["limits", "reservations"] {
        visit(&["deploy", "resources", kind, "memory"], false);
    }
    for key in ["interval", "timeout", "start_period"] {
        visit(&["healthcheck", key], true);
    }
    for key in ["delay", "window"] {
        visit(&["deploy", "restart_policy", key], true);
    }
    visit(&["stop_grace_period"], true);
    for volume in service
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(size) = volume
            .get_mut("tmpfs")
            .and_then(|tmpfs| tmpfs.get_mut("size"))
        {
            *size = amount(&size.to_string().replace('"', "")).into();
        }
    }
    for kind in ["limits", "reservations"] {
        let path = ["deploy", "resources", kind, "cpus"];
        let cpus = path
            .iter()
            .try_fold(&mut *service, |value, key| value.get_mut(key));
        if let Some(cpus) = cpus {
            let text = cpus.to_string().replace('"', "");
            *cpus = text.parse::<f64>().expect("a number").into();
        }
    }
}

fn texts(service: &mut Value, key: &str) {
    let map = service.get_mut(key).and_then(Value::as_object_mut);
    for value in map.into_iter().flat_map(Map::values_mut) {
        if value.is_number() {
            *value = value.to_string().into();
        }
    }
}

fn secrets(service: &mut Value) {
    for section in ["secrets", "configs"] {
        let list = service.get_mut(section).and_then(Value::as_array_mut);
        for reference in list.into_iter().flatten() {
            if let Some(mode) = reference.get("mode").and_then(Value::as_u64) {
                reference["mode"] = format!("0{mode:o}").into();
            }
            if section == "secrets" && reference.get("target").is_none() {
                let source = reference["source"].as_str().expect("a source");
                reference["target"] = format!("/run/secrets/{source}").into();
            }
        }
    }
}

fn hosts(service: &mut Value) {
    let own = service.get_mut("extra_hosts").and_then(Value::as_array_mut);
    let change = |host: &mut Value| {
        let text = host.as_str().expect("a host").replacen(':', "=", 1);
        *host = text.into();
    };
    own.into_iter().flatten().for_each(change);
    let build = service
        .get_mut("build")
        .and_then(|build| build.get_mut("extra_hosts"));
    let build = build.and_then(Value::as_array_mut);
    build.into_iter().flatten().for_each(change);
}

fn defaults(service: &mut Value) {
    for (key, value) in [
        ("isolation", json!("default")),
        ("privileged", json!(false)),
    ] {
        if service.get(key) == Some(&value) {
            remove(service, key);
        }
    }
    if service.get("pull_policy") == Some(&json!("if_not_present")) {
        service["pull_policy"] = "missing".into();
    }
}

fn dockerfile(service: &mut Value) {
    if service.get("privileged") == Some(&json!(false)) {
        remove(service, "privileged");
    }
    if let Some(build) = service.get_mut("build")
        && build["dockerfile"] == "Dockerfile"
    {
        remove(build, "dockerfile");
    }
}

fn in_order(service: &mut Value) {
    for key in ["ports", "volumes"] {
        if let Some(list) = service.get_mut(key).and_then(Value::as_array_mut) {
            list.sort_by_key(Value::to_string);
        }
    }
}

/// Takes away what may differ.
pub(crate) fn explain(of: Of, project: &mut Value) {
    for (whose, _, change) in EXPLAINED {
        if *whose == of || *whose == Of::Both {
            change(project);
        }
    }
}
