//! Short texts: references, sizes, settings, profiles.

use std::path::Path;

use isola_images::Reference;
use isola_runtime::config::Config;
use isola_runtime::seccomp::{Grants, compile_profile};

use super::Target;

pub(crate) fn targets() -> Vec<Target> {
    let seeds = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    vec![
        Target {
            name: "reference",
            seeds: seeds(&[
                "debian",
                "library/debian:12",
                "localhost:5000/a/b:x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "[::1]:5000/a",
            ]),
            make: || Box::new(reference),
            fix: super::nothing,
        },
        Target {
            name: "config",
            seeds: seeds(&[
                "isolation = \"vm\"\n[guest]\nmemory = \"256m\"\n[log]\nmax_size = \"10m\"\n",
            ]),
            make: || Box::new(config),
            fix: super::nothing,
        },
        Target {
            name: "seccomp",
            seeds: seeds(&[PROFILE]),
            make: || Box::new(seccomp),
            fix: super::nothing,
        },
    ]
}

const PROFILE: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,
"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
"syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW"},
{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}],
"excludes":{"caps":["CAP_SYS_ADMIN"],"arches":["s390"]},"includes":{"minKernel":"4.8"}}]}"#;

/// A reference that is accepted prints as one that is the same.
fn reference(input: &[u8]) -> String {
    match String::from_utf8_lossy(input).parse::<Reference>() {
        Ok(reference) => {
            for text in [reference.to_string(), reference.familiar()] {
                assert_eq!(
                    text.parse::<Reference>().ok().as_ref(),
                    Some(&reference),
                    "{text}"
                );
            }
            format!(
                "{} {}",
                reference.tag().is_some(),
                reference.digest().is_some()
            )
        }
        Err(error) => error.to_string(),
    }
}

fn config(input: &[u8]) -> String {
    match Config::parse(&String::from_utf8_lossy(input), Path::new("config.toml")) {
        Ok(config) => format!("{config:?}"),
        Err(error) => error.to_string(),
    }
}

const GRANTS: Grants<'_> = Grants {
    capabilities: &[],
    kernel: (6, 12),
};

/// A filter that is made can be loaded: not longer than the kernel takes, and
/// without a jump beyond its end.
fn seccomp(input: &[u8]) -> String {
    match compile_profile(input, &GRANTS) {
        Ok(filter) => {
            assert!(
                !filter.is_empty() && filter.len() <= 4096,
                "{}",
                filter.len()
            );
            for (at, instruction) in filter.iter().enumerate() {
                // BPF_JMP is class 5; BPF_JA (0x05) jumps by k.
                let farthest = match instruction.0 {
                    0x05 => at + 1 + instruction.3 as usize,
                    code if code & 7 == 5 => at + 1 + usize::from(instruction.1.max(instruction.2)),
                    _ => at,
                };
                assert!(farthest < filter.len(), "instruction {at}");
            }
            "made".into()
        }
        Err(error) => error.to_string(),
    }
}
