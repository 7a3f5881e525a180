//! `isola inspect`

use clap_complete::engine::ArgValueCandidates;
use serde_json::Value;

use super::image::image_details;
use super::network::network_details;
use super::volume::volume_details;
use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::instances::details;
use crate::output::{Format, print_json, print_line};
use crate::template::Template;

/// Show everything about instances, images, networks or volumes, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// json, or a template such as '{{.State.Status}}'
    #[arg(short, long)]
    format: Option<String>,
    /// Only look among instance, image, network or volume
    #[arg(long = "type", value_name = "TYPE")]
    #[arg(value_parser = ["instance", "container", "image", "network", "volume"])]
    kind: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(complete::instances))]
    names: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola inspect web
  isola inspect --format '{{.State.Status}} {{.State.Pid}}' web
  isola inspect --type image debian";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    show(
        context,
        &args.names,
        args.format.as_deref(),
        |name| match args.kind.as_deref() {
            Some("image") => image_details(context, name),
            Some("network") => network_details(context, name),
            Some("volume") => volume_details(context, name, false),
            Some(_) => instance(context, name),
            None => anything(context, name),
        },
    )
}

/// The first that is called so, in the order in which Docker looks.
fn anything(context: &Context, name: &str) -> Result<Value> {
    type Find = fn(&Context, &str) -> Result<Value>;
    let kinds: [Find; 4] = [instance, image_details, network_details, |context, name| {
        volume_details(context, name, false)
    }];
    for find in kinds {
        match find(context, name) {
            // What can't be the name of one may be that of another.
            Err(failure) if is_absent(&failure) => {}
            found => return found,
        }
    }
    let message = format!("no such instance, image, network or volume: {name}");
    Err(Failure::new(Code::NoSuch, message).hint("`isola ps -a` and `isola images` list them"))
}

fn is_absent(failure: &Failure) -> bool {
    matches!(
        failure.code,
        Code::NoSuch | Code::NoImage | Code::NoNetwork | Code::NoVolume | Code::Invalid
    )
}

fn instance(context: &Context, name: &str) -> Result<Value> {
    details(context, &context.find(name)?)
}

/// Prints what is found as an array, or through a template one by one. What is
/// not found is reported, and the rest still shown.
pub(crate) fn show(
    context: &Context,
    names: &[String],
    format: Option<&str>,
    find: impl Fn(&str) -> Result<Value>,
) -> Result<Exit> {
    let format = Format::parse(format)?;
    let mut found = Vec::new();
    let exit = context.each(names, |name| {
        found.push(find(name)?);
        Ok(())
    })?;
    match format {
        Format::Table => print_json(&Value::Array(found))?,
        Format::Json => print_line(&Value::Array(found).to_string())?,
        Format::Template(template) | Format::TableOf(template) => print_each(&template, &found)?,
    }
    Ok(exit)
}

fn print_each(template: &Template, found: &[Value]) -> Result<()> {
    for value in found {
        let line = template.render(value);
        print_line(&line.map_err(|error| {
            Failure::new(Code::Template, format!("the template of --format: {error}"))
        })?)?;
    }
    Ok(())
}
