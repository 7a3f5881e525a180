//! Images made of root file systems.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use isola_images::{DemoProgram, Error, ImportSource, LayerFormat};

use crate::support::tree::{Mounted, assert_same, walk};
use crate::support::{Packing, Tar, content, fsck, pack, run, store};

#[test]
fn a_folder_becomes_an_image_with_all_that_it_has() {
    let (dir, store) = store(LayerFormat::Erofs);
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/file"), vec![5; 10_000]).unwrap();
    fs::set_permissions(root.join("a/file"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(root.join("a/file"), root.join("a/b/same")).unwrap();
    std::os::unix::fs::symlink("a/file", root.join("link")).unwrap();
    let long = "x".repeat(200);
    fs::write(root.join(&long), b"").unwrap();
    std::os::unix::fs::symlink(format!("{long}/{long}"), root.join("long-link")).unwrap();
    xattr::set(root.join("a/file"), "user.key", b"\0value").unwrap();
    xattr::set(
        root.join("a/file"),
        "security.capability",
        &[
            1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    )
    .unwrap();
    std::os::unix::fs::lchown(root.join("link"), Some(3_000_000_000), Some(7)).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(9 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (9 << 30) - 3).unwrap();
    fs::File::create(root.join("hole"))
        .unwrap()
        .set_len(100_000)
        .unwrap();
    run("mknod", &[&root.join("fifo"), &"p"]);
    run("mknod", &[&root.join("null"), &"c", &"1", &"3"]);
    let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let name = "imported:1".parse().unwrap();
    let changes = [
        "CMD [\"/a/file\"]".to_owned(),
        "ENV A=b".into(),
        "HEALTHCHECK CMD x".into(),
    ];
    store
        .import(ImportSource::Directory(&root), Some(&name), &changes)
        .unwrap();
    drop(socket);
    fs::remove_file(root.join("socket")).unwrap();
    let image = store.resolve("imported:1").unwrap();
    fsck(image.layers[0].path());
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.cmd().as_ref().unwrap(), &["/a/file"]);
    assert_eq!(config.env().as_ref().unwrap(), &["A=b"]);
    assert!(image.extensions.healthcheck.is_some() && image.is_native());
    let mounted = Mounted::new(&image);
    // Hashing 9 GiB of zeros takes too long; the size tells enough.
    let (ours, theirs) = (mounted.root().join("sparse"), root.join("sparse"));
    assert_eq!(
        fs::metadata(ours).unwrap().len(),
        fs::metadata(&theirs).unwrap().len()
    );
    fs::File::options()
        .write(true)
        .open(&theirs)
        .unwrap()
        .set_len(0)
        .unwrap();
    let (mut ours, mut theirs) = (
        walk_without(mounted.root(), "sparse"),
        walk_without(&root, "sparse"),
    );
    // The socket's removal changed the time of the folder it was in.
    assert_same(&mut ours, &mut theirs, &[""]);
}

/// A walk over all but one file.
fn walk_without(root: &Path, name: &str) -> crate::support::tree::Tree {
    crate::support::tree::walk_but(root, Some(name))
}

#[test]
fn a_tar_becomes_an_image() {
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let (_dir, store) = store(LayerFormat::Erofs);
        let tar = pack(&Tar::default().file("x", b"y").end(), packing);
        let id = store
            .import(ImportSource::Tar(&mut &tar[..]), None, &[])
            .unwrap();
        let image = store.resolve(&id.to_string()).unwrap();
        let mounted = Mounted::new(&image);
        assert_eq!(fs::read(mounted.root().join("x")).unwrap(), b"y");
        assert_eq!(walk(mounted.root()).len(), 2);
    }
}

#[test]
fn wrong_imports_leave_nothing() {
    let (dir, store) = store(LayerFormat::Erofs);
    let evil = Tar::default().file("../x", b"").end();
    let error = store
        .import(ImportSource::Tar(&mut &evil[..]), None, &[])
        .unwrap_err();
    assert!(matches!(error, Error::Entry { .. }), "{error}");
    // The stream of a refused layer is not read to its end, which may not come.
    let mut endless = std::io::Read::chain(&evil[..512], std::io::repeat(7));
    store
        .import(ImportSource::Tar(&mut endless), None, &[])
        .unwrap_err();
    let no_tar = b"this is no tar archive";
    store
        .import(ImportSource::Tar(&mut &no_tar[..]), None, &[])
        .unwrap_err();
    let missing = dir.path().join("missing");
    let error = store
        .import(ImportSource::Directory(&missing), None, &[])
        .unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    store
        .import(ImportSource::Directory(&file), None, &[])
        .unwrap_err();
    let change = ["RUN x".to_owned()];
    let error = store
        .import(ImportSource::Directory(dir.path()), None, &change)
        .unwrap_err();
    assert!(matches!(error, Error::Change { .. }), "{error}");
    assert_eq!(content(&store), [""; 0]);
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn the_built_in_image_is_made_once() {
    let (_dir, store) = store(LayerFormat::Erofs);
    assert!(matches!(
        store.resolve("isola/demo"),
        Err(Error::DemoNotMade)
    ));
    let program = std::env::current_exe().unwrap();
    let demo = DemoProgram {
        path: "/bin/demo",
        host: &program,
        names: &["true".to_owned()],
    };
    let id = store.ensure_demo(&[demo]).unwrap();
    let before = content(&store);
    assert_eq!(
        store
            .ensure_demo(&[DemoProgram {
                host: Path::new("/no/such/file"),
                ..demo
            }])
            .unwrap(),
        id
    );
    assert_eq!(content(&store), before);
    let image = store.resolve("isola/demo:latest").unwrap();
    fsck(image.layers[0].path());
    let mounted = Mounted::new(&image);
    let mode = |name: &str| {
        fs::metadata(mounted.root().join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("bin/demo"), 0o100_755);
    assert_eq!(
        fs::read_link(mounted.root().join("bin/true")).unwrap(),
        Path::new("demo")
    );
    assert_eq!(mode("tmp"), 0o041_777);
    assert!(
        fs::read_to_string(mounted.root().join("etc/passwd"))
            .unwrap()
            .starts_with("root:x:0:0:")
    );
    assert_eq!(
        image
            .config
            .config()
            .as_ref()
            .unwrap()
            .cmd()
            .as_ref()
            .unwrap(),
        &["/bin/demo"]
    );
}
