//! Dockerfiles and what stands beside them.

use isola_build::Ignore;
use isola_build::dockerfile::{CopySource, Instruction, expand, parse, parse_trigger};

use super::Target;

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "dockerfile",
            seeds: SEEDS.iter().map(|text| text.as_bytes().to_vec()).collect(),
            make: || Box::new(dockerfile),
            fix: super::nothing,
        },
        Target {
            name: "dockerignore",
            seeds: vec![b"# x\n*.o\n!a/**/b\n[a-c]?\n**/tmp\n\\*\n".to_vec()],
            make: || Box::new(ignore),
            fix: super::nothing,
        },
    ]
}

const SEEDS: [&str; 3] = [
    "# syntax=docker/dockerfile:1\n# escape=`\nARG V=1\nFROM --platform=$P a:${V:-2} AS b\nRUN x `\n # c\n y\n",
    "FROM scratch\nADD --checksum=sha256:00 [\"a b\", \"/c\"]\nCOPY --from=b --chown=1:2 --exclude=*.o x* <<E /d/\nhi $V\nE\n\
     RUN --mount=type=cache,target=/c,sharing=locked --network=none <<-'E'\n\tx\n\tE\nENV A=1 B=\"2 $A\"\nLABEL k v w\n",
    "FROM x\nHEALTHCHECK --interval=5s CMD [\"a\"]\nONBUILD RUN <<E\nE\nSHELL [\"/b\"]\nEXPOSE 80-90/udp\nVOLUME [\"/v\"]\n\
     STOPSIGNAL 9\nUSER a:b\nWORKDIR ${w##*/}/${a/b/c}\nCMD\nENTRYPOINT [\"e\"]\n",
];

/// Errors have a place in the text; words that are read can be expanded or refused.
fn dockerfile(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let lines = text.lines().count().max(1);
    let file = match parse(&text) {
        Ok(file) => file,
        Err(error) => {
            if let Some((_, place)) = &error.at {
                assert!((1..=lines).contains(&place.line), "{place} of {lines}");
                assert!(place.column >= 1);
            }
            return error.message;
        }
    };
    let escape = file.directives.escape;
    let lookup = |name: &str| Some(name.to_lowercase()).filter(|name| name.len() % 2 == 0);
    let mut kinds = String::new();
    for item in file.stages.iter().flat_map(|stage| &stage.items) {
        assert!((1..=lines).contains(&item.place.line));
        kinds.push(match &item.instruction {
            Instruction::Run(run) => {
                assert!(run.mounts.len() <= text.len());
                'r'
            }
            Instruction::Copy(copy) => {
                assert!(!copy.sources.is_empty());
                for source in &copy.sources {
                    if let CopySource::Path(word) = source {
                        let _ = expand(&word.text, escape, &lookup);
                    }
                }
                'c'
            }
            Instruction::Env(pairs) | Instruction::Label(pairs) => {
                for (key, value) in pairs {
                    let _ = expand(&key.text, escape, &lookup);
                    let _ = expand(&value.text, escape, &lookup);
                }
                'e'
            }
            Instruction::Onbuild(text) => {
                // With the usual escape character it is read again in the next build.
                if escape == '\\' {
                    assert!(parse_trigger(text).is_ok(), "{text:?}");
                }
                'o'
            }
            _ => 'x',
        });
    }
    kinds
}

/// What a pattern leaves out does not depend on slashes around the path.
fn ignore(input: &[u8]) -> String {
    match Ignore::parse(&String::from_utf8_lossy(input)) {
        Ok(ignore) => {
            for path in ["a", "a/b/c", "tmp/x.o", "é"] {
                let out = ignore.excludes(path);
                assert_eq!(out, ignore.excludes(&format!("/{path}/")));
            }
            ignore.brings_back().to_string()
        }
        Err((line, why)) => format!("{line}: {why}"),
    }
}
