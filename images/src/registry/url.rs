//! Addresses of registries, of what redirects point to, and of token servers.

use std::fmt;
use std::net::IpAddr;

/// An `http` or `https` address without user information or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) https: bool,
    /// Host, and port where one is given.
    pub(crate) authority: String,
    /// Begins with a slash; with the query.
    pub(crate) path: String,
}

impl Url {
    pub(crate) fn new(https: bool, authority: &str, path: &str) -> Self {
        Self {
            https,
            authority: authority.to_owned(),
            path: path.to_owned(),
        }
    }

    /// Reads an absolute address. `None` for other schemes, for user
    /// information, and for what holds blanks or control characters.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        let sound = !authority.is_empty() && !authority.contains(['@', '\\']) && plain(authority);
        (sound && plain(&path)).then(|| Self::new(https, &authority.to_ascii_lowercase(), &path))
    }

    /// What a `Location` header means here (RFC 3986, section 5.2).
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Self::parse(location);
        }
        let scheme = if self.https { "https" } else { "http" };
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let path = self.path.split('?').next().unwrap_or("/");
        let joined = match location.bytes().next()? {
            b'/' => location.to_owned(),
            b'?' => format!("{path}{location}"),
            _ => format!("{}{location}", &path[..=path.rfind('/')?]),
        };
        Self::parse(&format!("{scheme}://{}{joined}", self.authority))
    }

    /// Scheme, host and port are the same: credentials may go there, too.
    pub(crate) fn same_origin(&self, other: &Self) -> bool {
        self.https == other.https && self.place() == other.place()
    }

    fn place(&self) -> (&str, u16) {
        let default = if self.https { 443 } else { 80 };
        let (host, port) = split(&self.authority);
        (host, port.unwrap_or(default))
    }

    /// Whether it leads to this machine only.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.authority)
    }

    /// With one more `name=value` in the query.
    pub(crate) fn with_query(mut self, name: &str, value: &str) -> Self {
        let joint = if self.path.contains('?') { '&' } else { '?' };
        self.path = format!("{}{joint}{name}={}", self.path, encode(value));
        self
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// Host and port of an authority.
pub(crate) fn split(authority: &str) -> (&str, Option<u16>) {
    let colon = match authority.rfind(']') {
        Some(end) => authority[end..].find(':').map(|at| end + at),
        None => authority.rfind(':'),
    };
    match colon {
        Some(at) => (&authority[..at], authority[at + 1..].parse().ok()),
        None => (authority, None),
    }
}

/// `localhost`, 127.0.0.0/8 and ::1 are this machine, whatever a name server
/// says of other names.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = split(authority).0;
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, expected) in [
            ("https://h.io/v2/?a=b#c", Some("https://h.io/v2/?a=b")),
            ("HTTP://H.io:80", Some("http://h.io:80/")),
            ("https://[::1]:5000/x", Some("https://[::1]:5000/x")),
            ("https://h.io?x=1", Some("https://h.io/?x=1")),
            ("ftp://h.io/", None),
            ("https://user@h.io/", None),
            ("https:///x", None),
            ("https://h.io/a b", None),
            ("https://h.io/a\r\nX: y", None),
            ("h.io/x", None),
        ] {
            let read = Url::parse(text).map(|url| url.to_string());
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn locations_are_resolved() {
        let base = Url::parse("https://h.io:5000/v2/a/blobs/x?y=1").unwrap();
        for (location, expected) in [
            ("https://cdn.io/b?s=http://x", "https://cdn.io/b?s=http://x"),
            ("/b?c", "https://h.io:5000/b?c"),
            ("/b?u=http://x/", "https://h.io:5000/b?u=http://x/"),
            ("//cdn.io/b", "https://cdn.io/b"),
            ("?z=2", "https://h.io:5000/v2/a/blobs/x?z=2"),
            ("other", "https://h.io:5000/v2/a/blobs/other"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), expected);
        }
        assert_eq!(base.join("ftp://x/"), None);
        assert_eq!(base.join(""), None);
    }

    #[test]
    fn origins_are_compared_with_their_ports() {
        for (a, b, same) in [
            ("https://h.io/a", "https://h.io:443/b", true),
            ("https://h.io/a", "http://h.io/a", false),
            ("https://h.io/a", "https://h.io:444/a", false),
            ("https://h.io/a", "https://h.io.evil.io/a", false),
            ("http://[::1]/", "http://[::1]:80/", true),
        ] {
            let [a, b] = [a, b].map(|text| Url::parse(text).unwrap());
            assert_eq!(a.same_origin(&b), same, "{a} {b}");
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for (authority, expected) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.3.2.1:80", true),
            ("[::1]:5000", true),
            ("[::2]:5000", false),
            ("128.0.0.1", false),
            ("127.0.0.1.evil.io", false),
            ("localhost.evil.io", false),
        ] {
            assert_eq!(is_loopback(authority), expected, "{authority}");
        }
    }

    #[test]
    fn queries_are_encoded() {
        let url = Url::parse("https://a.io/token").unwrap();
        let url = url
            .with_query("service", "a b")
            .with_query("scope", "r:x/y:pull,push");
        let expected = "https://a.io/token?service=a%20b&scope=r%3Ax%2Fy%3Apull%2Cpush";
        assert_eq!(url.to_string(), expected);
    }
}
