//! What a process gets and gives back: arguments, environment, user, folder,
//! streams, exit codes. The same behind every wall.

use isola_tests::{Env, behaviours};

behaviours![
    Every exit_codes_come_back,
    Every streams_stay_apart,
    Every a_missing_program_is_127_and_an_unexecutable_one_126,
    Every user_and_groups_are_resolved_in_the_image,
    Every environment_and_folder,
    Every input_reaches_the_process,
];

fn exit_codes_come_back(env: &Env) {
    env.run(&[], &["true"]).ok();
    env.run(&[], &["sh", "-c", "exit 42"]).exits(42);
    env.run(&["--init"], &["sh", "-c", "kill -9 $$"]).exits(137);
}

fn streams_stay_apart(env: &Env) {
    let output = env.run(&[], &["sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
}

fn a_missing_program_is_127_and_an_unexecutable_one_126(env: &Env) {
    env.run(&[], &["no-such-program"])
        .fails(127, "no-such-program");
    env.run(&[], &["/etc/plain"]).fails(126, "/etc/plain");
}

fn user_and_groups_are_resolved_in_the_image(env: &Env) {
    let id = |options: &[&str]| env.run(options, &["id"]).ok().stdout;
    assert_eq!(id(&[]), "uid=0(root) gid=0(root) groups=0(root)\n");
    assert_eq!(
        id(&["-u", "app"]),
        "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\n"
    );
    assert_eq!(
        id(&["-u", "1000:extra"]),
        "uid=1000(app) gid=2000(extra) groups=2000(extra)\n"
    );
    env.run(&["-u", "nobody-here"], &["id"])
        .fails(125, "nobody-here");
    for user in ["4294967296", "-1", "4294967295"] {
        env.run(&[&format!("--user={user}")], &["id"])
            .fails(125, user);
    }
}

fn environment_and_folder(env: &Env) {
    let script = "echo $A-$HOME-$(pwd)";
    let output = env
        .run(
            &["-e", "A=1", "-w", "/new/folder", "-u", "app"],
            &["sh", "-c", script],
        )
        .ok();
    assert_eq!(output.stdout, "1-/home/app-/new/folder\n");
}

fn input_reaches_the_process(env: &Env) {
    let input = "line\n".repeat(50_000);
    let output = env
        .isola_with(["run", "--rm", "-i", "box", "wc", "-c"], input.as_bytes())
        .ok();
    assert_eq!(output.stdout.trim(), input.len().to_string());
    let output = env
        .isola_with(["run", "--rm", "box", "cat"], b"not passed on")
        .ok();
    assert_eq!(output.stdout, "");
}
