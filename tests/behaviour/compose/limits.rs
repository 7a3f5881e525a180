//! Limits on devices and CPU time, and groups above a service's own, from the file to
//! what the kernel holds.

use isola_tests::{BlockDevice, Env, behaviours, cgroup_value};

use super::Stack;

behaviours![
    Every limits_reach_the_kernel,
    Container rules_for_devices,
    Once what_is_wrong_with_limits_is_told_with_its_place,
];

fn limits_reach_the_kernel(env: &Env) {
    let Some(device) = BlockDevice::new(&env.files(), 16 << 20) else {
        return;
    };
    let path = device.path();
    let parent = format!("isola-compose-{}", std::process::id());
    let text = format!(
        "
services:
  aa:
    IDLE
    cgroup_parent: {parent}
    cpu_quota: 30000
    cpu_period: 60000
    blkio_config:
      device_read_bps: [{{path: {path}, rate: 1m}}]
      device_write_iops: [{{path: {path}, rate: 40}}]
"
    );
    let stack = Stack::up(env, &text);
    let shown = "{{.HostConfig.CgroupParent}} {{.HostConfig.CpuQuota}} {{.HostConfig.CpuPeriod}}";
    assert_eq!(
        env.inspect("proj-aa-1", shown),
        format!("/{parent} 30000 60000")
    );
    let pid = env.inspect("proj-aa-1", "{{.State.Pid}}");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.contains(&format!(":/{parent}/")), "{groups}");
    let quota = cgroup_value(&pid, "cpu/cpu.cfs_quota_us", "cpu.max");
    assert!(matches!(quota.as_str(), "30000" | "30000 60000"), "{quota}");
    let rate = cgroup_value(&pid, "blkio/blkio.throttle.read_bps_device", "io.max");
    assert!(rate.contains("1048576"), "{rate}");
    let rate = cgroup_value(&pid, "blkio/blkio.throttle.write_iops_device", "io.max");
    assert!(rate.ends_with("40"), "{rate}");
    stack.down();
}

fn rules_for_devices(env: &Env) {
    let text = "
services:
  aa:
    IDLE
    device_cgroup_rules: ['c 10:229 r']
";
    let stack = Stack::up(env, text);
    let script = "mknod /tmp/m c 10 229; : < /tmp/m && echo read; (: > /tmp/m) || echo refused";
    let words = ["exec", "-T", "aa", "sh", "-c", script];
    let output = stack.run(&words);
    assert_eq!(output.stdout, "read\nrefused\n", "{output:?}");
    stack.down();
}

fn what_is_wrong_with_limits_is_told_with_its_place(env: &Env) {
    for (lines, place, words) in [
        ("cgroup_parent: a.slice", "4:20", "systemd"),
        ("cgroup_parent: ../a", "4:20", "lead out"),
        (
            "device_cgroup_rules: ['c 1:3 r', c]",
            "4:38",
            "KIND MAJOR:MINOR",
        ),
        ("gpus: all", "4:11", "`gpus` is not supported"),
        (
            "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
            "4:50",
            "devices",
        ),
        (
            "blkio_config: {device_read_bps: [{path: /dev/nosuch, rate: 1m}]}",
            "4:37",
            "/dev/nosuch",
        ),
        (
            "blkio_config: {device_write_iops: [{path: /dev/null, rate: 1}]}",
            "4:39",
            "no block device",
        ),
        ("blkio_config: {weight: 5}", "4:28", "from 10 to 1000"),
        (
            "blkio_config: {weight_device: [{path: /dev/null, weight: 20}]}",
            "4:35",
            "no block device",
        ),
        ("cpu_quota: 10", "4:16", "at least 1000"),
        ("cpu_period: 10", "4:17", "from 1000"),
        ("{cpus: 1, cpu_quota: 5000}", "3:", "exclude each other"),
    ] {
        let text = match lines.strip_prefix('{') {
            Some(rest) => format!("services:\n  bb: {{image: box}}\n  aa: {{image: box, {rest}\n"),
            None => {
                format!("services:\n  aa:\n    image: box\n    {lines}\n  bb: {{image: box}}\n")
            }
        };
        let stack = Stack::new(env, &text);
        let up = stack.run(&["up", "-d", "--pull", "never"]).fails(1, words);
        let place = format!("compose.yaml:{place}");
        assert!(up.stderr.contains(&place), "{lines}: {}", up.stderr);
        assert!(up.stderr.contains("hint:"), "{lines}: {}", up.stderr);
        assert_eq!(env.isola(["ps", "-aq"]).ok().stdout, "", "{lines}");
    }
}
