//! What a process sees around it: mounts, devices, files, parameters.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod driver;

use driver::{Tree, bind, container, mount, tmpfs};
use isola_proto::spec::{Device, MountSource, TextFile};

#[test]
fn dev_is_as_the_specification_says() {
    let tree = Tree::new();
    let script = "cd /dev; for n in null zero full random urandom tty; do stat -c '%n %t:%T %a' $n; done; \
                  for l in fd stdin stdout stderr ptmx; do readlink $l; done; stat -c %a shm; \
                  echo x > null; head -c3 zero | wc -c; df -m shm | tail -1 | awk '{print $2}'; stat -f -c %T mqueue; \
                  stat -c '%n %t:%T %a %u' mine sub/dir/other fifo; echo err > stderr; echo out > stdout";
    let device = |path: &str, kind, minor, uid| Device {
        path: path.to_owned(),
        kind,
        major: 1,
        minor,
        mode: 0o640,
        uid,
        gid: 0,
    };
    let first = container(&tree, &["sh", "-c", script])
        .edit(|spec| {
            spec.root.devices = vec![
                device("/dev/mine", 'c', 5, 7),
                device("/dev/sub/dir/other", 'b', 9, 0),
                device("/dev/fifo", 'p', 0, 0),
            ];
        })
        .first();
    assert_eq!(
        first.ok(),
        "null 1:3 666\nzero 1:5 666\nfull 1:7 666\nrandom 1:8 666\nurandom 1:9 666\ntty 5:0 666\n\
         /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n1777\n3\n64\nUNKNOWN\n\
         mine 1:5 640 7\nsub/dir/other 1:9 640 0\nfifo 0:0 640 0\nout\n"
    );
    assert_eq!(first.err(), "err\n");
    assert_eq!(
        std::fs::read_dir(tree.join("dev")).unwrap().count(),
        0,
        "the image's folder stays empty"
    );
}

#[test]
fn mounts_have_their_flags() {
    let tree = Tree::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("mark"), "from outside").unwrap();
    let file = outside.path().join("mark");
    let mut readonly = bind(outside.path().to_str().unwrap(), "/ro");
    readonly.readonly = true;
    let single = bind(file.to_str().unwrap(), "/new/folder/file");
    let rw = bind(outside.path().to_str().unwrap(), "/rw");
    let script = "cat /ro/mark /new/folder/file; touch /ro/x; touch /rw/made; touch /var/t; \
                  grep -E ' /(ro|var|data) ' /proc/mounts | cut -d' ' -f2,4 | cut -d, -f1-4; stat -c %a /var /data";
    let mut data = tmpfs("/data");
    data.source = MountSource::Tmpfs {
        data: "mode=0711,size=1m".to_owned(),
    };
    std::fs::create_dir(tree.join("var")).unwrap();
    std::fs::set_permissions(
        tree.join("var"),
        std::os::unix::fs::PermissionsExt::from_mode(0o1770),
    )
    .unwrap();
    let first = container(&tree, &["sh", "-c", script])
        .edit(|spec| {
            spec.root
                .mounts
                .extend([readonly, single, rw, tmpfs("/var"), data])
        })
        .first();
    let out = first.ok();
    assert!(out.starts_with("from outsidefrom outside/ro ro,"), "{out}");
    assert!(out.contains("/var rw,nosuid,nodev,noexec"), "{out}");
    assert!(out.ends_with("1770\n711\n"), "{out}");
    assert!(
        first.err().contains("/ro/x: Read-only file system"),
        "{}",
        first.err()
    );
    assert!(outside.path().join("made").exists());
    for (target, source, part) in [
        ("/", "/tmp", "that is the root"),
        (
            "/x",
            "/no/such/source",
            "bind mount of '/no/such/source': No such file",
        ),
        ("/etc/passwd", "/tmp", "the source is a folder"),
        ("/etc", file.to_str().unwrap(), "the source is a file"),
    ] {
        let failure = container(&tree, &["true"])
            .edit(|spec| spec.root.mounts.push(bind(source, target)))
            .first()
            .failed();
        assert!(
            failure.message.contains(part) || failure.message.contains("Not a directory"),
            "{failure}"
        );
    }
    let bad = container(&tree, &["true"])
        .edit(|spec| {
            spec.root.mounts.push(mount(
                "/t",
                MountSource::Tmpfs {
                    data: "size=lots".to_owned(),
                },
            ))
        })
        .first()
        .failed();
    assert!(
        bad.message
            .starts_with("mount on '/t': mount tmpfs: option 'size'"),
        "{bad}"
    );
}

#[test]
fn a_read_only_bind_is_so_below_too() {
    let tree = Tree::new();
    // A tmpfs under the source: made in a namespace of our own by the driver's sandbox root.
    let mut shm = bind("/dev", "/host-dev");
    shm.readonly = true;
    let first = container(
        &tree,
        &["sh", "-c", "touch /host-dev/shm/isola-test || echo refused"],
    )
    .edit(|spec| spec.root.mounts.push(shm))
    .first();
    assert_eq!(first.ok(), "refused\n");
}

#[test]
fn a_read_only_root_keeps_its_mounts() {
    let tree = Tree::new();
    let script = "touch /x; touch /made/y; echo z > /tmp/z; cat /etc/hosts; pwd; touch /work/here";
    let first = container(&tree, &["sh", "-c", script])
        .edit(|spec| {
            spec.root.readonly = true;
            spec.root.mounts.push(tmpfs("/tmp"));
            spec.root.files = vec![TextFile {
                path: "/etc/hosts".to_owned(),
                content: "1.2.3.4 a\n".to_owned(),
                mode: 0o644,
            }];
            spec.process.cwd = "/work/deep".to_owned();
            spec.process.create_cwd = true;
        })
        .first();
    assert_eq!(first.out(), "1.2.3.4 a\n/work/deep\n");
    assert_eq!(
        first.err().matches("Read-only file system").count(),
        2,
        "{}",
        first.err()
    );
    assert_eq!(
        std::fs::read_to_string(tree.join("etc/hosts")).unwrap(),
        "",
        "a mount point, no content"
    );
}

#[test]
fn the_working_directory_is_made_or_missed() {
    let tree = Tree::new();
    let job = |create| {
        container(&tree, &["pwd"]).edit(|spec| {
            spec.process.cwd = "/a/./b/../c".to_owned();
            spec.process.create_cwd = create;
        })
    };
    let failure = job(false).first().failed();
    assert_eq!(
        failure.message,
        "working directory '/a/./b/../c': No such file or directory"
    );
    assert_eq!(job(true).first().ok(), "/a/c\n");
}

#[test]
fn namespaces_bring_their_parameters() {
    let tree = Tree::new();
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let script = "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/shmmni; hostname; \
                  cat /proc/sys/kernel/domainname; ip -o link | cut -d, -f2";
    let first = container(&tree, &["sh", "-c", script])
        .edit(|spec| {
            spec.root.sysctls = vec![
                set("net.ipv4.ip_default_ttl", "77"),
                set("kernel.shmmni", "99"),
            ];
            spec.root.domainname = Some("example".to_owned());
        })
        .first();
    let out = first.ok();
    assert!(
        out.starts_with("77\n99\n") && out.contains("example\n"),
        "{out}"
    );
    assert!(
        out.ends_with("UP\n") || out.contains(",UP"),
        "loopback is up: {out}"
    );
    for name in [
        "kernel.core_pattern",
        "vm.swappiness",
        "net/../../kernel/core_pattern",
    ] {
        let failure = container(&tree, &["true"])
            .edit(|spec| spec.root.sysctls = vec![set(name, "1")])
            .first()
            .failed();
        assert!(
            failure.message.starts_with(&format!("sysctl '{name}'")),
            "{failure}"
        );
    }
    let shared = container(&tree, &["true"])
        .edit(|spec| {
            spec.namespaces.net = false;
            spec.root.sysctls = vec![set("net.ipv4.ip_default_ttl", "77")];
        })
        .first()
        .failed();
    assert!(
        shared.message.contains("no network namespace of its own"),
        "{shared}"
    );
}

#[test]
fn parameters_may_name_links_that_the_maker_adds() {
    let tree = Tree::new();
    let script = "cat /proc/sys/net/ipv6/conf/eth0/hop_limit";
    for user in [false, true] {
        let first = container(&tree, &["sh", "-c", script])
            .edit(|spec| {
                let name = "net.ipv6.conf.eth0.hop_limit".to_owned();
                spec.root.sysctls = vec![(name, "33".to_owned())];
                if user {
                    let own = [isola_proto::spec::IdMap {
                        inside: 0,
                        outside: 0,
                        size: 65536,
                    }];
                    spec.namespaces.user = Some(isola_proto::spec::IdMaps {
                        uids: own.to_vec(),
                        gids: own.to_vec(),
                    });
                }
            })
            .with("link", "eth0")
            .first();
        assert_eq!(first.ok(), "33\n", "user namespace: {user}");
    }
}

#[test]
fn parameters_of_a_network_that_is_joined_are_another_sandboxs() {
    let tree = Tree::new();
    let job = |own_kernel: bool| {
        let name = "net.ipv4.ip_default_ttl".to_owned();
        let script = "cat /proc/sys/net/ipv4/ip_default_ttl";
        container(&tree, &["sh", "-c", script])
            .edit(|spec| {
                // What it is already: the network that is joined is the test's own.
                let ttl = std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
                spec.root.sysctls = vec![(name, ttl.trim().to_owned())];
            })
            .with("netns", "/proc/self/ns/net")
            .with("own_kernel", own_kernel)
            .first()
    };
    let failure = job(false).failed();
    assert!(
        failure.message.contains("is another sandbox's"),
        "{failure}"
    );
    job(true).ok();
}

#[test]
fn the_cgroup_tree_is_the_sandboxs_view() {
    let tree = Tree::new();
    let mut cgroup = mount("/sys/fs/cgroup", MountSource::Cgroup);
    cgroup.readonly = true;
    let script = "cat /proc/self/cgroup | cut -d: -f3 | sort -u; \
                  find /sys/fs/cgroup -name cgroup.procs -maxdepth 2 | grep -q . && echo found; \
                  touch /sys/fs/cgroup/x; for f in $(find /sys/fs/cgroup -name release_agent -maxdepth 2); do echo x > $f; done; \
                  for d in /sys/fs/cgroup/*; do mkdir $d/evil; done";
    let first = container(&tree, &["sh", "-c", script])
        .edit(|spec| spec.root.mounts.push(cgroup.clone()))
        .first();
    assert_eq!(first.out(), "/\nfound\n", "{}", first.err());
    assert!(
        first
            .err()
            .lines()
            .all(|line| line.contains("Read-only file system")),
        "{}",
        first.err()
    );
    // Without a namespace of its own it sees what its maker sees, and changes nothing.
    let paths = |table: &str| -> Vec<String> {
        let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
        table.lines().filter_map(path).collect()
    };
    let own = paths(&std::fs::read_to_string("/proc/self/cgroup").unwrap());
    let script = "cat /proc/self/cgroup; touch /sys/fs/cgroup/x; \
                  for d in /sys/fs/cgroup/*; do mkdir $d/evil; done";
    let first = container(&tree, &["sh", "-c", script])
        .edit(|spec| {
            spec.root.mounts.push(cgroup);
            spec.namespaces.cgroup = false;
        })
        .first();
    assert_eq!(paths(&first.out()), own, "{}", first.err());
    let refused = |line: &str| line.contains("Read-only file system");
    assert!(first.err().lines().all(refused), "{}", first.err());
    assert!(!first.err().is_empty());
}
