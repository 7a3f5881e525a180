//! `--network`, and what is said of the links: names and addresses.

use super::addresses::{check_dns_name, parse_ip, parse_ip6, parse_mac};
use super::fields::{check_name, split_csv};
use super::{Context, conflict, invalid};
use crate::error::{Error, Kind, Result};
use crate::workload::model::{Attachment, DEFAULT_NETWORK, Network};
use crate::workload::walls::Feature;

pub(super) fn network(cx: &Context<'_>) -> Result<Network> {
    let said = &cx.options.network;
    let Some(alone) = said.iter().find(|text| stands_alone(text)) else {
        return bridged(cx).map(Network::Bridged);
    };
    if said.len() > 1 {
        return Err(conflict(format!(
            "--network {alone} can't be had together with other networks"
        )));
    }
    let what = format!("--network {alone}");
    let network = match alone.strip_prefix("container:") {
        None if alone == "none" => {
            cx.wall.require(Feature::NetworkNone, &what)?;
            Network::None
        }
        None => {
            cx.wall.require(Feature::NetworkHost, &what)?;
            Network::Host
        }
        Some(other) => {
            cx.wall.require(Feature::NetworkContainer, &what)?;
            joined(cx, alone, other)?
        }
    };
    let options = cx.options;
    refuse_together(
        alone,
        &[
            ("--network-alias", !options.network_alias.is_empty()),
            ("--ip", options.ip.is_some()),
            ("--ip6", options.ip6.is_some()),
            ("--mac-address", options.mac_address.is_some()),
        ],
        "it has no link of its own to a network",
    )?;
    Ok(network)
}

/// It is a way to be attached rather than the name of a network.
fn stands_alone(text: &str) -> bool {
    matches!(text, "none" | "host") || text.starts_with("container:")
}

/// The network of another instance: what belongs to that instance can't be said here.
fn joined(cx: &Context<'_>, text: &str, other: &str) -> Result<Network> {
    check_name(other).map_err(|why| invalid("--network", text, why))?;
    let options = cx.options;
    refuse_together(
        text,
        &[
            ("--hostname", options.hostname.is_some()),
            ("--dns", !options.dns.is_empty()),
            ("--dns-search", !options.dns_search.is_empty()),
            ("--dns-option", !options.dns_option.is_empty()),
            ("--add-host", !options.add_host.is_empty()),
            ("--publish", !options.publish.is_empty()),
            ("--publish-all", options.publish_all),
            ("--expose", !options.expose.is_empty()),
        ],
        "names and ports are the other instance's",
    )?;
    Ok(Network::Instance(other.to_owned()))
}

/// Refuses the first of some flags that was given beside `--network NETWORK`.
pub(super) fn refuse_together(network: &str, flags: &[(&str, bool)], why: &str) -> Result<()> {
    match flags.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => Err(conflict(format!(
            "{flag} can't be had with --network {network}: {why}"
        ))),
    }
}

/// Links to all that is named, or to the default network.
fn bridged(cx: &Context<'_>) -> Result<Vec<Attachment>> {
    let said = &cx.options.network;
    let mut links: Vec<Attachment> = Vec::new();
    for text in said {
        cx.wall
            .require(Feature::NetworkBridge, &format!("--network {text}"))?;
        let link = long_or_short(text)?;
        if links.iter().any(|other| other.network == link.network) {
            return Err(conflict(format!(
                "--network {text:?}: the network {:?} was named before",
                link.network
            )));
        }
        links.push(link);
    }
    if links.is_empty() {
        cx.wall.require(
            Feature::NetworkBridge,
            &format!("the network `{DEFAULT_NETWORK}`"),
        )?;
        links.push(Attachment {
            network: DEFAULT_NETWORK.to_owned(),
            ..Attachment::default()
        });
    }
    if let Some(first) = links.first_mut() {
        let options = cx.options;
        let flags = LinkFlags {
            alias_flag: "--network-alias",
            aliases: &options.network_alias,
            ip: options.ip.as_deref(),
            ip6: options.ip6.as_deref(),
            mac: options.mac_address.as_deref(),
        };
        short_flags(&flags, first)?;
    }
    same_address(&links)?;
    Ok(links)
}

/// `NAME`, or fields such as `name=NAME,alias=A,ip=ADDRESS`.
fn long_or_short(text: &str) -> Result<Attachment> {
    if !text.contains('=') {
        return Ok(Attachment {
            network: network_name(text, text)?,
            ..Attachment::default()
        });
    }
    let wrong = |why: String| invalid("--network", text, why);
    let fields = split_csv(text).ok_or_else(|| wrong("a quote is not closed".to_owned()))?;
    let mut link = Attachment::default();
    for field in fields {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        let key = key.trim().to_ascii_lowercase();
        let value = value.trim();
        if value.is_empty() {
            return Err(wrong(format!("{key:?} needs a value")));
        }
        let wrong = |why: String| wrong(format!("{key}: {why}"));
        match key.as_str() {
            "name" => link.network = network_name(text, value)?,
            "alias" => {
                check_dns_name(value).map_err(wrong)?;
                push_new(&mut link.aliases, value);
            }
            "ip" => link.ip = Some(parse_ip(value).map_err(wrong)?),
            "ip6" => link.ip6 = Some(parse_ip6(value).map_err(wrong)?),
            "mac-address" => link.mac = Some(parse_mac(value).map_err(wrong)?),
            "driver-opt" | "link-local-ip" | "gw-priority" => {
                let message = format!("--network {text:?}: {key} can't be had");
                let hint = "the fields are name, alias, ip, ip6 and mac-address";
                return Err(Error::new(Kind::Unsupported, message).hint(hint));
            }
            _ => {
                return Err(invalid("--network", text, format!("no field {key:?}"))
                    .hint("the fields are name, alias, ip, ip6 and mac-address"));
            }
        }
    }
    if link.network.is_empty() {
        return Err(wrong("it needs the field name".to_owned()));
    }
    Ok(link)
}

/// A network's name; `bridge` is what Docker calls its default.
fn network_name(text: &str, name: &str) -> Result<String> {
    if stands_alone(name) {
        return Err(invalid(
            "--network",
            text,
            format!("{name} takes no fields; write --network {name}"),
        ));
    }
    check_name(name).map_err(|why| invalid("--network", text, why))?;
    Ok(match name {
        "bridge" => DEFAULT_NETWORK.to_owned(),
        name => name.to_owned(),
    })
}

/// What flags say about one link; texts as the user wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkFlags<'a> {
    /// The flag that gives aliases, as `--alias`.
    pub alias_flag: &'a str,
    /// Further names.
    pub aliases: &'a [String],
    /// `--ip`.
    pub ip: Option<&'a str>,
    /// `--ip6`.
    pub ip6: Option<&'a str>,
    /// `--mac-address`.
    pub mac: Option<&'a str>,
}

/// A link to the network that `text` names, as `--network` does, with what flags
/// say about it.
///
/// # Errors
/// A name or address that can't be, or one that is said twice.
pub fn attachment(text: &str, flags: &LinkFlags<'_>) -> Result<Attachment> {
    let mut link = long_or_short(text)?;
    short_flags(flags, &mut link)?;
    Ok(link)
}

/// Adds what the flags say.
fn short_flags(flags: &LinkFlags<'_>, link: &mut Attachment) -> Result<()> {
    let both = |flag: &Option<&str>, field: bool| flag.is_some() && field;
    let alias = flags.alias_flag;
    let twice = [
        (
            alias,
            "alias",
            !flags.aliases.is_empty() && !link.aliases.is_empty(),
        ),
        ("--ip", "ip", both(&flags.ip, link.ip.is_some())),
        ("--ip6", "ip6", both(&flags.ip6, link.ip6.is_some())),
        (
            "--mac-address",
            "mac-address",
            both(&flags.mac, link.mac.is_some()),
        ),
    ];
    if let Some((flag, field, _)) = twice.iter().find(|(.., both)| *both) {
        return Err(conflict(format!(
            "{flag} and the field {field} of --network name={},... contradict each other",
            link.network
        )));
    }
    for name in flags.aliases {
        check_dns_name(name).map_err(|why| invalid(alias, name, why))?;
        push_new(&mut link.aliases, name);
    }
    if let Some(text) = flags.ip {
        link.ip = Some(parse_ip(text).map_err(|why| invalid("--ip", text, why))?);
    }
    if let Some(text) = flags.ip6 {
        link.ip6 = Some(parse_ip6(text).map_err(|why| invalid("--ip6", text, why))?);
    }
    if let Some(text) = flags.mac {
        link.mac = Some(parse_mac(text).map_err(|why| invalid("--mac-address", text, why))?);
    }
    Ok(())
}

fn push_new(list: &mut Vec<String>, word: &str) {
    if !list.iter().any(|have| have == word) {
        list.push(word.to_owned());
    }
}

/// Two links of one instance can't have the same address.
fn same_address(links: &[Attachment]) -> Result<()> {
    for (at, link) in links.iter().enumerate() {
        for other in &links[..at] {
            let shared = match (link.ip, link.ip6, link.mac) {
                (Some(ip), _, _) if other.ip == Some(ip) => ip.to_string(),
                (_, Some(ip), _) if other.ip6 == Some(ip) => ip.to_string(),
                (_, _, Some(mac)) if other.mac == Some(mac) => mac.to_string(),
                _ => continue,
            };
            return Err(conflict(format!(
                "--network: {shared} is asked for on {} and on {}",
                other.network, link.network
            )));
        }
    }
    Ok(())
}
