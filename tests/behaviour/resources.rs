//! Settings of cgroups that go beyond memory and CPUs: quotas and periods, block devices,
//! rules for devices, and where a group is. What holds is read from the kernel.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use isola_tests::{BlockDevice, ByWeight, Env, behaviours, cgroup_of, cgroup_value, until};

behaviours![
    Every cpu_time_and_memory_nodes,
    Every a_group_in_another,
    Every rates_of_block_devices,
    Container a_slow_device,
    Container weights_of_block_devices,
    Container devices_by_rule,
    Container what_version_1_alone_has,
    Container a_killed_supervisor_leaves_no_group,
];

fn pid(env: &Env) -> String {
    env.inspect("aa", "{{.State.Pid}}")
}

fn cpu_time_and_memory_nodes(env: &Env) {
    let options = [
        "--cpu-quota",
        "50000",
        "--cpu-period",
        "200000",
        "--cpuset-mems",
        "0",
    ];
    env.detached("aa", &options, &["sleep", "1000"]);
    let limits = "{{.HostConfig.CpuQuota}} {{.HostConfig.CpuPeriod}} {{.HostConfig.CpusetMems}} {{.HostConfig.NanoCpus}}";
    assert_eq!(env.inspect("aa", limits), "50000 200000 0 0");
    let pid = pid(env);
    let quota = cgroup_value(&pid, "cpu/cpu.cfs_quota_us", "cpu.max");
    let period = cgroup_value(&pid, "cpu/cpu.cfs_period_us", "cpu.max");
    assert!(
        matches!(
            (quota.as_str(), period.as_str()),
            ("50000", "200000") | ("50000 200000", "50000 200000")
        ),
        "{quota} per {period}"
    );
    assert_eq!(cgroup_value(&pid, "cpuset/cpuset.mems", "cpuset.mems"), "0");
}

/// A parent of this test's own, and where it is in the hierarchies.
fn parent() -> (String, Vec<PathBuf>) {
    let name = format!("isola-test-{}", uniquely());
    let top = Path::new("/sys/fs/cgroup");
    let entries = std::fs::read_dir(top).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path().join(&name));
    let folders = folders.chain([top.join(&name)]).collect();
    (name, folders)
}

fn uniquely() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}", std::process::id())
}

fn left(folders: &[PathBuf]) -> Vec<&PathBuf> {
    folders.iter().filter(|folder| folder.exists()).collect()
}

fn a_group_in_another(env: &Env) {
    let (name, folders) = parent();
    let option = format!("{name}/deep/");
    let id = env.detached("aa", &["--cgroup-parent", &option], &["sleep", "1000"]);
    let shown = env.inspect("aa", "{{.HostConfig.CgroupParent}}");
    assert_eq!(shown, format!("/{name}/deep"));
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", pid(env))).unwrap();
    assert!(groups.contains(&format!(":/{name}/deep/{id}")), "{groups}");
    assert!(!groups.contains("/isola/"), "{groups}");
    env.exec("aa", &["true"]).ok();
    env.isola(["stats", "--no-stream", "aa"]).ok();
    env.isola(["pause", "aa"]).ok();
    env.isola(["unpause", "aa"]).ok();
    env.isola(["stop", "-t", "0", "aa"]).ok();
    assert_eq!(left(&folders), Vec::<&PathBuf>::new());
    // What was there before stays, and holds what is in it.
    env.isola(["start", "aa"]).ok();
    let own = cgroup_of(&pid(env));
    env.isola(["rm", "-f", "aa"]).ok();
    let top = own.parent().and_then(Path::parent).expect("the parent");
    std::fs::create_dir(top).expect("a group");
    env.run(&["--cgroup-parent", &option], &["true"]).ok();
    let stayed = top.is_dir() && !top.join("deep").exists();
    std::fs::remove_dir(top).expect("an empty group");
    assert!(stayed);
    assert_eq!(left(&folders), Vec::<&PathBuf>::new());
}

fn a_killed_supervisor_leaves_no_group(env: &Env) {
    let (name, folders) = parent();
    env.detached("aa", &["--cgroup-parent", &name], &["sleep", "1000"]);
    assert_ne!(left(&folders), Vec::<&PathBuf>::new());
    let supervisor = env.inspect("aa", "{{.State.SupervisorPid}}");
    let kill = std::process::Command::new("kill")
        .args(["-9", &supervisor])
        .status();
    assert!(kill.expect("kill").success());
    until("it is known to be dead", || {
        env.inspect("aa", "{{.State.Status}}") == "exited"
    });
    assert_eq!(left(&folders), Vec::<&PathBuf>::new());
}

fn rates_of_block_devices(env: &Env) {
    let Some(device) = BlockDevice::new(&env.files(), 16 << 20) else {
        return;
    };
    let (path, numbers) = (device.path(), device.numbers());
    let read = format!("--device-read-bps={path}:1m");
    let write = format!("--device-write-bps={path}:2m");
    let reads = format!("--device-read-iops={path}:300");
    let writes = format!("--device-write-iops={path}:400");
    env.detached("aa", &[&read, &write, &reads, &writes], &["sleep", "1000"]);
    for (key, rate) in [
        ("ReadBps", 1 << 20),
        ("WriteBps", 2 << 20),
        ("ReadIOps", 300),
        ("WriteIOps", 400),
    ] {
        let template = format!("{{{{json .HostConfig.BlkioDevice{key}}}}}");
        let shown: serde_json::Value = serde_json::from_str(&env.inspect("aa", &template)).unwrap();
        assert_eq!(shown, serde_json::json!([{"Path": path, "Rate": rate}]));
    }
    let pid = pid(env);
    for (file, key, rate) in [
        ("read_bps", "rbps", "1048576"),
        ("write_bps", "wbps", "2097152"),
        ("read_iops", "riops", "300"),
        ("write_iops", "wiops", "400"),
    ] {
        let v1 = format!("blkio/blkio.throttle.{file}_device");
        let found = cgroup_value(&pid, &v1, "io.max");
        let line = format!("{numbers} {rate}");
        assert!(
            found.lines().any(|it| it == line) || found.contains(&format!("{key}={rate}")),
            "{file}: {found}"
        );
    }
    // The device is in use by nobody, so nothing of it is left in the instance's way.
    env.isola(["rm", "-f", "aa"]).ok();
}

/// The rate holds what a program reads.
fn a_slow_device(env: &Env) {
    let Some(device) = BlockDevice::new(&env.files(), 16 << 20) else {
        return;
    };
    let rate = format!("--device-read-bps={}:1m", device.path());
    let given = format!("--device={}:/dev/given", device.path());
    let started = Instant::now();
    let read = ["sh", "-c", "head -c 3145728 /dev/given | wc -c"];
    assert_eq!(env.run(&[&rate, &given], &read).ok().stdout, "3145728\n");
    let took = started.elapsed();
    assert!(took > Duration::from_millis(1500), "3 MiB in {took:?}");
}

fn weights_of_block_devices(env: &Env) {
    let Some(device) = BlockDevice::new(&env.files(), 16 << 20) else {
        return;
    };
    let path = device.path();
    let weight = format!("--blkio-weight-device={path}:200");
    env.run(&[&weight], &["true"])
        .fails(125, &format!("{path} does not share by weight"));
    let Some(by) = device.shares_by_weight() else {
        eprintln!("SKIPPED: needs the scheduler bfq, or io.cost.qos");
        return;
    };
    let options = [&weight, "--blkio-weight=300"];
    env.detached("aa", &options, &["sleep", "1000"]);
    let shown = "{{.HostConfig.BlkioWeight}} {{json .HostConfig.BlkioWeightDevice}}";
    let expected = format!("300 [{{\"Path\":\"{path}\",\"Weight\":200}}]");
    assert_eq!(env.inspect("aa", shown), expected);
    let (v2, all, own) = match by {
        ByWeight::Scheduler => ("io.bfq.weight", 300, 200),
        ByWeight::Cost => ("io.weight", 2930, 1920),
    };
    let found = cgroup_value(&pid(env), "blkio/blkio.bfq.weight_device", v2);
    let expected = format!("default {all}\n{} {own}", device.numbers());
    assert_eq!(found, expected);
    env.isola(["rm", "-f", "aa"]).ok();
}

fn devices_by_rule(env: &Env) {
    let script = "mknod /tmp/m c 10 229 && : < /tmp/m && echo read; : > /tmp/m && echo written";
    let words = ["sh", "-c", script];
    let without = env.run(&[], &words);
    assert_eq!(without.stdout, "", "{without:?}");
    assert!(without.stderr.contains("not permitted"), "{without:?}");
    let rule = ["--device-cgroup-rule", "c 10:* r"];
    let with = env.run(&rule, &words);
    assert_eq!(with.stdout, "read\n", "{with:?}");
    env.run(&["--device-cgroup-rule", "a 10:229 rw"], &words)
        .ok();
    let rules = ["--device-cgroup-rule", "a 10:229 rw"];
    env.detached("aa", &rules, &["sleep", "1000"]);
    let shown = env.inspect("aa", "{{json .HostConfig.DeviceCgroupRules}}");
    assert_eq!(shown, "[\"c 10:229 rw\",\"b 10:229 rw\"]");
    for rule in ["c 1:3", "x 1:3 r", "c 5000:1 r", "c 1:3 x", ""] {
        env.run(&["--device-cgroup-rule", rule], &["true"])
            .fails(125, "--device-cgroup-rule");
    }
}

fn what_version_1_alone_has(env: &Env) {
    let options = [
        "--memory=32m",
        "--memory-swap=32m",
        "--memory-swappiness=7",
        "--oom-kill-disable",
    ];
    if !Path::new("/sys/fs/cgroup/memory").is_dir() {
        for option in &options[2..] {
            env.run(&["--memory=32m", option], &["true"])
                .fails(125, "version 1");
        }
        return;
    }
    env.run(&["--oom-kill-disable"], &["true"])
        .fails(125, "--oom-kill-disable needs --memory");
    let hog = "BEGIN { for (s = \"x\"; i < 20; i++) s = s s; \
               for (j = 0; j < 100; j++) a[j] = s j; print \"survived\" }";
    env.detached("aa", &options, &["awk", hog]);
    let pid = pid(env);
    assert_eq!(cgroup_value(&pid, "memory/memory.swappiness", ""), "7");
    until("it waits for memory", || {
        let state = cgroup_value(&pid, "memory/memory.oom_control", "");
        state.contains("oom_kill_disable 1") && state.contains("under_oom 1")
    });
    assert_eq!(env.inspect("aa", "{{.State.Status}}"), "running");
    let shown = "{{.HostConfig.MemorySwappiness}} {{.HostConfig.OomKillDisable}}";
    assert_eq!(env.inspect("aa", shown), "7 true");
    env.isola(["rm", "-f", "aa"]).ok();
}
