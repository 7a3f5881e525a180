//! Mounts and devices.

use super::*;

fn bind(
    source: &str,
    target: &str,
    readonly: bool,
    create_source: bool,
    propagation: &str,
    recursive: bool,
) -> UserMount {
    let (source, target, propagation) =
        (source.to_owned(), target.to_owned(), propagation.to_owned());
    UserMount::Bind {
        source,
        target,
        readonly,
        create_source,
        propagation,
        recursive,
        cached: false,
    }
}

fn cached(mut mount: UserMount) -> UserMount {
    if let UserMount::Bind { cached, .. } = &mut mount {
        *cached = true;
    }
    mount
}

fn tmpfs(target: &str, data: &str, readonly: bool, noexec: bool) -> UserMount {
    UserMount::Tmpfs {
        target: target.to_owned(),
        data: data.to_owned(),
        readonly,
        noexec,
        nosuid: true,
        nodev: true,
    }
}

#[test]
fn binds_in_both_forms() {
    let table = [
        (
            r#"{"volume":["/a:/b"]}"#,
            bind("/a", "/b", false, true, "rprivate", true),
        ),
        (
            r#"{"volume":["/a/../c/:/b//d/."]}"#,
            bind("/c", "/b/d", false, true, "rprivate", true),
        ),
        (
            r#"{"volume":["./data:/b:ro,rslave,z,cached"]}"#,
            cached(bind("/home/u/data", "/b", true, true, "rslave", true)),
        ),
        (
            r#"{"volume":["/a:/b:cached,consistent"]}"#,
            bind("/a", "/b", false, true, "rprivate", true),
        ),
        (
            r#"{"mount":["type=bind,src=/srv,dst=/b,consistency=delegated"]}"#,
            cached(bind("/srv", "/b", false, false, "rprivate", true)),
        ),
        (
            r#"{"volume":["..:/b:bind"]}"#,
            bind("/home", "/b", false, true, "rprivate", false),
        ),
        (
            r#"{"mount":["type=bind,source=/srv,target=/b,readonly"]}"#,
            bind("/srv", "/b", true, false, "rprivate", true),
        ),
        (
            r#"{"mount":["TYPE=bind,src=data,dst=/b,ro=false,bind-propagation=shared,consistency=cached"]}"#,
            cached(bind("/home/u/data", "/b", false, false, "shared", true)),
        ),
        (
            r#"{"mount":["type=bind,src=/srv,\"destination=/a,b\",bind-recursive=disabled"]}"#,
            bind("/srv", "/a,b", false, false, "rprivate", false),
        ),
        (
            r#"{"mount":["type=bind,src=/srv,dst=/b,bind-nonrecursive"]}"#,
            bind("/srv", "/b", false, false, "rprivate", false),
        ),
    ];
    for (json, wanted) in table {
        assert_eq!(
            container(&options(json)).unwrap().mounts,
            [wanted],
            "{json}"
        );
    }
}

#[test]
fn tmpfs_in_both_forms() {
    let table = [
        (r#"{"tmpfs":["/t"]}"#, tmpfs("/t", "", false, true)),
        (
            r#"{"tmpfs":["/t:size=64m,mode=1777,ro,exec"]}"#,
            tmpfs("/t", "size=64m,mode=1777", true, false),
        ),
        (
            r#"{"tmpfs":["/t:uid=5,gid=6,size=50%,nr_inodes=1k"]}"#,
            tmpfs("/t", "uid=5,gid=6,size=50%,nr_inodes=1k", false, true),
        ),
        (
            r#"{"mount":["type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700"]}"#,
            tmpfs("/t", "size=1048576,mode=700", false, true),
        ),
    ];
    for (json, wanted) in table {
        for isolation in Isolation::ALL {
            assert_eq!(
                behind(isolation, &options(json)).unwrap().mounts,
                std::slice::from_ref(&wanted),
                "{json}"
            );
        }
    }
}

#[test]
fn mounts_that_make_no_sense_are_refused() {
    refused(&[
        (r#"{"volume":[":/b"]}"#, Kind::Invalid, "no source"),
        (r#"{"volume":["/a:b"]}"#, Kind::Invalid, "absolute path"),
        (
            r#"{"volume":["/a:/b:ro:rw"]}"#,
            Kind::Invalid,
            "SOURCE:TARGET",
        ),
        (
            r#"{"volume":["/a:/b:fast"]}"#,
            Kind::Invalid,
            "no option \"fast\"",
        ),
        (
            r#"{"volume":["/a:/b:slave,shared"]}"#,
            Kind::Invalid,
            "more than one",
        ),
        (r#"{"volume":["/a:/b:nocopy"]}"#, Kind::Invalid, "nocopy"),
        (r#"{"volume":["~/a:/b"]}"#, Kind::Invalid, "`~`"),
        (
            r#"{"volume":["/a:/"]}"#,
            Kind::Invalid,
            "nothing can be mounted on /",
        ),
        (
            r#"{"volume":["/a:/x/../proc/self/attr"]}"#,
            Kind::Invalid,
            "mounted on /proc/self/attr",
        ),
        (r#"{"tmpfs":["/proc"]}"#, Kind::Invalid, "mounted on /proc"),
        (r#"{"tmpfs":["/dev/"]}"#, Kind::Invalid, "mounted on /dev"),
        (
            r#"{"tmpfs":["/t:size=x"]}"#,
            Kind::Invalid,
            "not a value for \"size\"",
        ),
        (r#"{"tmpfs":["/t:mode=9"]}"#, Kind::Invalid, "\"mode\""),
        (
            r#"{"tmpfs":["/t:huge=always"]}"#,
            Kind::Invalid,
            "no option \"huge\"",
        ),
        (
            r#"{"volume":["/a:/b"],"tmpfs":["/b/"]}"#,
            Kind::Conflict,
            "another mount at /b",
        ),
        (
            r#"{"mount":["type=bind,src=/nosuch,dst=/b"]}"#,
            Kind::Invalid,
            "cannot use the source /nosuch",
        ),
        (
            r#"{"mount":["type=bind,dst=/b"]}"#,
            Kind::Invalid,
            "needs source and target",
        ),
        (
            r#"{"mount":["type=npipe,dst=/b"]}"#,
            Kind::Invalid,
            "no type",
        ),
        (
            r#"{"mount":["type=bind,src=/srv,dst=/b,size=4"]}"#,
            Kind::Invalid,
            "no field \"size\"",
        ),
        (
            r#"{"mount":["type=bind,src=/srv,dst=/b,ro=maybe"]}"#,
            Kind::Invalid,
            "true or false",
        ),
        (
            r#"{"mount":["type=bind,src=/srv,dst=/b,bind-propagation=odd"]}"#,
            Kind::Invalid,
            "no propagation",
        ),
        (
            r#"{"mount":["type=bind,src=/srv,dst=/b,bind-recursive=writable"]}"#,
            Kind::Invalid,
            "writable",
        ),
        (
            r#"{"mount":["type=bind,src=/srv,dst=/b,bind-recursive=readonly"]}"#,
            Kind::Conflict,
            "needs readonly",
        ),
        (
            r#"{"mount":["type=bind,src=/srv,dst=/b,tmpfs-size=1m"]}"#,
            Kind::Conflict,
            "tmpfs-size is not for a mount of type bind",
        ),
        (
            r#"{"mount":["type=tmpfs,src=/srv,dst=/b"]}"#,
            Kind::Conflict,
            "has no source",
        ),
        (
            r#"{"mount":["type=tmpfs"]}"#,
            Kind::Invalid,
            "needs a target",
        ),
        (
            r#"{"mount":["type=tmpfs,\"dst=/b"]}"#,
            Kind::Invalid,
            "quote",
        ),
        (
            r#"{"mount":["type=tmpfs,dst=/b,consistency=odd"]}"#,
            Kind::Invalid,
            "no consistency",
        ),
    ]);
    let selinux = HostFacts {
        selinux: true,
        ..host()
    };
    let wall = WallCapabilities::of(Isolation::Container);
    let result = resolve(
        &options(r#"{"volume":["/a:/b:Z"]}"#),
        &image(),
        &wall,
        &selinux,
        ID,
    );
    check("Z", result, Kind::Unsupported, "SELinux");
}

#[test]
fn devices_of_the_host() {
    let table: &[(&str, &[&str])] = &[
        (r#"{"device":["/dev/fuse"]}"#, &["/dev/fuse c 10:229 rwm"]),
        (r#"{"device":["/dev/vda:r"]}"#, &["/dev/vda b 254:0 r"]),
        (
            r#"{"device":["/dev/vda:/dev/xvda:wr"]}"#,
            &["/dev/xvda b 254:0 rw"],
        ),
        (r#"{"device":["/dev/snd"]}"#, &["/dev/snd/pcm c 116:1 rwm"]),
        (
            r#"{"device":["/dev/snd:/dev/sound:r"]}"#,
            &["/dev/sound/pcm c 116:1 r"],
        ),
        (
            r#"{"privileged":true,"device":["/dev/fuse:r"]}"#,
            &[
                "/dev/snd/pcm c 116:1 rwm",
                "/dev/vda b 254:0 rwm",
                "/dev/fuse c 10:229 r",
            ],
        ),
    ];
    for (json, wanted) in table {
        let devices = container(&options(json)).unwrap().devices;
        let show = |d: &UserDevice| {
            format!(
                "{} {} {}:{} {}",
                d.node.path, d.node.kind, d.node.major, d.node.minor, d.access
            )
        };
        assert_eq!(
            devices.iter().map(show).collect::<Vec<_>>(),
            *wanted,
            "{json}"
        );
    }
    assert!(
        behind(Isolation::Vm, &options(r#"{"privileged":true}"#))
            .unwrap()
            .devices
            .is_empty()
    );
    refused(&[
        (
            r#"{"device":["/dev/nosuch"]}"#,
            Kind::Invalid,
            "/dev/nosuch",
        ),
        (
            r#"{"device":["/home/u/env:/dev/x"]}"#,
            Kind::Invalid,
            "is not a device",
        ),
        (
            r#"{"device":["/dev/fuse:/etc/fuse"]}"#,
            Kind::Invalid,
            "below /dev",
        ),
        (
            r#"{"device":["/dev/fuse:/dev/../etc/x"]}"#,
            Kind::Invalid,
            "below /dev",
        ),
        (
            r#"{"device":["/dev/fuse:/dev/pts/0"]}"#,
            Kind::Invalid,
            "belongs to the instance",
        ),
        (
            r#"{"device":["/dev/fuse:/dev/f:x"]}"#,
            Kind::Invalid,
            "r, w and m",
        ),
        (
            r#"{"device":["nvidia.com/gpu=all"]}"#,
            Kind::Unsupported,
            "device classes",
        ),
    ]);
}
