//! Health checks: a program behind the wall that is run now and then and whose
//! exit code says whether the workload does its work.

use std::time::{Duration, Instant};

use isola_proto::spec::{ProcessSpec, TermSize};
use isola_proto::{ErrorKind, ExitStatus, Failure, Request};

use crate::error::Result;
use crate::state::{Health, HealthRun, HealthState, State, now_ms, write_json_unsynced};
use crate::workload::{ExecOptions, HealthCheck, HostFacts, exec_spec};

use super::clients::Address;
use super::{Exec, Phase, Supervisor};

/// Bytes of a check's output that are kept, as many as Docker keeps.
const OUTPUT: usize = 4096;

/// The checks of a running workload.
#[derive(Debug)]
pub(super) struct HealthWatch {
    check: HealthCheck,
    process: ProcessSpec,
    started: Instant,
    /// When it is run next; nothing while it runs.
    due: Option<Instant>,
    run: Option<Run>,
}

/// A check that is being run.
#[derive(Debug)]
struct Run {
    channel: u32,
    started_ms: u64,
    /// It is killed then; nothing once it was.
    until: Option<Instant>,
    output: Vec<u8>,
}

impl HealthWatch {
    /// Keeps what a check writes.
    pub(super) fn output(&mut self, channel: u32, bytes: &[u8]) {
        if let Some(run) = self.run.as_mut().filter(|run| run.channel == channel) {
            let room = OUTPUT.saturating_sub(run.output.len());
            run.output.extend(bytes.iter().take(room));
        }
    }

    fn in_start_period(&self) -> bool {
        self.started.elapsed() < Duration::from_millis(self.check.start_period_ms)
    }

    /// When the next run is due, seen from now.
    fn next(&self, state: HealthState) -> Instant {
        let starting = state == HealthState::Starting && self.in_start_period();
        let wait = match starting {
            true => self.check.start_interval_ms,
            false => self.check.interval_ms,
        };
        Instant::now() + Duration::from_millis(wait)
    }
}

impl Supervisor {
    /// The workload has just started: its health is open again.
    pub(super) fn watch_health(&mut self) {
        self.status.health = None;
        let Some(check) = self.record.workload.health.clone() else {
            return;
        };
        let process = match self.check_process(&check) {
            Ok(process) => process,
            Err(error) => return eprintln!("isola-supervisor: health check: {error}"),
        };
        let mut watch = HealthWatch {
            check,
            process,
            started: Instant::now(),
            due: None,
            run: None,
        };
        watch.due = Some(watch.next(HealthState::Starting));
        self.health = Some(watch);
        self.status.health = Some(Health::starting());
    }

    fn check_process(&self, check: &HealthCheck) -> Result<ProcessSpec> {
        let options = ExecOptions {
            args: check.args(),
            ..ExecOptions::default()
        };
        let host = HostFacts::read()?;
        exec_spec(&self.record.workload, &options, &host, TermSize::default())
    }

    /// When something is to be done about health.
    pub(super) fn health_due(&self) -> Option<Instant> {
        let health = self.health.as_ref().filter(|_| self.may_check())?;
        let until = health.run.as_ref().and_then(|run| run.until);
        until.or(health.due)
    }

    fn may_check(&self) -> bool {
        matches!(self.phase, Phase::Running) && self.status.state != State::Paused
    }

    /// Starts a check that is due, and ends one that takes too long.
    pub(super) fn advance_health(&mut self, now: Instant) {
        if !self.may_check() {
            return;
        }
        let Some(health) = &mut self.health else {
            return;
        };
        if let Some(run) = &mut health.run {
            if run.until.is_some_and(|until| until <= now) {
                run.until = None;
                let channel = run.channel;
                self.to_peer(&Request::Signal {
                    channel,
                    signal: libc::SIGKILL,
                });
            }
            return;
        }
        if health.due.is_none_or(|due| due > now) {
            return;
        }
        self.next += 1;
        let channel = self.next;
        health.due = None;
        health.run = Some(Run {
            channel,
            started_ms: now_ms(),
            until: now.checked_add(Duration::from_millis(health.check.timeout_ms)),
            output: Vec::new(),
        });
        let process = Box::new(health.process.clone());
        let exec = Exec {
            owner: None,
            owed: 0,
            detached: false,
            // Of checks only what they find is told.
            told: None,
        };
        self.execs.insert(channel, exec);
        self.to_peer(&Request::Exec { channel, process });
    }

    /// A process has ended, or could not be started: was it the check?
    pub(super) fn health_ended(
        &mut self,
        channel: u32,
        end: std::result::Result<ExitStatus, &Failure>,
    ) {
        let Some(watch) = &mut self.health else {
            return;
        };
        let Some(run) = watch.run.take_if(|run| run.channel == channel) else {
            return;
        };
        let (exit_code, output) = match end {
            Ok(_) if run.until.is_none() => {
                let text = format!("it took more than {} ms", watch.check.timeout_ms);
                (-1, text)
            }
            Ok(status) => (
                status.code(),
                String::from_utf8_lossy(&run.output).into_owned(),
            ),
            Err(failure) => (-1, failure.message.clone()),
        };
        let mut health = self.status.health.take().unwrap_or_else(Health::starting);
        let before = health.state;
        judge(
            &mut health,
            exit_code,
            watch.in_start_period(),
            watch.check.retries,
        );
        health.runs.push(HealthRun {
            started_ms: run.started_ms,
            ended_ms: now_ms(),
            exit_code,
            output,
        });
        let more = health.runs.len().saturating_sub(Health::RUNS);
        health.runs.drain(..more);
        watch.due = Some(watch.next(health.state));
        let state = health.state;
        self.status.health = Some(health);
        // Nothing of it need outlive the host.
        if let Err(error) = write_json_unsynced(&self.paths.status(), &self.status) {
            eprintln!("isola-supervisor: {error}");
        }
        if state != before {
            self.tell(&format!("health_status: {}", state.as_str()), &[]);
        }
        if state != HealthState::Starting {
            for to in std::mem::take(&mut self.health_waiters) {
                self.answer_health(to, state);
            }
        }
    }

    /// Answers when the health is known.
    pub(super) fn await_health(&mut self, to: Address) {
        let state = self.status.health.as_ref().map(|health| health.state);
        let ended = matches!(self.phase, Phase::Ending(_) | Phase::Done | Phase::Idle) || self.hold;
        let running = matches!(self.phase, Phase::Running);
        match (state, &self.record.workload.health) {
            (_, None) => self.refuse(to, "has no health check"),
            _ if ended => self.refuse(to, "has ended"),
            (Some(state), _) if running && state != HealthState::Starting => {
                self.answer_health(to, state)
            }
            _ => self.health_waiters.push(to),
        }
    }

    fn answer_health(&mut self, to: Address, state: HealthState) {
        if state == HealthState::Healthy {
            return self.clients.done(to);
        }
        let runs = self
            .status
            .health
            .as_ref()
            .map(|health| health.runs.as_slice());
        let last = runs.and_then(<[_]>::last);
        let said = last.map(|run| told(run.exit_code, &run.output));
        let message = format!(
            "instance {} is unhealthy{}",
            self.record.name,
            said.unwrap_or_default()
        );
        self.clients
            .fail(to, Failure::new(ErrorKind::Invalid, message));
    }
}

/// Letters of a check's output that fit into an error.
const TOLD: usize = 200;

/// The last check's code and the last line that it said. What comes from behind the wall
/// is shown without control characters.
fn told(exit_code: i32, output: &str) -> String {
    let line = output.trim().lines().next_back().unwrap_or_default();
    let line: String = line
        .chars()
        .filter(|c| !c.is_control())
        .take(TOLD)
        .collect();
    match line.is_empty() {
        true => format!(": its last check ended with {exit_code}"),
        false => format!(": its last check ended with {exit_code} ({line})"),
    }
}

/// What a run of the check means.
fn judge(health: &mut Health, exit_code: i32, in_start_period: bool, retries: u32) {
    if exit_code == 0 {
        health.state = HealthState::Healthy;
        health.failing_streak = 0;
        return;
    }
    if health.state == HealthState::Starting && in_start_period {
        return;
    }
    health.failing_streak = health.failing_streak.saturating_add(1);
    if health.failing_streak >= retries {
        health.state = HealthState::Unhealthy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_check_is_told() {
        for (output, wanted) in [
            ("", ": its last check ended with 7"),
            (" \n", ": its last check ended with 7"),
            (
                "one\ntwo \x1b[31m\n\n",
                ": its last check ended with 7 (two [31m)",
            ),
        ] {
            assert_eq!(told(7, output), wanted);
        }
    }

    #[test]
    fn failures_in_a_row_count_after_the_start_period() {
        let mut health = Health::starting();
        let mut seen = Vec::new();
        for (code, early) in [
            (1, true),
            (1, false),
            (0, false),
            (1, true),
            (1, false),
            (0, false),
        ] {
            judge(&mut health, code, early, 2);
            seen.push((health.state.as_str(), health.failing_streak));
        }
        let expected = [
            ("starting", 0),
            ("starting", 1),
            ("healthy", 0),
            ("healthy", 1),
            ("unhealthy", 2),
            ("healthy", 0),
        ];
        assert_eq!(seen, expected);
    }
}
