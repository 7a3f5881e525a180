//! Sandboxes with a user namespace of their own.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod driver;

use driver::{Job, Tree, bind, container, mount, process};
use isola_proto::spec::{Device, IdMap, IdMaps, MountSource, TermSize};

const BASE: u32 = 200_000;

fn mapped(tree: &Tree, args: &[&str]) -> Job {
    let map = vec![IdMap {
        inside: 0,
        outside: BASE,
        size: 65_536,
    }];
    container(tree, args)
        .edit(|spec| {
            spec.namespaces.user = Some(IdMaps {
                uids: map.clone(),
                gids: map,
            })
        })
        .with("idmap_root", true)
}

#[test]
fn ids_are_mapped_and_the_root_is_its_own() {
    let tree = Tree::new();
    let script = "id -u; stat -c %u /bin/busybox; cat /proc/self/uid_map | tr -s ' '; touch /tmp/made; \
                  stat -c %u /tmp/made; echo x > /dev/null; stat -c %t:%T /dev/zero; hostname; \
                  stat -c %u /proc/self/status; ls /sys/class/net; echo 1 > /proc/sys/kernel/core_pattern";
    let outcomes = mapped(&tree, &["sh", "-c", &format!("{script}; sleep 1")])
        .edit(|spec| spec.root.hostname = Some("inside".to_owned()))
        .with(
            "execs",
            [process(&[
                "sh",
                "-c",
                "id -u; cat /proc/self/setgroups; touch /tmp/later",
            ])],
        )
        .run();
    assert_eq!(outcomes["exec0"].ok(), "0\nallow\n");
    let first = &outcomes["first"];
    assert_eq!(
        first.ok(),
        "0\n0\n 0 200000 65536\n0\n1:5\ninside\n0\nlo\n",
        "{}",
        first.err()
    );
    assert!(
        first.err().contains("core_pattern: Permission denied"),
        "{}",
        first.err()
    );
    // On disk it is root's, because the mount maps back.
    for made in ["tmp/made", "tmp/later"] {
        let stat = std::fs::metadata(tree.join(made)).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&stat), 0);
    }
}

#[test]
fn outside_it_is_nobody() {
    let tree = Tree::new();
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("x"), "secret").unwrap();
    std::fs::set_permissions(
        secret.path().join("x"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let first = mapped(
        &tree,
        &["sh", "-c", "cat /data/x; touch /data/y; stat -c %u /data"],
    )
    .edit(|spec| {
        spec.root
            .mounts
            .push(bind(secret.path().to_str().unwrap(), "/data"))
    })
    .first();
    assert_eq!(first.out(), "65534\n");
    assert_eq!(
        first.err().matches("Permission denied").count(),
        2,
        "{}",
        first.err()
    );
}

#[test]
fn users_limits_and_devices_work_in_it() {
    let tree = Tree::new();
    let device = Device {
        path: "/dev/renamed".to_owned(),
        kind: 'c',
        major: 1,
        minor: 8,
        mode: 0o666,
        uid: 0,
        gid: 0,
    };
    let first = mapped(
        &tree,
        &[
            "sh",
            "-c",
            "id; stat -c %t:%T /dev/renamed; head -c1 /dev/renamed | wc -c; ulimit -n; cat /proc/version /proc/sys/net/ipv4/ip_default_ttl",
        ],
    )
    .edit(|spec| {
        spec.process.user = "web".to_owned();
        spec.root.devices = vec![device.clone()];
        spec.process.rlimits = vec![isola_proto::spec::Rlimit {
            resource: "nofile".to_owned(),
            soft: 55,
            hard: 60,
        }];
        spec.process.oom_score_adj = Some(300);
        spec.root.masked_paths = vec!["/proc/version".to_owned(), "/proc/fs".to_owned()];
        spec.root.readonly_paths = vec!["/proc/sys".to_owned()];
        spec.root.sysctls = vec![("net.ipv4.ip_default_ttl".to_owned(), "77".to_owned())];
        spec.root.readonly = true;
    })
    .first();
    assert_eq!(
        first.ok(),
        "uid=33(web) gid=34(web) groups=34(web),50(extra)\n1:8\n1\n55\n77\n"
    );
    let failure = mapped(&tree, &["true"])
        .edit(|spec| spec.process.user = "100000".to_owned())
        .first()
        .failed();
    assert_eq!(
        failure.message,
        "become user 100000: not mapped in the user namespace"
    );
    let mut nosuch = device;
    nosuch.major = 4000;
    let failure = mapped(&tree, &["true"])
        .edit(|spec| spec.root.devices = vec![nosuch])
        .first()
        .failed();
    assert!(failure.message.contains("no node c 4000:8"), "{failure}");
}

#[test]
fn terminals_and_cgroups_work_in_it() {
    let tree = Tree::new();
    let first = mapped(
        &tree,
        &[
            "sh",
            "-c",
            "tty; stat -c %u /dev/pts/0; ls /sys/fs/cgroup | grep -c .",
        ],
    )
    .edit(|spec| {
        spec.process.terminal = Some(TermSize::default());
        let mut cgroup = mount("/sys/fs/cgroup", MountSource::Cgroup);
        cgroup.readonly = true;
        spec.root.mounts.push(cgroup);
    })
    .first();
    assert!(
        first.ok().starts_with("/dev/pts/0\r\n0\r\n"),
        "{}",
        first.out()
    );
}

#[test]
fn shared_namespaces_show_the_outer_file_systems() {
    let tree = Tree::new();
    let first = mapped(
        &tree,
        &["sh", "-c", "ls -d /sys/kernel && touch /sys/kernel/x"],
    )
    .edit(|spec| spec.namespaces.net = false)
    .first();
    assert_eq!(first.out(), "/sys/kernel\n", "{first:?}");
}

#[test]
fn impossible_maps_are_refused() {
    let tree = Tree::new();
    let job = |uids: Vec<IdMap>| {
        container(&tree, &["true"]).edit(|spec| {
            let gids = vec![IdMap {
                inside: 0,
                outside: BASE,
                size: 10,
            }];
            spec.namespaces.user = Some(IdMaps { uids, gids });
        })
    };
    let failure = job(Vec::new()).first().failed();
    assert!(
        failure.message.starts_with("map the user namespace"),
        "{failure}"
    );
    let failure = job(vec![IdMap {
        inside: 1,
        outside: BASE,
        size: 10,
    }])
    .first()
    .failed();
    assert!(failure.message.starts_with("become id 0"), "{failure}");
}
