//! What the engine asks supervisors.

use isola_proto::Event;
use isola_proto::spec::TermSize;

use crate::control::{Command, Control};
use crate::error::{Error, Kind, Result};
use crate::state::State;

use super::{Engine, Instance};

/// How a line of a supervisor begins that is meant for the host's owner.
pub(crate) const NOTICE: &str = "isola-supervisor: notice: ";

/// How an instance is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Launch {
    /// Get the workload's streams, from its first byte on.
    pub attach: bool,
    /// Pass input on.
    pub stdin: bool,
    /// Size of the caller's terminal.
    pub size: Option<TermSize>,
}

/// A connection, and the channel that its first command used.
pub type Session = (Control, u32);

impl Engine {
    /// Starts an instance. When this returns the workload runs; with
    /// [`Launch::attach`] its output follows on the channel.
    ///
    /// # Errors
    /// It runs already ([`Kind::Conflict`]), or can't be started; the error's kind
    /// tells a missing program from one that can't be executed.
    pub fn start(&self, instance: &Instance, launch: Launch) -> Result<Session> {
        self.launch(instance, launch, None)
    }

    /// `hold` is how it is held instead: with its networks, or without.
    fn launch(&self, instance: &Instance, launch: Launch, hold: Option<bool>) -> Result<Session> {
        let name = &instance.record.name;
        let lock = self.lock_at_rest(instance)?.ok_or_else(|| {
            Error::new(
                Kind::Conflict,
                format!("instance {name} is running already"),
            )
        })?;
        let Some(instance) = self.recover(instance.record.clone(), &lock)? else {
            return Err(Error::new(
                Kind::NoSuch,
                format!("no such instance: {name}"),
            ));
        };
        self.complete_volumes(&instance)?;
        let said = self.supervisor_said(&instance);
        let mut control = Control::over(self.spawn_supervisor(&instance, lock)?)?;
        let channel = control.channel();
        let Launch {
            attach,
            stdin,
            size,
        } = launch;
        match control.ask(&Command::Launch {
            channel,
            attach,
            stdin,
            hold: hold.is_some(),
            networks: hold.unwrap_or(true),
            size,
        }) {
            Ok(Event::Started { .. }) => {
                if self.supervisor_said(&instance) > said {
                    control.set_notices(self.notices(&instance, said));
                }
                Ok((control, channel))
            }
            Ok(other) => Err(Error::new(
                Kind::System,
                format!("the supervisor answered {other:?} to a start"),
            )),
            Err(error) if is_gone(&error) => Err(self.why_gone(&instance, error)),
            Err(error) => Err(error),
        }
    }

    /// Bytes that supervisors of the instance have written in words.
    fn supervisor_said(&self, instance: &Instance) -> usize {
        let log = std::fs::metadata(self.files(instance).supervisor_log());
        log.map_or(0, |log| usize::try_from(log.len()).unwrap_or(usize::MAX))
    }

    /// The notices among them from there on.
    fn notices(&self, instance: &Instance, from: usize) -> Vec<String> {
        let text = std::fs::read(self.files(instance).supervisor_log()).unwrap_or_default();
        let text = String::from_utf8_lossy(text.get(from..).unwrap_or_default());
        let notices = text.lines().filter_map(|line| line.strip_prefix(NOTICE));
        notices.map(str::to_owned).collect()
    }

    /// What a supervisor that died before it could answer has written last.
    fn why_gone(&self, instance: &Instance, error: Error) -> Error {
        let text =
            std::fs::read_to_string(self.files(instance).supervisor_log()).unwrap_or_default();
        match text
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("isola-supervisor: "))
        {
            Some(line) => Error::new(Kind::System, line),
            None => error,
        }
    }

    /// Connects to the supervisor of a running instance.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when it does not run.
    pub fn connect(&self, instance: &Instance) -> Result<Control> {
        let socket = Control::connect(&self.files(instance)).map_err(|_| {
            let (name, state) = (&instance.record.name, instance.status.state.as_str());
            let state = if instance.status.state.is_live() {
                "ending"
            } else {
                state
            };
            Error::new(
                Kind::Conflict,
                format!("instance {name} is not running (it is {state})"),
            )
            .hint(format!("start it with `isola start {name}`"))
        })?;
        Control::over(socket.into())
    }

    /// A connection to whatever holds the wall: the running supervisor, or one
    /// that holds it open around an idle process until the connection ends.
    ///
    /// # Errors
    /// The wall can't be put up.
    pub fn hold(&self, instance: &Instance) -> Result<Control> {
        if instance.status.state.is_live() {
            return self.connect(instance);
        }
        self.launch(instance, Launch::default(), Some(false))
            .map(|(control, _)| control)
    }

    /// Puts the wall of a new instance up around an idle process, with its networks, for
    /// further processes. It comes down, and an instance with `--rm` goes, when the
    /// connection ends.
    ///
    /// # Errors
    /// The wall can't be put up.
    pub fn host(&self, instance: &Instance) -> Result<Control> {
        self.launch(instance, Launch::default(), Some(true))
            .map(|(control, _)| control)
    }

    /// Asks the workload to end and waits until all is cleaned up. Nothing happens
    /// to an instance that does not run.
    ///
    /// # Errors
    /// The supervisor refused or died.
    pub fn stop(
        &self,
        instance: &Instance,
        timeout: Option<u64>,
        signal: Option<i32>,
    ) -> Result<()> {
        self.ask_to_stop(instance, |channel| Command::Stop {
            channel,
            timeout,
            signal,
            removal: false,
        })
    }

    /// Makes the workload end, because the instance is to be removed.
    pub(super) fn end(&self, instance: &Instance) -> Result<()> {
        self.ask_to_stop(instance, |channel| Command::Stop {
            channel,
            timeout: Some(0),
            signal: Some(libc::SIGKILL),
            removal: true,
        })
    }

    fn ask_to_stop(&self, instance: &Instance, command: impl FnOnce(u32) -> Command) -> Result<()> {
        // One that is being started has a supervisor, too.
        let live = instance.status.state.is_live() || instance.status.supervisor_pid.is_some();
        if !live {
            return Ok(());
        }
        // One that comes to rest in between has stopped, too.
        self.ask(instance, command).map(drop)
    }

    /// Stops a running instance and starts it, or starts one that does not run.
    ///
    /// # Errors
    /// As [`Engine::stop`] and [`Engine::start`].
    pub fn restart(
        &self,
        instance: &Instance,
        timeout: Option<u64>,
        signal: Option<i32>,
    ) -> Result<Session> {
        if instance.status.state.is_live() {
            self.stop(instance, timeout, signal)?;
        }
        let instance = self.find(&instance.record.id)?;
        let session = self.start(&instance, Launch::default())?;
        self.tell(&instance, "restart");
        Ok(session)
    }

    /// Sends a signal to the workload.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, instance: &Instance, signal: i32) -> Result<()> {
        self.simple(instance, |channel| Command::Kill { channel, signal })
    }

    /// Freezes the instance.
    ///
    /// # Errors
    /// It does not run, or is frozen.
    pub fn pause(&self, instance: &Instance) -> Result<()> {
        self.simple(instance, |channel| Command::Pause { channel })
    }

    /// Thaws the instance.
    ///
    /// # Errors
    /// It does not run, or is not frozen.
    pub fn unpause(&self, instance: &Instance) -> Result<()> {
        self.simple(instance, |channel| Command::Unpause { channel })
    }

    pub(super) fn simple(
        &self,
        instance: &Instance,
        command: impl FnOnce(u32) -> Command,
    ) -> Result<()> {
        let mut control = self.connect(instance)?;
        let channel = control.channel();
        control.ask(&command(channel)).map(drop)
    }

    /// Waits until the workload has ended and returns its exit code; that of the
    /// last run when it does not run. An instance that was never started is
    /// waited for like one that ended with 0, as Docker does.
    ///
    /// # Errors
    /// The supervisor died.
    pub fn wait(&self, instance: &Instance) -> Result<i32> {
        let ended = |instance: &Instance| instance.status.exit_code.unwrap_or(0);
        if !instance.status.state.is_live() {
            return Ok(ended(instance));
        }
        match self.ask(instance, |channel| Command::Wait { channel })? {
            Some(Event::Exited { status, .. }) => Ok(status.code()),
            None => Ok(ended(&self.find(&instance.record.id)?)),
            Some(other) => Err(Error::new(
                Kind::System,
                format!("the supervisor answered {other:?} to a wait"),
            )),
        }
    }

    /// The supervisor's answer; `None` when the instance has come to rest before
    /// there was one.
    fn ask(
        &self,
        instance: &Instance,
        command: impl FnOnce(u32) -> Command,
    ) -> Result<Option<Event>> {
        let answer = self.connect(instance).and_then(|mut control| {
            let channel = control.channel();
            control.ask(&command(channel))
        });
        match answer {
            Ok(event) => Ok(Some(event)),
            Err(error) if error.kind == Kind::Conflict || is_gone(&error) => {
                match self.lock_at_rest(instance) {
                    Ok(Some(_)) => Ok(None),
                    Err(gone) if gone.kind == Kind::NoSuch => Ok(None),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn tell_renamed(&self, instance: &Instance) {
        if matches!(instance.status.state, State::Created | State::Exited) {
            return;
        }
        // It reads the name again when it next needs it; one that is gone has no need.
        let _ = self.simple(instance, |channel| Command::Renamed { channel });
    }
}

/// Whether the supervisor hung up.
fn is_gone(error: &Error) -> bool {
    error.kind == Kind::System && error.message.contains("gone away")
}
