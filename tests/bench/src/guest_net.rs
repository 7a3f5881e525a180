//! In the lab: bytes between a guest and its host over virtio-net on a tap.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use isola_kernel::BootFiles;
use isola_net::tap::Tap;
use isola_netlink::{LinkChange, Socket};

use crate::Result;
use crate::inside;
use crate::machines::{self, Device, Machine};
use crate::pairs::each;
use crate::programs::{Programs, has};
use crate::table::Row;

const HOST: &str = "10.77.0.1";
const GUEST: &str = "10.77.0.2/24";
const PORT: u16 = 5001;
const BYTES: u64 = 60_000_000;

pub(crate) fn run(programs: &Programs, rounds: u32) -> Result<Vec<Row>> {
    let what = ["VM to host, 60 MB", "host to VM, 60 MB"];
    if !has("qemu-system-x86_64") {
        return Ok(vec![Row::skipped(what[0], "QEMU is not installed")]);
    }
    let files = machines::files()?;
    let listener = TcpListener::bind(("0.0.0.0", PORT))?;
    let (sender, times) = channel();
    std::thread::spawn(move || {
        let mut done = |time| {
            let _ = sender.send(time);
        };
        if let Err(error) = inside::serve(&listener, &mut done) {
            eprintln!("bench: the sink: {error}");
        }
    });
    let mut ours = || {
        one(&files, &times, |files, role, device| {
            Machine::ours(programs, files, role, device)
        })
    };
    let mut theirs = || one(&files, &times, Machine::qemu);
    let pairs = each(rounds, &mut ours, &mut theirs)?;
    let rows = pairs.iter().zip(what);
    Ok(rows
        .map(|(pairs, what)| pairs.row(what, "QEMU microvm, virtio-net on a tap", 1.0))
        .collect())
}

/// Milliseconds of both ways.
fn one(
    files: &BootFiles,
    times: &Receiver<f64>,
    start: impl Fn(&BootFiles, &str, &Device) -> Result<Machine>,
) -> Result<Vec<f64>> {
    let role = format!("net {GUEST} {HOST}:{PORT} {BYTES}");
    let mut machine = start(files, &role, &Device::Net(tap()?))?;
    machine.word()?;
    // Of each way first the one that does not count.
    let next = || times.recv_timeout(Duration::from_secs(5));
    let [_, up, _, down] = [next()?, next()?, next()?, next()?];
    Ok(vec![up, down])
}

/// A tap with the host's address.
fn tap() -> Result<OwnedFd> {
    let mut tap = Tap::new(None, 1, None)?;
    let mut socket = Socket::route()?;
    socket.add_address(tap.index, format!("{HOST}/24").parse()?)?;
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    socket.set_link(tap.index, &up)?;
    tap.queues
        .pop()
        .ok_or_else(|| "a tap without a queue".into())
}
