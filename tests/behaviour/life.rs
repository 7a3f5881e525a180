//! An instance's life: create, start, stop, kill, pause, restart, remove.

use isola_tests::{Env, behaviours};

behaviours![
    Every created_started_stopped_started_removed,
    Every stop_asks_and_then_kills,
    Every kill_passes_the_signal_on,
    Every paused_processes_stand_still,
    Every detached_prints_the_id_and_rm_takes_it_away,
    Every names_are_unique_and_change,
    Every wait_tells_the_exit_code,
    Every rm_refuses_what_runs,
    Every restart_gives_a_new_process,
    Every failures_are_tried_again_as_often_as_asked,
    Every ps_lists_by_filter,
    Once unknown_instances_are_an_error,
    Once inspect_templates,
];

/// Ends with 7 when asked to, and says when it is ready for that.
const POLITE: &[&str] = &[
    "sh",
    "-c",
    "trap 'exit 7' TERM; trap 'exit 8' USR1; echo ready; while :; do sleep 0.1; done",
];

fn state(env: &Env, name: &str) -> String {
    env.inspect(name, "{{.State.Status}} {{.State.ExitCode}}")
}

/// Starts it and waits until its output has this word.
fn ready(env: &Env, name: &str, options: &[&str], program: &[&str]) -> String {
    let id = env.detached(name, options, program);
    env.start(["logs", "-f", name]).expect("ready");
    id
}

fn created_started_stopped_started_removed(env: &Env) {
    let script = "echo again >> /root/kept; echo ready; exec sleep 1000";
    env.isola([
        "create", "--name", "aa", "--init", "box", "sh", "-c", script,
    ])
    .ok();
    assert_eq!(state(env, "aa"), "created 0");
    assert_eq!(env.isola(["ps", "-q"]).ok().stdout, "");
    assert_eq!(env.isola(["start", "aa"]).ok().stdout, "aa\n");
    env.start(["logs", "-f", "aa"]).expect("ready");
    assert_eq!(state(env, "aa"), "running 0");
    assert_eq!(env.isola(["stop", "aa"]).ok().stdout, "aa\n");
    assert_eq!(state(env, "aa"), "exited 143");
    env.isola(["start", "aa"]).ok();
    env.start(["logs", "-f", "aa"]).expect("ready\nready");
    let kept = env.isola(["exec", "aa", "cat", "/root/kept"]).ok().stdout;
    assert_eq!(kept, "again\nagain\n", "the disk outlives a stop");
    env.isola(["rm", "-f", "aa"]).ok();
    env.isola(["inspect", "aa"]).exits(1);
    let id = env.detached("aa", &[], &["ls", "/root"]);
    env.isola(["wait", &id]).ok();
    let logs = env.isola(["logs", "aa"]).ok().stdout;
    assert_eq!(logs, "", "the disk goes with its instance");
}

fn stop_asks_and_then_kills(env: &Env) {
    ready(env, "polite", &[], POLITE);
    env.isola(["stop", "-t", "60", "polite"]).ok();
    assert_eq!(state(env, "polite"), "exited 7");
    env.isola(["stop", "polite"]).ok();
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    ready(env, "deaf", &[], &["sh", "-c", deaf]);
    env.isola(["stop", "-t", "1", "deaf"]).ok();
    assert_eq!(state(env, "deaf"), "exited 137");
}

fn kill_passes_the_signal_on(env: &Env) {
    ready(env, "aa", &[], POLITE);
    env.isola(["kill", "-s", "NOSUCH", "aa"]).fails(1, "NOSUCH");
    for number in ["0", "65", "-1"] {
        let output = env.isola(["kill", &format!("--signal={number}"), "aa"]);
        output.fails(1, number);
    }
    assert_eq!(state(env, "aa"), "running 0");
    env.isola(["kill", "-s", "SIGUSR1", "aa"]).ok();
    assert_eq!(env.isola(["wait", "aa"]).ok().stdout, "8\n");
    env.isola(["kill", "aa"]).fails(1, "aa");
    env.isola(["start", "aa"]).ok();
    // It has ended when this one returns, and no policy starts it again.
    env.isola(["kill", "aa"]).ok();
    assert_eq!(state(env, "aa"), "exited 137");
    assert_eq!(env.isola(["wait", "aa"]).ok().stdout, "137\n");
    ready(env, "bb", &["--restart", "always"], POLITE);
    env.isola(["kill", "bb"]).ok();
    assert_eq!(state(env, "bb"), "exited 137");
}

fn paused_processes_stand_still(env: &Env) {
    let script = "while :; do echo tick; sleep 0.05; done";
    env.detached("aa", &[], &["sh", "-c", script]);
    env.start(["logs", "-f", "aa"]).expect("tick");
    env.isola(["unpause", "aa"]).fails(1, "aa");
    env.isola(["pause", "aa"]).ok();
    assert_eq!(state(env, "aa"), "paused 0");
    // What was on its way gets time to arrive.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let before = env.isola(["logs", "aa"]).ok().stdout.len();
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(env.isola(["logs", "aa"]).ok().stdout.len(), before);
    env.isola(["pause", "aa"]).fails(1, "aa");
    env.isola(["exec", "aa", "true"]).fails(1, "pause");
    env.isola(["unpause", "aa"]).ok();
    assert_eq!(state(env, "aa"), "running 0");
    let mut follow = env.start(["logs", "-f", "--tail", "0", "aa"]);
    follow.expect("tick");
    env.isola(["pause", "aa"]).ok();
    env.isola(["stop", "-t", "1", "aa"]).ok();
    assert_eq!(state(env, "aa"), "exited 137");
}

fn detached_prints_the_id_and_rm_takes_it_away(env: &Env) {
    let file = env.files().join("id");
    let file = file.to_str().unwrap();
    let words = [
        "run",
        "-d",
        "--rm",
        "--cidfile",
        file,
        "box",
        "sleep",
        "1000",
    ];
    let output = env.isola(words).ok();
    let id = output.stdout.trim();
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(output.stderr, "");
    assert_eq!(std::fs::read_to_string(file).unwrap(), id);
    env.isola(words).fails(125, file);
    assert_eq!(
        env.isola(["ps", "-aq", "--no-trunc"]).ok().stdout.trim(),
        id
    );
    env.isola(["stop", "-t", "0", &id[..6]]).ok();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !env.isola(["ps", "-aq"]).ok().stdout.is_empty() {
        assert!(std::time::Instant::now() < until, "--rm left it");
    }
}

fn names_are_unique_and_change(env: &Env) {
    env.isola(["create", "--name", "aa", "box"]).ok();
    env.isola(["create", "--name", "bb", "box"]).ok();
    env.isola(["create", "--name", "aa", "box"])
        .fails(125, "aa");
    env.isola(["run", "--name", "aa", "box"]).fails(125, "aa");
    env.isola(["rename", "aa", "bb"]).fails(1, "bb");
    env.isola(["rename", "aa", "cc"]).ok();
    env.isola(["inspect", "aa"]).exits(1);
    assert_eq!(env.inspect("cc", "{{.Name}}"), "cc");
    env.isola(["create", "--name", "aa", "box"]).ok();
    assert_eq!(
        env.isola(["ps", "-a", "--format", "{{.Names}}"])
            .ok()
            .stdout,
        "aa\nbb\ncc\n"
    );
    env.isola(["rm", "aa", "nosuch", "bb"]).exits(1);
    let left = env
        .isola(["ps", "-a", "--format", "{{.Names}}"])
        .ok()
        .stdout;
    assert_eq!(left, "cc\n", "one that is missing does not keep the others");
}

fn wait_tells_the_exit_code(env: &Env) {
    env.isola([
        "create",
        "--name",
        "aa",
        "box",
        "sh",
        "-c",
        "sleep 0.2; exit 9",
    ])
    .ok();
    env.isola(["start", "aa"]).ok();
    assert_eq!(env.isola(["wait", "aa"]).ok().stdout, "9\n");
    assert_eq!(env.isola(["wait", "aa"]).ok().stdout, "9\n");
    env.isola(["start", "-a", "aa"]).exits(9);
}

fn rm_refuses_what_runs(env: &Env) {
    env.detached("aa", &[], &["sleep", "1000"]);
    env.isola(["rm", "aa"]).fails(1, "aa");
    assert_eq!(state(env, "aa"), "running 0");
    env.isola(["rm", "-f", "aa", "nosuch"]).ok();
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
}

fn restart_gives_a_new_process(env: &Env) {
    let script = "echo ready $(cat /root/was); echo it was >> /root/was; exec sleep 1000";
    ready(env, "aa", &["--init"], &["sh", "-c", script]);
    let pid = env.inspect("aa", "{{.State.Pid}}");
    env.isola(["restart", "-t", "5", "aa"]).ok();
    env.start(["logs", "-f", "aa"]).expect("ready it was");
    assert_ne!(env.inspect("aa", "{{.State.Pid}}"), pid);
    assert_eq!(env.inspect("aa", "{{.RestartCount}}"), "0");
}

fn failures_are_tried_again_as_often_as_asked(env: &Env) {
    env.detached(
        "aa",
        &["--restart", "on-failure:2"],
        &["sh", "-c", "echo try; exit 3"],
    );
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while state(env, "aa") != "exited 3" {
        assert!(std::time::Instant::now() < until, "{}", state(env, "aa"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let tries = env.isola(["logs", "aa"]).ok().stdout;
    assert_eq!(tries, "try\ntry\ntry\n");
    assert_eq!(
        env.inspect("aa", "{{.State.Status}} {{.RestartCount}}"),
        "exited 2"
    );
    env.isola(["run", "--rm", "--restart", "always", "box"])
        .fails(125, "--r");
}

fn ps_lists_by_filter(env: &Env) {
    env.isola(["create", "--name", "made", "-l", "kind=x", "box"])
        .ok();
    env.isola([
        "run", "--name", "ended", "-l", "kind=y", "box", "sh", "-c", "exit 4",
    ])
    .exits(4);
    let names = |filter: &str| {
        let words = ["ps", "-a", "--filter", filter, "--format", "{{.Names}}"];
        env.isola(words).ok().stdout
    };
    assert_eq!(names("status=created"), "made\n");
    assert_eq!(names("exited=4"), "ended\n");
    assert_eq!(names("label=kind"), "ended\nmade\n");
    assert_eq!(names("label=kind=x"), "made\n");
    assert_eq!(names("name=mad"), "made\n");
    assert_eq!(names("before=ended"), "made\n");
    let wall = format!("isolation={}", env.wall().name());
    assert_eq!(names(&wall), "ended\nmade\n");
    env.isola(["ps", "--filter", "nosuch=1"]).fails(1, "nosuch");
    env.isola(["ps", "--filter", "status=nosuch"])
        .fails(1, "nosuch");
    let row = env
        .isola(["ps", "-a", "--filter", "name=ended"])
        .ok()
        .stdout;
    assert!(row.contains("Exited (4)"), "{row}");
}

fn unknown_instances_are_an_error(env: &Env) {
    for verb in [
        "start", "stop", "kill", "rm", "restart", "pause", "unpause", "wait", "inspect", "logs",
        "attach", "top",
    ] {
        let output = env.isola([verb, "nosuch"]).exits(1);
        assert!(
            output.stderr.contains("nosuch"),
            "{verb}: {}",
            output.stderr
        );
    }
    env.isola(["exec", "nosuch", "true"]).fails(1, "nosuch");
    env.isola(["rename", "nosuch", "aa"]).fails(1, "nosuch");
    env.isola(["run", "--rm", "--pull=never", "nosuch:image"])
        .fails(125, "nosuch:image");
    env.isola(["run", "--nosuch", "box"]).fails(125, "--nosuch");
    env.isola(["nosuch"]).fails(1, "nosuch");
}

fn inspect_templates(env: &Env) {
    let words = [
        "create",
        "--name",
        "aa",
        "-l",
        "k=v",
        "-e",
        "A=1",
        "--stop-signal",
        "INT",
        "box",
        "x",
        "y",
    ];
    env.isola(words).ok();
    let shown = env.inspect(
        "aa",
        "{{.Name}} {{.Path}} {{json .Args}} {{index .Config.Labels \"k\"}} {{.Config.StopSignal}}",
    );
    assert_eq!(shown, "aa x [\"y\"] v SIGINT");
    let list = env.inspect("aa", "{{range .Config.Env}}<{{.}}>{{end}}");
    assert!(list.contains("<A=1>"), "{list}");
    env.isola(["inspect", "--format", "{{.No.Such}}", "aa"])
        .exits(1);
    env.isola(["inspect", "--format", "{{", "aa"]).exits(1);
    let all: serde_json::Value =
        serde_json::from_str(&env.isola(["inspect", "aa"]).ok().stdout).expect("JSON");
    assert_eq!(all[0]["Config"]["Labels"]["k"], "v");
}
