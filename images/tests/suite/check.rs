//! Damage is found and mended without a registry.

use std::fs;
use std::path::{Path, PathBuf};

use isola_images::registry::Platforms;
use isola_images::{Checked, Digest, LayerFormat, Mended, Store};

use crate::support::fake::Fake;
use crate::support::registry::{client, honest, layer, pull, reference, served};
use crate::support::{Packing, Parts, Tar, content, load, oci_archive, parts, store};
use crate::whole::multi;

/// Two layers, of which the upper one leans on the lower.
fn leaning() -> Parts {
    let lower = Tar::default().dir("d").file("d/a", b"a").end();
    let upper = Tar::default().file("d/b", b"b").end();
    parts(&[lower, upper], Packing::Gzip)
}

fn check(store: &Store, repair: bool) -> Checked {
    store.check(repair, &|_, _| ()).unwrap()
}

/// Changes one byte in the middle.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn file_of(store: &Store, blob: &[u8]) -> PathBuf {
    let folder = store.root().join("blobs/sha256");
    folder.join(Digest::of(blob).hex())
}

fn layers(store: &Store) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.root().join("layers")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn a_whole_store_is_whole() {
    for format in [LayerFormat::Erofs, LayerFormat::Directory] {
        let fake = Fake::new(served(&leaning()), honest());
        let (_dir, store) = store(format);
        pull(&store, &fake, "app:1").unwrap();
        for repair in [false, true] {
            let checked = check(&store, repair);
            assert_eq!(checked.findings, [], "{format:?}");
            assert_eq!((checked.blobs, checked.layers), (4, 2), "{format:?}");
        }
    }
}

#[test]
fn damaged_layers_are_made_anew() {
    for number in [0, 1] {
        let fake = Fake::new(served(&leaning()), honest());
        let (_dir, store) = store(LayerFormat::Erofs);
        pull(&store, &fake, "app:1").unwrap();
        let path = layers(&store).swap_remove(number);
        let before = fs::read(&path).unwrap();
        spoil(&path);
        let checked = check(&store, false);
        assert_eq!(checked.findings.len(), 1, "{number}: {checked:?}");
        assert!(checked.findings[0].wrong.contains("damaged from byte"));
        assert_eq!(checked.findings[0].mended, Mended::No);
        let checked = check(&store, true);
        assert_eq!(checked.findings[0].mended, Mended::Anew);
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(check(&store, false).findings, []);
    }
}

#[test]
fn damaged_folders_are_made_anew() {
    let fake = Fake::new(served(&leaning()), honest());
    let (_dir, store) = store(LayerFormat::Directory);
    let spoilers: [fn(&Path); 4] = [
        |layer| fs::write(layer.join("d/b"), b"c").unwrap(),
        |layer| fs::remove_file(layer.join("d/b")).unwrap(),
        |layer| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            fs::set_permissions(layer.join("d/b"), mode).unwrap();
        },
        |layer| xattr::set(layer.join("d/b"), "user.x", b"y").unwrap(),
    ];
    for (number, spoil) in spoilers.into_iter().enumerate() {
        let pulled = pull(&store, &fake, "app:1").unwrap();
        let image = store.resolve(&pulled.id.to_string()).unwrap();
        let layer = image.layers[1].path().to_owned();
        drop(image);
        spoil(&layer);
        let checked = check(&store, true);
        assert_eq!(checked.findings.len(), 1, "{number}: {checked:?}");
        assert!(checked.findings[0].is_mended());
        assert_eq!(fs::read(layer.join("d/b")).unwrap(), b"b");
        assert_eq!(check(&store, false).findings, [], "{number}");
    }
}

#[test]
fn damaged_blobs_go_and_come_again() {
    let image = leaning();
    let manifest = image.manifest();
    for (what, blob) in [
        ("layer", &image.blobs[0]),
        ("configuration", &image.config),
        ("manifest", &manifest),
    ] {
        let fake = Fake::new(served(&image), honest());
        let (_dir, store) = store(LayerFormat::Erofs);
        let name = pull(&store, &fake, "app:1").unwrap().reference;
        let all = content(&store);
        let path = file_of(&store, blob);
        spoil(&path);
        let found = check(&store, false).findings;
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        assert_eq!(found[0].images, [name.familiar()], "{what}");
        let mended = check(&store, true).findings;
        assert_eq!(mended[0].mended, Mended::Removed, "{what}");
        assert!(!mended[0].is_mended() && !path.exists(), "{what}");
        let found = check(&store, true).findings;
        assert_eq!((found.len(), found[0].wrong.as_str()), (1, "it is missing"));
        // Only what is missing is fetched.
        let before = fake.seen("blobs").len();
        assert!(pull(&store, &fake, "app:1").unwrap().new, "{what}");
        let fetched = fake.seen("blobs").len() - before;
        assert_eq!(fetched, usize::from(what != "manifest"), "{what}");
        assert_eq!(check(&store, false).findings, [], "{what}");
        assert_eq!(content(&store), all, "{what}");
    }
}

#[test]
fn what_is_cut_off_or_strange_is_found() {
    let (_dir, store) = store(LayerFormat::Erofs);
    load(
        &store,
        &oci_archive(&[layer("a", 5000)], Packing::Gzip, "a:1"),
    )
    .unwrap();
    let blobs = store.root().join("blobs/sha256");
    fs::write(blobs.join(Digest::of(b"whole").hex()), b"who").unwrap();
    fs::write(blobs.join("readme"), b"hello").unwrap();
    fs::write(store.root().join("tmp/1-0"), b"half").unwrap();
    let checked = check(&store, false);
    assert_eq!((checked.findings.len(), checked.unfinished), (2, 1));
    assert!(
        checked
            .findings
            .iter()
            .all(|finding| finding.images.is_empty())
    );
    let checked = check(&store, true);
    assert!(
        checked.findings.iter().all(|finding| finding.is_mended()),
        "{checked:?}"
    );
    let checked = check(&store, false);
    assert_eq!((checked.findings.len(), checked.unfinished), (0, 0));
    assert!(store.resolve("a:1").is_ok());
}

#[test]
fn images_are_found_without_their_index() {
    let (_dir, store) = store(LayerFormat::Erofs);
    load(
        &store,
        &oci_archive(&[layer("a", 5000)], Packing::Gzip, "a:1"),
    )
    .unwrap();
    let id = store.resolve("a:1").unwrap().id;
    fs::write(
        store.root().join("index.json"),
        b"{\"schemaVersion\":2,\"mani",
    )
    .unwrap();
    let checked = check(&store, false);
    assert!(
        checked.findings[0].wrong.contains("1 images were found"),
        "{checked:?}"
    );
    assert!(store.list().is_err(), "nothing was changed");
    assert!(check(&store, true).findings[0].is_mended());
    assert_eq!(store.list().unwrap()[0].id, id);
    assert_eq!(store.list().unwrap()[0].references, []);
    assert!(store.resolve(&id.to_string()).is_ok());
    assert_eq!(check(&store, false).findings, []);
}

#[test]
fn other_platforms_are_looked_at_too() {
    let fake = Fake::new(multi().served, honest());
    let (_dir, store) = store(LayerFormat::Erofs);
    let name = reference(&fake, "app:1");
    store
        .pull(&client(), &name, Platforms::All, &|_| ())
        .unwrap();
    assert_eq!(check(&store, false).findings, []);
    let there = file_of(&store, &multi().there.blobs[0]);
    spoil(&there);
    let found = check(&store, true).findings;
    assert_eq!((found.len(), found[0].images.len()), (1, 1), "{found:?}");
    assert!(store.resolve(&name.to_string()).is_ok());
    store
        .pull(&client(), &name, Platforms::All, &|_| ())
        .unwrap();
    assert_eq!(check(&store, false).findings, []);
}
