//! How much is done at once, what of what nobody uses is made, and signals in between.

use isola_tests::{Env, behaviours, until};

use super::Stack;

behaviours![
    Once as_much_at_once_as_is_said,
    Once builds_at_once,
    Once what_no_service_uses_is_made_when_asked,
    Container a_signal_between_making_and_following,
];

const HOOKED: &str = "
x-hooked: &hooked
  image: box
  init: true
  command: sleep 1000
  volumes: ['data:/data']
  post_start: [{command: [sh, -c, 'echo in >> /data/x; sleep 0.5; echo out >> /data/x']}]
  pre_stop: [{command: [sh, -c, 'echo in >> /data/y; sleep 0.5; echo out >> /data/y']}]
services:
  aa: *hooked
  bb: *hooked
  cc: *hooked
volumes: {data: {name: data}}
";

fn written(env: &Env, file: &str) -> String {
    let path = format!("/data/{file}");
    env.run(&["-v", "data:/data"], &["cat", &path]).ok().stdout
}

fn as_much_at_once_as_is_said(env: &Env) {
    let stack = Stack::new(env, HOOKED);
    let one_by_one = "in\nout\n".repeat(3);
    let limited = |words: &[&str]| {
        let file = env.files().join("proj/compose.yaml");
        let first = ["compose", "-f", file.to_str().unwrap(), "--parallel", "1"];
        env.isola([&first[..], words].concat()).ok();
    };
    limited(&["up", "-d"]);
    assert_eq!(written(env, "x"), one_by_one);
    limited(&["stop", "-t", "1"]);
    assert_eq!(written(env, "y"), one_by_one);
    stack.down();
    // By the variable, of the user or of the project.
    stack.put(".env", "COMPOSE_PARALLEL_LIMIT=1\n");
    stack.run(&["up", "-d"]).ok();
    assert_eq!(written(env, "x"), one_by_one);
    // The flag goes before it, and -1 is no limit.
    let file = env.files().join("proj/compose.yaml");
    let file = file.to_str().unwrap();
    let stop = ["compose", "-f", file, "--parallel", "-1", "stop", "-t", "1"];
    env.isola(stop).ok();
    assert!(written(env, "y").starts_with("in\nin\n"), "side by side");
    stack.down();
    stack.put(".env", "COMPOSE_PARALLEL_LIMIT=some\n");
    stack
        .run(&["up", "-d"])
        .fails(1, "COMPOSE_PARALLEL_LIMIT=some");
    stack.put(".env", "");
    env.isola(["compose", "-f", file, "--parallel", "x", "up"])
        .exits(125);
    stack.run(&["up", "-d"]).ok();
    assert!(written(env, "x").starts_with("in\nin\n"), "side by side");
    stack.down();
}

fn builds_at_once(env: &Env) {
    let text = "
services:
  aa: {build: {dockerfile_inline: \"FROM box\\nRUN echo aa > /x\"}}
  bb: {build: {dockerfile_inline: \"FROM box\\nRUN echo bb > /x\"}}
";
    let stack = Stack::new(env, text);
    let file = env.files().join("proj/compose.yaml");
    let first = ["compose", "-f", file.to_str().unwrap(), "--parallel", "1"];
    let build = env.isola([&first[..], &["--progress", "plain", "build"]].concat());
    let told: Vec<String> = build
        .ok()
        .stderr
        .lines()
        .filter(|line| line.starts_with(" Image"))
        .map(|line| line.split_whitespace().last().unwrap().to_owned())
        .collect();
    assert_eq!(told, ["Building", "Built", "Building", "Built"]);
    for image in ["proj-aa", "proj-bb"] {
        env.isola(["rmi", image]).ok();
    }
    drop(stack);
}

fn what_no_service_uses_is_made_when_asked(env: &Env) {
    let text = "
services:
  aa: {image: box, init: true, command: sleep 1000}
networks: {spare: , default: }
volumes: {spare: }
secrets: {spare: {content: hush}}
configs: {spare: {content: told}}
";
    let stack = Stack::new(env, text);
    let file = env.files().join("proj/compose.yaml");
    let all = |words: &[&str]| {
        let first = ["compose", "-f", file.to_str().unwrap(), "--all-resources"];
        env.isola([&first[..], words].concat()).ok()
    };
    assert!(!stack.run(&["config"]).ok().stdout.contains("spare"));
    let config = all(&["config"]).stdout;
    for words in ["proj_spare", "secrets:", "configs:"] {
        assert!(config.contains(words), "{words}: {config}");
    }
    stack.run(&["up", "-d"]).ok();
    let networks = || {
        let words = [
            "network",
            "ls",
            "--format",
            "{{.Name}}",
            "--filter",
            "name=proj",
        ];
        env.isola(words).ok().stdout
    };
    let volumes = || env.isola(["volume", "ls", "-q"]).ok().stdout;
    assert_eq!(
        (networks(), volumes()),
        ("proj_default\n".into(), String::new())
    );
    let dry = all(&["up", "--dry-run"]).stdout;
    assert_eq!(dry, "create network spare\ncreate volume spare\n");
    all(&["up", "-d"]);
    assert!(networks().contains("proj_spare"), "{}", networks());
    assert_eq!(volumes(), "proj_spare\n");
    assert_eq!(all(&["up", "--dry-run"]).stdout, "");
    all(&["down", "-v", "-t", "1"]);
    assert_eq!((networks(), volumes()), Default::default());
}

/// Signals at moments around the last step: whatever is there then, nothing runs on
/// that would have been stopped a moment later, and what was made is stopped gracefully.
fn a_signal_between_making_and_following(env: &Env) {
    let text = "
services:
  aa:
    image: box
    command: [sh, -c, 'trap \"echo bye; exit 0\" TERM; echo here; while true; do sleep 0.05; done']
";
    let stack = Stack::new(env, text);
    let mut stopped = 0;
    for delay in [0, 1, 2, 3, 5, 8, 12, 20, 30, 50] {
        let mut up = stack.start(&["--progress", "plain", "up", "-t", "10"]);
        up.expect_error("Instance proj-aa-1  Started");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        up.signal(2);
        let end = up.wait();
        assert_eq!(end.code, 130, "{delay}: {}", end.stderr);
        assert_eq!(
            stack.states(),
            ["proj-aa-1 exited"],
            "{delay}: {}",
            end.stderr
        );
        stopped += usize::from(end.stderr.contains("Stopping..."));
        // It had a chance to say good bye, if it had got so far.
        let said = stack.logs("aa");
        assert!(said.is_empty() || said == "here\nbye\n", "{delay}: {said}");
        stack.down();
    }
    assert_eq!(stopped, 10, "each time the stack was stopped");
    until("nothing is left", || stack.states().is_empty());
}
