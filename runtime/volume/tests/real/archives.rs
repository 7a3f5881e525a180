//! Archives out of volumes and into them, the hostile ones included.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

use isola_volume::Kind;
use tar::{Builder, EntryType, Header};

use crate::support::{Base, describe, everything, root, same};

fn data(base: &Base, name: &str) -> PathBuf {
    base.dir.path().join("volumes").join(name).join("_data")
}

#[test]
fn a_volume_survives_the_way_out_and_in() {
    if !root() {
        return;
    }
    let base = Base::new();
    base.create("from", &[]);
    everything(&data(&base, "from"));
    let mut archive = Vec::new();
    base.volumes.export("from", &mut archive).unwrap();
    assert!(
        archive.len() < 8 << 20,
        "holes are not data: {}",
        archive.len()
    );
    base.create("to", &[]);
    base.volumes.import("to", archive.as_slice()).unwrap();
    let before = describe(&data(&base, "from"));
    same(&describe(&data(&base, "to")), &before);
    // Again, over itself; and through a limited volume.
    base.volumes.import("to", archive.as_slice()).unwrap();
    same(&describe(&data(&base, "to")), &before);
    base.create("limited", &[("block", "32M")]);
    base.volumes.import("limited", archive.as_slice()).unwrap();
    let mut second = Vec::new();
    base.volumes.export("limited", &mut second).unwrap();
    base.create("last", &[]);
    base.volumes.import("last", second.as_slice()).unwrap();
    same(&describe(&data(&base, "last")), &before);
}

#[test]
fn gnu_tar_reads_and_writes_the_same() {
    if !root() {
        return;
    }
    let base = Base::new();
    base.create("from", &[]);
    everything(&data(&base, "from"));
    let archive = base.dir.path().join("x.tar");
    base.volumes
        .export("from", fs::File::create(&archive).unwrap())
        .unwrap();
    let folder = base.dir.path().join("unpacked");
    fs::create_dir(&folder).unwrap();
    let tar = |args: &[&str]| {
        let done = Command::new("tar")
            .args(["--numeric-owner", "-C"])
            .arg(&folder)
            .args(args)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    let attributes = ["--xattrs", "--xattrs-include=*"];
    let file = archive.to_str().unwrap();
    tar(&[attributes[0], attributes[1], "-xpf", file]);
    let before = describe(&data(&base, "from"));
    same(&describe(&folder), &before);
    let again = base.dir.path().join("again.tar");
    let again_file = again.to_str().unwrap();
    let back = |name: &str| {
        base.create(name, &[]);
        let file = fs::File::open(&again).unwrap();
        base.volumes
            .import(name, file)
            .map(|()| describe(&data(&base, name)))
    };
    tar(&[
        attributes[0],
        attributes[1],
        "--format=pax",
        "-cf",
        again_file,
        ".",
    ]);
    same(&back("pax").unwrap(), &before);
    // GNU's own format has neither attributes nor fractions of seconds.
    tar(&["--format=gnu", "-S", "-cf", again_file, "."]);
    let plain = |text: &str| {
        let (front, back) = text.rsplit_once("same=").unwrap_or((text, ""));
        let front: Vec<&str> = front.split(' ').collect();
        let time = front[2].split('.').next().unwrap_or("");
        let size = front.iter().find(|word| word.starts_with("thin=")).copied();
        format!("{} {} {time} {size:?} {back}", front[0], front[1])
    };
    let (gnu, mut expected) = (back("gnu").unwrap(), before.clone());
    // Where the group's rights were the mask of an access control list.
    expected.remove("empty");
    for (name, text) in &expected {
        assert_eq!(plain(&gnu[name]), plain(text), "{name}");
    }
    tar(&["--format=pax", "-S", "-cf", again_file, "."]);
    let error = back("unknown").unwrap_err();
    assert!(
        error.message.contains("sparse files in pax form"),
        "{error}"
    );
}

#[test]
fn folders_are_merged_and_unnamed_ones_stay_as_they_are() {
    if !root() {
        return;
    }
    let base = Base::new();
    base.create("db", &[]);
    let data = data(&base, "db");
    fs::create_dir_all(data.join("private/inner")).unwrap();
    fs::set_permissions(
        data.join("private"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    std::os::unix::fs::chown(data.join("private"), Some(5), Some(6)).unwrap();
    fs::write(data.join("private/old"), "old").unwrap();
    fs::write(data.join("private/both"), "old").unwrap();
    let owner = describe(&data)["private"]
        .split(' ')
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    let mut archive = Builder::new(Vec::new());
    for name in ["private/both", "private/new"] {
        append(&mut archive, EntryType::Regular, name, "", b"new");
    }
    base.volumes
        .import("db", archive.into_inner().unwrap().as_slice())
        .unwrap();
    let read = |name: &str| fs::read_to_string(data.join(name)).unwrap();
    assert_eq!(read("private/old"), "old");
    assert_eq!(read("private/both"), "new");
    assert_eq!(read("private/new"), "new");
    assert!(describe(&data)["private"].starts_with(&owner));
}

fn append(archive: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str, text: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_link_name_literal(link).unwrap();
    header.set_size(text.len() as u64);
    header.set_cksum();
    archive.append(&header, text).unwrap();
}

#[test]
fn hostile_archives_are_refused_and_leave_the_volume_as_it_was() {
    use EntryType::{Directory, Link, Regular, Symlink};
    if !root() {
        return;
    }
    let base = Base::new();
    base.create("db", &[]);
    let data = data(&base, "db");
    let outside = base.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    fs::create_dir(data.join("folder")).unwrap();
    fs::write(data.join("file"), "old").unwrap();
    fs::write(data.join("kept"), "old").unwrap();
    std::os::unix::fs::symlink(&outside, data.join("way-out")).unwrap();
    let before = (describe(&data), describe(&outside));
    let out = outside.to_str().unwrap();
    let up = "../../../outside/secret";
    let secret = outside.join("secret");
    type Members<'a> = &'a [(EntryType, &'a str, &'a str)];
    let table: &[(Members<'_>, &str)] = &[
        (&[(Regular, "../x", "")], "leads out"),
        (&[(Regular, "a/../../x", "")], "leads out"),
        (&[(Regular, "/etc/x", "")], "absolute"),
        (
            &[(Symlink, "l", out), (Regular, "l/x", "")],
            "through a link",
        ),
        (
            &[(Symlink, "l", "."), (Regular, "l/x", "")],
            "through a link",
        ),
        (
            &[(Symlink, "l", out), (Directory, "l/d/", "")],
            "through a link",
        ),
        (&[(Symlink, "l", out), (Directory, "l", "")], "there twice"),
        (&[(Link, "h", up)], "no file of the archive"),
        (
            &[(Link, "h", secret.to_str().unwrap())],
            "no file of the archive",
        ),
        (
            &[(Symlink, "l", out), (Link, "h", "l/secret")],
            "no file of the archive",
        ),
        (&[(Link, "h", "kept")], "no file of the archive"),
        (&[(Regular, "folder", "")], "folder on one side"),
        (&[(Directory, "kept", "")], "folder on one side"),
        (
            &[(Directory, "way-out", ""), (Regular, "way-out/x", "")],
            "folder on one side",
        ),
        (&[(Regular, "f", ""), (Regular, "f/x", "")], "no folder"),
        (&[(EntryType::new(b'V'), "label", "")], "unknown kind"),
    ];
    for (members, why) in table {
        let mut archive = Builder::new(Vec::new());
        append(&mut archive, Regular, "file", "", b"new");
        for (kind, name, link) in *members {
            append(&mut archive, *kind, name, link, b"");
        }
        let archive = archive.into_inner().unwrap();
        let error = base.volumes.import("db", archive.as_slice()).unwrap_err();
        assert!(error.message.contains(why), "{members:?}: {error}");
        assert_eq!(error.message.lines().count(), 1);
        same(&describe(&data), &before.0);
        same(&describe(&outside), &before.1);
    }
    for (bytes, why) in [
        (&b""[..], "ends early"),
        (&[0x1f, 0x8b, 0], "ends early"),
        (&[9; 700], "not a tar"),
    ] {
        let error = base.volumes.import("db", bytes).unwrap_err();
        assert!(error.message.contains(why), "{error}");
        assert_eq!(error.kind, Kind::Invalid);
    }
    // A link out is a file like any other as long as nothing goes through it.
    let mut archive = Builder::new(Vec::new());
    append(&mut archive, Symlink, "file", out, b"");
    base.volumes
        .import("db", archive.into_inner().unwrap().as_slice())
        .unwrap();
    assert_eq!(fs::read_link(data.join("file")).unwrap(), outside);
}

#[test]
fn bombs_end_at_the_limit_and_leave_the_volume_as_it_was() {
    if !root() {
        return;
    }
    let base = Base::new();
    base.create("small", &[("size", "16M")]);
    let mut archive = Builder::new(Vec::new());
    append(&mut archive, EntryType::Regular, "kept", "", b"kept");
    base.volumes
        .import("small", archive.into_inner().unwrap().as_slice())
        .unwrap();
    let mut before = Vec::new();
    base.volumes.export("small", &mut before).unwrap();
    let mut header = Header::new_gnu();
    header.set_path("bomb").unwrap();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(1 << 40);
    header.set_cksum();
    let bomb = header.as_bytes().chain(std::io::repeat(7).take(1 << 40));
    let error = base.volumes.import("small", bomb).unwrap_err();
    assert!(
        error.message.contains("'bomb': No space left on device"),
        "{error}"
    );
    // Files without data, but without end.
    let mut header = header.clone();
    header.set_size(0);
    let mut endless = Vec::new();
    for at in 0..20_000 {
        header.set_path(format!("f{at}")).unwrap();
        header.set_cksum();
        endless.extend_from_slice(header.as_bytes());
    }
    let error = base
        .volumes
        .import("small", endless.as_slice())
        .unwrap_err();
    assert!(error.message.contains("No space left on device"), "{error}");
    let mut after = Vec::new();
    base.volumes.export("small", &mut after).unwrap();
    assert!(after == before);
}
