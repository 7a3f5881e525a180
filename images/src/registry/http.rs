//! One request and its answer: connections, redirects, statuses. Who one is, is
//! in `auth`.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ureq::http::{Method, Request};
use ureq::{Agent, SendBody};

use super::answer::{Answer, header, inner, reason, status_text};
use super::auth::Identities;
use super::docker_config::DockerConfig;
use super::retry::{self, Again, Failed, Patience, Tried};
use super::settings::RegistrySettings;
use super::tls;
use super::url::{Url, is_loopback};
use crate::error::{Error, Result};

const MAX_REDIRECTS: usize = 8;
/// Headers of one answer in bytes.
const MAX_HEADERS: usize = 64 << 10;
/// How long a server on loopback may take to answer a TLS greeting before it is
/// taken for one without TLS.
const PROBE: Duration = Duration::from_secs(3);

/// Speaks with registries; may be used from several threads.
#[derive(Debug)]
pub struct Client {
    pub(crate) settings: RegistrySettings,
    pub(crate) docker: DockerConfig,
    pub(crate) identities: Identities,
    agents: Mutex<HashMap<(bool, String), Agent>>,
    /// Registries on loopback, and whether they speak TLS.
    probed: Mutex<HashMap<String, bool>>,
}

/// What is asked of a registry.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// The registry as it stands in names: under it credentials are kept.
    pub(crate) domain: &'a str,
    /// What a token must allow, as `repository:a/b:pull`.
    pub(crate) scope: &'a str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Upload<'a>,
    /// For errors, as `the manifest of debian:12`.
    pub(crate) what: &'a str,
    /// It goes to a host that the registry named: nothing is told to it about
    /// who asks.
    pub(crate) foreign: bool,
}

/// A request's body.
pub(crate) enum Upload<'a> {
    None,
    Bytes(&'a [u8]),
    /// So many bytes; made anew for each try.
    Stream(u64, &'a (dyn Fn() -> Result<Box<dyn Read + 'a>> + 'a)),
}

impl Client {
    /// With the user's settings and logins.
    pub fn new(settings: RegistrySettings, docker: DockerConfig) -> Self {
        Self {
            settings,
            docker,
            identities: Identities::default(),
            agents: Mutex::default(),
            probed: Mutex::default(),
        }
    }

    /// Asks until there is an answer that stays: what may pass is tried again,
    /// and `told` is called before each wait.
    pub(crate) fn ask(&self, ask: &Ask<'_>, told: &dyn Fn(&str)) -> Result<Answer> {
        let mut patience = Patience::default();
        loop {
            match self.try_once(ask) {
                Ok(answer) => return Ok(answer),
                Err(failed) => {
                    let text = failed.error.to_string();
                    let wait = patience.wait(failed)?;
                    told(&text);
                    std::thread::sleep(wait);
                }
            }
        }
    }

    /// One try: shows who one is if asked to, and follows redirects.
    pub(crate) fn try_once(&self, ask: &Ask<'_>) -> Tried<Answer> {
        let mut authorization = match ask.foreign {
            true => None,
            false => self.authorization(ask),
        };
        // Once for a token that has expired, once for one that is asked for.
        for _ in 0..2 {
            let answer = self.follow(ask, authorization.as_deref())?;
            let own = !ask.foreign && answer.url.same_origin(&ask.url);
            if answer.status != 401 || !own {
                return self.judge(ask, answer);
            }
            match self.answer_challenge(ask, &answer.headers, authorization.as_deref())? {
                Some(new) => authorization = Some(new),
                None => return self.judge(ask, answer),
            }
        }
        let answer = self.follow(ask, authorization.as_deref())?;
        self.judge(ask, answer)
    }

    /// Follows redirects. The authorization goes to the origin that it is for
    /// and to no other, and what began with TLS goes on with it.
    fn follow(&self, ask: &Ask<'_>, authorization: Option<&str>) -> Tried<Answer> {
        let mut url = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let own = authorization.filter(|_| url.same_origin(&ask.url));
            let answer = self.send(&url, ask, own)?;
            let location = header(&answer.headers, "location");
            let (301 | 302 | 303 | 307 | 308, Some(location)) = (answer.status, location) else {
                return Ok(answer);
            };
            if !matches!(ask.method, Method::GET | Method::HEAD) {
                return Ok(answer);
            }
            let breaks = |reason: String| self.breaks(&url, reason);
            let next = url
                .join(location)
                .ok_or_else(|| breaks(format!("it redirects to {location:?}, no address")))?;
            if url.https && !next.https {
                return Err(
                    breaks(format!("it redirects from TLS to {next}, which has none")).into(),
                );
            }
            if !next.https && !self.settings.allows_plain(&next.authority) {
                return Err(breaks(format!("it redirects to {next}, which has no TLS")).into());
            }
            url = next;
        }
        Err(self
            .breaks(&ask.url, "it redirects without end".into())
            .into())
    }

    pub(crate) fn breaks(&self, url: &Url, reason: String) -> Error {
        Error::RegistryProtocol {
            host: url.authority.clone(),
            reason,
        }
    }

    /// Sends it once, to exactly this address.
    fn send(&self, url: &Url, ask: &Ask<'_>, authorization: Option<&str>) -> Tried<Answer> {
        let mut headers = ask.headers.clone();
        let mut reader: Box<dyn Read + '_>;
        if let Some(authorization) = authorization {
            headers.push(("authorization", authorization.to_owned()));
        }
        let body = match &ask.body {
            Upload::None if ask.method == Method::POST => Sent::Bytes(&[]),
            Upload::None => Sent::None,
            Upload::Bytes(bytes) => Sent::Bytes(bytes),
            Upload::Stream(size, open) => {
                headers.push(("content-length", size.to_string()));
                reader = open()?;
                Sent::Reader(&mut *reader)
            }
        };
        self.raw(&ask.method, url, &headers, body)
    }

    /// Sends exactly this.
    pub(crate) fn raw(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Sent<'_>,
    ) -> Tried<Answer> {
        let unreachable = |error: &ureq::Error| Error::Unreachable {
            host: url.authority.clone(),
            reason: reason(error, self.settings.timeout()),
        };
        let agent = self.agent(url)?;
        let mut request = Request::builder().method(method).uri(url.to_string());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let malformed = |e: ureq::http::Error| unreachable(&ureq::Error::Http(e));
        let answer = match body {
            Sent::Bytes(bytes) => agent.run(request.body(bytes).map_err(malformed)?),
            Sent::None => agent.run(request.body(()).map_err(malformed)?),
            Sent::Reader(reader) => {
                let body = SendBody::from_reader(reader);
                agent.run(request.body(body).map_err(malformed)?)
            }
        };
        match answer {
            Ok(answer) => Ok(Answer::new(answer, url)),
            Err(error) => Err(Failed::new(unreachable(&error), retry::of_ureq(&error))),
        }
    }

    /// Turns answers that mean failure for every request into errors.
    fn judge(&self, ask: &Ask<'_>, mut answer: Answer) -> Tried<Answer> {
        let again = retry::passes(
            answer.status,
            header(&answer.headers, "retry-after"),
            SystemTime::now(),
        );
        let denied = matches!(answer.status, 401 | 403);
        if again == Again::Never && !denied {
            return Ok(answer);
        }
        let (host, what) = (answer.url.authority.clone(), ask.what.to_owned());
        let complaint = answer.complaint();
        let error = match denied {
            true => Error::Denied {
                host: match answer.url.same_origin(&ask.url) {
                    true => ask.domain.to_owned(),
                    false => host,
                },
                what,
                reason: complaint.unwrap_or_default(),
            },
            false => {
                let status = status_text(answer.status);
                let reason = complaint.map_or(status.clone(), |text| format!("{status}: {text}"));
                let reason = match again {
                    Again::After(wait) => format!("{reason} (try again in {} s)", wait.as_secs()),
                    _ => reason,
                };
                Error::RegistryRefused { host, what, reason }
            }
        };
        Err(Failed::new(error, again))
    }

    /// The connections to one host; its certificates are for it alone.
    fn agent(&self, url: &Url) -> Result<Agent> {
        let key = (url.https, url.authority.clone());
        if let Some(agent) = lock(&self.agents).get(&key) {
            return Ok(agent.clone());
        }
        let agent = self.new_agent(url, self.settings.timeout())?;
        Ok(lock(&self.agents).entry(key).or_insert(agent).clone())
    }

    fn new_agent(&self, url: &Url, timeout: Duration) -> Result<Agent> {
        let mut config = Agent::config_builder()
            .user_agent(concat!("isola/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(MAX_HEADERS)
            .max_idle_connections_per_host(8)
            .input_buffer_size(256 << 10)
            .output_buffer_size(256 << 10)
            .timeout_resolve(Some(timeout))
            .timeout_connect(Some(timeout))
            .timeout_per_read(Some(timeout))
            .timeout_per_write(Some(timeout))
            // One that trickles its headers is as bad as one that is silent.
            .timeout_recv_response(Some(timeout * 10));
        if url.https {
            config = config.tls_config(tls::config(&self.settings, &url.authority)?);
        }
        if url.is_loopback() {
            config = config.proxy(None);
        }
        Ok(config.build().new_agent())
    }

    /// Whether a registry is spoken to with TLS: all are, but those on loopback
    /// that do not understand it and those that the user named.
    pub(crate) fn speaks_tls(&self, authority: &str) -> Result<bool> {
        if self
            .settings
            .host(authority)
            .is_some_and(|host| host.plain_http)
        {
            return Ok(false);
        }
        if !is_loopback(authority) || tls::is_configured(&self.settings, authority) {
            return Ok(true);
        }
        if let Some(known) = lock(&self.probed).get(authority) {
            return Ok(*known);
        }
        let url = Url::new(true, authority, "/v2/");
        let agent = self.new_agent(&url, PROBE.min(self.settings.timeout()))?;
        let https = match agent.get(url.to_string()).call() {
            Ok(_) => true,
            Err(error) => !is_plain_server(&error),
        };
        lock(&self.probed).insert(authority.to_owned(), https);
        Ok(https)
    }
}

/// A body on its way.
pub(crate) enum Sent<'a> {
    None,
    Bytes(&'a [u8]),
    Reader(&'a mut dyn Read),
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps that are only added to: a panic elsewhere does not spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the failure of a TLS greeting looks like a server without TLS.
fn is_plain_server(error: &ureq::Error) -> bool {
    let plain = |tls: &rustls::Error| {
        matches!(
            tls,
            rustls::Error::InvalidMessage(_) | rustls::Error::PeerMisbehaved(_)
        )
    };
    match error {
        ureq::Error::Rustls(tls) => plain(tls),
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(error) => match inner(error) {
            Some(tls) => plain(tls),
            None => error.kind() != io::ErrorKind::ConnectionRefused,
        },
        _ => false,
    }
}
