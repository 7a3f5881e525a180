//! Further processes.

use isola_proto::spec::{Program, TermSize};

use super::*;

fn exec(json: &str) -> Result<isola_proto::spec::ProcessSpec> {
    let workload = container(&options(
        r#"{"env":["A=1"],"ulimit":["core=0"],"group-add":["audio"]}"#,
    ))
    .unwrap();
    let options: ExecOptions = serde_json::from_str(json).unwrap();
    exec_spec(
        &workload,
        &options,
        &host(),
        TermSize { rows: 24, cols: 80 },
    )
}

#[test]
fn a_further_process_is_like_the_first() {
    let spec = exec(r#"{"args":["ls","-l"],"env":["A=2","TOKEN"]}"#).unwrap();
    assert_eq!(
        spec.program,
        Program::Exec {
            args: words(&["ls", "-l"])
        }
    );
    assert_eq!(
        (spec.user.as_str(), spec.cwd.as_str(), spec.create_cwd),
        ("www", "/srv", false)
    );
    assert_eq!(
        spec.env,
        words(&[
            "PATH=/bin",
            "HOSTNAME=0123456789ab",
            "LANG=C",
            "A=2",
            "TOKEN=secret"
        ])
    );
    assert!(
        spec.no_new_privileges
            && !spec.seccomp.is_empty()
            && !spec.capabilities.bounding.is_empty()
    );
    assert_eq!(
        (spec.rlimits.len(), spec.extra_groups),
        (2, words(&["audio"]))
    );
    assert_eq!((spec.terminal, spec.stdin), (None, false));
}

#[test]
fn options_of_exec() {
    let spec =
        exec(r#"{"args":["sh"],"user":"5:6","workdir":"/tmp","tty":true,"interactive":true}"#)
            .unwrap();
    assert_eq!((spec.user.as_str(), spec.cwd.as_str()), ("5:6", "/tmp"));
    assert_eq!(
        (spec.terminal, spec.stdin),
        (Some(TermSize { rows: 24, cols: 80 }), true)
    );
    assert!(spec.env.contains(&"TERM=xterm".to_owned()));
    let spec = exec(r#"{"args":["sh"],"privileged":true}"#).unwrap();
    assert_eq!(spec.capabilities.effective, host().capabilities);
    assert!(!spec.no_new_privileges && spec.seccomp.is_empty());
    for (json, part) in [
        (r#"{}"#, "no program"),
        (r#"{"args":[""]}"#, "no program"),
        (r#"{"args":["x"],"workdir":"tmp"}"#, "absolute"),
        (r#"{"args":["x"],"user":"-1"}"#, "ids go from"),
        (r#"{"args":["x"],"env":["=1"]}"#, "no variable name"),
    ] {
        check(json, exec(json), Kind::Invalid, part);
    }
}
