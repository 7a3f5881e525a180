//! How far steps are, on standard error: on a terminal one line for each thing,
//! which changes; else a line, or a JSON object, for each step that is done.

use std::collections::BTreeMap;
use std::io::{Write, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use isola_compose::apply::{Stage, Teller};
use isola_compose::plan::{Until, What};
use isola_runtime::engine::Engine;
use isola_runtime::workload::Isolation;
use serde_json::json;

use super::screen::Screen;
use crate::output::clean;
use crate::progress::Way;

/// How often lines that change do so.
const TICK: Duration = Duration::from_millis(100);

/// Tells about the steps of one command.
pub(super) struct Lines<'a> {
    engine: &'a Engine,
    colors: bool,
    shown: Shown,
    /// Walls of instances by name: those that go can't be asked for theirs later.
    walls: Mutex<BTreeMap<String, Isolation>>,
}

enum Shown {
    Live(Live),
    Plain,
    Json,
    Nothing,
}

impl<'a> Lines<'a> {
    pub(super) fn new(engine: &'a Engine, screen: Screen) -> Lines<'a> {
        let shown = match screen.way {
            Way::Live => Shown::Live(Live::new()),
            Way::Plain => Shown::Plain,
            Way::Json => Shown::Json,
            Way::Quiet => Shown::Nothing,
        };
        Lines {
            engine,
            colors: screen.colors.0,
            shown,
            walls: Mutex::default(),
        }
    }

    /// The wall of the instance that a step is about, once it is there.
    fn wall(&self, what: &What) -> Option<Isolation> {
        let name = match what {
            What::Create { name, .. } | What::Start { name, .. } => name,
            What::Stop { name, .. } | What::Remove { name, .. } => name,
            _ => return None,
        };
        let mut walls = lock(&self.walls);
        if let Ok(instance) = self.engine.find(name)
            && instance.record.name == *name
        {
            walls.insert(name.clone(), instance.record.workload.isolation);
        }
        walls.get(name).copied()
    }

    fn color(&self, code: u8, text: &str) -> String {
        match self.colors {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

impl Teller for Lines<'_> {
    fn step(&self, what: &What, stage: Stage) {
        let (subject, words) = words(what);
        let subject = clean(&subject);
        let word = match stage {
            Stage::Working => words[0],
            Stage::Done => words[1],
            Stage::Failed => "Failed",
        };
        match &self.shown {
            Shown::Nothing => {}
            Shown::Plain if stage == Stage::Working && !matches!(what, What::Await { .. }) => {}
            Shown::Plain => {
                // As in logs: what is no container is marked.
                let wall = self.wall(what).filter(|wall| *wall != Isolation::Container);
                let wall = wall.map(|wall| format!(" ({wall})")).unwrap_or_default();
                let _ = writeln!(stderr(), " {subject}  {word}{wall}");
            }
            Shown::Json => {
                let status = match stage {
                    Stage::Working => "Working",
                    Stage::Done => "Done",
                    Stage::Failed => "Error",
                };
                let mut object = json!({ "id": subject, "text": word, "status": status });
                if let Some(wall) = self.wall(what) {
                    object["isolation"] = wall.name().into();
                }
                let _ = writeln!(stderr(), "{object}");
            }
            Shown::Live(live) => {
                let wall = self.wall(what).map(Isolation::name).unwrap_or_default();
                let text = format!("{word:<10} {}", self.color(2, wall));
                let mark = match stage {
                    Stage::Working => None,
                    Stage::Done => Some(self.color(32, "✔")),
                    Stage::Failed => Some(self.color(31, "✘")),
                };
                live.show(&subject, mark.as_deref(), &text);
            }
        }
    }

    fn say(&self, text: &str) {
        match &self.shown {
            Shown::Live(live) => drop(live.all.println(clean(text))),
            Shown::Json => drop(writeln!(stderr(), "{}", json!({ "text": clean(text) }))),
            _ => drop(writeln!(stderr(), "{}", clean(text))),
        }
    }
}

/// Lines that change: one for each thing, with the time since it was first told of.
struct Live {
    all: MultiProgress,
    lines: Arc<Mutex<BTreeMap<String, Line>>>,
    /// Gone when the lines are to stand still.
    ticker: Option<(Sender<()>, JoinHandle<()>)>,
}

struct Line {
    bar: ProgressBar,
    since: Instant,
    /// Seconds that it took, once it is over.
    took: Option<f64>,
    text: String,
}

impl Live {
    fn new() -> Live {
        let lines: Arc<Mutex<BTreeMap<String, Line>>> = Arc::default();
        let (stop, stopped) = channel::<()>();
        let all = Arc::clone(&lines);
        // One thread for all of them, however many.
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                draw(&lock(&all), |_, line| line.took.is_none());
            }
        });
        Live {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)),
            lines,
            ticker: Some((stop, thread)),
        }
    }

    /// `mark` is that of something that is over.
    fn show(&self, subject: &str, mark: Option<&str>, text: &str) {
        let mut lines = lock(&self.lines);
        let known = lines.len();
        let line = lines.entry(subject.to_owned()).or_insert_with(|| Line {
            bar: self.all.add(ProgressBar::no_length()),
            since: Instant::now(),
            took: None,
            text: String::new(),
        });
        line.took = mark.map(|_| line.since.elapsed().as_secs_f64());
        text.clone_into(&mut line.text);
        let template = format!(" {} {{wide_msg}}", mark.unwrap_or("{spinner}"));
        if let Ok(style) = ProgressStyle::with_template(&template) {
            line.bar.set_style(style);
        }
        // A further one may make the column wider.
        match lines.len() > known {
            true => draw(&lines, |_, _| true),
            false => draw(&lines, |name, _| name == subject),
        }
    }
}

/// Draws some of the lines, with all names in one column.
fn draw(lines: &BTreeMap<String, Line>, which: impl Fn(&str, &Line) -> bool) {
    let width = lines.keys().map(|subject| subject.chars().count()).max();
    let width = width.unwrap_or(0);
    for (subject, line) in lines.iter().filter(|(name, line)| which(name, line)) {
        let seconds = line
            .took
            .unwrap_or_else(|| line.since.elapsed().as_secs_f64());
        let text = &line.text;
        line.bar
            .set_message(format!("{subject:width$}  {text} {seconds:.1}s"));
        line.bar.tick();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.ticker.take() {
            drop(stop);
            let _ = thread.join();
        }
        lock(&self.lines)
            .values()
            .for_each(|line| line.bar.abandon());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a step is about, and its words while it lasts and after it.
fn words(what: &What) -> (String, [&'static str; 2]) {
    let instance = |name: &str| format!("Instance {name}");
    match what {
        What::CreateNetwork(key) => (format!("Network {key}"), ["Creating", "Created"]),
        What::RemoveNetwork(name) => (format!("Network {name}"), ["Removing", "Removed"]),
        What::CreateVolume(key) => (format!("Volume {key}"), ["Creating", "Created"]),
        What::RemoveVolume(name) => (format!("Volume {name}"), ["Removing", "Removed"]),
        What::RemoveImage(name) => (format!("Image {name}"), ["Removing", "Removed"]),
        What::Create {
            name,
            replaces: None,
            ..
        } => (instance(name), ["Creating", "Created"]),
        What::Create { name, .. } => (instance(name), ["Recreating", "Recreated"]),
        What::PreStart(service) => (format!("Service {service}"), ["Preparing", "Prepared"]),
        What::Start { name, .. } => (instance(name), ["Starting", "Started"]),
        What::Await { service, until } => {
            let done = match until {
                Until::Healthy => "Healthy",
                Until::Completed => "Completed",
                Until::Up => "Up",
            };
            (format!("Service {service}"), ["Waiting", done])
        }
        What::Stop { name, .. } => (instance(name), ["Stopping", "Stopped"]),
        What::Remove { name, .. } => (instance(name), ["Removing", "Removed"]),
    }
}
