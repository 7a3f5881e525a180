//! Command, environment, identity and policy.

use super::*;

#[test]
fn entry_point_and_command_combine_as_in_docker() {
    let table: &[(&str, &[&str])] = &[
        (r#"{}"#, &["/entry", "serve", "80"]),
        (r#"{"args":["ls","-l"]}"#, &["/entry", "ls", "-l"]),
        (r#"{"entrypoint":["/other"]}"#, &["/other"]),
        (
            r#"{"entrypoint":["/other"],"args":["x"]}"#,
            &["/other", "x"],
        ),
        (
            r#"{"entrypoint":["/a","b"],"args":["c"]}"#,
            &["/a", "b", "c"],
        ),
        (r#"{"entrypoint":[""],"args":["ls"]}"#, &["ls"]),
        (r#"{"entrypoint":[],"args":["ls"]}"#, &["ls"]),
    ];
    for (json, args) in table {
        assert_eq!(
            container(&options(json)).unwrap().args,
            words(args),
            "{json}"
        );
    }
    refused(&[
        (r#"{"entrypoint":[""]}"#, Kind::Invalid, "nothing to run"),
        (
            r#"{"entrypoint":[""],"args":[""]}"#,
            Kind::Invalid,
            "empty string",
        ),
        (r#"{"args":["a\u0000b"]}"#, Kind::Invalid, "NUL"),
    ]);
    let bare = ImageFacts {
        entrypoint: vec![],
        cmd: vec![],
        ..image()
    };
    let wall = WallCapabilities::of(Isolation::Vm);
    let result = resolve(&Options::default(), &bare, &wall, &host(), ID);
    check("bare", result, Kind::Invalid, "nothing to run");
}

#[test]
fn environment_comes_in_layers() {
    let workload = container(&options(
        r#"{"env-file":["env"],"env":["LANG=de","A=9","TOKEN","E="],"tty":true}"#,
    ))
    .unwrap();
    let wanted = [
        "PATH=/bin",
        "HOSTNAME=0123456789ab",
        "TERM=xterm",
        "LANG=de",
        "A=9",
        "B=two words ",
        "TOKEN=secret",
        "C=a=b",
        "E=",
    ];
    assert_eq!(workload.env, words(&wanted));
    // A name that the host does not have takes the image's value away.
    let workload = container(&options(r#"{"env":["LANG"]}"#)).unwrap();
    assert_eq!(workload.env, words(&["PATH=/bin", "HOSTNAME=0123456789ab"]));
    refused(&[
        (r#"{"env":["=x"]}"#, Kind::Invalid, "no variable name"),
        (r#"{"env-file":["nosuch"]}"#, Kind::Invalid, "\"nosuch\""),
        (
            r#"{"env-file":["bad-name"]}"#,
            Kind::Invalid,
            "bad-name:2: the variable name \"export X\"",
        ),
        (
            r#"{"env-file":["bad-empty"]}"#,
            Kind::Invalid,
            "bad-empty:2:",
        ),
        (
            r#"{"env-file":["bad-utf8"]}"#,
            Kind::Invalid,
            "bad-utf8:3: not UTF-8",
        ),
    ]);
}

#[test]
fn labels_come_in_layers() {
    let workload = container(&options(r#"{"label-file":["labels"],"label":["a=2","c"]}"#)).unwrap();
    let labels: Vec<String> = workload
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(labels, ["a=2", "b=", "c=", "from=image"]);
    refused(&[(r#"{"label":["=x"]}"#, Kind::Invalid, "--label")]);
}

#[test]
fn users_groups_and_names() {
    let workload = container(&options(r#"{"user":"1000:","group-add":["audio","44"]}"#)).unwrap();
    assert_eq!(
        (workload.user.as_str(), workload.extra_groups.len()),
        ("1000", 2)
    );
    assert_eq!(container(&Options::default()).unwrap().user, "www");
    let workload = container(&options(
        r#"{"hostname":"db","domainname":"lan","add-host":["a:10.0.0.1","b=[::1]","c:fe80::1"]}"#,
    ))
    .unwrap();
    assert_eq!(
        (workload.hostname.as_str(), workload.domainname.as_deref()),
        ("db", Some("lan"))
    );
    let hosts: Vec<&str> = workload
        .extra_hosts
        .iter()
        .map(|(_, address)| address.as_str())
        .collect();
    assert_eq!(hosts, ["10.0.0.1", "::1", "fe80::1"]);
    assert_eq!(
        container(&options(r#"{"network":["host"]}"#))
            .unwrap()
            .hostname,
        "metal"
    );
    refused(&[
        (r#"{"user":"4294967296"}"#, Kind::Invalid, "ids go from 0"),
        (r#"{"user":"-1"}"#, Kind::Invalid, "ids go from 0"),
        (r#"{"user":"0:2147483648"}"#, Kind::Invalid, "ids go from 0"),
        (r#"{"user":"+5"}"#, Kind::Invalid, "ids go from 0"),
        (r#"{"user":":5"}"#, Kind::Invalid, "NAME:GROUP"),
        (r#"{"user":"a:b:c"}"#, Kind::Invalid, "NAME:GROUP"),
        (r#"{"user":"a b"}"#, Kind::Invalid, "NAME:GROUP"),
        (
            r#"{"group-add":["99999999999999999999999"]}"#,
            Kind::Invalid,
            "--group-add",
        ),
        (r#"{"hostname":"a\nb"}"#, Kind::Invalid, "--hostname"),
        (r#"{"hostname":""}"#, Kind::Invalid, "1 to 64"),
        (r#"{"add-host":["x"]}"#, Kind::Invalid, "NAME:ADDRESS"),
        (
            r#"{"add-host":["x:nope"]}"#,
            Kind::Invalid,
            "not an IP address",
        ),
        (r#"{"workdir":"srv"}"#, Kind::Invalid, "absolute"),
    ]);
}

#[test]
fn policies() {
    let restart = |text: &str| {
        container(&Options {
            restart: Some(text.to_owned()),
            ..Options::default()
        })
        .map(|w| w.restart)
    };
    assert_eq!(restart("always").unwrap(), Restart::Always);
    assert_eq!(restart("unless-stopped").unwrap(), Restart::UnlessStopped);
    assert_eq!(
        restart("on-failure").unwrap(),
        Restart::OnFailure { max: 0 }
    );
    assert_eq!(
        restart("on-failure:3").unwrap(),
        Restart::OnFailure { max: 3 }
    );
    assert_eq!(restart("no").unwrap(), Restart::No);
    let workload = container(&options(
        r#"{"stop-timeout":-1,"log-opt":["max-size=1m","max-file=5"]}"#,
    ))
    .unwrap();
    assert_eq!((workload.stop_signal, workload.stop_timeout), (3, None));
    assert_eq!(
        workload.log,
        LogOptions {
            enabled: true,
            max_size: 1 << 20,
            max_file: 5
        }
    );
    assert!(
        !container(&options(r#"{"log-driver":"none"}"#))
            .unwrap()
            .log
            .enabled
    );
    assert_eq!(
        container(&options(r#"{"platform":"linux/x86_64"}"#))
            .unwrap()
            .image,
        "web"
    );
    refused(&[
        (
            r#"{"restart":"always:3"}"#,
            Kind::Invalid,
            "only `on-failure`",
        ),
        (
            r#"{"restart":"on-failure:x"}"#,
            Kind::Invalid,
            "number of attempts",
        ),
        (
            r#"{"restart":"sometimes"}"#,
            Kind::Invalid,
            "must be no, always",
        ),
        (r#"{"restart":"always","rm":true}"#, Kind::Conflict, "--rm"),
        (
            r#"{"stop-signal":"SIGNOPE"}"#,
            Kind::Invalid,
            "no such signal",
        ),
        (r#"{"stop-timeout":-2}"#, Kind::Invalid, "--stop-timeout"),
        (
            r#"{"platform":"linux/arm64"}"#,
            Kind::Unsupported,
            "linux/amd64 only",
        ),
        (
            r#"{"platform":"windows"}"#,
            Kind::Unsupported,
            "linux/amd64 only",
        ),
        (
            r#"{"platform":"linux/amd64/v3"}"#,
            Kind::Invalid,
            "variants",
        ),
        (r#"{"log-driver":"syslog"}"#, Kind::Unsupported, "json-file"),
        (
            r#"{"log-driver":"none","log-opt":["max-size=1m"]}"#,
            Kind::Conflict,
            "--log-driver none",
        ),
        (r#"{"log-opt":["max-size=x"]}"#, Kind::Invalid, "not a size"),
        (r#"{"log-opt":["max-file=0"]}"#, Kind::Invalid, "from 1"),
        (
            r#"{"log-opt":["tag=x"]}"#,
            Kind::Invalid,
            "max-size and max-file",
        ),
    ]);
    let foreign = ImageFacts {
        architecture: "arm64".to_owned(),
        ..image()
    };
    let result = resolve(
        &Options::default(),
        &foreign,
        &WallCapabilities::of(Isolation::Emulated),
        &host(),
        ID,
    );
    check(
        "foreign",
        result,
        Kind::Unsupported,
        "is for linux/arm64, this host is linux/amd64",
    );
}

#[test]
fn options_are_read_strictly() {
    assert!(serde_json::from_str::<Options>(r#"{"memroy":"1g"}"#).is_err());
}

#[test]
fn health_checks_are_the_users_over_the_images_field_by_field() {
    let test = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    let image = ImageFacts {
        health: Some(isola_images::Healthcheck {
            test: test(&["CMD", "/ok"]),
            interval: 2_000_000_000,
            retries: 7,
            ..Default::default()
        }),
        ..image()
    };
    let wall = WallCapabilities::of(Isolation::Container);
    let show = |json: &str| match resolve(&options(json), &image, &wall, &host(), ID) {
        Err(error) => error.message,
        Ok(workload) => match workload.health {
            None => "none".to_owned(),
            Some(check) => format!(
                "{:?} {} {} {} {} {}",
                check.args(),
                check.interval_ms,
                check.timeout_ms,
                check.start_period_ms,
                check.start_interval_ms,
                check.retries
            ),
        },
    };
    assert_eq!(show("{}"), r#"["/ok"] 2000 30000 0 5000 7"#);
    assert_eq!(
        show(
            r#"{"health-cmd":["CMD-SHELL","x y"],"health-timeout":"1.5s","health-retries":2,"health-start-period":"1m"}"#
        ),
        r#"["/bin/sh", "-c", "x y"] 2000 1500 60000 5000 2"#
    );
    assert_eq!(
        show(r#"{"health-interval":"0","health-start-interval":"250ms"}"#),
        r#"["/ok"] 2000 30000 0 250 7"#
    );
    for off in [r#"{"no-healthcheck":true}"#, r#"{"health-cmd":["NONE"]}"#] {
        assert_eq!(show(off), "none");
    }
    for (json, part) in [
        (
            r#"{"no-healthcheck":true,"health-retries":1}"#,
            "contradict",
        ),
        (r#"{"health-cmd":["CMD"]}"#, "CMD-SHELL LINE"),
        (r#"{"health-cmd":["ls"]}"#, "CMD-SHELL LINE"),
        (r#"{"health-interval":"1"}"#, "not a span"),
        (r#"{"health-interval":"1us"}"#, "1ms or more"),
        (r#"{"health-retries":-1}"#, "0 or more"),
    ] {
        assert!(show(json).contains(part), "{json}: {}", show(json));
    }
}
