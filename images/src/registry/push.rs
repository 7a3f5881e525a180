//! From the store to a registry: blobs first, the manifest last, all as they are.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ureq::http::Method;

use super::answer::Answer;
use super::http::{Ask, Client, Upload, lock};
use super::manifest::{Descriptor, Document};
use super::platform::Platform;
use super::pull::{Told, Transfer};
use super::remote::Remote;
use super::retry::{Failed, Patience, Tried};
use super::url::Url;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::store::Store;
use crate::store::index::{Entry, Index};
use crate::store::resolve::by_reference;
use crate::whole::{self, Listed, Whole};

/// What a push has left on the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest, or of the index.
    pub digest: Digest,
    /// Bytes of it.
    pub size: u64,
    /// The image came by an index that is not here: only this image was pushed.
    pub alone: bool,
}

impl Store {
    /// Pushes the image that has this very name: with its index and the images
    /// for other platforms if it was pulled so and no platform is named. What the
    /// registry has already is not sent again.
    pub fn push(
        &self,
        client: &Client,
        reference: &Reference,
        platform: Option<&Platform>,
        told: Told<'_>,
    ) -> Result<Pushed> {
        let _lock = self.share_content()?;
        let index = self.read_index()?;
        let entry =
            by_reference(&index, reference).ok_or_else(|| Error::NotFound(reference.familiar()))?;
        let sent = self.sent(entry, platform)?;
        let top = sent.top()?;
        let remote = Remote::for_push(client, reference)?;
        let push = Push {
            store: self,
            remote: &remote,
            told,
            siblings: self.siblings(&index, reference),
        };
        push.blobs(&sent.blobs)?;
        for listed in &sent.documents {
            let name = match reference.tag() {
                Some(tag) if listed.digest == top.digest => tag.to_owned(),
                _ => listed.digest.to_string(),
            };
            push.manifest(&name, listed)?;
        }
        self.tell_transfer("push", reference);
        Ok(Pushed {
            digest: top.digest,
            size: top.bytes.len() as u64,
            alone: platform.is_none() && entry.known_as() != top.digest,
        })
    }

    /// What there is to be sent of an image.
    pub(crate) fn sent(&self, entry: &Entry, platform: Option<&Platform>) -> Result<Whole> {
        let whole = self.whole(entry)?;
        let only = match (whole, platform) {
            (Some(whole), None) => return Ok(whole),
            (Some(whole), Some(platform)) => whole.image(&entry.shown(), platform)?.clone(),
            (None, _) => {
                let bytes = self.read_document(&entry.manifest)?;
                let only = Listed::new(entry.manifest, bytes, Some(&entry.media_type));
                if let Some(platform) = platform {
                    self.check_platform(entry, &only, platform)?;
                }
                only
            }
        };
        whole::walk(only, &mut |found| Err(Error::BlobMissing(found.digest)))
    }

    /// Refuses an image that is not for a platform.
    fn check_platform(&self, entry: &Entry, image: &Listed, wanted: &Platform) -> Result<()> {
        let Document::Manifest { config, .. } = image.parse()? else {
            return Err(Error::document("the image's manifest", "it is an index"));
        };
        let found = Platform::of_config(&self.read_document(&config.digest)?)?;
        match found.serves(wanted) {
            true => Ok(()),
            false => Err(Error::NoPlatform {
                name: entry.shown(),
                wanted: wanted.to_string(),
                found: found.to_string(),
            }),
        }
    }

    /// Other repositories of the same registry, and the blobs that should be in
    /// them: the registry can take these over.
    fn siblings(&self, index: &Index, reference: &Reference) -> Vec<(String, Vec<Digest>)> {
        let mut siblings = Vec::new();
        for entry in &index.entries {
            let other = entry.reference.as_ref();
            let other = other.filter(|other| {
                other.domain() == reference.domain() && other.path() != reference.path()
            });
            let parsed = self.read_document(&entry.manifest).ok();
            let parsed = parsed.and_then(|bytes| crate::image::parse_manifest(&bytes).ok());
            if let (Some(other), Some(parsed)) = (other, parsed) {
                siblings.push((other.path().to_owned(), parsed.layers));
            }
        }
        siblings
    }
}

struct Push<'a> {
    store: &'a Store,
    remote: &'a Remote<'a>,
    told: Told<'a>,
    siblings: Vec<(String, Vec<Digest>)>,
}

impl Push<'_> {
    fn blobs(&self, blobs: &[Descriptor]) -> Result<()> {
        let next = AtomicUsize::new(0);
        let ended = AtomicBool::new(false);
        let failure: Mutex<Option<Error>> = Mutex::default();
        let work = || {
            while !ended.load(Ordering::Relaxed) {
                let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    return;
                };
                if let Err(error) = self.blob(blob) {
                    ended.store(true, Ordering::Relaxed);
                    lock(&failure).get_or_insert(error);
                }
            }
        };
        let workers = self.remote.client.settings.parallel().min(blobs.len());
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        let failure = failure
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        failure.map_or(Ok(()), Err)
    }

    fn blob(&self, blob: &Descriptor) -> Result<()> {
        let digest = blob.digest;
        let here = self.is_there(&digest)?;
        (self.told)(Transfer::Blob {
            blob: digest,
            size: blob.size,
            here,
        });
        if here {
            return Ok(());
        }
        let mut patience = Patience::default();
        while let Err(failed) = self.upload(blob) {
            let text = failed.error.to_string();
            let wait = match patience.wait(failed) {
                Ok(wait) => wait,
                Err(error) => return Err(self.explain(error, &digest)),
            };
            (self.told)(Transfer::Again { why: text });
            std::thread::sleep(wait);
        }
        (self.told)(Transfer::Done { blob: digest });
        Ok(())
    }

    fn is_there(&self, digest: &Digest) -> Result<bool> {
        let url = self
            .remote
            .url(self.remote.home(), &format!("blobs/{digest}"));
        let what = format!("the blob {}", digest.short());
        let ask = self.ask(Method::HEAD, url, &what);
        let again = |why: &str| {
            (self.told)(Transfer::Again {
                why: why.to_owned(),
            })
        };
        let answer = self.remote.client.ask(&ask, &again)?;
        Ok(answer.status == 200)
    }

    /// One try: asks for a place and puts the blob there whole.
    fn upload(&self, blob: &Descriptor) -> Tried<()> {
        let digest = blob.digest;
        let what = format!("the upload of {}", digest.short());
        let mut url = self.remote.url(self.remote.home(), "blobs/uploads/");
        let mut scope = self.remote.scope.clone();
        let sibling = self
            .siblings
            .iter()
            .find(|(_, layers)| layers.contains(&digest));
        if let Some((repository, _)) = sibling {
            url = url
                .with_query("mount", &digest.to_string())
                .with_query("from", repository);
            scope = format!("{scope} repository:{repository}:pull");
        }
        let mut ask = self.ask(Method::POST, url, &what);
        ask.scope = &scope;
        let mut answer = self.remote.client.try_once(&ask)?;
        match answer.status {
            // Taken over from the other repository.
            201 => return Ok(()),
            202 => {}
            _ => return Err(answer.unexpected(&what).into()),
        }
        let url = self
            .place(&answer)?
            .with_query("digest", &digest.to_string());
        let open = || self.open(blob);
        let foreign = !url.same_origin(&self.remote.url(self.remote.home(), ""));
        let put = Ask {
            headers: vec![("content-type", "application/octet-stream".to_owned())],
            body: Upload::Stream(blob.size, &open),
            foreign,
            ..self.ask(Method::PUT, url, &what)
        };
        let mut answer = self.remote.client.try_once(&put)?;
        match answer.status {
            201 => Ok(()),
            _ => Err(answer.unexpected(&what).into()),
        }
    }

    /// Where the registry wants an upload. Behind a proxy that ends TLS it may
    /// not know that it is spoken to with TLS.
    fn place(&self, answer: &Answer) -> std::result::Result<Url, Failed> {
        let client = self.remote.client;
        let location = answer.header("location").unwrap_or_default();
        let mut url = answer.url.join(location).ok_or_else(|| {
            client.breaks(
                &answer.url,
                format!("it wants an upload at {location:?}, no address"),
            )
        })?;
        if url.authority == answer.url.authority {
            url.https = answer.url.https;
        }
        if !url.https && !client.settings.allows_plain(&url.authority) {
            let reason = format!("it wants an upload at {url}, which has no TLS");
            return Err(client.breaks(&answer.url, reason).into());
        }
        Ok(url)
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>> {
        let file = self.store.open_blob(&blob.digest)?;
        let path = self.store.blob_path(&blob.digest);
        let size = file
            .metadata()
            .map_err(|e| Error::io("read", &path, e))?
            .len();
        if size != blob.size {
            return Err(self.damaged(&blob.digest));
        }
        Ok(Box::new(Watched {
            file,
            done: 0,
            blob: blob.digest,
            told: self.told,
        }))
    }

    /// A refused upload may be the fault of a blob that is damaged here.
    fn explain(&self, error: Error, digest: &Digest) -> Error {
        match self.found(digest) {
            Ok(found) if found != *digest => Error::BlobDamaged {
                digest: *digest,
                found,
            },
            _ => error,
        }
    }

    fn damaged(&self, digest: &Digest) -> Error {
        match self.found(digest) {
            Ok(found) => Error::BlobDamaged {
                digest: *digest,
                found,
            },
            Err(error) => error,
        }
    }

    fn found(&self, digest: &Digest) -> Result<Digest> {
        let mut file = self.store.open_blob(digest)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => hasher.update(&buffer[..n]),
                Err(e) => return Err(Error::io("read", self.store.blob_path(digest), e)),
            }
        }
    }

    fn manifest(&self, name: &str, listed: &Listed) -> Result<()> {
        let what = format!("the manifest of {}", self.remote.name);
        let url = self
            .remote
            .url(self.remote.home(), &format!("manifests/{name}"));
        let ask = Ask {
            headers: vec![("content-type", listed.media_type.clone())],
            body: Upload::Bytes(&listed.bytes),
            ..self.ask(Method::PUT, url, &what)
        };
        let again = |why: &str| {
            (self.told)(Transfer::Again {
                why: why.to_owned(),
            })
        };
        let mut answer = self.remote.client.ask(&ask, &again)?;
        if !matches!(answer.status, 200..=202) {
            return Err(answer.unexpected(&what));
        }
        let said = answer.header("docker-content-digest");
        let said = said.and_then(|text| text.parse::<Digest>().ok());
        match said.filter(|said| *said != listed.digest) {
            None => Ok(()),
            Some(found) => Err(Error::RegistryDigest {
                host: self.remote.home().domain.clone(),
                what,
                expected: listed.digest,
                found,
            }),
        }
    }

    fn ask<'a>(&'a self, method: Method, url: Url, what: &'a str) -> Ask<'a> {
        Ask {
            method,
            url,
            domain: &self.remote.home().domain,
            scope: &self.remote.scope,
            headers: Vec::new(),
            body: Upload::None,
            what,
            foreign: false,
        }
    }
}

/// Tells how far a file was read.
struct Watched<'a> {
    file: File,
    done: u64,
    blob: Digest,
    told: Told<'a>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        self.done += n as u64;
        let (blob, done) = (self.blob, self.done);
        (self.told)(Transfer::Bytes { blob, done });
        Ok(n)
    }
}
