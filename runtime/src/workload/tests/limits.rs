//! Limits, ulimits and sysctls.

use super::*;

const GIB: u64 = 1 << 30;

#[test]
fn limits_of_a_container() {
    let none = container(&Options::default()).unwrap().resources;
    assert_eq!(
        (none.memory, none.memory_swap, none.cpus_milli, none.vcpus),
        (None, None, None, None)
    );
    assert_eq!(none.shm_size, 64 << 20);
    let said = container(&options(
        r#"{"memory":"1g","memory-reservation":"512m","cpus":"1.5","cpuset-cpus":"0,1,3","cpu-shares":512,
        "pids-limit":100,"shm-size":"1m","oom-score-adj":500}"#,
    ));
    let said = said.unwrap().resources;
    assert_eq!(
        (said.memory, said.memory_swap, said.memory_reservation),
        (Some(GIB), Some(2 * GIB), Some(GIB / 2))
    );
    assert_eq!(
        (
            said.cpus_milli,
            said.cpuset_cpus.as_deref(),
            said.cpu_shares
        ),
        (Some(1500), Some("0-1,3"), Some(512))
    );
    assert_eq!(
        (said.pids, said.shm_size, said.oom_score_adj),
        (Some(100), 1 << 20, Some(500))
    );
    let swap = |swap: &str| {
        let memory = Some("1g".to_owned());
        let said = container(&Options {
            memory,
            memory_swap: Some(swap.to_owned()),
            ..Options::default()
        });
        said.unwrap().resources.memory_swap
    };
    assert_eq!(
        (swap("-1"), swap("0"), swap("1g"), swap("3g")),
        (Some(u64::MAX), Some(2 * GIB), Some(GIB), Some(3 * GIB))
    );
    assert_eq!(
        container(&options(r#"{"pids-limit":-1}"#))
            .unwrap()
            .resources
            .pids,
        None
    );
}

#[test]
fn limits_of_a_guest() {
    for isolation in [Isolation::Vm, Isolation::Emulated] {
        let none = behind(isolation, &Options::default()).unwrap();
        assert_eq!(
            (none.resources.memory, none.resources.vcpus),
            (Some(GIB / 2), Some(1))
        );
        assert_eq!(
            (none.resources.cpus_milli, none.resources.memory_swap),
            (None, None)
        );
        assert_eq!(
            none.disk,
            Some(Disk {
                size: 10 * GIB,
                thick: false
            })
        );
        let said = behind(
            isolation,
            &options(r#"{"cpus":"1.5","memory":"1g","disk":"thick:20m"}"#),
        )
        .unwrap();
        assert_eq!(
            (said.resources.vcpus, said.resources.cpus_milli),
            (Some(2), Some(1500))
        );
        assert_eq!(
            said.disk,
            Some(Disk {
                size: 20 << 20,
                thick: true
            })
        );
    }
    assert_eq!(container(&Options::default()).unwrap().disk, None);
}

#[test]
fn what_a_wall_cannot_do_is_refused_by_name() {
    let guest = [
        (
            r#"{"volume":["/srv:/x:shared"]}"#,
            "--volume /srv:/x:shared",
        ),
        (r#"{"device":["/dev/fuse"]}"#, "--device /dev/fuse"),
        (r#"{"network":["host"]}"#, "--network host"),
        (r#"{"userns":"auto"}"#, "--userns auto"),
        (r#"{"memory":"1g","memory-swap":"2g"}"#, "--memory-swap 2g"),
        (
            r#"{"memory-reservation":"64m"}"#,
            "--memory-reservation 64m",
        ),
    ];
    for (json, part) in guest {
        for isolation in [Isolation::Vm, Isolation::Emulated] {
            check(
                json,
                behind(isolation, &options(json)),
                Kind::Unsupported,
                part,
            );
            check(
                json,
                behind(isolation, &options(json)),
                Kind::Unsupported,
                isolation.name(),
            );
        }
        container(&options(json)).unwrap();
    }
    refused(&[(
        r#"{"disk":"1g"}"#,
        Kind::Unsupported,
        "--disk 1g can't be had with isolation container",
    )]);
    // What a host lacks is refused in the same way.
    let wall = WallCapabilities::of(Isolation::Container)
        .without(Feature::PidsLimit, "there is no pids controller");
    let result = resolve(
        &options(r#"{"pids-limit":5}"#),
        &image(),
        &wall,
        &host(),
        ID,
    );
    check(
        "pids",
        result,
        Kind::Unsupported,
        "there is no pids controller",
    );
}

#[test]
fn a_wall_promises_no_more_than_the_hosts_cgroups_can_hold() {
    let bare = HostFacts {
        cgroups: Abilities::default(),
        ..host()
    };
    for (json, part) in [
        (r#"{"memory":"1g"}"#, "no cgroup controller 'memory'"),
        (r#"{"pids-limit":5}"#, "no cgroup controller 'pids'"),
        (r#"{"cpus":"1"}"#, "no cgroup controller 'cpu'"),
        (r#"{"cpuset-cpus":"0"}"#, "no cgroup controller 'cpuset'"),
    ] {
        let wall = WallCapabilities::of(Isolation::Container);
        check(
            json,
            resolve(&options(json), &image(), &wall, &bare, ID),
            Kind::Unsupported,
            part,
        );
    }
    let guest = WallCapabilities::of(Isolation::Vm);
    resolve(
        &options(r#"{"memory":"1g","pids-limit":5}"#),
        &image(),
        &guest,
        &bare,
        ID,
    )
    .unwrap();
    // Without swap accounting a limit of memory does not ask for one of swap.
    let mut host = host();
    host.cgroups.swap = false;
    let wall = WallCapabilities::of(Isolation::Container);
    let workload = resolve(&options(r#"{"memory":"1g"}"#), &image(), &wall, &host, ID).unwrap();
    assert_eq!(workload.resources.memory_swap, None);
    // Sizes that nobody gave are checked, too.
    let small = HostFacts {
        memory: 256 << 20,
        ..super::host()
    };
    let result = resolve(&Options::default(), &image(), &guest, &small, ID);
    check("small", result, Kind::Invalid, "takes 512 MiB");
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    refused(&[
        (
            r#"{"memory":"12x"}"#,
            Kind::Invalid,
            "--memory \"12x\": not a size",
        ),
        (r#"{"memory":"5m"}"#, Kind::Invalid, "at least 6 MiB"),
        (r#"{"memory":"9g"}"#, Kind::Invalid, "this host has 8 GiB"),
        (r#"{"memory-swap":"1g"}"#, Kind::Conflict, "needs --memory"),
        (
            r#"{"memory":"1g","memory-swap":"512m"}"#,
            Kind::Conflict,
            "less than --memory",
        ),
        (
            r#"{"memory":"1g","memory-swap":"-2"}"#,
            Kind::Invalid,
            "not a size",
        ),
        (
            r#"{"memory":"1g","memory-reservation":"2g"}"#,
            Kind::Conflict,
            "more than --memory",
        ),
        (r#"{"cpus":"5"}"#, Kind::Invalid, "0.01 to 4"),
        (r#"{"cpus":"0.001"}"#, Kind::Invalid, "0.01 to 4"),
        (r#"{"cpus":"x"}"#, Kind::Invalid, "--cpus"),
        (r#"{"cpuset-cpus":"0-7"}"#, Kind::Invalid, "the CPUs 0-3"),
        (r#"{"cpu-shares":1}"#, Kind::Invalid, "2 to 262144"),
        (r#"{"pids-limit":-5}"#, Kind::Invalid, "--pids-limit"),
        (r#"{"shm-size":"big"}"#, Kind::Invalid, "--shm-size"),
        (r#"{"oom-score-adj":1001}"#, Kind::Invalid, "-1000 to 1000"),
        (
            r#"{"oom-score-adj":-5}"#,
            Kind::Unsupported,
            "CAP_SYS_RESOURCE",
        ),
    ]);
    for (json, part) in [
        (r#"{"disk":"1k"}"#, "at least 16 MiB"),
        (r#"{"disk":"fat:1g"}"#, "thick:SIZE"),
        (r#"{"memory":"32m"}"#, "at least 64 MiB"),
    ] {
        check(
            json,
            behind(Isolation::Vm, &options(json)),
            Kind::Invalid,
            part,
        );
    }
}

#[test]
fn limits_of_processes() {
    let limits = |isolation, json: &str| -> Vec<String> {
        let workload = behind(isolation, &options(json)).unwrap();
        workload
            .resources
            .ulimits
            .iter()
            .map(|l| format!("{} {} {}", l.resource, l.soft, l.hard))
            .collect()
    };
    assert_eq!(limits(Isolation::Container, "{}"), ["nofile 1024 20000"]);
    assert_eq!(limits(Isolation::Vm, "{}"), ["nofile 1024 524288"]);
    assert_eq!(
        limits(Isolation::Vm, r#"{"ulimit":["nofile=900000"]}"#),
        ["nofile 900000 900000"]
    );
    let said = limits(
        Isolation::Container,
        r#"{"ulimit":["core=0","nproc=5:-1","nofile=10:20"]}"#,
    );
    assert_eq!(
        said,
        ["core 0 0", "nofile 10 20", &format!("nproc 5 {}", u64::MAX)]
    );
    refused(&[
        (r#"{"ulimit":["nofile"]}"#, Kind::Invalid, "NAME=SOFT"),
        (
            r#"{"ulimit":["files=1"]}"#,
            Kind::Invalid,
            "there are as, core",
        ),
        (
            r#"{"ulimit":["nofile=5:4"]}"#,
            Kind::Invalid,
            "above the hard limit",
        ),
        (r#"{"ulimit":["nofile=-2"]}"#, Kind::Invalid, "not a limit"),
        (r#"{"ulimit":["nofile="]}"#, Kind::Invalid, "not a limit"),
        (
            r#"{"ulimit":["nofile=30000"]}"#,
            Kind::Unsupported,
            "hard limit is 20000",
        ),
    ]);
}

#[test]
fn only_sysctls_of_namespaces_are_set() {
    let workload = container(&options(
        r#"{"sysctl":["net.ipv4.ip_forward=1","kernel.shmmax=5","fs.mqueue.msg_max=9"]}"#,
    ))
    .unwrap();
    let names: Vec<&str> = workload
        .sysctls
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        ["fs.mqueue.msg_max", "kernel.shmmax", "net.ipv4.ip_forward"]
    );
    refused(&[
        (
            r#"{"sysctl":["kernel.panic=1"]}"#,
            Kind::Unsupported,
            "no value of its own",
        ),
        (
            r#"{"sysctl":["vm.swappiness=1"]}"#,
            Kind::Unsupported,
            "no value of its own",
        ),
        (
            r#"{"sysctl":["net.ipv4.ip_forward"]}"#,
            Kind::Invalid,
            "NAME=VALUE",
        ),
        (
            r#"{"sysctl":["net/../kernel/panic=1"]}"#,
            Kind::Invalid,
            "words with dots",
        ),
        (
            r#"{"sysctl":["net...x=1"]}"#,
            Kind::Invalid,
            "words with dots",
        ),
        (r#"{"sysctl":["net.x=1\n2"]}"#, Kind::Invalid, "one line"),
        (
            r#"{"sysctl":["net.ipv4.ip_forward=1"],"network":["host"]}"#,
            Kind::Conflict,
            "--network host would change",
        ),
    ]);
}
