//! The agent as PID 1 of a real guest. Needs QEMU and a guest kernel; skips
//! loudly without.

#![allow(clippy::unwrap_used)]

mod machine;
mod memory;
mod monitor;
mod networks;
mod parts;
mod volumes;

use std::time::{SystemTime, UNIX_EPOCH};

use isola_proto::message::GuestSpec;
use isola_proto::spec::{Mount, MountSource, Namespaces, Program, RootSpec, TermSize};
use isola_proto::{ErrorKind, Event, ExitStatus, Frame, Kind, ProcessSpec, Request, SandboxSpec};

use machine::Machine;
use parts::{Kernel, Parts};

fn process(args: &[&str]) -> ProcessSpec {
    ProcessSpec {
        program: Program::Exec {
            args: args.iter().map(|arg| arg.to_string()).collect(),
        },
        env: vec!["PATH=/bin".into()],
        cwd: "/".into(),
        ..ProcessSpec::default()
    }
}

fn sandbox(process: ProcessSpec) -> Box<SandboxSpec> {
    let mount = |target: &str, source| Mount {
        target: target.into(),
        source,
        readonly: false,
        nosuid: true,
        nodev: false,
        noexec: false,
    };
    Box::new(SandboxSpec {
        root: RootSpec {
            hostname: Some("inside".into()),
            mounts: vec![
                mount("/proc", MountSource::Proc),
                mount("/dev", MountSource::Dev),
                mount("/sys", MountSource::Sysfs),
                mount("/sys/fs/cgroup", MountSource::Cgroup),
            ],
            ..RootSpec::default()
        },
        process,
        namespaces: Namespaces {
            pid: true,
            net: false,
            ipc: true,
            uts: true,
            cgroup: true,
            user: None,
        },
        init: false,
    })
}

fn guest_spec() -> GuestSpec {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    GuestSpec {
        time_ns: now.as_nanos() as u64,
        entropy: vec![7; 64],
        layers: vec!["vda1".into(), "vda2".into()],
        writable: Some("vdb".into()),
        pids_limit: Some(64),
        cpu_percent: Some(150),
        ..GuestSpec::default()
    }
}

fn hello(machine: &mut Machine) -> String {
    machine.event(|event| match event {
        Event::Hello {
            version: isola_proto::VERSION,
            kernel,
        } => Some(kernel.clone()),
        _ => None,
    })
}

fn exit(machine: &mut Machine, channel: u32) -> ExitStatus {
    machine.event(|event| match event {
        Event::Exited {
            channel: of,
            status,
            ..
        } if *of == channel => Some(*status),
        Event::Failed {
            channel: of,
            failure,
            ..
        } if *of == channel => {
            panic!("channel {channel}: {failure}")
        }
        _ => None,
    })
}

fn exec(machine: &mut Machine, channel: u32, process: ProcessSpec) {
    let process = Box::new(process);
    machine.request(&Request::Exec { channel, process });
}

fn run(machine: &mut Machine, channel: u32, args: &[&str]) -> String {
    exec(machine, channel, process(args));
    let status = exit(machine, channel);
    let errors = String::from_utf8_lossy(&machine.bytes(channel, Kind::Stderr)).into_owned();
    assert_eq!(status, ExitStatus::Code(0), "{args:?}: {errors}");
    machine.text(channel)
}

fn booted(parts: &Parts) -> Machine {
    let mut machine = Machine::start(parts);
    hello(&mut machine);
    machine.request(&Request::Hello {
        version: isola_proto::VERSION,
    });
    machine.boot(guest_spec()).unwrap();
    machine
}

/// One guest for all that can be tried in one life, of every kernel.
#[test]
fn a_life() {
    for kernel in Kernel::all() {
        eprintln!("with {}", kernel.image.display());
        if let Some(parts) = Parts::of(kernel) {
            live(&parts);
        }
    }
}

fn live(parts: &Parts) {
    let mut machine = Machine::start(parts);
    let kernel = hello(&mut machine);
    eprintln!("hello of {kernel} after {:?}", machine.started.elapsed());
    machine.request(&Request::Start {
        channel: 9,
        spec: sandbox(process(&["true"])),
    });
    machine.event(|event| match event {
        Event::Failed {
            channel: 9,
            failure,
            ..
        } => {
            assert_eq!(failure.kind, ErrorKind::Invalid);
            Some(())
        }
        _ => None,
    });
    machine.boot(guest_spec()).unwrap();
    let mut main = process(&["cat"]);
    main.stdin = true;
    main.user = "guest".into();
    machine.request(&Request::Start {
        channel: 1,
        spec: sandbox(main),
    });
    machine.event(|event| matches!(event, Event::Started { channel: 1, .. }).then_some(()));
    eprintln!("started after {:?}", machine.started.elapsed());
    machine.send(Frame::data(Kind::Stdin, 1, b"echoed".to_vec()));
    machine.until(|machine| machine.text(1) == "echoed");

    surroundings(&mut machine);
    streams(&mut machine);
    figures(&mut machine);

    machine.send(Frame::data(Kind::Stdin, 1, Vec::new()));
    assert_eq!(exit(&mut machine, 1), ExitStatus::Code(0));
    let stop = std::time::Instant::now();
    machine.request(&Request::Shutdown);
    machine.until(Machine::is_cut);
    machine.until_off();
    eprintln!("off after {:?}", stop.elapsed());
    assert!(
        !machine.console().contains("isola-agent:"),
        "{}",
        machine.console()
    );
    parts.assert_clean();

    // What was written is there in the next life.
    let mut machine = booted(parts);
    machine.request(&Request::Start {
        channel: 1,
        spec: sandbox(process(&["cat", "/kept"])),
    });
    assert_eq!(exit(&mut machine, 1), ExitStatus::Code(0));
    assert_eq!(machine.text(1), "kept\n");
    machine.request(&Request::Shutdown);
    machine.until_off();
}

fn surroundings(machine: &mut Machine) {
    assert_eq!(run(machine, 10, &["cat", "/etc/which"]), "upper\n");
    assert_eq!(run(machine, 11, &["hostname"]), "inside\n");
    assert_eq!(
        run(machine, 12, &["sh", "-c", "echo kept > /kept; sync"]),
        ""
    );
    let mounts = run(machine, 13, &["cat", "/proc/self/mounts"]);
    assert!(mounts.starts_with("overlay / overlay rw"), "{mounts}");
    assert_eq!(
        mounts.lines().count(),
        6,
        "more than was asked for: {mounts}"
    );
    assert_eq!(run(machine, 14, &["cat", "/proc/1/comm"]), "cat\n");
    let status = run(machine, 15, &["cat", "/proc/1/status"]);
    assert!(status.contains("Uid:\t1000\t1000\t1000\t1000"), "{status}");
    let limits = run(
        machine,
        16,
        &[
            "sh",
            "-c",
            "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max",
        ],
    );
    assert_eq!(limits, "64\n150000 100000\n");
    let year: u64 = run(machine, 17, &["date", "+%s"]).trim().parse().unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(year.abs_diff(now) < 60, "the clock is {year}");
    let lo = run(machine, 18, &["cat", "/sys/class/net/lo/flags"]);
    assert_eq!(lo, "0x9\n", "up and loopback");
    let open = run(
        machine,
        19,
        &["sh", "-c", "echo /proc/self/fd/*; ulimit -n; ulimit -Hn"],
    );
    let lines: Vec<&str> = open.lines().collect();
    assert!(lines[0].split(' ').count() <= 4, "descriptors leak: {open}");
    assert_eq!(lines[1..], ["1024", "524288"]);
}

fn streams(machine: &mut Machine) {
    let script = "dd if=/dev/zero bs=64k count=64 2>/dev/null; echo over >&2; exit 7";
    exec(machine, 20, process(&["sh", "-c", script]));
    assert_eq!(exit(machine, 20), ExitStatus::Code(7));
    assert_eq!(machine.bytes(20, Kind::Stdout).len(), 4 << 20);
    assert_eq!(machine.bytes(20, Kind::Stderr), b"over\n");
    exec(machine, 21, process(&["sleep", "100"]));
    machine.event(|event| matches!(event, Event::Started { channel: 21, .. }).then_some(()));
    machine.request(&Request::Signal {
        channel: 21,
        signal: 10,
    });
    assert_eq!(exit(machine, 21), ExitStatus::Signal(10));
    let mut terminal = process(&[
        "sh",
        "-c",
        "stty size; tty_of=$(readlink /proc/self/fd/0); echo $tty_of",
    ]);
    terminal.terminal = Some(TermSize { rows: 33, cols: 99 });
    exec(machine, 22, terminal);
    assert_eq!(exit(machine, 22), ExitStatus::Code(0));
    assert!(
        machine.text(22).starts_with("33 99\r\n"),
        "{}",
        machine.text(22)
    );
    exec(machine, 23, process(&["nosuch"]));
    let kind = machine.event(|event| match event {
        Event::Failed {
            channel: 23,
            failure,
            ..
        } => Some(failure.kind),
        _ => None,
    });
    assert_eq!(kind, ErrorKind::NotFound);
}

fn figures(machine: &mut Machine) {
    machine.request(&Request::Processes { id: 40 });
    let rows = machine.event(|event| match event {
        Event::Processes { id: 40, processes } => Some(processes.clone()),
        _ => None,
    });
    let main = rows
        .iter()
        .find(|row| row.command == "cat" && row.uid == 1000);
    assert!(main.is_some_and(|row| row.rss > 0), "{rows:?}");
    machine.request(&Request::Usage { id: 41 });
    let usage = machine.event(|event| match event {
        Event::Usage { id: 41, usage } => Some(usage.clone()),
        _ => None,
    });
    assert!(
        usage.cpu_ns > 0 && usage.pids >= 1 && usage.block_read > 0,
        "{usage:?}"
    );
    assert!(
        usage.memory > 0 && usage.memory < usage.memory_limit,
        "{usage:?}"
    );
}

#[test]
fn a_guest_that_can_not_be_booted_says_why() {
    let Some(parts) = Parts::find() else { return };
    let mut machine = Machine::start(&parts);
    hello(&mut machine);
    for (guest, word) in [
        (
            GuestSpec {
                layers: vec!["vda1".into()],
                writable: Some("../vdb".into()),
                ..guest_spec()
            },
            "no name of a block device",
        ),
        (
            GuestSpec {
                layers: vec![],
                ..guest_spec()
            },
            "no layer",
        ),
        (
            GuestSpec {
                layers: vec!["vdb".into()],
                ..guest_spec()
            },
            "can't mount the erofs on vdb",
        ),
    ] {
        let error = machine.boot(guest).unwrap_err();
        assert!(error.contains(word), "{error}");
        machine
            .frames
            .retain(|frame| !String::from_utf8_lossy(&frame.payload).contains("failed"));
    }
    machine.request(&Request::Shutdown);
    machine.until_off();
}

#[test]
fn a_guest_ends_when_its_host_is_gone_or_talks_nonsense() {
    let Some(parts) = Parts::find() else { return };
    for nonsense in [false, true] {
        let mut machine = booted(&parts);
        let script = "sh -c 'trap : TERM; while :; do sleep 1; done' & echo up; sleep 1000";
        machine.request(&Request::Start {
            channel: 1,
            spec: sandbox(process(&["sh", "-c", script])),
        });
        machine.until(|machine| machine.text(1) == "up\n");
        match nonsense {
            true => machine.send(Frame::data(Kind::Request, 0, b"\0\x01{{".to_vec())),
            false => machine.abandon(),
        }
        if nonsense {
            machine.until(Machine::is_cut);
        }
        machine.until_off();
        let console = machine.console();
        let word = if nonsense {
            "no valid request"
        } else {
            "lost the host"
        };
        assert!(console.contains(word), "{console}");
        parts.assert_clean();
    }
}

#[test]
fn without_a_writable_disk_the_layer_is_memory() {
    let Some(parts) = Parts::find() else { return };
    let mut machine = Machine::start(&parts);
    hello(&mut machine);
    let guest = GuestSpec {
        writable: None,
        layers: vec!["vda1".into()],
        ..guest_spec()
    };
    machine.boot(guest).unwrap();
    let script = "cat /etc/which; echo new > /etc/which; cat /etc/which";
    machine.request(&Request::Start {
        channel: 1,
        spec: sandbox(process(&["sh", "-c", script])),
    });
    assert_eq!(exit(&mut machine, 1), ExitStatus::Code(0));
    assert_eq!(machine.text(1), "lower\nnew\n");
    machine.request(&Request::Shutdown);
    machine.until_off();
}

/// Without a pid namespace of its own the sandbox's orphans become the agent's.
#[test]
fn orphans_are_buried() {
    let Some(parts) = Parts::find() else { return };
    let mut machine = booted(&parts);
    let mut spec = sandbox(process(&["sleep", "1000"]));
    spec.namespaces.pid = false;
    machine.request(&Request::Start { channel: 1, spec });
    let script = "for n in 1 2 3 4 5 6; do (sleep 0.1 &) ; done; sleep 0.4; cat /proc/[0-9]*/stat";
    let stat = run(&mut machine, 2, &["sh", "-c", script]);
    assert!(stat.contains("1 (init) "), "the agent is seen: {stat}");
    let zombies = stat.lines().filter(|line| line.contains(") Z "));
    assert_eq!(zombies.count(), 0, "{stat}");
    // What was left running does not outlive the guest.
    machine.request(&Request::Shutdown);
    machine.until_off();
    parts.assert_clean();
}
