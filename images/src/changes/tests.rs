use super::*;

/// The configuration as JSON after these changes, or the reason of the error.
fn json(lines: &[&str]) -> std::result::Result<String, String> {
    let mut config = RunConfig::default();
    for line in lines {
        config.change(line).map_err(|e| match e {
            Error::Change { reason, .. } => reason,
            other => other.to_string(),
        })?;
    }
    Ok(serde_json::to_string(&config).unwrap())
}

#[test]
fn changes_in_all_forms() {
    for (lines, expected) in [
        (&["CMD [\"a\", \"b c\"]"][..], r#"{"Cmd":["a","b c"]}"#),
        (
            &["cmd echo $X  y"],
            r#"{"Cmd":["/bin/sh","-c","echo $X  y"]}"#,
        ),
        (
            &["CMD [not json"],
            r#"{"Cmd":["/bin/sh","-c","[not json"]}"#,
        ),
        (&["CMD []"], r#"{"Cmd":[]}"#),
        (
            &["SHELL [\"/bin/ash\",\"-ec\"]", "ENTRYPOINT x"],
            r#"{"Entrypoint":["/bin/ash","-ec","x"],"Shell":["/bin/ash","-ec"]}"#,
        ),
        (
            &["ENV A=1 B='x y' C=\"$A\\\"z\" D=a\\ b"],
            r#"{"Env":["A=1","B=x y","C=\"z","D=a b"]}"#,
        ),
        (
            &["ENV A=1", "ENV B=${A}2 C=${Z:-d$A} D=${A:+e} E='$A' F=\\$A"],
            r#"{"Env":["A=1","B=12","C=d1","D=e","E=$A","F=$A"]}"#,
        ),
        (
            &["ENV A one two", "ENV A=2", "ENV AB=3"],
            r#"{"Env":["A=2","AB=3"]}"#,
        ),
        (
            &["WORKDIR /a", "WORKDIR b/../c/./d"],
            r#"{"WorkingDir":"/a/c/d"}"#,
        ),
        (&["WORKDIR ../../x"], r#"{"WorkingDir":"/x"}"#),
        (
            &["ENV U=me", "USER $U:staff"],
            r#"{"User":"me:staff","Env":["U=me"]}"#,
        ),
        (
            &["LABEL a.b=c \"d e\"='f g'"],
            r#"{"Labels":{"a.b":"c","d e":"f g"}}"#,
        ),
        (
            &["EXPOSE 80 53/UDP 7-8"],
            r#"{"ExposedPorts":{"53/udp":{},"7/tcp":{},"8/tcp":{},"80/tcp":{}}}"#,
        ),
        (
            &["VOLUME /a /b", "VOLUME [\"/c d\"]"],
            r#"{"Volumes":{"/a":{},"/b":{},"/c d":{}}}"#,
        ),
        (&["STOPSIGNAL SIGTERM"], r#"{"StopSignal":"SIGTERM"}"#),
        (&["STOPSIGNAL 9"], r#"{"StopSignal":"9"}"#),
        (&["STOPSIGNAL sigrtmin+3"], r#"{"StopSignal":"sigrtmin+3"}"#),
        (
            &["HEALTHCHECK NONE"],
            r#"{"Healthcheck":{"Test":["NONE"]}}"#,
        ),
        (
            &["HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl -f x || exit 1"],
            r#"{"Healthcheck":{"Test":["CMD-SHELL","curl -f x || exit 1"],"Interval":90000000000,"Timeout":500000000,"Retries":3}}"#,
        ),
        (
            &["HEALTHCHECK CMD [\"/ok\"]"],
            r#"{"Healthcheck":{"Test":["CMD","/ok"]}}"#,
        ),
        (
            &["ONBUILD RUN x", "ONBUILD COPY . ."],
            r#"{"OnBuild":["RUN x","COPY . ."]}"#,
        ),
    ] {
        assert_eq!(json(lines).as_deref(), Ok(expected), "{lines:?}");
    }
}

#[test]
fn wrong_changes_are_refused() {
    for line in [
        "",
        "RUN x",
        "FROM x",
        "ENV",
        "ENV A",
        "ENV =x",
        "ENV A=1 B",
        "ENV A='x",
        "ENV A=${X",
        "ENV A=${X?e}",
        "EXPOSE 0",
        "EXPOSE x",
        "EXPOSE 70000",
        "EXPOSE 9-8",
        "EXPOSE 80/icmp",
        "USER",
        "USER a b",
        "STOPSIGNAL SIGX",
        "STOPSIGNAL 0",
        "STOPSIGNAL 65",
        "STOPSIGNAL RTMIN+31",
        "SHELL sh",
        "SHELL []",
        "HEALTHCHECK",
        "HEALTHCHECK CMD",
        "HEALTHCHECK x",
        "HEALTHCHECK NONE x",
        "HEALTHCHECK --interval=1 CMD x",
        "HEALTHCHECK --interval=x CMD x",
        "HEALTHCHECK --interval=1ns CMD x",
        "HEALTHCHECK --retries=-1 CMD x",
        "HEALTHCHECK --what=1 CMD x",
        "HEALTHCHECK --interval=30s NONE",
        "ONBUILD ONBUILD RUN x",
        "ONBUILD FROM x",
        "VOLUME [\"\"]",
        "LABEL x",
    ] {
        let error = RunConfig::default().change(line).expect_err(line);
        assert!(matches!(error, Error::Change { .. }), "{line}");
    }
}
