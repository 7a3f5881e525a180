//! Output kept and passed on, further commands, terminals, and files that go in
//! and out.

use std::os::unix::fs::PermissionsExt;

use isola_tests::{Env, behaviours};

behaviours![
    Every logs_keep_streams_apart,
    Every logs_follow_to_the_end,
    Every exec_runs_further_commands,
    Every exec_in_the_background,
    Every a_terminal_is_one,
    Every attach_shows_and_types,
    Every files_go_in_and_come_out,
    Every files_of_a_stopped_instance,
    Every archives_on_standard_streams,
    Every top_and_stats,
    Once readers_that_go_away_end_a_command_in_silence,
];

fn logs_keep_streams_apart(env: &Env) {
    let script = "for i in 1 2 3; do echo out$i; echo err$i >&2; done; printf unfinished";
    env.detached("aa", &[], &["sh", "-c", script]);
    env.isola(["wait", "aa"]).ok();
    let output = env.isola(["logs", "aa"]).ok();
    assert_eq!(output.stdout, "out1\nout2\nout3\nunfinished");
    assert_eq!(output.stderr, "err1\nerr2\nerr3\n");
    let last = env.isola(["logs", "--tail", "1", "aa"]).ok();
    assert_eq!(last.stdout, "unfinished");
    assert_eq!(env.isola(["logs", "-n", "0", "aa"]).ok().stdout, "");
    let old = env.isola(["logs", "--until", "2001-01-01", "aa"]).ok();
    assert_eq!(old.stdout, "");
    let stamped = env.isola(["logs", "-t", "aa"]).ok().stdout;
    assert!(
        stamped.starts_with("20") && stamped.contains("Z out1\n"),
        "{stamped}"
    );
    let none = [
        "run",
        "--name",
        "bb",
        "--log-driver",
        "none",
        "box",
        "echo",
        "x",
    ];
    assert_eq!(env.isola(none).ok().stdout, "x\n");
    env.isola(["logs", "bb"]).exits(1);
}

fn logs_follow_to_the_end(env: &Env) {
    env.isola([
        "create",
        "-i",
        "--name",
        "aa",
        "box",
        "sh",
        "-c",
        "read x; echo got $x; read y",
    ])
    .ok();
    let mut typing = env.start(["start", "-ai", "aa"]);
    typing.write(b"one\n");
    typing.expect("got one");
    let mut follow = env.start(["logs", "-f", "aa"]);
    follow.expect("got one");
    typing.write(b"two\n");
    typing.wait().exits(0);
    assert_eq!(follow.wait().ok().stdout, "got one\n");
}

fn exec_runs_further_commands(env: &Env) {
    env.detached("aa", &["-e", "A=1"], &["sleep", "1000"]);
    let exec = |options: &[&str], program: &[&str]| {
        env.isola([&["exec"], options, &["aa"], program].concat())
    };
    exec(&[], &["sh", "-c", "exit 42"]).exits(42);
    exec(&[], &["sh", "-c", "kill -9 $$"]).exits(137);
    exec(&[], &["no-such-program"]).fails(127, "no-such-program");
    exec(&[], &["/etc/plain"]).fails(126, "/etc/plain");
    let script = "echo $A$B $(id -u) $(id -g) $(pwd); echo err >&2";
    let output = exec(
        &["-e", "B=2", "-u", "app", "-w", "/tmp"],
        &["sh", "-c", script],
    );
    let output = output.ok();
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        ("12 1000 1000 /tmp\n", "err\n")
    );
    exec(&["-u", "nobody-here"], &["id"]).exits(126);
    let input = "line\n".repeat(50_000);
    let count = env
        .isola_with(["exec", "-i", "aa", "wc", "-c"], input.as_bytes())
        .ok();
    assert_eq!(count.stdout.trim(), input.len().to_string());
    env.isola(["stop", "-t", "0", "aa"]).ok();
    exec(&[], &["true"]).fails(1, "aa");
}

fn exec_in_the_background(env: &Env) {
    env.detached("aa", &[], &["sleep", "1000"]);
    env.isola(["exec", "aa", "mkfifo", "/tmp/pipe"]).ok();
    let output = env.isola(["exec", "-d", "aa", "sh", "-c", "echo done > /tmp/pipe"]);
    assert_eq!(output.ok().stdout, "");
    let output = env.isola(["exec", "aa", "cat", "/tmp/pipe"]).ok();
    assert_eq!(output.stdout, "done\n");
}

fn a_terminal_is_one(env: &Env) {
    let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo yes; echo err >&2";
    let output = env.run(&["-t"], &["sh", "-c", script]).ok();
    assert_eq!(output.stdout, "/dev/pts/0\r\nyes\r\nerr\r\n");
    env.detached("aa", &[], &["sleep", "1000"]);
    let output = env.isola(["exec", "-t", "aa", "sh", "-c", script]).ok();
    assert!(
        output.stdout.ends_with("yes\r\nerr\r\n"),
        "{}",
        output.stdout
    );
    let output = env.isola(["exec", "aa", "sh", "-c", "test -t 0"]);
    output.exits(1);
}

fn attach_shows_and_types(env: &Env) {
    let script = "echo ready; while read line; do echo got $line; done; exit 5";
    env.detached("aa", &["-i"], &["sh", "-c", script]);
    env.start(["logs", "-f", "aa"]).expect("ready");
    let mut attached = env.start(["attach", "aa"]);
    attached.write(b"one\n");
    attached.expect("got one");
    attached.close_stdin();
    attached.wait().exits(5);
}

fn files_go_in_and_come_out(env: &Env) {
    env.detached("aa", &[], &["sleep", "1000"]);
    let files = env.files();
    let path = |name: &str| files.join(name).to_str().unwrap().to_owned();
    let content: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::create_dir_all(files.join("folder/deep")).unwrap();
    std::fs::write(files.join("folder/deep/file"), &content).unwrap();
    std::fs::write(files.join("folder/run"), "#!/bin/sh\necho ran\n").unwrap();
    std::fs::set_permissions(files.join("folder/run"), PermissionsExt::from_mode(0o751)).unwrap();
    std::os::unix::fs::symlink("deep/file", files.join("folder/link")).unwrap();
    env.isola(["cp", &path("folder"), "aa:/root"]).ok();
    let ran = env.isola(["exec", "aa", "/root/folder/run"]).ok();
    assert_eq!(ran.stdout, "ran\n");
    env.isola(["cp", "aa:/root/folder", &path("back")]).ok();
    assert_eq!(std::fs::read(files.join("back/link")).unwrap(), content);
    let mode = std::fs::metadata(files.join("back/run"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o7777, 0o751);
    env.isola(["cp", &path("folder/run"), "aa:/tmp/other"]).ok();
    env.isola(["exec", "aa", "cmp", "/tmp/other", "/root/folder/run"])
        .ok();
    env.isola(["cp", "aa:/no/such", &path("x")])
        .fails(1, "/no/such");
    env.isola(["cp", &path("nosuch"), "aa:/tmp"])
        .fails(1, "nosuch");
    env.isola(["cp", &path("folder/run"), "aa:/no/such/folder/"])
        .exits(1);
}

fn files_of_a_stopped_instance(env: &Env) {
    let from = env.files().join("from");
    std::fs::write(&from, "put\n").unwrap();
    env.isola(["create", "--name", "aa", "box", "cat", "/root/put"])
        .ok();
    env.isola(["cp", from.to_str().unwrap(), "aa:/root/put"])
        .ok();
    assert_eq!(env.isola(["start", "-a", "aa"]).ok().stdout, "put\n");
    let back = env.files().join("back");
    env.isola(["cp", "aa:/root/put", back.to_str().unwrap()])
        .ok();
    assert_eq!(std::fs::read_to_string(back).unwrap(), "put\n");
    let state = env.inspect("aa", "{{.State.Status}}");
    assert_eq!(state, "exited", "a copy leaves it as it was");
}

fn archives_on_standard_streams(env: &Env) {
    env.detached("aa", &[], &["sleep", "1000"]);
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o640);
    archive
        .append_data(&mut header, "dir/file", &b"12345"[..])
        .unwrap();
    let archive = archive.into_inner().unwrap();
    env.isola_with(["cp", "-", "aa:/tmp"], &archive).ok();
    let words = ["exec", "aa", "stat", "-c", "%s %a", "/tmp/dir/file"];
    assert_eq!(env.isola(words).ok().stdout, "5 640\n");
    let out = env.isola(["cp", "aa:/tmp/dir", "-"]).ok().stdout;
    let mut back = tar::Archive::new(out.as_bytes());
    let paths: Vec<String> = back
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(paths, ["dir/", "dir/file"]);
}

fn top_and_stats(env: &Env) {
    env.detached("aa", &["-u", "app"], &["sleep", "1000"]);
    let rows = env.isola(["top", "--format", "{{.UID}} {{.CMD}}", "aa"]);
    let rows = rows.ok().stdout;
    assert!(rows.lines().any(|row| row == "1000 sleep 1000"), "{rows}");
    let words = ["stats", "--no-stream", "--format", "json", "aa"];
    let text = env.isola(words).ok().stdout;
    let row: serde_json::Value = serde_json::from_str(text.trim()).expect("JSON");
    let row = row.get(0).unwrap_or(&row);
    assert_eq!(row["Name"], "aa");
    let memory = row["MemUsage"].as_str().unwrap();
    assert!(!memory.starts_with("0B"), "{memory}");
    env.isola(["stats", "--no-stream", "nosuch"])
        .fails(1, "nosuch");
}

/// Runs a command whose reader takes one byte and goes.
fn cut_off(env: &Env, words: &[&str]) -> (Option<i32>, String) {
    use std::io::Read;
    use std::process::Stdio;
    let mut child = env
        .command(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut out = child.stdout.take().expect("its output");
    out.read_exact(&mut [0]).expect("a byte");
    drop(out);
    let ended = child.wait_with_output().expect("its end");
    let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code(), errors)
}

fn readers_that_go_away_end_a_command_in_silence(env: &Env) {
    // More than a pipe holds, and more than is kept back before it is written.
    let script = "i=0; while [ $i -lt 9000 ]; do echo line of the log number $i; i=$((i + 1)); done; \
                  head -c 3000000 /dev/urandom > /data/big; cp /data/big /root/big";
    let options = [
        "--name",
        "aa",
        "-v",
        "data:/data",
        "box",
        "sh",
        "-c",
        script,
    ];
    env.isola([&["run"], &options[..]].concat()).ok();
    std::fs::write(env.files().join("Dockerfile"), "FROM box\n").unwrap();
    let folder = env.files().to_string_lossy().into_owned();
    let commands: &[&[&str]] = &[
        &["export", "aa"],
        &["save", "box"],
        &["volume", "export", "data"],
        &["logs", "aa"],
        &["cp", "aa:/root/big", "-"],
        &["build", "-q", "-o", "-", &folder],
    ];
    for words in commands {
        let (code, errors) = cut_off(env, words);
        assert_eq!((code, errors.as_str()), (Some(141), ""), "{words:?}");
    }
    // The next line meets a pipe that nobody reads.
    let mut events = env
        .command(["events", "--since", "1h"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program");
    let mut out = events.stdout.take().expect("its output");
    std::io::Read::read_exact(&mut out, &mut [0]).expect("a byte");
    drop(out);
    isola_tests::until("it meets the closed pipe", || {
        env.isola(["volume", "create", "more"]).ok();
        env.isola(["volume", "rm", "more"]).ok();
        events.try_wait().expect("a state").is_some()
    });
    let ended = events.wait_with_output().expect("its end");
    assert_eq!(ended.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}
