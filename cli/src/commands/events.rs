//! `isola events`

use std::cell::RefCell;
use std::io::{self, BufWriter, Write};

use isola_journal::{Event, Subject};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::error::{Exit, Failure, Result};
use crate::events::{self, Span, Wanted};
use crate::output::{Format, Rows, clean};

/// Show what happens to instances, images, networks and volumes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    span: Span,
    /// Only those with type, event, container, image, label, network, volume, isolation
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// json, or a template such as '{{.Type}} {{.Action}} {{.Actor.ID}}'
    #[arg(long)]
    format: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola events
  isola events --since 10m --until 0s --filter container=web
  isola events --filter event=die --format '{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}'";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let wanted = Wanted::parse(&args.filter)?;
    let format = match args.format.as_deref().map(str::trim) {
        // Go's names of fields and of JSON's keys are not the same.
        Some("{{json .}}" | "{{ json . }}") => Format::Json,
        other => Format::parse(other)?,
    };
    let out = RefCell::new(BufWriter::new(io::stdout()));
    let each = |event: &Event| {
        if !wanted.fits(event) {
            return Ok(());
        }
        let text = match &format {
            Format::Table => line(event),
            Format::Json => format!("{}\n", as_json(event)),
            template => template.render_rows(&Rows {
                fields: &[],
                shown: &[],
                rows: vec![as_fields(event)],
            })?,
        };
        let mut out = out.borrow_mut();
        out.write_all(text.as_bytes()).map_err(Failure::output)
    };
    let flush = || out.borrow_mut().flush().map_err(Failure::output);
    events::follow(context, &args.span, each, flush)?;
    Ok(Exit::OK)
}

/// As `docker events` prints it.
fn line(event: &Event) -> String {
    let time = events::time(event).to_zoned(TimeZone::system());
    let zone = match time.offset().is_zero() {
        true => "Z".to_owned(),
        false => time.strftime("%:z").to_string(),
    };
    let attributes = event.attributes.iter();
    let attributes: Vec<String> = attributes
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let text = format!(
        "{}{zone} {} {} {} ({})",
        time.strftime("%Y-%m-%dT%H:%M:%S%.9f"),
        event.subject.as_str(),
        event.action,
        event.id,
        attributes.join(", ")
    );
    clean(&text) + "\n"
}

/// The fields of Docker's message, by the names that its JSON has.
fn as_json(event: &Event) -> Value {
    let mut all = Map::new();
    if event.subject == Subject::Container || event.subject == Subject::Image {
        all.insert("status".to_owned(), json!(event.action));
        all.insert("id".to_owned(), json!(event.id));
    }
    if let (Subject::Container, Some(image)) = (event.subject, event.attributes.get("image")) {
        all.insert("from".to_owned(), json!(image));
    }
    all.insert("Type".to_owned(), json!(event.subject.as_str()));
    all.insert("Action".to_owned(), json!(event.action));
    let actor = json!({"ID": event.id, "Attributes": event.attributes});
    all.insert("Actor".to_owned(), actor);
    all.insert("scope".to_owned(), json!("local"));
    all.insert("time".to_owned(), json!(event.time / 1_000_000_000));
    all.insert("timeNano".to_owned(), json!(event.time));
    Value::Object(all)
}

/// The same by the names that its templates have.
fn as_fields(event: &Event) -> Value {
    json!({
        "Status": event.action,
        "ID": event.id,
        "From": event.attributes.get("image").cloned().unwrap_or_default(),
        "Type": event.subject.as_str(),
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": event.attributes},
        "Scope": "local",
        "Time": event.time / 1_000_000_000,
        "TimeNano": event.time,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_json_are_dockers() {
        let event = Event {
            time: 1_795_348_800_000_000_005,
            ..Event::now(Subject::Container, "die", "ab12")
        }
        .with([("name", "web"), ("image", "nginx"), ("exitCode", "3")]);
        let text = line(&event);
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.contains(":00.000000005"), "{time}");
        assert_eq!(
            rest,
            "container die ab12 (exitCode=3, image=nginx, name=web)\n"
        );
        let expected = r#"{"Action":"die","Actor":{"Attributes":{"exitCode":"3","image":"nginx","name":"web"},"ID":"ab12"},"Type":"container","from":"nginx","id":"ab12","scope":"local","status":"die","time":1795348800,"timeNano":1795348800000000005}"#;
        let mut keys: Vec<_> = expected.split(',').collect();
        let found = as_json(&event).to_string();
        let mut found: Vec<_> = found.split(',').collect();
        let plain = |words: &mut Vec<&str>| {
            words
                .iter_mut()
                .for_each(|word| *word = word.trim_matches(['{', '}']))
        };
        plain(&mut keys);
        plain(&mut found);
        keys.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, keys);
    }
}
