//! Files in and out of a sandbox as tar archives.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod driver;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use driver::{Outcome, Tree, container};
use isola_proto::spec::Program;

fn out(tree: &Tree, path: &str, follow: bool) -> Outcome {
    container(tree, &[])
        .edit(|spec| {
            spec.process.program = Program::TarOut {
                path: path.to_owned(),
                follow,
            };
            spec.process.capabilities.bounding = vec!["CAP_DAC_OVERRIDE".to_owned()];
            let all = ["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]
                .map(str::to_owned)
                .to_vec();
            spec.process.capabilities.effective.clone_from(&all);
            spec.process.capabilities.permitted = all;
        })
        .first()
}

fn into(tree: &Tree, path: &str, owners: bool, archive: Vec<u8>) -> Outcome {
    let rights = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_MKNOD",
        "CAP_SETFCAP",
    ];
    container(tree, &[])
        .edit(|spec| {
            spec.process.program = Program::TarIn {
                path: path.to_owned(),
                owners,
            };
            spec.process.capabilities.effective = rights.map(str::to_owned).to_vec();
            spec.process.capabilities.permitted = rights.map(str::to_owned).to_vec();
        })
        .with("stdin", archive)
        .first()
}

fn remove(tree: &Tree, paths: &[&str]) -> Outcome {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    container(tree, &[])
        .edit(|spec| spec.process.program = Program::Remove { paths })
        .first()
}

#[test]
fn files_and_folders_are_removed_and_links_not_followed_at_the_end() {
    let tree = Tree::new();
    std::fs::create_dir_all(tree.join("keep/sub")).unwrap();
    std::fs::write(tree.join("keep/sub/file"), "x").unwrap();
    std::fs::create_dir_all(tree.join("go/deep/er")).unwrap();
    std::fs::write(tree.join("go/deep/file"), "x").unwrap();
    symlink("/keep", tree.join("go/link")).unwrap();
    symlink("/keep/sub", tree.join("way")).unwrap();
    std::fs::write(tree.join("keep/sub/other"), "x").unwrap();
    let paths = [
        "/go",
        "nosuch",
        "/keep/nosuch/x",
        "/way/other",
        "keep/sub/file/x",
    ];
    remove(&tree, &paths).ok();
    assert!(!tree.join("go").exists());
    assert!(
        tree.join("keep/sub/file").exists(),
        "links are not followed at the end"
    );
    assert!(!tree.join("keep/sub/other").exists(), "but on the way");
    let root = remove(&tree, &["/../.", "/way"]);
    assert_eq!(root.code(), 1);
    assert!(root.err().contains("the root stays"), "{}", root.err());
    assert!(tree.join("keep/sub/file").exists() && !tree.join("way").is_symlink());
}

/// What GNU tar makes of an archive.
fn list(archive: &[u8]) -> String {
    let mut tar = Command::new("tar")
        .args(["-tvf", "-", "--numeric-owner", "--full-time"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut tar.stdin.take().unwrap(), archive).unwrap();
    let output = tar.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A folder with one of everything.
fn zoo(tree: &Tree, name: &str) {
    let long = "n".repeat(180);
    std::fs::create_dir_all(tree.join(name).join("sub")).unwrap();
    let at = |path: &str| tree.join(&format!("{name}/{path}"));
    std::fs::write(at("plain"), "content").unwrap();
    std::fs::set_permissions(at("plain"), std::fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(at("plain"), Some(33), Some(3_000_000)).unwrap();
    std::fs::set_permissions(at("plain"), std::fs::Permissions::from_mode(0o4751)).unwrap();
    std::fs::hard_link(at("plain"), at("twin")).unwrap();
    symlink("plain", at("link")).unwrap();
    symlink("/no/where/".to_owned() + &long, at("long-link")).unwrap();
    std::fs::write(at(&format!("sub/{long}")), "long").unwrap();
    let sparse = std::fs::File::create(at("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 20 << 20).unwrap();
    sparse
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000))
        .unwrap();
    rustix::fs::setxattr(
        at("plain"),
        "user.colour",
        b"blue",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let here = rustix::fs::CWD;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(here, at("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(
        here,
        at("null"),
        rustix::fs::FileType::CharacterDevice,
        mode,
        null,
    )
    .unwrap();
    std::fs::set_permissions(at("sub"), std::fs::Permissions::from_mode(0o2711)).unwrap();
    std::fs::File::open(at("sub"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_111_111_111))
        .unwrap();
}

/// All that should survive, as one text.
fn describe(folder: &std::path::Path, owners: bool) -> String {
    let mut lines = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = path.symlink_metadata().unwrap();
        if stat.is_dir() {
            todo.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        let mut colour = [0; 16];
        let colour =
            rustix::fs::lgetxattr(&path, "user.colour", &mut colour).map_or(0, |length| length);
        let content = if stat.is_file() {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            std::fs::read(&path).unwrap().hash(&mut hasher);
            hasher.finish()
        } else {
            0
        };
        let owner = if owners {
            (stat.uid(), stat.gid())
        } else {
            (0, 0)
        };
        let target = std::fs::read_link(&path).unwrap_or_default();
        let path = path.strip_prefix(folder).unwrap();
        let mtime = if path.as_os_str().is_empty() {
            0
        } else {
            stat.mtime()
        };
        lines.push(format!(
            "{path:?} {:o} {owner:?} {} {mtime} {} {} {colour} {content} {target:?}",
            stat.mode(),
            stat.size() * u64::from(stat.is_file()),
            stat.rdev(),
            stat.nlink() * u64::from(stat.is_file()),
        ));
    }
    lines.sort();
    lines.join("\n")
}

#[test]
fn everything_survives_the_way_out_and_in() {
    let from = Tree::new();
    zoo(&from, "zoo");
    let archive = out(&from, "/zoo/", false);
    assert_eq!(archive.code(), 0, "{}", archive.err());
    assert!(
        archive.out_bytes().len() < 1 << 20,
        "the hole was written out"
    );
    let listed = list(archive.out_bytes());
    for part in [
        "-rwsr-x--x 33/3000000",
        "zoo/link -> plain",
        "zoo/twin link to zoo/plain",
        "crw",
        "prw",
        "drwx--s--x",
    ] {
        assert!(listed.contains(part), "{part} in\n{listed}");
    }
    for owners in [true, false] {
        let to = Tree::new();
        let outcome = into(&to, "/tmp", owners, archive.out_bytes().to_vec());
        assert_eq!(outcome.code(), 0, "{}", outcome.err());
        assert_eq!(
            describe(&to.join("tmp/zoo"), owners),
            describe(&from.join("zoo"), owners)
        );
        let sparse = to.join("tmp/zoo/sparse").metadata().unwrap();
        assert!(
            sparse.blocks() * 512 < 1 << 20,
            "the hole was filled: {} blocks",
            sparse.blocks()
        );
        if !owners {
            assert_eq!(to.join("tmp/zoo/plain").metadata().unwrap().uid(), 0);
        }
        // A second time over what is there.
        let again = into(&to, "/tmp", owners, archive.out_bytes().to_vec());
        assert_eq!(again.code(), 0, "{}", again.err());
    }
}

#[test]
fn names_are_relative_to_the_parent() {
    let tree = Tree::new();
    tree.write("etc/one", "1");
    symlink("/etc/one", tree.join("way")).unwrap();
    let names = |path: &str, follow| {
        let listed = list(out(&tree, path, follow).out_bytes());
        listed
            .lines()
            .map(|line| {
                line.split_whitespace()
                    .skip(5)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(names("/etc/one", false), ["one"]);
    assert_eq!(names("/way", false), ["way -> /etc/one"]);
    assert_eq!(names("/way", true), ["way"]);
    assert_eq!(names("/etc/../root/.", false), ["root/"]);
    assert!(names("/", false).contains(&"./etc/one".to_owned()));
    for path in ["/nosuch", "/etc/one/x"] {
        let missing = out(&tree, path, false);
        assert_eq!(missing.code(), 1);
        assert!(
            missing.err().starts_with(&format!("read '{path}': ")),
            "{}",
            missing.err()
        );
    }
}

/// An archive of entries given as (name, kind, link target, data).
fn archive(entries: &[(&str, tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, target, data) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn hostile_archives_do_not_leave() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let tree = Tree::new();
    let host = tempfile::tempdir().unwrap();
    let outside = host.path().to_str().unwrap();
    for (entries, refused) in [
        (vec![("../evil", Regular, "", b"x".as_slice())], true),
        (
            vec![("a/../../../evil", Regular, "", b"x".as_slice())],
            true,
        ),
        (
            vec![("hard", Link, "../../etc/passwd", b"".as_slice())],
            true,
        ),
        (vec![("hard", Link, "nosuch", b"".as_slice())], true),
        (
            vec![
                ("out", Symlink, outside, b"".as_slice()),
                ("out/evil", Regular, "", b"x".as_slice()),
            ],
            false,
        ),
        (
            vec![
                ("up", Symlink, "../../../../../..", b"".as_slice()),
                ("up/evil", Regular, "", b"x".as_slice()),
            ],
            false,
        ),
        (
            vec![
                ("d", Directory, "", b"".as_slice()),
                ("d", Regular, "", b"x".as_slice()),
            ],
            true,
        ),
        (
            vec![
                ("f", Regular, "", b"x".as_slice()),
                ("f", Directory, "", b"".as_slice()),
            ],
            true,
        ),
        (
            vec![("odd", tar::EntryType::new(b'Q'), "", b"".as_slice())],
            true,
        ),
    ] {
        let outcome = into(&tree, "/tmp", false, archive(&entries));
        if refused {
            assert_eq!(outcome.code(), 1, "{entries:?}");
            assert!(outcome.err().starts_with("write '"), "{}", outcome.err());
        }
        assert_eq!(
            std::fs::read_dir(host.path()).unwrap().count(),
            0,
            "{entries:?} left the root"
        );
        assert!(
            !std::path::Path::new("/evil").exists() && !std::path::Path::new("/tmp/evil").exists()
        );
    }
    let garbage = into(&tree, "/tmp", false, vec![b'x'; 5000]);
    assert_eq!(garbage.code(), 1);
    assert!(
        garbage.err().starts_with("read the archive: "),
        "{}",
        garbage.err()
    );
    let nowhere = into(&tree, "/nosuch", false, archive(&[]));
    assert_eq!(
        (nowhere.code(), nowhere.err().as_str()),
        (1, "open the folder '/nosuch': No such file or directory\n")
    );
}
