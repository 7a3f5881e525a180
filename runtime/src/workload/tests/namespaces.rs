//! Namespaces that are shared.

use isola_proto::spec::{MountSource, Namespaces};

use super::*;
use crate::workload::{IpcMode, NamespaceModes, Own, PidMode};

fn modes(json: &str) -> NamespaceModes {
    container(&options(json))
        .unwrap_or_else(|error| panic!("{json}: {error}"))
        .namespaces
}

fn spec(json: &str) -> isola_proto::SandboxSpec {
    let workload = container(&options(json)).unwrap_or_else(|error| panic!("{json}: {error}"));
    sandbox_spec(&workload, &Surroundings::default())
}

fn shm(json: &str) -> Option<MountSource> {
    let mounts = spec(json).root.mounts;
    let found = mounts.into_iter().find(|mount| mount.target == "/dev/shm");
    found.map(|mount| mount.source)
}

#[test]
fn modes_are_read() {
    let own = NamespaceModes::default();
    for json in [
        "{}",
        r#"{"pid":"","ipc":"","uts":"","cgroupns":""}"#,
        r#"{"pid":"private","ipc":"private","uts":"private","cgroupns":"private"}"#,
    ] {
        assert_eq!(modes(json), own, "{json}");
    }
    let host = r#"{"pid":"host","ipc":"host","uts":"host","cgroupns":"host"}"#;
    let wanted = NamespaceModes {
        pid: PidMode::Host,
        ipc: IpcMode::Host,
        uts: Own::Host,
        cgroup: Own::Host,
    };
    assert_eq!(modes(host), wanted);
    let web = || "web".to_owned();
    let joined = modes(r#"{"pid":"container:web","ipc":"container:web"}"#);
    assert_eq!(joined.pid, PidMode::Instance(web()));
    assert_eq!(joined.ipc, IpcMode::Instance(web()));
    assert_eq!(modes(r#"{"ipc":"shareable"}"#).ipc, IpcMode::Shareable);
    assert_eq!(modes(r#"{"ipc":"none"}"#).ipc, IpcMode::None);
}

#[test]
fn what_is_made_new() {
    let all = Namespaces {
        pid: true,
        net: true,
        ipc: true,
        uts: true,
        cgroup: true,
        user: None,
    };
    let table = [
        ("{}", all.clone()),
        (r#"{"ipc":"shareable"}"#, all.clone()),
        (r#"{"ipc":"none"}"#, all.clone()),
        (
            r#"{"pid":"host"}"#,
            Namespaces {
                pid: false,
                ..all.clone()
            },
        ),
        (
            r#"{"pid":"container:a"}"#,
            Namespaces {
                pid: false,
                ..all.clone()
            },
        ),
        (
            r#"{"ipc":"host"}"#,
            Namespaces {
                ipc: false,
                ..all.clone()
            },
        ),
        (
            r#"{"ipc":"container:a"}"#,
            Namespaces {
                ipc: false,
                ..all.clone()
            },
        ),
        (
            r#"{"uts":"host"}"#,
            Namespaces {
                uts: false,
                ..all.clone()
            },
        ),
        (
            r#"{"cgroupns":"host"}"#,
            Namespaces {
                cgroup: false,
                ..all.clone()
            },
        ),
    ];
    for (json, wanted) in table {
        assert_eq!(spec(json).namespaces, wanted, "{json}");
    }
    let root = spec(r#"{"uts":"host"}"#).root;
    assert_eq!((root.hostname, root.domainname), (None, None));
    let named = container(&options(r#"{"uts":"host"}"#)).unwrap();
    assert_eq!(named.hostname, host().hostname);
}

#[test]
fn shared_memory_goes_with_the_ipc_namespace() {
    let own = |size: &str| {
        let data = format!("mode=1777,size={size}");
        Some(MountSource::Tmpfs { data })
    };
    assert_eq!(shm("{}"), own("67108864"));
    assert_eq!(
        shm(r#"{"ipc":"shareable","shm-size":"1m"}"#),
        own("1048576")
    );
    assert_eq!(shm(r#"{"ipc":"none"}"#), None);
    assert_eq!(
        shm(r#"{"ipc":"container:a"}"#),
        Some(MountSource::JoinedShm)
    );
    assert!(matches!(
        shm(r#"{"ipc":"host"}"#),
        Some(MountSource::Bind { source, .. }) if source == "/dev/shm"
    ));
    // It is mounted on /dev.
    let mounts = spec(r#"{"ipc":"container:a"}"#).root.mounts;
    let at = |target: &str| mounts.iter().position(|mount| mount.target == target);
    assert!(at("/dev") < at("/dev/shm"), "{mounts:?}");
}

#[test]
fn modes_that_make_no_sense_are_refused() {
    refused(&[
        (
            r#"{"pid":"shareable"}"#,
            Kind::Invalid,
            "--pid \"shareable\": no such mode",
        ),
        (r#"{"pid":"container:"}"#, Kind::Invalid, "name is empty"),
        (r#"{"pid":"container:../x"}"#, Kind::Invalid, "not a name"),
        (r#"{"ipc":"x"}"#, Kind::Invalid, "--ipc \"x\": no such mode"),
        (
            r#"{"uts":"container:a"}"#,
            Kind::Invalid,
            "--uts \"container:a\": no such mode",
        ),
        (
            r#"{"cgroupns":"none"}"#,
            Kind::Invalid,
            "--cgroupns \"none\": no such mode",
        ),
        (
            r#"{"uts":"host","hostname":"h"}"#,
            Kind::Conflict,
            "--hostname can't be had with --uts host",
        ),
        (
            r#"{"uts":"host","domainname":"d"}"#,
            Kind::Conflict,
            "--domainname can't be had with --uts host",
        ),
        (
            r#"{"uts":"host","sysctl":["kernel.domainname=d"]}"#,
            Kind::Conflict,
            "kernel.domainname can't be had with --uts host",
        ),
        (
            r#"{"ipc":"none","shm-size":"1m"}"#,
            Kind::Conflict,
            "--shm-size can't be had with --ipc none",
        ),
        (
            r#"{"ipc":"container:a","sysctl":["kernel.shmmax=1"]}"#,
            Kind::Conflict,
            "--sysctl kernel.shmmax with --ipc container:a",
        ),
    ]);
    for (flag, value) in [
        ("pid", "host"),
        ("pid", "container:a"),
        ("ipc", "host"),
        ("ipc", "shareable"),
        ("ipc", "container:a"),
        ("uts", "host"),
        ("cgroupns", "host"),
    ] {
        let json = format!(r#"{{"{flag}":"{value}","userns":"auto"}}"#);
        let part = format!("--{flag} {value} can't be had with --userns auto");
        check(&json, container(&options(&json)), Kind::Conflict, &part);
        let json = format!(r#"{{"{flag}":"{value}","userns":"host"}}"#);
        assert!(container(&options(&json)).is_ok(), "{json}");
        for isolation in [Isolation::Vm, Isolation::Emulated] {
            let json = format!(r#"{{"{flag}":"{value}"}}"#);
            let part = format!("--{flag} {value} can't be had with isolation {isolation}: a guest");
            let made = behind(isolation, &options(&json));
            check(&json, made, Kind::Unsupported, &part);
        }
    }
    for isolation in [Isolation::Vm, Isolation::Emulated] {
        let json = r#"{"pid":"private","ipc":"none","uts":"private","cgroupns":"private"}"#;
        assert!(behind(isolation, &options(json)).is_ok());
    }
}
