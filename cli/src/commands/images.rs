//! `isola images`

use isola_images::{Reference, Summary};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::filter::Filters;
use crate::output::{Column, Format, Rows, decimal_size, local_time, print, since};

/// List images
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Accepted for Docker's sake: there are no intermediate images to hide
    #[arg(short, long)]
    all: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show the digests of manifests
    #[arg(long)]
    digests: bool,
    /// Only those with reference, label, dangling, before, since
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, or a template such as '{{.Repository}}:{{.Tag}}'
    #[arg(long)]
    format: Option<String>,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
    /// Only images of this name, with * and ? as in a shell
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola images
  isola images --filter 'reference=deb*:12'
  isola images --format '{{.Repository}}:{{.Tag}} {{.Size}}'";

const FIELDS: &[Column] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
];
const SHOWN: &[&str] = &["Repository", "Tag", "ID", "CreatedSince", "Size"];
const WITH_DIGESTS: &[&str] = &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"];
const FILTERS: &[&str] = &["reference", "label", "dangling", "before", "since"];
const NONE: &str = "<none>";

/// An image under one of its names, or under none.
struct Named<'a> {
    image: &'a Summary,
    name: Option<&'a Reference>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let mut filters = Filters::parse(&args.filter, FILTERS)?;
    filters.words("dangling", &["true", "false", "1", "0"])?;
    if let Some(name) = &args.name {
        filters.add("reference", name);
    }
    let all = context.store()?.list()?;
    let mut listed = select(&all, &filters, context)?;
    if args.quiet && args.format.is_none() {
        listed.dedup_by_key(|named| named.image.id);
        let ids = listed
            .iter()
            .map(|named| id(named.image, args.no_trunc) + "\n");
        print(&ids.collect::<String>())?;
        return Ok(Exit::OK);
    }
    let instances = context.engine()?.list()?;
    let users = |image: &Summary| {
        let id = image.id.to_string();
        instances
            .iter()
            .filter(|instance| instance.record.workload.image_id == id)
            .count()
    };
    let rows = listed
        .iter()
        .map(|named| row(named, users(named.image), args.no_trunc))
        .collect();
    let shown = if args.digests { WITH_DIGESTS } else { SHOWN };
    format.print_rows(&Rows {
        fields: FIELDS,
        shown,
        rows,
    })?;
    Ok(Exit::OK)
}

fn id(image: &Summary, no_trunc: bool) -> String {
    match no_trunc {
        true => image.id.to_string(),
        false => image.id.short(),
    }
}

fn created(image: &Summary) -> Option<u64> {
    let time: Timestamp = image.created.as_deref()?.parse().ok()?;
    u64::try_from(time.as_millisecond())
        .ok()
        .filter(|ms| *ms > 0)
}

fn row(named: &Named<'_>, users: usize, no_trunc: bool) -> Value {
    let image = named.image;
    let time = created(image);
    json!({
        "Repository": named.name.map_or(NONE.to_owned(), Reference::familiar_name),
        "Tag": named.name.and_then(Reference::tag).unwrap_or(NONE),
        "Digest": image.digest.to_string(),
        "ID": id(image, no_trunc),
        "CreatedSince": time.map_or("N/A".to_owned(), since),
        "CreatedAt": time.map_or("N/A".to_owned(), local_time),
        "Size": decimal_size(image.size),
        "Containers": users.to_string(),
    })
}

fn select<'a>(all: &'a [Summary], filters: &Filters, context: &Context) -> Result<Vec<Named<'a>>> {
    let before = bound(all, filters, "before")?;
    let since = bound(all, filters, "since")?;
    let mut listed = Vec::new();
    for image in all {
        let time = created(image).unwrap_or(0);
        if before.is_some_and(|limit| time >= limit) || since.is_some_and(|limit| time <= limit) {
            continue;
        }
        if filters.has("label") && !filters.labels(&labels(image, context)?) {
            continue;
        }
        let names = image.references.iter().map(Some);
        let names = names.chain(image.references.is_empty().then_some(None));
        let named = names.map(|name| Named { image, name });
        listed.extend(named.filter(|named| {
            let dangling = named.name.is_none();
            filters.any("dangling", |value| {
                matches!(value.as_str(), "true" | "1") == dangling
            }) && filters.any("reference", |pattern| {
                named.name.is_some_and(|name| fits(pattern, name))
            })
        }));
    }
    Ok(listed)
}

pub(super) fn labels(
    image: &Summary,
    context: &Context,
) -> Result<std::collections::BTreeMap<String, String>> {
    let details = context.store()?.inspect(&image.id.to_string())?;
    let labels = details
        .pointer("/Config/Labels")
        .cloned()
        .unwrap_or(Value::Null);
    Ok(serde_json::from_value(labels).unwrap_or_default())
}

/// When the image that a filter names was made.
fn bound(all: &[Summary], filters: &Filters, key: &str) -> Result<Option<u64>> {
    let Some(wanted) = filters.values(key).last() else {
        return Ok(None);
    };
    let reference = wanted.parse::<Reference>().ok();
    let digits = wanted.trim_start_matches("sha256:");
    let is_it = |image: &&Summary| {
        reference
            .as_ref()
            .is_some_and(|reference| image.references.contains(reference))
            || digits.len() >= 3 && image.id.hex().starts_with(digits)
    };
    match all.iter().find(is_it) {
        Some(image) => Ok(Some(created(image).unwrap_or(0))),
        None => Err(Failure::new(
            Code::NoImage,
            format!("the filter {key}: no such image: {wanted}"),
        )),
    }
}

/// Docker's rule: the pattern is for the name alone or for name and tag.
fn fits(pattern: &str, name: &Reference) -> bool {
    let texts = [name.familiar_name(), name.familiar(), name.to_string()];
    texts
        .iter()
        .any(|text| glob(pattern.as_bytes(), text.as_bytes()))
}

/// `*` and `?` as in path.Match: a slash is not matched by either.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            let end = text
                .iter()
                .position(|byte| *byte == b'/')
                .unwrap_or(text.len());
            (0..=end).any(|taken| glob(rest, &text[taken..]))
        }
        (Some((b'?', rest)), Some((byte, more))) => *byte != b'/' && glob(rest, more),
        (Some((one, rest)), Some((other, more))) => one == other && glob(rest, more),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_a_shells() {
        for (pattern, name, expected) in [
            ("debian", "debian:12", true),
            ("deb*", "debian:12", true),
            ("debian:1?", "debian:12", true),
            ("*", "debian", true),
            ("*", "isola/demo", false),
            ("*/*", "isola/demo", true),
            ("docker.io/library/debian:*", "debian", true),
            ("debian:13", "debian:12", false),
            ("bian", "debian", false),
        ] {
            assert_eq!(
                fits(pattern, &name.parse().unwrap()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
