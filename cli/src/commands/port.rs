//! `isola port`

use clap_complete::engine::ArgValueCandidates;

use crate::complete;
use crate::context::Context;
use crate::error::{Code, Exit, Failure, Result};
use crate::instances::{Port, ports};
use crate::output::print;

/// Show which ports of the host lead to an instance
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name or id
    #[arg(add = ArgValueCandidates::new(complete::running))]
    instance: String,
    /// Only for this port of the instance; tcp if nothing is said
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

const EXAMPLES: &str = "Examples:
  isola port web
  isola port web 80
  isola port dns 53/udp";

pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let wanted = args.port.as_deref().map(parse).transpose()?;
    let instance = context.find(&args.instance)?;
    let ports = ports(&instance, &context.links()?);
    let text = match &wanted {
        None => all(&ports),
        Some(key) => one(&ports, key),
    };
    if let (Some(key), true) = (&wanted, text.is_empty()) {
        let message = format!("no port of the host leads to {key} of {}", args.instance);
        return Err(Failure::new(Code::Invalid, message)
            .hint("`isola port INSTANCE` lists the ports of a running instance"));
    }
    print(&text)?;
    Ok(Exit::OK)
}

/// `80` or `80/tcp` as `80/tcp`.
fn parse(text: &str) -> Result<String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    match port.parse::<u16>() {
        Ok(port) if port > 0 && matches!(protocol.as_str(), "tcp" | "udp") => {
            Ok(format!("{port}/{protocol}"))
        }
        _ => Err(Failure::new(
            Code::Invalid,
            format!("{text:?} is not a port such as 80 or 53/udp"),
        )),
    }
}

fn all(ports: &[Port]) -> String {
    let line = |port: &Port| Some(format!("{} -> {}\n", port.key(), port.host?));
    ports.iter().filter_map(line).collect()
}

fn one(ports: &[Port], key: &str) -> String {
    let of = ports.iter().filter(|port| port.key() == key);
    of.filter_map(|port| Some(format!("{}\n", port.host?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_alone_and_together() {
        let port = |host: &str, port, protocol: &str| Port {
            port,
            protocol: protocol.to_owned(),
            host: host.parse().ok(),
        };
        let ports = [
            port("", 443, "tcp"),
            port("0.0.0.0:8080", 80, "tcp"),
            port("[::]:8080", 80, "tcp"),
            port("127.0.0.1:53", 53, "udp"),
        ];
        let lines = "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n53/udp -> 127.0.0.1:53\n";
        assert_eq!(all(&ports), lines);
        for (text, expected) in [
            ("80", "0.0.0.0:8080\n[::]:8080\n"),
            ("53/UDP", "127.0.0.1:53\n"),
            ("53", ""),
            ("443", ""),
        ] {
            assert_eq!(one(&ports, &parse(text).unwrap()), expected, "{text}");
        }
        for text in ["", "0", "80/icmp", "http", "80/", "65536"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
