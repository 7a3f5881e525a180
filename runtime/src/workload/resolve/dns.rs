//! `--dns` and its kin, and `--add-host`.

use std::net::IpAddr;

use super::addresses::check_dns_name;
use super::{Context, conflict, invalid};
use crate::error::Result;
use crate::workload::model::{Dns, HOST_GATEWAY, Network};

/// Where names are asked for.
pub(super) fn dns(cx: &Context<'_>) -> Result<Dns> {
    let options = cx.options;
    let server = |text: &String| {
        let address: IpAddr = text
            .parse()
            .map_err(|_| invalid("--dns", text, "not an IP address"))?;
        match address.is_unspecified() || address.is_multicast() {
            true => Err(invalid("--dns", text, "no server can have this address")),
            false => Ok(address),
        }
    };
    let servers = options.dns.iter().map(server).collect::<Result<_>>()?;
    let search = match options.dns_search.as_slice() {
        [] => None,
        [dot] if dot == "." => Some(Vec::new()),
        domains => Some(domains.iter().map(domain).collect::<Result<_>>()?),
    };
    for option in &options.dns_option {
        // Options as `ndots:2` (resolv.conf(5)).
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.');
        if option.is_empty() || !option.chars().all(plain) {
            return Err(invalid(
                "--dns-option",
                option,
                "not an option such as ndots:2",
            ));
        }
    }
    Ok(Dns {
        servers,
        search,
        options: options.dns_option.clone(),
    })
}

/// A domain to search; a dot at its end says what is so anyway.
fn domain(text: &String) -> Result<String> {
    if text == "." {
        return Err(invalid(
            "--dns-search",
            text,
            "it means no domain and can't stand beside others",
        ));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    check_dns_name(name).map_err(|_| invalid("--dns-search", text, "not a domain"))?;
    Ok(name.to_owned())
}

/// Lines for /etc/hosts: name and address, or [`HOST_GATEWAY`] in its place.
pub(super) fn extra_hosts(cx: &Context<'_>, network: &Network) -> Result<Vec<(String, String)>> {
    let hosts = cx.options.add_host.iter();
    hosts.map(|entry| extra_host(entry, network)).collect()
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may stand in brackets.
fn extra_host(entry: &str, network: &Network) -> Result<(String, String)> {
    let cut = entry.find(['=', ':']);
    let Some((name, address)) = cut.map(|at| (&entry[..at], &entry[at + 1..])) else {
        return Err(invalid("--add-host", entry, "not of the form NAME:ADDRESS"));
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 253 || !name.chars().all(plain) {
        return Err(invalid(
            "--add-host",
            entry,
            format!("{name:?} is not a host name"),
        ));
    }
    if address == HOST_GATEWAY {
        let address = match network {
            Network::None => {
                return Err(conflict(format!(
                    "--add-host {entry:?} can't be had with --network none: there is no way to the host"
                )));
            }
            // Its loopback is the host's own.
            Network::Host => "127.0.0.1",
            Network::Bridged(_) | Network::Instance(_) => HOST_GATEWAY,
        };
        return Ok((name.to_owned(), address.to_owned()));
    }
    let address = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(invalid(
            "--add-host",
            entry,
            format!("{address:?} is not an IP address"),
        ));
    };
    Ok((name.to_owned(), address.to_string()))
}
