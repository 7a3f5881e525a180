//! What is said about files that can't be used: every message has a place and a
//! hint.

mod common;

use common::load;

type Case = (&'static str, &'static [(&'static str, &'static str)]);

const SERVICE: &str = "services:\n  web:\n    image: x\n    ";

fn service(lines: &str) -> String {
    format!("{SERVICE}{}\n", lines.replace('\n', "\n    "))
}

fn told(files: &[(&str, &str)]) -> String {
    match load(files, |_| {}) {
        Ok(model) => format!("ACCEPTED\n{}", model.to_yaml()),
        Err(invalid) => {
            assert!(!invalid.diagnostics.is_empty());
            for diagnostic in &invalid.diagnostics {
                assert!(!diagnostic.hint.is_empty(), "{}", diagnostic.message);
                assert!(!diagnostic.message.contains('\n'), "{}", diagnostic.message);
            }
            invalid.to_string()
        }
    }
}

/// Cases of one attribute of a service.
const ATTRIBUTES: &[&str] = &[
    "port: [80]",
    "imgae: y",
    "restart: allways",
    "ports: 80",
    "ports: [80:a, \"1:2:3:4\", {target: 0}, {published: 1}]",
    "environment: [=x, {a: b}]",
    "environment: {A: [1]}",
    "volumes: [a::b, \"./x:y\", {source: v, target: /v}]",
    "volumes: [\"data:/x\"]",
    "networks: [backend]",
    "networks: {default: {ipv4_address: 1.2.3}}",
    "network_mode: host\nnetworks: [default]",
    "network_mode: host\nports: [\"80:80\"]",
    "depends_on: [wbe]",
    "depends_on: {web: {condition: healthy}}",
    "depends_on: {db: }",
    "healthcheck: {test: [curl], interval: 10}",
    "healthcheck: {tset: x, retries: many}",
    "mem_limit: lots\ncpus: -1\npids_limit: 1.5",
    "mem_limit: 1g\ndeploy: {resources: {limits: {memory: 2g, cpu: 1}}}",
    "secrets: [nosuch]\nconfigs: [{target: /x}]",
    "secrets: [{source: s, mode: 888}]",
    "ulimits: {nofile: {soft: 10}, nproc: {soft: 5, hard: 1}}",
    "isolation: hyperv",
    "isolation: [vm, jail]",
    "isolation: container\nx-isolation: vm",
    "isolation: container\nruntime: kata",
    "runtime: runsc",
    "x-isolation: wm",
    "isolation: vm\nnetwork_mode: host\npid: \"service:web\"\ndevices: [/dev/fuse]",
    "isolation: vm,container\ngpus: all",
    "provider: {type: model}",
    "privileged: maybe\ntty: yes\ninit: \"on\"",
    "hostname: true",
    "image:",
    "command: \"sh -c 'x\"",
    "env_file: nosuch.env",
    "env_file: bad.env",
    "env_file: [{path: x.env, format: xml}]",
    "build: {contxt: .}",
    "build: {dockerfile: a, dockerfile_inline: b}",
    "container_name: -x\nscale: -1",
    "container_name: one\nscale: 2",
    "scale: 3\nports: [\"80:80\"]",
    "scale: 2\ndeploy: {replicas: 3}",
    "extends: nosuch",
    "extends: {file: nosuch.yaml, service: a}",
    "extends: web",
    "labels: !rest []",
    "ports: [!reset \"80:80\"]",
    "user: ${USER_ID:?say who}",
    "command: echo $(date) $1",
    "pull_policy: sometimes\nstop_grace_period: 10",
    "mac_address: 02:42",
    "profiles: [\"a b\"]",
    "develop: {watch: [{action: sync, path: .}, {action: fly, path: .}, {path: .}]}",
    "post_start: [{user: root}]",
    "logging: {driver: json-file, option: {}}",
    "blkio_config: {weight: 5000, wait: 1}",
    "x: 1",
];

#[test]
fn attributes() {
    let mut all = String::new();
    for case in ATTRIBUTES {
        let bad = ("bad.env", "A=1\nB C\n");
        let text = service(case);
        all.push_str(&format!(
            "--- {case}\n{}",
            told(&[("compose.yaml", &text), bad])
        ));
    }
    insta::assert_snapshot!(all);
}

const FILES: &[Case] = &[
    ("nothing at all", &[]),
    ("empty", &[("compose.yaml", "")]),
    ("no services", &[("compose.yaml", "networks: {a: }\n")]),
    ("services is a list", &[("compose.yaml", "services: [a]\n")]),
    ("a file that is a list", &[("compose.yaml", "- a\n")]),
    ("old file", &[("compose.yaml", "web:\n  image: x\n")]),
    (
        "tab",
        &[("compose.yaml", "services:\n\tweb:\n\t\timage: x\n")],
    ),
    (
        "duplicate key",
        &[(
            "compose.yaml",
            "services:\n  a: {image: x}\n  a: {image: y}\n",
        )],
    ),
    (
        "unclosed",
        &[("compose.yaml", "services: {a: {image: \"x}\n")],
    ),
    (
        "bad indentation",
        &[(
            "compose.yaml",
            "services:\n  a:\n    image: x\n   ports: []\n",
        )],
    ),
    (
        "bad name",
        &[("compose.yaml", "services:\n  \"a b\": {image: x}\n")],
    ),
    ("null service", &[("compose.yaml", "services:\n  a:\n")]),
    ("no image", &[("compose.yaml", "services:\n  a: {}\n")]),
    (
        "an image that is empty",
        &[("compose.yaml", "services:\n  a: {image: $N}\n")],
    ),
    (
        "bad project name",
        &[("compose.yaml", "name: \"---\"\nservices: {a: {image: x}}\n")],
    ),
    (
        "circle of dependencies",
        &[(
            "compose.yaml",
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, links: [c]}\n  c: {image: x, network_mode: \"service:a\"}\n",
        )],
    ),
    (
        "circle of extends",
        &[(
            "compose.yaml",
            "services:\n  a: {extends: b}\n  b: {extends: {service: a}}\n",
        )],
    ),
    (
        "circle of includes",
        &[
            (
                "compose.yaml",
                "include: [b.yaml]\nservices: {a: {image: x}}\n",
            ),
            ("b.yaml", "include: [c.yaml]\n"),
            ("c.yaml", "include: [b.yaml]\n"),
        ],
    ),
    (
        "included twice",
        &[
            (
                "compose.yaml",
                "include: [b.yaml]\nservices:\n  a: {image: x}\n",
            ),
            ("b.yaml", "services:\n  a: {image: y}\n"),
        ],
    ),
    (
        "include that is not there",
        &[(
            "compose.yaml",
            "include: [b.yaml]\nservices: {a: {image: x}}\n",
        )],
    ),
    (
        "include from the net",
        &[(
            "compose.yaml",
            "include: [\"oci://x/y\"]\nservices: {a: {image: x}}\n",
        )],
    ),
    (
        "error in an included file",
        &[
            (
                "compose.yaml",
                "include: [sub/b.yaml]\nservices: {a: {image: x}}\n",
            ),
            (
                "sub/b.yaml",
                "services:\n  b:\n    image: x\n    prots: []\n",
            ),
        ],
    ),
    (
        "ports that collide",
        &[(
            "compose.yaml",
            "services:\n  a: {image: x, ports: [\"80:80\", \"127.0.0.1:90:90\"]}\n  b: {image: x, ports: [\"127.0.0.1:80:8080\", \"127.0.0.2:90:90\", \"80:80/udp\"]}\n",
        )],
    ),
    (
        "one name for two",
        &[(
            "compose.yaml",
            "services:\n  a: {image: x, container_name: same}\n  b: {image: x, container_name: same}\n",
        )],
    ),
    (
        "a health check that is off",
        &[(
            "compose.yaml",
            "services:\n  a: {image: x, depends_on: {b: {condition: service_healthy}}}\n  b: {image: x, healthcheck: {test: NONE, disable: true}}\n",
        )],
    ),
    (
        "a dependency that is off",
        &[(
            "compose.yaml",
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, profiles: [p]}\n",
        )],
    ),
    (
        "secrets without or with two contents",
        &[(
            "compose.yaml",
            "services:\n  a: {image: x, secrets: [s, t, u]}\nsecrets:\n  s: {}\n  t: {file: a, content: b}\n  u: {external: true, file: x}\n",
        )],
    ),
    (
        "two documents",
        &[(
            "compose.yaml",
            "services: {a: {image: x}}\n---\nservices:\n  a: {prots: []}\n",
        )],
    ),
    (
        "a bad .env",
        &[
            ("compose.yaml", "services: {a: {image: x}}\n"),
            (".env", "A=1\nB=\"x\n"),
        ],
    ),
    (
        "networks",
        &[(
            "compose.yaml",
            "services: {a: {image: x, networks: [n]}}\nnetworks:\n  n:\n    external: {nam: x}\n    ipam: {config: [{subnet: 10.0.0.0/33, gateway: 10.0.0}]}\n    drivr: x\n",
        )],
    ),
    (
        "several errors at once",
        &[(
            "compose.yaml",
            "servces: {}\nservices:\n  a: {image: x, cpus: a, tty: b}\n  b: {imag: x}\n",
        )],
    ),
];

#[test]
fn files() {
    let mut all = String::new();
    for (name, files) in FILES {
        all.push_str(&format!("--- {name}\n{}", told(files)));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn what_is_asked_for_from_outside() {
    let files = [(
        "compose.yaml",
        "services:\n  web: {image: x}\n  db: {image: y}\n",
    )];
    let fails = |change: fn(&mut isola_compose::Request)| match load(&files, change) {
        Ok(model) => panic!("{}", model.to_yaml()),
        Err(invalid) => invalid.to_string(),
    };
    let all = [
        fails(|request| request.walls = vec!["wbe=vm".into()]),
        fails(|request| request.walls = vec!["web=wm".into()]),
        fails(|request| request.services = vec!["wbe".into()]),
        fails(|request| request.project_name = Some("My Shop".into())),
        fails(|request| request.env_files = vec!["nosuch.env".into()]),
        fails(|request| request.files = vec!["nosuch.yaml".into()]),
        fails(|request| request.files = vec!["https://example.org/compose.yaml".into()]),
        fails(|request| {
            request
                .environment
                .insert("COMPOSE_PROJECT_NAME".into(), "A".into());
        }),
    ];
    insta::assert_snapshot!(all.join("---\n"));
}
