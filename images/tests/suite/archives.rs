//! Archives of all kinds, loaded and saved.

use std::process::{Command, Stdio};

use isola_images::{Digest, Error, LayerFormat};

use crate::support::{
    Head, Packing, Tar, archive, content, load, oci_archive, pack, parts, run, store,
};

fn layers() -> Vec<Vec<u8>> {
    ["one", "two"]
        .map(|name| {
            Tar::default()
                .dir("d")
                .file(&format!("d/{name}"), name.as_bytes())
                .end()
        })
        .to_vec()
}

/// What `docker save` wrote up to version 24: folders named by layer, the second
/// layer's file a link when it occurred before.
fn old_docker(layers: &[Vec<u8>], name: &str) -> Vec<u8> {
    let config = parts(layers, Packing::Plain).config;
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let mut tar = Tar::default();
    let mut names = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let dir = format!("{number}a");
        tar = tar
            .dir(&dir)
            .file(&format!("{dir}/VERSION"), b"1.0")
            .file(&format!("{dir}/json"), b"{}");
        let first = layers.iter().position(|other| other == layer).unwrap();
        tar = match first == number {
            true => tar.file(&format!("{dir}/layer.tar"), layer),
            false => tar.symlink(
                &format!("{dir}/layer.tar"),
                &format!("../{first}a/layer.tar"),
            ),
        };
        names.push(format!("{dir}/layer.tar"));
    }
    let manifest =
        serde_json::json!([{ "Config": config_name, "RepoTags": [name], "Layers": names }]);
    let manifest = manifest.to_string();
    tar.file(&config_name, &config)
        .file("manifest.json", manifest.as_bytes())
        .file("repositories", b"{}")
        .end()
}

#[test]
fn all_kinds_of_archives_give_the_same_image() {
    let id = Digest::of(&parts(&layers(), Packing::Plain).config);
    let mut archives = vec![("old docker", old_docker(&layers(), "it:1"))];
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        archives.push(("oci", oci_archive(&layers(), packing, "it:1")));
        // The manifest first, as other tools order it.
        let mut files = parts(&layers(), packing).oci("it:1");
        files.reverse();
        archives.push(("oci, reversed", archive(&files)));
        // Names with ./ in front, as `tar -C DIR .` writes them.
        let dotted: Vec<_> = files
            .into_iter()
            .map(|(name, content)| (format!("./{name}"), content))
            .collect();
        archives.push(("oci, dotted", archive(&dotted)));
    }
    for (name, archive) in archives {
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            let (_dir, store) = store(LayerFormat::Erofs);
            let loaded = load(&store, &pack(&archive, packing)).unwrap();
            assert_eq!(loaded.len(), 1, "{name}");
            assert_eq!(loaded[0].id, id, "{name}");
            let image = store.resolve("it:1").unwrap();
            assert_eq!(image.layers.len(), 2);
            assert_eq!(image.extensions.healthcheck.as_ref().unwrap().interval, 5);
            let temporary = content(&store)
                .into_iter()
                .filter(|name| name.starts_with("tmp/"));
            assert_eq!(temporary.count(), 0, "{name}");
        }
    }
}

#[test]
fn an_archive_comes_through_a_pipe() {
    let (dir, store) = store(LayerFormat::Erofs);
    let path = dir.path().join("x.tar");
    std::fs::write(&path, oci_archive(&layers(), Packing::Gzip, "piped")).unwrap();
    let mut cat = Command::new("cat")
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    store.load(cat.stdout.take().unwrap(), &|_| ()).unwrap();
    cat.wait().unwrap();
    store.resolve("piped").unwrap();
}

#[test]
fn a_layer_may_occur_twice() {
    let own_root = Tar::default().dir("./").file("x", b"").end();
    for layer in [layers().remove(0), own_root, vec![0; 1024]] {
        for format in [LayerFormat::Erofs, LayerFormat::Directory] {
            let (_dir, store) = store(format);
            let other = Tar::default().dir("./").file("y", b"").end();
            let archive = old_docker(&[layer.clone(), other, layer.clone()], "twice");
            load(&store, &archive).unwrap();
            let image = store.resolve("twice").unwrap();
            assert_eq!(image.layers.len(), 3);
            assert_eq!(image.layers[0].diff_id, image.layers[2].diff_id);
            let mounted = crate::support::tree::Mounted::new(&image);
            assert!(mounted.root().join("y").exists());
        }
    }
}

#[test]
fn an_image_without_layers_is_loaded() {
    let (_dir, store) = store(LayerFormat::Erofs);
    load(&store, &oci_archive(&[], Packing::Plain, "scratch")).unwrap();
    assert!(store.resolve("scratch").unwrap().layers.is_empty());
    // A layer of zeros alone is an empty one.
    load(
        &store,
        &oci_archive(&[vec![0; 1024]], Packing::Plain, "empty"),
    )
    .unwrap();
    assert_eq!(store.resolve("empty").unwrap().layers.len(), 1);
}

#[test]
fn the_platform_of_this_machine_is_taken_from_an_index() {
    let native = parts(&layers(), Packing::Gzip);
    let foreign = parts(&layers()[..1], Packing::Gzip);
    let descriptor = |part: &crate::support::Parts, arch: &str, os: &str| {
        let manifest = part.manifest();
        serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of(&manifest),
            "size": manifest.len(), "platform": { "architecture": arch, "os": os },
        })
    };
    for (platforms, fits) in [(["arm64", "amd64"], true), (["arm64", "s390x"], false)] {
        let inner = serde_json::json!({ "schemaVersion": 2, "manifests": [
            descriptor(&foreign, "unknown", "unknown"),
            descriptor(&foreign, platforms[0], "linux"),
            descriptor(&native, platforms[1], "linux"),
        ]});
        let inner = inner.to_string().into_bytes();
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.index.v1+json", "digest": Digest::of(&inner), "size": inner.len(),
            "annotations": { "io.containerd.image.name": "docker.io/library/multi:v1" },
        }]});
        let mut files = native.oci("x");
        files.retain(|(name, _)| name != "index.json");
        files.push((format!("blobs/sha256/{}", Digest::of(&inner).hex()), inner));
        files.push(("index.json".into(), index.to_string().into_bytes()));
        let (_dir, store) = store(LayerFormat::Erofs);
        let loaded = load(&store, &archive(&files));
        if fits {
            assert_eq!(loaded.unwrap()[0].id, Digest::of(&native.config));
            store.resolve("multi:v1").unwrap();
        } else {
            let error = loaded.unwrap_err();
            assert!(
                matches!(&error, Error::Platform { found, .. } if found == "linux/arm64, linux/s390x"),
                "{error}"
            );
        }
    }
}

#[test]
fn damaged_archives_are_refused() {
    let files = parts(&layers(), Packing::Gzip).oci("x");
    for (victim, (name, _)) in files
        .iter()
        .enumerate()
        .filter(|(_, (name, _))| name.starts_with("blobs"))
    {
        for bit in [0usize, 100, 1000] {
            let mut files = files.clone();
            let content = &mut files[victim].1;
            let at = bit / 8 % content.len();
            content[at] ^= 1 << (bit % 8);
            let (_dir, store) = store(LayerFormat::Erofs);
            let error = load(&store, &archive(&files)).expect_err(name);
            let message = error.to_string();
            let named = message.contains(name.rsplit('/').next().unwrap());
            assert!(
                named || matches!(error, Error::BlobMissing(_)),
                "{name}: {message}"
            );
            assert_eq!(content_of(&store), 0);
        }
        let mut files = files.clone();
        files.remove(victim);
        let (_dir, store) = store(LayerFormat::Erofs);
        load(&store, &archive(&files)).expect_err("a blob is missing");
        assert_eq!(content_of(&store), 0);
    }
}

fn content_of(store: &isola_images::Store) -> usize {
    content(store).len()
}

#[test]
fn what_is_no_archive_is_refused() {
    let config = parts(&layers(), Packing::Plain).config;
    let wrong_layers = serde_json::json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["no.tar", "no2.tar"] }]);
    for (bytes, expected) in [
        (b"".to_vec(), "neither index.json nor manifest.json"),
        (b"hello".to_vec(), "malformed tar"),
        (vec![b'x'; 5000], "checksum"),
        (b"\xfd7zXZ\0\0\0".to_vec(), "cannot read the archive"),
        (
            Tar::default().dir("etc").file("etc/passwd", b"").end(),
            "isola import",
        ),
        (
            archive(&[("manifest.json".into(), b"[{}]".to_vec())]),
            "manifest.json is malformed",
        ),
        (
            archive(&[("manifest.json".into(), b"[]".to_vec())]),
            "holds no image",
        ),
        (
            archive(&[(
                "manifest.json".into(),
                br#"[{"Config":"../../etc/passwd"}]"#.to_vec(),
            )]),
            "`../../etc/passwd` is missing",
        ),
        (
            archive(&[
                ("c.json".into(), config),
                (
                    "manifest.json".into(),
                    wrong_layers.to_string().into_bytes(),
                ),
            ]),
            "the layer `no.tar` is missing",
        ),
        (
            archive(&[
                ("oci-layout".into(), b"{}".to_vec()),
                ("index.json".into(), b"{".to_vec()),
            ]),
            "an image index is malformed",
        ),
        (
            pack(&oci_archive(&layers(), Packing::Plain, "x"), Packing::Gzip)[..400].to_vec(),
            "cannot read the archive",
        ),
        (
            oci_archive(&layers(), Packing::Plain, "x")[..3000].to_vec(),
            "in the middle of an entry",
        ),
    ] {
        let (_dir, store) = store(LayerFormat::Erofs);
        let error = load(&store, &bytes).expect_err(expected);
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(content_of(&store), 0);
    }
}

#[test]
fn saved_images_come_back_with_the_same_digests() {
    let (dir, first) = store(LayerFormat::Erofs);
    load(&first, &oci_archive(&layers(), Packing::Gzip, "a:1")).unwrap();
    load(&first, &old_docker(&layers()[..1], "h.io:5000/b/c")).unwrap();
    first.tag("a:1", &"a:2".parse().unwrap()).unwrap();
    let id = first.resolve("h.io:5000/b/c").unwrap().id;
    let mut saved = Vec::new();
    first
        .save(
            &["a:1".into(), "a:2".into(), id.to_string()],
            None,
            &mut saved,
        )
        .unwrap();
    let (_dir2, second) = store(LayerFormat::Erofs);
    let loaded = load(&second, &saved).unwrap();
    assert_eq!(loaded.len(), 2);
    for name in ["a:1", "a:2"] {
        assert_eq!(
            first.resolve(name).unwrap().manifest,
            second.resolve(name).unwrap().manifest
        );
    }
    // Given by id, so its name stayed at home.
    assert!(matches!(
        second.resolve("h.io:5000/b/c"),
        Err(Error::NotFound(_))
    ));
    assert_eq!(
        second.resolve(&id.short()).unwrap().manifest,
        first.resolve(&id.short()).unwrap().manifest
    );
    assert_eq!(content(&first), content(&second));
    // Saving is deterministic, and another tool reads it.
    let mut again = Vec::new();
    first
        .save(
            &["a:1".into(), "a:2".into(), id.to_string()],
            None,
            &mut again,
        )
        .unwrap();
    assert!(saved == again);
    let layout = dir.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    std::fs::write(dir.path().join("saved.tar"), &saved).unwrap();
    run(
        "tar",
        &[&"-xf", &dir.path().join("saved.tar"), &"-C", &layout],
    );
    let bundle = dir.path().join("bundle");
    run(
        "umoci",
        &[
            &"unpack",
            &"--image",
            &format!("{}:2", layout.display()),
            &bundle,
        ],
    );
    assert_eq!(std::fs::read(bundle.join("rootfs/d/two")).unwrap(), b"two");
    skopeo_reads(dir.path(), &first);
}

/// skopeo takes both halves of a saved archive.
fn skopeo_reads(dir: &std::path::Path, store: &isola_images::Store) {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skopeo is not installed: that it reads saved archives was not tried");
        return;
    }
    let mut saved = Vec::new();
    store.save(&["a:1".into()], None, &mut saved).unwrap();
    let path = dir.join("one.tar");
    std::fs::write(&path, saved).unwrap();
    for kind in ["oci-archive", "docker-archive"] {
        let from = format!("{kind}:{}", path.display());
        let to = format!("oci:{}:x", dir.join(kind).display());
        run(
            "skopeo",
            &[&"--insecure-policy", &"copy", &"--quiet", &from, &to],
        );
    }
}

#[test]
fn only_the_docker_part_of_a_saved_image_is_enough() {
    let (_dir, first) = store(LayerFormat::Erofs);
    load(&first, &oci_archive(&layers(), Packing::Gzip, "a")).unwrap();
    let mut saved = Vec::new();
    first.save(&["a".into()], None, &mut saved).unwrap();
    let mut tar = Tar::default();
    let mut archive = tar::Archive::new(&saved[..]);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        if name != "index.json" && name != "oci-layout" && !name.ends_with('/') {
            tar = tar.entry(b'0', &name, &content, &Head::default());
        }
    }
    let (_dir2, second) = store(LayerFormat::Erofs);
    load(&second, &tar.end()).unwrap();
    assert_eq!(
        first.resolve("a").unwrap().id,
        second.resolve("a").unwrap().id
    );
}
