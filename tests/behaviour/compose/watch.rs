//! `develop.watch`: files of the host that come to services while they run.

use std::path::PathBuf;

use isola_tests::{Env, Running, behaviours, until};

use super::Stack;

behaviours![
    Every files_are_synced_and_removed,
    Every services_are_restarted_and_commands_run,
    Every images_are_rebuilt,
    Container up_watches_too_and_shows_new_output,
    Once rules_that_make_no_sense_are_refused,
];

/// The folder that is watched.
fn source(env: &Env) -> PathBuf {
    let folder = env.files().join("proj/src");
    std::fs::create_dir_all(folder.join("sub")).expect("a folder");
    folder
}

fn text(rules: &str) -> String {
    format!(
        "
services:
  aa:
    image: box
    init: true
    command: [sh, -c, 'echo begins; exec sleep 1000']
    scale: 2
    build: {{context: .}}
    pull_policy: never
    develop:
      watch:
{rules}
  bb:
    image: box
    init: true
    command: sleep 1000
"
    )
}

/// What a file of an instance holds, or why it can't be read.
fn read(env: &Env, name: &str, path: &str) -> String {
    let output = env.exec(name, &["cat", path]);
    output.stdout + &output.stderr
}

fn begin(stack: &Stack<'_>, words: &[&str]) -> Running {
    let mut watch = stack.start(words);
    watch.expect_error("Watch enabled");
    watch
}

fn end(watch: Running) {
    watch.signal(2);
    watch.wait().exits(130);
}

fn files_are_synced_and_removed(env: &Env) {
    let source = source(env);
    std::fs::write(source.join("early"), "early").unwrap();
    let rules = "
        - {path: src, action: sync, target: /app/, ignore: [left-out/], initial_sync: true}
        - {path: one.conf, action: sync, target: /etc/one.conf}";
    let stack = Stack::new(env, &text(rules));
    stack.put("one.conf", "before");
    stack.put(".dockerignore", "src/generated\n");
    let watch = begin(&stack, &["watch", "aa"]);
    assert_eq!(
        stack.ids(&["bb"]).len(),
        0,
        "only what is watched is started"
    );
    let both = |path: &str, text: &str| {
        ["proj-aa-1", "proj-aa-2"]
            .iter()
            .all(|name| read(env, name, path) == text)
    };
    assert!(
        both("/app/early", "early"),
        "{}",
        read(env, "proj-aa-1", "/app/early")
    );
    std::fs::write(source.join("sub/new"), "new").unwrap();
    until("a file comes", || both("/app/sub/new", "new"));
    std::fs::write(source.join("sub/new"), "newer").unwrap();
    until("it changes", || both("/app/sub/new", "newer"));
    // As editors save: another file takes the name.
    stack.put(".one.conf.swp", "after");
    let proj = env.files().join("proj");
    std::fs::rename(proj.join(".one.conf.swp"), proj.join("one.conf")).unwrap();
    until("a single file is replaced", || {
        both("/etc/one.conf", "after")
    });
    for (folder, file) in [
        ("left-out", "x"),
        ("generated", "x"),
        (".git", "x"),
        ("deep/er", "file"),
    ] {
        std::fs::create_dir_all(source.join(folder)).unwrap();
        std::fs::write(source.join(folder).join(file), "text").unwrap();
    }
    until("a new folder comes with what is in it", || {
        both("/app/deep/er/file", "text")
    });
    for path in ["/app/left-out/x", "/app/generated/x", "/app/.git/x"] {
        assert!(
            read(env, "proj-aa-1", path).contains("No such file"),
            "{path}"
        );
    }
    std::fs::write(source.join("deep/er/file"), "again").unwrap();
    until("it is watched, too", || both("/app/deep/er/file", "again"));
    std::fs::remove_dir_all(source.join("deep")).unwrap();
    std::fs::remove_file(source.join("early")).unwrap();
    let gone = |path: &str| read(env, "proj-aa-2", path).contains("No such file");
    until("what is removed goes", || {
        gone("/app/deep") && gone("/app/early")
    });
    std::fs::rename(source.join("sub"), source.join("moved")).unwrap();
    until("what is moved moves", || {
        both("/app/moved/new", "newer") && gone("/app/sub")
    });
    end(watch);
    assert!(
        stack
            .states()
            .iter()
            .all(|state| state.ends_with("running")),
        "they go on"
    );
    stack.down();
}

fn services_are_restarted_and_commands_run(env: &Env) {
    let source = source(env);
    let rules = "
        - {path: src, action: sync+exec, target: /app, include: ['*.txt'], exec: {command: [sh, -c, 'cat /app/a.txt >> /tmp/seen'], user: root}}
        - {path: src, action: sync+restart, target: /app, include: ['*.conf']}
        - {path: src, action: restart, include: ['*.again']}";
    let stack = Stack::new(env, &text(rules));
    stack.run(&["up", "-d", "aa"]).ok();
    let watch = begin(&stack, &["watch", "--no-up", "aa"]);
    std::fs::write(source.join("a.txt"), "words").unwrap();
    until("the command has run", || {
        read(env, "proj-aa-1", "/tmp/seen") == "words"
    });
    let starts = || {
        stack
            .logs("aa")
            .lines()
            .filter(|line| *line == "begins")
            .count()
    };
    assert_eq!(starts(), 2, "one each");
    std::fs::write(source.join("b.conf"), "set").unwrap();
    until("both were restarted", || starts() == 4);
    until("the file is there", || {
        read(env, "proj-aa-2", "/app/b.conf") == "set"
    });
    std::fs::write(source.join("c.again"), "").unwrap();
    until("both were restarted again", || starts() == 6);
    until("they run", || {
        stack
            .states()
            .iter()
            .all(|state| state.ends_with("running"))
    });
    assert!(read(env, "proj-aa-1", "/app/c.again").contains("No such file"));
    end(watch);
    stack.down();
}

fn images_are_rebuilt(env: &Env) {
    let text = "
services:
  web:
    build: ./src
    init: true
    scale: 2
    develop:
      watch: [{path: src, action: rebuild}]
";
    let stack = Stack::new(env, text);
    let word = |word: &str| stack.put("src/word", word);
    stack.put(
        "src/Dockerfile",
        "FROM box\nCOPY word /word\nCMD [\"sleep\", \"1000\"]\n",
    );
    word("one");
    stack.run(&["up", "-d", "--scale", "web=1"]).ok();
    assert_eq!(read(env, "proj-web-1", "/word"), "one");
    let mut watch = begin(&stack, &["watch", "--no-up"]);
    word("two");
    watch.expect_error("Rebuilding web");
    until("it runs the new image", || {
        read(env, "proj-web-1", "/word") == "two"
    });
    let dangling = || {
        let words = ["images", "-q", "--filter", "dangling=true"];
        env.isola(words).ok().stdout
    };
    until("the old image goes", || dangling().is_empty());
    assert_eq!(stack.states().len(), 1, "as many as there were");
    end(watch);
    let mut watch = begin(&stack, &["watch", "--no-up", "--no-prune"]);
    word("three");
    watch.expect_error("Rebuilding web");
    until("it runs the third", || {
        read(env, "proj-web-1", "/word") == "three"
    });
    end(watch);
    assert!(!dangling().is_empty(), "it is kept");
    stack.down();
}

fn up_watches_too_and_shows_new_output(env: &Env) {
    let source = source(env);
    let rules = "\n        - {path: src, action: sync+restart, target: /app}";
    let stack = Stack::new(env, &text(rules));
    let mut up = stack.start(&["up", "--watch", "aa"]);
    up.expect("aa-1 | begins");
    up.expect_error("Watch enabled");
    std::fs::write(source.join("x"), "x").unwrap();
    let twice = |up: &mut Running| up.seen().matches("aa-1 | begins").count() == 2;
    until("the restarted one is heard", || twice(&mut up));
    // One that comes later is followed, too.
    stack.run(&["scale", "aa=3"]).ok();
    up.expect("aa-3 | begins");
    up.signal(2);
    up.wait().exits(130);

    stack.down();
}

fn rules_that_make_no_sense_are_refused(env: &Env) {
    source(env);
    let stack = Stack::new(env, "services:\n  aa:\n    image: box\n");
    stack.run(&["watch"]).fails(1, "no service");
    for (rules, part) in [
        (
            "\n        - {path: nosuch, action: sync, target: /x}",
            "nosuch",
        ),
        ("\n        - {path: src, action: sync}", "target"),
        (
            "\n        - {path: src, action: sync+exec, target: /x}",
            "command",
        ),
        (
            "\n        - {path: src, action: nosuch, target: /x}",
            "nosuch",
        ),
        (
            "\n        - {path: src, action: sync, target: /x, ignore: ['[a']}",
            "pattern",
        ),
    ] {
        stack.write(&text(rules));
        stack.run(&["watch"]).fails(1, part);
        stack.run(&["up", "--watch"]).fails(1, part);
    }
    assert!(stack.states().is_empty());
}
