//! What an instance may use and do: memory, processes, capabilities, mounts.

use isola_tests::{Env, behaviours};

behaviours![
    Every too_much_memory_is_killed,
    Once limits_that_cannot_be,
    Every processes_are_counted,
    Every limits_of_processes,
    Every mounts_of_memory,
    Every a_read_only_root,
    Every names_and_kernel_parameters,
    Every capabilities,
    Every filters_and_no_new_privileges,
    Container bind_mounts,
    Guests what_guests_refuse,
    Container cpus_and_devices,
];

fn too_much_memory_is_killed(env: &Env) {
    let mut options = vec!["run", "--name", "aa", "--memory", "64m"];
    if !env.wall().is_guest() {
        options.extend(["--memory-swap", "64m"]);
    }
    let script = "BEGIN { for (s = \"x\"; i < 20; i++) s = s s; \
                  for (j = 0; j < 100; j++) a[j] = s j; print \"survived\" }";
    let output = env.isola([&options[..], &["box", "awk", script]].concat());
    assert_eq!(output.exits(137).stdout, "");
    if !env.wall().is_guest() {
        assert_eq!(env.inspect("aa", "{{.State.OOMKilled}}"), "true");
    }
}

fn limits_that_cannot_be(env: &Env) {
    for (option, words) in [
        ("--memory=lots", "lots"),
        ("--memory=1k", "1k"),
        ("--memory=9000000g", "9000000g"),
        ("--memory=-1", "-1"),
        ("--cpus=-1", "-1"),
        ("--cpus=100000", "100000"),
        ("--cpuset-cpus=9999", "9999"),
        ("--cpuset-mems=9999", "9999"),
        ("--cpu-period=10", "10"),
        ("--cpu-quota=10", "10"),
        ("--blkio-weight=5", "5"),
        ("--blkio-weight=2000", "2000"),
        ("--blkio-weight-device=/dev/null:100", "/dev/null"),
        ("--device-read-bps=/no/such:1m", "/no/such"),
        ("--device-write-bps=/dev/null:1m", "no block device"),
        ("--device-read-iops=fast", "PATH:VALUE"),
        ("--gpus=all", "--gpus all"),
        ("--cgroup-parent=../../a", "lead out"),
        ("--cgroup-parent=a.slice", "systemd"),
        ("--pids-limit=x", "x"),
        ("--ulimit=nosuch=1", "nosuch"),
        ("--ulimit=nofile=2:1", "nofile"),
        ("--shm-size=x", "x"),
        ("--cap-add=NOSUCH", "NOSUCH"),
        ("--sysctl=kernel.panic=1", "kernel.panic"),
        ("--sysctl=nothing", "nothing"),
        ("--hostname=a/b", "a/b"),
        ("--oom-score-adj=2000", "2000"),
        ("--security-opt=nosuch", "nosuch"),
        ("--tmpfs=relative", "relative"),
        (
            "--mount=type=bind,source=/no/such/folder,target=/srv",
            "/no/such/folder",
        ),
        ("--isolation=nosuch", "nosuch"),
        ("--network=nosuch", "nosuch"),
        ("--platform=plan9/vax", "plan9"),
    ] {
        env.run(&[option], &["true"]).fails(125, words);
    }
    env.run(&["--cpus=1", "--cpu-quota=50000"], &["true"])
        .fails(125, "--cpus and --cpu-quota exclude each other");
    assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "");
}

fn processes_are_counted(env: &Env) {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait; echo all";
    let output = env.run(&["--pids-limit", "6"], &["sh", "-c", script]);
    assert!(output.stderr.contains("fork"), "{output:?}");
    assert!(!output.stdout.contains("all"), "{output:?}");
    let output = env.run(&["--pids-limit", "60"], &["sh", "-c", script]).ok();
    assert_eq!(output.stdout, "all\n");
}

fn limits_of_processes(env: &Env) {
    let options = ["--ulimit", "nofile=100:200", "--ulimit", "core=0"];
    let output = env.run(&options, &["sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c"]);
    assert_eq!(output.ok().stdout, "100\n200\n0\n");
}

fn mounts_of_memory(env: &Env) {
    let options = ["--shm-size", "2m", "--tmpfs", "/var/mem:size=1m,mode=700"];
    let script = "grep -E ' (/dev/shm|/var/mem) ' /proc/mounts | cut -d' ' -f2-4; \
                  head -c 1500000 /dev/zero > /dev/shm/a && echo fits; \
                  head -c 1500000 /dev/zero > /var/mem/a || stat -c %a /var/mem";
    let output = env.run(&options, &["sh", "-c", script]).ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{output:?}");
    assert_eq!(lines[2..], ["fits", "700"]);
    for line in &lines[..2] {
        for word in ["tmpfs", "nosuid", "nodev"] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
}

fn a_read_only_root(env: &Env) {
    let script = "touch /root/a || touch /tmp/a && echo tmp; mount -o remount,rw / ; touch /b";
    let output = env
        .run(&["--read-only", "--tmpfs", "/tmp"], &["sh", "-c", script])
        .exits(1);
    assert_eq!(output.stdout, "tmp\n");
    assert!(output.stderr.contains("/root/a: Read-only"), "{output:?}");
    assert!(output.stderr.contains("/b: Read-only"), "{output:?}");
}

fn names_and_kernel_parameters(env: &Env) {
    let options = [
        "-h",
        "host1",
        "--sysctl",
        "kernel.msgmax=4321",
        "--add-host",
        "db:10.1.2.3",
    ];
    let script = "hostname; cat /etc/hostname /proc/sys/kernel/msgmax; \
                  grep -c host1 /etc/hosts; grep db /etc/hosts";
    let output = env.run(&options, &["sh", "-c", script]).ok();
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(words, ["host1", "host1", "4321", "1", "10.1.2.3", "db"]);
}

fn capabilities(env: &Env) {
    let set = |options: &[&str], which: &str| {
        let output = env.run(options, &["grep", which, "/proc/self/status"]).ok();
        let (_, bits) = output.stdout.trim().rsplit_once('\t').expect("a value");
        u64::from_str_radix(bits, 16).expect("bits")
    };
    // capabilities(7): the numbers of Docker's fourteen.
    let usual = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];
    let usual = usual.iter().fold(0, |set, bit| set | 1u64 << bit);
    assert_eq!(set(&[], "CapEff"), usual);
    assert_eq!(set(&[], "CapInh"), 0);
    assert_eq!(set(&["--cap-drop", "ALL"], "CapBnd"), 0);
    let net = ["--cap-drop", "all", "--cap-add", "NET_ADMIN"];
    assert_eq!(set(&net, "CapEff"), 1 << 12);
    assert_eq!(set(&["-u", "app"], "CapEff"), 0);
}

fn filters_and_no_new_privileges(env: &Env) {
    let script = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; unshare -m true || echo no; \
                  mount -t tmpfs x /tmp || echo no";
    let output = env
        .run(
            &["--security-opt", "no-new-privileges"],
            &["sh", "-c", script],
        )
        .ok();
    assert_eq!(output.stdout, "NoNewPrivs:\t1\nSeccomp:\t2\nno\nno\n");
    let output = env
        .run(
            &["--security-opt", "seccomp=unconfined"],
            &["grep", "Seccomp:", "/proc/1/status"],
        )
        .ok();
    assert_eq!(output.stdout, "Seccomp:\t0\n");
}

fn bind_mounts(env: &Env) {
    let files = env.files();
    std::fs::write(files.join("a"), "from the host\n").unwrap();
    let source = files.to_str().unwrap();
    let script = "cat /srv/a; echo inside > /srv/b";
    let both = format!("{source}:/srv");
    let output = env.run(&["-v", &both], &["sh", "-c", script]).ok();
    assert_eq!(output.stdout, "from the host\n");
    assert_eq!(
        std::fs::read_to_string(files.join("b")).unwrap(),
        "inside\n"
    );
    let mount = format!("type=bind,source={source},target=/srv,readonly");
    for option in [format!("--volume={both}:ro"), format!("--mount={mount}")] {
        let script = "cat /srv/a; touch /srv/c; mount -o remount,rw /srv; touch /srv/c";
        let output = env.run(&[&option], &["sh", "-c", script]).exits(1);
        assert_eq!(output.stdout, "from the host\n");
        assert!(!files.join("c").exists());
    }
    let file = format!("{source}/a:/etc/one/file:ro");
    let output = env.run(&["-v", &file], &["cat", "/etc/one/file"]).ok();
    assert_eq!(output.stdout, "from the host\n");
    let absent = format!("type=bind,source={source}/none,target=/srv");
    env.run(&["--mount", &absent], &["true"]).fails(125, "none");
    // The short form makes it.
    env.run(&["-v", &format!("{source}/none:/srv")], &["true"])
        .ok();
    assert!(files.join("none").is_dir());
}

fn what_guests_refuse(env: &Env) {
    let wall = env.wall().name();
    for option in [
        "--network=host",
        "--volume=/tmp:/srv:rshared",
        "--device=/dev/null",
        "--memory-swap=1g",
        "--memory-swappiness=5",
        "--oom-kill-disable",
        "--device-cgroup-rule=c 1:3 r",
        "--gpus=all",
    ] {
        env.run(&[option], &["true"]).fails(125, wall);
    }
}

fn cpus_and_devices(env: &Env) {
    env.detached(
        "aa",
        &["--cpus", "0.5", "--cpu-shares", "512"],
        &["sleep", "1000"],
    );
    let pid = env.inspect("aa", "{{.State.Pid}}");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.contains(&env.inspect("aa", "{{.Id}}")), "{groups}");
    assert_eq!(env.inspect("aa", "{{.HostConfig.NanoCpus}}"), "500000000");
    let script = "head -c 4 /dev/given | wc -c; mknod /tmp/m c 1 11 && head -c 1 /tmp/m";
    let output = env
        .run(
            &["--device", "/dev/zero:/dev/given:r"],
            &["sh", "-c", script],
        )
        .exits(1);
    assert_eq!(output.stdout.trim(), "4");
    assert!(output.stderr.contains("not permitted"), "{}", output.stderr);
}
