//! Volumes.

use super::*;

fn volume(name: &str, target: &str) -> UserMount {
    UserMount::Volume {
        name: name.to_owned(),
        target: target.to_owned(),
        readonly: false,
        nocopy: false,
        subpath: None,
        anonymous: name.is_empty(),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        cached: false,
    }
}

fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    list.iter().map(owned).collect()
}

/// A volume with other values for some fields.
macro_rules! volume {
    ($name:literal, $target:literal $(, $field:ident: $value:expr)* $(,)?) => {{
        #[allow(unused_mut)]
        let mut mount = volume($name, $target);
        if let UserMount::Volume { $($field: ref mut $field,)* .. } = mount {
            $(*$field = $value;)*
        }
        mount
    }};
}

#[test]
fn volumes_in_both_forms() {
    let table = [
        (r#"{"volume":["data:/d"]}"#, volume("data", "/d")),
        (r#"{"volume":["/d/"]}"#, volume("", "/d")),
        (
            r#"{"volume":["data:/d:ro,nocopy,cached,z"]}"#,
            volume!("data", "/d", readonly: true, nocopy: true, cached: true),
        ),
        (r#"{"mount":["src=data,dst=/d"]}"#, volume("data", "/d")),
        (r#"{"mount":["type=volume,dst=/d"]}"#, volume("", "/d")),
        (
            r#"{"mount":["type=volume,source=data,target=/d,readonly,volume-nocopy=true,volume-subpath=./a//b,volume-driver=local"]}"#,
            volume!("data", "/d", readonly: true, nocopy: true, subpath: Some("a/b".to_owned())),
        ),
        (
            r#"{"mount":["type=volume,source=data,target=/d,volume-label=a=1,volume-label=b,volume-opt=size=1g,\"volume-opt=o=x=1,y\""]}"#,
            volume!("data", "/d", labels: pairs(&[("a", "1"), ("b", "")]),
                options: pairs(&[("o", "x=1,y"), ("size", "1g")])),
        ),
    ];
    for (json, wanted) in table {
        for isolation in Isolation::ALL {
            let workload = behind(isolation, &options(json));
            let mounts = workload
                .unwrap_or_else(|error| panic!("{json}: {error}"))
                .mounts;
            assert_eq!(mounts, std::slice::from_ref(&wanted), "{json}");
        }
    }
    let disk = options(r#"{"mount":["type=volume,source=pg,target=/d,volume-opt=block=10G"]}"#);
    let wanted = volume!("pg", "/d", options: pairs(&[("block", "10G")]));
    assert_eq!(behind(Isolation::Vm, &disk).unwrap().mounts, [wanted]);
    let part = "(a volume that is a disk) can't be had with isolation container";
    check("block", container(&disk), Kind::Unsupported, part);
}

#[test]
fn volumes_that_make_no_sense_are_refused() {
    refused(&[
        (
            r#"{"volume":["a b:/d"]}"#,
            Kind::Invalid,
            "is not the name of a volume",
        ),
        (
            r#"{"volume":["a/b:/d"]}"#,
            Kind::Invalid,
            "is not the name of a volume",
        ),
        (
            r#"{"volume":["a:/d"]}"#,
            Kind::Invalid,
            "\"a\" is not the name of a volume",
        ),
        (r#"{"volume":["d"]}"#, Kind::Invalid, "absolute path"),
        (
            r#"{"volume":["vol:/d:fast"]}"#,
            Kind::Invalid,
            "no option \"fast\"",
        ),
        (
            r#"{"volume":["vol:/d:shared"]}"#,
            Kind::Invalid,
            "for bind mounts",
        ),
        (
            r#"{"volume":["vol:/"]}"#,
            Kind::Invalid,
            "nothing can be mounted on /",
        ),
        (
            r#"{"volume":["vol:/d","/d"]}"#,
            Kind::Conflict,
            "another mount at /d",
        ),
        (
            r#"{"mount":["src=../x,dst=/d"]}"#,
            Kind::Invalid,
            "\"../x\" is not the name of a volume",
        ),
        (
            r#"{"mount":["src=/x,dst=/d"]}"#,
            Kind::Invalid,
            "is not the name",
        ),
        (r#"{"mount":["src=vol"]}"#, Kind::Invalid, "needs a target"),
        (
            r#"{"mount":["src=vol,dst=/d,volume-driver=nfs"]}"#,
            Kind::Unsupported,
            "no driver \"nfs\"",
        ),
        (
            r#"{"mount":["src=vol,dst=/d,volume-subpath=/x"]}"#,
            Kind::Invalid,
            "volume-subpath must be",
        ),
        (
            r#"{"mount":["src=vol,dst=/d,volume-subpath=x/../../y"]}"#,
            Kind::Invalid,
            "without `..`",
        ),
        (
            r#"{"mount":["src=vol,dst=/d,volume-subpath=."]}"#,
            Kind::Invalid,
            "names nothing",
        ),
        (
            r#"{"mount":["src=vol,dst=/d,volume-opt==1"]}"#,
            Kind::Invalid,
            "no name before `=`",
        ),
        (
            r#"{"mount":["src=vol,dst=/d,bind-propagation=shared"]}"#,
            Kind::Conflict,
            "bind-propagation is not for a mount of type volume",
        ),
        (
            r#"{"mount":["type=bind,src=/srv,dst=/d,volume-nocopy"]}"#,
            Kind::Conflict,
            "volume-nocopy is not for a mount of type bind",
        ),
        (
            r#"{"volumes-from":["a:rx"]}"#,
            Kind::Invalid,
            "no mode \"rx\"",
        ),
    ]);
    let disk = options(r#"{"mount":["src=pg,dst=/d,volume-opt=block=10G,volume-subpath=x"]}"#);
    check(
        "disk",
        behind(Isolation::Vm, &disk),
        Kind::Conflict,
        "mounted whole",
    );
}

#[test]
fn folders_reach_guests_but_later_mounts_do_not() {
    let plain =
        options(r#"{"volume":["/srv:/d:ro,rprivate"],"mount":["type=bind,src=/srv,dst=/e"]}"#);
    assert_eq!(behind(Isolation::Vm, &plain).unwrap().mounts.len(), 2);
    for json in [
        r#"{"volume":["/srv:/d:rslave"]}"#,
        r#"{"mount":["type=bind,src=/srv,dst=/d,bind-propagation=rslave"]}"#,
    ] {
        let part = "(propagation rslave) can't be had with isolation vm";
        check(
            json,
            behind(Isolation::Vm, &options(json)),
            Kind::Unsupported,
            part,
        );
    }
}

#[test]
fn an_image_declares_volumes() {
    let resolved = |json: &str, volumes: &[&str]| {
        let image = ImageFacts {
            volumes: words(volumes),
            ..image()
        };
        let wall = WallCapabilities::of(Isolation::Emulated);
        resolve(&options(json), &image, &wall, &host(), ID).map(|workload| workload.mounts)
    };
    assert_eq!(
        resolved("{}", &["/a", "/a/b/", "/a/b"]).unwrap(),
        [volume("", "/a"), volume("", "/a/b")]
    );
    assert_eq!(
        resolved(r#"{"volume":["data:/a/"]}"#, &["/a", "/b"]).unwrap(),
        [volume("data", "/a"), volume("", "/b")]
    );
    let mounts = resolved(r#"{"tmpfs":["/a"]}"#, &["/a"]).unwrap();
    assert!(
        matches!(&mounts[..], [UserMount::Tmpfs { .. }]),
        "{mounts:?}"
    );
    check(
        "relative",
        resolved("{}", &["a"]),
        Kind::Invalid,
        "the image's VOLUME \"a\"",
    );
}

#[test]
fn volumes_of_another_instance() {
    for (text, wanted) in [
        ("web", ("web", false)),
        ("web:ro", ("web", true)),
        ("web:rw", ("web", false)),
        ("web:ro,z", ("web", true)),
    ] {
        let (name, readonly) = parse_volumes_from(text).unwrap();
        assert_eq!((name.as_str(), readonly), wanted, "{text}");
    }
    for text in ["", ":ro", "web:x", "web:ro:rw", "../web", "web:rslave"] {
        assert!(parse_volumes_from(text).is_err(), "{text}");
    }
    let other = [
        volume!("named", "/a"),
        volume!("ffff", "/b", anonymous: true),
        volume!("cccc", "/c", readonly: true),
        UserMount::Tmpfs {
            target: "/t".to_owned(),
            data: String::new(),
            readonly: false,
            noexec: true,
            nosuid: true,
            nodev: true,
        },
    ];
    // The image's unnamed volume gives way, the user's own mount does not.
    let mut mounts = vec![volume("mine", "/a"), volume("", "/b")];
    merge_volumes_from(&mut mounts, &other, false);
    let kept = [
        volume("mine", "/a"),
        volume!("ffff", "/b", anonymous: false),
        other[2].clone(),
    ];
    assert_eq!(mounts, kept);
    // The first of several instances wins.
    merge_volumes_from(&mut mounts, &[volume("late", "/b")], false);
    assert_eq!(mounts, kept);
    let mut mounts = Vec::new();
    merge_volumes_from(&mut mounts, &other[..1], true);
    assert_eq!(mounts, [volume!("named", "/a", readonly: true)]);
}
