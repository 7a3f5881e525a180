//! `isola compose events`

use std::cell::RefCell;
use std::io::{self, BufWriter, Write};

use isola_compose::label;
use isola_journal::{Event, Subject};
use jiff::tz::TimeZone;
use serde_json::json;

use super::ProjectArgs;
use super::scope::Scope;
use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::events::{self, Span};
use crate::output::clean;

/// Show what happens to the instances of services
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// An object of JSON a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    span: Span,
    /// Services; all, if none is given
    services: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  isola compose events
  isola compose events --json web
  isola compose events --since 10m --until 0s";

pub(super) fn run(args: &Args, project: &ProjectArgs, context: &Context) -> Result<Exit> {
    let scope = Scope::of_any(project, &args.services, context)?;
    let out = RefCell::new(BufWriter::new(io::stdout()));
    let each = |event: &Event| {
        let Some(service) = service(event, &scope) else {
            return Ok(());
        };
        let text = match args.json {
            true => as_json(event, service),
            false => line(event),
        };
        let mut out = out.borrow_mut();
        out.write_all(text.as_bytes()).map_err(Failure::output)
    };
    let flush = || out.borrow_mut().flush().map_err(Failure::output);
    events::follow(context, &args.span, each, flush)?;
    Ok(Exit::OK)
}

/// The service whose instance it is about, if it is one that is meant.
fn service<'a>(event: &'a Event, scope: &Scope) -> Option<&'a str> {
    let labels = &event.attributes;
    let service = labels.get(label::SERVICE)?;
    let once = labels
        .get(label::ONE_OFF)
        .is_some_and(|once| once == "True");
    let meant = event.subject == Subject::Container
        && labels.get(label::PROJECT) == Some(&scope.name)
        && !once
        && (scope.services.is_empty() || scope.services.contains(service));
    meant.then_some(service)
}

/// What is said besides the labels by which Compose finds its own.
fn attributes(event: &Event) -> impl Iterator<Item = (&String, &String)> {
    let own = |key: &String| key.starts_with("com.docker.compose.");
    event.attributes.iter().filter(move |(key, _)| !own(key))
}

fn line(event: &Event) -> String {
    let time = events::time(event).to_zoned(TimeZone::system());
    let words: Vec<String> = attributes(event)
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let text = format!(
        "{} {} {} {} ({})",
        time.strftime("%Y-%m-%d %H:%M:%S%.6f"),
        event.subject.as_str(),
        event.action,
        event.id,
        words.join(", ")
    );
    clean(&text) + "\n"
}

fn as_json(event: &Event, service: &str) -> String {
    let attributes: serde_json::Map<_, _> = attributes(event)
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let value = json!({
        "time": events::time(event).to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string(),
        "type": event.subject.as_str(),
        "action": event.action,
        "id": event.id,
        "service": service,
        "attributes": attributes,
    });
    format!("{value}\n")
}
