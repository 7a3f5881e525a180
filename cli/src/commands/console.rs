//! `isola console`

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use clap_complete::engine::ArgValueCandidates;
use isola_init::stream::PollSet;
use isola_runtime::engine::Instance;
use isola_runtime::state::InstancePaths;
use isola_runtime::workload::{Feature, WallCapabilities};
use rustix::io::Errno;

use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::print_bytes;
use crate::streams::{Keys, Output, Signals};
use crate::terminal::{self, RawMode};

/// Attach the serial console of a guest
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only show what the console has said so far
    #[arg(long)]
    log: bool,
    /// Keys that leave the console, ctrl-p,ctrl-q if nothing else is set
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Name or id
    #[arg(value_name = "INSTANCE", add = ArgValueCandidates::new(complete::guests))]
    instance: String,
}

const EXAMPLES: &str = "Examples:
  isola console vm1
  isola console --log vm1 | tail
  isola console --detach-keys ctrl-a,x vm1";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let keys = context.detach_keys(args.detach_keys.as_deref())?;
    let engine = context.engine()?;
    let instance = engine.find(&args.instance)?;
    WallCapabilities::of(instance.record.workload.isolation)
        .require(Feature::Console, "a console")?;
    let files = engine.files(&instance);
    if args.log {
        return show_log(&files);
    }
    let socket = connect(&instance, &files)?;
    show_log(&files)?;
    converse(&socket, keys)
}

fn show_log(files: &InstancePaths) -> Result<Exit> {
    let path = files.console();
    match std::fs::read(&path) {
        Ok(bytes) => print_bytes(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::system(format!("read {}", path.display()), error)),
    }
    Ok(Exit::OK)
}

fn connect(instance: &Instance, files: &InstancePaths) -> Result<UnixStream> {
    use std::os::fd::AsRawFd;
    // The path of a socket holds 107 bytes; a data root may lie deeper.
    let connect = || {
        let folder = std::fs::File::open(files.dir())?;
        let name = files.console_socket();
        let name = name.file_name().unwrap_or_default().to_string_lossy();
        UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
    };
    connect().map_err(|error| {
        let name = &instance.record.name;
        match instance.status.state.is_live() {
            true => Failure::system(format!("attach the console of {name}"), error),
            false => Failure::new(Code::Conflict, format!("instance {name} is not running")).hint(
                format!("`isola console --log {name}` shows what its console said"),
            ),
        }
    })
}

/// Bytes to and fro until the guest ends or the user leaves.
fn converse(mut socket: &UnixStream, mut keys: Keys) -> Result<Exit> {
    let failed = |error| Failure::system("talk to the console", error);
    let stdin = io::stdin();
    let interactive = terminal::is_input();
    let signals = Signals::catch(false, interactive)?;
    let raw = interactive.then(RawMode::enter).transpose()?;
    let mut output = Output::new(io::stdout(), true);
    let mut input = true;
    let mut set = PollSet::default();
    let mut buffer = [0; 4096];
    loop {
        set.clear();
        set.add(signals.as_fd(), true, false);
        if input {
            set.add(stdin.as_fd(), true, false);
        }
        match output.pending() {
            true => set.add(output.as_fd(), false, true),
            false => set.add(socket.as_fd(), true, false),
        }
        set.wait(None).map_err(failed)?;
        if let Some(signal) = signals
            .next()
            .filter(|signal| *signal != nix::sys::signal::Signal::SIGWINCH)
        {
            return Ok(Exit::of(128 + signal as i32));
        }
        if input && set.readable(stdin.as_fd()) {
            let count = match rustix::io::read(stdin.as_fd(), &mut buffer) {
                Ok(count) => count,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(_) => 0,
            };
            let mut bytes = buffer[..count].to_vec();
            input = count > 0;
            let left = interactive && keys.pass(&mut bytes);
            io::Write::write_all(&mut socket, &bytes).map_err(failed)?;
            if left {
                break;
            }
        }
        if output.pending() {
            if set.writable(output.as_fd()) {
                output.write()?;
            }
        } else if set.readable(socket.as_fd()) {
            match socket.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => output.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(failed(error)),
            }
        }
    }
    drop(raw);
    Ok(Exit::OK)
}
