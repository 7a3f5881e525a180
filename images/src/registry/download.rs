//! Plain downloads, for builds (ADD with an address).

use std::io::Read;
use std::time::SystemTime;

use ureq::http::Method;

use super::answer::status_text;
use super::http::{Ask, Client, Upload};
use super::url::Url;
use crate::error::{Error, Result};

/// What is being downloaded.
pub struct Download {
    /// The content.
    pub body: Box<dyn Read>,
    /// When it was changed (`Last-Modified`), in seconds since 1970.
    pub modified: Option<i64>,
    /// The last part of its address, redirects followed.
    pub name: String,
}

impl Client {
    /// Gets `address`. Without TLS only from loopback and from hosts that the settings
    /// say so of, unless `known` is set: then the caller checks what comes.
    ///
    /// # Errors
    /// It is no address, can't be reached, or the answer is not 200.
    pub fn download(&self, address: &str, known: bool) -> Result<Download> {
        let refused = |reason: &str| Error::RegistryRefused {
            host: address.to_owned(),
            what: "the download".into(),
            reason: reason.into(),
        };
        let url = Url::parse(address).ok_or_else(|| refused("it is no http or https address"))?;
        if !url.https && !known && !self.settings.allows_plain(&url.authority) {
            return Err(refused(
                "it has no TLS, and no checksum tells what should come",
            ));
        }
        let ask = Ask {
            method: Method::GET,
            domain: "",
            scope: "",
            headers: Vec::new(),
            body: Upload::None,
            what: address,
            foreign: true,
            url,
        };
        let answer = self.ask(&ask, &|_| ())?;
        if answer.status != 200 {
            return Err(refused(&status_text(answer.status)));
        }
        let modified = answer.header("last-modified").and_then(http_date);
        let path = answer.url.path.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(Download {
            modified,
            name,
            body: Box::new(answer.body.into_reader()),
        })
    }
}

/// A date as HTTP has it (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::parse(text)
        .ok()?
        .timestamp()
        .as_second();
    let now = jiff::Timestamp::try_from(SystemTime::now())
        .ok()?
        .as_second();
    Some(time.min(now))
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_read() {
        let date = super::http_date("Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(date, Some(1_445_412_480));
        assert_eq!(super::http_date("soon"), None);
    }
}
