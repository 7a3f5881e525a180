//! Resource limits (getrlimit(2)) and the value for the out-of-memory killer.

use isola_proto::Failure;
use isola_proto::spec::Rlimit;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit as Limit, getrlimit, prlimit};

use crate::error::{Setup, failure};

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

fn value(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

/// Checks names and values.
pub(crate) fn check(limits: &[Rlimit]) -> Result<(), Failure> {
    for limit in limits {
        if resource(&limit.resource).is_none() {
            return Err(failure(format!("limit '{}' is not known", limit.resource)));
        }
        if limit.soft > limit.hard {
            return Err(failure(format!(
                "limit '{}': the soft limit {} is over the hard limit {}",
                limit.resource,
                shown(value(limit.soft)),
                shown(value(limit.hard))
            )));
        }
    }
    Ok(())
}

/// Maker's side: raises hard limits of `pid`, which only CAP_SYS_RESOURCE of the
/// first user namespace may; the child lowers the rest itself, at the very end.
pub(crate) fn raise(pid: Pid, limits: &[Rlimit]) -> Result<(), Failure> {
    for limit in limits {
        let Some(resource) = resource(&limit.resource) else {
            continue;
        };
        // The child has our limits still.
        let now = getrlimit(resource);
        let wanted = value(limit.hard);
        let higher = now
            .maximum
            .is_some_and(|now| wanted.is_none_or(|wanted| wanted > now));
        if higher {
            let raised = Limit {
                current: now.current,
                maximum: wanted,
            };
            prlimit(Some(pid), resource, raised)
                .map_err(|error| refused(&limit.resource, now, wanted, error))?;
        }
    }
    Ok(())
}

fn refused(name: &str, now: Limit, wanted: Option<u64>, error: Errno) -> Failure {
    let why = match error {
        Errno::PERM => "that needs CAP_SYS_RESOURCE, which this process does not have".to_owned(),
        error => crate::error::reason(&error.into()),
    };
    failure(format!(
        "raise limit '{name}' from {} to {}: {why}",
        shown(now.maximum),
        shown(wanted)
    ))
}

/// Child's side: sets all limits of this process.
pub(crate) fn apply(limits: &[Rlimit]) -> Result<(), Failure> {
    for limit in limits {
        let Some(resource) = resource(&limit.resource) else {
            continue;
        };
        let wanted = Limit {
            current: value(limit.soft),
            maximum: value(limit.hard),
        };
        let now = getrlimit(resource);
        prlimit(None, resource, wanted)
            .map_err(|error| refused(&limit.resource, now, wanted.maximum, error))?;
    }
    Ok(())
}

/// Maker's side: sets the value of `pid` for the out-of-memory killer, -1000 to 1000.
pub(crate) fn set_oom_score(pid: Pid, score: i32) -> Result<(), Failure> {
    let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    match std::fs::write(path, score.to_string()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(failure(format!(
                "set oom_score_adj to {score}: a lower value than the present one needs CAP_SYS_RESOURCE, \
             which this process does not have"
            )))
        }
        other => other.setup(|| format!("set oom_score_adj to {score}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, soft: u64, hard: u64) -> Rlimit {
        Rlimit {
            resource: name.to_owned(),
            soft,
            hard,
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(check(&[limit("nofile", 1, 2), limit("core", 0, u64::MAX)]).is_ok());
        assert!(check(&[limit("nosuch", 1, 2)]).is_err());
        assert_eq!(
            check(&[limit("core", u64::MAX, 1)]).unwrap_err().message,
            "limit 'core': the soft limit unlimited is over the hard limit 1"
        );
    }
}
