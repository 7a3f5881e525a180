//! `isola inspect`

use clap_complete::engine::ArgValueCandidates;
use serde_json::Value;

use super::image::image_details;
use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::instances::details;
use crate::output::{Format, print_json, print_line};
use crate::template::Template;

/// Show everything about instances or images, as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// json, or a template such as '{{.State.Status}}'
    #[arg(short, long)]
    format: Option<String>,
    /// Only look among instances or images
    #[arg(long = "type", value_parser = ["instance", "container", "image"], value_name = "TYPE")]
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
            Some(_) => instance(context, name),
            None => match instance(context, name) {
                Err(failure) if failure.code == Code::NoSuch => {
                    image_details(context, name).map_err(|image| neither(name, image))
                }
                found => found,
            },
        },
    )
}

fn instance(context: &Context, name: &str) -> Result<Value> {
    let engine = context.engine()?;
    let instance = engine.find(name)?;
    Ok(details(&instance, &engine.files(&instance)))
}

fn neither(name: &str, image: Failure) -> Failure {
    match image.code {
        Code::NoImage | Code::Invalid => {
            Failure::new(Code::NoSuch, format!("no such instance or image: {name}"))
                .hint("`isola ps -a` and `isola images` list them")
        }
        _ => image,
    }
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
