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
    /// It came without TLS from another machine: nothing tells who has sent it.
    pub unproven: bool,
}

impl Client {
    /// Gets an address of any server.
    ///
    /// # Errors
    /// It is no address, can't be reached, or the answer is not 200.
    pub fn download(&self, address: &str) -> Result<Download> {
        let failed = |reason: String| Error::Download {
            address: address.to_owned(),
            reason,
        };
        let url = Url::parse(address)
            .ok_or_else(|| failed("it is no http or https address".to_owned()))?;
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
        let answer = self.ask(&ask, &|_| ()).map_err(|error| match error {
            Error::Unreachable { reason, .. } | Error::RegistryRefused { reason, .. } => {
                failed(reason)
            }
            Error::Denied { reason, .. } if reason.is_empty() => failed("access is denied".into()),
            Error::Denied { reason, .. } => failed(format!("access is denied: {reason}")),
            other => other,
        })?;
        if answer.status != 200 {
            return Err(failed(status_text(answer.status)));
        }
        let modified = answer.header("last-modified").and_then(http_date);
        let path = answer.url.path.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let tls = ask.url.https && answer.url.https;
        Ok(Download {
            modified,
            name,
            unproven: !tls && !self.settings.allows_plain(&answer.url.authority),
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
