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
        (
            r#"{"device-cgroup-rule":["c 1:3 r"]}"#,
            "--device-cgroup-rule c 1:3 r",
        ),
        (r#"{"memory-swappiness":0}"#, "--memory-swappiness 0"),
        (
            r#"{"memory":"1g","oom-kill-disable":true}"#,
            "--oom-kill-disable",
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
        (r#"{"cpuset-mems":"0"}"#, "no cgroup controller 'cpuset'"),
        (r#"{"cpu-quota":5000}"#, "no cgroup controller 'cpu'"),
        (r#"{"blkio-weight":100}"#, "no cgroup controller 'io' or"),
        (
            r#"{"device-read-bps":["/dev/vda:1m"]}"#,
            "no cgroup controller 'io' or",
        ),
        (
            r#"{"device-cgroup-rule":["c 1:3 r"]}"#,
            "no cgroup controller 'devices'",
        ),
        (r#"{"memory-swappiness":5}"#, "only version 1"),
        (r#"{"memory":"1g","oom-kill-disable":true}"#, "'memory'"),
        (r#"{"cgroup-parent":"/a"}"#, "no cgroups"),
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

#[test]
fn cpu_time_by_quota_and_period() {
    let said = container(&options(
        r#"{"cpu-quota":20000,"cpu-period":40000,"cpuset-mems":"1,0"}"#,
    ))
    .unwrap()
    .resources;
    assert_eq!(
        (said.cpu_quota, said.cpu_period, said.cpus_milli),
        (Some(20_000), Some(40_000), None)
    );
    assert_eq!(said.cpuset_mems.as_deref(), Some("0-1"));
    let none = container(&options(r#"{"cpu-quota":-1,"cpu-period":0}"#)).unwrap();
    assert_eq!(none.resources.cpu_quota.or(none.resources.cpu_period), None);
    // A guest gets as many CPUs as the time is worth, and no more than the host has.
    for (json, vcpus) in [
        (r#"{"cpu-quota":150000}"#, 2),
        (r#"{"cpu-quota":10000,"cpu-period":20000}"#, 1),
        (r#"{"cpu-quota":9000000}"#, 4),
    ] {
        let guest = behind(Isolation::Vm, &options(json)).unwrap();
        assert_eq!(guest.resources.vcpus, Some(vcpus), "{json}");
    }
    refused(&[
        (
            r#"{"cpus":"1","cpu-quota":50000}"#,
            Kind::Conflict,
            "--cpus and --cpu-quota exclude",
        ),
        (
            r#"{"cpus":"1","cpu-period":50000}"#,
            Kind::Conflict,
            "--cpus and --cpu-period exclude",
        ),
        (r#"{"cpu-quota":999}"#, Kind::Invalid, "at least 1000"),
        (r#"{"cpu-quota":-2}"#, Kind::Invalid, "at least 1000"),
        (r#"{"cpu-period":999}"#, Kind::Invalid, "1000 to 1000000"),
        (
            r#"{"cpu-period":1000001}"#,
            Kind::Invalid,
            "1000 to 1000000",
        ),
        (
            r#"{"cpuset-mems":"0-2"}"#,
            Kind::Invalid,
            "memory nodes 0-1",
        ),
        (r#"{"cpuset-mems":"x"}"#, Kind::Invalid, "memory nodes"),
    ]);
}

#[test]
fn limits_on_block_devices() {
    let said = options(
        r#"{"blkio-weight":300,"blkio-weight-device":["/dev/sda:20"],
            "device-read-bps":["/dev/vda:1m","/dev/sda:2m"],"device-write-bps":["/dev/vda:0"],
            "device-write-iops":["/dev/vda:50"]}"#,
    );
    for isolation in Isolation::ALL {
        let block = behind(isolation, &said).unwrap().resources.block;
        assert_eq!(block.weight, Some(300));
        let shown: Vec<_> = block
            .devices
            .iter()
            .map(|it| (it.path.as_str(), it.weight, it.read_bps, it.write_iops))
            .collect();
        assert_eq!(
            shown,
            [
                ("/dev/sda", Some(20), Some(2 << 20), None),
                ("/dev/vda", None, Some(1 << 20), Some(50)),
            ]
        );
        assert!(block.devices.iter().all(|it| it.write_bps.is_none()));
    }
    let nothing = r#"{"blkio-weight":0,"device-read-iops":["/dev/vda:0"]}"#;
    assert!(
        container(&options(nothing))
            .unwrap()
            .resources
            .block
            .is_empty()
    );
    refused(&[
        (r#"{"blkio-weight":9}"#, Kind::Invalid, "from 10 to 1000"),
        (r#"{"blkio-weight":1001}"#, Kind::Invalid, "from 10 to 1000"),
        (
            r#"{"blkio-weight-device":["/dev/vda:20"]}"#,
            Kind::Unsupported,
            "/dev/vda does not share by weight",
        ),
        (
            r#"{"blkio-weight-device":["/dev/sda:x"]}"#,
            Kind::Invalid,
            "from 10 to 1000",
        ),
        (r#"{"device-read-bps":["1m"]}"#, Kind::Invalid, "PATH:VALUE"),
        (
            r#"{"device-read-bps":["vda:1m"]}"#,
            Kind::Invalid,
            "PATH:VALUE",
        ),
        (
            r#"{"device-read-bps":["/dev/vda:fast"]}"#,
            Kind::Invalid,
            "not a size",
        ),
        (
            r#"{"device-write-bps":["/dev/fuse:1m"]}"#,
            Kind::Invalid,
            "no block device",
        ),
        (
            r#"{"device-write-bps":["/dev/nosuch:1m"]}"#,
            Kind::Invalid,
            "/dev/nosuch",
        ),
        (
            r#"{"device-read-iops":["/dev/vda1:5"]}"#,
            Kind::Invalid,
            "is a partition",
        ),
        (
            r#"{"device-read-iops":["/dev/vda:4294967296"]}"#,
            Kind::Invalid,
            "1 to 4294967295",
        ),
        (
            r#"{"device-read-iops":["/dev/vda:1k"]}"#,
            Kind::Invalid,
            "requests per second",
        ),
    ]);
    // Another way to share by weight, of version 2; and no device that does.
    let mut costly = host();
    costly.cgroups.cost = vec![(254, 0)];
    let wall = WallCapabilities::of(Isolation::Container);
    let json = r#"{"blkio-weight-device":["/dev/vda:20"]}"#;
    resolve(&options(json), &image(), &wall, &costly, ID).unwrap();
    struct Bare;
    impl Files for Bare {
        fn stat(&self, _: &Path) -> io::Result<Stat> {
            Err(io::ErrorKind::NotFound.into())
        }
        fn read(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }
        fn nodes_below(&self, _: &Path) -> io::Result<Vec<(PathBuf, Stat)>> {
            Ok(Vec::new())
        }
    }
    let bare = HostFacts {
        files: &Bare,
        ..host()
    };
    let json = options(r#"{"blkio-weight":20}"#);
    let result = resolve(&json, &image(), &wall, &bare, ID);
    check(
        "bare",
        result,
        Kind::Unsupported,
        "no block device of this host",
    );
}

#[test]
fn settings_of_cgroups() {
    let said = container(&options(
        r#"{"memory":"1g","memory-swappiness":0,"oom-kill-disable":true,
            "cgroup-parent":"tests//web/","device-cgroup-rule":["a 7:* rw","c 10:229 m"]}"#,
    ))
    .unwrap();
    let resources = &said.resources;
    assert_eq!(resources.memory_swappiness, Some(0));
    assert!(resources.oom_kill_disable);
    assert_eq!(resources.cgroup_parent.as_deref(), Some("/tests/web"));
    assert_eq!(said.device_rules, ["c 7:* rw", "b 7:* rw", "c 10:229 m"]);
    for isolation in Isolation::ALL {
        let placed = behind(isolation, &options(r#"{"cgroup-parent":"/a"}"#)).unwrap();
        assert_eq!(placed.resources.cgroup_parent.as_deref(), Some("/a"));
        let json = r#"{"gpus":"all"}"#;
        check(
            json,
            behind(isolation, &options(json)),
            Kind::Unsupported,
            "--gpus all",
        );
    }
    let none = container(&options(r#"{"memory-swappiness":-1,"cgroup-parent":""}"#)).unwrap();
    assert_eq!(none.resources.memory_swappiness, None);
    assert_eq!(none.resources.cgroup_parent, None);
    refused(&[
        (r#"{"memory-swappiness":101}"#, Kind::Invalid, "0 to 100"),
        (r#"{"memory-swappiness":-2}"#, Kind::Invalid, "0 to 100"),
        (
            r#"{"oom-kill-disable":true}"#,
            Kind::Conflict,
            "needs --memory",
        ),
        (r#"{"cgroup-parent":"/../a"}"#, Kind::Invalid, "lead out"),
        (r#"{"cgroup-parent":"a.slice"}"#, Kind::Invalid, "systemd"),
        (
            r#"{"device-cgroup-rule":["c 1:3"]}"#,
            Kind::Invalid,
            "KIND MAJOR:MINOR",
        ),
    ]);
}
