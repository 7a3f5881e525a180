//! Logs of several instances in one stream, each line with its service in front,
//! and what their ends mean. One poll loop: the kernel tells of new lines, the
//! supervisors of ends.

mod arrivals;
mod end;
mod source;

use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use isola_compose::plan::Here;
use isola_init::stream::{Peer, PollSet};
use isola_proto::{Event, Kind};
use isola_runtime::engine::Engine;
use jiff::Timestamp;
use rustix::fs::inotify;

use crate::context::Context;
use crate::error::{Failure, Result};
use crate::logfile::{Entry, LogReader};
use crate::streams::Signals;

use arrivals::Arrivals;
pub(super) use end::{Abort, End};
use source::{Source, at_rest, label, wait_for};

/// An instance that has ended may be started again by another command: a restart.
const RESTART: Duration = Duration::from_secs(1);

/// What of the logs is shown, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) tail: Option<u64>,
    pub(super) timestamps: bool,
    pub(super) no_prefix: bool,
    pub(super) colors: bool,
}

/// Logs that are followed.
pub(super) struct Follow<'a> {
    engine: &'a Engine,
    look: Look,
    sources: Vec<Source>,
    watch: OwnedFd,
    signals: Signals,
    out: BufWriter<io::Stdout>,
    width: usize,
    colors: bool,
    /// Those that come are followed, too.
    arrivals: Option<Arrivals<'a>>,
    /// It does not end with those that are followed.
    open: bool,
}

impl<'a> Follow<'a> {
    pub(super) fn new(context: &'a Context, look: Look) -> Result<Follow<'a>> {
        let failed = |error| Failure::system("watch logs", error);
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Ok(Follow {
            engine: context.engine()?,
            colors: look.colors,
            look,
            sources: Vec::new(),
            watch: inotify::init(flags).map_err(failed)?,
            signals: Signals::catch(true, false)?,
            out: BufWriter::new(io::stdout()),
            width: 0,
            arrivals: None,
            open: false,
        })
    }

    /// Follows instances of a project that come from now on, too, where `meant` says so.
    /// To be called before the first is added.
    pub(super) fn welcome(
        &mut self,
        context: &Context,
        project: &str,
        meant: impl Fn(&Here) -> Option<bool> + 'a,
    ) -> Result<()> {
        let journal = context.journal()?;
        self.arrivals = Some(Arrivals::of(&journal, project, Box::new(meant))?);
        Ok(())
    }

    /// Goes on when all have ended: more are to come.
    pub(super) fn stay_open(&mut self) {
        self.open = true;
    }

    /// One more instance; `live` waits for its end.
    pub(super) fn add(&mut self, here: &Here, shown: bool, live: bool) -> Result<()> {
        let instance = self.engine.find(&here.id)?;
        let files = self.engine.files(&instance);
        let logs = instance.record.workload.log.enabled;
        if shown && !logs {
            eprintln!(
                "warning: {} keeps no log; `isola attach {}` shows its output",
                here.name, here.name
            );
        }
        if live {
            use inotify::WatchFlags;
            let events = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE_SELF;
            inotify::add_watch(&self.watch, files.dir(), events).map_err(|error| {
                Failure::system(format!("watch {}", files.dir().display()), error)
            })?;
        }
        let reader = match shown && logs {
            true => Some(
                LogReader::open(&files.log(), self.look.tail).map_err(|error| {
                    Failure::system(format!("read {}", files.log().display()), error)
                })?,
            ),
            false => None,
        };
        let label = label(here, instance.record.workload.isolation);
        if shown {
            self.width = self.width.max(label.chars().count());
        }
        let control = live.then(|| wait_for(self.engine, &instance)).flatten();
        let instance = match live && control.is_none() {
            true => at_rest(self.engine, instance)?,
            false => instance,
        };
        let color = self.sources.len();
        self.sources.push(Source {
            ended: control
                .is_none()
                .then(|| (Instant::now(), instance.status.exit_code.unwrap_or(0))),
            instance,
            label,
            color,
            shown,
            reader,
            control,
            told: false,
        });
        Ok(())
    }

    /// Prints what is there, oldest line first.
    pub(super) fn print_all(&mut self) -> Result<()> {
        let mut lines: Vec<(Option<Timestamp>, usize, Entry)> = Vec::new();
        for (index, source) in self.sources.iter_mut().enumerate() {
            let Some(reader) = &mut source.reader else {
                continue;
            };
            while let Some(entry) = reader
                .next()
                .map_err(|error| Failure::system("read the log", error))?
            {
                lines.push((entry.timestamp(), index, entry));
            }
        }
        lines.sort_by_key(|(time, index, _)| (*time, *index));
        for (_, index, entry) in lines {
            self.print(index, &entry)?;
        }
        self.out.flush().map_err(Failure::output)
    }

    fn print(&mut self, index: usize, entry: &Entry) -> Result<()> {
        let time = entry.timestamp();
        let early = |limit: Timestamp| time.is_some_and(|time| time < limit);
        let late = |limit: Timestamp| time.is_some_and(|time| time > limit);
        if self.look.since.is_some_and(early) || self.look.until.is_some_and(late) {
            return Ok(());
        }
        let source = &self.sources[index];
        let mut line = String::new();
        if !self.look.no_prefix {
            let label = format!("{:width$} | ", source.label, width = self.width);
            line.push_str(&match self.colors {
                // The terminal's own colours, without black and white.
                true => format!(
                    "\u{1b}[{}m{label}\u{1b}[0m",
                    [36, 33, 32, 35, 34, 96, 93, 92, 95, 94][source.color % 10]
                ),
                false => label,
            });
        }
        if self.look.timestamps {
            line.push_str(&entry.time);
            line.push(' ');
        }
        line.push_str(&entry.log);
        if !line.ends_with('\n') {
            line.push('\n');
        }
        if entry.is_stderr() {
            self.out.flush().map_err(Failure::output)?;
            return io::stderr()
                .write_all(line.as_bytes())
                .map_err(Failure::output);
        }
        self.out.write_all(line.as_bytes()).map_err(Failure::output)
    }

    /// What is still to be printed after all have ended.
    pub(super) fn rest(&mut self) -> Result<()> {
        self.print_all()?;
        for index in 0..self.sources.len() {
            self.look_at(index)?;
            self.tell_end(index);
        }
        Ok(())
    }

    /// Prints new lines until all have ended, one end ends all, or a signal comes.
    pub(super) fn until_end(&mut self, abort: Abort) -> Result<End> {
        let mut set = PollSet::default();
        loop {
            self.take_arrivals()?;
            for index in 0..self.sources.len() {
                self.look_at(index)?;
            }
            self.print_all()?;
            if let Some(code) = self.aborts(abort) {
                return Ok(End::One(code));
            }
            let over =
                |source: &Source| source.ended.is_some_and(|(at, _)| at.elapsed() >= RESTART);
            if !self.open && self.sources.iter().all(over) {
                self.rest()?;
                return Ok(End::All);
            }
            set.clear();
            set.add(self.watch.as_fd(), true, false);
            set.add(self.signals.as_fd(), true, false);
            if let Some(arrivals) = &self.arrivals {
                set.add(arrivals.as_fd(), true, false);
            }
            for control in self
                .sources
                .iter_mut()
                .filter_map(|source| source.control.as_mut())
            {
                control.conn().register(&mut set);
            }
            let ending = self.sources.iter().filter_map(|source| source.ended);
            let all_ended = self.sources.iter().all(|source| source.ended.is_some());
            let last = ending
                .map(|(at, _)| RESTART.saturating_sub(at.elapsed()))
                .max();
            set.wait(last.filter(|_| all_ended && !self.open))
                .map_err(|error| Failure::system("wait for logs", error))?;
            for control in self
                .sources
                .iter_mut()
                .filter_map(|source| source.control.as_mut())
            {
                control
                    .conn()
                    .dispatch(&set)
                    .map_err(|error| Failure::system("talk to supervisors", error))?;
            }
            let mut events = [0_u8; 4096];
            while rustix::io::read(&self.watch, &mut events).is_ok_and(|count| count > 0) {}
            if let Some(signal) = self.signals.next() {
                self.print_all()?;
                return Ok(End::Signal(signal as i32));
            }
        }
    }

    fn take_arrivals(&mut self) -> Result<()> {
        let Some(mut arrivals) = self.arrivals.take() else {
            return Ok(());
        };
        for id in arrivals.next()? {
            if self
                .sources
                .iter()
                .any(|known| known.instance.record.id == id)
            {
                continue;
            }
            // It may be gone again.
            let here = self.engine.find(&id).ok().and_then(|it| Here::of(&it));
            let here = here.filter(|here| !here.one_off);
            let Some(here) = here else { continue };
            if let Some(shown) = (arrivals.meant)(&here) {
                // All of what it says is new.
                let tail = self.look.tail.take();
                self.add(&here, shown, true)?;
                self.look.tail = tail;
            }
        }
        self.arrivals = Some(arrivals);
        Ok(())
    }

    /// Whether an end has come, or a new life.
    fn look_at(&mut self, index: usize) -> Result<()> {
        let engine = self.engine;
        let source = &mut self.sources[index];
        let ended = match &mut source.control {
            Some(control) => {
                let mut ended = control.conn().closed().is_some();
                while let Some(frame) = control.conn().next_frame() {
                    let event = (frame.kind == Kind::Event).then(|| frame.parse::<Event>());
                    ended |= matches!(event, Some(Ok(Event::Exited { .. } | Event::Failed { .. })));
                }
                ended
            }
            None => true,
        };
        if !ended {
            return Ok(());
        }
        source.control = None;
        let Ok(now) = engine.find(&source.instance.record.id) else {
            source.ended.get_or_insert((
                Instant::now(),
                source.instance.status.exit_code.unwrap_or(0),
            ));
            return Ok(());
        };
        if now.status.state.is_live()
            && let Some(control) = wait_for(engine, &now)
        {
            source.control = Some(control);
            source.ended = None;
            source.told = false;
            source.instance = now;
            return Ok(());
        }
        let now = at_rest(engine, now)?;
        let code = now.status.exit_code.unwrap_or(0);
        source.ended.get_or_insert((Instant::now(), code));
        source.instance = now;
        Ok(())
    }

    fn aborts(&mut self, abort: Abort) -> Option<i32> {
        let ended = self
            .sources
            .iter()
            .position(|source| match (source.ended, abort) {
                (None, _) | (_, Abort::Never) => false,
                (Some(_), Abort::OnExit) => true,
                (Some((_, code)), Abort::OnFailure) => code != 0,
            })?;
        self.tell_end(ended);
        self.sources[ended].ended.map(|(_, code)| code)
    }

    fn tell_end(&mut self, index: usize) {
        let source = &mut self.sources[index];
        if let Some((_, code)) = source.ended
            && !std::mem::replace(&mut source.told, true)
            && source.shown
        {
            let _ = writeln!(
                io::stderr(),
                "{} ended with {code}",
                source.instance.record.name
            );
        }
    }
}
