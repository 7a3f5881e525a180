//! A distribution's own packages: servers, an interpreter, users, many files.

use isola_tests::{Env, Output, behaviours};

behaviours![
    Every nginx_serves_a_page,
    Every redis_keeps_what_it_is_told,
    Every python_computes,
    Every users_of_packages,
    Every packages_are_whole,
];

/// Enough for every one of them.
const MEMORY: &str = "--memory=512m";

fn run(env: &Env, options: &[&str], program: &[&str]) -> Output {
    env.add_debian();
    env.isola([&["run", "--rm", MEMORY], options, &["debian"], program].concat())
}

/// Starts a server as `aa`.
fn serve(env: &Env, program: &[&str]) {
    env.add_debian();
    let words = [&["run", "-d", "--name", "aa", MEMORY, "debian"], program].concat();
    env.isola(words).ok();
}

/// Runs a command beside the server until it succeeds: a server that was started
/// does not listen yet.
fn ask(env: &Env, command: &str) -> String {
    let script = format!("for i in $(seq 100); do {command} && exit; sleep 0.2; done; exit 1");
    let output = env.isola(["exec", "aa", "sh", "-c", &script]);
    output.ok().stdout
}

fn nginx_serves_a_page(env: &Env) {
    serve(env, &["nginx", "-g", "daemon off;"]);
    let page = ask(env, "curl -sS http://127.0.0.1/ 2> /dev/null");
    assert!(page.contains("<title>Welcome to nginx!</title>"), "{page}");
    let script = "curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1/nosuch; \
                  ps -o user= -C nginx | sort | uniq";
    let output = env.isola(["exec", "aa", "sh", "-c", script]).ok();
    assert_eq!(output.stdout, "404\nroot\nwww-data\n");
    env.isola(["stop", "aa"]).ok();
    assert_eq!(env.inspect("aa", "{{.State.ExitCode}}"), "0");
}

fn redis_keeps_what_it_is_told(env: &Env) {
    serve(env, &["redis-server", "--dir", "/tmp"]);
    assert!(ask(env, "redis-cli ping 2> /dev/null").ends_with("PONG\n"));
    let script = "redis-cli set colour blue; redis-cli incr count; redis-cli incr count; \
                  redis-cli get colour";
    let output = env.isola(["exec", "aa", "sh", "-c", script]).ok();
    assert_eq!(output.stdout, "OK\n1\n2\nblue\n");
    // It writes its data when it is asked to end, and has it again afterwards.
    env.isola(["stop", "aa"]).ok();
    assert_eq!(env.inspect("aa", "{{.State.ExitCode}}"), "0");
    env.isola(["start", "aa"]).ok();
    let value = ask(env, "redis-cli get colour 2> /dev/null | grep .");
    assert_eq!(value, "blue\n");
}

fn python_computes(env: &Env) {
    let script = "import hashlib, sys\n\
                  print(sum(i * i for i in range(1000)))\n\
                  print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())\n\
                  sys.exit(3)";
    env.add_debian();
    let words = ["run", "--rm", "-i", MEMORY, "debian", "python3", "-c"];
    let words = [&words[..], &[script]].concat();
    let output = env.isola_with(words, b"abc").exits(3);
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(output.stdout, format!("332833500\n{digest}\n"));
}

fn users_of_packages(env: &Env) {
    let script = "id -un; id -gn; touch /tmp/x && stat -c %U:%G /tmp/x; \
                  cat /etc/shadow 2> /dev/null || echo refused";
    let output = run(env, &["-u", "www-data"], &["sh", "-c", script]).ok();
    assert_eq!(
        output.stdout,
        "www-data\nwww-data\nwww-data:www-data\nrefused\n"
    );
    run(env, &["-u", "nosuch"], &["true"]).fails(125, "nosuch");
}

/// Many small files and some big ones, each against the digest that its package
/// has of it.
fn packages_are_whole(env: &Env) {
    let script = "cd /; cat var/lib/dpkg/info/bash.md5sums var/lib/dpkg/info/coreutils.md5sums \
                  var/lib/dpkg/info/libc6:amd64.md5sums var/lib/dpkg/info/tzdata.md5sums \
                  | md5sum --check --ignore-missing --quiet - && echo whole; \
                  test $(find / -xdev | wc -l) -gt 9000 && echo many; \
                  find /usr -xdev -perm -4000 -name su; stat -c %a:%U:%G /usr/bin/passwd";
    let output = run(env, &[], &["sh", "-c", script]).ok();
    assert_eq!(output.stdout, "whole\nmany\n/usr/bin/su\n4755:root:root\n");
}
