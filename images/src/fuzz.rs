//! What the fuzz targets try of what a registry or an archive sends: each takes
//! anything, says in words what it made of it, and panics when a property does
//! not hold.

use crate::digest::Digest;
use crate::image;
use crate::registry::manifest::{self, Document};
use crate::registry::{Platform, challenge, url::Url};
use crate::whole::{Listed, walk};

/// A manifest or index. One that is taken for an image is read the same by the
/// store, and what an index leads to ends, also when it leads to itself.
pub fn manifest(bytes: &[u8]) -> String {
    let listed = Listed::new(Digest::of(bytes), bytes.to_vec(), None);
    let document = match listed.parse() {
        Ok(document) => document,
        Err(error) => return error.to_string(),
    };
    let walked = walk(listed.clone(), &mut |_| Ok(bytes.to_vec()));
    match document {
        Document::Manifest {
            config,
            layers,
            artifact,
        } => {
            let parsed = image::parse_manifest(bytes).map(|parsed| {
                assert_eq!(parsed.config, config.digest);
                assert_eq!(parsed.layers.len(), layers.len());
            });
            assert!(parsed.is_ok() && walked.is_ok(), "taken and not taken");
            format!("image {} {}", layers.len(), artifact.is_some())
        }
        Document::Index(manifests) => {
            let chosen = manifest::choose("x", &manifests, &Platform::native());
            format!("index {} {}", chosen.is_ok(), walked.is_ok())
        }
    }
}

/// A configuration of an image.
pub fn config(bytes: &[u8]) -> String {
    match image::parse_config(bytes) {
        Ok(parsed) => format!("taken {}", parsed.diff_ids.len()),
        Err(error) => error.to_string(),
    }
}

/// What a registry wants to know, and the address that it sends one to: that of
/// a redirect never brings another scheme than HTTP and HTTPS, and is read again
/// as it is written.
pub fn answer(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let challenge = challenge::parse([text.as_ref()]);
    let home = Url::new(true, "registry.test:5000", "/v2/");
    let Some(joined) = home.join(&text) else {
        return format!("{challenge:?}");
    };
    let again = Url::parse(&joined.to_string());
    assert_eq!(again.as_ref(), Some(&joined), "{joined}");
    format!("{challenge:?} {}", joined.same_origin(&home))
}
