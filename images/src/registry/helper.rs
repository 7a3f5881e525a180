//! Credential helpers: programs `docker-credential-NAME` that keep passwords
//! (the docker-credential-helpers project's protocol).

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::docker_config::Credentials;
use crate::error::{Error, Result};

/// What helpers say of a server that they do not know.
const UNKNOWN: &str = "credentials not found in native keychain";
/// Instead of a user's name when the secret is an identity token.
const TOKEN: &str = "<token>";
/// Longest answer that is read.
const MAX_ANSWER: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    username: String,
    secret: String,
}

/// Asks for a server's credentials; `None` if the helper has none.
pub(crate) fn get(helper: &str, server: &str) -> Result<Option<Credentials>> {
    let answer = match call(helper, "get", server.as_bytes())? {
        Ok(answer) => answer,
        Err(why) if why.contains(UNKNOWN) => return Ok(None),
        Err(why) => return Err(failed(helper, "get", &why)),
    };
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| failed(helper, "get", "its answer is not the expected JSON"))?;
    Ok(Some(match answer.username.as_str() {
        TOKEN => Credentials::IdentityToken(answer.secret),
        _ => Credentials::Password {
            user: answer.username,
            password: answer.secret,
        },
    }))
}

/// Lets the helper keep them.
pub(crate) fn store(helper: &str, server: &str, credentials: &Credentials) -> Result<()> {
    let (username, secret) = match credentials {
        Credentials::Password { user, password } => (user.as_str(), password),
        Credentials::IdentityToken(token) | Credentials::RegistryToken(token) => (TOKEN, token),
    };
    let given = Answer {
        server_url: server.to_owned(),
        username: username.to_owned(),
        secret: secret.clone(),
    };
    let given = serde_json::to_vec(&given).map_err(|e| failed(helper, "store", &e.to_string()))?;
    match call(helper, "store", &given)? {
        Ok(_) => Ok(()),
        Err(why) => Err(failed(helper, "store", &why)),
    }
}

/// Lets the helper forget them; tells whether it had any.
pub(crate) fn erase(helper: &str, server: &str) -> Result<bool> {
    let known = get(helper, server)?.is_some();
    if known && let Err(why) = call(helper, "erase", server.as_bytes())? {
        return Err(failed(helper, "erase", &why));
    }
    Ok(known)
}

/// What it printed, or why it failed.
fn call(helper: &str, verb: &str, input: &[u8]) -> Result<std::result::Result<Vec<u8>, String>> {
    // The name becomes that of a program: it must not lead elsewhere.
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if helper.is_empty() || !helper.bytes().all(plain) {
        let message = format!("`{helper}` is not the name of a credential helper");
        return Err(Error::Credentials(message));
    }
    let program = format!("docker-credential-{helper}");
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| Error::Credentials(format!("cannot start {program}: {e}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it fails by itself.
        let _ = stdin.write_all(input);
    }
    let mut output = Vec::new();
    let read = match child.stdout.take() {
        Some(stdout) => stdout.take(MAX_ANSWER).read_to_end(&mut output),
        None => Ok(0),
    };
    let status = child.wait();
    match (read, status) {
        (Ok(_), Ok(status)) if status.success() => Ok(Ok(output)),
        (Err(e), _) | (_, Err(e)) => Ok(Err(e.to_string())),
        (Ok(_), Ok(status)) => {
            let said = String::from_utf8_lossy(&output).trim().to_owned();
            Ok(Err(if said.is_empty() {
                status.to_string()
            } else {
                said
            }))
        }
    }
}

fn failed(helper: &str, verb: &str, why: &str) -> Error {
    Error::Credentials(format!("docker-credential-{helper} {verb} failed: {why}"))
}
