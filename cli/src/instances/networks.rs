//! What `inspect` shows of an instance's networks and ports, under Docker's names.

use std::collections::BTreeMap;

use isola_net::Lease;
use isola_net::ports::PortSpec;
use isola_runtime::engine::Instance;
use isola_runtime::workload::{Attachment, Network, Workload};
use serde_json::{Map, Value, json};

use super::{Links, ports};

/// `NetworkSettings`.
pub(super) fn settings(instance: &Instance, links: &Links) -> Value {
    let workload = &instance.record.workload;
    let has = links.of(instance);
    let mut networks = Vec::new();
    match &workload.network {
        Network::Bridged(wanted) => {
            for link in wanted {
                let lease = |(network, _): &&(&isola_net::Network, &Lease)| {
                    super::is_called(network, &link.network)
                };
                let found = has.iter().find(lease).copied();
                let name = links.find(&link.network);
                let name = name.map_or(&link.network, |network| &network.name);
                networks.push((name.clone(), endpoint(link, found)));
            }
        }
        Network::None | Network::Host => {
            let word = network_mode(workload);
            networks.push((word, endpoint(&Attachment::default(), None)));
        }
        // All of it is the other instance's.
        Network::Instance(_) => {}
    }
    // The first network again where scripts look for a single address.
    let first = networks
        .first()
        .map(|(_, first)| first.clone())
        .unwrap_or_default();
    let mut settings = Map::new();
    for key in SINGLE {
        settings.insert(
            (*key).to_owned(),
            first.get(*key).cloned().unwrap_or_default(),
        );
    }
    settings.insert("Ports".to_owned(), host_ports(instance, links));
    settings.insert("Networks".to_owned(), networks.into_iter().collect());
    Value::Object(settings)
}

/// Fields of the first network that are also there without its name.
const SINGLE: &[&str] = &[
    "EndpointID",
    "Gateway",
    "IPAddress",
    "IPPrefixLen",
    "MacAddress",
    "IPv6Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
];

fn endpoint(link: &Attachment, found: Option<(&isola_net::Network, &Lease)>) -> Value {
    let part = |v6: bool| {
        let (network, _) = found?;
        if v6 { network.v6() } else { network.v4() }
    };
    let gateway = |v6| part(v6).map_or(String::new(), |part| part.gateway.to_string());
    let prefix = |v6| part(v6).map_or(0, |part| part.subnet.prefix_len());
    let lease = found.map(|(_, lease)| lease);
    let ipv4 = lease.and_then(|lease| lease.ipv4);
    let ipv6 = lease.and_then(|lease| lease.ipv6);
    let text = |address: Option<String>| address.unwrap_or_default();
    let asked = json!({
        "IPv4Address": text(link.ip.map(|ip| ip.to_string())),
        "IPv6Address": text(link.ip6.map(|ip| ip.to_string())),
    });
    json!({
        "IPAMConfig": if link.ip.is_some() || link.ip6.is_some() { asked } else { Value::Null },
        "Aliases": link.aliases,
        "DNSNames": lease.map(|lease| lease.names.clone()).unwrap_or_default(),
        "EndpointID": text(found.map(|(network, lease)| lease.endpoint(network))),
        "NetworkID": found.map_or("", |(network, _)| network.id.as_str()),
        "MacAddress": text(lease.map(|lease| lease.mac).or(link.mac).map(|mac| mac.to_string())),
        "Gateway": gateway(false),
        "IPAddress": text(ipv4.map(|ip| ip.to_string())),
        "IPPrefixLen": ipv4.map_or(0, |_| prefix(false)),
        "IPv6Gateway": gateway(true),
        "GlobalIPv6Address": text(ipv6.map(|ip| ip.to_string())),
        "GlobalIPv6PrefixLen": ipv6.map_or(0, |_| prefix(true)),
    })
}

/// `Ports`: where the host leads from, or null for ports that are only named.
fn host_ports(instance: &Instance, links: &Links) -> Value {
    let mut map = Map::new();
    if !instance.status.state.is_live() {
        return Value::Object(map);
    }
    for port in ports(instance, links) {
        let entry = map.entry(port.key()).or_insert(Value::Null);
        let Some(host) = port.host else { continue };
        let binding = binding(host.ip().to_string(), host.port().to_string());
        match entry {
            Value::Array(list) => list.push(binding),
            other => *other = Value::Array(vec![binding]),
        }
    }
    Value::Object(map)
}

fn binding(ip: String, port: String) -> Value {
    json!({"HostIp": ip, "HostPort": port})
}

/// `HostConfig.PortBindings`: what was asked for.
pub(super) fn port_bindings(workload: &Workload) -> Value {
    let mut map: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for spec in &workload.ports {
        let ip = spec.address.map(|ip| ip.to_string());
        let port = spec
            .host
            .as_ref()
            .map(|ports| match ports.start() == ports.end() {
                true => ports.start().to_string(),
                false => format!("{}-{}", ports.start(), ports.end()),
            });
        map.entry(key(spec))
            .or_default()
            .push(binding(ip.unwrap_or_default(), port.unwrap_or_default()));
    }
    json!(map)
}

fn key(spec: &PortSpec) -> String {
    format!("{}/{}", spec.container, spec.protocol)
}

/// `Config.ExposedPorts`: named and published ones.
pub(super) fn exposed_ports(workload: &Workload) -> Value {
    let published = workload.ports.iter().map(key);
    let named = workload.exposed_ports.iter().cloned();
    let map: BTreeMap<String, Value> = named.chain(published).map(|key| (key, json!({}))).collect();
    json!(map)
}

/// `HostConfig.NetworkMode`: the first network, or how it is attached instead.
pub(super) fn network_mode(workload: &Workload) -> String {
    match &workload.network {
        Network::None => "none".to_owned(),
        Network::Host => "host".to_owned(),
        Network::Instance(other) => format!("container:{other}"),
        Network::Bridged(links) => links
            .first()
            .map_or("none".to_owned(), |link| link.network.clone()),
    }
}
