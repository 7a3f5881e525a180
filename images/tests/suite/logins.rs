//! Logins, tokens and redirects: who gets to see what.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use isola_images::registry::{Client, Credentials, DockerConfig, Platforms};
use isola_images::{Error, LayerFormat};
use serde_json::json;

use crate::support::fake::{Fake, Mischief, Reply, Seen, Served};
use crate::support::registry::*;
use crate::support::store;

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
        .pull(
            &client,
            &reference(&fake, "app:1"),
            Platforms::Native,
            &|_| (),
        )
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
        .pull(
            &client,
            &reference(&fake, "app:1"),
            Platforms::Native,
            &|_| (),
        )
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
            .pull(
                &client,
                &reference(&fake, "app:1"),
                Platforms::Native,
                &|_| (),
            )
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
        .pull(
            &client,
            &reference(&fake, "app:1"),
            Platforms::Native,
            &|_| (),
        )
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
