//! `isola network ls`

use isola_net::Network;
use serde_json::{Value, json};

use super::Users;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::filter::Filters;
use crate::output::{Column, Format, Rows, local_time, print_line};

/// List networks
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Only those with id, name, driver, scope, label, type, dangling
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, or a template such as '{{.Name}} {{.Subnet}}'
    #[arg(long)]
    format: Option<String>,
    /// Do not cut ids
    #[arg(long)]
    no_trunc: bool,
}

const EXAMPLES: &str = "Examples:
  isola network ls
  isola network ls --filter dangling=true -q
  isola network ls --format 'table {{.Name}}\\t{{.Subnet}}\\t{{.Bridge}}'";

const FIELDS: &[Column] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Subnet", "SUBNET"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
    ("Bridge", "BRIDGE"),
];
const SHOWN: &[&str] = &["ID", "Name", "Driver", "Scope"];
const FILTERS: &[&str] = &["id", "name", "driver", "scope", "label", "type", "dangling"];

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let format = Format::parse(args.format.as_deref())?;
    let filters = Filters::parse(&args.filter, FILTERS)?;
    filters.words("type", &["custom", "builtin"])?;
    filters.words("dangling", &["true", "false", "1", "0"])?;
    let users = Users::read(context)?;
    let mut all = context.networks()?.list()?;
    all.retain(|network| fits(network, &filters, &users));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    if args.quiet && args.format.is_none() {
        all.iter()
            .try_for_each(|network| print_line(id(network, args.no_trunc)))?;
        return Ok(Exit::OK);
    }
    let rows = all.iter().map(|network| row(network, args.no_trunc));
    format.print_rows(&Rows {
        fields: FIELDS,
        shown: SHOWN,
        rows: rows.collect(),
    })?;
    Ok(Exit::OK)
}

fn fits(network: &Network, filters: &Filters, users: &Users) -> bool {
    let builtin = network.name == isola_net::DEFAULT;
    filters.any("id", |id| network.id.starts_with(id.as_str()))
        && filters.any("name", |name| network.name.contains(name.as_str()))
        && filters.any("driver", |driver| *driver == network.driver)
        && filters.any("scope", |scope| scope == "local")
        && filters.any("type", |kind| (kind == "builtin") == builtin)
        && filters.any("dangling", |word| {
            matches!(word.as_str(), "true" | "1") == users.of(network).is_none()
        })
        && filters.labels(&network.labels)
}

fn id(network: &Network, no_trunc: bool) -> &str {
    match no_trunc {
        true => &network.id,
        false => network.short_id(),
    }
}

fn row(network: &Network, no_trunc: bool) -> Value {
    let labels = network.labels.iter().map(|(k, v)| format!("{k}={v}"));
    let subnets = network.subnets.iter().map(|part| part.subnet.to_string());
    json!({
        "ID": id(network, no_trunc),
        "Name": network.name,
        "Driver": network.driver,
        "Scope": "local",
        "Subnet": subnets.collect::<Vec<_>>().join(","),
        "IPv4": network.v4().is_some().to_string(),
        "IPv6": network.ipv6.to_string(),
        "Internal": network.internal.to_string(),
        "Labels": labels.collect::<Vec<_>>().join(","),
        "CreatedAt": local_time(network.created_ms),
        "Bridge": network.bridge,
    })
}
