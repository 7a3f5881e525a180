//! Programs of a build's steps behind a wall: each in an instance of its own, which goes
//! with its connection. The wall is held open by an idle process; the step's program and
//! then the reader of its changes are further processes there, so that a guest boots
//! once and its file system is never read by the host.

mod changes;
mod sockets;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use isola_build::{Error, Job, JobMount, Kind, Result, Runner, Said, Take};
use isola_images::Image;
use isola_init::stream::{Peer, PollSet};
use isola_proto::spec::{Program, TermSize};
use isola_proto::{Event, Frame, Kind as FrameKind, ProcessSpec};

use crate::config::Config;
use crate::control::{Command, Control, decode};
use crate::engine::{Create, Engine, Instance, Wish};
use crate::workload::{ExecOptions, HostFacts, Isolation, Options, exec_spec};

pub use changes::Changes;
use sockets::Sockets;

/// How often a running program looks whether its build has failed elsewhere.
const PULSE: Duration = Duration::from_millis(200);
/// How long the last instances of a build may take to go.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs steps of a build.
#[derive(Debug)]
pub struct Steps<'a> {
    /// Makes the instances.
    pub engine: &'a Engine,
    /// The user's settings.
    pub config: &'a Config,
    /// Walls that the user allows, the first that works is taken.
    pub isolation: &'a [Isolation],
    /// Limits, as `--memory`: what [`Options`] has for them.
    pub limits: Options,
    /// Folders of the instances that were made; they go with their instances.
    made: Mutex<Vec<PathBuf>>,
}

impl<'a> Steps<'a> {
    /// Runs steps behind the first of these walls that works.
    pub fn new(
        engine: &'a Engine,
        config: &'a Config,
        isolation: &'a [Isolation],
        limits: Options,
    ) -> Steps<'a> {
        Steps {
            engine,
            config,
            isolation,
            limits,
            made: Mutex::default(),
        }
    }
}

impl Drop for Steps<'_> {
    /// A build is over when nothing of its steps is left. Machines take a moment to power
    /// off, in which further steps may already run.
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        let made = self.made.get_mut().map(std::mem::take).unwrap_or_default();
        while made.iter().any(|folder| folder.exists()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Error {
        let kind = match error.kind {
            crate::Kind::Unsupported => Kind::Unsupported,
            crate::Kind::Invalid | crate::Kind::Conflict | crate::Kind::NoSuch => Kind::Invalid,
            _ => Kind::Wall,
        };
        Error {
            hint: error.hint,
            ..Error::new(kind, error.message)
        }
    }
}

impl Runner for Steps<'_> {
    /// A wall is looked for only if there is something to check: what is done already
    /// needs none.
    fn check(&self, hosts: &[String], shm_size: Option<&str>) -> Result<()> {
        let options = self.base(hosts, shm_size);
        let limits = [
            &options.memory,
            &options.cpus,
            &options.disk,
            &options.shm_size,
        ];
        if hosts.is_empty() && limits.iter().all(|limit| limit.is_none()) {
            return Ok(());
        }
        Ok(self.engine.check(&Wish {
            image_name: "build",
            options: &options,
            config: self.config,
            isolation: self.isolation,
            name: None,
        })?)
    }

    fn run(
        &self,
        job: &Job<'_>,
        said: Said<'_>,
        take: Take<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<()> {
        let (instance, mut control) = self.put_up(job)?;
        let process = self.process(job, &instance)?;
        let mut sockets = Sockets::start(&mut control, &instance, &job.mounts)?;
        let code = program(&mut control, process, &mut sockets, said, stop)?;
        if let Some(sockets) = sockets {
            sockets.finish(&mut control)?;
        }
        if code != 0 {
            return Err(Error::new(Kind::Run(code), format!("exit code {code}")));
        }
        let mut changes = Changes::start(&mut control, &instance, true)?;
        let taken = take(&mut changes);
        match taken {
            Ok(()) => Ok(changes.finish()?),
            // What the reader of the changes said is the reason for a broken stream.
            Err(error) => Err(changes.finish().err().map_or(error, Error::from)),
        }
    }
}

impl Steps<'_> {
    fn put_up(&self, job: &Job<'_>) -> Result<(Instance, Control)> {
        let options = self.options(job)?;
        let image = image(job)?;
        let instance = self.engine.create(&Create {
            image: &image,
            image_name: "build",
            options: &options,
            config: self.config,
            isolation: self.isolation,
            name: None,
            inherit: None,
        })?;
        if let Ok(mut made) = self.made.lock() {
            made.push(self.engine.files(&instance).dir().to_owned());
        }
        match self.engine.host(&instance) {
            Ok(control) => Ok((instance, control)),
            Err(error) => {
                // It goes by itself; one whose supervisor did not start does not.
                let _ = self.engine.remove(&instance, true);
                Err(error.into())
            }
        }
    }

    fn base(&self, hosts: &[String], shm_size: Option<&str>) -> Options {
        Options {
            rm: true,
            entrypoint: Some(vec!["build".into()]),
            user: Some("0:0".into()),
            workdir: Some("/".into()),
            add_host: hosts.to_vec(),
            shm_size: shm_size.map(str::to_owned),
            log_driver: Some("none".into()),
            ..self.limits.clone()
        }
    }

    fn options(&self, job: &Job<'_>) -> Result<Options> {
        use isola_build::dockerfile::Network;
        let mut options = self.base(&job.hosts, job.shm_size.as_deref());
        match job.network {
            Network::Default => {}
            Network::None => options.network = vec!["none".into()],
            Network::Host => options.network = vec!["host".into()],
        }
        for mount in &job.mounts {
            options.mount.extend(mount_option(mount)?);
        }
        Ok(options)
    }

    fn process(&self, job: &Job<'_>, instance: &Instance) -> Result<ProcessSpec> {
        let options = ExecOptions {
            args: job.args.clone(),
            user: Some(job.user.clone()).filter(|user| !user.is_empty()),
            workdir: Some(job.cwd.clone()),
            ..ExecOptions::default()
        };
        let workload = &instance.record.workload;
        let mut process = exec_spec(workload, &options, &HostFacts::read()?, TermSize::default())?;
        // Exactly the step's environment, so that every wall gives the same.
        process.env = job.env.clone();
        process.create_cwd = true;
        Ok(process)
    }
}

/// What the engine makes an instance of: the layers and nothing of a configuration.
fn image(job: &Job<'_>) -> Result<Image> {
    let document = format!(
        r#"{{"architecture":"{}","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}}}}"#,
        oci_spec::image::Arch::default()
    );
    let config = oci_spec::image::ImageConfiguration::from_reader(document.as_bytes())
        .map_err(|error| Error::io("describe the step's root", error))?;
    if job.layers.is_empty() {
        return Err(Error::new(
            Kind::Invalid,
            "there is nothing to run: the stage has no files yet",
        )
        .hint("COPY or ADD a program first, or begin with another image than scratch"));
    }
    let id = isola_images::Digest::of(document.as_bytes());
    Ok(Image {
        id,
        reference: None,
        manifest: id,
        config,
        extensions: Default::default(),
        layers: job.layers.iter().map(|layer| (*layer).clone()).collect(),
    })
}

/// A mount as `--mount` has it; none for sockets, which are no mounts.
fn mount_option(mount: &JobMount) -> Result<Option<String>> {
    let field = |name: &str, value: &str| match value.contains(['"', '\n']) {
        true => Err(Error::new(
            Kind::Invalid,
            format!("{value:?} can't be mounted: its name holds a quote or a line break"),
        )),
        false => Ok(format!("\"{name}={value}\"")),
    };
    let mut fields = Vec::new();
    match mount {
        JobMount::Socket { .. } => return Ok(None),
        JobMount::Bind {
            source,
            target,
            readonly,
        } => {
            let source = source.to_str().ok_or_else(|| {
                Error::new(Kind::Invalid, format!("{} is no text", source.display()))
            })?;
            fields.push("type=bind".to_owned());
            fields.push(field("source", source)?);
            fields.push(field("target", target)?);
            if *readonly {
                fields.push("readonly".to_owned());
            }
        }
        JobMount::Tmpfs { target, size } => {
            fields.push("type=tmpfs".to_owned());
            fields.push(field("target", target)?);
            fields.extend(size.map(|size| format!("tmpfs-size={size}")));
        }
    }
    Ok(Some(fields.join(",")))
}

/// A process of ours behind the wall, with all its rights.
fn helper(instance: &Instance, program: Program) -> crate::Result<ProcessSpec> {
    let options = ExecOptions {
        // Never run: the program takes its place.
        args: vec!["isola".to_owned()],
        user: Some("0:0".to_owned()),
        workdir: Some("/".to_owned()),
        privileged: true,
        ..ExecOptions::default()
    };
    let host = HostFacts::read()?;
    let process = exec_spec(
        &instance.record.workload,
        &options,
        &host,
        TermSize::default(),
    )?;
    Ok(ProcessSpec { program, ..process })
}

/// Starts a process, and returns its channel.
fn start(control: &mut Control, process: ProcessSpec) -> crate::Result<u32> {
    let channel = control.channel();
    control.ask(&Command::Exec {
        channel,
        process: Box::new(process),
        detach: false,
    })?;
    Ok(channel)
}

/// Runs the step's program and returns its exit code.
fn program(
    control: &mut Control,
    process: ProcessSpec,
    sockets: &mut Option<Sockets>,
    said: Said<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<i32> {
    let channel = control.channel();
    control.send(&Command::Exec {
        channel,
        process: Box::new(process),
        detach: false,
    });
    let mut set = PollSet::default();
    loop {
        while let Some(frame) = control.conn().next_frame() {
            if let Some(sockets) = sockets {
                sockets.take(control, &frame)?;
            }
            match frame.kind {
                // Without bytes it is the stream's end.
                FrameKind::Stdout | FrameKind::Stderr
                    if frame.channel == channel && !frame.payload.is_empty() =>
                {
                    said(&frame.payload, frame.kind == FrameKind::Stderr);
                    let count = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
                    let credit = Frame::credit(FrameKind::CreditOutput, channel, count);
                    control.conn().send(credit);
                }
                FrameKind::Event => match frame.parse::<Event>() {
                    Ok(Event::Exited {
                        channel: of,
                        status,
                        ..
                    }) if of == channel => return Ok(status.code()),
                    Ok(Event::Failed { failure, .. }) => return failed(decode(failure)),
                    Ok(_) => {}
                    Err(error) => return Err(Error::io("understand the supervisor", error)),
                },
                _ => {}
            }
        }
        if stop() {
            return Err(Error::new(Kind::Cancelled, "another stage has failed"));
        }
        if control.conn().closed().is_some() {
            return Err(Error::new(Kind::Wall, "the wall came down under the step"));
        }
        set.clear();
        control.conn().register(&mut set);
        if let Some(sockets) = sockets {
            sockets.register(&mut set);
        }
        set.wait(Some(PULSE))
            .and_then(|()| control.conn().dispatch(&set))
            .map_err(|error| Error::io("talk to the supervisor", error))?;
        if let Some(sockets) = sockets {
            sockets.dispatch(control, &set)?;
        }
    }
}

/// A program that can't be started has the exit code that a shell would give.
fn failed(error: crate::Error) -> Result<i32> {
    match error.kind {
        crate::Kind::ProgramNotFound | crate::Kind::NotExecutable => {
            Err(Error::new(Kind::Wall, error.message))
        }
        _ => Err(error.into()),
    }
}
