//! Which project a verb is about, and which of its instances: by the compose file,
//! or where there is none by the labels of what is there.

use std::collections::{BTreeMap, BTreeSet};

use isola_compose::apply::Loaded;
use isola_compose::label;
use isola_compose::plan::{Here, Present};
use isola_compose::project::Project;
use isola_compose::{Host, Model, Request};
use isola_runtime::engine::Instance;

use super::screen::Screen;
use super::{ProjectArgs, refuse, tell_notes};
use crate::context::Context;
use crate::error::{Code, Failure, Result};

/// A project.
pub(super) struct Scope {
    /// Its name.
    pub(super) name: String,
    /// Its file, where there is one.
    file: Option<(Model, Project)>,
    /// Services that were named.
    pub(super) services: Vec<String>,
    /// How what is done is shown.
    pub(super) screen: Screen,
    /// How much is done at once at most.
    pub(super) at_once: Option<usize>,
    /// What no service uses is made, too.
    pub(super) all_resources: bool,
}

impl Scope {
    /// The project of a compose file, with the named services and what they depend on.
    pub(super) fn of_file(
        args: &ProjectArgs,
        services: &[String],
        context: &Context,
    ) -> Result<Scope> {
        let request = Request {
            services: services.to_vec(),
            ..args.request(context)?
        };
        let screen = args.screen()?;
        let model = super::load(&request, context)?;
        let project = model
            .project()
            .map_err(|invalid| refuse(&invalid, context))?;
        let at_once = args.at_once(&model.environment)?;
        Ok(Scope {
            name: model.name.clone(),
            file: Some((model, project)),
            services: services.to_vec(),
            screen,
            at_once,
            all_resources: args.all_resources,
        })
    }

    /// The project of the file, or that of `-p` alone where there is no file. All of
    /// its services are on: what is there may have been started with any profile.
    pub(super) fn of_any(
        args: &ProjectArgs,
        services: &[String],
        context: &Context,
    ) -> Result<Scope> {
        let screen = args.screen()?;
        let mut request = args.request(context)?;
        request.profiles = vec!["*".to_owned()];
        let name = request.project_name.clone();
        let name = name.or_else(|| request.environment.get("COMPOSE_PROJECT_NAME").cloned());
        // A name alone means what is there of that name, wherever the user is: the file
        // that lies here may be another project's.
        let folders = match args.project_name.as_ref().filter(|_| args.files.is_empty()) {
            Some(name) => folders_of(name, context)?,
            None => BTreeSet::new(),
        };
        let elsewhere = |model: &Model| {
            !folders.is_empty() && !folders.contains(&*model.directory.to_string_lossy())
        };
        let scope = match (isola_compose::load(&request, &Host), name) {
            (Err(invalid), Some(name)) if invalid.is_without_file() || !folders.is_empty() => {
                Scope::of_name(name, args, services, &request.environment)?
            }
            (Ok(model), Some(name)) if elsewhere(&model) => {
                Scope::of_name(name, args, services, &request.environment)?
            }
            (Err(invalid), _) => return Err(refuse(&invalid, context)),
            (Ok(model), _) => {
                tell_notes(&model);
                let project = model
                    .project()
                    .map_err(|invalid| refuse(&invalid, context))?;
                let at_once = args.at_once(&model.environment)?;
                Scope {
                    name: model.name.clone(),
                    file: Some((model, project)),
                    services: services.to_vec(),
                    screen,
                    at_once,
                    all_resources: args.all_resources,
                }
            }
        };
        scope.check(context)?;
        Ok(scope)
    }

    /// What is there by that name, without a file.
    fn of_name(
        name: String,
        args: &ProjectArgs,
        services: &[String],
        environment: &BTreeMap<String, String>,
    ) -> Result<Scope> {
        Ok(Scope {
            name,
            file: None,
            services: services.to_vec(),
            screen: args.screen()?,
            at_once: args.at_once(environment)?,
            all_resources: args.all_resources,
        })
    }

    /// What is named must be a service of the file, or of what is there.
    fn check(&self, context: &Context) -> Result<()> {
        if self.services.is_empty() {
            return Ok(());
        }
        let mut known: BTreeSet<String> = self.known().iter().cloned().collect();
        known.extend(
            self.present(context)?
                .instances
                .into_iter()
                .map(|here| here.service),
        );
        match self.services.iter().find(|name| !known.contains(*name)) {
            None => Ok(()),
            Some(name) => {
                let names: Vec<&str> = known.iter().map(String::as_str).collect();
                let hint = match names.is_empty() {
                    true => "the project has no services".to_owned(),
                    false => format!("there are {}", names.join(", ")),
                };
                Err(Failure::new(Code::ComposeFile, format!("no such service: {name}")).hint(hint))
            }
        }
    }

    /// All services of the file.
    pub(super) fn known(&self) -> &[String] {
        self.file
            .as_ref()
            .map_or(&[], |(model, _)| &model.all_services)
    }

    pub(super) fn loaded(&self) -> Option<Loaded<'_>> {
        let (model, project) = self.file.as_ref()?;
        Some(Loaded { model, project })
    }

    /// Model and project of a scope with a file.
    pub(super) fn file(&self) -> Result<(&Model, &Project)> {
        let file = self.file.as_ref();
        let file = file.map(|(model, project)| (model, project));
        file.ok_or_else(|| Failure::internal("there is no compose file"))
    }

    pub(super) fn project(&self) -> Option<&Project> {
        self.file.as_ref().map(|(_, project)| project)
    }

    /// A variable of the user or of `.env` that is set to a truth.
    pub(super) fn says(&self, variable: &str) -> bool {
        let own = self
            .file
            .as_ref()
            .and_then(|(model, _)| model.environment.get(variable).cloned());
        let value = own.or_else(|| std::env::var(variable).ok());
        value.is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "t" | "true"))
    }

    /// What is there of the project.
    pub(super) fn present(&self, context: &Context) -> Result<Present> {
        Ok(Present::read(context.engine()?, &self.name)?)
    }

    /// Whether a service was named.
    pub(super) fn is_named(&self, service: &str) -> bool {
        self.services.iter().any(|name| name == service)
    }

    fn is_meant(&self, here: &Here) -> bool {
        self.services.is_empty() || self.services.contains(&here.service)
    }

    /// Instances of the named services, without one-off ones.
    pub(super) fn instances(&self, context: &Context) -> Result<Vec<Here>> {
        let mut all = self.present(context)?.instances;
        all.retain(|here| !here.one_off && self.is_meant(here));
        Ok(all)
    }

    /// The same as instances of the engine.
    pub(super) fn engines(&self, context: &Context) -> Result<Vec<Instance>> {
        let engine = context.engine()?;
        let found = self.instances(context)?;
        found
            .iter()
            .map(|here| Ok(engine.find(&here.id)?))
            .collect()
    }

    /// One instance of a service, by number, or the first that runs.
    pub(super) fn one(
        &self,
        service: &str,
        index: Option<u32>,
        context: &Context,
    ) -> Result<Instance> {
        let present = self.present(context)?;
        let mut all: Vec<&Here> = present.of(service).collect();
        all.sort_by_key(|here| (!here.state.is_live(), here.number));
        let found = match index {
            Some(index) => all.iter().find(|here| here.number == index),
            None => all.first(),
        };
        let Some(here) = found else {
            let message = match index {
                Some(index) => format!("service {service} has no instance {index}"),
                None => format!("service {service} has no instance"),
            };
            return Err(Failure::new(Code::NoSuch, message)
                .hint("`isola compose ps -a` lists what is there; `isola compose up` makes it"));
        };
        Ok(context.engine()?.find(&here.id)?)
    }
}

/// Folders of the files from which instances of a project were made.
fn folders_of(project: &str, context: &Context) -> Result<BTreeSet<String>> {
    let instances = context.engine()?.list()?;
    let labels = instances.iter().map(|it| &it.record.workload.labels);
    let mine = labels.filter(|labels| labels.get(label::PROJECT).is_some_and(|it| it == project));
    Ok(mine
        .filter_map(|labels| labels.get(label::FOLDER))
        .cloned()
        .collect())
}
