//! Images from Dockerfiles: what they hold, when steps are done again, and that every
//! wall makes the same.

use std::path::{Path, PathBuf};

use isola_tests::{Env, Output, behaviours};

behaviours![
    Once files_are_copied_as_docker_does,
    Once archives_are_unpacked,
    Once configurations_are_built_up,
    Once steps_follow_content_not_times,
    Once contexts_come_as_archives,
    Once results_go_where_they_are_wanted,
    Every programs_run_and_their_changes_are_a_layer,
    Every the_same_digest_on_every_wall,
    Every mounts_and_secrets_leave_nothing,
    Every stages_are_built_side_by_side,
    Every commit_export_and_diff,
    Once caches_stay,
    Every agents_are_passed_on,
];

/// A context with these files.
pub(crate) fn context(env: &Env, files: &[(&str, &str)]) -> PathBuf {
    let folder = env.files().join("context");
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

/// Builds the context's Dockerfile under a name.
pub(crate) fn build(env: &Env, folder: &Path, name: &str, options: &[&str]) -> Output {
    let folder = folder.to_str().unwrap();
    env.isola([&["build", "-t", name], options, &[folder]].concat())
}

fn id(env: &Env, image: &str) -> String {
    env.inspect(image, "{{.Id}}")
}

/// Runs a shell's command in an image.
fn sh(env: &Env, image: &str, script: &str) -> String {
    env.isola(["run", "--rm", image, "sh", "-c", script])
        .ok()
        .stdout
}

fn files_are_copied_as_docker_does(env: &Env) {
    let dockerfile = "FROM box\nWORKDIR /w\nCOPY one.txt two.txt sub/\nCOPY dir .\n\
        COPY --chown=app:extra --chmod=u+x,go= one.txt /owned\nCOPY *.txt /all/\n\
        COPY --exclude=**/*.log dir /some/\nCOPY <<A <<\"B\" /docs/\nhome $HOMEDIR\nA\nraw $HOMEDIR\nB\n\
        COPY one.txt /w/sub/renamed\nCOPY --parents dir/deep/x.log /tree/\n";
    let folder = context(
        env,
        &[
            ("Dockerfile", dockerfile),
            (".dockerignore", "secret*\n**/*.tmp\n!dir/kept.tmp\n"),
            ("one.txt", "1\n"),
            ("two.txt", "2\n"),
            ("secret.txt", "no\n"),
            ("dir/in", "in\n"),
            ("dir/gone.tmp", "no\n"),
            ("dir/kept.tmp", "yes\n"),
            ("dir/deep/x.log", "log\n"),
        ],
    );
    std::os::unix::fs::symlink("in", folder.join("dir/link")).unwrap();
    build(env, &folder, "files", &[]).ok();
    let listing = sh(
        env,
        "files",
        "cd / && find w all some docs tree owned | sort",
    );
    assert_eq!(
        listing.lines().collect::<Vec<_>>(),
        [
            "all",
            "all/one.txt",
            "all/two.txt",
            "docs",
            "docs/A",
            "docs/B",
            "owned",
            "some",
            "some/deep",
            "some/in",
            "some/kept.tmp",
            "some/link",
            "tree",
            "tree/dir",
            "tree/dir/deep",
            "tree/dir/deep/x.log",
            "w",
            "w/deep",
            "w/deep/x.log",
            "w/in",
            "w/kept.tmp",
            "w/link",
            "w/sub",
            "w/sub/one.txt",
            "w/sub/renamed",
            "w/sub/two.txt",
        ]
    );
    assert_eq!(
        sh(env, "files", "stat -c '%a %u:%g' /owned"),
        "700 1000:2000\n"
    );
    assert_eq!(
        sh(env, "files", "readlink /w/link; cat /docs/*"),
        "in\nhome \nraw $HOMEDIR\n"
    );
}

fn archives_are_unpacked(env: &Env) {
    let folder = context(
        env,
        &[(
            "Dockerfile",
            "FROM scratch\nADD root.tar /\nADD root.tar /in/\nCOPY root.tar /plain.tar\nCMD [\"/bin/sh\"]\n",
        )],
    );
    std::fs::write(folder.join("root.tar"), isola_tests::busybox_layer()).unwrap();
    build(env, &folder, "unpacked", &[]).ok();
    let script =
        "/bin/stat -c %a /tmp /root /in/tmp; /bin/test -s /plain.tar && /bin/readlink /bin/ls";
    let output = env
        .isola(["run", "--rm", "unpacked", "/bin/sh", "-c", script])
        .ok();
    assert_eq!(output.stdout, "1777\n700\n1777\nbusybox\n");
}

fn configurations_are_built_up(env: &Env) {
    let dockerfile = "# escape=`\nARG BASE=none\nARG GREETING=hi\nFROM ${BASE} AS first\nARG GREETING\nARG OTHER=${GREETING}-x\n\
        ENV A=\"$GREETING `\"$OTHER`\"\" B=${A:-unset}\nLABEL one=1 two=\"2 3\"\nEXPOSE 80 53/udp\nVOLUME /data\n\
        USER app:extra\nWORKDIR /srv\nWORKDIR rel\nSTOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s CMD true\n\
        SHELL [\"/bin/sh\", \"-ec\"]\nENTRYPOINT [\"/bin/echo\"]\nCMD [\"c\", \"d\"]\nONBUILD ENV TRIGGERED=yes\n\
        FROM first\nCMD x $A\n";
    let folder = context(env, &[("Dockerfile", dockerfile)]);
    let options = [
        "--build-arg",
        "BASE=box",
        "--build-arg",
        "GREETING=hello",
        "--label",
        "late=1",
    ];
    build(env, &folder, "conf", &options).ok();
    let config = env.json(&["image", "inspect", "conf"]);
    let config = &config[0]["Config"];
    let env_of = config["Env"].as_array().unwrap();
    let has = |text: &str| env_of.iter().any(|value| value == text);
    assert!(
        has("A=hello \"hello-x\"") && has("B=unset") && has("TRIGGERED=yes"),
        "{env_of:?}"
    );
    assert_eq!(config["User"], "app:extra");
    assert_eq!(config["WorkingDir"], "/srv/rel");
    assert_eq!(config["StopSignal"], "SIGINT");
    assert_eq!(config["Labels"]["two"], "2 3");
    assert_eq!(config["Labels"]["late"], "1");
    assert_eq!(config["Healthcheck"]["Interval"], 5_000_000_000_i64);
    assert!(config["ExposedPorts"]["53/udp"].is_object() && config["Volumes"]["/data"].is_object());
    assert_eq!(config["Entrypoint"][0], "/bin/echo");
    assert_eq!(config["Cmd"], serde_json::json!(["/bin/sh", "-ec", "x $A"]));
    assert_eq!(sh_owner(env), "1000:2000\n");
    // The image's triggers belong to the next build.
    let next = context(
        env,
        &[
            ("next/Dockerfile", "FROM trig\n"),
            (
                "trig/Dockerfile",
                "FROM box\nONBUILD ENV T=1\nONBUILD COPY Dockerfile /d\n",
            ),
        ],
    );
    build(env, &next.join("trig"), "trig", &[]).ok();
    build(env, &next.join("next"), "next", &[]).ok();
    assert_eq!(sh(env, "next", "echo $T; cat /d"), "1\nFROM trig\n");
}

/// The folder that WORKDIR made is its user's.
fn sh_owner(env: &Env) -> String {
    let words = [
        "run",
        "--rm",
        "--entrypoint",
        "/bin/stat",
        "conf",
        "-c",
        "%u:%g",
        "/srv/rel",
    ];
    env.isola(words).ok().stdout
}

fn steps_follow_content_not_times(env: &Env) {
    let dockerfile = "FROM box\nCOPY first /first\nCOPY second /second\n";
    let folder = context(
        env,
        &[("Dockerfile", dockerfile), ("first", "1"), ("second", "2")],
    );
    let cached = |output: &Output| output.stderr.matches("CACHED").count();
    assert_eq!(cached(&build(env, &folder, "steps", &[]).ok()), 0);
    let before = id(env, "steps");
    let again = build(env, &folder, "steps", &[]).ok();
    assert_eq!(
        (cached(&again), id(env, "steps")),
        (2, before.clone()),
        "{}",
        again.stderr
    );
    // Touched, not changed.
    let file = std::fs::File::options()
        .append(true)
        .open(folder.join("first"))
        .unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(cached(&build(env, &folder, "steps", &[]).ok()), 2);
    std::fs::write(folder.join("second"), "other").unwrap();
    assert_eq!(cached(&build(env, &folder, "steps", &[]).ok()), 1);
    assert_ne!(id(env, "steps"), before);
    assert_eq!(sh(env, "steps", "cat /second"), "other");
    assert_eq!(
        cached(&build(env, &folder, "steps", &["--no-cache"]).ok()),
        0
    );
    // Pruned records are gone, the image is not.
    assert!(
        env.isola(["builder", "ls"])
            .ok()
            .stdout
            .contains("COPY second")
    );
    env.isola(["builder", "prune", "-f"]).ok();
    assert!(!env.isola(["builder", "ls"]).ok().stdout.contains("COPY"));
    assert_eq!(sh(env, "steps", "cat /first"), "1");
}

fn contexts_come_as_archives(env: &Env) {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [
        ("Dockerfile", "FROM box\nCOPY a /a\n"),
        ("a", "from a stream"),
        ("b", "no"),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    let archive = archive.into_inner().unwrap();
    env.isola_with(["build", "-t", "stream", "-"], &archive)
        .ok();
    assert_eq!(
        sh(env, "stream", "cat /a; ls /b 2>/dev/null; true"),
        "from a stream"
    );
    let output = env
        .isola_with(["build", "-q", "-"], b"FROM box\nENV X=1\n")
        .ok();
    assert!(output.stdout.starts_with("sha256:") && output.stderr.is_empty());
    let folder = context(env, &[("c", "by -f -")]);
    let words = ["build", "-t", "minus", "-f", "-", folder.to_str().unwrap()];
    env.isola_with(words, b"FROM box\nCOPY c /c\n").ok();
    assert_eq!(sh(env, "minus", "cat /c"), "by -f -");
}

fn results_go_where_they_are_wanted(env: &Env) {
    let dockerfile = "FROM box AS one\nFROM scratch\nCOPY --from=one /etc/passwd /etc/group /x/\nCOPY --from=extra c /c\n";
    let folder = context(env, &[("Dockerfile", dockerfile), ("more/c", "context")]);
    let extra = format!("extra={}", folder.join("more").display());
    let target = env.files().join("out");
    let out = target.to_str().unwrap();
    let words = [
        "build",
        "--build-context",
        &extra,
        "-o",
        out,
        folder.to_str().unwrap(),
    ];
    env.isola(words).ok();
    assert_eq!(
        std::fs::read_to_string(target.join("c")).unwrap(),
        "context"
    );
    assert!(
        std::fs::read_to_string(target.join("x/passwd"))
            .unwrap()
            .starts_with("root:")
    );
    let file = env.files().join("image.tar");
    let spec = format!("type=oci,dest={}", file.display());
    build(
        env,
        &folder,
        "sent:1",
        &["--build-context", &extra, "-o", &spec],
    )
    .ok();
    // The archive has it, and nothing else.
    env.isola(["rmi", "sent:1"]).fails(1, "sent:1");
    env.isola(["load", "-i", file.to_str().unwrap()]).ok();
    assert!(!id(env, "sent:1").is_empty());
    let ids = env.files().join("id");
    let words = [
        "--build-context",
        &extra,
        "--iidfile",
        ids.to_str().unwrap(),
        "-t",
        "sent:2",
    ];
    build(env, &folder, "sent:3", &words).ok();
    assert_eq!(std::fs::read_to_string(ids).unwrap(), id(env, "sent:2"));
    assert_eq!(id(env, "sent:2"), id(env, "sent:3"));
}

fn programs_run_and_their_changes_are_a_layer(env: &Env) {
    let dockerfile = "FROM box\nARG WHO=arg\nENV GREETING=hello\n\
        RUN echo \"$GREETING $WHO\" > /said && rm /etc/plain && ln /said /twice\n\
        RUN rm -r /home && mkdir /home && echo new > /home/new\n\
        RUN [\"/bin/sh\", \"-c\", \"id -u > /who\"]\n\
        RUN <<EOF\necho one > /doc\necho two >> /doc\nEOF\n\
        RUN <<-EOF cat > /cat\n\tfed $GREETING\n\tEOF\n\
        RUN <<X\n#!/bin/busybox sh\necho script > /script\nX\n\
        USER app\nWORKDIR /tmp\nRUN id -u > mine; (sleep 1000 &)\n";
    let folder = context(env, &[("Dockerfile", dockerfile)]);
    build(env, &folder, "ran", &["--network", "none"]).ok();
    let script = "cat /said /twice /who /doc /cat /script /tmp/mine; ls /home; \
        ls /etc/plain /etc/hosts.bak 2>/dev/null; stat -c %h /said";
    assert_eq!(
        sh(env, "ran", script),
        "hello arg\nhello arg\n0\none\ntwo\nfed hello\nscript\n1000\nnew\n2\n"
    );
    // The wall's own mounts leave no trace.
    let changed = env.isola(["image", "diff", "ran", "box"]).ok().stdout;
    for line in ["D /etc/plain", "A /said", "A /home/new", "C /etc"] {
        assert!(
            changed.lines().any(|found| found == line),
            "{line} in {changed}"
        );
    }
    for stub in [
        "/etc/hosts",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/dev/",
        "/proc/",
        "/run",
        "/sys/",
    ] {
        assert!(!changed.contains(stub), "{stub} in {changed}");
    }
    assert!(
        env.isola(["ps", "-aq"]).ok().stdout.is_empty(),
        "steps leave no instances"
    );
}

fn the_same_digest_on_every_wall(env: &Env) {
    let dockerfile = "FROM box\nCOPY a /a\nRUN mkdir -p /x/y && cp /a /x/y/z && ln -s z /x/y/l && rm /etc/plain\nWORKDIR /new\nRUN echo 1 > f\n";
    let folder = context(env, &[("Dockerfile", dockerfile), ("a", "content")]);
    let options = [
        "--build-arg",
        "SOURCE_DATE_EPOCH=1700000000",
        "--no-cache",
        "--network=none",
    ];
    build(env, &folder, "here", &options).ok();
    build(env, &folder, "again", &options).ok();
    assert_eq!(id(env, "here"), id(env, "again"));
    let words = [&options[..], &["--isolation=container"]].concat();
    build(env, &folder, "container", &words).ok();
    assert_eq!(id(env, "here"), id(env, "container"));
    assert_eq!(env.inspect("here", "{{.Created}}"), "2023-11-14T22:13:20Z");
}

fn mounts_and_secrets_leave_nothing(env: &Env) {
    let dockerfile = "FROM box AS tools\nRUN echo tool > /tool\nFROM box\n\
        RUN --mount=type=bind,source=data,target=/data --mount=type=bind,from=tools,source=/tool,target=/t \
        cat /data/a /t > /both && ! touch /data/x\n\
        RUN --mount=type=bind,source=data,target=/data,rw echo lost > /data/a\n\
        RUN --mount=type=tmpfs,target=/mem,size=1m grep -q ' /mem tmpfs' /proc/mounts && echo x > /mem/x\n\
        RUN --mount=type=secret,id=key --mount=type=secret,id=key,env=KEY,target=/k,mode=0444 \
        cat /run/secrets/key /k > /lengths; echo ${#KEY} >> /lengths; wc -c < /lengths > /count; rm /lengths\n";
    let folder = context(
        env,
        &[
            ("Dockerfile", dockerfile),
            ("data/a", "a\n"),
            ("key", "hidden-word\n"),
        ],
    );
    let secret = format!("id=key,src={}", folder.join("key").display());
    build(
        env,
        &folder,
        "mounted",
        &["--secret", &secret, "--network=none"],
    )
    .ok();
    assert_eq!(
        sh(
            env,
            "mounted",
            "cat /both /count; ls -d /data /t /mem /k /run 2>/dev/null; true"
        ),
        "a\ntool\n27\n"
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("data/a")).unwrap(),
        "a\n"
    );
    let history = env.isola(["history", "--no-trunc", "mounted"]).ok().stdout;
    assert!(!history.contains("hidden-word"));
}

fn stages_are_built_side_by_side(env: &Env) {
    // Each waits for the other, through a cache.
    let wait = |own: &str, other: &str| {
        format!(
            "FROM box AS {own}\nRUN --mount=type=cache,target=/meet touch /meet/{own}; \
             i=0; until [ -e /meet/{other} ]; do i=$((i+1)); [ $i -lt 900 ] || exit 9; sleep 0.1; done; echo {own} > /{own}\n"
        )
    };
    let dockerfile = format!(
        "{}{}FROM box AS unused\nRUN exit 1\nFROM scratch\nCOPY --from=left /left /\nCOPY --from=right /right /\n",
        wait("left", "right"),
        wait("right", "left")
    );
    let folder = context(env, &[("Dockerfile", &dockerfile)]);
    build(env, &folder, "both", &["--network=none"]).ok();
    let files = env.isola(["image", "diff", "both"]).ok().stdout;
    assert_eq!(files, "A /right\n");
}

fn commit_export_and_diff(env: &Env) {
    env.ready(
        "aa",
        &["-e", "X=1"],
        &[
            "sh",
            "-c",
            "echo new > /new; rm /etc/plain; echo ready; sleep 1000",
        ],
    );
    env.isola([
        "commit",
        "-m",
        "why",
        "-c",
        "CMD [\"cat\", \"/new\"]",
        "-c",
        "LABEL l=1",
        "aa",
        "made",
    ])
    .ok();
    assert_eq!(env.isola(["run", "--rm", "made"]).ok().stdout, "new\n");
    assert_eq!(
        sh(env, "made", "echo $X; ls /etc/plain 2>/dev/null; true"),
        "1\n"
    );
    assert_eq!(
        env.isola(["image", "diff", "made", "box"]).ok().stdout,
        "C /etc\nD /etc/plain\nA /new\n"
    );
    assert_eq!(env.exec("aa", &["echo", "alive"]).ok().stdout, "alive\n");
    // Stopped, it is exported all the same.
    env.isola(["stop", "-t", "1", "aa"]).ok();
    let file = env.files().join("root.tar");
    env.isola(["export", "-o", file.to_str().unwrap(), "aa"])
        .ok();
    let mut archive = tar::Archive::new(std::fs::File::open(&file).unwrap());
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(
        names.contains(&"new".into()) && names.contains(&"bin/busybox".into()),
        "{names:?}"
    );
    assert!(
        !names
            .iter()
            .any(|name| name == "etc/plain" || name.starts_with("proc/1"))
    );
    env.isola(["rm", "aa"]).ok();
}

fn caches_stay(env: &Env) {
    let dockerfile = "FROM box\nARG N\nRUN --mount=type=cache,id=c,target=/c echo $N >> /c/list && cp /c/list /list\n";
    let folder = context(env, &[("Dockerfile", dockerfile)]);
    for number in ["1", "2"] {
        let arg = format!("N={number}");
        build(
            env,
            &folder,
            "cached",
            &["--build-arg", &arg, "--network=none"],
        )
        .ok();
    }
    assert_eq!(sh(env, "cached", "cat /list"), "1\n2\n");
}

/// The agent is the host's, behind every wall: connections go on, side by side and at
/// length, and nothing of them is left in the image.
fn agents_are_passed_on(env: &Env) {
    let script = "FROM box
RUN --network=none --mount=type=ssh,mode=0640,uid=7,gid=8 --mount=type=ssh,id=two,target=/keys/two \
    stat -c '%F %a %u %g' /run/buildkit/ssh_agent.0 > /told; \
    test $SSH_AUTH_SOCK = /keys/two || exit 3; \
    for n in 0 1 5 70000; do probe echo /run/buildkit/ssh_agent.0 $n >> /told || exit 4; done; \
    probe echo /keys/two 3000000 > /a & probe echo /keys/two 2000000 > /b & wait; \
    cat /a /b >> /told; rm /a /b
RUN --mount=type=ssh,id=two,target=/keys/two true
RUN find / -xdev -name 'ssh_agent*' -o -xdev -name keys > /left
";
    let folder = context(env, &[("Dockerfile", script)]);
    let mut options = Vec::new();
    for name in ["default", "two"] {
        let agent = env.files().join(name);
        let listener = std::os::unix::net::UnixListener::bind(&agent).unwrap();
        std::thread::spawn(move || isola_tests::wire::serve_echo(listener));
        options.extend(["--ssh".to_owned(), format!("{name}={}", agent.display())]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    build(env, &folder, "keys", &options).ok();
    assert_eq!(
        sh(env, "keys", "cat /told"),
        "socket 640 7 8\n0\n1\n5\n70000\n3000000\n2000000\n"
    );
    let left = sh(env, "keys", "cat /left");
    assert!(
        !left.contains("keys") && !left.contains("buildkit"),
        "{left}"
    );
    // What is there already is not covered.
    let taken = "FROM box\nRUN --mount=type=ssh,target=/etc/plain true\n";
    let folder = context(env, &[("Dockerfile", taken)]);
    build(env, &folder, "taken", &options)
        .fails(1, "listen at '/etc/plain': Address already in use");
    // An agent that has gone is told before the step.
    let agent = env.files().join("two");
    std::fs::remove_file(&agent).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&agent).unwrap());
    let ssh = "FROM box\nRUN --mount=type=ssh,id=two true\n";
    let folder = context(env, &[("Dockerfile", ssh)]);
    build(env, &folder, "gone", &options).fails(1, "pass the SSH agent two on");
}
