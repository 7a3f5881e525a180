//! Images for several platforms: kept, pushed and saved as they came.

use isola_images::registry::{Platform, Platforms, Pulled};
use isola_images::{Digest, Error, LayerFormat, Store};
use serde_json::json;

use crate::support::fake::{Fake, Reply, Seen, Served};
use crate::support::registry::{
    INDEX, MANIFEST, add_manifest, client, honest, index_of, layer, one_layer, reference, served,
};
use crate::support::{Packing, Parts, content, load, parts, store};

const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An image for two platforms with a note beside them, as `app:1`.
pub(crate) struct Multi {
    pub(crate) here: Parts,
    pub(crate) there: Parts,
    pub(crate) index: Vec<u8>,
    pub(crate) served: Served,
}

fn foreign() -> Parts {
    let mut there = parts(&[layer("foreign", 10), layer("more", 20)], Packing::Zstd);
    let config = String::from_utf8(there.config).unwrap();
    there.config = config.replace("amd64", "arm64").into();
    there
}

pub(crate) fn multi() -> Multi {
    let (here, there) = (one_layer(), foreign());
    let mut note = parts(&[], Packing::Gzip);
    note.config = b"{}".to_vec();
    let manifests = [there.manifest(), here.manifest(), note.manifest()];
    let [arm, amd, unknown] = &manifests;
    let index = index_of(&[
        (arm, MANIFEST, "linux/arm64"),
        (amd, MANIFEST, "linux/amd64"),
        (unknown, MANIFEST, "unknown/unknown"),
    ]);
    let mut all = Served::new();
    for image in [&here, &there, &note] {
        all.extend(served(image));
        add_manifest(&mut all, "1", MANIFEST, &image.manifest());
    }
    add_manifest(&mut all, "1", INDEX, &index);
    Multi {
        here,
        there,
        index,
        served: all,
    }
}

fn pull_all(store: &Store, fake: &Fake, name: &str) -> Pulled {
    let reference = reference(fake, name);
    let pulled = store.pull(&client(), &reference, Platforms::All, &|_| ());
    pulled.unwrap()
}

/// Everything that was put, by path: what a registry would have now.
fn pushing() -> Fake {
    let uploads = |seen: &Seen| {
        let place = || vec![("location", "/upload".to_owned())];
        match seen.method.as_str() {
            "HEAD" => Some(Reply::Full(404, Vec::new(), Vec::new())),
            "POST" => Some(Reply::Full(202, place(), Vec::new())),
            "PUT" => Some(Reply::Full(201, Vec::new(), Vec::new())),
            _ => None,
        }
    };
    Fake::new(Served::new(), Box::new(uploads))
}

#[test]
fn an_index_is_kept_with_all_it_leads_to() {
    let multi = multi();
    let fake = Fake::new(multi.served, honest());
    let (_dir, store) = store(LayerFormat::Erofs);
    let pulled = pull_all(&store, &fake, "app:1");
    assert_eq!(pulled.digest, Digest::of(&multi.index));
    // The one for this machine has the name, and is ready to run.
    assert_eq!(pulled.id, Digest::of(&multi.here.config));
    assert!(store.resolve(&pulled.reference.to_string()).is_ok());
    // Index, three manifests, three configurations, three layers, one of them unpacked.
    let all = content(&store);
    assert_eq!(all.len(), 1 + 3 + 3 + 3 + 1, "{all:?}");
    assert!(!pull_all(&store, &fake, "app:1").new);
    // To be pulled for one platform takes nothing away of it.
    let again = store.pull(
        &client(),
        &reference(&fake, "app:1"),
        Platforms::Native,
        &|_| (),
    );
    assert!(!again.unwrap().new);
    store.gc(false, &|_| Vec::new()).unwrap();
    assert_eq!(content(&store), all);
    let name = pulled.reference.to_string();
    store.remove(&name, false, &|_| Vec::new()).unwrap();
    assert_eq!(content(&store), [""; 0]);
}

#[test]
fn an_index_is_pushed_as_it_came() {
    let multi = multi();
    let fake = Fake::new(multi.served, honest());
    let (_dir, store) = store(LayerFormat::Erofs);
    pull_all(&store, &fake, "app:1");
    let to = pushing();
    let target = reference(&to, "copy:2");
    store
        .tag(&reference(&fake, "app:1").to_string(), &target)
        .unwrap();
    let pushed = store.push(&client(), &target, None, &|_| ()).unwrap();
    assert_eq!(pushed.digest, Digest::of(&multi.index));
    assert!(!pushed.alone);
    let puts: Vec<_> = to
        .seen("manifests")
        .iter()
        .map(|seen| seen.path.clone())
        .collect();
    assert_eq!(puts.len(), 4);
    assert_eq!(puts[3], "/v2/copy/manifests/2", "the index comes last");
    let blobs = to
        .seen("/upload")
        .into_iter()
        .filter(|seen| seen.path.contains("digest"));
    assert_eq!(blobs.count(), 6);
    // One platform of it.
    let arm: Platform = "linux/arm64".parse().unwrap();
    let pushed = store.push(&client(), &target, Some(&arm), &|_| ()).unwrap();
    assert_eq!(pushed.digest, Digest::of(&multi.there.manifest()));
    let none: Platform = "linux/s390x".parse().unwrap();
    let refused = store.push(&client(), &target, Some(&none), &|_| ());
    assert!(matches!(refused, Err(Error::NoPlatform { .. })));
}

#[test]
fn an_image_without_its_index_is_pushed_alone() {
    let multi = multi();
    let fake = Fake::new(multi.served, honest());
    let (_dir, store) = store(LayerFormat::Erofs);
    let source = reference(&fake, "app:1");
    store
        .pull(&client(), &source, Platforms::Native, &|_| ())
        .unwrap();
    let to = pushing();
    let target = reference(&to, "copy:2");
    store.tag(&source.to_string(), &target).unwrap();
    let pushed = store.push(&client(), &target, None, &|_| ()).unwrap();
    assert_eq!(pushed.digest, Digest::of(&multi.here.manifest()));
    assert!(pushed.alone, "the caller is told");
    let arm: Platform = "linux/arm64".parse().unwrap();
    let refused = store.push(&client(), &target, Some(&arm), &|_| ());
    assert!(matches!(refused, Err(Error::NoPlatform { .. })));
    let native = Platform::native();
    let pushed = store
        .push(&client(), &target, Some(&native), &|_| ())
        .unwrap();
    assert!(!pushed.alone, "it was asked for");
}

#[test]
fn archives_keep_indexes() {
    let multi = multi();
    let fake = Fake::new(multi.served, honest());
    let (_dir, first) = store(LayerFormat::Erofs);
    let name = pull_all(&first, &fake, "app:1").reference.to_string();
    let mut saved = Vec::new();
    first
        .save(std::slice::from_ref(&name), None, &mut saved)
        .unwrap();
    let (_dir2, second) = store(LayerFormat::Erofs);
    let loaded = load(&second, &saved).unwrap();
    assert_eq!(loaded[0].id, Digest::of(&multi.here.config));
    assert_eq!(content(&second), content(&first));
    let digests = second.inspect(&name).unwrap()["RepoDigests"].clone();
    assert_eq!(
        digests,
        json!([format!("{}/app@{}", fake.host, Digest::of(&multi.index))])
    );
    let mut again = Vec::new();
    second
        .save(std::slice::from_ref(&name), None, &mut again)
        .unwrap();
    assert!(saved == again, "what was loaded is saved the same");
    // One platform of it is an ordinary image.
    let arm: Platform = "linux/arm64".parse().unwrap();
    let mut one = Vec::new();
    first
        .save(std::slice::from_ref(&name), Some(&arm), &mut one)
        .unwrap();
    let (_dir3, third) = store(LayerFormat::Erofs);
    assert_eq!(
        load(&third, &one).unwrap()[0].id,
        Digest::of(&multi.there.config)
    );
}

#[test]
fn an_index_without_an_image_for_this_machine_is_kept_too() {
    let there = foreign();
    let mut all = served(&there);
    let manifest = there.manifest();
    let mut index = index_of(&[(&manifest, MANIFEST, "linux/arm64")]);
    index = String::from_utf8(index)
        .unwrap()
        .replace(INDEX, DOCKER_INDEX)
        .into();
    add_manifest(&mut all, "1", DOCKER_INDEX, &index);
    let fake = Fake::new(all, honest());
    let (_dir, first) = store(LayerFormat::Erofs);
    let pulled = pull_all(&first, &fake, "app:1");
    assert_eq!(pulled.id, Digest::of(&there.config));
    assert!(!first.resolve(&pulled.id.to_string()).unwrap().is_native());
    let mut saved = Vec::new();
    first
        .save(&[pulled.reference.to_string()], None, &mut saved)
        .unwrap();
    let (_dir2, second) = store(LayerFormat::Erofs);
    assert_eq!(load(&second, &saved).unwrap()[0].id, pulled.id);
    let to = pushing();
    let target = reference(&to, "copy:1");
    second.tag(&pulled.reference.to_string(), &target).unwrap();
    let pushed = second.push(&client(), &target, None, &|_| ()).unwrap();
    assert_eq!(pushed.digest, Digest::of(&index));
    let kind = to.seen("/manifests/1")[0]
        .header("content-type")
        .map(str::to_owned);
    assert_eq!(kind.as_deref(), Some(DOCKER_INDEX));
}

#[test]
fn an_index_that_lacks_something_is_not_pulled() {
    let multi = multi();
    let mut served = multi.served;
    let gone = Digest::of(&multi.there.blobs[1]);
    served.remove(&format!("/v2/app/blobs/{gone}"));
    let fake = Fake::new(served, honest());
    let (_dir, store) = store(LayerFormat::Erofs);
    let source = reference(&fake, "app:1");
    let error = store
        .pull(&client(), &source, Platforms::All, &|_| ())
        .unwrap_err();
    assert!(
        error.to_string().contains("does not have the blob"),
        "{error}"
    );
    assert_eq!(content(&store), [""; 0]);
    // The image for this machine is whole.
    store
        .pull(&client(), &source, Platforms::Native, &|_| ())
        .unwrap();
}
