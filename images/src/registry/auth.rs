//! Who one is: passwords and tokens, and what a registry asks for.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::{HeaderMap, Method};

use super::answer::Answer;
use super::challenge::{self, Challenge};
use super::docker_config::Credentials;
use super::http::{Ask, Client, Sent, lock};
use super::retry::{self, Failed, Tried};
use super::url::{Url, encode};
use crate::error::{Error, Result};

/// Longest answer of a token server.
const MAX_TOKEN: u64 = 1 << 20;
/// Tells a token server who asks; it is no secret.
const CLIENT_ID: &str = "isola";

/// What was learned and fetched so far, so that it is asked for once.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    /// Credentials by the registry's name: a helper may ask the user.
    credentials: Mutex<HashMap<String, Option<Credentials>>>,
    /// The `Authorization` that worked, by authority and scope.
    known: Mutex<HashMap<(String, String), String>>,
}

impl Identities {
    /// These and no others, for a login.
    pub(crate) fn assume(&self, domain: &str, credentials: Credentials) {
        lock(&self.credentials).insert(domain.to_owned(), Some(credentials));
    }
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Client {
    /// What to show before being asked: a token or password that was asked for
    /// before.
    pub(crate) fn authorization(&self, ask: &Ask<'_>) -> Option<String> {
        let key = (ask.url.authority.clone(), ask.scope.to_owned());
        lock(&self.identities.known).get(&key).cloned()
    }

    /// What to show now that the registry has asked; `None` if there is nothing
    /// new to show.
    pub(crate) fn answer_challenge(
        &self,
        ask: &Ask<'_>,
        headers: &HeaderMap,
        shown: Option<&str>,
    ) -> Tried<Option<String>> {
        let key = (ask.url.authority.clone(), ask.scope.to_owned());
        let headers = headers.get_all("www-authenticate").iter();
        let headers = headers.filter_map(|value| value.to_str().ok());
        let credentials = self.credentials(ask.domain)?;
        let new = match (challenge::parse(headers), credentials) {
            (_, Some(Credentials::RegistryToken(token))) => Some(format!("Bearer {token}")),
            (Some(Challenge::Basic), Some(Credentials::Password { user, password })) => {
                Some(basic(&user, &password))
            }
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                    ..
                }),
                credentials,
            ) => {
                // Another process may have got it meanwhile; this one has expired.
                let scope = scope.unwrap_or_else(|| ask.scope.to_owned());
                let token = self.token(
                    ask,
                    &realm,
                    service.as_deref(),
                    &scope,
                    credentials.as_ref(),
                )?;
                Some(format!("Bearer {token}"))
            }
            _ => None,
        };
        let mut known = lock(&self.identities.known);
        match &new {
            // The same again would be refused again.
            Some(new) if Some(new.as_str()) == shown => {
                known.remove(&key);
                return Ok(None);
            }
            Some(new) => known.insert(key, new.clone()),
            None => known.remove(&key),
        };
        Ok(new)
    }

    fn credentials(&self, domain: &str) -> Result<Option<Credentials>> {
        let mut known = lock(&self.identities.credentials);
        if let Some(credentials) = known.get(domain) {
            return Ok(credentials.clone());
        }
        let credentials = self.docker.credentials(domain)?;
        known.insert(domain.to_owned(), credentials.clone());
        Ok(credentials)
    }

    /// Fetches a token (distribution project, "Token Authentication" and "OAuth2
    /// Token Authentication").
    fn token(
        &self,
        ask: &Ask<'_>,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Tried<String> {
        let url = Url::parse(realm).ok_or_else(|| {
            self.breaks(
                &ask.url,
                format!("its token server {realm:?} is no address"),
            )
        })?;
        if !url.https && (ask.url.https || !self.settings.allows_plain(&url.authority)) {
            let reason = format!("its token server {url} has no TLS");
            return Err(self.breaks(&ask.url, reason).into());
        }
        let mut answer = self.ask_token(ask, url, service, scope, credentials)?;
        if answer.status != 200 {
            return Err(no_token(ask, &mut answer));
        }
        let bytes = answer.read(MAX_TOKEN, "the token")?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|_| self.breaks(&answer.url, "its token is malformed".into()))?;
        let token = match token.token.is_empty() {
            true => token.access_token,
            false => token.token,
        };
        // It becomes a header.
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(self
                .breaks(&answer.url, "its token is malformed".into())
                .into());
        }
        Ok(token)
    }

    /// By a refresh token, or by name and password, or as nobody.
    fn ask_token(
        &self,
        ask: &Ask<'_>,
        mut url: Url,
        service: Option<&str>,
        scope: &str,
        credentials: Option<&Credentials>,
    ) -> Tried<Answer> {
        let mut headers = vec![("accept", "application/json".to_owned())];
        if let Some(Credentials::IdentityToken(refresh)) = credentials {
            let service = service.unwrap_or(&ask.url.authority);
            let form = format!(
                "grant_type=refresh_token&service={}&client_id={CLIENT_ID}&scope={}&refresh_token={}",
                encode(service),
                encode(scope),
                encode(refresh)
            );
            headers.push((
                "content-type",
                "application/x-www-form-urlencoded".to_owned(),
            ));
            return self.raw(&Method::POST, &url, &headers, Sent::Bytes(form.as_bytes()));
        }
        if let Some(service) = service {
            url = url.with_query("service", service);
        }
        for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
            url = url.with_query("scope", scope);
        }
        if let Some(Credentials::Password { user, password }) = credentials {
            url = url.with_query("account", user);
            headers.push(("authorization", basic(user, password)));
        }
        self.raw(&Method::GET, &url, &headers, Sent::None)
    }
}

/// Why a token server gave none.
fn no_token(ask: &Ask<'_>, answer: &mut Answer) -> Failed {
    if matches!(answer.status, 400 | 401 | 403) {
        let reason = answer.complaint();
        return Failed::from(Error::Denied {
            host: ask.domain.to_owned(),
            what: ask.what.to_owned(),
            reason: reason.unwrap_or_else(|| "its token server gives no token".into()),
        });
    }
    let again = retry::passes(
        answer.status,
        answer.header("retry-after"),
        std::time::SystemTime::now(),
    );
    let error = answer.unexpected("a token");
    Failed::new(error, again)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
