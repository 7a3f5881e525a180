//! Profiles in JSON. One reader takes both forms: the OCI runtime
//! specification's (`defaultAction`, `architectures`, `syscalls`) and Docker's,
//! which adds `archMap` and conditions on capabilities, architecture and kernel.

use serde::Deserialize;

use super::Grants;
use super::arguments::{Arg, test};
use super::compile::{Action, Calls, CompileError, Op, Policy, Test};
use super::names::{self, multiplexed, number_of, number32_of};

const EPERM: u32 = libc::EPERM as u32;
/// Largest error number that the kernel passes on (MAX_ERRNO).
const MAX_ERRNO: u32 = 4095;
/// Most calls and conditions that are read from one profile.
const MAX_RULES: usize = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    names: Option<Vec<String>>,
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    // podman's profile writes the number's name beside it.
    #[serde(rename = "errno", default)]
    _errno: Option<String>,
    #[serde(default)]
    args: Option<Vec<Arg>>,
    #[serde(rename = "comment", default)]
    _comment: Option<String>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

pub(super) fn unsupported<T>(message: String) -> Result<T, CompileError> {
    Err(CompileError::Unsupported(message))
}

/// The policy that a profile means for a workload with these grants.
pub(super) fn parse(json: &[u8], grants: &Grants<'_>) -> Result<Policy, CompileError> {
    let profile: Profile =
        serde_json::from_slice(json).map_err(|error| CompileError::Syntax(error.to_string()))?;
    check_surroundings(&profile)?;
    let default = action(&profile.default_action, profile.default_errno_ret, EPERM)?;
    let fallback = profile.default_errno_ret.unwrap_or(EPERM);
    let mut native = Table::new(number_of, default);
    let mut compat = has_compat(&profile).then(|| Table::new(number32_of, default));
    let mut count = 0;
    for rule in profile.syscalls.iter().flatten() {
        let action = action(&rule.action, rule.errno_ret, fallback)?;
        let applies = applies(rule, grants)?;
        let args = rule.args.as_deref().unwrap_or_default();
        for name in rule.names.iter().flatten().chain(&rule.name) {
            count += 1;
            if count > MAX_RULES {
                return unsupported(format!("more than {MAX_RULES} calls are named"));
            }
            let mut known = native.rule(name, action, args, applies)?;
            if let Some(compat) = &mut compat {
                known |= compat.rule(name, action, args, applies)?;
                if applies {
                    compat.restrict_detour(name, action);
                }
            }
            if !known {
                check_unknown(name, action, default)?;
            }
        }
    }
    // A call newer than the profile gets ENOSYS, so that programs fall back as on
    // an older kernel, unless the profile says what it wants for the rest.
    let newer = (!default.permits() && profile.default_errno_ret.is_none())
        .then_some(Action::Errno(libc::ENOSYS as u16));
    Ok(Policy {
        default,
        native: native.finish(newer),
        compat: compat.map(|compat| compat.finish(newer)),
    })
}

/// The rules of a profile for the calls of one architecture.
struct Table {
    number_of: fn(&str) -> Option<u32>,
    default: Action,
    calls: Calls,
    highest_named: Option<u32>,
}

impl Table {
    fn new(number_of: fn(&str) -> Option<u32>, default: Action) -> Table {
        Table {
            number_of,
            default,
            calls: Calls::default(),
            highest_named: None,
        }
    }

    /// Takes one rule for one call, if it `applies`. Whether there is such a call.
    fn rule(
        &mut self,
        name: &str,
        action: Action,
        args: &[Arg],
        applies: bool,
    ) -> Result<bool, CompileError> {
        let Some(number) = (self.number_of)(name) else {
            return Ok(false);
        };
        self.highest_named = self.highest_named.max(Some(number));
        if applies {
            self.add(name, number, action, args)?;
        }
        Ok(true)
    }

    /// A rule that restricts a call holds for the detour that 32-bit programs have
    /// to it, too, whatever the arguments: those are in memory there, where a
    /// filter can't look.
    fn restrict_detour(&mut self, name: &str, action: Action) {
        if action.permits() || action == self.default {
            return;
        }
        let detour =
            multiplexed(name).and_then(|(by, operation)| Some(((self.number_of)(by)?, operation)));
        let Some((number, operation)) = detour else {
            return;
        };
        let test = Test {
            index: 0,
            // ipc(2) has its version in the upper half.
            op: Op::MaskedEq(0xffff),
            value: operation,
            narrow: true,
        };
        let decision = self.calls.decisions.entry(number).or_default();
        decision.when.push((vec![test], action));
    }

    /// Adds one rule for one call.
    fn add(
        &mut self,
        name: &str,
        number: u32,
        action: Action,
        args: &[Arg],
    ) -> Result<(), CompileError> {
        if args.is_empty() {
            // Saying the default once more changes nothing, and must not override
            // what other rules allow for some arguments.
            if action == self.default {
                return Ok(());
            }
            let decision = self.calls.decisions.entry(number).or_default();
            if decision.always.is_some_and(|other| other != action) {
                return Err(CompileError::Contradiction(name.to_owned()));
            }
            decision.always = Some(action);
            return Ok(());
        }
        let tests = args
            .iter()
            .map(|arg| test(name, arg))
            .collect::<Result<Vec<_>, _>>()?;
        let decision = self.calls.decisions.entry(number).or_default();
        let repeated = |at: usize| tests[..at].iter().any(|test| test.index == tests[at].index);
        if (0..tests.len()).any(repeated) {
            // Two tests of one argument are alternatives: so it has been since runc's
            // first profiles, and profiles rely on it.
            decision
                .when
                .extend(tests.into_iter().map(|test| (vec![test], action)));
        } else {
            decision.when.push((tests, action));
        }
        Ok(())
    }

    fn finish(mut self, newer: Option<Action>) -> Calls {
        self.calls.beyond = self.highest_named.zip(newer);
        self.calls
    }
}

/// Whether the profile is for 32-bit programs, too.
fn has_compat(profile: &Profile) -> bool {
    let listed = profile.architectures.iter().flatten();
    let maps = profile.arch_map.iter().flatten();
    let below = maps
        .filter(|map| map.architecture == "SCMP_ARCH_X86_64")
        .flat_map(|map| map.sub_architectures.iter().flatten());
    listed.chain(below).any(|arch| arch == "SCMP_ARCH_X86")
}

/// What stands outside of the rules.
fn check_surroundings(profile: &Profile) -> Result<(), CompileError> {
    if profile.listener_path.is_some() || profile.listener_metadata.is_some() {
        return unsupported("a listener (`listenerPath`) is not supported".to_owned());
    }
    if let Some(flag) = profile
        .flags
        .iter()
        .flatten()
        .find(|flag| *flag != "SECCOMP_FILTER_FLAG_TSYNC")
    {
        // The filter is installed before there is a second thread: TSYNC holds.
        return unsupported(format!("the flag {flag:?} is not supported"));
    }
    let listed = profile.architectures.iter().flatten();
    let mapped = profile
        .arch_map
        .iter()
        .flatten()
        .map(|map| &map.architecture);
    let all: Vec<&String> = listed.chain(mapped).collect();
    if !all.is_empty() && !all.iter().any(|arch| *arch == "SCMP_ARCH_X86_64") {
        return unsupported("the profile is not for x86-64 (SCMP_ARCH_X86_64)".to_owned());
    }
    Ok(())
}

/// An action by its name; `errno_ret` is what SCMP_ACT_ERRNO and SCMP_ACT_TRACE
/// carry.
fn action(name: &str, errno_ret: Option<u32>, fallback: u32) -> Result<Action, CompileError> {
    let errno = || match errno_ret.unwrap_or(fallback) {
        errno if errno <= MAX_ERRNO => Ok(errno as u16),
        errno => unsupported(format!("the error number {errno} is above {MAX_ERRNO}")),
    };
    let action = match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_ERRNO" => return Ok(Action::Errno(errno()?)),
        "SCMP_ACT_TRACE" => match u16::try_from(errno_ret.unwrap_or(fallback)) {
            Ok(data) => return Ok(Action::Trace(data)),
            Err(_) => return unsupported("the data for the tracer is above 65535".to_owned()),
        },
        other => return unsupported(format!("the action {other:?} is not supported")),
    };
    match errno_ret {
        // Zero is how some writers say "none".
        None | Some(0) => Ok(action),
        Some(errno) => unsupported(format!(
            "{name} carries no error number, but {errno} is given"
        )),
    }
}

/// A name that x86-64 has not. Leaving it out is safe where it would only have
/// been allowed more; else a typing error would open what should be closed.
fn check_unknown(name: &str, action: Action, default: Action) -> Result<(), CompileError> {
    let looser = action.permits() || !default.permits();
    if looser || names::is_foreign(name) {
        return Ok(());
    }
    unsupported(format!(
        "the call {name:?} is not known, so the rule that restricts it would have no effect"
    ))
}

/// Whether a rule's conditions hold. All of `includes` must, none of `excludes`.
fn applies(rule: &Rule, grants: &Grants<'_>) -> Result<bool, CompileError> {
    let mut holds = true;
    if let Some(includes) = &rule.includes {
        holds &= includes.caps.iter().flatten().all(|cap| grants.has(cap));
        holds &= includes
            .arches
            .as_ref()
            .is_none_or(|arches| arches.is_empty() || arches.iter().any(|a| is_ours(a)));
        holds &= match &includes.min_kernel {
            Some(version) => grants.kernel >= kernel_version(version)?,
            None => true,
        };
    }
    if let Some(excludes) = &rule.excludes {
        holds &= !excludes.caps.iter().flatten().any(|cap| grants.has(cap));
        holds &= !excludes.arches.iter().flatten().any(|arch| is_ours(arch));
        if let Some(version) = &excludes.min_kernel {
            holds &= grants.kernel < kernel_version(version)?;
        }
    }
    Ok(holds)
}

/// Docker writes architectures as Go does, podman and the OCI as libseccomp does.
fn is_ours(arch: &str) -> bool {
    matches!(arch, "amd64" | "x86_64" | "SCMP_ARCH_X86_64")
}

fn kernel_version(text: &str) -> Result<(u32, u32), CompileError> {
    let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => unsupported(format!("{text:?} is not a kernel's version")),
    }
}
