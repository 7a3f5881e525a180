//! Flags of verbs, as Docker Compose has them.

use isola_tests::{Env, behaviours};

use super::Stack;

behaviours![
    Every exec_and_run_take_composes_flags,
    Container copies_go_to_all_replicas_and_one_offs,
    Container kill_takes_orphans,
    Once config_leaves_out_what_is_not_wanted,
    Once lists_are_as_composes_json,
];

const TEXT: &str = "
services:
  aa:
    image: box
    init: true
    command: sleep 1000
    environment: {A: file}
    scale: 2
";

fn exec_and_run_take_composes_flags(env: &Env) {
    let stack = Stack::new(env, TEXT);
    stack.run(&["up", "-d"]).ok();
    // There is no terminal here, whatever is asked for.
    let words = [
        "exec",
        "-it",
        "--index",
        "2",
        "-e",
        "B=flag",
        "-w",
        "/tmp",
        "-u",
        "5",
        "aa",
        "sh",
        "-c",
        "echo $A $B $(pwd) $(id -u); hostname",
    ];
    let said = stack.run(&words).ok().stdout;
    let host = env.inspect("proj-aa-2", "{{.Config.Hostname}}");
    assert_eq!(said, format!("file flag /tmp 5\n{host}\n"));
    let words = ["exec", "-d", "aa", "sh", "-c", "echo done > /tmp/done"];
    assert_eq!(stack.run(&words).ok().stdout, "");
    isola_tests::until("it was run", || {
        env.exec("proj-aa-1", &["cat", "/tmp/done"]).stdout == "done\n"
    });
    let rights = |words: &[&str]| {
        let text = stack
            .run(
                &[
                    &["exec", "-T"],
                    words,
                    &["aa", "grep", "CapEff", "/proc/self/status"],
                ]
                .concat(),
            )
            .ok()
            .stdout;
        u64::from_str_radix(text.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    assert!(rights(&["--privileged"]) & !rights(&[]) != 0);
    stack
        .run(&["exec", "-T", "aa", "sh", "-c", "exit 42"])
        .exits(42);
    let variables = env.files().join("variables");
    std::fs::write(
        &variables,
        "# ours\nA=from-file\nB=\"two words\"\nC=$A-more\n",
    )
    .unwrap();
    let run = [
        "run",
        "--rm",
        "-T",
        "--quiet",
        "--no-deps",
        "--env-from-file",
        variables.to_str().unwrap(),
        "-e",
        "C=flag",
    ];
    let words = [&run[..], &["aa", "sh", "-c", "echo $A $B $C"]].concat();
    assert_eq!(stack.run(&words).ok().stdout, "from-file two words flag\n");
    let words = [
        &run[..],
        &["--entrypoint", "sh -c 'echo \"$A\" $0'", "aa", "argument"],
    ]
    .concat();
    assert_eq!(stack.run(&words).ok().stdout, "from-file argument\n");
    std::fs::write(&variables, "A=1\n no name=x\n").unwrap();
    stack.run(&words).fails(1, "variables:2");
    stack
        .run(&["run", "--entrypoint", "sh 'x", "aa"])
        .fails(125, "never closed");
    stack.down();
}

fn copies_go_to_all_replicas_and_one_offs(env: &Env) {
    let stack = Stack::new(env, TEXT);
    stack.run(&["up", "-d"]).ok();
    stack.run(&["run", "-d", "--name", "once", "aa"]).ok();
    let file = env.files().join("in");
    std::fs::write(&file, "one").unwrap();
    let file = file.to_str().unwrap();
    let there = |name: &str| env.exec(name, &["cat", "/tmp/in"]).stdout;
    stack.run(&["cp", file, "aa:/tmp/in"]).ok();
    assert_eq!(
        [there("proj-aa-1"), there("proj-aa-2"), there("once")],
        ["one", "one", ""]
    );
    std::fs::write(file, "two").unwrap();
    stack.run(&["cp", "--index", "2", file, "aa:/tmp/in"]).ok();
    assert_eq!([there("proj-aa-1"), there("proj-aa-2")], ["one", "two"]);
    std::fs::write(file, "three").unwrap();
    stack.run(&["cp", "--all", file, "aa:/tmp/in"]).ok();
    assert_eq!(
        [there("proj-aa-1"), there("proj-aa-2"), there("once")],
        ["three", "three", "three"]
    );
    stack.down();
}

fn kill_takes_orphans(env: &Env) {
    let stack = Stack::new(
        env,
        &format!("{TEXT}  bb:\n    image: box\n    init: true\n    command: sleep 1000\n"),
    );
    stack.run(&["up", "-d"]).ok();
    stack.write(TEXT);
    stack.run(&["kill", "-s", "TERM"]).ok();
    for name in ["proj-aa-1", "proj-aa-2"] {
        env.isola(["wait", name]).ok();
    }
    assert_eq!(
        stack.states(),
        ["proj-aa-1 exited", "proj-aa-2 exited", "proj-bb-1 running"]
    );
    stack.run(&["start"]).ok();
    stack.run(&["kill", "--remove-orphans"]).ok();
    for name in ["proj-aa-1", "proj-aa-2"] {
        env.isola(["wait", name]).ok();
    }
    assert_eq!(stack.states(), ["proj-aa-1 exited", "proj-aa-2 exited"]);
    stack.down();
}

fn config_leaves_out_what_is_not_wanted(env: &Env) {
    let text = "
services:
  aa:
    image: box
    env_file: [variables]
    volumes: ['./here:/there']
";
    let stack = Stack::new(env, text);
    stack.put("variables", "A=read\n");
    let config = |words: &[&str]| stack.run(&[&["config"], words].concat()).ok().stdout;
    let whole = config(&[]);
    assert!(
        whole.contains("A: read") && whole.contains("default:") && whole.contains("/proj/here"),
        "{whole}"
    );
    let plain = config(&["--no-normalize"]);
    assert!(
        !plain.contains("default:") && plain.contains("A: read"),
        "{plain}"
    );
    let paths = config(&["--no-path-resolution"]);
    assert!(
        paths.contains("source: ./here") && paths.contains("A: read"),
        "{paths}"
    );
    let variables = config(&["--no-env-resolution"]);
    assert!(
        !variables.contains("A: read") && variables.contains("env_file:"),
        "{variables}"
    );
    assert_eq!(config(&["--models"]), "");
    assert_eq!(config(&["--services"]), "aa\n");
    stack.run(&["config", "--lock-image-digests"]).exits(1);
}

fn lists_are_as_composes_json(env: &Env) {
    let stack = Stack::new(env, TEXT);
    stack.run(&["up", "-d"]).ok();
    let ls = env.json(&["compose", "ls", "--format", "json"]);
    assert_eq!(ls[0]["Name"], "proj");
    assert_eq!(ls[0]["Status"], "running(2)");
    let images: serde_json::Value =
        serde_json::from_str(&stack.run(&["images", "--format", "json"]).ok().stdout).unwrap();
    let image = &images[1];
    assert_eq!(image["ContainerName"], "proj-aa-2");
    assert_eq!(image["Platform"], "linux/amd64");
    assert_eq!(image["ID"], env.inspect("proj-aa-2", "{{.Image}}"));
    let inspected = &env.json(&["image", "inspect", "box"])[0];
    assert_eq!(image["Created"], inspected["Created"]);
    assert_eq!(image["Size"], inspected["Size"]);
    let table = stack.run(&["images"]).ok().stdout;
    let header: Vec<&str> = table.lines().next().unwrap().split("  ").collect();
    let header: Vec<&str> = header.into_iter().map(str::trim).collect();
    let header: Vec<&str> = header.into_iter().filter(|it| !it.is_empty()).collect();
    let wanted = [
        "CONTAINER",
        "REPOSITORY",
        "TAG",
        "PLATFORM",
        "IMAGE ID",
        "SIZE",
        "CREATED",
    ];
    assert_eq!(header, wanted);
    assert!(table.contains("linux/amd64"), "{table}");
    let version = env.json(&["compose", "version", "--format", "json"]);
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        env.isola(["compose", "version", "-f", "pretty"])
            .ok()
            .stdout
            .lines()
            .count(),
        1
    );
    stack.down();
}
