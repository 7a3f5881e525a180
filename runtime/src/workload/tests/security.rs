//! Capabilities, seccomp, user namespaces.

use super::*;
use crate::seccomp::allowed_syscalls;

fn granted(json: &str) -> String {
    let security = container(&options(json)).unwrap().security;
    let sets = &security.capabilities;
    assert_eq!(
        (&sets.bounding, &sets.permitted),
        (&sets.effective, &sets.effective)
    );
    assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
    sets.effective
        .iter()
        .map(|name| name.trim_start_matches("CAP_"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn capabilities_are_added_and_dropped_as_in_docker() {
    let default = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP";
    let all = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_ADMIN NET_RAW SYS_CHROOT SYS_PTRACE SYS_ADMIN MKNOD AUDIT_WRITE SETFCAP";
    let table = [
        ("{}", default.to_owned()),
        (r#"{"cap-drop":["all"]}"#, String::new()),
        (
            r#"{"cap-drop":["ALL"],"cap-add":["net_admin","CAP_KILL"]}"#,
            "KILL NET_ADMIN".to_owned(),
        ),
        (
            r#"{"cap-add":["SYS_PTRACE"],"cap-drop":["mknod"]}"#,
            default
                .replace(" MKNOD", "")
                .replace("CHROOT", "CHROOT SYS_PTRACE"),
        ),
        (
            r#"{"cap-add":["KILL"],"cap-drop":["KILL"]}"#,
            default.to_owned(),
        ),
        (r#"{"cap-add":["ALL"]}"#, all.to_owned()),
        (
            r#"{"cap-add":["ALL"],"cap-drop":["SYS_ADMIN"]}"#,
            all.replace(" SYS_ADMIN", ""),
        ),
        (r#"{"privileged":true}"#, all.to_owned()),
        (
            r#"{"privileged":true,"cap-drop":["CHOWN"]}"#,
            all.replace("CHOWN ", ""),
        ),
    ];
    for (json, wanted) in table {
        assert_eq!(granted(json), wanted, "{json}");
    }
    refused(&[
        (
            r#"{"cap-add":["FLY"]}"#,
            Kind::Invalid,
            "no such capability",
        ),
        (
            r#"{"cap-drop":["CAP_CAP_KILL"]}"#,
            Kind::Invalid,
            "no such capability",
        ),
        (
            r#"{"cap-add":["SYS_TIME"]}"#,
            Kind::Unsupported,
            "the tool itself does not have it",
        ),
    ]);
    let guest = behind(Isolation::Vm, &options(r#"{"cap-add":["ALL"]}"#)).unwrap();
    assert_eq!(guest.security.capabilities.effective.len(), 41);
}

#[test]
fn security_options() {
    let security = |json: &str| container(&options(json)).unwrap().security;
    let default = security("{}");
    assert!(default.no_new_privileges && !default.privileged && !default.seccomp.is_empty());
    assert!(default.masked_paths.contains(&"/proc/kcore".to_owned()));
    assert!(default.readonly_paths.contains(&"/proc/sys".to_owned()));
    assert!(!security(r#"{"security-opt":["no-new-privileges=false"]}"#).no_new_privileges);
    assert!(!security(r#"{"security-opt":["no-new-privileges:false"]}"#).no_new_privileges);
    assert!(
        security(r#"{"security-opt":["no-new-privileges"],"privileged":true}"#).no_new_privileges
    );
    assert_eq!(
        security(r#"{"security-opt":["seccomp=unconfined"]}"#).seccomp,
        []
    );
    assert_eq!(
        security(r#"{"security-opt":["seccomp=builtin"]}"#).seccomp,
        default.seccomp
    );
    let own = security(r#"{"security-opt":["seccomp=allow.json"]}"#).seccomp;
    assert!(allowed_syscalls(&own) > allowed_syscalls(&default.seccomp));
    let admin = security(r#"{"cap-add":["SYS_ADMIN"]}"#).seccomp;
    assert!(allowed_syscalls(&admin) > allowed_syscalls(&default.seccomp));
    let privileged = security(r#"{"privileged":true}"#);
    assert!(privileged.privileged && !privileged.no_new_privileges);
    assert!(
        privileged.seccomp.is_empty()
            && privileged.masked_paths.is_empty()
            && privileged.readonly_paths.is_empty()
    );
    let open = security(r#"{"security-opt":["systempaths=unconfined"]}"#);
    assert!(open.masked_paths.is_empty() && !open.seccomp.is_empty());
    refused(&[
        (
            r#"{"security-opt":["apparmor=x"]}"#,
            Kind::Unsupported,
            "apparmor=x",
        ),
        (
            r#"{"security-opt":["label=disable"]}"#,
            Kind::Unsupported,
            "label=disable",
        ),
        (
            r#"{"security-opt":["seccomp"]}"#,
            Kind::Unsupported,
            "seccomp",
        ),
        (
            r#"{"security-opt":["no-new-privileges=maybe"]}"#,
            Kind::Invalid,
            "true or false",
        ),
        (
            r#"{"security-opt":["seccomp=nosuch.json"]}"#,
            Kind::Invalid,
            "nosuch.json",
        ),
        (
            r#"{"security-opt":["seccomp=broken.json"]}"#,
            Kind::Invalid,
            "broken.json: not a seccomp profile",
        ),
        (
            r#"{"security-opt":["seccomp=builtin","seccomp=unconfined"]}"#,
            Kind::Conflict,
            "twice",
        ),
    ]);
}

#[test]
fn user_namespaces() {
    let userns = |text: &str| {
        let options = Options {
            userns: Some(text.to_owned()),
            ..Options::default()
        };
        container(&options).map(|workload| workload.security.userns)
    };
    assert_eq!(userns("host").unwrap(), None);
    for isolation in [Isolation::Vm, Isolation::Emulated] {
        let guest = behind(isolation, &options(r#"{"userns":"host"}"#)).unwrap();
        assert_eq!(guest.security.userns, None);
    }
    let auto = userns("auto").unwrap().unwrap();
    assert_eq!(
        (auto.uids[0].outside, auto.gids[0].outside),
        (100_000, 200_000)
    );
    let own = userns("0:300000:1000,1000:1000:1").unwrap().unwrap();
    assert_eq!(
        (own.uids.len(), own.uids[1].inside, own.gids[0].size),
        (2, 1000, 1000)
    );
    for (text, part) in [
        ("keep-id", "INSIDE:OUTSIDE:SIZE"),
        ("0:1", "INSIDE:OUTSIDE:SIZE"),
        ("0:1:-1", "INSIDE:OUTSIDE:SIZE"),
        ("0:1:0", "empty"),
        ("0:4294967295:1", "beyond the last id"),
        ("0:1:10,5:100:10", "overlap"),
        ("0:1:10,10:5:10", "overlap"),
        ("1:1:10", "id 0"),
    ] {
        check(text, userns(text), Kind::Invalid, part);
    }
    refused(&[
        (
            r#"{"userns":"auto","privileged":true}"#,
            Kind::Conflict,
            "--privileged",
        ),
        (
            r#"{"userns":"auto","network":["host"]}"#,
            Kind::Conflict,
            "--network host",
        ),
    ]);
}
