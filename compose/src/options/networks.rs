//! Networks, names and ports of an instance.

use isola_runtime::workload::Options;
use isola_runtime::{Error, Kind, Result};

use super::Of;
use crate::project::{Link, Port, Project};

/// Puts networks, names and ports into `options`.
pub(super) fn fill(of: &Of<'_>, number: u32, options: &mut Options) -> Result<()> {
    let Of {
        project,
        name,
        service,
        ..
    } = *of;
    options.dns.clone_from(&service.dns);
    options.dns_search.clone_from(&service.dns_search);
    options.dns_option.clone_from(&service.dns_opt);
    let host = |line: &String| match line.split_once('=') {
        Some((name, address)) => format!("{name}:{address}"),
        None => line.clone(),
    };
    options.add_host = service.extra_hosts.iter().map(host).collect();
    options.expose.clone_from(&service.expose);
    for port in &service.ports {
        options.publish.push(publish(name, port, number)?);
    }
    if let Some(mode) = &service.network_mode {
        options.network = vec![alone(project, mode)?];
        options.mac_address.clone_from(&service.mac_address);
        return Ok(());
    }
    let mut links: Vec<(&String, Link)> = service
        .networks
        .iter()
        .map(|(key, link)| (key, link.clone().unwrap_or_default()))
        .collect();
    // The highest priority first; by name where it is the same.
    links.sort_by(|(a, x), (b, y)| (y.priority, *a).cmp(&(x.priority, *b)));
    for (key, link) in &links {
        options.network.push(attachment(of, key, link)?);
    }
    if links.iter().all(|(_, link)| link.mac_address.is_none()) {
        options.mac_address.clone_from(&service.mac_address);
    }
    Ok(())
}

/// `name=NETWORK,alias=...`: the service's name, its aliases, and what others call
/// it by `links`.
fn attachment(of: &Of<'_>, key: &str, link: &Link) -> Result<String> {
    let Of { project, name, .. } = *of;
    let network = project.networks.get(key).ok_or_else(|| {
        Error::new(
            Kind::NoSuch,
            format!("services.{name}: the network {key} is not declared"),
        )
    })?;
    if !link.link_local_ips.is_empty() {
        let at = of.at(&["networks", key, "link_local_ips"]);
        let message = format!("{at}.networks.{key}: `link_local_ips` is not supported");
        return Err(Error::new(Kind::Unsupported, message)
            .hint("give it an `ipv4_address` or `ipv6_address`"));
    }
    let mut aliases = vec![name.to_owned()];
    aliases.extend(link.aliases.iter().cloned());
    aliases.extend(linked_as(project, name, key));
    let mut seen = std::collections::BTreeSet::new();
    aliases.retain(|alias| seen.insert(alias.clone()));
    let mut fields = vec![format!("name={}", network.name)];
    fields.extend(aliases.into_iter().map(|alias| format!("alias={alias}")));
    fields.extend(
        link.ipv4_address
            .as_ref()
            .map(|address| format!("ip={address}")),
    );
    fields.extend(
        link.ipv6_address
            .as_ref()
            .map(|address| format!("ip6={address}")),
    );
    fields.extend(
        link.mac_address
            .as_ref()
            .map(|address| format!("mac-address={address}")),
    );
    Ok(fields.join(","))
}

/// Aliases that services on the same network give to this one.
fn linked_as(project: &Project, name: &str, key: &str) -> Vec<String> {
    let others = project
        .services
        .values()
        .filter(|other| other.networks.contains_key(key));
    let links = others.flat_map(|other| &other.links);
    let alias = |link: &String| {
        let (service, alias) = link.split_once(':')?;
        (service == name).then(|| alias.to_owned())
    };
    links.filter_map(alias).collect()
}

/// A mode that stands for all networks.
fn alone(project: &Project, mode: &str) -> Result<String> {
    if let Some(service) = mode.strip_prefix("service:") {
        return Ok(format!(
            "container:{}",
            super::instance_name(project, service, 1)
        ));
    }
    let network = project.networks.get(mode);
    Ok(network.map_or_else(|| mode.to_owned(), |network| network.name.clone()))
}

/// `[ADDRESS:][PORTS:]PORT/PROTOCOL`. Of a pool each instance asks for its own
/// port, so that their order is the same at each start.
fn publish(name: &str, port: &Port, number: u32) -> Result<String> {
    let host = match port.published.as_deref().unwrap_or_default() {
        "" => String::new(),
        pool => match pool.split_once('-') {
            None => pool.to_owned(),
            Some((first, last)) => from_pool(name, pool, (first, last), number)?,
        },
    };
    let address = match port.host_ip.as_deref() {
        None | Some("") => String::new(),
        Some(address) if address.contains(':') => format!("[{address}]:"),
        Some(address) => format!("{address}:"),
    };
    let host = match (host.is_empty(), address.is_empty()) {
        (true, true) => String::new(),
        _ => format!("{address}{host}:"),
    };
    let protocol = match port.protocol.as_str() {
        "" => "tcp",
        protocol => protocol,
    };
    Ok(format!("{host}{}/{protocol}", port.target))
}

fn from_pool(name: &str, pool: &str, (first, last): (&str, &str), number: u32) -> Result<String> {
    let bounds = (first.parse::<u32>(), last.parse::<u32>());
    let (Ok(first), Ok(last)) = bounds else {
        return Err(Error::new(
            Kind::Invalid,
            format!("services.{name}: {pool:?} is no range of ports"),
        ));
    };
    let count = last.saturating_sub(first) + 1;
    // Numbers may have gaps after scaling down; whoever comes round again takes any.
    match number <= count {
        true => Ok((first + number - 1).to_string()),
        false => Ok(pool.to_owned()),
    }
}
