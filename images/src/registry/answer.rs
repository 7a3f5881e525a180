//! What comes back: an answer, or why there is none.

use std::io::{self, Read};
use std::time::Duration;

use ureq::Body;
use ureq::http::{HeaderMap, Response};

use super::retry::{self, Failed, Tried};
use super::url::Url;
use crate::error::Error;

/// Bytes of an error's body that are looked at.
const MAX_COMPLAINT: u64 = 64 << 10;

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// Who answered, redirects followed.
    pub(crate) url: Url,
}

impl Answer {
    pub(super) fn new(answer: Response<Body>, url: &Url) -> Self {
        let (head, body) = answer.into_parts();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            url: url.clone(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The whole body, if it has no more than `limit` bytes.
    pub(crate) fn read(&mut self, limit: u64, what: &str) -> Tried<Vec<u8>> {
        let too_large = || Error::limit(format!("the size of {what}"), format!("{limit} bytes"));
        if self.body.content_length().is_some_and(|size| size > limit) {
            return Err(too_large().into());
        }
        let mut bytes = Vec::new();
        let mut reader = self.body.as_reader().take(limit + 1);
        if let Err(error) = reader.read_to_end(&mut bytes) {
            let why = Error::Unreachable {
                host: self.url.authority.clone(),
                reason: format!("its answer broke off: {error}"),
            };
            return Err(Failed::new(why, retry::of_io(&error)));
        }
        match bytes.len() as u64 > limit {
            true => Err(too_large().into()),
            false => Ok(bytes),
        }
    }

    /// What the registry has to say (distribution specification, "Error Codes").
    pub(crate) fn complaint(&mut self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Complaints {
            errors: Vec<Complaint>,
        }
        #[derive(serde::Deserialize)]
        struct Complaint {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let bytes = self.read(MAX_COMPLAINT, "the error").ok()?;
        let complaints: Complaints = serde_json::from_slice(&bytes).ok()?;
        let Complaint { code, message } = complaints.errors.into_iter().next()?;
        let text = if message.is_empty() { code } else { message };
        let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        (!text.is_empty()).then_some(text)
    }

    /// The error of a status that nothing was expected to have.
    pub(crate) fn unexpected(&mut self, what: &str) -> Error {
        let status = status_text(self.status);
        let reason = match self.complaint() {
            Some(text) => format!("{status}: {text}"),
            None => status,
        };
        Error::RegistryRefused {
            host: self.url.authority.clone(),
            what: what.to_owned(),
            reason,
        }
    }
}

pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

pub(super) fn status_text(status: u16) -> String {
    let known = ureq::http::StatusCode::from_u16(status).ok();
    match known.and_then(|status| status.canonical_reason()) {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}

/// In words of this tool where ureq's own do not say what to do.
pub(crate) fn reason(error: &ureq::Error, timeout: Duration) -> String {
    if let ureq::Error::Io(outer) = error
        && let Some(within) = outer
            .get_ref()
            .and_then(|e| e.downcast_ref::<ureq::Error>())
    {
        return reason(within, timeout);
    }
    match error {
        ureq::Error::Timeout(_) => format!("nothing came for {} s", timeout.as_secs()),
        ureq::Error::HostNotFound => "its name is not known".into(),
        ureq::Error::Io(error) => match inner(error) {
            Some(tls) => tls.to_string(),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "it closed the connection".into()
            }
            None if error.kind() == io::ErrorKind::TimedOut => {
                format!("nothing came for {} s", timeout.as_secs())
            }
            None => error.to_string(),
        },
        ureq::Error::Rustls(error) => error.to_string(),
        other => other.to_string(),
    }
}

pub(super) fn inner(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The length that it says must be the one that a manifest gives.
pub(super) fn check_length(answer: &Answer, size: u64) -> std::result::Result<(), String> {
    match answer.body.content_length() {
        Some(said) if said != size => Err(format!(
            "it says that a blob has {said} bytes, its manifest {size}"
        )),
        _ => Ok(()),
    }
}

/// `Content-Range: bytes FIRST-LAST/ALL` (RFC 9110, section 14.4).
pub(super) fn check_range(answer: &Answer, at: u64, size: u64) -> std::result::Result<(), String> {
    let text = answer.header("content-range").unwrap_or_default();
    let range = text
        .strip_prefix("bytes ")
        .and_then(|rest| rest.split_once('/'));
    let fits = range.is_some_and(|(range, all)| {
        let first = range
            .split('-')
            .next()
            .and_then(|first| first.trim().parse().ok());
        first == Some(at) && (all.trim() == "*" || all.trim().parse() == Ok(size))
    });
    match fits {
        true => Ok(()),
        false => Err(format!(
            "asked for the bytes from {at} of {size} on, it sends {text:?}"
        )),
    }
}
