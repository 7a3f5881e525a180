//! Instructions by tables, and against the crate `parse-dockerfile` as a second opinion.

use super::*;

fn only(text: &str) -> Instruction {
    let parsed = parse(&format!("FROM x\n{text}")).unwrap();
    parsed.stages[0].items[0].instruction.clone()
}

fn why(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn stages_and_arguments() {
    let parsed =
        parse("ARG V=1 W\nfrom a:$V as Base\nRUN x\nFROM --platform=linux/amd64 Base\n").unwrap();
    assert_eq!(parsed.globals.len(), 2);
    assert_eq!(parsed.stages[0].name.as_deref(), Some("base"));
    assert_eq!(parsed.stages[0].from.image.text, "a:$V");
    assert_eq!(
        parsed.stages[1].from.platform.as_ref().unwrap().text,
        "linux/amd64"
    );
}

#[test]
fn commands_have_two_forms() {
    let run = |text: &str| match only(text) {
        Instruction::Run(run) => run,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        run("RUN [\"a\", \"b c\"]").command,
        Command::Exec(vec!["a".into(), "b c".into()])
    );
    assert_eq!(
        run("RUN [ -e x ] && y").command,
        Command::Shell("[ -e x ] && y".into())
    );
    let mounted = run("RUN --mount=type=cache,target=/c --network=none a \\\n  b");
    assert_eq!(mounted.mounts.len(), 1);
    assert_eq!(mounted.network, Network::None);
    assert_eq!(mounted.command, Command::Shell("a   b".into()));
    let shell = ["/bin/sh".to_owned(), "-c".to_owned()];
    assert_eq!(mounted.command.args(&shell), ["/bin/sh", "-c", "a   b"]);
    assert_eq!(only("CMD"), Instruction::Cmd(Command::Exec(Vec::new())));
}

#[test]
fn copies_have_sources_and_a_destination() {
    let copy = |text: &str| match only(text) {
        Instruction::Copy(copy) => copy,
        other => panic!("{other:?}"),
    };
    let plain = copy("COPY --from=b --chown=1:2 --chmod=755 --link --exclude=*.o a b /d/");
    assert_eq!(plain.sources.len(), 2);
    assert_eq!(
        (plain.link, plain.exclude.len(), plain.add),
        (true, 1, false)
    );
    assert_eq!(plain.dest.text, "/d/");
    let json = copy("ADD [\"a b\", \"/c's\"]");
    assert!(matches!(&json.sources[0], CopySource::Path(word) if word.text == "a b"));
    assert_eq!(expand(&json.dest.text, '\\', &|_| None).unwrap(), "/c's");
    let doc = copy("COPY <<a.txt b /d/\nhi\na.txt\n");
    assert!(matches!(&doc.sources[0], CopySource::Doc(doc) if doc.content == "hi\n"));
    assert!(matches!(&doc.sources[1], CopySource::Path(_)));
}

#[test]
fn what_is_wrong_has_its_place() {
    for (text, message) in [
        ("FROM x\n NOSUCH y", ":2:2: unknown instruction NOSUCH"),
        ("RUN x", ":1:1: RUN stands before the first FROM"),
        ("# nothing\n", ":1:1: there is no FROM"),
        (
            "FROM a b",
            ":1:8: FROM is `FROM IMAGE` or `FROM IMAGE AS NAME`",
        ),
        ("FROM x\nRUN --odd=1 y", ":2:5: RUN has no flag --odd"),
        (
            "FROM x\nCOPY a",
            ":2:1: COPY needs at least a source and a destination",
        ),
        ("FROM x\nENV a=1 b", ":2:9: \"b\" is not KEY=VALUE"),
        (
            "FROM x\nRUN <<E\n",
            ":2:5: the here-document has no end: no line is `E`",
        ),
        (
            "FROM x\nSHELL bash",
            ":2:7: SHELL needs a JSON array with a program, as [\"/bin/sh\", \"-c\"]",
        ),
        ("FROM x\nONBUILD FROM y", ":2:9: FROM can't follow ONBUILD"),
        (
            "FROM x\nONBUILD COPY y",
            ":2:9: COPY needs at least a source and a destination",
        ),
        (
            "FROM x AS a\nFROM y AS A",
            ":2:1: there are two stages called a",
        ),
        (
            "FROM x\nRUN --mount=type=odd,target=/x y",
            ":2:5: --mount=type=odd,target=/x: type is bind, cache, tmpfs, secret or ssh, not \"odd\"",
        ),
        ("FROM x\nUSER", ":2:1: USER needs an argument"),
    ] {
        assert_eq!(why(text), message, "{text}");
    }
    let near = parse("FROM x\nRUM y").unwrap_err();
    assert_eq!(near.hint.as_deref(), Some("RUN may be meant"));
}

#[test]
fn triggers_are_instructions() {
    assert_eq!(
        only("ONBUILD RUN <<E\nx\nE\n"),
        Instruction::Onbuild("RUN <<E\nx\nE".into())
    );
    let item = parse_trigger("RUN <<E\nx\nE").unwrap();
    assert!(matches!(item.instruction, Instruction::Run(run) if run.heredocs.len() == 1));
    assert!(parse_trigger("FROM x").is_err());
    assert!(parse_trigger("RUN x\nRUN y").is_err());
}

/// Where both agree on what the language is, both must find the same.
#[test]
fn another_parser_agrees() {
    let text = "# syntax=docker/dockerfile:1\nARG V=1\nFROM --platform=linux/amd64 a:$V AS b\n\
        RUN --mount=type=cache,target=/x apt-get update && \\\n  # why\n  apt-get install y\n\
        COPY --chown=1:2 a b /c/\nADD [\"x y\", \"/z\"]\nENV A=1 B=\"2 3\"\n\
        ENTRYPOINT [\"/e\", \"f\"]\nCMD g h\nEXPOSE 80 443/tcp\nVOLUME /v\nONBUILD USER q\n\
        RUN <<EOF\necho hi\nEOF\nFROM b\nCOPY --from=b /c /d\n";
    let (ours, theirs) = (parse(text).unwrap(), parse_dockerfile::parse(text).unwrap());
    assert_eq!(ours.stages.len(), theirs.stages().len());
    for (our, their) in ours.stages.iter().zip(theirs.stages()) {
        assert_eq!(our.from.image.text, their.from.image.value);
        assert_eq!(
            our.name.as_deref(),
            their.from.as_.as_ref().map(|(_, name)| &*name.value)
        );
        assert_eq!(our.items.len(), their.instructions.len());
        for (our, their) in our.items.iter().zip(their.instructions) {
            use parse_dockerfile::{Command as Theirs, Instruction as Other};
            match (&our.instruction, their) {
                (Instruction::Run(our), Other::Run(their)) => {
                    assert_eq!(our.mounts.len(), their.options.len());
                    assert_eq!(our.heredocs.len(), their.here_docs.len());
                    if let (Some(our), Some(their)) =
                        (our.heredocs.first(), their.here_docs.first())
                    {
                        assert_eq!(our.content, their.value);
                    }
                }
                (Instruction::Copy(our), Other::Copy(their)) => {
                    assert_eq!(
                        (our.sources.len(), &*our.dest.text),
                        (their.src.len(), &*their.dest.value)
                    );
                }
                (Instruction::Copy(our), Other::Add(their)) => {
                    assert_eq!(
                        (our.sources.len(), &*our.dest.text),
                        (their.src.len(), &*their.dest.value)
                    );
                }
                (Instruction::Entrypoint(Command::Exec(our)), Other::Entrypoint(their)) => {
                    let Theirs::Exec(their) = &their.arguments else {
                        panic!()
                    };
                    assert!(our.iter().eq(their.value.iter().map(|word| &*word.value)));
                }
                (Instruction::Cmd(Command::Shell(our)), Other::Cmd(their)) => {
                    let Theirs::Shell(their) = &their.arguments else {
                        panic!()
                    };
                    assert_eq!(our, their.value);
                }
                (our, their) => assert_eq!(
                    std::mem::discriminant(our) == std::mem::discriminant(our),
                    matches!(
                        their,
                        Other::Env(_) | Other::Expose(_) | Other::Volume(_) | Other::Onbuild(_)
                    ),
                    "{our:?}"
                ),
            }
        }
    }
}
