//! A service to what `isola create` takes: the options of one instance, as flags
//! have them. Pure; what can't be done is refused here, before anything is made.

mod contents;
mod limits;
mod mounts;
mod namespaces;
mod networks;
mod refuse;

use std::path::{Path, PathBuf};

use isola_runtime::workload::{Isolation, Options};
use isola_runtime::{Error, Kind, Result};

pub(crate) use contents::hash as content_hash;
pub use contents::{Content, Source, contents};
pub use limits::keys_of;
pub use refuse::foreign;

use crate::label;
use crate::load::Model;
use crate::project::{Project, Service, Ulimit};

/// One instance of a service, ready to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What it runs.
    pub options: Options,
    /// Walls to try; empty: the user's default.
    pub walls: Vec<Isolation>,
    /// The image.
    pub image: String,
    /// The command is empty rather than the image's.
    pub no_command: bool,
    /// Folders of the host that are made when absent.
    pub folders: Vec<PathBuf>,
    /// Mounts whose sources are made with the instance; they are among the options.
    pub late: Vec<String>,
}

/// A service with the file and the project that it is of.
#[derive(Clone, Copy)]
struct Of<'a> {
    model: &'a Model,
    project: &'a Project,
    name: &'a str,
    service: &'a Service,
}

impl Of<'_> {
    /// `FILE:LINE:COLUMN: services.NAME`, of what is at these keys of the service.
    fn at(&self, keys: &[&str]) -> String {
        let path: Vec<&str> = ["services", self.name]
            .into_iter()
            .chain(keys.iter().copied())
            .collect();
        format!("{}services.{}", self.model.place(&path), self.name)
    }
}

/// What instance `number` of a service is to be; `store` is where contents of
/// secrets and configs are written to.
///
/// # Errors
/// An attribute that can't be had, by name.
pub fn wanted(
    model: &Model,
    project: &Project,
    name: &str,
    number: u32,
    store: &Path,
) -> Result<Wanted> {
    let service = project
        .services
        .get(name)
        .ok_or_else(|| Error::new(Kind::NoSuch, format!("no such service: {name}")))?;
    refuse::unsupported(model, name, service)?;
    refuse::cgroups(model, name, service)?;
    let mut options = Options {
        args: service.command.clone().unwrap_or_default(),
        entrypoint: service.entrypoint.clone(),
        env: environment(service),
        workdir: service.working_dir.clone(),
        user: service.user.clone(),
        group_add: service.group_add.clone(),
        hostname: service.hostname.clone(),
        domainname: service.domainname.clone(),
        tty: service.tty,
        interactive: service.stdin_open,
        init: service.init.unwrap_or(false),
        stop_signal: service.stop_signal.clone(),
        stop_timeout: service.stop_grace_period.map(|span| seconds(span.0)),
        read_only: service.read_only,
        tmpfs: service.tmpfs.clone(),
        device: devices(service),
        device_cgroup_rule: service.device_cgroup_rules.clone(),
        sysctl: pairs(&service.sysctls),
        ulimit: ulimits(service),
        cap_add: service.cap_add.clone(),
        cap_drop: service.cap_drop.clone(),
        privileged: service.privileged,
        security_opt: service.security_opt.clone(),
        oom_score_adj: service
            .oom_score_adj
            .and_then(|score| i32::try_from(score).ok()),
        shm_size: service.shm_size.map(|size| size.0.to_string()),
        platform: service.platform.clone(),
        restart: restart(service),
        annotation: pairs(&service.annotations),
        label: labels(model, project, name, service, number),
        ..Options::default()
    };
    limits::fill(service, &mut options);
    health(service, &mut options);
    logging(service, &mut options);
    let of = Of {
        model,
        project,
        name,
        service,
    };
    networks::fill(&of, number, &mut options)?;
    namespaces::fill(&of, &mut options);
    let (folders, late) = mounts::fill(&of, store, &mut options)?;
    Ok(Wanted {
        options,
        walls: service.isolation.0.clone(),
        image: image(project, name, service),
        no_command: service.command.as_ref().is_some_and(Vec::is_empty),
        folders,
        late,
    })
}

/// Refuses what can't be had of a project, before anything of it is made: attributes
/// that nothing here carries out, files and variables that are not there.
///
/// # Errors
/// The first one, by name and place.
pub fn check(model: &Model, project: &Project, store: &Path) -> Result<()> {
    for (name, service) in &project.services {
        wanted(model, project, name, 1, store)?;
        refuse::contents(model, project, service)?;
        refuse::folders(model, name, service)?;
    }
    let own = project.networks.iter().filter(|(_, it)| !it.external);
    own.into_iter()
        .try_for_each(|(name, network)| refuse::network(model, name, network))
}

/// The image of a service; one that is built and has no name is `PROJECT-SERVICE`.
pub fn image(project: &Project, name: &str, service: &Service) -> String {
    let named = service.image.clone().filter(|image| !image.is_empty());
    named.unwrap_or_else(|| format!("{}-{name}", project.name))
}

/// The name of an instance of a service.
pub(crate) fn instance_name(project: &Project, name: &str, number: u32) -> String {
    let own = project
        .services
        .get(name)
        .and_then(|service| service.container_name.clone());
    own.unwrap_or_else(|| format!("{}-{name}-{number}", project.name))
}

/// A variable that was not set anywhere takes the image's away.
fn environment(service: &Service) -> Vec<String> {
    let entry = |(name, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    };
    service.environment.iter().map(entry).collect()
}

fn pairs(map: &crate::project::Labels) -> Vec<String> {
    map.iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

/// Whole seconds, rounded up: a grace period is at least as long as it was asked for.
fn seconds(span: std::time::Duration) -> i64 {
    let whole = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX)
}

fn devices(service: &Service) -> Vec<String> {
    let text = |device: &crate::project::DeviceMapping| {
        let target = device.target.as_deref().unwrap_or(&device.source);
        let access = device.permissions.as_deref().unwrap_or("rwm");
        format!("{}:{target}:{access}", device.source)
    };
    service.devices.iter().map(text).collect()
}

fn ulimits(service: &Service) -> Vec<String> {
    let text = |(name, limit): (&String, &Ulimit)| match limit {
        Ulimit::Single(both) => format!("{name}={both}"),
        Ulimit::Both { soft, hard } => format!("{name}={soft}:{hard}"),
    };
    service.ulimits.iter().map(text).collect()
}

/// `restart`, or what `deploy.restart_policy` means for one host.
fn restart(service: &Service) -> Option<String> {
    if service.restart.is_some() {
        return service.restart.clone();
    }
    let policy = service.deploy.as_ref()?.restart_policy.as_ref()?;
    let text = match policy.condition.as_deref() {
        Some("none") => "no".to_owned(),
        Some("on-failure") => match policy.max_attempts {
            Some(most) => format!("on-failure:{most}"),
            None => "on-failure".to_owned(),
        },
        // `any`, which is also what nothing means.
        _ => match policy.max_attempts {
            Some(most) => format!("on-failure:{most}"),
            None => "always".to_owned(),
        },
    };
    Some(text)
}

fn health(service: &Service, options: &mut Options) {
    let Some(check) = &service.healthcheck else {
        return;
    };
    if check.disable {
        options.no_healthcheck = true;
        return;
    }
    let nanos = |span: crate::project::Span| format!("{}ns", span.0.as_nanos());
    options.health_cmd = Some(check.test.clone()).filter(|test| !test.is_empty());
    options.health_interval = check.interval.map(nanos);
    options.health_timeout = check.timeout.map(nanos);
    options.health_start_period = check.start_period.map(nanos);
    options.health_start_interval = check.start_interval.map(nanos);
    options.health_retries = check.retries.map(i64::from);
}

/// Logs are kept as by json-file; of a driver's options the sizes count.
fn logging(service: &Service, options: &mut Options) {
    let Some(logging) = &service.logging else {
        return;
    };
    if logging.driver.as_deref() == Some("none") {
        options.log_driver = Some("none".to_owned());
        return;
    }
    if logging.driver.is_some() {
        options.log_driver = Some("json-file".to_owned());
    }
    for (key, value) in &logging.options {
        if let ("max-size" | "max-file", Some(value)) = (key.as_str(), value) {
            options.log_opt.push(format!("{key}={value}"));
        }
    }
}

fn labels(
    model: &Model,
    project: &Project,
    name: &str,
    service: &Service,
    number: u32,
) -> Vec<String> {
    let mut labels = pairs(&service.labels);
    let dependencies = service.depends_on.iter().map(|(other, dependency)| {
        let condition = dependency.condition.as_str();
        format!("{other}:{condition}:{}", dependency.restart)
    });
    let files = model.files.iter().map(|file| file.display().to_string());
    let own = [
        (label::PROJECT, project.name.clone()),
        (label::SERVICE, name.to_owned()),
        (label::HASH, model.hash(name).unwrap_or_default()),
        (label::NUMBER, number.to_string()),
        (label::ONE_OFF, "False".to_owned()),
        (
            label::DEPENDS_ON,
            dependencies.collect::<Vec<_>>().join(","),
        ),
        (label::FOLDER, model.directory.display().to_string()),
        (label::FILES, files.collect::<Vec<_>>().join(",")),
        (label::VERSION, env!("CARGO_PKG_VERSION").to_owned()),
    ];
    labels.extend(own.map(|(key, value)| format!("{key}={value}")));
    if let Some(hash) = contents::hash(model, project, service) {
        labels.push(format!("{}={hash}", label::CONTENTS));
    }
    labels
}
