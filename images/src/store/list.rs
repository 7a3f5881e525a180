//! What `isola images` shows.

use serde::Serialize;

use super::Store;
use crate::digest::{Digest, ImageId};
use crate::error::Result;
use crate::reference::Reference;

/// An image in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// Its id.
    pub id: ImageId,
    /// Digest of its manifest, or of the index that it was pulled by.
    pub digest: Digest,
    /// Its names; none is a dangling image.
    pub references: Vec<Reference>,
    /// When it was built (RFC 3339), if it says so.
    pub created: Option<String>,
    /// Bytes of its layers' tar streams together.
    pub size: u64,
}

impl Store {
    /// All images, the newest first.
    pub fn list(&self) -> Result<Vec<Summary>> {
        let index = self.read_index()?;
        let mut images: Vec<Summary> = index
            .images()
            .into_iter()
            .map(|(id, entry)| Summary {
                id,
                digest: entry.known_as(),
                references: index.names(&id),
                created: entry.created.clone(),
                size: entry.size,
            })
            .collect();
        let time = |image: &Summary| {
            image
                .created
                .as_ref()
                .and_then(|text| text.parse::<jiff::Timestamp>().ok())
        };
        images.sort_by_key(|image| std::cmp::Reverse(time(image)));
        Ok(images)
    }
}
