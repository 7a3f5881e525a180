//! Attributes of services, each from the file to its effect on an instance that runs.
//! A table each: what the file says, what is looked at, what is found.

use isola_tests::{Env, behaviours, cgroup_value};

use super::Stack;

behaviours![
    Every attributes_are_seen_within,
    Every attributes_are_seen_from_outside,
    Every limits_of_deploy_hold,
    Container what_containers_alone_have,
    Every signals_and_streams,
    Once what_has_no_effect_is_said,
];

/// Lines of the service, a script within it, and what it prints.
pub(super) type Seen = (&'static str, &'static str, &'static str);
/// Lines of the service, a template for `inspect`, and what it prints.
type Shown = (&'static str, &'static str, &'static str);

const MAIN: &str = "    image: box\n    entrypoint: [sleep]\n    command: ['1000']\n";

/// A service with the lines of all rows.
pub(super) fn service<'r>(name: &str, rows: impl IntoIterator<Item = &'r str>) -> String {
    let mut text = format!("  {name}:\n{MAIN}");
    for line in rows.into_iter().flat_map(str::lines) {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

pub(super) fn check_seen(stack: &Stack<'_>, name: &str, rows: &[Seen]) {
    for (lines, script, expected) in rows {
        let words = ["exec", "-T", name, "sh", "-c", script];
        let found = stack.run(&words).stdout;
        assert_eq!(found.trim_end(), *expected, "{lines}: {script}");
    }
}

const WITHIN: &[Seen] = &[
    ("hostname: ada", "hostname; cat /etc/hostname", "ada\nada"),
    (
        "domainname: example.org",
        "cat /proc/sys/kernel/domainname",
        "example.org",
    ),
    ("user: '1000:1001'", "id -u; id -g", "1000\n1001"),
    (
        "group_add: [extra, '44']",
        "for g in $(id -G); do echo $g; done | sort -n | grep -vx 1000",
        "44\n1001\n2000",
    ),
    ("working_dir: /tmp/deep/er", "pwd", "/tmp/deep/er"),
    (
        "environment: {SAID: 'a  b', EMPTY: '', NUMBER: 0o17, YES: 'yes'}",
        "echo \"$SAID|${EMPTY-unset}|$NUMBER|$YES\"",
        "a  b||0o17|yes",
    ),
    ("init: true", "grep -c sleep /proc/1/comm", "0"),
    (
        "tty: true",
        "readlink /proc/$(pidof sleep)/fd/0 | cut -d/ -f1-3",
        "/dev/pts",
    ),
    (
        "shm_size: 8m",
        "df -k /dev/shm | tail -n 1 | awk '{print $2}'",
        "8192",
    ),
    (
        "tmpfs: ['/scratch:size=1m,mode=1777', /more]",
        "df -k /scratch | tail -n 1 | awk '{print $2}'; stat -c %a /scratch; grep -c ' /more tmpfs' /proc/mounts",
        "1024\n1777\n1",
    ),
    (
        "read_only: true",
        "touch /tmp/x 2>&1 | grep -o 'Read-only file system'; touch /scratch/x && echo scratch",
        "Read-only file system\nscratch",
    ),
    (
        "cap_add: [NET_ADMIN]\ncap_drop: [MKNOD, chown]",
        "grep CapBnd /proc/$(pidof sleep)/status | cut -f2",
        "00000000a00435fa",
    ),
    (
        "ulimits: {nofile: {soft: 1000, hard: 2000}, core: 0}",
        "ulimit -n; ulimit -Hn; ulimit -c; grep 'open files' /proc/$(pidof sleep)/limits | awk '{print $4, $5}'",
        "1000\n2000\n0\n1000 2000",
    ),
    (
        "sysctls: {kernel.msgmax: 4321, net.ipv4.ip_unprivileged_port_start: '80'}",
        "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "4321\n80",
    ),
    (
        "security_opt: ['no-new-privileges:true']",
        "grep NoNewPrivs /proc/$(pidof sleep)/status | cut -f2",
        "1",
    ),
    (
        "oom_score_adj: 100",
        "cat /proc/$(pidof sleep)/oom_score_adj",
        "100",
    ),
    (
        "dns_search: example.org\ndns_opt: ['ndots:3']",
        "grep -E '^(search|options)' /etc/resolv.conf | sort",
        "options ndots:3\nsearch example.org",
    ),
    (
        "extra_hosts: ['far=10.9.8.7', 'near:10.9.8.6', 'six=[fd00::6]']",
        "grep -E ' ?(far|near|six)' /etc/hosts | awk '{print $1, $2}' | sort",
        "10.9.8.6 near\n10.9.8.7 far\nfd00::6 six",
    ),
    (
        "networks: {default: {aliases: [other-name], mac_address: '02:00:00:00:07:07'}}",
        "cat /sys/class/net/eth0/address",
        "02:00:00:00:07:07",
    ),
    (
        "pids_limit: 60",
        "for i in $(seq 80); do sleep 0.2 & done 2>&1 | grep -c -m 1 fork",
        "1",
    ),
];

fn attributes_are_seen_within(env: &Env) {
    let text = service("aa", WITHIN.iter().map(|(lines, ..)| *lines));
    let stack = Stack::new(env, &format!("services:\n{text}"));
    stack.run(&["up", "-d"]).ok();
    check_seen(&stack, "aa", WITHIN);
    stack.down();
}

const OUTSIDE: &[Shown] = &[
    ("container_name: its-own", "{{.Name}}", "its-own"),
    ("image: box", "{{.Config.Image}}", "box"),
    ("platform: linux/amd64", "{{.Platform}}", "linux"),
    ("stop_signal: SIGUSR1", "{{.Config.StopSignal}}", "SIGUSR1"),
    ("stop_grace_period: 2500ms", "{{.Config.StopTimeout}}", "3"),
    (
        "labels: {first: one, third: ''}\nlabel_file: labels.env",
        "{{index .Config.Labels \"first\"}} {{index .Config.Labels \"second\"}} {{index .Config.Labels \"third\"}}.",
        "one two .",
    ),
    (
        "annotations: [note=kept]",
        "{{index .HostConfig.Annotations \"note\"}}",
        "kept",
    ),
    (
        "restart: on-failure:3",
        "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}",
        "on-failure 3",
    ),
    (
        "logging: {driver: json-file, options: {max-size: 1m, max-file: '2'}}",
        "{{.HostConfig.LogConfig.Type}} {{json .HostConfig.LogConfig.Config}}",
        "json-file {\"max-file\":\"2\",\"max-size\":\"1048576\"}",
    ),
    (
        "expose: ['9000-9001', 53/udp]\nports: ['127.0.0.1:18081:80', '18082:53/udp', '81']",
        "{{range $port, $all := .Config.ExposedPorts}}{{$port}} {{end}}",
        "53/udp 80/tcp 81/tcp 9000/tcp 9001/tcp ",
    ),
    (
        "",
        "{{json (index .HostConfig.PortBindings \"80/tcp\")}} {{json (index .HostConfig.PortBindings \"53/udp\")}}",
        "[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"18081\"}] [{\"HostIp\":\"\",\"HostPort\":\"18082\"}]",
    ),
    (
        "dns: [192.0.2.53]",
        "{{json .HostConfig.Dns}}",
        "[\"192.0.2.53\"]",
    ),
    (
        "healthcheck: {test: [CMD, 'true'], interval: 1h, timeout: 2s, retries: 7, start_period: 1m, start_interval: 3s}",
        "{{json .Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Timeout}} {{.Config.Healthcheck.Retries}} {{.Config.Healthcheck.StartPeriod}} {{.Config.Healthcheck.StartInterval}}",
        "[\"CMD\",\"true\"] 3600000000000 2000000000 7 60000000000 3000000000",
    ),
    ("stdin_open: true", "{{.Config.OpenStdin}}", "true"),
    ("privileged: true", "{{.HostConfig.Privileged}}", "true"),
    ("userns_mode: host", "{{.HostConfig.UsernsMode}}", ""),
    ("ipc: private", "{{.State.Status}}", "running"),
    ("cgroup: private", "{{.State.Status}}", "running"),
    ("cpus: 0.5", "{{.HostConfig.NanoCpus}}", "500000000"),
    ("cpuset: '0'", "{{.HostConfig.CpusetCpus}}", "0"),
    ("cpu_shares: 512", "{{.HostConfig.CpuShares}}", "512"),
    ("mem_limit: 128m", "{{.HostConfig.Memory}}", "134217728"),
    (
        "networks: {default: {ipv4_address: 10.79.1.9}}",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        "10.79.1.9",
    ),
];

fn attributes_are_seen_from_outside(env: &Env) {
    let text = service("aa", OUTSIDE.iter().map(|(lines, ..)| *lines));
    // The image comes twice.
    let text = text.replacen("    image: box\n", "", 1);
    let network = "networks: {default: {ipam: {config: [{subnet: 10.79.1.0/24}]}}}";
    let stack = Stack::new(env, &format!("services:\n{text}{network}\n"));
    stack.put("labels.env", "first=not this\nsecond=two\n");
    stack.run(&["up", "-d"]).ok();
    for (lines, template, expected) in OUTSIDE {
        let words = ["inspect", "--format", template, "its-own"];
        let found = env.isola(words).ok().stdout;
        assert_eq!(found, format!("{expected}\n"), "{lines}: {template}");
    }
    stack.down();
}

/// What the file says under `deploy` is what single attributes say.
fn limits_of_deploy_hold(env: &Env) {
    let text = "
services:
  aa:
    image: box
    init: true
    command: sleep 1000
    deploy:
      replicas: 2
      resources: {limits: {cpus: '0.25', memory: 96M, pids: 55}}
      restart_policy: {condition: on-failure, max_attempts: 4}
      labels: {only: the service}
  bb:
    image: box
    init: true
    command: sleep 1000
    cpu_period: 50000
    cpu_quota: 20000
    deploy: {restart_policy: {condition: any}, mode: replicated}
";
    let stack = Stack::new(env, text);
    stack.run(&["up", "-d"]).ok();
    assert_eq!(
        stack.states(),
        [
            "proj-aa-1 running",
            "proj-aa-2 running",
            "proj-bb-1 running"
        ]
    );
    let limits = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(
        env.inspect("proj-aa-2", limits),
        "250000000 100663296 55 on-failure 4"
    );
    assert_eq!(
        env.inspect(
            "proj-bb-1",
            "{{.HostConfig.CpuQuota}} {{.HostConfig.CpuPeriod}} {{.HostConfig.RestartPolicy.Name}}"
        ),
        "20000 50000 always"
    );
    let labels = env.inspect("proj-aa-1", "{{json .Config.Labels}}");
    assert!(!labels.contains("only"), "{labels}");
    if env.wall().is_guest() {
        let total = "awk '/MemTotal/ {print ($2 < 98304)}' /proc/meminfo";
        check_seen(&stack, "aa", &[("memory", total, "1")]);
    } else {
        let pid = env.inspect("proj-aa-1", "{{.State.Pid}}");
        for (file, v2, expected) in [
            ("memory/memory.limit_in_bytes", "memory.max", "100663296"),
            ("pids/pids.max", "pids.max", "55"),
        ] {
            assert_eq!(cgroup_value(&pid, file, v2), expected, "{file}");
        }
    }
    stack.down();
}

const CONTAINERS: &[Seen] = &[
    (
        "devices: ['/dev/fuse:/dev/given:r']",
        "sh -c ': < /dev/given' && echo read; sh -c ': > /dev/given' 2>/dev/null || echo refused",
        "read\nrefused",
    ),
    (
        "volumes: ['./folder:/folder:rslave']",
        "ls -d /folder",
        "/folder",
    ),
];

fn what_containers_alone_have(env: &Env) {
    let lines = CONTAINERS.iter().map(|(lines, ..)| *lines);
    let more = "init: true\nmem_limit: 128m\nmem_reservation: 64m\nmemswap_limit: 128m\ncpus: 0.5\ncpuset: '0'\ncpu_shares: 512\npids_limit: 70";
    let text = service("aa", lines.chain([more]));
    let stack = Stack::new(env, &format!("services:\n{text}"));
    stack.run(&["up", "-d"]).ok();
    check_seen(&stack, "aa", CONTAINERS);
    let propagation = "{{range .Mounts}}{{.Propagation}}{{end}}";
    assert_eq!(env.inspect("proj-aa-1", propagation), "rslave");
    let pid = env.inspect("proj-aa-1", "{{.State.Pid}}");
    for (v1, v2, expected) in [
        (
            "memory/memory.limit_in_bytes",
            "memory.max",
            &["134217728"][..],
        ),
        (
            "memory/memory.soft_limit_in_bytes",
            "memory.low",
            &["67108864"],
        ),
        (
            "cpu/cpu.cfs_quota_us",
            "cpu.max",
            &["50000", "50000 100000"],
        ),
        ("cpu/cpu.shares", "cpu.weight", &["512", "20"]),
        ("cpuset/cpuset.cpus", "cpuset.cpus", &["0"]),
        ("pids/pids.max", "pids.max", &["70"]),
    ] {
        let found = cgroup_value(&pid, v1, v2);
        assert!(expected.contains(&found.as_str()), "{v1}: {found}");
    }
    stack.down();
}

fn signals_and_streams(env: &Env) {
    let text = "
services:
  aa:
    image: box
    entrypoint: [sh, -c]
    command: ['trap \"echo told; exit 7\" USR1; echo $$0 $$1; cat > /tmp/in & while :; do sleep 0.1; done', first, 'second word']
    stop_signal: SIGUSR1
    stop_grace_period: 1m
  bb:
    image: box
    command: sh -c 'echo \"quoted  words\" $$HOME'
    logging: {driver: none}
  cc: {image: box, entrypoint: echo prefix, command: \"a 'b c'\"}
";
    let stack = Stack::new(env, text);
    stack.run(&["up", "-d"]).ok();
    stack
        .start(&["logs", "-f", "aa"])
        .expect("first second word");
    stack.run(&["stop", "aa"]).ok();
    assert_eq!(stack.logs("aa"), "first second word\ntold\n");
    assert_eq!(env.inspect("proj-aa-1", "{{.State.ExitCode}}"), "7");
    env.isola(["wait", "proj-bb-1", "proj-cc-1"]).ok();
    let logs = stack.run(&["logs", "bb"]).ok();
    assert_eq!(logs.stdout, "");
    assert!(logs.stderr.contains("keeps no log"), "{}", logs.stderr);
    assert_eq!(stack.logs("cc"), "prefix a b c\n");
    stack.down();
}

fn what_has_no_effect_is_said(env: &Env) {
    let stack = |lines: &str| Stack::new(env, &format!("services:\n{}", service("aa", [lines])));
    for (lines, part) in [
        ("cpu_count: 2", "cpu_count"),
        ("cpu_percent: 50", "cpu_percent"),
        ("cpu_rt_period: 1000", "cpu_rt_period"),
        ("cpu_rt_runtime: 400", "cpu_rt_runtime"),
        ("mem_swappiness: 10", "mem_swappiness"),
        ("oom_kill_disable: true", "oom_kill_disable"),
        ("storage_opt: {size: 1G}", "storage_opt"),
        ("use_api_socket: true", "use_api_socket"),
        ("credential_spec: {file: x}", "credential_spec"),
        (
            "deploy: {placement: {max_replicas_per_node: 1}}",
            "deploy.placement",
        ),
        (
            "deploy: {update_config: {parallelism: 1}}",
            "deploy.update_config",
        ),
        (
            "deploy: {rollback_config: {parallelism: 1}}",
            "deploy.rollback_config",
        ),
        ("deploy: {endpoint_mode: vip}", "deploy.endpoint_mode"),
        ("logging: {driver: syslog}", "syslog"),
        ("logging: {options: {tag: x}}", "logging.options.tag"),
        (
            "networks: {default: {interface_name: lan0}}",
            "interface_name",
        ),
        ("runtime: krun", "the wall vm"),
    ] {
        let output = stack(lines).run(&["config", "-q"]).ok();
        assert!(output.stderr.contains(part), "{lines}: {}", output.stderr);
        assert!(
            output.stderr.contains("compose.yaml:6:"),
            "{lines}: {}",
            output.stderr
        );
    }
    assert_eq!(
        stack("").run(&["config", "-q"]).ok().stderr,
        "",
        "nothing to say"
    );
}
