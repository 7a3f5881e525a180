//! Files that can't be used, and commands that are killed: one clear error with its
//! place and a next step, and nothing of the project is there afterwards.

use isola_tests::{Env, Wall, behaviours};

use super::Stack;

behaviours![
    Once bad_files_are_refused_with_their_place,
    Once an_alias_bomb_does_not_go_off,
    Once circles_through_files_are_found,
    Every what_a_wall_refuses_is_refused_before_anything_is_made,
    Every a_killed_up_is_taken_down,
];

/// Nothing was made of the project.
fn nothing_is_there(env: &Env, case: &str) {
    for words in [
        &["ps", "-aq"][..],
        &["network", "ls", "-q", "--filter", "name=proj"],
        &["volume", "ls", "-q"],
    ] {
        assert_eq!(env.isola(words).ok().stdout, "", "{case}: {words:?}");
    }
}

/// `up` fails with this place and these words, and makes nothing.
pub(super) fn refused(env: &Env, stack: &Stack<'_>, case: &str, place: &str, words: &str) {
    let up = stack.run(&["up", "-d", "--pull", "never"]);
    assert_eq!(up.code, 1, "{case}: {}", up.stderr);
    let errors = up.stderr.lines().filter(|line| line.starts_with("error:"));
    let errors: Vec<&str> = errors.collect();
    let found = errors
        .iter()
        .any(|line| line.contains(&format!("{place}: ")) && line.contains(words));
    assert!(found, "{case}: {place}: {words}: {}", up.stderr);
    assert!(up.stderr.contains("hint:"), "{case}: {}", up.stderr);
    nothing_is_there(env, case);
}

/// What is wrong, the file, the place, and words of the error.
type Case = (&'static str, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    (
        "malformed",
        "services:\n  aa:\n    image: box\n   command: x\n",
        "compose.yaml:4:4",
        "this is no YAML",
    ),
    (
        "a tab",
        "services:\n  aa:\n\timage: box\n",
        "compose.yaml:3:1",
        "a tab",
    ),
    (
        "a key that comes twice",
        "services:\n  aa:\n    image: box\n    image: other\n",
        "compose.yaml:4:5",
        "`image` comes twice",
    ),
    (
        "a circle of dependencies",
        "services:\n  aa: {image: box, depends_on: [bb]}\n  bb: {image: box, depends_on: [cc]}\n  cc: {image: box, depends_on: [aa]}\n",
        "compose.yaml:4:33",
        "circle: aa -> bb -> cc -> aa",
    ),
    (
        "a circle of extends",
        "services:\n  aa: {extends: bb}\n  bb: {extends: aa}\n",
        "compose.yaml:3:17",
        "circle",
    ),
    (
        "a variable that must be set",
        "services:\n  aa:\n    image: box\n    user: ${WHO:?say who}\n",
        "compose.yaml:4:11",
        "say who",
    ),
    (
        "an env file that is not there",
        "services:\n  aa:\n    image: box\n    env_file: [nosuch.env]\n",
        "compose.yaml:4:16",
        "nosuch.env is not there",
    ),
    (
        "ports that collide",
        "services:\n  aa: {image: box, ports: ['8080:80']}\n  bb:\n    image: box\n    ports: ['127.0.0.1:8080:81']\n",
        "compose.yaml:5:13",
        "8080/tcp of the host is published by `aa` already",
    ),
    (
        "a volume that is not declared",
        "services:\n  aa:\n    image: box\n    volumes: ['data:/data']\n",
        "compose.yaml:4:15",
        "the volume `data` is not declared",
    ),
    (
        "a network that is not declared",
        "services:\n  aa:\n    image: box\n    networks: [back]\n",
        "compose.yaml:4:16",
        "the network `back` is not declared",
    ),
    (
        "one name for two",
        "services:\n  aa: {image: box, container_name: same}\n  bb: {image: box, container_name: same}\n",
        "compose.yaml:3:36",
        "is that of `aa`, too",
    ),
    (
        "a mode that there is not",
        "services:\n  bb: {image: box}\n  aa:\n    image: box\n    pid: hots\n",
        "compose.yaml:5:10",
        "`pid: hots` is no mode",
    ),
    (
        "a device that is no path",
        "services:\n  aa:\n    image: box\n    isolation: container\n    devices: ['vendor.example/gpu=0']\n",
        "compose.yaml:5:14",
        "vendor.example/gpu=0",
    ),
    (
        "an image as a volume",
        "services:\n  aa:\n    image: box\n    volumes: [{type: image, source: box, target: /x}]\n",
        "compose.yaml:4:15",
        "type image",
    ),
    (
        "a secret whose file is not there",
        "services:\n  aa: {image: box, secrets: [word]}\nsecrets:\n  word:\n    file: ./nosuch.txt\n",
        "compose.yaml:5:11",
        "secrets.word: cannot read",
    ),
    (
        "a config whose variable is not set",
        "services:\n  aa: {image: box, configs: [word]}\nconfigs:\n  word: {environment: NOSUCH}\n",
        "compose.yaml:4:23",
        "the variable NOSUCH is not set",
    ),
    (
        "an owner by name",
        "services:\n  aa:\n    image: box\n    secrets: [{source: word, uid: app}]\nsecrets:\n  word: {content: x}\n",
        "compose.yaml:4:35",
        "uid \"app\" of word is no number",
    ),
    (
        "a folder that is not to be made",
        "services:\n  aa:\n    image: box\n    volumes:\n      - {type: bind, source: ./nosuch, target: /x, bind: {create_host_path: false}}\n",
        "compose.yaml:5:9",
        "nosuch",
    ),
    (
        "addresses that are kept free",
        "services:\n  aa: {image: box}\nnetworks:\n  default:\n    ipam:\n      config: [{subnet: 10.80.1.0/24, aux_addresses: {a: 10.80.1.9}}]\n",
        "compose.yaml:6:15",
        "aux_addresses",
    ),
    (
        "a capability that there is not, in the second service",
        "services:\n  aa: {image: box}\n  bb:\n    image: box\n    cap_add: [NOSUCH]\n    depends_on: [aa]\n",
        "compose.yaml:4:5",
        "NOSUCH",
    ),
    (
        "a kernel parameter of the host",
        "services:\n  aa: {image: box}\n  bb:\n    image: box\n    sysctls: {kernel.panic: 1}\n    volumes: ['data:/data']\nvolumes: {data: }\n",
        "compose.yaml:4:5",
        "kernel.panic",
    ),
];

fn bad_files_are_refused_with_their_place(env: &Env) {
    for (case, text, place, words) in CASES {
        let stack = Stack::new(env, text);
        refused(env, &stack, case, place, words);
    }
}

fn an_alias_bomb_does_not_go_off(env: &Env) {
    let mut text = String::from("x-0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("x-{level}: &a{level} [{list}]\n"));
    }
    text.push_str("services: {aa: {image: box}}\n");
    let stack = Stack::new(env, &text);
    let up = stack.run(&["up", "-d"]);
    up.fails(1, "aliases make more than");
    nothing_is_there(env, "a bomb");
}

fn circles_through_files_are_found(env: &Env) {
    let stack = Stack::new(env, "include: [one.yaml]\nservices:\n  aa: {image: box}\n");
    stack.put("one.yaml", "include: [sub/two.yaml]\n");
    stack.put("sub/two.yaml", "include: [../one.yaml]\n");
    refused(env, &stack, "include", "two.yaml:1:11", "circle");
    stack.write("services:\n  aa:\n    extends: {file: one.yaml, service: bb}\n");
    let back = "services:\n  bb:\n    extends: {file: compose.yaml, service: aa}\n";
    stack.put("one.yaml", back);
    refused(env, &stack, "extends", "one.yaml:3:21", "circle");
    stack.write("services:\n  aa: {image: box}\n  bb: {extends: {file: one.yaml, service: bb}}\n");
    stack.put("one.yaml", "services:\n  bb: {imag: box}\n");
    refused(env, &stack, "extends", "one.yaml:2:8", "unknown key `imag`");
}

/// The second service asks for what its wall has not.
fn what_a_wall_refuses_is_refused_before_anything_is_made(env: &Env) {
    let (lines, place, words) = match env.wall() {
        Wall::Container => (
            "volumes: [{type: volume, source: disk, target: /x}]\n    cap_drop: [NOSUCH]",
            "compose.yaml:4:5",
            "NOSUCH",
        ),
        _ => (
            "memswap_limit: 1g\n    mem_limit: 512m",
            "compose.yaml:5:20",
            "swap",
        ),
    };
    let text = format!(
        "services:\n  aa: {{image: box}}\n  bb:\n    image: box\n    {lines}\n    depends_on: [aa]\nvolumes: {{disk: }}\n"
    );
    let stack = Stack::new(env, &text);
    refused(env, &stack, lines, place, words);
    let run = stack.run(&["run", "--rm", "-T", "bb", "true"]);
    assert!(
        run.code != 0 && run.stderr.contains(words),
        "{}",
        run.stderr
    );
    nothing_is_there(env, "run");
}

/// `up` is killed at some moment, and what it left is found by `down`.
fn a_killed_up_is_taken_down(env: &Env) {
    let text = "
services:
  aa:
    IDLE
    scale: 2
    volumes: ['data:/data', /unnamed]
    secrets: [word]
  bb:
    IDLE
    depends_on: [aa]
    networks: [default, other]
volumes: {data: }
networks: {other: }
secrets: {word: {content: hush}}
";
    let stack = Stack::new(env, text);
    for moment in [10, 60, 150, 400] {
        let up = stack.start(&["up", "-d"]);
        std::thread::sleep(std::time::Duration::from_millis(moment));
        up.signal(9);
        up.wait();
        stack.down();
        nothing_is_there(env, &format!("killed after {moment} ms"));
        assert!(!env.root().join("compose/proj").exists());
    }
}
