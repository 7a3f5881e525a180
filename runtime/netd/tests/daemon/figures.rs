//! How fast and how large. The bounds are loose, for machines that do other things
//! at the same time; the figures are printed.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType::A;

use crate::support::{net, query, until};

/// Memory that a process has for itself, in bytes.
pub(crate) fn private_memory(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    text.lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum::<u64>()
        * 1024
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn speed_and_size() {
    let Some(net) = net() else { return };
    let starts = (0..20)
        .map(|_| {
            let started = Instant::now();
            let member = net.join(&["web"], &["10.0.0.2"]);
            let took = started.elapsed();
            drop(member);
            until("no process", || net.processes().is_empty());
            took
        })
        .collect();
    let first = net.join(&["web"], &["10.0.0.2"]);
    let alone = private_memory(net.process());
    let mut joins = Vec::new();
    let members: Vec<_> = (0..200)
        .map(|n| {
            let started = Instant::now();
            let member = net.join(&[&format!("m{n}")], &[&format!("10.0.1.{n}")]);
            joins.push(started.elapsed());
            member
        })
        .collect();
    let socket = UdpSocket::bind("10.0.1.7:0").unwrap();
    socket.connect("10.0.0.1:53").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let answers = (0..2000)
        .map(|n| {
            let bytes = query(&format!("m{}", n % 200), A).to_vec().unwrap();
            let started = Instant::now();
            socket.send(&bytes).unwrap();
            assert!(socket.recv(&mut [0; 512]).unwrap() > bytes.len());
            started.elapsed()
        })
        .collect();
    let crowd = private_memory(net.process());
    let (starts, joins, answers) = (median(starts), median(joins), median(answers));
    println!(
        "start and join {starts:?}, join {joins:?}, answer among 200 members {answers:?}, \
         private memory {} KiB alone, {} KiB with 200",
        alone / 1024,
        crowd / 1024
    );
    assert!(starts < Duration::from_millis(100), "{starts:?}");
    assert!(answers < Duration::from_millis(5), "{answers:?}");
    assert!(crowd < 8 << 20, "{crowd} bytes");
    drop((first, members));
}
