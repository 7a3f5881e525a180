//! What has to be done so that a project is there, or is gone: a pure function of
//! the project, of what is there, and of what the user wishes. The result is a
//! graph of steps; [`crate::apply`] walks it, `--dry-run` shows it.

mod down;
mod life;
mod present;
mod scale;
mod up;

use std::collections::{BTreeMap, BTreeSet};

pub use down::{Removal, down};
pub use life::{restart, start, stop};
pub use present::{Here, Needed, Present};
pub use up::up;

use crate::project::Condition;

/// When an instance is made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recreate {
    /// When its configuration or image has changed.
    #[default]
    Changed,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the user wishes of `up` and `create`.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The services that were named; none: all.
    pub services: Vec<String>,
    /// Leave dependencies of the named alone.
    pub no_deps: bool,
    /// For the named services.
    pub recreate: Recreate,
    /// For what they depend on.
    pub recreate_dependencies: Recreate,
    /// How many instances, by service.
    pub scale: BTreeMap<String, u32>,
    /// Create, but do not start.
    pub no_start: bool,
    /// Take instances of services away that the files do not have.
    pub remove_orphans: bool,
    /// Unnamed volumes are not taken over by new instances.
    pub renew_volumes: bool,
    /// Wait until all run, or are healthy where they have a check.
    pub wait: bool,
    /// Volumes whose configuration has changed are made anew, with all that they
    /// hold.
    pub replace_volumes: bool,
    /// Networks and volumes that no service uses are made, too.
    pub unused: bool,
}

/// Steps with what each has to wait for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps; each one's number is its place here.
    pub steps: Vec<Step>,
    /// Instances of services that the files do not have, which stay.
    pub orphans: Vec<String>,
    /// Volumes that would have to be made anew, and stay as they are.
    pub outdated_volumes: Vec<String>,
    /// Instances that are as they should be.
    pub kept: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is done.
    pub what: What,
    /// Steps that must be done before.
    pub after: BTreeSet<usize>,
    /// When it fails, that is told and the others go on.
    pub optional: bool,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Make a network, by its key in the file.
    CreateNetwork(String),
    /// Remove a network, by its name.
    RemoveNetwork(String),
    /// Make a volume, by its key in the file.
    CreateVolume(String),
    /// Remove a volume, by its name.
    RemoveVolume(String),
    /// Remove an image, by its name.
    RemoveImage(String),
    /// Make an instance.
    Create {
        /// Whose instance it is.
        service: String,
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
        /// The id of the one in whose place it comes.
        replaces: Option<String>,
    },
    /// Run the hooks that come before the first start of a service's new instances.
    PreStart(String),
    /// Start an instance, by its name.
    Start {
        /// Whose instance it is.
        service: String,
        /// Its name.
        name: String,
    },
    /// Wait until a service is as another one needs it.
    Await {
        /// The service.
        service: String,
        /// How it must be.
        until: Until,
    },
    /// Stop an instance.
    Stop {
        /// Whose instance it is.
        service: String,
        /// Its name.
        name: String,
        /// Its id.
        id: String,
    },
    /// Remove an instance that does not run.
    Remove {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
        /// Its unnamed volumes, too.
        volumes: bool,
    },
}

/// How a service must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// Its health checks pass.
    Healthy,
    /// It ended with 0.
    Completed,
    /// It runs, and is healthy where it has a check (`--wait`).
    Up,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Waits for all services that are started.
    pub fn wait_for_all(&mut self) {
        let mut services: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (index, step) in self.steps.iter().enumerate() {
            if let What::Start { service, .. } = &step.what {
                services.entry(service.clone()).or_default().insert(index);
            }
        }
        for (service, after) in services {
            let until = Until::Up;
            self.add(What::Await { service, until }, after);
        }
    }

    /// Waits until what a service depends on is as it needs it.
    pub fn wait_for_needs(service: &crate::project::Service) -> Plan {
        let mut plan = Plan::default();
        for (other, needed) in &service.depends_on {
            if let Some(until) = until(needed.condition) {
                let service = other.clone();
                let step = plan.add(What::Await { service, until }, []);
                plan.steps[step].optional = !needed.required;
            }
        }
        plan
    }

    /// Makes the networks and volumes of a service that are not there and that the
    /// plan does not make yet.
    pub fn add_resources_of(
        &mut self,
        project: &crate::project::Project,
        service: &str,
        present: &Present,
    ) {
        let Some(service) = project.services.get(service) else {
            return;
        };
        let networks = service
            .networks
            .keys()
            .filter_map(|key| Some((key, project.networks.get(key)?)));
        let networks =
            networks.filter(|(_, it)| !it.external && !present.networks.contains_key(&it.name));
        let mut missing: Vec<What> = networks
            .map(|(key, _)| What::CreateNetwork(key.clone()))
            .collect();
        let named = service
            .volumes
            .iter()
            .filter(|mount| mount.kind == "volume");
        let volumes = named.filter_map(|mount| mount.source.as_ref());
        let volumes = volumes.filter_map(|key| Some((key, project.volumes.get(key)?)));
        let volumes =
            volumes.filter(|(_, it)| !it.external && !present.volumes.contains_key(&it.name));
        missing.extend(volumes.map(|(key, _)| What::CreateVolume(key.clone())));
        for what in missing {
            if !self.steps.iter().any(|step| step.what == what) {
                self.add(what, []);
            }
        }
    }

    pub(crate) fn add(&mut self, what: What, after: impl IntoIterator<Item = usize>) -> usize {
        self.steps.push(Step {
            what,
            after: after.into_iter().collect(),
            optional: false,
        });
        self.steps.len() - 1
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::CreateNetwork(key) => write!(f, "create network {key}"),
            What::RemoveNetwork(name) => write!(f, "remove network {name}"),
            What::CreateVolume(key) => write!(f, "create volume {key}"),
            What::RemoveVolume(name) => write!(f, "remove volume {name}"),
            What::RemoveImage(name) => write!(f, "remove image {name}"),
            What::Create {
                name,
                replaces: None,
                ..
            } => write!(f, "create {name}"),
            What::Create { name, .. } => write!(f, "recreate {name}"),
            What::PreStart(service) => write!(f, "run hooks before {service} starts"),
            What::Start { name, .. } => write!(f, "start {name}"),
            What::Await { service, until } => {
                let until = match until {
                    Until::Healthy => "is healthy",
                    Until::Completed => "has completed",
                    Until::Up => "is up",
                };
                write!(f, "wait until {service} {until}")
            }
            What::Stop { name, .. } => write!(f, "stop {name}"),
            What::Remove { name, .. } => write!(f, "remove {name}"),
        }
    }
}

/// What has to be waited for; `service_started` is no more than an order of steps.
pub(crate) fn until(condition: Condition) -> Option<Until> {
    match condition {
        Condition::ServiceStarted => None,
        Condition::ServiceHealthy => Some(Until::Healthy),
        Condition::ServiceCompletedSuccessfully => Some(Until::Completed),
    }
}
