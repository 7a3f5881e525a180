//! Registries that behave, and ones that do not: each of these gives one error,
//! and nothing is left.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use isola_images::registry::{
    Client, Credentials, DockerConfig, HostSettings, Platform, Pulled, RegistrySettings, Transfer,
};
use isola_images::{Digest, Error, LayerFormat, Limits, Reference, Result, Store};
use serde_json::json;

use crate::support::fake::{Fake, Mischief, Reply, Seen, Served};
use crate::support::{Packing, Parts, Tar, content, parts, store};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Bytes that no compression makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn layer(seed: &str, length: usize) -> Vec<u8> {
    Tar::default()
        .dir("d")
        .file(&format!("d/{seed}"), &noise(length))
        .end()
}

fn one_layer() -> Parts {
    parts(&[layer("big", 3 << 20)], Packing::Gzip)
}

/// An image as a registry has it, as `app:1`.
fn served(image: &Parts) -> Served {
    let mut served = Served::new();
    let manifest = image.manifest();
    add_manifest(&mut served, "1", MANIFEST, &manifest);
    for blob in image.blobs.iter().chain([&image.config]) {
        let path = format!("/v2/app/blobs/{}", Digest::of(blob));
        served.insert(path, ("application/octet-stream", blob.clone()));
    }
    served
}

/// By its digest, and by a name.
fn add_manifest(served: &mut Served, name: &str, kind: &'static str, manifest: &[u8]) {
    let digest = Digest::of(manifest).to_string();
    for name in [name, &digest] {
        let path = format!("/v2/app/manifests/{name}");
        served.insert(path, (kind, manifest.to_vec()));
    }
}

fn index_of(manifests: &[(&[u8], &str, &str)]) -> Vec<u8> {
    let manifests: Vec<_> = manifests
        .iter()
        .map(|(manifest, kind, platform)| {
            let (os, architecture) = platform.split_once('/').unwrap();
            json!({
                "mediaType": kind, "digest": Digest::of(manifest), "size": manifest.len(),
                "platform": { "os": os, "architecture": architecture },
            })
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
        .to_string()
        .into()
}

fn honest() -> Mischief {
    Box::new(|_| None)
}

fn reference(fake: &Fake, name: &str) -> Reference {
    format!("{}/{name}", fake.host).parse().unwrap()
}

fn impatient() -> RegistrySettings {
    RegistrySettings {
        timeout: Some(1),
        ..RegistrySettings::default()
    }
}

fn client() -> Client {
    Client::new(impatient(), DockerConfig::default())
}

fn pull(store: &Store, fake: &Fake, name: &str) -> Result<Pulled> {
    store.pull(&client(), &reference(fake, name), None, &|_| ())
}

/// Pulls `app:1` into an empty store; after a failure nothing must be left.
fn pull_once(image: Served, mischief: Mischief) -> (Result<Pulled>, Fake) {
    let fake = Fake::new(image, mischief);
    let (_dir, store) = store(LayerFormat::Erofs);
    let pulled = pull(&store, &fake, "app:1");
    match &pulled {
        Ok(pulled) => {
            let image = store.resolve(&pulled.reference.to_string()).unwrap();
            assert!(image.layers.iter().all(|layer| layer.path().exists()));
        }
        Err(_) => {
            assert_eq!(content(&store), [""; 0]);
            assert!(store.list().unwrap().is_empty());
        }
    }
    (pulled, fake)
}

fn is_blob(seen: &Seen, image: &Parts) -> bool {
    seen.path
        .ends_with(&Digest::of(&image.blobs[0]).to_string())
}

/// What is done for the layer of `one_layer`.
fn on_layer(reply: impl Fn(&Seen, &[u8]) -> Option<Reply> + Send + Sync + 'static) -> Mischief {
    let image = one_layer();
    Box::new(move |seen| match is_blob(seen, &image) {
        true => reply(seen, &image.blobs[0]),
        false => None,
    })
}

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
            platform.as_ref(),
            &|_| (),
        );
        let error = pulled.unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
    let arm: Platform = "linux/arm64".parse().unwrap();
    let pulled = store
        .pull(&client(), &reference(&fake, "app:1"), Some(&arm), &|_| ())
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

/// A configuration of Docker's with a login, in a folder of its own.
fn with_login(host: &str) -> DockerConfig {
    let dir = tempfile::tempdir().unwrap();
    // user:secret
    let text = json!({ "auths": { host: { "auth": "dXNlcjpzZWNyZXQ=" } } });
    std::fs::write(dir.path().join("config.json"), text.to_string()).unwrap();
    let folder = dir.path().to_str().unwrap().to_owned();
    DockerConfig::load(&BTreeMap::from([("DOCKER_CONFIG".to_owned(), folder)])).unwrap()
}

const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

fn unauthorized(challenge: &str) -> Option<Reply> {
    let headers = vec![("www-authenticate", challenge.to_owned())];
    Some(Reply::Full(401, headers, Vec::new()))
}

#[test]
fn redirects_never_carry_the_credentials_to_another_host() {
    let image = one_layer();
    let elsewhere = Fake::new(served(&image), honest());
    let target = elsewhere.host.clone();
    let fake = Fake::new(
        served(&image),
        Box::new(move |seen| {
            if seen.header("authorization") != Some(BASIC) {
                return unauthorized("Basic realm=\"x\"");
            }
            let location = format!("http://{target}{}", seen.path);
            let blob = seen.path.contains("blobs");
            blob.then(|| Reply::Full(307, vec![("location", location)], Vec::new()))
        }),
    );
    let (_dir, store) = store(LayerFormat::Erofs);
    let client = Client::new(impatient(), with_login(&fake.host));
    store
        .pull(&client, &reference(&fake, "app:1"), None, &|_| ())
        .unwrap();
    assert_eq!(elsewhere.seen("blobs").len(), 2);
    assert!(
        elsewhere
            .seen("")
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
    assert!(
        fake.seen("blobs")
            .iter()
            .any(|seen| seen.header("authorization") == Some(BASIC))
    );
}

#[test]
fn another_host_that_asks_for_a_login_gets_none() {
    let elsewhere = Fake::new(
        Served::new(),
        Box::new(|_| unauthorized("Basic realm=\"x\"")),
    );
    let target = elsewhere.host.clone();
    let (image, fake) = (one_layer(), |mischief| {
        Fake::new(served(&one_layer()), mischief)
    });
    let fake = fake(Box::new(move |seen: &Seen| {
        let location = format!("http://{target}{}", seen.path);
        is_blob(seen, &image).then(|| Reply::Full(302, vec![("location", location)], Vec::new()))
    }));
    let (_dir, store) = store(LayerFormat::Erofs);
    let client = Client::new(impatient(), with_login(&elsewhere.host));
    let error = store
        .pull(&client, &reference(&fake, "app:1"), None, &|_| ())
        .unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(
        elsewhere
            .seen("")
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

#[test]
fn redirects_end_and_keep_to_the_rules() {
    for (location, words) in [
        ("/v2/app/manifests/1", "redirects without end"),
        ("http://example.invalid/x", "which has no TLS"),
        ("ftp://example.invalid/x", "no address"),
    ] {
        let (pulled, _fake) = pull_once(
            Served::new(),
            Box::new(move |_| {
                let headers = vec![("location", location.to_owned())];
                Some(Reply::Full(302, headers, Vec::new()))
            }),
        );
        let error = pulled.unwrap_err().to_string();
        assert!(error.contains(words), "{location}: {error}");
    }
}

/// Wants a token from its own `/token`, which `gives` it.
fn with_tokens(gives: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Mischief {
    Box::new(move |seen| {
        if seen.path.starts_with("/token") {
            return Some(gives(seen));
        }
        let host = seen.header("host").unwrap().to_owned();
        match seen.header("authorization") {
            Some("Bearer good") => None,
            _ => unauthorized(&format!(
                "Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:app:pull\""
            )),
        }
    })
}

fn token(text: &str) -> Reply {
    Reply::Full(200, Vec::new(), json!({ "token": text }).to_string().into())
}

#[test]
fn tokens_are_fetched_once_with_the_login_or_without() {
    for login in [false, true] {
        let fake = Fake::new(served(&one_layer()), with_tokens(|_| token("good")));
        let docker = match login {
            true => with_login(&fake.host),
            false => DockerConfig::default(),
        };
        let (_dir, store) = store(LayerFormat::Erofs);
        let client = Client::new(impatient(), docker);
        store
            .pull(&client, &reference(&fake, "app:1"), None, &|_| ())
            .unwrap();
        let asked = fake.seen("/token");
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].header("authorization").is_some(), login);
        let query = "service=s&scope=repository%3Aapp%3Apull";
        assert!(asked[0].path.contains(query), "{}", asked[0].path);
    }
}

#[test]
fn a_token_that_is_never_enough_ends_it() {
    let count = AtomicUsize::new(0);
    let (pulled, fake) = pull_once(
        served(&one_layer()),
        with_tokens(move |_| token(&format!("bad{}", count.fetch_add(1, Ordering::Relaxed)))),
    );
    let error = pulled.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(fake.seen("manifests").len() <= 3);
}

#[test]
fn token_servers_are_judged_too() {
    for (reply, words) in [
        (Reply::Full(401, Vec::new(), Vec::new()), "denied access"),
        (
            Reply::Full(200, Vec::new(), b"no json".to_vec()),
            "token is malformed",
        ),
        (token("a\r\nX-Evil: 1"), "token is malformed"),
        (token(""), "token is malformed"),
        (Reply::Full(500, Vec::new(), Vec::new()), "a token: 500"),
    ] {
        let (pulled, _fake) = pull_once(served(&one_layer()), with_tokens(move |_| reply.clone()));
        let error = pulled.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let (pulled, _fake) = pull_once(
        served(&one_layer()),
        Box::new(|_| unauthorized("Bearer realm=\"http://token.example.invalid/\"")),
    );
    let error = pulled.unwrap_err().to_string();
    assert!(error.contains("has no TLS"), "{error}");
}

#[test]
fn identity_tokens_are_exchanged() {
    let fake = Fake::new(
        served(&one_layer()),
        with_tokens(|seen| {
            assert_eq!(seen.method, "POST");
            token("good")
        }),
    );
    let dir = tempfile::tempdir().unwrap();
    let text = json!({ "auths": { &fake.host: { "identitytoken": "refresh" } } });
    std::fs::write(dir.path().join("config.json"), text.to_string()).unwrap();
    let folder = dir.path().to_str().unwrap().to_owned();
    let docker = DockerConfig::load(&BTreeMap::from([("DOCKER_CONFIG".to_owned(), folder)]));
    let (_dir, store) = store(LayerFormat::Erofs);
    let client = Client::new(impatient(), docker.unwrap());
    store
        .pull(&client, &reference(&fake, "app:1"), None, &|_| ())
        .unwrap();
}

#[test]
fn a_wrong_password_is_told_and_not_kept() {
    let fake = Fake::new(
        Served::new(),
        Box::new(|_| unauthorized("Basic realm=\"x\"")),
    );
    let credentials = Credentials::Password {
        user: "me".into(),
        password: "wrong".into(),
    };
    let error = client().login(&fake.host, &credentials).unwrap_err();
    assert!(matches!(&error, Error::Denied { .. }), "{error}");
    assert!(!format!("{error} {credentials:?}").contains("wrong"));
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
        .pull(&client, &reference(&home, "app:1"), None, &|_| ())
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
        store.save(std::slice::from_ref(&name), std::io::sink()),
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
        .pull(&client(), &reference(&fake, "app:1"), None, &tell)
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
