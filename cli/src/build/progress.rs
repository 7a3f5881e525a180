//! How a build is shown.

use std::collections::HashSet;
use std::io::{Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use isola_build::{Event, Step};
use serde_json::json;

use crate::output::clean;
use crate::progress::Way;

/// Shows a build on standard error.
pub(crate) struct Shown {
    kind: Kind,
    /// What is built, where that is one of several.
    label: Option<String>,
    /// What was written since the last line break, by step.
    partial: Mutex<std::collections::HashMap<usize, Vec<u8>>>,
    /// Steps that are being done.
    running: Mutex<HashSet<usize>>,
}

enum Kind {
    Nothing,
    /// A line for all that happens.
    Plain,
    /// A JSON object for all that happens.
    Json,
    /// A line for each step that is done, and one that changes.
    Bars(ProgressBar),
}

impl Shown {
    fn new(kind: Kind, label: Option<String>) -> Shown {
        Shown {
            kind,
            label,
            partial: Mutex::default(),
            running: Mutex::default(),
        }
    }

    /// The only build of a command.
    pub(crate) fn alone(way: Way) -> Shown {
        let target = || ProgressDrawTarget::stderr_with_hz(10);
        Shown::of(way, None, || ProgressBar::with_draw_target(None, target()))
    }

    /// One of several: all of them have a line of their own in `lines`.
    pub(crate) fn one_of(way: Way, label: &str, lines: &MultiProgress) -> Shown {
        let bar = || lines.add(ProgressBar::no_length());
        Shown::of(way, Some(label.to_owned()), bar)
    }

    fn of(way: Way, label: Option<String>, bar: impl FnOnce() -> ProgressBar) -> Shown {
        let kind = match way {
            Way::Quiet => Kind::Nothing,
            Way::Plain => Kind::Plain,
            Way::Json => Kind::Json,
            Way::Live => Kind::Bars(spinner(bar())),
        };
        Shown::new(kind, label)
    }

    /// Programs' output was shown as it came.
    pub(crate) fn has_told_output(&self) -> bool {
        matches!(self.kind, Kind::Plain)
    }

    /// Nothing more comes.
    pub(crate) fn end(&self) {
        if let Kind::Bars(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        match &self.kind {
            Kind::Nothing => {}
            Kind::Json => self.tell_json(event),
            Kind::Plain => self.tell_plain(event),
            Kind::Bars(bar) => self.tell_bars(event, bar),
        }
    }

    fn tell_plain(&self, event: &Event<'_>) {
        let label = self.label.as_ref();
        let label = label.map(|label| format!("{label} ")).unwrap_or_default();
        let line = |text: String| drop(writeln!(stderr().lock(), "{label}{text}"));
        match event {
            Event::Begin(step) => line(format!("#{} {}", step.id, self.title(step))),
            Event::Cached(step) => line(format!("#{} CACHED", step.id)),
            Event::Output(step, bytes, _) => {
                for text in self.lines(step, bytes) {
                    line(format!("#{} {}", step.id, clean(&text)));
                }
            }
            Event::Done(step, time) => {
                self.rest(step)
                    .into_iter()
                    .for_each(|text| line(format!("#{} {}", step.id, clean(&text))));
                line(format!("#{} DONE {:.1}s", step.id, time.as_secs_f64()));
            }
            Event::Failed(step) => {
                self.rest(step)
                    .into_iter()
                    .for_each(|text| line(format!("#{} {}", step.id, clean(&text))));
                line(format!("#{} FAILED", step.id));
            }
            Event::Warning(text) => line(format!("warning: {}", clean(text))),
        }
    }

    fn tell_json(&self, event: &Event<'_>) {
        let of = |kind: &str, step: &Step| {
            let mut object = json!({
                "event": kind, "id": step.id, "stage": step.stage, "number": step.number,
                "of": step.of, "step": step.text,
            });
            if let Some(platform) = &step.platform {
                object["platform"] = platform.to_string().into();
            }
            object
        };
        let mut object = match event {
            Event::Begin(step) => of("begin", step),
            Event::Cached(step) => of("cached", step),
            Event::Done(step, time) => {
                let mut object = of("done", step);
                object["seconds"] = time.as_secs_f64().into();
                object
            }
            Event::Failed(step) => of("failed", step),
            Event::Output(step, bytes, error) => json!({
                "event": "output", "id": step.id,
                "stream": if *error { "stderr" } else { "stdout" },
                "text": String::from_utf8_lossy(bytes),
            }),
            Event::Warning(text) => json!({ "event": "warning", "text": text }),
        };
        if let Some(label) = &self.label {
            object["service"] = label.as_str().into();
        }
        let _ = writeln!(stderr().lock(), "{object}");
    }

    fn tell_bars(&self, event: &Event<'_>, bar: &ProgressBar) {
        match event {
            Event::Begin(step) => {
                lock(&self.running).insert(step.id);
                bar.set_message(clean(&self.title(step)));
            }
            Event::Output(step, bytes, _) => {
                if let Some(text) = self.lines(step, bytes).pop() {
                    bar.set_message(clean(&format!("{}: {text}", self.title(step))));
                }
            }
            Event::Cached(step) => bar.println(clean(&format!("cached {}", self.title(step)))),
            Event::Done(step, time) => {
                let seconds = format!("{:.1}s", time.as_secs_f64());
                bar.println(clean(&format!("{seconds:>6} {}", self.title(step))));
            }
            Event::Failed(step) => bar.println(clean(&format!("failed {}", self.title(step)))),
            Event::Warning(text) => bar.println(format!("warning: {}", clean(text))),
        }
    }

    fn title(&self, step: &Step) -> String {
        let text = step.text.lines().next().unwrap_or_default();
        let label = match (&self.label, &self.kind) {
            // Lines begin with it.
            (Some(label), Kind::Bars(_)) => format!("{label} "),
            _ => String::new(),
        };
        let platform = step.platform.as_ref().map(|it| format!("{it} "));
        let platform = platform.unwrap_or_default();
        let (stage, number, of) = (&step.stage, step.number, step.of);
        format!("[{label}{platform}{stage} {number}/{of}] {text}")
    }

    /// The whole lines that a step has written with these bytes.
    fn lines(&self, step: &Step, bytes: &[u8]) -> Vec<String> {
        let mut partial = lock(&self.partial);
        let held = partial.entry(step.id).or_default();
        held.extend_from_slice(bytes);
        let Some(end) = held.iter().rposition(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let whole: Vec<u8> = held.drain(..=end).collect();
        let text = String::from_utf8_lossy(&whole);
        text.lines().map(str::to_owned).collect()
    }

    /// What was written after the last line break.
    fn rest(&self, step: &Step) -> Option<String> {
        let held = lock(&self.partial).remove(&step.id)?;
        (!held.is_empty()).then(|| String::from_utf8_lossy(&held).into_owned())
    }
}

fn spinner(bar: ProgressBar) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
