//! Texts that must be of some kind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::complaint;
use crate::schema::Complaint;
use crate::units;

type Checked = Result<String, Complaint>;

fn check(text: &str, good: bool, what: &str, hint: &str) -> Checked {
    match good {
        true => Ok(text.to_owned()),
        false => Err(complaint(format!("{text:?} is no {what}"), hint)),
    }
}

/// YAML's booleans of both versions, as Compose takes them in texts.
pub(super) fn boolean_word(text: &str) -> Result<bool, Complaint> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Ok(true),
        "false" | "no" | "off" | "n" => Ok(false),
        _ => Err(complaint(
            format!("{text:?} is neither true nor false"),
            "write true or false",
        )),
    }
}

pub(super) fn integer(text: &str, least: i64, most: i64) -> Result<i64, Complaint> {
    // Digits in groups (1_000) are YAML 1.1; Compose takes them.
    let digits = text.replace('_', "");
    let number: i64 = match digits.parse() {
        Ok(number) if digits == text || text.starts_with(|c: char| c.is_ascii_digit()) => number,
        _ => {
            return Err(complaint(
                format!("{text:?} is no whole number"),
                "write digits alone",
            ));
        }
    };
    if number < least || number > most {
        let bounds = match (least, most) {
            (least, i64::MAX) => format!("it must be at least {least}"),
            (least, most) => format!("it must be from {least} to {most}"),
        };
        return Err(complaint(format!("{number} is out of range"), bounds));
    }
    Ok(number)
}

pub(super) fn number(text: &str) -> Result<f64, Complaint> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(complaint(
            format!("{text:?} is no number from 0 up"),
            "write a number such as 0.5 or 2",
        )),
    }
}

/// Whatever it is.
pub(crate) fn any_text(text: &str) -> Checked {
    Ok(text.to_owned())
}

/// Names of profiles.
pub(crate) fn profile(text: &str) -> Checked {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let good = text.bytes().all(known) && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    check(
        text,
        good,
        "name of a profile",
        "names have letters, digits, `_`, `.` and `-`",
    )
}

/// Names of instances.
pub(crate) fn container_name(text: &str) -> Checked {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let good = text.len() > 1
        && text.bytes().all(known)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    check(
        text,
        good,
        "name of an instance",
        "names have at least two letters, digits, `_`, `.` or `-`, and start with a letter or digit",
    )
}

/// `no`, `always`, `unless-stopped`, `on-failure[:N]`.
pub(crate) fn restart(text: &str) -> Checked {
    let tries = text.strip_prefix("on-failure:").map(str::parse::<u32>);
    let good = matches!(text, "no" | "always" | "unless-stopped" | "on-failure")
        || matches!(tries, Some(Ok(_)));
    check(
        text,
        good,
        "restart policy",
        "there are no, always, unless-stopped, on-failure and on-failure:N",
    )
}

/// When an image is fetched. `if_not_present` is the old word for `missing`.
pub(crate) fn pull_policy(text: &str) -> Checked {
    if text == "if_not_present" {
        return Ok("missing".into());
    }
    let known = [
        "always", "never", "missing", "build", "refresh", "daily", "weekly",
    ];
    let good = known.contains(&text)
        || text
            .strip_prefix("every_")
            .and_then(units::duration)
            .is_some();
    check(
        text,
        good,
        "pull policy",
        "there are always, never, missing, build, refresh, daily, weekly and every_12h",
    )
}

/// `r`, `w`, `m` of a device.
pub(crate) fn permissions(text: &str) -> Checked {
    let good = !text.is_empty() && text.bytes().all(|byte| b"rwm".contains(&byte));
    check(
        text,
        good,
        "set of device permissions",
        "they are some of r, w and m",
    )
}

/// Six bytes in hexadecimal.
pub(crate) fn mac_address(text: &str) -> Checked {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let byte = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let good = parts.len() == 6 && parts.iter().all(byte);
    check(text, good, "MAC address", "write it as 02:42:ac:11:00:02")
}

/// An address of either kind.
pub(crate) fn address(text: &str) -> Checked {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let bare = bare.unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(_) => Ok(bare.to_owned()),
        Err(_) => check(text, false, "IP address", "write it as 127.0.0.1 or ::1"),
    }
}

pub(crate) fn ipv4(text: &str) -> Checked {
    check(
        text,
        text.parse::<Ipv4Addr>().is_ok(),
        "IPv4 address",
        "write it as 172.20.0.10",
    )
}

pub(crate) fn ipv6(text: &str) -> Checked {
    check(
        text,
        text.parse::<Ipv6Addr>().is_ok(),
        "IPv6 address",
        "write it as fd00::10",
    )
}

/// An address with the length of its prefix.
pub(crate) fn subnet(text: &str) -> Checked {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let length: u8 = length.parse().ok()?;
        Some(length <= if address.is_ipv4() { 32 } else { 128 })
    });
    check(
        text,
        parsed == Some(true),
        "subnet",
        "write it as 172.20.0.0/16",
    )
}

/// `80`, `80-90`, with `/udp` or the like.
pub(crate) fn expose(text: &str) -> Checked {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let good = super::ports::range(range).is_some_and(|(first, _)| first > 0)
        && matches!(protocol, "tcp" | "udp" | "sctp");
    check(text, good, "port", "write it as 80, 8000-8010 or 53/udp")
}

/// Ports of the host: one, a range, or nothing for any that is free.
pub(crate) fn port_range(text: &str) -> Checked {
    let good = text.is_empty() || super::ports::range(text).is_some();
    check(
        text,
        good,
        "port or range of ports",
        "write it as 8080 or 8080-8090",
    )
}

/// A folder or file within an instance.
pub(crate) fn mount_target(text: &str) -> Checked {
    if !text.starts_with('/') {
        return Err(complaint(
            format!("the target {text:?} is no absolute path"),
            "targets start with `/`",
        ));
    }
    let clean = super::clean(std::path::Path::new(text));
    Ok(clean.to_string_lossy().into_owned())
}
