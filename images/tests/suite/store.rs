//! Names, removal, damage, and several users at once.

use std::fs;
use std::os::unix::fs::FileExt;

use isola_images::{Digest, Error, ImageId, LayerFormat, Store};

use crate::support::{Packing, Tar, content, load, oci_archive, store};

fn image(seed: &str) -> Vec<u8> {
    let shared = Tar::default().file("shared", b"in every image").end();
    let own = Tar::default().file(seed, seed.as_bytes()).end();
    oci_archive(&[shared, own], Packing::Gzip, seed)
}

fn nobody(_: &ImageId) -> Vec<String> {
    Vec::new()
}

#[test]
fn images_are_found_by_name_id_and_digest() {
    let (_dir, store) = store(LayerFormat::Erofs);
    let id = load(&store, &image("app")).unwrap()[0].id;
    let manifest = store.resolve("app").unwrap().manifest;
    for name in [
        "app".to_owned(),
        "app:latest".into(),
        "docker.io/library/app".into(),
        id.to_string(),
        id.hex(),
        id.short(),
        id.hex()[..3].into(),
        format!("sha256:{}", &id.hex()[..5]),
        manifest.to_string(),
        format!("app@{manifest}"),
        format!("app@{id}"),
    ] {
        assert_eq!(
            store
                .resolve(&name)
                .unwrap_or_else(|e| panic!("{name}: {e}"))
                .id,
            id
        );
    }
    for name in [
        "app:2",
        "other",
        "ffffffffffff",
        &id.hex()[..2],
        &format!("other@{manifest}"),
        &Digest::of(b"").hex(),
    ] {
        assert!(
            matches!(store.resolve(name), Err(Error::NotFound(_))),
            "{name}"
        );
    }
    assert!(matches!(
        store.resolve("No Such"),
        Err(Error::Reference { .. })
    ));
    assert!(matches!(
        store.resolve("isola/demo"),
        Err(Error::DemoNotMade)
    ));
}

#[test]
fn an_id_that_fits_two_images_is_refused() {
    let (_dir, store) = store(LayerFormat::Erofs);
    let mut ids: Vec<String> = Vec::new();
    // By the birthday paradox some two of these begin with the same three digits.
    let prefix = (0..400)
        .find_map(|i| {
            let id = load(
                &store,
                &oci_archive(
                    &[Tar::default().file("x", &[i as u8, (i >> 8) as u8]).end()],
                    Packing::Plain,
                    "x",
                ),
            );
            let id = id.unwrap()[0].id.hex();
            let twin = ids.iter().any(|other| other[..3] == id[..3]);
            let prefix = id[..3].to_owned();
            ids.push(id);
            twin.then_some(prefix)
        })
        .expect("no two ids begin alike");
    let error = store.resolve(&prefix).unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
}

#[test]
fn names_move_and_images_without_names_stay() {
    let (_dir, store) = store(LayerFormat::Erofs);
    let old = load(&store, &image("app")).unwrap()[0].id;
    let new = load(&store, &oci_archive(&[], Packing::Plain, "app")).unwrap()[0].id;
    assert_eq!(store.resolve("app").unwrap().id, new);
    assert!(store.resolve(&old.to_string()).unwrap().reference.is_none());
    store
        .tag(&old.short(), &"h.io/old:1".parse().unwrap())
        .unwrap();
    let list = store.list().unwrap();
    let names = |id| -> Vec<String> {
        list.iter()
            .find(|image| image.id == id)
            .unwrap()
            .references
            .iter()
            .map(|name| name.familiar())
            .collect()
    };
    assert_eq!(names(old), ["h.io/old:1"]);
    assert_eq!(names(new), ["app:latest"]);
    let digest = format!("x@{old}");
    assert!(store.tag("app", &digest.parse().unwrap()).is_err());
}

#[test]
fn removal_takes_what_nobody_needs() {
    let (_dir, store) = store(LayerFormat::Erofs);
    let a = load(&store, &image("a")).unwrap()[0].id;
    let only_a = content(&store);
    let b = load(&store, &image("b")).unwrap()[0].id;
    store.tag("a", &"a2".parse().unwrap()).unwrap();
    // One of two names.
    let removed = store.remove("a", false, &nobody).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted.len()), (1, 0));
    store.tag("a2", &"a3".parse().unwrap()).unwrap();
    let error = store.remove(&a.short(), false, &nobody).unwrap_err();
    assert!(
        matches!(&error, Error::SeveralNames { names, .. } if names.len() == 2),
        "{error}"
    );
    let removed = store.remove("b", false, &nobody).unwrap();
    assert_eq!(removed.deleted, [b]);
    assert!(removed.freed > 0);
    assert_eq!(content(&store), only_a);
    let removed = store.remove(&a.short(), true, &nobody).unwrap();
    assert_eq!(
        (removed.untagged.len(), removed.deleted.as_slice()),
        (2, &[a][..])
    );
    assert_eq!(content(&store), [""; 0]);
    assert!(matches!(
        store.remove("a", false, &nobody),
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        store.remove("isola/demo", false, &nobody),
        Err(Error::NotFound(_))
    ));
}

#[test]
fn images_in_use_stay() {
    let (_dir, store) = store(LayerFormat::Erofs);
    let id = load(&store, &image("a")).unwrap()[0].id;
    let before = content(&store);
    let used = |image: &ImageId| {
        if *image == id {
            vec!["web".to_owned()]
        } else {
            Vec::new()
        }
    };
    let error = store.remove("a", false, &used).unwrap_err();
    assert!(error.to_string().ends_with("in use by web"), "{error}");
    let removed = store.remove("a", true, &used).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted.len()), (1, 0));
    store.gc(false, &used).unwrap();
    assert_eq!(content(&store), before);
    store.resolve(&id.short()).unwrap();
    assert_eq!(store.gc(false, &nobody).unwrap().deleted, [id]);
    assert_eq!(content(&store), [""; 0]);
}

#[test]
fn nothing_is_deleted_under_one_who_is_taking_it_into_use() {
    let (_dir, store) = store(LayerFormat::Erofs);
    load(&store, &image("a")).unwrap();
    let pinned = store.resolve("a").unwrap();
    let path = pinned.layers[0].path().to_owned();
    std::thread::scope(|scope| {
        let removing = scope.spawn(|| store.remove("a", false, &nobody));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!removing.is_finished() && path.exists());
        drop(pinned);
        removing.join().unwrap().unwrap();
        assert!(!path.exists());
    });
}

#[test]
fn a_flipped_bit_is_found_when_read_back() {
    let (_dir, store) = store(LayerFormat::Erofs);
    load(&store, &image("a")).unwrap();
    let blobs: Vec<_> = content(&store)
        .into_iter()
        .filter(|name| name.starts_with("blobs/"))
        .collect();
    assert_eq!(blobs.len(), 4);
    for blob in blobs {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(store.root().join(&blob))
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 40).unwrap();
        file.write_all_at(&[byte[0] ^ 4], 40).unwrap();
        let error = store
            .save(&["a".into()], None, std::io::sink())
            .expect_err(&blob);
        assert!(matches!(error, Error::BlobDamaged { .. }), "{error}");
        assert!(
            error.to_string().contains(blob.rsplit('/').next().unwrap()),
            "{error}"
        );
        // Loading the image again heals it.
        if blob.as_bytes()[13] % 2 == 0 {
            file.write_all_at(&byte, 40).unwrap();
        } else {
            load(&store, &image("a")).unwrap();
        }
        store.save(&["a".into()], None, std::io::sink()).unwrap();
    }
    // An image whose documents are damaged can still be removed.
    let manifest = store.resolve("a").unwrap().manifest;
    fs::write(
        store.root().join("blobs/sha256").join(manifest.hex()),
        b"{}",
    )
    .unwrap();
    assert!(matches!(store.resolve("a"), Err(Error::BlobDamaged { .. })));
    store.remove("a", true, &nobody).unwrap();
    assert_eq!(content(&store), [""; 0]);
}

#[test]
fn a_damaged_index_is_told() {
    let (_dir, store) = store(LayerFormat::Erofs);
    load(&store, &image("a")).unwrap();
    fs::write(store.root().join("index.json"), b"{").unwrap();
    let error = store.resolve("a").unwrap_err();
    assert!(
        error.to_string().contains("index.json is malformed"),
        "{error}"
    );
}

#[test]
fn what_a_process_that_died_left_is_collected() {
    let (_dir, store) = store(LayerFormat::Erofs);
    load(&store, &image("a")).unwrap();
    let before = content(&store);
    fs::write(store.root().join("tmp/4711-0"), b"half a blob").unwrap();
    fs::create_dir_all(store.root().join("tmp/4711-1/a/b")).unwrap();
    fs::write(
        store
            .root()
            .join("blobs/sha256")
            .join(Digest::of(b"x").hex()),
        b"x",
    )
    .unwrap();
    fs::write(
        store
            .root()
            .join("layers")
            .join(format!("{}.erofs", Digest::of(b"x").hex())),
        b"x",
    )
    .unwrap();
    store.gc(false, &nobody).unwrap();
    assert_eq!(content(&store), before);
}

#[test]
fn inspect_has_the_fields_that_docker_has() {
    let (_dir, store) = store(LayerFormat::Erofs);
    let id = load(&store, &image("a")).unwrap()[0].id;
    let value = store.inspect("a").unwrap();
    assert_eq!(value["Id"], id.to_string());
    assert_eq!(value["RepoTags"][0], "a:latest");
    assert_eq!(value["Config"]["Cmd"][0], "/bin/true");
    assert_eq!(value["Created"], "2026-01-02T03:04:05Z");
    assert_eq!(value["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&value["Os"], &value["Architecture"]),
        (&"linux".into(), &"amd64".into())
    );
    assert!(value["Size"].as_u64().unwrap() > 0);
}

/// Threads stand for processes: locks belong to open files, and each opens its
/// own.
#[test]
fn many_use_the_store_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    std::thread::scope(|scope| {
        for user in 0..6 {
            let path = &path;
            scope.spawn(move || {
                let store = Store::open(path, LayerFormat::Erofs).unwrap();
                for round in 0..5 {
                    // Two users each load the same image.
                    let name = format!("app{}", user / 2);
                    load(&store, &image(&name)).unwrap();
                    store.resolve(&name).unwrap();
                    store
                        .tag(&name, &format!("{name}:{user}-{round}").parse().unwrap())
                        .unwrap();
                    store.gc(false, &nobody).unwrap();
                    store
                        .remove(&format!("{name}:{user}-{round}"), false, &nobody)
                        .unwrap();
                }
            });
        }
    });
    let store = Store::open(&path, LayerFormat::Erofs).unwrap();
    assert_eq!(store.list().unwrap().len(), 3);
    for name in ["app0", "app1", "app2"] {
        let image = store.resolve(name).unwrap();
        image
            .layers
            .iter()
            .for_each(|layer| crate::support::fsck(layer.path()));
    }
    let names = ["app0", "app1", "app2"].map(str::to_owned);
    store.save(&names, None, std::io::sink()).unwrap();
}

/// A process that is killed in the middle of a load.
#[test]
fn a_load_that_is_cut_off_leaves_nothing_that_stays() {
    let (_dir, store) = store(LayerFormat::Erofs);
    let whole = image("a");
    for cut in [700, whole.len() / 2, whole.len() - 1500] {
        load(&store, &whole[..cut]).expect_err("cut off");
        assert_eq!(content(&store), [""; 0]);
    }
    load(&store, &whole).unwrap();
}
