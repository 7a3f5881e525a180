//! User, groups and names.

use super::{Context, invalid};
use crate::error::Result;
use crate::workload::model::Network;
use crate::workload::namespaces::{NamespaceModes, Own};

/// Largest user or group id; above it some programs see negative numbers.
const MAX_ID: u64 = i32::MAX as u64;
/// Longest name that sethostname(2) takes, in bytes.
const MAX_HOSTNAME: usize = 64;

/// Who the workload is.
pub(super) struct Identity {
    pub(super) user: String,
    pub(super) groups: Vec<String>,
    pub(super) hostname: String,
    pub(super) domainname: Option<String>,
}

pub(super) fn identity(
    cx: &Context<'_>,
    network: &Network,
    namespaces: &NamespaceModes,
    id: &str,
) -> Result<Identity> {
    let options = cx.options;
    let user = match &options.user {
        Some(user) => check_user("--user", user)?,
        None => check_user("the image's USER", &cx.image.user)?,
    };
    for group in &options.group_add {
        check_id("--group-add", group, group)?;
    }
    let hostname = match &options.hostname {
        Some(name) => check_name("--hostname", name)?,
        None if *network == Network::Host || namespaces.uts == Own::Host => {
            cx.host.hostname.clone()
        }
        None => id.chars().take(12).collect(),
    };
    let domainname = options
        .domainname
        .as_ref()
        .map(|name| check_name("--domainname", name))
        .transpose()?;
    Ok(Identity {
        user,
        groups: options.group_add.clone(),
        hostname,
        domainname,
    })
}

/// A user as `name|id[:name|id]`. Names are looked up later, in the root's own
/// files; numbers that the kernel would cut short are refused here.
pub(in crate::workload) fn check_user(flag: &str, user: &str) -> Result<String> {
    if user.is_empty() {
        return Ok(String::new());
    }
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    check_id(flag, user, name)?;
    // `docker run -u 1000:` means the user's own group.
    match group {
        None | Some("") => Ok(name.to_owned()),
        Some(group) => check_id(flag, user, group).map(|()| user.to_owned()),
    }
}

fn check_id(flag: &str, value: &str, part: &str) -> Result<()> {
    let number = part.strip_prefix(['-', '+']).unwrap_or(part);
    if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
        let in_range = number.parse::<u64>().is_ok_and(|id| id <= MAX_ID);
        if !in_range || number != part {
            return Err(invalid(flag, value, format!("ids go from 0 to {MAX_ID}")));
        }
        return Ok(());
    }
    if part.is_empty()
        || part.contains(|c: char| c == ':' || c == ',' || c.is_whitespace() || c.is_control())
    {
        return Err(invalid(
            flag,
            value,
            "not of the form NAME, ID, NAME:GROUP or ID:ID",
        ));
    }
    Ok(())
}

/// A name for the UTS namespace and for /etc/hosts.
fn check_name(flag: &str, name: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if name.is_empty() || name.len() > MAX_HOSTNAME {
        return Err(invalid(
            flag,
            name,
            format!("must have 1 to {MAX_HOSTNAME} characters"),
        ));
    }
    if !name.chars().all(plain) || name.starts_with(['-', '.']) {
        return Err(invalid(
            flag,
            name,
            "only letters, digits, `-`, `_` and `.` can be in it, a letter or digit first",
        ));
    }
    Ok(name.to_owned())
}
