//! `isola logs`

use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use clap_complete::engine::ArgValueCandidates;
use isola_init::stream::PollSet;
use isola_runtime::engine::{Engine, Instance};
use isola_runtime::state::InstancePaths;
use jiff::Timestamp;
use rustix::fs::inotify;

use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::logfile::{Entry, LogReader, Moment, parse_moment};

/// Show what an instance has written
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Go on until the instance ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// Only from this time on: 2026-11-22T15:04:05, seconds since 1970, or 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// json shows the lines as they are stored
    #[arg(long, value_parser = ["json"])]
    format: Option<String>,
    /// Name or id
    #[arg(value_name = "INSTANCE", add = ArgValueCandidates::new(complete::instances))]
    instance: String,
}

const EXAMPLES: &str = "Examples:
  isola logs web
  isola logs -f --tail 20 web
  isola logs --since 10m -t web 2> /dev/null";

/// Without a word from the kernel, look again after this time.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let engine = context.engine()?;
    let instance = engine.find(&args.instance)?;
    let files = engine.files(&instance);
    if !instance.record.workload.log.enabled {
        let message = format!("instance {} keeps no log", instance.record.name);
        return Err(Failure::new(Code::Conflict, message)
            .hint("it was created with --log-driver none; `isola attach` shows its output"));
    }
    let now = Timestamp::now();
    let moment = |flag: &str, text: &Option<String>| {
        text.as_deref()
            .map(|text| parse_moment(flag, text, now))
            .transpose()
    };
    let mut printer = Printer {
        since: moment("--since", &args.since)?,
        until: moment("--until", &args.until)?,
        timestamps: args.timestamps,
        json: args.format.is_some(),
        out: BufWriter::new(io::stdout()),
        over: false,
    };
    // Watched before the first look, so that nothing is missed in between.
    let watch = args.follow.then(|| watch(&files)).transpose()?;
    let mut reader = LogReader::open(&files.log(), tail(&args.tail)?)
        .map_err(|error| Failure::system(format!("read {}", files.log().display()), error))?;
    loop {
        let live = watch.is_some() && is_live(engine, &instance);
        printer.drain(&mut reader)?;
        match &watch {
            Some(watch) if live && !printer.over => wait(watch)?,
            _ => return Ok(Exit::OK),
        }
    }
}

/// The value of `--tail`.
pub(crate) fn tail(text: &str) -> Result<Option<u64>> {
    match text {
        "all" | "-1" => Ok(None),
        number => number.parse().map(Some).map_err(|_| {
            Failure::new(
                Code::Invalid,
                format!("--tail: {text:?} is neither a number nor all"),
            )
        }),
    }
}

fn is_live(engine: &Engine, instance: &Instance) -> bool {
    engine
        .find(&instance.record.id)
        .is_ok_and(|now| now.status.state.is_live())
}

fn watch(files: &InstancePaths) -> Result<rustix::fd::OwnedFd> {
    use inotify::{CreateFlags, WatchFlags};
    let failed = |error| Failure::system(format!("watch {}", files.dir().display()), error);
    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
    let events =
        WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE_SELF;
    inotify::add_watch(&fd, files.dir(), events).map_err(failed)?;
    Ok(fd)
}

fn wait(watch: &rustix::fd::OwnedFd) -> Result<()> {
    let mut set = PollSet::default();
    set.add(watch.as_fd(), true, false);
    set.wait(Some(PATIENCE))
        .map_err(|error| Failure::system("wait for the log", error))?;
    let mut events = [0_u8; 4096];
    while rustix::io::read(watch, &mut events).is_ok_and(|count| count > 0) {}
    Ok(())
}

struct Printer {
    since: Option<Moment>,
    until: Option<Moment>,
    timestamps: bool,
    json: bool,
    out: BufWriter<io::Stdout>,
    /// An entry after `until` was seen.
    over: bool,
}

impl Printer {
    /// Prints what there is.
    fn drain(&mut self, reader: &mut LogReader) -> Result<()> {
        while !self.over {
            let entry = reader
                .next()
                .map_err(|error| Failure::system("read the log", error))?;
            let Some(entry) = entry else { break };
            let time = entry.timestamp();
            let late = |limit: Moment| time.is_some_and(|time| time > limit);
            let early = |limit: Moment| time.is_some_and(|time| time < limit);
            self.over = self.until.is_some_and(late);
            if !self.over && !self.since.is_some_and(early) {
                self.print(&entry)?;
            }
        }
        let late = |limit: Moment| Timestamp::now() > limit;
        self.over |= self.until.is_some_and(late);
        self.out.flush().map_err(Failure::output)
    }

    fn print(&mut self, entry: &Entry) -> Result<()> {
        let mut line = String::new();
        if self.json {
            let value =
                serde_json::json!({"log": entry.log, "stream": entry.stream, "time": entry.time});
            line = value.to_string() + "\n";
        } else {
            if self.timestamps {
                line.push_str(&entry.time);
                line.push(' ');
            }
            line.push_str(&entry.log);
        }
        if entry.is_stderr() && !self.json {
            // In order, where both go to one place.
            self.out.flush().map_err(Failure::output)?;
            return io::stderr()
                .write_all(line.as_bytes())
                .map_err(Failure::output);
        }
        self.out.write_all(line.as_bytes()).map_err(Failure::output)
    }
}
