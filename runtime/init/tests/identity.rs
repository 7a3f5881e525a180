//! Who a process is and what it may: user, capabilities, limits, filter.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod driver;

use driver::{Job, Tree, container, process};
use isola_proto::spec::{Capabilities, ProcessSpec, Rlimit, SockFilter};

const STATUS: &str =
    "grep -E '^(Cap|NoNew|Seccomp:|Groups|Uid|Gid)' /proc/self/status | tr '\\t' ' '";

fn capable(names: &[&str]) -> Capabilities {
    let set: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Capabilities {
        bounding: set.clone(),
        effective: set.clone(),
        permitted: set,
        inheritable: Vec::new(),
        ambient: Vec::new(),
    }
}

/// Runs the same process as the first and as a later one: they must be alike.
#[track_caller]
fn both(tree: &Tree, change: impl Fn(&mut ProcessSpec), script: &str) -> String {
    let mut later = process(&["sh", "-c", script]);
    change(&mut later);
    let mut outcomes = container(tree, &["sh", "-c", &format!("{script}; sleep 1")])
        .edit(|spec| change(&mut spec.process))
        .with("execs", [later])
        .run();
    let first = outcomes.remove("first").unwrap().ok();
    assert_eq!(
        outcomes.remove("exec0").unwrap().ok(),
        first,
        "a later process differs"
    );
    first
}

#[test]
fn users_are_those_of_the_image() {
    let tree = Tree::new();
    for (user, extra, wanted) in [
        ("", &[][..], "uid=0(root) gid=0(root) groups=0(root) /root"),
        (
            "web",
            &[],
            "uid=33(web) gid=34(web) groups=34(web),50(extra) /srv",
        ),
        (
            "33:50",
            &[],
            "uid=33(web) gid=50(extra) groups=50(extra) /srv",
        ),
        (
            "1234",
            &["web", "77"],
            "uid=1234 gid=0(root) groups=0(root),34(web),77 /",
        ),
    ] {
        let out = both(
            &tree,
            |process| {
                process.user = user.to_owned();
                process.extra_groups = extra.iter().map(|name| (*name).to_owned()).collect();
            },
            "echo $(id) $HOME",
        );
        assert_eq!(out.trim(), wanted, "{user}");
    }
    for user in [
        "4294967296",
        "-1",
        "4294967295",
        "nobody",
        "web:nogroup",
        "0:4294967296",
    ] {
        let job = container(&tree, &["id"]).edit(|spec| spec.process.user = user.to_owned());
        let failure = job.first().failed();
        assert!(
            failure.message.contains("user") || failure.message.contains("group"),
            "{user}: {failure}"
        );
    }
}

#[test]
fn passwd_files_can_do_no_harm() {
    let tree = Tree::new();
    let run = |tree: &Tree| {
        container(tree, &["id", "-u"])
            .edit(|spec| spec.process.user = "web".to_owned())
            .first()
    };
    std::fs::remove_file(tree.join("etc/passwd")).unwrap();
    assert!(
        run(&tree)
            .failed()
            .message
            .contains("not in the image's /etc/passwd")
    );
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("etc/passwd"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    assert!(run(&tree).failed().message.contains("not a regular file"));
    std::fs::remove_file(tree.join("etc/passwd")).unwrap();
    // Outside of the root there is a passwd file with this user; inside there is none.
    std::os::unix::fs::symlink("../../../../../../etc/passwd", tree.join("etc/passwd")).unwrap();
    assert!(run(&tree).failure.is_some());
    std::fs::remove_file(tree.join("etc/passwd")).unwrap();
    let huge = std::fs::File::create(tree.join("etc/passwd")).unwrap();
    huge.set_len(1 << 40).unwrap();
    assert!(run(&tree).failed().message.contains("over 4 MiB"));
}

#[test]
fn capabilities_are_exactly_those_given() {
    let tree = Tree::new();
    let out = both(
        &tree,
        |process| process.capabilities = capable(&["CAP_CHOWN", "CAP_KILL"]),
        STATUS,
    );
    let both_bits = "0000000000000021";
    assert!(out.contains("CapInh: 0000000000000000"), "{out}");
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(out.contains(&format!("{set}: {both_bits}")), "{out}");
    }
    assert!(out.contains("CapAmb: 0000000000000000"), "{out}");
    // Another user has none in force, but the bounding set stays.
    let out = both(
        &tree,
        |process| {
            process.capabilities = capable(&["CAP_CHOWN", "CAP_KILL"]);
            process.user = "web".to_owned();
        },
        STATUS,
    );
    assert!(
        out.contains("CapEff: 0000000000000000") && out.contains(&format!("CapBnd: {both_bits}")),
        "{out}"
    );
    let out = both(
        &tree,
        |process| {
            process.capabilities = capable(&["CAP_KILL"]);
            process.capabilities.inheritable = vec!["CAP_KILL".to_owned()];
            process.capabilities.ambient = vec!["CAP_KILL".to_owned()];
            process.user = "web".to_owned();
        },
        STATUS,
    );
    assert!(
        out.contains("CapEff: 0000000000000020") && out.contains("CapAmb: 0000000000000020"),
        "{out}"
    );
    let out = both(
        &tree,
        |process| process.capabilities = Capabilities::default(),
        STATUS,
    );
    assert!(
        out.contains("CapBnd: 0000000000000000") && out.contains("CapPrm: 0000000000000000"),
        "{out}"
    );
    let unknown = container(&tree, &["true"])
        .edit(|spec| spec.process.capabilities = capable(&["CAP_TIME_TRAVEL"]))
        .first()
        .failed();
    assert_eq!(unknown.message, "capability 'CAP_TIME_TRAVEL' is not known");
}

fn deny_mkdir() -> Vec<SockFilter> {
    vec![
        SockFilter(0x20, 0, 0, 0),
        SockFilter(0x15, 0, 1, libc::SYS_mkdir as u32),
        SockFilter(0x06, 0, 0, 0x0005_0000 | libc::EUCLEAN as u32),
        SockFilter(0x06, 0, 0, 0x7fff_0000),
    ]
}

#[test]
fn a_filter_is_in_force_with_and_without_new_privileges() {
    let tree = Tree::new();
    for no_new_privileges in [false, true] {
        for user in ["", "web"] {
            let out = both(
                &tree,
                |process| {
                    process.seccomp = deny_mkdir();
                    process.no_new_privileges = no_new_privileges;
                    process.user = user.to_owned();
                    process.capabilities = capable(&["CAP_CHOWN"]);
                },
                &format!("mkdir /tmp/x 2>&1; {STATUS}"),
            );
            assert!(out.contains("Structure needs cleaning"), "{out}");
            assert!(
                out.contains(&format!("NoNewPrivs: {}", u8::from(no_new_privileges))),
                "{out}"
            );
            assert!(out.contains("Seccomp: 2"), "{out}");
            // The right that was needed to install it is gone.
            let effective = if user.is_empty() {
                "CapEff: 0000000000000001"
            } else {
                "CapEff: 0000000000000000"
            };
            assert!(
                out.contains(effective) && out.contains("CapBnd: 0000000000000001"),
                "{out}"
            );
        }
    }
    let failure = container(&tree, &["true"])
        .edit(|spec| spec.process.seccomp = vec![SockFilter(0xffff, 0, 0, 0)])
        .first()
        .failed();
    assert!(
        failure.message.starts_with("install the seccomp filter"),
        "{failure}"
    );
}

#[test]
fn init_lives_behind_a_common_filter() {
    let tree = Tree::new();
    // Denied: clone3 as Docker's does, and sockets.
    let mut filter = vec![SockFilter(0x20, 0, 0, 0)];
    for call in [
        libc::SYS_clone3,
        libc::SYS_socket,
        libc::SYS_sendmsg,
        libc::SYS_sendto,
    ] {
        filter.push(SockFilter(0x15, 0, 1, call as u32));
        filter.push(SockFilter(0x06, 0, 0, 0x0005_0000 | libc::ENOSYS as u32));
    }
    filter.push(SockFilter(0x06, 0, 0, 0x7fff_0000));
    let job = |program: &str| {
        container(&tree, &[program]).edit(|spec| {
            spec.init = true;
            spec.process.seccomp.clone_from(&filter);
            spec.process.capabilities = capable(&[]);
        })
    };
    assert_eq!(job("true").first().code(), 0);
    assert_eq!(
        job("nosuch").first().failed().kind,
        isola_proto::ErrorKind::NotFound
    );
}

fn limit(resource: &str, soft: u64, hard: u64) -> Rlimit {
    Rlimit {
        resource: resource.to_owned(),
        soft,
        hard,
    }
}

#[test]
fn limits_are_set_or_refused_by_name() {
    let tree = Tree::new();
    let out = both(
        &tree,
        |process| {
            process.rlimits = vec![limit("nofile", 64, 128), limit("core", 0, 0)];
            process.umask = Some(0o27);
            process.oom_score_adj = Some(500);
        },
        "ulimit -Sn; ulimit -Hn; ulimit -c; umask; cat /proc/self/oom_score_adj",
    );
    assert_eq!(out, "64\n128\n0\n0027\n500\n");
    let job = |change: &dyn Fn(&mut ProcessSpec)| {
        container(&tree, &["true"]).edit(|spec| change(&mut spec.process))
    };
    let failure = job(&|process| process.rlimits = vec![limit("nosuch", 1, 1)])
        .first()
        .failed();
    assert_eq!(failure.message, "limit 'nosuch' is not known");
    let resource = std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
        .is_some_and(|set| set & (1 << 24) != 0);
    let raised: Job = job(&|process| process.rlimits = vec![limit("nproc", 1 << 30, 1 << 40)]);
    let negative: Job = job(&|process| process.oom_score_adj = Some(-500));
    if resource {
        assert_eq!((raised.first().code(), negative.first().code()), (0, 0));
    } else {
        let failure = raised.first().failed().message;
        assert!(
            failure.starts_with("raise limit 'nproc' from ")
                && failure.contains("CAP_SYS_RESOURCE"),
            "{failure}"
        );
        let failure = negative.first().failed().message;
        assert!(
            failure.starts_with("set oom_score_adj to -500")
                && failure.contains("CAP_SYS_RESOURCE"),
            "{failure}"
        );
    }
}

#[test]
fn signals_start_out_as_default() {
    let tree = Tree::new();
    // The Rust runtime of the maker ignores SIGPIPE; the workload must not.
    let out = both(
        &tree,
        |_| {},
        "grep -E '^Sig(Ign|Blk|Cgt)' /proc/self/status | awk '{print $2}' | uniq",
    );
    assert_eq!(out, "0000000000000000\n");
}
