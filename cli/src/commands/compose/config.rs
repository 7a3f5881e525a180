//! `isola compose config`

use std::path::PathBuf;

use clap::ValueEnum;
use isola_compose::{Model, Request};
use isola_images::Reference;
use serde_json::{Map, Value, json};

use super::ProjectArgs;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::output::{print, table};

/// Check a project and show it in canonical form
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Only these services and what they depend on
    services: Vec<String>,
    /// yaml or json
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// Check only
    #[arg(short, long)]
    quiet: bool,
    /// Write to a file
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Leave variables as they are
    #[arg(long)]
    no_interpolate: bool,
    /// Do not check the parts against each other
    #[arg(long)]
    no_consistency: bool,
    /// Leave out defaults and names that files do not give
    #[arg(long)]
    no_normalize: bool,
    /// Leave relative paths as they are
    #[arg(long)]
    no_path_resolution: bool,
    /// Do not read files of variables
    #[arg(long)]
    no_env_resolution: bool,
    /// Put the digests that registries tell into the names of images
    #[arg(long)]
    resolve_image_digests: bool,
    /// Show only a file that overrides images by those with digests
    #[arg(long)]
    lock_image_digests: bool,
    #[command(flatten)]
    list: List,
}

/// Something else than the project.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct List {
    /// Names of services
    #[arg(long = "services")]
    service_names: bool,
    /// Names of volumes
    #[arg(long)]
    volumes: bool,
    /// Names of networks
    #[arg(long)]
    networks: bool,
    /// Names of models
    #[arg(long)]
    models: bool,
    /// Images
    #[arg(long)]
    images: bool,
    /// Profiles
    #[arg(long)]
    profiles: bool,
    /// Hashes of services, `*` for all
    #[arg(long, value_name = "SERVICES")]
    hash: Option<String>,
    /// Variables that are in force
    #[arg(long)]
    environment: bool,
    /// Variables that the files use
    #[arg(long)]
    variables: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Yaml,
    Json,
}

const EXAMPLES: &str = "Examples:
  isola compose config --quiet
  isola compose config --format json web
  isola compose config --hash '*'";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    // A hash is of the whole project's service, whatever is chosen.
    let interpolate = !args.no_interpolate && !args.list.variables;
    let request = Request {
        services: args.services.clone(),
        interpolate,
        consistency: !args.no_consistency && interpolate,
        normalize: !args.no_normalize,
        resolve_paths: !args.no_path_resolution,
        resolve_env: !args.no_env_resolution,
        ..project.request(context)?
    };
    let mut model = super::load(&request, context)?;
    if interpolate && !args.no_normalize {
        // What can be shown can also be used.
        model
            .project()
            .map_err(|invalid| super::refuse(&invalid, context))?;
    }
    if args.resolve_image_digests || args.lock_image_digests {
        resolve_images(&mut model, context)?;
    }
    let text = args
        .list
        .text(&model, args.format)?
        .or_else(|| args.lock_image_digests.then(|| model.image_lock()))
        .unwrap_or_else(|| match args.format {
            Some(Form::Json) => model.to_json(),
            Some(Form::Yaml) | None => model.to_yaml(),
        });
    match &args.output {
        _ if args.quiet => {}
        None => print(&text)?,
        Some(path) => std::fs::write(path, text)
            .map_err(|error| Failure::system(format!("write {}", path.display()), error))?,
    }
    Ok(Exit::OK)
}

impl List {
    fn text(&self, model: &Model, form: Option<Form>) -> Result<Option<String>> {
        let text = if self.service_names {
            lines(model.services())
        } else if self.volumes {
            lines(model.volumes())
        } else if self.networks {
            lines(model.networks())
        } else if self.models {
            lines(model.models())
        } else if self.images {
            lines(model.images())
        } else if self.profiles {
            lines(&model.profiles)
        } else if let Some(names) = &self.hash {
            hashes(model, names)?
        } else if self.environment {
            lines(
                model
                    .environment
                    .iter()
                    .map(|(name, value)| format!("{name}={value}")),
            )
        } else if self.variables {
            variables(model, form)
        } else {
            return Ok(None);
        };
        Ok(Some(text))
    }
}

/// Digests in the place of tags, as registries have them now.
fn resolve_images(model: &mut Model, context: &Context) -> Result<()> {
    let client = context.registries()?;
    model.replace_images(|image| {
        let reference: Reference = image.parse()?;
        if reference.digest().is_some() {
            return Ok(image.to_owned());
        }
        let (_, digest) = client.manifest(&reference)?;
        Ok(format!("{}@{digest}", reference.familiar_name()))
    })
}

fn lines<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("{item}\n")).collect()
}

fn hashes(model: &Model, names: &str) -> Result<String> {
    let mut services: Vec<&str> = match names {
        "*" => model.services(),
        names => names.split(',').collect(),
    };
    services.sort_unstable();
    let mut text = String::new();
    for service in services {
        let hash = model.hash(service).map_err(|hint| {
            Failure::new(Code::ComposeFile, format!("no such service: {service}")).hint(hint)
        })?;
        text.push_str(&format!("{service} {hash}\n"));
    }
    Ok(text)
}

fn variables(model: &Model, form: Option<Form>) -> String {
    if form == Some(Form::Json) {
        let variables = model.variables.iter().map(|(name, variable)| {
            let value = json!({
                "Name": name,
                "Required": variable.required,
                "DefaultValue": variable.default,
                "AlternateValue": variable.alternate,
            });
            (name.clone(), value)
        });
        let map: Map<String, Value> = variables.collect();
        return format!("{:#}\n", Value::Object(map));
    }
    let mut rows = vec![
        ["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(model.variables.iter().map(|(name, variable)| {
        vec![
            name.clone(),
            variable.required.to_string(),
            variable.default.clone(),
            variable.alternate.clone(),
        ]
    }));
    table(&rows)
}
