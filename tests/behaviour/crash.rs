//! Processes of the tool that are killed at bad moments: the next command tells
//! the truth, and nothing is left on the host.

use std::time::{Duration, Instant};

use isola_tests::{Env, Running, behaviours};

behaviours![
    Every a_killed_supervisor_takes_the_wall_down,
    Every a_killed_supervisor_of_a_passing_instance,
    Container a_passing_instance_whose_records_were_lost,
    Guests a_killed_monitor_ends_its_instance,
    Container a_killed_first_process_ends_its_instance,
    Every a_killed_command_line_leaves_the_instance,
    Every command_lines_killed_at_any_moment,
    Every supervisors_killed_at_any_moment,
];

fn kill(pid: &str) {
    let pid: i32 = pid.parse().expect("a process id");
    assert!(pid > 1, "process {pid}");
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
}

fn state(env: &Env, name: &str) -> String {
    env.inspect(name, "{{.State.Status}}")
}

fn until(what: &str, test: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !test() {
        assert!(Instant::now() < end, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn a_killed_supervisor_takes_the_wall_down(env: &Env) {
    env.detached("aa", &[], &["sleep", "1000"]);
    let pid = env.inspect("aa", "{{.State.Pid}}");
    kill(&env.inspect("aa", "{{.State.SupervisorPid}}"));
    until("exited", || state(env, "aa") == "exited");
    let path = format!("/proc/{pid}/cmdline");
    until("the processes are gone", || {
        std::fs::read(&path).unwrap_or_default().is_empty()
    });
    let code = env.isola(["wait", "aa"]).ok().stdout;
    assert_ne!(code, "0\n", "an instance that was lost has not succeeded");
    assert_ne!(env.inspect("aa", "{{.State.Error}}"), "");
    env.isola(["start", "aa"]).ok();
    assert_eq!(
        env.isola(["exec", "aa", "echo", "again"]).ok().stdout,
        "again\n"
    );
}

fn a_killed_supervisor_of_a_passing_instance(env: &Env) {
    env.detached("aa", &["--rm"], &["sleep", "1000"]);
    kill(&env.inspect("aa", "{{.State.SupervisorPid}}"));
    until("--rm", || env.isola(["ps", "-aq"]).ok().stdout.is_empty());
}

/// Records of `--rm` instances are not synced: when the host goes down, it may lose
/// the text that was in them. Here the supervisor goes down and the texts are emptied.
fn a_passing_instance_whose_records_were_lost(env: &Env) {
    for lost in ["config.json", "status.json"] {
        let id = env.detached("aa", &["--rm"], &["sleep", "1000"]);
        let folder = env.root().join("instances").join(&id);
        kill(&env.inspect("aa", "{{.State.SupervisorPid}}"));
        std::fs::write(folder.join(lost), "").unwrap();
        until("--rm", || {
            let all = env.isola(["ps", "-aq"]).ok().stdout;
            all.is_empty() && !folder.exists()
        });
    }
    let id = env.detached("kept", &[], &["sleep", "1000"]);
    env.isola(["stop", "-t", "0", "kept"]).ok();
    let file = env.root().join("instances").join(&id).join("config.json");
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, "").unwrap();
    let output = env.isola(["ps", "-aq"]);
    assert!(output.stderr.contains("damaged"), "{output:?}");
    std::fs::write(&file, text).unwrap();
    assert_eq!(state(env, "kept"), "exited");
}

fn a_killed_monitor_ends_its_instance(env: &Env) {
    let attached = env.start(["run", "--name", "aa", "box", "sleep", "1000"]);
    until("running", || env.isola(["exec", "aa", "true"]).code == 0);
    kill(&env.inspect("aa", "{{.State.Pid}}"));
    let output = attached.wait();
    assert_eq!(output.code, 125, "{output:?}");
    assert_eq!(state(env, "aa"), "exited");
    assert_ne!(env.inspect("aa", "{{.State.Error}}"), "");
}

fn a_killed_first_process_ends_its_instance(env: &Env) {
    env.detached("aa", &[], &["sleep", "1000"]);
    kill(&env.inspect("aa", "{{.State.Pid}}"));
    assert_eq!(env.isola(["wait", "aa"]).ok().stdout, "137\n");
}

fn a_killed_command_line_leaves_the_instance(env: &Env) {
    let script = "echo ready; read line; echo got $line";
    let mut attached = env.start(["run", "-i", "--name", "aa", "box", "sh", "-c", script]);
    attached.expect("ready");
    attached.signal(9);
    attached.wait().exits(137);
    assert_eq!(state(env, "aa"), "running");
    env.isola(["exec", "aa", "true"]).ok();
}

/// Moments after a start, in milliseconds: spread over setup, boot and run.
fn moments(env: &Env) -> &'static [u64] {
    match env.wall().is_guest() {
        true => &[20, 60, 150, 400, 1000],
        false => &[2, 5, 10, 15, 20, 25, 30, 40, 60, 90],
    }
}

/// Every command that there is about it works, whatever it has become.
fn tells_the_truth(env: &Env, started: Running) {
    drop(started);
    for line in env.isola(["ps", "-aq"]).ok().stdout.lines() {
        env.isola(["rm", "-f", line]).ok();
    }
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
}

fn command_lines_killed_at_any_moment(env: &Env) {
    for moment in moments(env) {
        let started = env.start(["run", "--name", "aa", "box", "sleep", "1000"]);
        std::thread::sleep(Duration::from_millis(*moment));
        started.signal(9);
        tells_the_truth(env, started);
    }
}

fn supervisors_killed_at_any_moment(env: &Env) {
    for moment in moments(env) {
        let started = env.start(["run", "--rm", "--name", "aa", "box", "sleep", "1000"]);
        let supervisor = || {
            let id = std::fs::read_dir(env.root().join("instances"))
                .ok()?
                .flatten()
                .next()?;
            let path = id.path().join("status.json");
            let status: serde_json::Value =
                serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
            status["supervisor_pid"].as_i64()
        };
        until("a supervisor", || supervisor().is_some());
        std::thread::sleep(Duration::from_millis(*moment));
        kill(&supervisor().expect("a supervisor").to_string());
        let output = started.wait();
        assert_ne!(output.code, 0, "{output:?}");
        until("--rm", || env.isola(["ps", "-aq"]).ok().stdout.is_empty());
    }
}
