//! Which files are taken, which variables win, which services are on.

mod common;

use common::{Memory, load, request};
use isola_compose::Request;

const WEB: &str = "services:\n  web: {image: \"x:${TAG:-none}\"}\n";

fn images(files: &[(&str, &str)], change: impl FnOnce(&mut Request)) -> String {
    match load(files, change) {
        Ok(model) => model.images().join(" "),
        Err(invalid) => invalid.to_string(),
    }
}

fn set(request: &mut Request, name: &str, value: &str) {
    request.environment.insert(name.into(), value.into());
}

#[test]
fn the_users_environment_beats_files_of_variables() {
    let files = [
        ("compose.yaml", WEB),
        (".env", "TAG=dotenv\n"),
        ("a.env", "TAG=a\nOTHER=1\n"),
        ("b.env", "TAG=b${OTHER}\n"),
    ];
    assert_eq!(images(&files, |_| {}), "x:dotenv");
    assert_eq!(
        images(&files, |request| set(request, "TAG", "shell")),
        "x:shell"
    );
    assert_eq!(
        images(&files, |request| request.env_files = vec!["a.env".into()]),
        "x:a"
    );
    let both = |request: &mut Request| request.env_files = vec!["b.env".into(), "a.env".into()];
    assert_eq!(images(&files, both), "x:a");
    let files = [&files[..], &[("c.env", "TAG=${TAG}-${LAST:-c}\n")]].concat();
    let upon = |request: &mut Request| request.env_files = vec!["a.env".into(), "c.env".into()];
    assert_eq!(
        images(&files, upon),
        "x:a-c",
        "later ones may use earlier ones"
    );
    assert_eq!(
        images(&files, |request| set(request, "COMPOSE_ENV_FILES", "a.env")),
        "x:a"
    );
    assert_eq!(
        images(&files, |request| set(
            request,
            "COMPOSE_DISABLE_ENV_FILE",
            "1"
        )),
        "x:none"
    );
}

#[test]
fn files_are_found() {
    let other = "services: {other: {image: o}}\n";
    let files = [
        ("compose.yaml", WEB),
        ("compose.override.yaml", "services: {web: {image: over}}\n"),
        ("docker-compose.yml", other),
        ("b.yaml", "services: {web: {image: b}}\n"),
        ("sub/x.txt", ""),
    ];
    assert_eq!(images(&files, |_| {}), "over");
    // In the nearest folder above, whose name is then the project's.
    let model = load(&files, |request| request.folder = "/p/sub/deep".into()).unwrap();
    assert_eq!(
        (model.name.as_str(), model.images()),
        ("p", vec!["over".to_owned()])
    );
    assert_eq!(model.notes.len(), 1);
    let two = |request: &mut Request| request.files = vec!["compose.yaml".into(), "b.yaml".into()];
    assert_eq!(images(&files, two), "b");
    assert_eq!(
        images(&files, |request| set(
            request,
            "COMPOSE_FILE",
            "compose.yaml:b.yaml"
        )),
        "b"
    );
    let separated = |request: &mut Request| {
        set(request, "COMPOSE_FILE", "compose.yaml,b.yaml");
        set(request, "COMPOSE_PATH_SEPARATOR", ",");
    };
    assert_eq!(images(&files, separated), "b");
    // `.env` may name them, too.
    let named = [
        ("docker-compose.yml", other),
        ("b.yaml", WEB),
        (".env", "COMPOSE_FILE=b.yaml\nTAG=1\n"),
    ];
    assert_eq!(images(&named, |_| {}), "x:1");
    assert_eq!(images(&[("-", "")], |_| {}).lines().count(), 2);
}

#[test]
fn standard_input_is_a_file() {
    let mut request = request("/p");
    request.files = vec!["-".into()];
    let model = isola_compose::load(&request, &Memory::from([("-", WEB)])).unwrap();
    assert_eq!((model.name.as_str(), model.services()), ("p", vec!["web"]));
}

#[test]
fn paths_start_in_the_projects_folder() {
    let files = [
        (
            "a/compose.yaml",
            "services: {web: {build: ., volumes: [\"../x:/x\"]}}\n",
        ),
        ("b/more.yaml", "services: {web: {volumes: [\"./y:/y\"]}}\n"),
    ];
    let two = |request: &mut Request| {
        request.files = vec!["a/compose.yaml".into(), "b/more.yaml".into()];
    };
    let yaml = load(&files, two).unwrap().to_yaml();
    for path in ["context: /p/a\n", "source: /p/x\n", "source: /p/a/y\n"] {
        assert!(yaml.contains(path), "{path}: {yaml}");
    }
    let elsewhere = |request: &mut Request| {
        two(request);
        request.project_directory = Some("c".into());
    };
    assert!(
        load(&files, elsewhere)
            .unwrap()
            .to_yaml()
            .contains("source: /p/c/y\n")
    );
}

#[test]
fn names_of_projects() {
    let named =
        |files: &[(&str, &str)], change: fn(&mut Request)| load(files, change).unwrap().name;
    let plain = [("My.App/compose.yaml", WEB)];
    assert_eq!(
        named(&plain, |request| request.folder = "/p/My.App".into()),
        "myapp"
    );
    let written = [(
        "compose.yaml",
        "name: one-${TAG:-x}\nservices: {web: {image: \"${COMPOSE_PROJECT_NAME}\"}}\n",
    )];
    let model = load(&written, |_| {}).unwrap();
    assert_eq!(
        (model.name.as_str(), model.images()),
        ("one-x", vec!["one-x".to_owned()])
    );
    assert_eq!(
        named(&written, |request| set(
            request,
            "COMPOSE_PROJECT_NAME",
            "env"
        )),
        "env"
    );
    let flag = |request: &mut Request| {
        set(request, "COMPOSE_PROJECT_NAME", "env");
        request.project_name = Some("flag".into());
    };
    assert_eq!(named(&written, flag), "flag");
}

#[test]
fn profiles_choose_services() {
    let text = "services:
  a: {image: a}
  b: {image: b, profiles: [p]}
  c: {image: c, profiles: [q], depends_on: [a]}
  d: {image: d, profiles: [q, r], depends_on: {b: {condition: service_started, required: false}}}
";
    let files = [("compose.yaml", text)];
    let on = |change: fn(&mut Request)| load(&files, change).unwrap().services().join("");
    assert_eq!(on(|_| {}), "a");
    assert_eq!(on(|request| request.profiles = vec!["p".into()]), "ab");
    assert_eq!(on(|request| request.profiles = vec!["q".into()]), "acd");
    assert_eq!(on(|request| request.profiles = vec!["*".into()]), "abcd");
    assert_eq!(
        on(|request| set(request, "COMPOSE_PROFILES", "p, q")),
        "abcd"
    );
    let flag = |request: &mut Request| {
        set(request, "COMPOSE_PROFILES", "p");
        request.profiles = vec!["r".into()];
    };
    assert_eq!(on(flag), "ad");
    assert_eq!(on(|request| request.services = vec!["c".into()]), "ac");
    assert_eq!(load(&files, |_| {}).unwrap().profiles, ["p", "q", "r"]);
    let env = [("compose.yaml", text), (".env", "COMPOSE_PROFILES=p\n")];
    assert_eq!(load(&env, |_| {}).unwrap().services(), ["a", "b"]);
}

#[test]
fn hashes_leave_out_what_makes_no_new_instance() {
    let hash = |lines: &str| {
        let text = format!("services:\n  web:\n    image: x\n    {lines}\n  db: {{image: y}}\n");
        load(&[("compose.yaml", &text)], |_| {})
            .unwrap()
            .hash("web")
            .unwrap()
    };
    let plain = hash("");
    for same in [
        "build: .",
        "pull_policy: always",
        "scale: 3",
        "deploy: {replicas: 2}",
        "depends_on: [db]",
        "x-note: 1",
        "environment: ",
    ] {
        assert_eq!(hash(same), plain, "{same}");
    }
    for other in [
        "user: a",
        "isolation: vm",
        "environment: {A: 1}",
        "deploy: {resources: {limits: {cpus: 1}}}",
    ] {
        assert_ne!(hash(other), plain, "{other}");
    }
    assert_eq!(
        hash("user: a\n    tty: true"),
        hash("tty: yes\n    user: \"a\"")
    );
    assert_eq!(plain.len(), 64);
}

#[test]
fn walls_from_outside_and_inside() {
    let text = "services:
  a: {image: a}
  b: {image: b, isolation: [vm, emulated]}
  c: {image: c, x-isolation: vm}
  d: {image: d, runtime: krun}
  e: {image: e, isolation: default, runtime: runc}
";
    let walls = |change: fn(&mut Request)| {
        let project = load(&[("compose.yaml", text)], change)
            .unwrap()
            .project()
            .unwrap();
        let walls = project.services.values().map(|service| {
            let names: Vec<&str> = service.isolation.0.iter().map(|wall| wall.name()).collect();
            names.join(",")
        });
        walls.collect::<Vec<String>>().join(" ")
    };
    assert_eq!(walls(|_| {}), " vm,emulated vm vm container");
    assert_eq!(
        walls(|request| request.walls = vec!["vm".into()]),
        "vm vm vm vm vm"
    );
    let some =
        |request: &mut Request| request.walls = vec!["emulated".into(), "b=container".into()];
    assert_eq!(walls(some), "emulated container emulated emulated emulated");
}

#[test]
fn variables_of_files_are_known() {
    let text = "services: {a: {image: \"${A:?e}\", command: \"${B:-${C}} ${D+x}\", user: $$E}}\n";
    let model = load(&[("compose.yaml", text)], |request| {
        request.interpolate = false
    })
    .unwrap();
    let shown: Vec<String> = model
        .variables
        .iter()
        .map(|(name, v)| format!("{name}|{}|{}|{}", v.required, v.default, v.alternate))
        .collect();
    assert_eq!(
        shown,
        ["A|true||", "B|false|${C}|", "C|false||", "D|false||x"]
    );
    let told = load(
        &[("compose.yaml", "services: {a: {image: \"x$N$N\"}}\n")],
        |_| {},
    )
    .unwrap();
    assert_eq!(told.notes.len(), 1);
}
