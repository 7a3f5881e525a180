//! The tags of a repository (distribution specification, "Listing Tags").

use std::collections::BTreeSet;

use ureq::http::Method;

use super::http::{Ask, Client, Upload};
use super::pull::{Told, Transfer};
use super::remote::{Place, Remote};
use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::store::blobs::MAX_DOCUMENT;

/// Tags that are asked for at a time.
const PAGE: usize = 1000;
/// A repository with more of them is refused.
const MOST: usize = 100_000;

#[derive(serde::Deserialize)]
struct Tags {
    /// `null` where there is none.
    tags: Option<Vec<String>>,
}

/// Every tag that the registry has of the repository, in the order of their names.
///
/// # Errors
/// The registry can't be reached or refuses, there is no tag, or it names one that
/// can't be one.
pub fn tags(client: &Client, reference: &Reference, told: Told<'_>) -> Result<Vec<Reference>> {
    let remote = Remote::for_pull(client, reference)?;
    let told = |why: &str| {
        told(Transfer::Again {
            why: why.to_owned(),
        })
    };
    let names = remote.anywhere(&told, |place| remote.tags(place, &told))?;
    names.iter().map(|name| reference.with_tag(name)).collect()
}

impl Remote<'_> {
    /// Page after page, until one comes without a word of a next one.
    fn tags(&self, place: &Place, told: &dyn Fn(&str)) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut last: Option<String> = None;
        loop {
            let (page, more) = self.page(place, last.as_deref(), told)?;
            let end = page.last().cloned();
            let before = found.len();
            found.extend(page);
            if found.len() > MOST {
                let what = format!("the number of tags of {}", self.name);
                return Err(Error::limit(what, MOST.to_string()));
            }
            // A page with nothing new would be asked for again and again.
            if !more || found.len() == before {
                break;
            }
            last = end;
        }
        match found.is_empty() {
            true => Err(self.absent(place)),
            false => Ok(found),
        }
    }

    /// The tags behind `last`, and whether there are more. Of the address that the
    /// registry gives for these nothing is needed: it follows from the last tag.
    fn page(
        &self,
        place: &Place,
        last: Option<&str>,
        told: &dyn Fn(&str),
    ) -> Result<(Vec<String>, bool)> {
        let what = format!("the tags of {}", self.name);
        let last = last.map(|tag| format!("&last={tag}")).unwrap_or_default();
        let ask = Ask {
            method: Method::GET,
            url: self.url(place, &format!("tags/list?n={PAGE}{last}")),
            domain: &place.domain,
            scope: &self.scope,
            headers: Vec::new(),
            body: Upload::None,
            what: &what,
            foreign: false,
        };
        let mut answer = self.client.ask(&ask, told)?;
        match answer.status {
            200 => {}
            404 => return Err(self.absent(place)),
            _ => return Err(answer.unexpected(&what)),
        }
        let more = answer
            .header("link")
            .is_some_and(|link| link.contains("rel=\"next\"") || link.contains("rel=next"));
        let bytes = answer
            .read(MAX_DOCUMENT, &what)
            .map_err(|failed| *failed.error)?;
        let nonsense = |reason: String| Error::RegistryProtocol {
            host: place.domain.clone(),
            reason,
        };
        let page: Tags = serde_json::from_slice(&bytes)
            .map_err(|error| nonsense(format!("{what} are not a list: {error}")))?;
        let page = page.tags.unwrap_or_default();
        match page.iter().find(|tag| !crate::reference::is_tag(tag)) {
            Some(tag) => Err(nonsense(format!("it names a tag {tag:?}, which is none"))),
            None => Ok((page, more)),
        }
    }

    fn absent(&self, place: &Place) -> Error {
        Error::NotOnRegistry {
            host: place.domain.clone(),
            name: self.repository.clone(),
        }
    }
}
