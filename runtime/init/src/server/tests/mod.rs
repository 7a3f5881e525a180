//! Behaviour of the server over real pipes and terminals.

mod bench;

use std::os::fd::AsFd;
use std::time::Instant;

use isola_proto::frame::WINDOW;
use isola_proto::spec::TermSize;
use isola_proto::{ExitStatus, Interface, Mac};
use rustix::process::Pid;

use super::*;
use bench::{Bench, on_terminal, process};

#[test]
fn output_then_ends_then_exit() {
    let mut bench = Bench::started(process(&["sh", "-c", "echo out; echo err >&2; exit 3"]));
    assert_eq!(bench.until_exit(1), ExitStatus::Code(3));
    assert_eq!(bench.text(1), "out\n");
    assert_eq!(bench.bytes(1, Kind::Stderr), b"err\n");
    let ends = bench.frames.iter().filter(|f| f.payload.is_empty());
    let mut ends: Vec<_> = ends.map(|frame| frame.kind as u8).collect();
    ends.sort_unstable();
    assert_eq!(ends, [Kind::Stdout as u8, Kind::Stderr as u8]);
    assert_eq!(bench.frames.last().unwrap().kind, Kind::Event);
    assert!(matches!(bench.events()[0], Event::Started { channel: 1, pid } if pid > 0));
    assert!(bench.server.has_ended());
}

#[test]
fn a_signal_is_told_as_such() {
    let mut bench = Bench::started(process(&["sleep", "100"]));
    for signal in [0, -1, 65, 999] {
        bench.request(Request::Signal { channel: 1, signal });
    }
    bench.for_a_while();
    assert_eq!(bench.exits(1), []);
    bench.request(Request::Signal {
        channel: 1,
        signal: 15,
    });
    assert_eq!(bench.until_exit(1), ExitStatus::Signal(15));
}

#[test]
fn large_input_comes_back_whole() {
    let mut bench = Bench::started(process(&["cat"]));
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut sent = 0;
    while sent < data.len() {
        let room = WINDOW as usize - (sent - bench.credited(1) as usize);
        let piece = &data[sent..(sent + room.min(70_000)).min(data.len())];
        if !piece.is_empty() {
            bench.stdin(1, piece);
            sent += piece.len();
        }
        bench.turn();
    }
    bench.stdin(1, b"");
    assert_eq!(bench.until_exit(1), ExitStatus::Code(0));
    assert!(bench.bytes(1, Kind::Stdout) == data);
    assert_eq!(bench.credited(1) as usize, data.len());
}

#[test]
fn a_flood_stops_at_the_window() {
    let mut bench = Bench::new();
    bench.generous = false;
    bench.start(1, process(&["cat", "/dev/zero"]));
    let all = |bench: &Bench| bench.bytes(1, Kind::Stdout).len();
    bench.until(|bench| all(bench) >= WINDOW as usize);
    bench.for_a_while();
    assert_eq!(all(&bench), WINDOW as usize);
    bench.server.send(Frame::credit(Kind::CreditOutput, 1, 10));
    bench.for_a_while();
    assert_eq!(all(&bench), WINDOW as usize + 10);
    // However much is granted, no more than a window is under way.
    (0..9).for_each(|_| {
        bench
            .server
            .send(Frame::credit(Kind::CreditOutput, 1, u32::MAX))
    });
    bench.for_a_while();
    assert_eq!(all(&bench), 2 * WINDOW as usize + 10);
    bench.request(Request::Signal {
        channel: 1,
        signal: 9,
    });
    bench.for_a_while();
    assert_eq!(bench.exits(1), [], "its output is not out yet");
    bench.generous = true;
    bench
        .server
        .send(Frame::credit(Kind::CreditOutput, 1, WINDOW));
    assert_eq!(bench.until_exit(1), ExitStatus::Signal(9));
}

#[test]
fn an_exit_waits_for_credit_but_not_for_ever_for_others() {
    let mut bench = Bench::new();
    bench.generous = false;
    let script = "head -c 300000 /dev/zero; sleep 100 & echo $! >&2";
    bench.start(1, process(&["sh", "-c", script]));
    bench.until(|bench| bench.bytes(1, Kind::Stdout).len() == WINDOW as usize);
    bench
        .server
        .send(Frame::credit(Kind::CreditOutput, 1, WINDOW));
    assert_eq!(bench.until_exit(1), ExitStatus::Code(0));
    assert_eq!(bench.bytes(1, Kind::Stdout).len(), 300_000);
    let sleeper = String::from_utf8(bench.bytes(1, Kind::Stderr)).unwrap();
    let sleeper = Pid::from_raw(sleeper.trim().parse().unwrap()).unwrap();
    let _ = rustix::process::kill_process(sleeper, rustix::process::Signal::KILL);
    bench.until(|bench| bench.server.late.is_empty());
}

#[test]
fn late_writers_are_neither_heard_nor_hurt() {
    let script = "(sleep 0.3; head -c 300000 /dev/zero && echo fine > $0) & echo now";
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let mark_name = mark.to_str().unwrap();
    let mut bench = Bench::started(process(&["sh", "-c", script, mark_name]));
    assert_eq!(bench.until_exit(1), ExitStatus::Code(0));
    assert_eq!(bench.text(1), "now\n");
    assert!(!mark.exists());
    bench.until(|bench| bench.server.late.is_empty());
    assert_eq!(std::fs::read_to_string(&mark).unwrap(), "fine\n");
    assert_eq!(bench.text(1), "now\n");
}

#[test]
fn too_much_input_ends_the_channel_but_not_the_process() {
    let mut bench = Bench::started(process(&["sleep", "1"]));
    bench.stdin(1, &vec![0; WINDOW as usize]);
    bench.for_a_while();
    assert_eq!(bench.failures(), []);
    bench.stdin(1, &vec![0; WINDOW as usize]);
    bench.for_a_while();
    assert_eq!(bench.failures(), [(1, 0, ErrorKind::Invalid)]);
    assert_eq!(bench.until_exit(1), ExitStatus::Code(0));
}

#[test]
fn input_that_nobody_reads_is_still_credited() {
    let mut bench = Bench::started(process(&["sh", "-c", "exec <&-; sleep 0.4"]));
    for _ in 0..4 {
        let before = bench.credited(1);
        bench.stdin(1, &vec![0; WINDOW as usize]);
        bench.until(|bench| bench.credited(1) >= before + WINDOW);
    }
    let mut null = process(&["cat"]);
    null.stdin = false;
    bench.exec(2, null);
    bench.stdin(2, b"lost");
    assert_eq!(bench.until_exit(2), ExitStatus::Code(0));
    assert_eq!(bench.text(2), "");
    assert_eq!(bench.credited(2), 4);
    assert_eq!(bench.until_exit(1), ExitStatus::Code(0));
}

#[test]
fn senseless_requests_are_refused_one_by_one() {
    let mut bench = Bench::new();
    bench.exec(5, process(&["true"]));
    bench.start(0, process(&["true"]));
    bench.start(1, process(&["/nonexistent"]));
    bench.start(1, process(&["cat"]));
    bench.start(2, process(&["cat"]));
    bench.exec(1, process(&["true"]));
    bench.request(Request::Usage { id: 7 });
    bench.request(Request::Boot {
        id: 8,
        guest: Default::default(),
    });
    bench
        .server
        .send(Frame::data(Kind::Request, 0, b"{]".to_vec()));
    bench
        .server
        .send(Frame::data(Kind::Stdout, 1, b"x".to_vec()));
    bench.stdin(99, b"nobody");
    bench.request(Request::Detach { channel: 99 });
    bench.for_a_while();
    use ErrorKind::*;
    let expected = [
        (5, 0, Invalid),
        (0, 0, Invalid),
        (1, 0, NotFound),
        (2, 0, Invalid),
        (1, 0, Invalid),
        (0, 7, Setup),
        (0, 8, Invalid),
        (0, 0, Invalid),
        (0, 0, Invalid),
    ];
    assert_eq!(bench.failures(), expected);
    bench.stdin(1, b"still here\n");
    bench.stdin(1, b"");
    bench.until_exit(1);
    assert_eq!(bench.text(1), "still here\n");
    bench.exec(3, process(&["true"]));
    bench.for_a_while();
    assert_eq!(bench.failures().last(), Some(&(3, 0, Invalid)));
}

fn link(name: &str) -> Interface {
    Interface {
        hardware: Mac([2, 0, 0, 0, 0, 1]),
        name: name.to_owned(),
        mac: None,
        addresses: Vec::new(),
        gateways: Vec::new(),
        mtu: None,
        up: true,
    }
}

#[test]
fn links_are_answered_by_the_requests_number() {
    let mut bench = Bench::new();
    for (id, name) in [(3, "eth0"), (4, "odd")] {
        let interfaces = vec![link(name)];
        bench.request(Request::Interfaces {
            id,
            interfaces,
            files: Vec::new(),
        });
    }
    bench.for_a_while();
    assert_eq!(bench.events()[0], Event::Done { id: 3 });
    assert_eq!(bench.failures(), [(0, 4, ErrorKind::Setup)]);
}

#[test]
fn another_version_is_refused() {
    let mut bench = Bench::new();
    bench.request(Request::Hello { version: 99 });
    bench.start(1, process(&["true"]));
    bench.request(Request::Interfaces {
        id: 5,
        interfaces: vec![link("eth0")],
        files: Vec::new(),
    });
    bench.for_a_while();
    assert!(matches!(bench.events()[0], Event::Hello { .. }));
    use ErrorKind::Invalid;
    assert_eq!(
        bench.failures(),
        [(0, 0, Invalid), (1, 0, Invalid), (0, 5, Invalid)]
    );
    bench.request(Request::Hello {
        version: isola_proto::VERSION,
    });
    bench.start(1, process(&["true"]));
    assert_eq!(bench.until_exit(1), ExitStatus::Code(0));
}

#[test]
fn a_detached_process_goes_on_unheard() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let script = "sleep 0.2; head -c 1000000 /dev/zero; echo done > $0";
    let mut bench = Bench::started(process(&["sleep", "100"]));
    bench.exec(2, process(&["sh", "-c", script, mark.to_str().unwrap()]));
    bench.request(Request::Detach { channel: 2 });
    assert_eq!(bench.until_exit(2), ExitStatus::Code(0));
    assert!(mark.exists());
    assert!(bench.bytes(2, Kind::Stdout).is_empty(), "{}", bench.story());
    bench.exec(2, process(&["echo", "again"]));
    bench.until(|bench| bench.exits(2).len() == 2);
    assert_eq!(bench.text(2), "again\n");
    bench.request(Request::Signal {
        channel: 1,
        signal: 9,
    });
    bench.until_exit(1);
}

#[test]
fn many_at_once_do_not_starve_each_other() {
    let mut bench = Bench::started(process(&["cat", "/dev/zero"]));
    for channel in 2..12 {
        bench.exec(
            channel,
            process(&["sh", "-c", "head -c 500000 /dev/zero; echo end >&2"]),
        );
    }
    for channel in 2..12 {
        assert_eq!(bench.until_exit(channel), ExitStatus::Code(0));
        assert_eq!(bench.bytes(channel, Kind::Stdout).len(), 500_000);
        assert_eq!(bench.bytes(channel, Kind::Stderr), b"end\n");
    }
    bench.request(Request::Signal {
        channel: 1,
        signal: 9,
    });
    bench.until_exit(1);
}

#[test]
fn a_terminal_has_its_size_and_a_new_one() {
    let script = "stty size; read line; stty size; echo got $line";
    let mut bench = Bench::started(on_terminal(&["sh", "-c", script]));
    bench.until(|bench| bench.text(1).contains("24 80"));
    let size = TermSize {
        rows: 50,
        cols: 132,
    };
    bench.request(Request::Resize { channel: 1, size });
    bench.stdin(1, b"word\n");
    assert_eq!(bench.until_exit(1), ExitStatus::Code(0));
    let text = bench.text(1);
    assert!(
        text.contains("50 132") && text.ends_with("got word\r\n"),
        "{text:?}"
    );
    assert!(bench.bytes(1, Kind::Stderr).is_empty());
    let ends = bench.frames.iter().filter(|frame| frame.payload.is_empty());
    assert_eq!(ends.count(), 1, "{}", bench.story());
}

#[test]
fn all_that_a_terminal_showed_comes_before_the_exit() {
    let mut bench = Bench::started(on_terminal(&["seq", "1", "20000"]));
    assert_eq!(bench.until_exit(1), ExitStatus::Code(0));
    assert!(
        bench.text(1).ends_with("19999\r\n20000\r\n"),
        "{}",
        bench.text(1).len()
    );
}

#[test]
fn a_terminal_can_be_closed_and_opened_again() {
    let script = "exec 3>&- <&- >&- 2>&-; sleep 0.2; exec 2>/dev/tty; echo back >&2";
    let mut bench = Bench::started(on_terminal(&["sh", "-c", script]));
    assert_eq!(bench.until_exit(1), ExitStatus::Code(0));
    assert_eq!(bench.text(1), "back\r\n");
}

#[test]
fn the_end_of_input_reaches_a_program_on_a_terminal() {
    let mut bench = Bench::started(on_terminal(&["cat"]));
    bench.stdin(1, b"line\n");
    bench.stdin(1, b"");
    assert_eq!(bench.until_exit(1), ExitStatus::Code(0));
    assert!(bench.text(1).contains("line\r\n"));
}

#[test]
fn a_quiet_server_sleeps() {
    let mut bench = Bench::new();
    bench.generous = false;
    bench.start(1, process(&["cat", "/dev/zero"]));
    bench.until(|bench| bench.bytes(1, Kind::Stdout).len() == WINDOW as usize);
    bench.for_a_while();
    let mut set = PollSet::default();
    bench.server.register(&mut set);
    assert_eq!(bench.server.timeout(), None);
    let start = Instant::now();
    set.wait(Some(Duration::from_millis(50))).unwrap();
    assert!(
        start.elapsed() >= Duration::from_millis(50),
        "woken without work"
    );
    for channel in &bench.server.channels {
        signal::send(channel.pidfd().as_fd(), 9);
    }
    bench.server.request(Request::Detach { channel: 1 });
    bench.until_exit(1);
}
