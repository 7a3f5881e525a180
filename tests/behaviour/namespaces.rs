//! Namespaces that are shared: with the host, with another instance, with nobody.

use isola_tests::{Env, behaviours, until};

behaviours![
    Container the_processes_of_the_host,
    Container all_of_it_ends_in_the_hosts_namespace,
    Container an_instance_in_the_hosts_namespace_outlives_no_supervisor,
    Container the_processes_of_another_instance,
    Container who_joined_ends_with_the_other,
    Container health_and_verbs_work_in_a_joined_namespace,
    Container memory_is_shared_with_those_who_ask,
    Container the_hosts_names_and_cgroups,
    Every namespaces_of_its_own,
    Guests no_guest_shares_a_namespace,
    Container sharing_that_makes_no_sense_is_refused,
];

/// A namespace of this process.
fn own(kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    link.to_str().unwrap().to_owned()
}

/// That of an instance, as its own processes see it.
fn of(env: &Env, name: &str, kind: &str) -> String {
    let path = format!("/proc/self/ns/{kind}");
    let output = env.exec(name, &["readlink", &path]).ok();
    output.stdout.trim().to_owned()
}

/// Processes of the host with this argument, zombies left out.
fn running(argument: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|word| word == argument.as_bytes())
    };
    pids.filter(has).collect()
}

/// Zombies that a process has for children.
fn zombies_of(parent: i32) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    // State and parent follow the name, which is in brackets (proc_pid_stat(5)).
    let fields = |stat: &str| {
        let rest = stat.rsplit_once(") ")?.1.to_owned();
        let mut words = rest.split(' ');
        Some((words.next()? == "Z", words.next()?.parse::<i32>().ok()?))
    };
    stats
        .filter_map(|stat| fields(&stat))
        .filter(|found| *found == (true, parent))
        .count()
}

fn the_processes_of_the_host(env: &Env) {
    let script = "readlink /proc/self/ns/pid; echo $$; ls -d /proc/PID; cat /proc/kcore | wc -c; \
                  echo x > /proc/sys/kernel/domainname || echo refused";
    let me = std::process::id().to_string();
    let script = script.replace("PID", &me);
    let output = env.run(&["--pid", "host"], &["sh", "-c", &script]).ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], own("pid"));
    assert!(lines[1].parse::<u32>().unwrap() > 1, "{}", output.stdout);
    assert_eq!(lines[2], format!("/proc/{me}"));
    assert_eq!(lines[3..], ["0", "refused"], "masked and read-only");
    let root = format!("/proc/{me}/root/");
    env.run(&["--pid", "host"], &["ls", &root]).exits(1);
    env.detached("aa", &["--pid", "host"], &["sleep", "1000"]);
    assert_eq!(env.inspect("aa", "{{.HostConfig.PidMode}}"), "host");
    // What it shows is its own, not the host's.
    let top = env.isola(["top", "aa"]).ok().stdout;
    assert_eq!(top.lines().count(), 2, "{top}");
    assert!(top.contains("sleep 1000"), "{top}");
    env.isola(["stop", "-t", "5", "aa"]).ok();
    assert_eq!(env.inspect("aa", "{{.State.ExitCode}}"), "143");
    // Its files are looked at by a process in a namespace of its own.
    env.isola(["cp", "aa:/etc/passwd", "-"]).ok();
    env.isola(["commit", "aa", "kept"]).ok();
}

fn all_of_it_ends_in_the_hosts_namespace(env: &Env) {
    // One that is orphaned in a session of its own, and one that is left behind.
    let script = "(setsid sleep 70101 &); sleep 70102 & sh -c 'true & exit 0'; sleep 70103";
    let words = ["sh", "-c", script];
    env.detached("aa", &["--pid", "host"], &words);
    let sleepers = ["70101", "70102", "70103"];
    let count = || sleepers.map(|number| running(number).len());
    until("all run", || count() == [1, 1, 1]);
    let supervisor = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let rest = stat.rsplit_once(") ").unwrap().1.to_owned();
        rest.split(' ').nth(1).unwrap().parse::<i32>().unwrap()
    };
    let first = env.inspect("aa", "{{.State.Pid}}").parse::<i32>().unwrap();
    let parent = supervisor(first);
    until("the orphan has a new parent", || {
        running("70101").first().map(|pid| supervisor(*pid)) == Some(parent)
    });
    let orphan = running("70101")[0];
    env.exec("aa", &["kill", "-9", &orphan.to_string()]).ok();
    until("the orphan is buried", || {
        running("70101").is_empty() && zombies_of(parent) == 0
    });
    env.isola(["restart", "-t", "1", "aa"]).ok();
    until("all run again", || count() == [1, 1, 1]);
    env.isola(["kill", "aa"]).ok();
    until("none is left", || count() == [0, 0, 0]);
    // The first process ends by itself.
    let script = "(setsid sleep 70101 &); sleep 70102 & exit 7";
    env.run(&["--pid", "host"], &["sh", "-c", script]).exits(7);
    assert_eq!(count(), [0, 0, 0]);
}

fn an_instance_in_the_hosts_namespace_outlives_no_supervisor(env: &Env) {
    let script = "sleep 70111 & sleep 70112";
    env.detached("aa", &["--pid", "host"], &["sh", "-c", script]);
    until("it runs", || !running("70111").is_empty());
    let first = env.inspect("aa", "{{.State.Pid}}");
    let stat = std::fs::read_to_string(format!("/proc/{first}/stat")).unwrap();
    let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1);
    let kill = ["-9", parent.unwrap()];
    let killed = std::process::Command::new("kill").args(kill).status();
    assert!(killed.unwrap().success());
    until("its first process is gone", || running("70112").is_empty());
    // The next command finds the others.
    let status = env.isola(["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
    let status = status.ok().stdout;
    assert!(status.starts_with("aa Exited (137)"), "{status}");
    assert!(running("70111").is_empty());
}

fn the_processes_of_another_instance(env: &Env) {
    env.detached("aa", &["--init"], &["sleep", "70121"]);
    env.detached("bb", &["--pid", "container:aa"], &["sleep", "70122"]);
    assert_eq!(of(env, "aa", "pid"), of(env, "bb", "pid"));
    assert_eq!(env.inspect("bb", "{{.HostConfig.PidMode}}"), "container:aa");
    for name in ["aa", "bb"] {
        let seen = env.exec(name, &["ps", "-o", "args"]).ok().stdout;
        assert!(
            seen.contains("sleep 70121") && seen.contains("sleep 70122"),
            "{name}: {seen}"
        );
        let other = [("aa", "70122"), ("bb", "70121")];
        let top = env.isola(["top", name]).ok().stdout;
        for (_, number) in other.iter().filter(|(of, _)| *of == name) {
            assert!(!top.contains(number), "{name}: {top}");
        }
    }
    // Both have roots of their own.
    env.exec("bb", &["touch", "/tmp/mine"]).ok();
    env.exec("aa", &["ls", "/tmp/mine"]).exits(1);
    // What is orphaned goes to the first process of the namespace.
    env.exec("bb", &["sh", "-c", "(setsid sleep 1 &)"]).ok();
    until("it is buried", || {
        let seen = env.exec("aa", &["ps", "-o", "stat,args"]).ok().stdout;
        !seen.contains("sleep 1\n") && !seen.contains("[sleep]")
    });
    // One that joined leaves, and the other does not mind.
    env.isola(["stop", "-t", "1", "bb"]).ok();
    assert!(running("70122").is_empty());
    assert_eq!(env.inspect("aa", "{{.State.Status}}"), "running");
    env.isola(["start", "bb"]).ok();
    env.isola(["rm", "-f", "bb"]).ok();
    assert_eq!(env.inspect("aa", "{{.State.Status}}"), "running");
}

fn who_joined_ends_with_the_other(env: &Env) {
    env.detached("aa", &[], &["sleep", "1000"]);
    let joined = ["--pid", "container:aa"];
    env.detached("bb", &joined, &["sleep", "70132"]);
    let again = [&joined[..], &["--restart", "always"]].concat();
    env.detached("cc", &again, &["sleep", "70133"]);
    env.detached("dd", &joined, &["sleep", "70134"]);
    env.isola(["pause", "dd"]).ok();
    env.isola(["stop", "-t", "0", "aa"]).ok();
    for name in ["bb", "cc", "dd"] {
        until("it has ended", || {
            env.inspect(name, "{{.State.Status}}") == "exited"
        });
    }
    assert_eq!(env.inspect("bb", "{{.State.ExitCode}}"), "137");
    let why = env.inspect("cc", "{{.State.Error}}");
    assert!(
        why.contains("instance aa can't be shared: it does not run"),
        "{why}"
    );
    env.isola(["start", "bb"]).fails(
        1,
        "the pid namespace of instance aa can't be shared: it does not run",
    );
    env.isola(["start", "aa"]).ok();
    env.isola(["start", "bb"]).ok();
    assert_eq!(of(env, "aa", "pid"), of(env, "bb", "pid"));
}

fn health_and_verbs_work_in_a_joined_namespace(env: &Env) {
    env.detached("aa", &["--init"], &["sleep", "1000"]);
    for (name, mode) in [("bb", "host"), ("cc", "container:aa")] {
        let options = [
            "--pid",
            mode,
            "--health-cmd",
            "readlink /proc/self/ns/pid",
            "--health-interval",
            "200ms",
        ];
        let script = "trap 'echo got; exit 9' USR1; while true; do sleep 0.1; done";
        env.detached(name, &options, &["sh", "-c", script]);
        until("it is healthy", || {
            env.inspect(name, "{{.State.Health.Status}}") == "healthy"
        });
        env.isola(["pause", name]).ok();
        env.isola(["unpause", name]).ok();
        let stats = env.isola(["stats", "--no-stream", name]).ok().stdout;
        assert!(stats.contains(name), "{stats}");
        env.isola(["kill", "-s", "USR1", name]).ok();
        env.isola(["wait", name]).ok();
        assert_eq!(env.inspect(name, "{{.State.ExitCode}}"), "9");
        assert_eq!(env.isola(["logs", name]).ok().stdout, "got\n");
    }
}

fn memory_is_shared_with_those_who_ask(env: &Env) {
    let script = "echo one > /dev/shm/word; sleep 1000";
    let words = ["sh", "-c", script];
    env.detached("aa", &["--ipc", "shareable", "--shm-size", "1m"], &words);
    until("it is written", || {
        env.exec("aa", &["cat", "/dev/shm/word"]).stdout == "one\n"
    });
    let script = "cat /dev/shm/word; echo two > /dev/shm/back; readlink /proc/self/ns/ipc";
    let output = env
        .run(&["--ipc", "container:aa"], &["sh", "-c", script])
        .ok();
    assert_eq!(output.stdout, format!("one\n{}\n", of(env, "aa", "ipc")));
    assert_eq!(
        env.exec("aa", &["cat", "/dev/shm/back"]).ok().stdout,
        "two\n"
    );
    assert_eq!(env.inspect("aa", "{{.HostConfig.IpcMode}}"), "shareable");
    // The memory stays as long as somebody has it.
    env.detached("bb", &["--ipc", "container:aa"], &["sleep", "1000"]);
    env.isola(["stop", "-t", "0", "aa"]).ok();
    assert_eq!(
        env.exec("bb", &["cat", "/dev/shm/back"]).ok().stdout,
        "two\n"
    );
    env.isola(["restart", "-t", "0", "bb"]).fails(
        1,
        "the IPC namespace of instance aa can't be shared: it does not run",
    );
    // One that shares nothing, and one that lies.
    env.detached("cc", &[], &["sleep", "1000"]);
    env.run(&["--ipc", "container:cc"], &["true"])
        .fails(125, "instance cc can't be shared: it is not shareable");
    let file = format!("/dev/shm/isola-test-{}", std::process::id());
    std::fs::write(&file, "host").unwrap();
    let script = format!("cat {file}; rm {file}; readlink /proc/self/ns/ipc");
    let output = env.run(&["--ipc", "host"], &["sh", "-c", &script]).ok();
    assert_eq!(output.stdout, format!("host{}\n", own("ipc")));
    assert!(!std::path::Path::new(&file).exists());
}

fn the_hosts_names_and_cgroups(env: &Env) {
    let script = "hostname; cat /etc/hostname; echo $HOSTNAME; readlink /proc/self/ns/uts";
    let output = env.run(&["--uts", "host"], &["sh", "-c", script]).ok();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(output.stdout, format!("{name}{name}{name}{}\n", own("uts")));
    let script = "readlink /proc/self/ns/cgroup; cat /proc/self/cgroup; \
                  touch /sys/fs/cgroup/x || echo refused";
    let output = env.run(&["--cgroupns", "host"], &["sh", "-c", script]).ok();
    let text = output.stdout;
    assert!(text.starts_with(&own("cgroup")), "{text}");
    assert!(
        text.contains("/isola/"),
        "its group by its whole path: {text}"
    );
    assert!(text.ends_with("refused\n"), "{text}");
    let modes = ["--uts", "host", "--cgroupns", "host"];
    env.detached("aa", &modes, &["sleep", "1000"]);
    let shown = "{{.HostConfig.UTSMode}} {{.HostConfig.CgroupnsMode}}";
    assert_eq!(env.inspect("aa", shown), "host host");
    assert_eq!(of(env, "aa", "cgroup"), own("cgroup"));
}

fn namespaces_of_its_own(env: &Env) {
    let modes = [
        "--pid=private",
        "--ipc=none",
        "--uts=private",
        "--cgroupns=private",
        "--hostname=mine",
    ];
    env.detached("aa", &modes, &["sleep", "1000"]);
    let script = "hostname; ls /dev/shm || echo none; cat /proc/self/cgroup | grep -c isola; \
                  cat /proc/1/cmdline";
    let output = env.exec("aa", &["sh", "-c", script]).ok().stdout;
    assert_eq!(output, "mine\nnone\n0\nsleep\x001000\0");
    let shown = "{{.HostConfig.PidMode}}/{{.HostConfig.IpcMode}}/{{.HostConfig.UTSMode}}/{{.HostConfig.CgroupnsMode}}";
    assert_eq!(env.inspect("aa", shown), "/none//private");
    let output = env.run(
        &["--sysctl", "kernel.domainname=lan"],
        &["cat", "/proc/sys/kernel/domainname"],
    );
    assert_eq!(output.ok().stdout, "lan\n");
}

fn no_guest_shares_a_namespace(env: &Env) {
    for (flag, value) in [
        ("--pid", "host"),
        ("--pid", "container:aa"),
        ("--ipc", "host"),
        ("--ipc", "shareable"),
        ("--ipc", "container:aa"),
        ("--uts", "host"),
        ("--cgroupns", "host"),
    ] {
        let words = format!(
            "{flag} {value} can't be had with isolation {}",
            env.wall().name()
        );
        let output = env.run(&[flag, value], &["true"]).fails(125, &words);
        assert!(output.stderr.contains("hint:"), "{}", output.stderr);
    }
    // Nor is a guest joined by a container.
    env.detached("aa", &[], &["sleep", "1000"]);
    for flag in ["--pid", "--ipc"] {
        let options = ["--isolation", "container", flag, "container:aa"];
        let output = env.run(&options, &["true"]);
        output.fails(125, "instance aa can't be shared: it is a guest's");
    }
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout.lines().count(), 1);
    let text = env.isola(["capabilities", "-v"]).ok().stdout;
    assert!(text.contains("shared-pid"), "{text}");
}

fn sharing_that_makes_no_sense_is_refused(env: &Env) {
    for (options, words) in [
        (&["--pid", "x"][..], "--pid \"x\": no such mode"),
        (&["--ipc", "x"], "--ipc \"x\": no such mode"),
        (&["--uts", "x"], "--uts \"x\": no such mode"),
        (&["--cgroupns", "x"], "--cgroupns \"x\": no such mode"),
        (&["--pid", "container:"], "the name is empty"),
        (&["--pid", "container:nosuch"], "no such instance: nosuch"),
        (&["--ipc", "container:nosuch"], "no such instance: nosuch"),
        (
            &["--pid", "host", "--userns", "auto"],
            "--pid host can't be had with --userns auto",
        ),
        (
            &["--ipc", "host", "--userns", "auto"],
            "--ipc host can't be had with --userns auto",
        ),
        (
            &["--uts", "host", "-h", "x"],
            "--hostname can't be had with --uts host",
        ),
        (
            &["--ipc", "host", "--shm-size", "1m"],
            "--shm-size can't be had",
        ),
        (
            &["--name", "self", "--pid", "container:self"],
            "it is the instance itself",
        ),
    ] {
        env.run(options, &["true"]).fails(125, words);
    }
    env.detached("aa", &["--userns", "auto"], &["sleep", "1000"]);
    env.run(&["--pid", "container:aa"], &["true"])
        .fails(125, "a user namespace of its own");
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout.lines().count(), 1);
}
