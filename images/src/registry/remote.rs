//! One repository on a registry and its mirrors: manifests and blobs.

use std::io::Read;
use std::time::Duration;

use ureq::http::Method;

use super::answer::{self, check_length, check_range};
use super::http::{Ask, Client, Upload};
use super::manifest::{ACCEPTED, Descriptor};
use super::retry::{self, Again, Failed, Patience, Tried};
use super::url::Url;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::compress::BUFFER;
use crate::reference::{DEFAULT_DOMAIN, Reference};
use crate::store::blobs::MAX_DOCUMENT;

/// Where Docker's registry really is.
const HUB: &str = "registry-1.docker.io";
/// Bytes that a try must bring so that it does not count as failed: a registry
/// that cuts after every byte is not asked for ever.
const PROGRESS: u64 = 1 << 20;

/// A repository.
pub(crate) struct Remote<'a> {
    pub(crate) client: &'a Client,
    pub(crate) repository: String,
    pub(crate) name: String,
    pub(crate) scope: String,
    /// Mirrors, then the registry itself.
    places: Vec<Place>,
}

/// Where it can be had.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Without `/v2/`.
    base: Url,
    /// Under which credentials are kept.
    pub(crate) domain: String,
}

/// A manifest or index as it came.
pub(crate) struct Fetched {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) content_type: Option<String>,
}

/// Why a blob did not come.
enum Stop {
    /// Nobody wants it any more, or it cannot be kept.
    Here(Box<Error>),
    There(Failed),
}

impl<'a> Remote<'a> {
    /// For pulling: mirrors are asked first.
    pub(crate) fn for_pull(client: &'a Client, reference: &Reference) -> Result<Self> {
        let mut remote = Self::new(client, reference, "pull")?;
        let mut mirrors = Vec::new();
        for (mut base, exact) in client.settings.mirrors(reference.domain()) {
            if !exact {
                base.https = client.speaks_tls(&base.authority)?;
            }
            let domain = base.authority.clone();
            mirrors.push(Place { base, domain });
        }
        remote.places.splice(0..0, mirrors);
        Ok(remote)
    }

    /// For pushing: to the registry itself.
    pub(crate) fn for_push(client: &'a Client, reference: &Reference) -> Result<Self> {
        Self::new(client, reference, "pull,push")
    }

    fn new(client: &'a Client, reference: &Reference, actions: &str) -> Result<Self> {
        Ok(Self {
            client,
            repository: reference.path().to_owned(),
            name: reference.familiar(),
            scope: format!("repository:{}:{actions}", reference.path()),
            places: vec![Place::of(client, reference.domain())?],
        })
    }

    /// The registry itself.
    pub(crate) fn home(&self) -> &Place {
        &self.places[self.places.len() - 1]
    }

    /// Something below the repository.
    pub(crate) fn url(&self, place: &Place, path: &str) -> Url {
        let prefix = &place.base.path;
        place.at(&format!("{prefix}/v2/{}/{path}", self.repository))
    }

    /// Fetches a manifest or index by tag or digest, and checks what it is known
    /// to have.
    pub(crate) fn manifest(
        &self,
        name: &str,
        expected: Option<Digest>,
        told: &dyn Fn(&str),
    ) -> Result<Fetched> {
        self.anywhere(told, |place| {
            let mut patience = Patience::default();
            loop {
                match self.try_manifest(place, name, expected) {
                    Ok(fetched) => return Ok(fetched),
                    Err(failed) => {
                        let text = failed.error.to_string();
                        let wait = patience.wait(failed)?;
                        told(&text);
                        std::thread::sleep(wait);
                    }
                }
            }
        })
    }

    /// The first place that has it. All of them were asked when it fails, and
    /// what the registry itself says counts.
    pub(super) fn anywhere<T>(
        &self,
        told: &dyn Fn(&str),
        mut get: impl FnMut(&Place) -> Result<T>,
    ) -> Result<T> {
        let (home, mirrors) = (self.home(), &self.places[..self.places.len() - 1]);
        for mirror in mirrors {
            match get(mirror) {
                Ok(found) => return Ok(found),
                Err(error) => told(&error.to_string()),
            }
        }
        get(home)
    }

    fn try_manifest(&self, place: &Place, name: &str, expected: Option<Digest>) -> Tried<Fetched> {
        let what = format!("the manifest of {}", self.name);
        let ask = Ask {
            method: Method::GET,
            url: self.url(place, &format!("manifests/{name}")),
            domain: &place.domain,
            scope: &self.scope,
            headers: vec![("accept", ACCEPTED.join(", "))],
            body: Upload::None,
            what: &what,
            foreign: false,
        };
        let mut answer = self.client.try_once(&ask)?;
        match answer.status {
            200 => {}
            404 => {
                let (host, name) = (place.domain.clone(), self.name.clone());
                return Err(Error::NotOnRegistry { host, name }.into());
            }
            _ => return Err(answer.unexpected(&what).into()),
        }
        let bytes = answer.read(MAX_DOCUMENT, &what)?;
        let digest = Digest::of(&bytes);
        let said = answer.header("docker-content-digest");
        let said = said.and_then(|text| text.parse::<Digest>().ok());
        for promised in [expected, said].into_iter().flatten() {
            if promised != digest {
                return Err(Error::RegistryDigest {
                    host: place.domain.clone(),
                    what,
                    expected: promised,
                    found: digest,
                }
                .into());
            }
        }
        let content_type = answer.header("content-type").map(str::to_owned);
        Ok(Fetched {
            bytes,
            digest,
            content_type,
        })
    }

    /// Fetches a small blob into memory.
    pub(crate) fn document(&self, blob: &Descriptor, told: &dyn Fn(&str)) -> Result<Vec<u8>> {
        if blob.size > MAX_DOCUMENT {
            let limit = format!("{MAX_DOCUMENT} bytes");
            return Err(Error::limit("the size of the image's configuration", limit));
        }
        let mut bytes = Vec::new();
        let keep = &mut |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok(())
        };
        self.blob(blob, told, &|wait| std::thread::sleep(wait), keep)?;
        let found = Digest::of(&bytes);
        match found == blob.digest {
            true => Ok(bytes),
            false => Err(self.wrong_digest(blob, found)),
        }
    }

    /// What is said of a blob whose content is another's.
    pub(crate) fn wrong_digest(&self, blob: &Descriptor, found: Digest) -> Error {
        Error::RegistryDigest {
            host: self.home().domain.clone(),
            what: format!("a blob of {}", self.name),
            expected: blob.digest,
            found,
        }
    }

    /// Fetches a blob: `keep` gets it in pieces and in order. A connection that
    /// is cut is taken up where it broke off. Its digest is for the caller to check.
    pub(crate) fn blob(
        &self,
        blob: &Descriptor,
        told: &dyn Fn(&str),
        sleep: &dyn Fn(Duration),
        keep: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        self.anywhere_from(told, |place| {
            let mut patience = Patience::default();
            loop {
                let before = at;
                let failed = match self.blob_from(place, blob, &mut at, keep) {
                    Ok(()) => return Ok(()),
                    Err(Stop::Here(error)) => return Err((error, true)),
                    Err(Stop::There(failed)) => failed,
                };
                if at - before >= PROGRESS {
                    patience.renew();
                }
                let text = failed.error.to_string();
                let wait = patience
                    .wait(failed)
                    .map_err(|error| (Box::new(error), false))?;
                told(&text);
                sleep(wait);
            }
        })
    }

    /// As [`Remote::anywhere`], but with errors of which some end it all.
    fn anywhere_from(
        &self,
        told: &dyn Fn(&str),
        mut get: impl FnMut(&Place) -> std::result::Result<(), (Box<Error>, bool)>,
    ) -> Result<()> {
        let mut last = None;
        for (number, place) in self.places.iter().enumerate() {
            match get(place) {
                Ok(()) => return Ok(()),
                Err((error, true)) => return Err(*error),
                Err((error, false)) => {
                    if number + 1 < self.places.len() {
                        told(&error.to_string());
                    }
                    last = Some(*error);
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::NotFound(self.name.clone())))
    }

    /// One try, from byte `at` on.
    fn blob_from(
        &self,
        place: &Place,
        blob: &Descriptor,
        at: &mut u64,
        keep: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> std::result::Result<(), Stop> {
        let there = |error: Error| Stop::There(error.into());
        let what = format!("the blob {}", blob.digest.short());
        let range = (*at > 0).then(|| ("range", format!("bytes={at}-")));
        let ask = Ask {
            method: Method::GET,
            url: self.url(place, &format!("blobs/{}", blob.digest)),
            domain: &place.domain,
            scope: &self.scope,
            headers: range.into_iter().collect(),
            body: Upload::None,
            what: &what,
            foreign: false,
        };
        let mut answer = self.client.try_once(&ask).map_err(Stop::There)?;
        let mut skip = match answer.status {
            200 => {
                check_length(&answer, blob.size).map_err(|why| there(self.lie(place, why)))?;
                // It does not know ranges: what is there already passes by.
                *at
            }
            206 if *at > 0 => {
                check_range(&answer, *at, blob.size).map_err(|why| there(self.lie(place, why)))?;
                0
            }
            404 => return Err(there(self.lie(place, format!("it does not have {what}")))),
            _ => return Err(there(answer.unexpected(&what))),
        };
        let mut buffer = vec![0; BUFFER];
        let host = answer.url.authority.clone();
        let mut reader = answer.body.as_reader();
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) if *at == blob.size && skip == 0 => return Ok(()),
                Ok(0) => {
                    return Err(Stop::There(cut(
                        &host,
                        "it ended early".into(),
                        Again::Soon,
                    )));
                }
                Ok(n) => n,
                Err(error) => {
                    let again = match retry::of_io(&error) {
                        Again::Never => Again::Soon,
                        other => other,
                    };
                    let reason =
                        answer::reason(&ureq::Error::Io(error), self.client.settings.timeout());
                    return Err(Stop::There(cut(&host, reason, again)));
                }
            };
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(n);
            skip -= known as u64;
            let piece = &buffer[known..n];
            if *at + piece.len() as u64 > blob.size {
                let why = format!("it sends more than the {} bytes of {what}", blob.size);
                return Err(there(self.lie(place, why)));
            }
            keep(piece).map_err(|error| Stop::Here(Box::new(error)))?;
            *at += piece.len() as u64;
        }
    }

    fn lie(&self, place: &Place, reason: String) -> Error {
        Error::RegistryProtocol {
            host: place.domain.clone(),
            reason,
        }
    }
}

impl Place {
    /// A registry itself.
    pub(crate) fn of(client: &Client, domain: &str) -> Result<Self> {
        let authority = match domain {
            DEFAULT_DOMAIN => HUB,
            other => other,
        };
        Ok(Self {
            base: Url::new(client.speaks_tls(authority)?, authority, ""),
            domain: domain.to_owned(),
        })
    }

    pub(crate) fn at(&self, path: &str) -> Url {
        Url {
            path: path.to_owned(),
            ..self.base.clone()
        }
    }
}

fn cut(host: &str, reason: String, again: Again) -> Failed {
    let error = Error::Unreachable {
        host: host.to_owned(),
        reason,
    };
    Failed::new(error, again)
}
