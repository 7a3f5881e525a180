//! Registries that behave: what is pulled is there, once, and goes on where it
//! broke off.

use std::sync::atomic::{AtomicUsize, Ordering};

use isola_images::registry::{Client, DockerConfig, HostSettings, Platforms, Transfer};
use isola_images::{Digest, Error, LayerFormat};
use serde_json::json;

use crate::support::fake::{Fake, Reply, Served};
use crate::support::registry::*;
use crate::support::{Packing, content, parts, store};

#[test]
fn an_image_is_pulled_once() {
    let image = parts(
        &[layer("a", 9), layer("b", 9), layer("a", 9)],
        Packing::Zstd,
    );
    let fake = Fake::new(served(&image), honest());
    let (_dir, store) = store(LayerFormat::Erofs);
    let first = pull(&store, &fake, "app:1").unwrap();
    assert!(first.new);
    assert_eq!(first.id, Digest::of(&image.config));
    assert_eq!(first.digest, Digest::of(&image.manifest()));
    assert_eq!(
        store
            .resolve(&first.reference.to_string())
            .unwrap()
            .layers
            .len(),
        3
    );
    assert_eq!(
        fake.seen("blobs").len(),
        3,
        "the same layer twice comes once"
    );
    let size = store.list().unwrap()[0].size;
    let again = pull(&store, &fake, "app:1").unwrap();
    assert!(!again.new);
    assert_eq!(fake.seen("blobs").len(), 3, "nothing comes again");
    assert_eq!(store.list().unwrap()[0].size, size);
    let temporary = content(&store);
    assert!(
        !temporary.iter().any(|name| name.starts_with("tmp")),
        "{temporary:?}"
    );
}

#[test]
fn a_digest_stands_for_this_content() {
    let image = one_layer();
    let fake = Fake::new(served(&image), honest());
    let (_dir, store) = store(LayerFormat::Erofs);
    let digest = Digest::of(&image.manifest());
    let pulled = pull(&store, &fake, &format!("app:9@{digest}")).unwrap();
    assert_eq!(pulled.reference, reference(&fake, &format!("app@{digest}")));
    for name in ["app@", "app:1@", "app:9@"] {
        let name = format!("{}/{name}{digest}", fake.host);
        assert!(store.resolve(&name).is_ok(), "{name}");
    }
    let name = format!("{}/app:9", fake.host);
    assert!(matches!(store.resolve(&name), Err(Error::NotFound(_))));
    store
        .remove(&pulled.reference.to_string(), false, &|_| Vec::new())
        .unwrap();
    assert_eq!(content(&store), [""; 0]);
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let (pulled, fake) = pull_once(
        served(&one_layer()),
        on_layer(|seen, blob| {
            let first = seen.before == 0;
            first.then(|| Reply::Cut(blob.to_vec(), blob.len() / 2))
        }),
    );
    pulled.unwrap();
    let blob = Digest::of(&one_layer().blobs[0]).to_string();
    let ranges: Vec<_> = fake
        .seen(&blob)
        .iter()
        .map(|s| s.header("range").map(str::to_owned))
        .collect();
    let half = one_layer().blobs[0].len() / 2;
    assert_eq!(ranges, [None, Some(format!("bytes={half}-"))]);
}

#[test]
fn a_registry_without_ranges_sends_it_all_again() {
    let (pulled, fake) = pull_once(
        served(&one_layer()),
        on_layer(|seen, blob| match seen.before {
            0 => Some(Reply::Cut(blob.to_vec(), blob.len() / 2)),
            _ => Some(Reply::Full(200, Vec::new(), blob.to_vec())),
        }),
    );
    pulled.unwrap();
    assert_eq!(fake.seen("blobs").len(), 3);
}

#[test]
fn what_came_whole_is_kept_when_the_connection_fails() {
    let image = parts(&[layer("a", 5000), layer("b", 5000)], Packing::Gzip);
    let second = Digest::of(&image.blobs[1]).to_string();
    let (blob, cutting) = (image.blobs[1].clone(), AtomicUsize::new(0));
    let fake = Fake::new(
        served(&image),
        Box::new(move |seen| {
            let mine = seen.path.ends_with(&second);
            let cut = mine && cutting.fetch_add(1, Ordering::Relaxed) < 5;
            cut.then(|| Reply::Cut(blob.clone(), 100))
        }),
    );
    let (_dir, store) = store(LayerFormat::Erofs);
    let error = pull(&store, &fake, "app:1").unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let first = Digest::of(&image.blobs[0]);
    assert_eq!(content(&store), [format!("blobs/sha256/{}", first.hex())]);
    pull(&store, &fake, "app:1").unwrap();
    assert_eq!(fake.seen(&first.to_string()).len(), 1, "it came once");
}

#[test]
fn one_that_always_cuts_is_given_up() {
    let (pulled, fake) = pull_once(
        served(&one_layer()),
        on_layer(|seen, blob| {
            let more = 100 * (seen.before + 1);
            Some(Reply::Cut(blob.to_vec(), more))
        }),
    );
    let error = pulled.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let tries = fake
        .seen(&Digest::of(&one_layer().blobs[0]).to_string())
        .len();
    assert_eq!(tries, 5);
}

#[test]
fn one_that_stalls_is_given_up() {
    let begin = std::time::Instant::now();
    let (pulled, _fake) = pull_once(
        served(&one_layer()),
        on_layer(|_, blob| Some(Reply::Stall(blob.to_vec(), 5000))),
    );
    let error = pulled.unwrap_err();
    assert!(
        error.to_string().contains("nothing came for 1 s"),
        "{error}"
    );
    assert!(begin.elapsed().as_secs() < 20);
}

#[test]
fn one_that_is_slow_but_steady_is_waited_for() {
    let begin = std::time::Instant::now();
    let (pulled, fake) = pull_once(
        served(&one_layer()),
        on_layer(|_, blob| Some(Reply::Slow(blob.to_vec(), 2 << 20))),
    );
    pulled.unwrap();
    assert_eq!(fake.seen("blobs").len(), 2, "nothing came twice");
    assert!(
        begin.elapsed().as_secs() >= 1,
        "it took longer than the time limit"
    );
}

#[test]
fn mirrors_are_asked_first_and_may_fail() {
    let image = one_layer();
    let home = Fake::new(served(&image), honest());
    let empty = Fake::new(Served::new(), honest());
    let closed = "http://127.0.0.1:1".to_owned();
    let mirror = Fake::new(
        served(&image),
        on_layer(|_, _| Some(Reply::Full(404, Vec::new(), Vec::new()))),
    );
    let mirrors = vec![
        closed,
        format!("http://{}", empty.host),
        mirror.host.clone(),
    ];
    let mut settings = impatient();
    settings.hosts.insert(
        home.host.clone(),
        HostSettings {
            mirrors,
            ..HostSettings::default()
        },
    );
    let (_dir, store) = store(LayerFormat::Erofs);
    let client = Client::new(settings, DockerConfig::default());
    store
        .pull(
            &client,
            &reference(&home, "app:1"),
            Platforms::Native,
            &|_| (),
        )
        .unwrap();
    assert_eq!(empty.seen("manifests").len(), 1);
    assert_eq!(mirror.seen("manifests").len(), 1);
    assert_eq!(home.seen("manifests").len(), 0);
    assert_eq!(home.seen("blobs").len(), 1, "what the mirror does not have");
}

#[test]
fn artifacts_are_kept_and_not_taken_for_images() {
    let chart = b"a chart".to_vec();
    let descriptor = |kind: &str, blob: &[u8]| json!({"mediaType": kind, "digest": Digest::of(blob), "size": blob.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.cncf.helm.config.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", &chart)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut served = Served::new();
    add_manifest(&mut served, "1", MANIFEST, &manifest);
    for blob in [&chart, &b"{}".to_vec()] {
        served.insert(
            format!("/v2/app/blobs/{}", Digest::of(blob)),
            ("x", blob.clone()),
        );
    }
    let fake = Fake::new(served, honest());
    let (_dir, store) = store(LayerFormat::Erofs);
    let pulled = pull(&store, &fake, "app:1").unwrap();
    assert_eq!(pulled.id, Digest::of(&manifest));
    let name = pulled.reference.to_string();
    assert!(matches!(store.resolve(&name), Err(Error::Artifact { .. })));
    assert!(matches!(
        store.save(std::slice::from_ref(&name), None, std::io::sink()),
        Err(Error::Artifact { .. })
    ));
    assert_eq!(
        store.inspect(&name).unwrap()["ArtifactType"],
        "application/vnd.cncf.helm.config.v1+json"
    );
    store.gc(false, &|_| Vec::new()).unwrap();
    assert_eq!(
        content(&store).len(),
        3,
        "garbage collection knows what it needs"
    );
    store.remove(&name, false, &|_| Vec::new()).unwrap();
    assert_eq!(content(&store), [""; 0]);
}

#[test]
fn progress_is_told_for_every_layer() {
    let image = parts(&[layer("a", 5000), layer("b", 5000)], Packing::Gzip);
    let fake = Fake::new(served(&image), honest());
    let (_dir, store) = store(LayerFormat::Directory);
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |event| told.lock().unwrap().push(event);
    store
        .pull(
            &client(),
            &reference(&fake, "app:1"),
            Platforms::Native,
            &tell,
        )
        .unwrap();
    let told = told.into_inner().unwrap();
    for blob in &image.blobs {
        let (blob, size) = (Digest::of(blob), blob.len() as u64);
        for event in [
            Transfer::Blob {
                blob,
                size,
                here: false,
            },
            Transfer::Bytes { blob, done: size },
            Transfer::Moved { blob },
            Transfer::Done { blob },
        ] {
            assert!(told.contains(&event), "{event:?} is missing in {told:?}");
        }
    }
}
