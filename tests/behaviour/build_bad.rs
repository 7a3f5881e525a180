//! Builds that can't be: one clear error each, and nothing left over.

use isola_tests::{Env, behaviours};

use crate::build::{build, context};

behaviours![
    Once what_is_wrong_has_its_place,
    Once files_must_be_in_the_context,
    Every a_failing_program_is_told_with_its_place,
    Once options_that_can_not_be_are_refused,
];

/// A Dockerfile that can't be built, and words of the error.
const WRONG: &[(&str, &str)] = &[
    (
        "FROM box\nNOSUCH x\n",
        "Dockerfile:2:1: unknown instruction NOSUCH",
    ),
    (
        "FROM box\nRUN <<EOF\nno end\n",
        "Dockerfile:2:5: the here-document has no end: no line is `EOF`",
    ),
    (
        "FROM box\nCOPY a\n",
        "Dockerfile:2:1: COPY needs at least a source",
    ),
    (
        "RUN x\n",
        "Dockerfile:1:1: RUN stands before the first FROM",
    ),
    ("", "Dockerfile:1:1: there is no FROM"),
    (
        "FROM box\nENV A=\"${B:?it is needed}\"\n",
        "Dockerfile:2:5: B: it is needed",
    ),
    (
        "ARG I\nFROM $I\n",
        "Dockerfile:2:6: the name \"$I\" after FROM is empty",
    ),
    (
        "FROM box\nSTOPSIGNAL odd\n",
        "Dockerfile:2:1: `odd` is not a signal",
    ),
    (
        "FROM box\nCOPY --chown=nobody-here a /a\n",
        "Dockerfile:2:6: --chown=nobody-here: the image's /etc/passwd has no user",
    ),
    (
        "FROM box\nRUN --security=insecure x\n",
        "Dockerfile:2:5: --security=insecure",
    ),
    (
        "FROM box\nADD file:///srv/x.git /x\n",
        "Dockerfile:2:5: file:///srv/x.git: a Dockerfile can't name repositories of this machine",
    ),
    ("FROM scratch\nRUN x\n", "there is nothing to run"),
];

fn what_is_wrong_has_its_place(env: &Env) {
    for (text, words) in WRONG {
        let folder = context(env, &[("Dockerfile", text), ("a", "a")]);
        build(env, &folder, "bad", &[]).fails(1, words);
    }
    let names = env.isola(["images", "-q"]).ok().stdout;
    assert_eq!(names.lines().count(), 1, "nothing but box: {names}");
}

fn files_must_be_in_the_context(env: &Env) {
    std::fs::write(env.files().join("outside"), "secret").unwrap();
    let folder = context(
        env,
        &[("ok", "ok"), (".dockerignore", "hidden\n"), ("hidden", "x")],
    );
    std::os::unix::fs::symlink("../outside", folder.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", folder.join("absolute")).unwrap();
    for (source, words) in [
        (
            "../outside",
            "Dockerfile:2:6: \"../outside\" is outside of what is copied from",
        ),
        (
            "/etc/hostname",
            "Dockerfile:2:6: \"/etc/hostname\" is not in the build's context",
        ),
        (
            "link",
            "Dockerfile:2:6: \"link\" is not in the build's context",
        ),
        (
            "absolute",
            "Dockerfile:2:6: \"absolute\" is not in the build's context",
        ),
        (
            "hidden",
            "Dockerfile:2:6: \"hidden\" is not in the build's context",
        ),
        (
            "none*",
            "Dockerfile:2:6: \"none*\" is not in the build's context",
        ),
        (
            "ok hidden*",
            "Dockerfile:2:9: \"hidden*\" is not in the build's context",
        ),
        (
            "ok ok",
            "with more than one source the destination must be a folder",
        ),
    ] {
        std::fs::write(
            folder.join("Dockerfile"),
            format!("FROM box\nCOPY {source} /x\n"),
        )
        .unwrap();
        build(env, &folder, "bad", &[]).fails(1, words);
    }
}

fn a_failing_program_is_told_with_its_place(env: &Env) {
    let dockerfile = "FROM box\nRUN true\n\n  RUN echo to the end; echo last words >&2; exit 37\n";
    let folder = context(env, &[("Dockerfile", dockerfile)]);
    let output = build(env, &folder, "bad", &["--network=none", "-q"]);
    assert_eq!(output.code, 1);
    for words in [
        "Dockerfile:4:3: ",
        "ended with exit code 37",
        " | to the end",
        " | last words",
    ] {
        assert!(
            output.stderr.contains(words),
            "{words} in {}",
            output.stderr
        );
    }
    // What was done before it is not done again, and no instance is left.
    let again = build(env, &folder, "bad", &["--network=none"]);
    assert_eq!(
        again.stderr.matches("CACHED").count(),
        1,
        "{}",
        again.stderr
    );
    assert!(env.isola(["ps", "-aq"]).ok().stdout.is_empty());
    let missing = context(
        env,
        &[("Dockerfile", "FROM box\nRUN [\"/no/such/program\"]\n")],
    );
    let output = build(env, &missing, "bad", &["--network=none"]);
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("Dockerfile:2:1: ") && output.stderr.contains("/no/such/program"),
        "{}",
        output.stderr
    );
}

fn options_that_can_not_be_are_refused(env: &Env) {
    let folder = context(env, &[("Dockerfile", "FROM box AS one\nARG KNOWN\n")]);
    for (options, words) in [
        (&["--target", "two"][..], "there is no stage \"two\""),
        (
            &["--platform", "linux/s390x"],
            "for linux/amd64 and not for linux/s390x",
        ),
        (&["--secret", "src=x"], "it needs id=NAME"),
        (&["--ssh", "default=/dev/null"], "is no socket of an agent"),
        (&["--build-context", "x"], "not of the form NAME=SOURCE"),
        (
            &["--build-context", "x=ftp://example.test/"],
            "is an address of an unknown kind",
        ),
        (
            &["-o", "type=odd"],
            "type is image, registry, local, tar, oci or docker",
        ),
        (
            &["--build-arg", "SOURCE_DATE_EPOCH=x"],
            "SOURCE_DATE_EPOCH \"x\"",
        ),
    ] {
        build(env, &folder, "bad", options).fails(1, words);
    }
    env.isola(["build", "ext::sh -c x"])
        .fails(1, "cannot open the context");
    env.isola(["build", env.files().to_str().unwrap()])
        .fails(1, "there is no Dockerfile in");
    let output = build(env, &folder, "fine", &["--build-arg", "UNKNOWN=1"]).ok();
    assert!(
        output
            .stderr
            .contains("no ARG names the build argument UNKNOWN"),
        "{}",
        output.stderr
    );
}
