//! Containers put up for real, without the engine: root, cgroup, process server.
//! One thread, one test after the other.
#![allow(clippy::unwrap_used)]

mod bench;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use bench::{Bench, Ended, exec, workload};
use isola_netlink::Socket;
use isola_proto::spec::{IdMap, IdMaps};
use isola_proto::{ErrorKind, Event, ExitStatus, Interface, Mac, Request};
use isola_runtime::cgroup::Cgroup;
use isola_runtime::workload::Workload;

fn main() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: the container tests need root");
        return;
    }
    isola_runtime::rootfs::enter_private_mounts().unwrap();
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let tests: [(&str, fn()); 12] = [
        ("output_and_exit_code", output_and_exit_code),
        ("what_can_not_be_run", what_can_not_be_run),
        ("further_processes", further_processes),
        ("listing_and_usage", listing_and_usage),
        ("links", links),
        ("killed_whole", killed_whole),
        ("dropped_whole", dropped_whole),
        ("started_again", started_again),
        ("memory_runs_out", memory_runs_out),
        ("devices", devices),
        ("user_namespace", user_namespace),
        ("paused", paused),
    ];
    // libcgroups keeps a procfs of its own open from its first use.
    let mut limited = workload();
    limited.resources.pids = Some(10);
    drop(Bench::new(limited));
    let mut failed = 0;
    for (name, test) in tests
        .iter()
        .filter(|(name, _)| filter.as_ref().is_none_or(|wanted| name.contains(wanted)))
    {
        let before = Ledger::take();
        let result = std::panic::catch_unwind(|| {
            test();
            before.compare();
        });
        failed += u8::from(result.is_err());
        eprintln!(
            "test {name} ... {}",
            if result.is_ok() { "ok" } else { "FAILED" }
        );
    }
    std::process::exit(i32::from(failed > 0));
}

/// What must be the same after a test.
#[derive(Debug, PartialEq)]
struct Ledger {
    mounts: String,
    descriptors: Vec<String>,
    groups: usize,
}

impl Ledger {
    fn take() -> Ledger {
        let own = format!("bench-{}-", std::process::id());
        Ledger {
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap(),
            descriptors: fs::read_dir("/proc/self/fd")
                .unwrap()
                .flatten()
                .map(|e| format!("{:?}", fs::read_link(e.path())))
                .collect(),
            groups: Cgroup::list()
                .unwrap()
                .iter()
                .filter(|id| id.starts_with(&own))
                .count(),
        }
    }

    fn compare(&self) {
        assert_eq!(*self, Ledger::take());
        let child = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
        assert!(
            matches!(child, Err(rustix::io::Errno::CHILD)),
            "a child is left: {child:?}"
        );
    }
}

fn run(script: &str) -> Ended {
    Bench::new(workload()).run(&["sh", "-c", script])
}

fn output_and_exit_code() {
    let ended = run("echo out; echo err >&2; cat /proc/self/cgroup; hostname; exit 3");
    assert_eq!(ended.status, Ok(ExitStatus::Code(3)));
    let mut lines = ended.out.lines();
    assert_eq!(lines.next(), Some("out"));
    assert_eq!(ended.out.lines().last(), Some("box"));
    let groups: Vec<&str> = ended
        .out
        .lines()
        .filter(|line| line.contains(':'))
        .collect();
    assert!(
        !groups.is_empty() && groups.iter().all(|line| line.ends_with(":/")),
        "{groups:?}"
    );
    assert_eq!(ended.err, "err\n");
    assert_eq!(
        run("kill -9 $$").status,
        Ok(ExitStatus::Code(0)),
        "PID 1 is immune to its own signals"
    );
}

fn what_can_not_be_run() {
    for (program, kind) in [
        ("/nowhere", ErrorKind::NotFound),
        ("/etc/passwd", ErrorKind::NotExecutable),
    ] {
        let mut bench = Bench::new(workload());
        let ended = bench.run(&[program]);
        let failure = ended.status.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
    }
}

fn further_processes() {
    let mut bench = Bench::new(workload());
    bench.start(&["sh", "-c", "echo ready; /bin/sleep 100"]);
    bench.until_output("ready");
    bench.send(&Request::Exec {
        channel: 7,
        process: Box::new(exec(&[
            "sh",
            "-c",
            "readlink /proc/1/ns/pid; readlink /proc/self/ns/pid; exit 4",
        ])),
    });
    let mut status = None;
    bench.drive(|event| {
        if let Event::Exited {
            channel: 7,
            status: ended,
            ..
        } = event
        {
            status = Some(*ended);
        }
        status.is_some()
    });
    assert_eq!(status, Some(ExitStatus::Code(4)));
    let namespaces = bench.output(7);
    let (first, own) = namespaces.trim().split_once('\n').unwrap();
    assert_eq!(first, own);
    bench.send(&Request::Signal {
        channel: 1,
        signal: libc::SIGKILL,
    });
    assert_eq!(bench.wait(), Ok(ExitStatus::Signal(libc::SIGKILL)));
}

fn listing_and_usage() {
    let mut bench = Bench::new(workload());
    bench.start(&[
        "sh",
        "-c",
        "/bin/sleep 100 & i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; echo done; wait",
    ]);
    bench.until_output("done");
    bench.send(&Request::Processes { id: 5 });
    bench.send(&Request::Usage { id: 6 });
    let (mut rows, mut used) = (Vec::new(), None);
    bench.drive(|event| {
        match event {
            Event::Processes { id: 5, processes } => rows.clone_from(processes),
            Event::Usage { id: 6, usage } => used = Some(usage.clone()),
            _ => {}
        }
        used.is_some() && !rows.is_empty()
    });
    let commands: Vec<_> = rows.iter().map(|row| row.command.as_str()).collect();
    assert!(
        commands.contains(&"/bin/sleep 100") && commands.len() == 2,
        "{commands:?}"
    );
    assert!(rows.iter().any(|row| Some(row.pid) == bench.pid()));
    let used = used.unwrap();
    assert!(
        used.cpu_ns > 1_000_000 && used.memory > 0 && used.pids == 2 && used.memory_limit > 0,
        "{used:?}"
    );
}

fn links() {
    let mut bench = Bench::new(workload());
    bench.put_up().unwrap();
    let mac = Mac([2, 0, 0, 0, 0, 7]);
    let link = Interface {
        hardware: mac,
        name: "eth3".to_owned(),
        mac: None,
        addresses: vec!["10.77.0.2/24".parse().unwrap()],
        gateways: Vec::new(),
        mtu: Some(1300),
        up: true,
    };
    let ask = |bench: &mut Bench, id: u32| {
        bench.send(&Request::Interfaces {
            id,
            interfaces: vec![link.clone()],
            files: Vec::new(),
        });
        let mut answer = None;
        bench.drive(|event| {
            match event {
                Event::Done { id: of } if *of == id => answer = Some(Ok(())),
                Event::Failed {
                    id: of, failure, ..
                } if *of == id => answer = Some(Err(failure.clone())),
                _ => {}
            }
            answer.is_some()
        });
        answer.unwrap()
    };
    assert_eq!(ask(&mut bench, 3).unwrap_err().kind, ErrorKind::Invalid);
    let script = "echo ready; /bin/sleep 1; while read line; do echo $line; done < /proc/net/fib_trie; \
                  read mtu < /sys/class/net/eth3/mtu; echo mtu $mtu; \
                  read ra < /proc/sys/net/ipv6/conf/eth3/accept_ra; echo ra $ra";
    bench.start(&["sh", "-c", script]);
    bench.until_output("ready");
    let absent = ask(&mut bench, 4).unwrap_err();
    assert!(absent.message.contains("02:00:00:00:00:07"), "{absent}");
    let netns = fs::File::open(format!("/proc/{}/ns/net", bench.pid().unwrap())).unwrap();
    let mut socket = Socket::route_in(netns.as_fd()).unwrap();
    socket.add_bridge("odd", mac).unwrap();
    drop((socket, netns));
    assert_eq!(ask(&mut bench, 5), Ok(()));
    assert_eq!(bench.wait(), Ok(ExitStatus::Code(0)));
    let text = bench.output(1);
    assert!(
        text.contains("10.77.0.2") && text.contains("mtu 1300") && text.contains("ra 0"),
        "{text}"
    );
}

fn killed_whole() {
    let mut bench = Bench::new(workload());
    bench.start(&[
        "sh",
        "-c",
        "trap '' TERM; (trap '' TERM; /bin/sleep 100 & /bin/sleep 100) & echo ready; /bin/sleep 100",
    ]);
    bench.until_output("ready");
    bench.send(&Request::Exec {
        channel: 9,
        process: Box::new(exec(&["sleep", "100"])),
    });
    bench.drive(|event| matches!(event, Event::Started { channel: 9, .. }));
    let many = (0..500).any(|_| {
        bench.drive_for(Duration::from_millis(10));
        bench.cgroup.processes().unwrap().len() >= 4
    });
    assert!(many, "four times sleep; the shells may have become it");
    bench.kill();
    assert!(bench.cgroup.processes().unwrap().is_empty());
    assert_eq!(bench.wait(), Ok(ExitStatus::Signal(libc::SIGKILL)));
}

fn dropped_whole() {
    let mut bench = Bench::new(workload());
    bench.start(&["sleep", "100"]);
    bench.drive(|event| matches!(event, Event::Started { .. }));
    bench.drop_sandbox();
    assert!(bench.cgroup.processes().unwrap().is_empty());
}

fn started_again() {
    let mut bench = Bench::new(workload());
    assert_eq!(
        bench.run(&["sh", "-c", "echo kept > /file"]).status,
        Ok(ExitStatus::Code(0))
    );
    assert_eq!(bench.run(&["cat", "/file"]).out, "kept\n");
    let mut bench = Bench::new(Workload {
        auto_remove: true,
        ..workload()
    });
    for _ in 0..2 {
        assert_eq!(
            bench.run(&["sh", "-c", "echo x >> /file; sync"]).status,
            Ok(ExitStatus::Code(0))
        );
    }
}

fn memory_runs_out() {
    let mut limited = workload();
    limited.resources.memory = Some(24 << 20);
    limited.resources.memory_swap = Some(24 << 20);
    let mut bench = Bench::new(limited);
    assert!(!bench.cgroup.oom_killed());
    let ended = bench.run(&["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"]);
    assert_eq!(ended.status, Ok(ExitStatus::Signal(libc::SIGKILL)));
    assert!(bench.cgroup.oom_killed() && bench.oom_killed);
}

fn devices() {
    let ended = run(
        "mknod /loop c 10 237 && echo made; true < /loop || echo denied; head -c3 /dev/zero | wc -c; echo x > /dev/null",
    );
    assert_eq!(ended.out, "made\ndenied\n3\n", "{}", ended.err);
    let mut privileged = workload();
    privileged.security.privileged = true;
    let ended = Bench::new(privileged).run(&[
        "sh",
        "-c",
        "mknod /loop c 10 237 && true < /loop && echo opened",
    ]);
    assert_eq!(ended.out, "opened\n", "{}", ended.err);
}

fn user_namespace() {
    let map = |size| {
        vec![IdMap {
            inside: 0,
            outside: 200_000,
            size,
        }]
    };
    let mut apart = workload();
    apart.security.userns = Some(IdMaps {
        uids: map(65_536),
        gids: map(65_536),
    });
    let mut bench = Bench::new(apart);
    if let Err(error) = bench.put_up() {
        assert!(error.hint.is_some_and(|hint| hint.contains("idmapped")));
        return eprintln!(
            "SKIPPED: no idmapped mounts on the file system of the layers: {}",
            error.message
        );
    }
    bench.drop_sandbox();
    let ended = bench.run(&["sh", "-c", "id -u; stat -c %u:%g /etc/passwd; echo x > /new && echo y >> /etc/passwd && cat /proc/self/uid_map"]);
    let words: Vec<_> = ended.out.split_whitespace().collect();
    assert_eq!(words, ["0", "0:0", "0", "200000", "65536"], "{}", ended.err);
    for name in ["new", "etc/passwd"] {
        let file = fs::metadata(bench.paths.upper().join(name)).unwrap();
        assert_eq!((file.uid(), file.gid()), (200_000, 200_000), "{name}");
    }
}

fn paused() {
    let mut bench = Bench::new(workload());
    bench.start(&["sh", "-c", "while :; do echo tick; sleep 0.02; done"]);
    bench.until_output("tick");
    bench.cgroup.freeze().unwrap();
    bench.drive_for(Duration::from_millis(50));
    let before = bench.output(1).len();
    bench.drive_for(Duration::from_millis(200));
    assert_eq!(bench.output(1).len(), before);
    bench.cgroup.thaw().unwrap();
    bench.drive_for(Duration::from_millis(200));
    assert!(bench.output(1).len() > before);
    bench.cgroup.freeze().unwrap();
}
