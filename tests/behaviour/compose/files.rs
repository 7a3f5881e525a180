//! What instances get from files and variables: environment, secrets, configs.

use isola_tests::{Env, behaviours};

use super::Stack;

behaviours![
    Every variables_have_their_order,
    Every secrets_and_configs_are_files,
    Every a_changed_secret_makes_the_instance_anew,
    Every a_half_done_up_goes_on,
];

fn variables_have_their_order(env: &Env) {
    let text = "
services:
  aa:
    image: box
    command: env
    env_file:
      - one.env
      - {path: raw.env, format: raw}
      - {path: nosuch.env, required: false}
    environment:
      BOTH: environment
      PASSED:
      ABSENT:
";
    let stack = Stack::new(env, text);
    stack.put(".env", "# comment\nPASSED=from dotenv\nOUTER=outer\n");
    stack.put(
        "one.env",
        "BOTH=file\nONLY=${OUTER} # comment\nQUOTED='single ${OUTER}'\n",
    );
    stack.put("raw.env", "RAW='${OUTER}' # kept\n");
    stack.run(&["up", "-d"]).ok();
    env.isola(["wait", "proj-aa-1"]).ok();
    let logs = stack.logs("aa");
    for line in [
        "BOTH=environment",
        "ONLY=outer",
        "QUOTED=single ${OUTER}",
        "RAW='${OUTER}' # kept",
        "PASSED=from dotenv",
    ] {
        assert!(logs.lines().any(|found| found == line), "{line}: {logs}");
    }
    assert!(!logs.contains("ABSENT"), "{logs}");
    stack.down();
}

const CONTENTS: &str = "
services:
  aa:
    image: box
    init: true
    command: sleep 1000
    secrets:
      - plain
      - {source: variable, target: other, uid: '1000', gid: '1001', mode: 0440}
      - {source: plain, target: /copied, mode: 0400}
      - {source: plain, target: owned, uid: '1000', mode: 0640}
    configs:
      - inline
      - {source: variable, target: /etc/variable}
      - {source: file, target: /etc/file, gid: '1001', mode: 0444}
      - file
secrets:
  plain: {file: ./plain.txt}
  variable: {environment: TOKEN}
configs:
  inline: {content: 'inline of ${TOKEN}'}
  variable: {environment: TOKEN}
  file: {file: ./conf.txt}
";

/// The files beside it.
fn put_contents(stack: &Stack<'_>) {
    stack.put(".env", "TOKEN=hush\n");
    stack.put("plain.txt", "plain text");
    stack.put("conf.txt", "configuration");
}

fn secrets_and_configs_are_files(env: &Env) {
    let stack = Stack::new(env, CONTENTS);
    put_contents(&stack);
    stack.run(&["up", "-d"]).ok();
    let read = |path: &str| stack.run(&["exec", "-T", "aa", "cat", path]).ok().stdout;
    assert_eq!(read("/run/secrets/plain"), "plain text");
    assert_eq!(read("/run/secrets/other"), "hush");
    assert_eq!(read("/copied"), "plain text");
    assert_eq!(read("/inline"), "inline of hush");
    assert_eq!(read("/etc/variable"), "hush");
    assert_eq!(read("/run/secrets/owned"), "plain text");
    assert_eq!(read("/etc/file"), "configuration");
    assert_eq!(read("/file"), "configuration");
    let stat = |path: &str| {
        stack
            .run(&["exec", "-T", "aa", "stat", "-c", "%a %u %g", path])
            .ok()
            .stdout
    };
    assert_eq!(stat("/run/secrets/other"), "440 1000 1001\n");
    assert_eq!(stat("/copied"), "400 0 0\n");
    assert_eq!(stat("/inline"), "444 0 0\n");
    assert_eq!(stat("/run/secrets/owned"), "640 1000 0\n");
    assert_eq!(stat("/etc/file"), "444 0 1001\n");
    stack
        .run(&["exec", "-T", "aa", "sh", "-c", "echo x > /inline"])
        .exits(1);
    assert_eq!(stack.run(&["up", "-d"]).ok().stderr, "");
    let folder = env.root().join("compose/proj");
    assert!(folder.is_dir());
    stack.down();
    assert!(!folder.exists(), "secrets do not outlive their project");
}

fn a_changed_secret_makes_the_instance_anew(env: &Env) {
    let stack = Stack::new(env, CONTENTS);
    put_contents(&stack);
    stack.run(&["up", "-d"]).ok();
    let ids = stack.ids(&[]);
    stack.put(".env", "TOKEN=louder\n");
    stack.run(&["up", "-d", "-t", "1"]).ok();
    assert_ne!(stack.ids(&[]), ids);
    assert_eq!(
        stack
            .run(&["exec", "-T", "aa", "cat", "/run/secrets/other"])
            .ok()
            .stdout,
        "louder"
    );
    stack.put(".env", "");
    stack.run(&["up", "-d", "-t", "1"]).fails(1, "TOKEN");
    stack.put(".env", "TOKEN=louder\n");
    stack.down();
}

/// `up` is killed at some moment; the next one finds what is there.
fn a_half_done_up_goes_on(env: &Env) {
    let text = "
services:
  aa:
    image: box
    init: true
    command: sleep 1000
    scale: 3
  bb:
    image: box
    init: true
    command: sleep 1000
    depends_on: [aa]
";
    let stack = Stack::new(env, text);
    for moment in [20, 100, 400] {
        let up = stack.start(&["up", "-d"]);
        std::thread::sleep(std::time::Duration::from_millis(moment));
        up.signal(9);
        up.wait();
    }
    stack.run(&["up", "-d"]).ok();
    assert_eq!(
        stack.states(),
        [
            "proj-aa-1 running",
            "proj-aa-2 running",
            "proj-aa-3 running",
            "proj-bb-1 running"
        ]
    );
    stack.down();
}
