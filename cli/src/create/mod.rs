//! The flags that `run` and `create` share, as Docker names them, and what they
//! become: [`Options`], strings that the workload module reads.

mod health;
mod limits;
mod namespaces;
mod network;

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use clap_complete::engine::ArgValueCandidates;
use isola_runtime::engine::{Create, Instance, Wish};
use isola_runtime::workload::{Network, Options};

use self::health::HealthFlags;
use self::limits::LimitFlags;
use self::namespaces::NamespaceFlags;
use self::network::NetworkFlags;
use crate::complete;
use crate::context::Context;
use crate::error::{Code, Failure, Result};
use crate::pulling::{self, Wanted};

/// What is to be created.
#[derive(Debug, Args)]
pub(crate) struct CreateFlags {
    #[command(flatten)]
    basic: BasicFlags,
    #[command(flatten)]
    wall: WallFlags,
    #[command(flatten)]
    process: ProcessFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    namespaces: NamespaceFlags,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    security: SecurityFlags,
    #[command(flatten)]
    health: HealthFlags,
    /// Image, then the command to run and its arguments instead of the image's own
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE", num_args = 1..)]
    #[arg(add = ArgValueCandidates::new(complete::images))]
    words: Vec<String>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Instance")]
struct BasicFlags {
    /// Name of the instance
    #[arg(long)]
    name: Option<String>,
    /// Remove the instance when it has ended
    #[arg(long)]
    rm: bool,
    /// Start it again when it ends: no, always, unless-stopped, on-failure[:MAX]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Write the id to this file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    cidfile: Option<PathBuf>,
    /// Label KEY=VALUE
    #[arg(short, long, value_name = "LABEL")]
    label: Vec<String>,
    /// File with a label on each line
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    label_file: Vec<String>,
    /// Note KEY=VALUE for other programs, which inspect shows
    #[arg(long, value_name = "NOTE")]
    annotation: Vec<String>,
    /// Platform that the image must be for; foreign ones are refused
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Get the image from its registry: always, missing or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "missing",
        hide_default_value = true
    )]
    #[arg(value_parser = ["always", "missing", "never"], hide_possible_values = true)]
    pull: String,
    /// Show no progress of such a pull
    #[arg(short, long)]
    quiet: bool,
    /// Where the output goes: json-file or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// max-size=SIZE, max-file=NUMBER
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Wall")]
struct WallFlags {
    /// container, vm, emulated; with commas, the first that works [env: ISOLA_ISOLATION=]
    #[arg(long, value_name = "WALL", add = ArgValueCandidates::new(complete::walls))]
    isolation: Option<String>,
    /// Short for --isolation vm
    #[arg(long, conflicts_with = "isolation")]
    vm: bool,
    /// Size of a guest's writable layer; thick:SIZE allocates it at once
    #[arg(long, value_name = "SIZE")]
    disk: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
struct ProcessFlags {
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Program instead of the image's entry point; empty removes it
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Variable NAME=VALUE, or NAME to pass the user's own on
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// File with a variable on each line
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    env_file: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Name or number, with :GROUP if wanted
    #[arg(short, long)]
    user: Option<String>,
    /// Further group
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Host name
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Put an init in front that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Signal that asks it to end
    #[arg(long, value_name = "SIGNAL", add = ArgValueCandidates::new(complete::signals))]
    stop_signal: Option<String>,
    /// Seconds from that signal to SIGKILL; -1 waits for ever
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
struct FileFlags {
    /// Make the root read-only
    #[arg(long)]
    read_only: bool,
    /// Volume NAME:TARGET[:OPTIONS], folder PATH:TARGET[:OPTIONS], or a TARGET alone
    #[arg(short, long, value_name = "MOUNT")]
    volume: Vec<String>,
    /// Mount type=volume|bind|tmpfs,source=...,target=...,readonly
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,
    /// Volumes and folders of another instance, with :ro if wanted
    #[arg(long, value_name = "INSTANCE", add = ArgValueCandidates::new(complete::instances))]
    volumes_from: Vec<String>,
    /// tmpfs TARGET[:OPTIONS]
    #[arg(long, value_name = "TARGET")]
    tmpfs: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Device of the host SOURCE[:TARGET[:rwm]]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Devices that it may use by number: KIND MAJOR:MINOR ACCESS, as in "c 10:229 rwm"
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// Refused: there is no driver of GPUs
    #[arg(long, value_name = "GPUS")]
    gpus: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
struct SecurityFlags {
    /// Add a Linux capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a Linux capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// All capabilities, all devices, nothing masked
    #[arg(long)]
    privileged: bool,
    /// seccomp=unconfined|FILE, no-new-privileges
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Kernel parameter NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
}

impl CreateFlags {
    /// A terminal is wanted.
    pub(crate) fn tty(&self) -> bool {
        self.process.tty
    }

    /// Standard input is wanted.
    pub(crate) fn interactive(&self) -> bool {
        self.process.interactive
    }

    /// Creates the instance; nothing is left of it when the id can't be told.
    pub(crate) fn create(&self, context: &Context) -> Result<Instance> {
        if let Some(path) = self.basic.cidfile.as_ref().filter(|path| path.exists()) {
            let message = format!("the id file {} is there already", path.display());
            return Err(Failure::new(Code::Invalid, message)
                .hint("remove it, if no instance uses it any more, or choose another --cidfile"));
        }
        let settings = context.settings()?;
        let flag = if self.wall.vm {
            Some("vm")
        } else {
            self.wall.isolation.as_deref()
        };
        let allowed = settings.choose(flag, &context.environment())?;
        let mut options = self.options();
        settings.fill(&mut options, &context.environment());
        let image_name = self.words.first().map(String::as_str).unwrap_or_default();
        let engine = context.engine()?;
        let wish = Wish {
            image_name,
            options: &options,
            config: settings,
            isolation: &allowed,
            name: self.basic.name.as_deref(),
        };
        let wanted = Wanted {
            when: &self.basic.pull,
            platform: self.basic.platform.as_deref(),
            quiet: self.basic.quiet,
        };
        let image = pulling::find(context, image_name, &wanted, &|| Ok(engine.check(&wish)?))?;
        let instance = engine.create(&Create {
            image: &image,
            image_name,
            options: &options,
            config: settings,
            isolation: &allowed,
            name: self.basic.name.as_deref(),
            inherit: None,
        })?;
        // From here on the record protects it.
        drop(image);
        if let Some(reason) = &instance.record.isolation_reason {
            let _ = writeln!(std::io::stderr(), "isolation: {reason}");
        }
        if self.network.publishes() && instance.record.workload.network == Network::Host {
            let text =
                "warning: with --network host the ports are the host's own; nothing is published";
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        if let Err(failure) = self.write_id(&instance.record.id) {
            engine.remove(&instance, true)?;
            return Err(failure);
        }
        Ok(instance)
    }

    fn write_id(&self, id: &str) -> Result<()> {
        let Some(path) = &self.basic.cidfile else {
            return Ok(());
        };
        std::fs::File::create_new(path)
            .and_then(|mut file| file.write_all(id.as_bytes()))
            .map_err(|error| {
                Failure::system(format!("write the id file {}", path.display()), error)
            })
    }

    fn options(&self) -> Options {
        let CreateFlags {
            basic,
            wall,
            process,
            network,
            namespaces,
            files,
            limits,
            security,
            health,
            words,
            help: _,
        } = self;
        let mut options = Options {
            args: words.iter().skip(1).cloned().collect(),
            entrypoint: process.entrypoint.clone().map(|program| vec![program]),
            env: process.env.clone(),
            env_file: process.env_file.clone(),
            workdir: process.workdir.clone(),
            user: process.user.clone(),
            group_add: process.group_add.clone(),
            hostname: process.hostname.clone(),
            domainname: process.domainname.clone(),
            tty: process.tty,
            interactive: process.interactive,
            init: process.init,
            stop_signal: process.stop_signal.clone(),
            stop_timeout: process.stop_timeout,
            read_only: files.read_only,
            volume: files.volume.clone(),
            mount: files.mount.clone(),
            volumes_from: files.volumes_from.clone(),
            tmpfs: files.tmpfs.clone(),
            device: files.device.clone(),
            device_cgroup_rule: files.device_cgroup_rule.clone(),
            gpus: files.gpus.clone(),
            sysctl: security.sysctl.clone(),
            cap_add: security.cap_add.clone(),
            cap_drop: security.cap_drop.clone(),
            privileged: security.privileged,
            security_opt: security.security_opt.clone(),
            shm_size: files.shm_size.clone(),
            disk: wall.disk.clone(),
            label: basic.label.clone(),
            label_file: basic.label_file.clone(),
            annotation: basic.annotation.clone(),
            restart: basic.restart.clone(),
            rm: basic.rm,
            platform: basic.platform.clone(),
            log_driver: basic.log_driver.clone(),
            log_opt: basic.log_opt.clone(),
            ..Options::default()
        };
        limits.fill(&mut options);
        network.fill(&mut options);
        namespaces.fill(&mut options);
        health.fill(&mut options);
        options
    }
}
