use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tar::{Builder, Header};

use super::super::pack::pack;
use super::*;

/// An archive of entries: kind, name, link or content.
fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, text) in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let content = if *kind == EntryType::Regular {
            *text
        } else {
            ""
        };
        if content.is_empty() {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpack(folder: &Path, rename: Rename, archive: &[u8]) -> Result<Unpacker> {
    let mut unpacker = Unpacker::open(folder.to_str().unwrap(), rename, false)?;
    unpacker.unpack(archive)?;
    Ok(unpacker)
}

#[test]
fn archives_that_try_to_leave_are_refused_or_stay() {
    use EntryType::{Directory, Link, Regular, Symlink};
    for (entries, refused) in [
        (vec![(Regular, "../out", "x")], true),
        (vec![(Regular, "/out", "x")], true),
        (vec![(Regular, "a/../../out", "x")], true),
        (vec![(Symlink, "l", ".."), (Regular, "l/out", "x")], true),
        (vec![(Symlink, "l", "../out"), (Regular, "l", "x")], false),
        (
            vec![
                (Symlink, "l", "/"),
                (Symlink, "m", "l"),
                (Directory, "m/out", ""),
            ],
            true,
        ),
        (vec![(Link, "l", "../secret"), (Regular, "l", "x")], true),
        (vec![(Symlink, "d", ".."), (Link, "l", "d/secret")], true),
        (vec![(Symlink, "d", ".."), (Directory, "d", "")], true),
    ] {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("in");
        fs::create_dir(&folder).unwrap();
        fs::write(top.path().join("secret"), "secret").unwrap();
        let result = unpack(&folder, Rename::Keep, &archive(&entries));
        assert_eq!(result.is_err(), refused, "{entries:?}");
        assert!(!top.path().join("out").exists(), "{entries:?}");
        let secret = top.path().join("secret");
        assert_eq!(fs::read(&secret).unwrap(), b"secret", "{entries:?}");
        assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1, "{entries:?}");
    }
}

#[test]
fn devices_are_left_out_and_set_id_bits_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = archive(&[
        (EntryType::Char, "null", ""),
        (EntryType::Regular, "su", "x"),
    ]);
    let unpacker = unpack(folder.path(), Rename::Keep, &bytes).unwrap();
    assert_eq!(unpacker.skipped, [PathBuf::from("null")]);
    let mode = fs::metadata(folder.path().join("su"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn a_name_without_end_is_refused() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let endless = header.as_bytes().chain(io::repeat(b'x'));
    let folder = tempfile::tempdir().unwrap();
    let mut unpacker =
        Unpacker::open(folder.path().to_str().unwrap(), Rename::Keep, false).unwrap();
    let failure = unpacker.unpack(endless).unwrap_err();
    assert!(failure.message.contains("too long"), "{failure:?}");
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = from.path().join("tree");
    let long = "n".repeat(200);
    fs::create_dir_all(source.join("sub").join(&long)).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(1 << 26).unwrap();
    fs::hard_link(source.join("file"), source.join("sub/again")).unwrap();
    symlink("../nowhere", source.join("link")).unwrap();
    fs::write(source.join("sub").join(&long).join("deep"), "deep").unwrap();
    fs::set_permissions(source.join("sub"), fs::Permissions::from_mode(0o555)).unwrap();
    let mut bytes = Vec::new();
    assert!(pack(&mut bytes, &source, "tree", false).unwrap().is_empty());
    for (rename, top) in [
        (Rename::Keep, "tree"),
        (Rename::To("new".to_owned()), "new"),
        (Rename::Strip, ""),
    ] {
        unpack(to.path(), rename, &bytes).unwrap();
        let top = to.path().join(top);
        assert_eq!(fs::read(top.join("file")).unwrap(), b"content");
        assert_eq!(fs::metadata(top.join("file")).unwrap().nlink(), 2);
        let sparse = fs::metadata(top.join("sparse")).unwrap();
        assert!(sparse.len() == 1 << 26 && sparse.blocks() < 1000);
        assert_eq!(
            fs::read_link(top.join("link")).unwrap(),
            Path::new("../nowhere")
        );
        assert_eq!(
            fs::read(top.join("sub").join(&long).join("deep")).unwrap(),
            b"deep"
        );
        assert_eq!(
            fs::metadata(top.join("sub")).unwrap().permissions().mode() & 0o777,
            0o555
        );
    }
}

#[test]
fn the_root_has_no_name_of_its_own() {
    let bytes = archive(&[
        (EntryType::Directory, "./", ""),
        (EntryType::Regular, "./a", "x"),
    ]);
    for (rename, place) in [
        (Rename::Keep, "a"),
        (Rename::Strip, "a"),
        (Rename::To("new".to_owned()), "new/a"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        unpack(folder.path(), rename, &bytes).unwrap();
        assert!(folder.path().join(place).is_file(), "{place}");
    }
}
