//! ADD of what is elsewhere: files at addresses, and repositories.

use std::io::Read;

use isola_images::Digest;
use isola_images::files::Files;

use super::Given;
use crate::dockerfile::{Copy, Word};
use crate::error::{Error, Kind, Place, Result};
use crate::git::{GitAddress, GitScheme, is_commit};
use crate::ignore::Ignore;
use crate::options::Event;
use crate::stage::Stage;
use crate::tree::Tree;

/// Largest file of an address, in bytes; it goes through memory.
const LARGEST_DOWNLOAD: u64 = 1 << 30;

/// Whether a source of ADD is none of the context.
pub(super) fn is_remote(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://") || GitAddress::parse(text).is_some()
}

impl Stage<'_> {
    pub(super) fn remote(&self, copy: &Copy, address: &str, place: Place) -> Result<Given> {
        let checksum = match &copy.checksum {
            Some(word) => Some((self.expand(word)?, word)),
            None => None,
        };
        if let Some(parsed) = GitAddress::parse(address) {
            let parsed = parsed.map_err(|why| Error::at(place, format!("ADD {address}: {why}")))?;
            return self.repository(copy, &parsed, checksum, place);
        }
        if copy.keep_git {
            let message = format!("--keep-git-dir is for repositories, {address} is a file");
            return Err(Error::at(place, message));
        }
        self.file(copy, address, checksum, place)
    }

    fn repository(
        &self,
        copy: &Copy,
        address: &GitAddress,
        checksum: Option<(String, &Word)>,
        place: Place,
    ) -> Result<Given> {
        if let Some((text, word)) = &checksum
            && !is_commit(text)
        {
            let message = format!("--checksum={text} is no commit");
            return Err(Error::at(word.place, message));
        }
        let unproven = matches!(address.scheme, GitScheme::Git | GitScheme::Http);
        if unproven && checksum.is_none() && address.commit.is_none() {
            let remote = &address.remote;
            (self.build.told)(&Event::Warning(format!(
                "{remote} is spoken to without TLS, and there is no --checksum: nothing tells who has sent it"
            )));
        }
        let commit = checksum.as_ref().map(|(text, _)| text.as_str());
        let build = self.build;
        let layer = build
            .images
            .clone(build.lease, address, copy.keep_git, commit)
            .map_err(|error| error.or_at(place))?;
        let files = Files::open(std::slice::from_ref(&layer))?;
        Ok(Given::Repository(Tree::archive(files, Ignore::default())))
    }

    fn file(
        &self,
        copy: &Copy,
        address: &str,
        checksum: Option<(String, &Word)>,
        place: Place,
    ) -> Result<Given> {
        let at = |error: Error| error.or_at(place);
        let checksum = match checksum {
            Some((text, word)) => Some(text.parse::<Digest>().map_err(|_| {
                Error::at(
                    word.place,
                    format!("--checksum={text} is not sha256: and 64 digits"),
                )
            })?),
            None => None,
        };
        let download = self.build.images.download(address).map_err(at)?;
        if download.unproven && checksum.is_none() {
            (self.build.told)(&Event::Warning(format!(
                "{address} came without TLS and --checksum: nothing tells who has sent it"
            )));
        }
        let mut bytes = Vec::new();
        let mut body = download.body.take(LARGEST_DOWNLOAD + 1);
        body.read_to_end(&mut bytes)
            .map_err(|error| at(Error::io(format!("download {address}"), error)))?;
        if bytes.len() as u64 > LARGEST_DOWNLOAD {
            let message = format!("{address} has more than {LARGEST_DOWNLOAD} bytes");
            return Err(Error::at(place, message));
        }
        let found = Digest::of(&bytes);
        if let Some(wanted) = checksum.filter(|wanted| *wanted != found) {
            let message = format!("{address} should have the digest {wanted}, but has {found}");
            return Err(Error {
                kind: Kind::Invalid,
                ..Error::at(place, message)
            });
        }
        if copy.unpack == Some(true) {
            return Ok(Given::Unpacked(bytes));
        }
        if download.name.is_empty() && copy.dest.text.ends_with('/') {
            let message = format!("{address} gives no name for a file in {}", copy.dest.text);
            return Err(Error::at(place, message));
        }
        let time = download.modified.unwrap_or(self.build.now);
        Ok(Given::File(download.name, bytes, 0o600, time))
    }
}
