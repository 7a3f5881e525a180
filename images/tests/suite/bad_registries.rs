//! Registries that do not behave: each gives one error, and nothing is left.

use isola_images::registry::{Platform, Platforms};
use isola_images::{Digest, Error, LayerFormat, Limits};
use serde_json::json;

use crate::support::fake::{Fake, Mischief, Reply, Served};
use crate::support::registry::*;
use crate::support::{Packing, Tar, content, parts, store};

#[test]
fn lies_are_found() {
    let long = |blob: &[u8]| [blob, b"more"].concat();
    let lies: Vec<(&str, Mischief)> = vec![
        (
            "it says that a blob has",
            on_layer(move |_, blob| Some(Reply::Full(200, Vec::new(), long(blob)))),
        ),
        (
            "it says that a blob has",
            on_layer(|_, blob| Some(Reply::Full(200, Vec::new(), blob[1..].to_vec()))),
        ),
        (
            "sends more than",
            on_layer(move |_, blob| {
                let mut body = format!("{:x}\r\n", blob.len() + 4).into_bytes();
                body.extend(long(blob));
                body.extend(b"\r\n0\r\n\r\n");
                let chunked = vec![("transfer-encoding", "chunked".to_owned())];
                Some(Reply::Full(200, chunked, body))
            }),
        ),
        (
            "should have the digest",
            on_layer(|_, blob| {
                let mut other = blob.to_vec();
                other[1 << 20] ^= 1;
                Some(Reply::Full(200, Vec::new(), other))
            }),
        ),
        (
            "asked for the bytes from",
            on_layer(|seen, blob| match seen.before {
                0 => Some(Reply::Cut(blob.to_vec(), 1000)),
                _ => {
                    let range = format!("bytes 0-{}/{}", blob.len() - 1, blob.len());
                    Some(Reply::Full(
                        206,
                        vec![("content-range", range)],
                        blob.to_vec(),
                    ))
                }
            }),
        ),
        (
            "does not have the blob",
            on_layer(|_, _| Some(Reply::Full(404, Vec::new(), Vec::new()))),
        ),
        (
            "should have the digest",
            Box::new(|seen| {
                let digest = Digest::of(b"other").to_string();
                let headers = vec![("docker-content-digest", digest)];
                let manifest = seen.path.contains("manifests");
                manifest.then(|| Reply::Full(200, headers, one_layer().manifest()))
            }),
        ),
        (
            "should have the digest",
            Box::new(|seen| {
                let config = Digest::of(&one_layer().config).to_string();
                let mut other = one_layer().config;
                other[3] ^= 1;
                seen.path
                    .contains(&config)
                    .then(|| Reply::Full(200, Vec::new(), other))
            }),
        ),
        (
            "is malformed",
            Box::new(|seen| {
                let html = b"<html>Welcome to the hotel's network</html>".to_vec();
                seen.path
                    .contains("manifests")
                    .then(|| Reply::Full(200, Vec::new(), html))
            }),
        ),
    ];
    for (number, (words, mischief)) in lies.into_iter().enumerate() {
        let (pulled, _fake) = pull_once(served(&one_layer()), mischief);
        let error = pulled.unwrap_err().to_string();
        assert!(error.contains(words), "{number}: no {words:?} in {error}");
    }
}

#[test]
fn what_passes_is_tried_again() {
    for (status, headers) in [
        (500, Vec::new()),
        (503, Vec::new()),
        (429, vec![("retry-after", "1".to_owned())]),
    ] {
        let (pulled, _fake) = pull_once(
            served(&one_layer()),
            Box::new(move |seen| {
                let first = seen.before == 0;
                first.then(|| Reply::Full(status, headers.clone(), Vec::new()))
            }),
        );
        pulled.unwrap_or_else(|error| panic!("{status}: {error}"));
    }
}

#[test]
fn what_does_not_pass_is_told() {
    for (status, headers, words, tries) in [
        (500, Vec::new(), "500 Internal Server Error", 5),
        (
            429,
            vec![("retry-after", "3600".to_owned())],
            "try again in 3600 s",
            1,
        ),
        (418, Vec::new(), "418", 1),
        (404, Vec::new(), "has no image", 1),
        (403, Vec::new(), "denied access", 1),
    ] {
        let (pulled, fake) = pull_once(
            served(&one_layer()),
            Box::new(move |_| Some(Reply::Full(status, headers.clone(), Vec::new()))),
        );
        let error = pulled.unwrap_err().to_string();
        assert!(error.contains(words), "{status}: {error}");
        assert_eq!(fake.seen("manifests").len(), tries, "{status}");
    }
}

#[test]
fn a_registrys_own_words_are_passed_on() {
    let text = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"pay \\u001b[31mfirst\"}]}";
    let (pulled, _fake) = pull_once(
        served(&one_layer()),
        Box::new(move |_| Some(Reply::Full(403, Vec::new(), text.into()))),
    );
    let error = pulled.unwrap_err().to_string();
    assert!(error.ends_with(": pay [31mfirst"), "{error:?}");
}

#[test]
fn huge_manifests_are_refused() {
    let endless: Vec<(&str, Reply)> = vec![
        (
            "announced",
            Reply::Full(
                200,
                vec![("content-length", "104857600".to_owned())],
                vec![b' '; 1000],
            ),
        ),
        (
            "not announced",
            Reply::Full(200, vec![("transfer-encoding", "chunked".to_owned())], {
                let mut body = format!("{:x}\r\n", 9 << 20).into_bytes();
                body.resize(body.len() + (9 << 20), b' ');
                body.extend(b"\r\n0\r\n\r\n");
                body
            }),
        ),
    ];
    for (what, reply) in endless {
        let (pulled, _fake) = pull_once(Served::new(), Box::new(move |_| Some(reply.clone())));
        let error = pulled.unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{what}: {error}");
    }
}

#[test]
fn indexes_lead_to_the_platform_and_no_deeper_than_a_few() {
    let native = one_layer();
    let mut other = parts(&[layer("foreign", 10)], Packing::Gzip);
    other.config = String::from_utf8(other.config)
        .unwrap()
        .replace("amd64", "arm64")
        .into();
    let (here, there) = (native.manifest(), other.manifest());
    let index = index_of(&[
        (&there, MANIFEST, "linux/arm64"),
        (&here, MANIFEST, "linux/amd64"),
    ]);
    let mut all = served(&native);
    all.extend(served(&other));
    add_manifest(&mut all, "1", INDEX, &index);
    add_manifest(&mut all, "foreign", MANIFEST, &there);
    let mut nested = index.clone();
    for _ in 0..6 {
        nested = index_of(&[(&nested, INDEX, "linux/amd64")]);
        add_manifest(&mut all, "deep", INDEX, &nested);
    }
    // An index cannot hold its own digest, but a registry can pretend.
    let fake = Fake::new(
        all,
        Box::new(|seen| {
            let own = index_of(&[(b"x", INDEX, "linux/amd64")]);
            let pretend =
                seen.path.ends_with("/self") || seen.path.ends_with(&Digest::of(b"x").to_string());
            pretend.then(|| Reply::Full(200, Vec::new(), own))
        }),
    );
    let (_dir, store) = store(LayerFormat::Erofs);
    let pulled = pull(&store, &fake, "app:1").unwrap();
    assert_eq!(
        (pulled.id, pulled.digest),
        (Digest::of(&native.config), Digest::of(&index))
    );
    // By the index's digest it is found again.
    assert!(
        store
            .resolve(&format!("{}/app@{}", fake.host, Digest::of(&index)))
            .is_ok()
    );
    let digests = store.inspect(&pulled.id.to_string()).unwrap()["RepoDigests"].clone();
    assert_eq!(
        digests,
        json!([format!("{}/app@{}", fake.host, Digest::of(&index))])
    );
    for (name, platform, words) in [
        ("app:deep", None, "indexes in indexes"),
        ("app:self", None, "should have the digest"),
        ("app:1", Some("linux/s390x"), "linux/arm64, linux/amd64"),
        (
            "app:foreign",
            None,
            "is for linux/arm64, this machine is linux/amd64",
        ),
        (
            "app:foreign",
            Some("linux/s390x"),
            "not made for linux/s390x",
        ),
    ] {
        let platform: Option<Platform> = platform.map(|text: &str| text.parse().unwrap());
        let pulled = store.pull(
            &client(),
            &reference(&fake, name),
            platform.as_ref().map_or(Platforms::Native, Platforms::One),
            &|_| (),
        );
        let error = pulled.unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
    let arm: Platform = "linux/arm64".parse().unwrap();
    let pulled = store
        .pull(
            &client(),
            &reference(&fake, "app:1"),
            Platforms::One(&arm),
            &|_| (),
        )
        .unwrap();
    assert_eq!(pulled.id, Digest::of(&other.config));
    assert!(!store.resolve(&pulled.id.to_string()).unwrap().is_native());
}

#[test]
fn a_layer_bomb_is_refused() {
    let bomb = Tar::default().file("zeros", &vec![0; 8 << 20]).end();
    let fake = Fake::new(served(&parts(&[bomb], Packing::Gzip)), honest());
    let (_dir, store) = store(LayerFormat::Erofs);
    let limits = Limits {
        ratio_from: 1 << 20,
        ratio: 50,
        ..Limits::default()
    };
    let store = store.with_limits(limits);
    let error = pull(&store, &fake, "app:1").unwrap_err().to_string();
    assert!(error.contains("ratio"), "{error}");
    assert_eq!(content(&store), [""; 0]);
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says_is_refused() {
    let mut image = one_layer();
    image.config = parts(&[layer("other", 1)], Packing::Gzip).config;
    let (pulled, _fake) = pull_once(served(&image), honest());
    let error = pulled.unwrap_err().to_string();
    assert!(
        error.contains("its content should have the digest"),
        "{error}"
    );
}
