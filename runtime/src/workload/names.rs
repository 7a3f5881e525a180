//! The files that tell a workload names: its own, its neighbours', and where to ask
//! for others.

use std::fmt::Write;

use super::model::{HOST_GATEWAY, Network, Workload};
use super::spec::Surroundings;

/// The content of /etc/hosts (hosts(5)).
pub(super) fn hosts(workload: &Workload, surroundings: &Surroundings) -> String {
    let mut text = match &workload.network {
        Network::Host => with_newline(&surroundings.hosts),
        _ => "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned(),
    };
    if !matches!(workload.network, Network::Host) {
        let names = match &workload.domainname {
            Some(domain) => format!("{}.{domain} {}", workload.hostname, workload.hostname),
            None => workload.hostname.clone(),
        };
        let loopback = ["127.0.0.1".parse().ok()];
        let own = surroundings.addresses.iter().copied().map(Some);
        let own: Vec<_> = match surroundings.addresses.is_empty() {
            true => loopback.to_vec(),
            false => own.collect(),
        };
        for address in own.into_iter().flatten() {
            let _ = writeln!(text, "{address} {names}");
        }
    }
    for (name, address) in &workload.extra_hosts {
        let gateway = surroundings.host_gateway.map(|address| address.to_string());
        match (address.as_str(), gateway) {
            (HOST_GATEWAY, Some(gateway)) => writeln!(text, "{gateway} {name}"),
            // No network, no gateway: there is nothing to write.
            (HOST_GATEWAY, None) => Ok(()),
            (address, _) => writeln!(text, "{address} {name}"),
        }
        .ok();
    }
    text
}

/// The content of /etc/resolv.conf (resolv.conf(5)).
pub(super) fn resolv_conf(workload: &Workload, surroundings: &Surroundings) -> String {
    let dns = &workload.dns;
    let said = !dns.servers.is_empty() || dns.search.is_some() || !dns.options.is_empty();
    if matches!(workload.network, Network::Host) && !said {
        return surroundings.resolv_conf.clone();
    }
    let of_host = |word: &str| -> Vec<String> {
        let lines = surroundings.resolv_conf.lines();
        let mut values = lines.filter_map(|line| line.trim().strip_prefix(word));
        // The last line wins.
        let last = values.rfind(|rest| rest.starts_with([' ', '\t']));
        last.map(|rest| rest.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let mut text = String::new();
    // On networks of ours the network's own server passes questions on to those that
    // the user named.
    let servers: Vec<String> = match (&workload.network, surroundings.nameservers.is_empty()) {
        (Network::Bridged(_) | Network::Instance(_), false) => surroundings
            .nameservers
            .iter()
            .map(ToString::to_string)
            .collect(),
        (Network::Host, _) if dns.servers.is_empty() => surroundings
            .resolv_conf
            .lines()
            .filter_map(|line| line.trim().strip_prefix("nameserver"))
            .map(|rest| rest.trim().to_owned())
            .collect(),
        _ => dns.servers.iter().map(ToString::to_string).collect(),
    };
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    let search = match &dns.search {
        Some(search) => search.clone(),
        // Without a network there is no server to ask.
        None if matches!(workload.network, Network::None) => Vec::new(),
        None => of_host("search"),
    };
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !dns.options.is_empty() {
        let _ = writeln!(text, "options {}", dns.options.join(" "));
    }
    text
}

fn with_newline(text: &str) -> String {
    match text.is_empty() || text.ends_with('\n') {
        true => text.to_owned(),
        false => format!("{text}\n"),
    }
}
