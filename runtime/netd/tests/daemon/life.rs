//! How the process comes and goes.

use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use hickory_proto::rr::RecordType::A;
use isola_net::daemon::Member;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::{Net, PROGRAM, ask, member, net, until};

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Whether a member's connection has ended, within a time.
fn ended(member: &Member, within: Duration) -> bool {
    let fd = member.fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = Timespec::try_from(within).unwrap();
    poll(&mut fds, Some(&timeout)).unwrap() == 1
}

#[test]
fn it_goes_with_the_last_member() {
    let Some(net) = net() else { return };
    let socket = net.dir.path().join("netd.sock");
    let first = net.join(&["a"], &["10.0.0.2"]);
    let pid = net.process();
    let second = net.join(&["b"], &["10.0.0.3"]);
    drop(first);
    until("a is gone", || ask("10.0.0.3", "a", A) == "NXDomain");
    assert_eq!(net.process(), pid);
    assert!(socket.exists());
    drop(second);
    until("no process", || net.processes().is_empty());
    assert!(!socket.exists());
    let _third = net.join(&["c"], &["10.0.0.4"]);
    assert_ne!(net.process(), pid);
    assert_eq!(ask("10.0.0.4", "c", A), "NoError 10.0.0.4");
}

#[test]
fn members_start_it_again() {
    let Some(net) = net() else { return };
    let mut members: Vec<_> = (2..6)
        .map(|n| net.join(&[&format!("m{n}")], &[&format!("10.0.0.{n}")]))
        .collect();
    for _ in 0..5 {
        let pid = net.process();
        assert!(!ended(&members[0], Duration::from_millis(10)));
        kill(pid);
        // All at once, as supervisors do.
        std::thread::scope(|scope| {
            for member in &mut members {
                scope.spawn(|| {
                    assert!(ended(member, Duration::from_secs(5)));
                    member.rejoin().unwrap();
                });
            }
        });
        assert_ne!(net.process(), pid);
        for n in 2..6 {
            let expected = format!("NoError 10.0.0.{n}");
            assert_eq!(ask("10.0.0.2", &format!("m{n}"), A), expected);
        }
    }
}

#[test]
fn coming_and_going_never_race() {
    let Some(net) = net() else { return };
    let net: &Net = &net;
    std::thread::scope(|scope| {
        for thread in 2..6 {
            scope.spawn(move || {
                let (name, address) = (format!("m{thread}"), format!("10.0.0.{thread}"));
                for _ in 0..40 {
                    let member = net.join(&[&name], &[&address]);
                    assert_eq!(ask(&address, &name, A), format!("NoError {address}"));
                    drop(member);
                }
            });
        }
    });
    until("no process", || net.processes().is_empty());
}

#[test]
fn a_starter_that_dies_leaves_nothing() {
    let Some(net) = net() else { return };
    // What a starter does, up to its death before it joins.
    let program = Path::new(PROGRAM);
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let path = net.dir.path().join("netd.sock");
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    let status = std::process::Command::new(program)
        .arg0("isola-netd")
        .arg(net.dir.path())
        .arg(serde_json::to_string(&net.config).unwrap())
        .stdin(socket)
        .status()
        .unwrap();
    assert!(status.success());
    until("it is there", || net.processes().len() == 1);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(net.processes().len(), 1);
    std::thread::sleep(Duration::from_secs(5));
    until("it is gone", || net.processes().is_empty());
    assert!(!path.exists());
}

#[test]
fn it_keeps_nothing_of_its_starter() {
    let Some(net) = net() else { return };
    // A descriptor that is not closed on exec, as careless libraries have.
    let leak = std::fs::File::open("/proc/self/status").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let _member = net.join(&["a"], &["10.0.0.2"]);
    let pid = net.process();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once('\t').unwrap().1.to_owned()
    };
    assert_ne!(value("PPid"), std::process::id().to_string());
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (value("NoNewPrivs"), value("Seccomp")),
        ("1".into(), "2".into())
    );
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
    assert_eq!(session, pid.to_string());
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    for fd in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = std::fs::read_link(fd.unwrap().path()).unwrap();
        assert!(!target.ends_with("status"), "{target:?}");
    }
}

#[test]
fn what_stops_it_is_said() {
    let Some(net) = net() else { return };
    let _taken = UdpSocket::bind("10.0.0.1:53").unwrap();
    let error = net.try_join(member(&["a"], &[]), Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the name server of network net refuses: cannot answer on port 53 of 10.0.0.1: \
         Address already in use (os error 98)"
    );
    until("no process", || net.processes().is_empty());
    let absent = Path::new("/nonexistent/isola-netd");
    let joined = Member::join(
        net.dir.path(),
        absent,
        &net.config,
        member(&["a"], &[]),
        Vec::new(),
    );
    let error = joined.unwrap_err().to_string();
    assert!(
        error.starts_with("cannot start /nonexistent/isola-netd: "),
        "{error}"
    );
}
