//! Images as registries have them, and pulling them.

use isola_images::registry::{Client, DockerConfig, Platforms, Pulled, RegistrySettings};
use isola_images::{Digest, LayerFormat, Reference, Result, Store};
use serde_json::json;

use super::fake::{Fake, Mischief, Reply, Seen, Served};
use super::{Packing, Parts, Tar, content, parts, store};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Bytes that no compression makes smaller.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn layer(seed: &str, length: usize) -> Vec<u8> {
    Tar::default()
        .dir("d")
        .file(&format!("d/{seed}"), &noise(length))
        .end()
}

pub(crate) fn one_layer() -> Parts {
    parts(&[layer("big", 3 << 20)], Packing::Gzip)
}

/// An image as a registry has it, as `app:1`.
pub(crate) fn served(image: &Parts) -> Served {
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
pub(crate) fn add_manifest(served: &mut Served, name: &str, kind: &'static str, manifest: &[u8]) {
    let digest = Digest::of(manifest).to_string();
    for name in [name, &digest] {
        let path = format!("/v2/app/manifests/{name}");
        served.insert(path, (kind, manifest.to_vec()));
    }
}

pub(crate) fn index_of(manifests: &[(&[u8], &str, &str)]) -> Vec<u8> {
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

pub(crate) fn honest() -> Mischief {
    Box::new(|_| None)
}

pub(crate) fn reference(fake: &Fake, name: &str) -> Reference {
    format!("{}/{name}", fake.host).parse().unwrap()
}

pub(crate) fn impatient() -> RegistrySettings {
    RegistrySettings {
        timeout: Some(1),
        ..RegistrySettings::default()
    }
}

pub(crate) fn client() -> Client {
    Client::new(impatient(), DockerConfig::default())
}

pub(crate) fn pull(store: &Store, fake: &Fake, name: &str) -> Result<Pulled> {
    store.pull(
        &client(),
        &reference(fake, name),
        Platforms::Native,
        &|_| (),
    )
}

/// Pulls `app:1` into an empty store; after a failure nothing must be left.
pub(crate) fn pull_once(image: Served, mischief: Mischief) -> (Result<Pulled>, Fake) {
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

pub(crate) fn is_blob(seen: &Seen, image: &Parts) -> bool {
    seen.path
        .ends_with(&Digest::of(&image.blobs[0]).to_string())
}

/// What is done for the layer of `one_layer`.
pub(crate) fn on_layer(
    reply: impl Fn(&Seen, &[u8]) -> Option<Reply> + Send + Sync + 'static,
) -> Mischief {
    let image = one_layer();
    Box::new(move |seen| match is_blob(seen, &image) {
        true => reply(seen, &image.blobs[0]),
        false => None,
    })
}
