//! Certificates: whom to trust, and which one to show.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ureq::tls::{
    Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem,
};

use super::settings::{HostSettings, RegistrySettings};
use crate::error::{Error, Result};

/// Folders with one folder per registry in them, as Docker and Podman have it.
const FOLDERS: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// Whether somebody said something about certificates of this registry: then it
/// is never spoken to without TLS.
pub(crate) fn is_configured(settings: &RegistrySettings, authority: &str) -> bool {
    let host = settings.host(authority);
    host.is_some_and(|host| host.ca.is_some() || host.client_cert.is_some())
        || folders(authority).iter().any(|folder| folder.is_dir())
}

/// How to speak TLS with a registry.
pub(crate) fn config(settings: &RegistrySettings, authority: &str) -> Result<TlsConfig> {
    let (mut roots, mut client) = (Vec::new(), None);
    if let Some(host) = settings.host(authority) {
        if let Some(path) = &host.ca {
            roots.extend(certificates(path)?);
        }
        client = own_certificate(host)?;
    }
    for folder in folders(authority) {
        read_folder(&folder, &mut roots, &mut client)?;
    }
    roots.extend_from_slice(system_roots());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

fn folders(authority: &str) -> Vec<PathBuf> {
    let folders = FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(authority));
    folders.collect()
}

fn own_certificate(host: &HostSettings) -> Result<Option<ClientCert>> {
    match (&host.client_cert, &host.client_key) {
        (Some(cert), Some(key)) => Ok(Some(client_certificate(cert, key)?)),
        _ => Ok(None),
    }
}

/// `*.crt` is trusted; `NAME.cert` with `NAME.key` is shown.
fn read_folder(
    folder: &Path,
    roots: &mut Vec<Certificate<'static>>,
    client: &mut Option<ClientCert>,
) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(e) => return Err(Error::io("read", folder, e)),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|e| Error::io("read", folder, e))?;
    paths.sort();
    for path in paths {
        match path.extension().and_then(|end| end.to_str()) {
            Some("crt") => roots.extend(certificates(&path)?),
            Some("cert") if client.is_none() => {
                *client = Some(client_certificate(&path, &path.with_extension("key"))?);
            }
            _ => {}
        }
    }
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|e| malformed(path, &e))? {
            found.push(certificate);
        }
    }
    match found.is_empty() {
        true => Err(malformed(path, &"it holds no certificate")),
        false => Ok(found),
    }
}

fn client_certificate(cert: &Path, key: &Path) -> Result<ClientCert> {
    let chain = certificates(cert)?;
    let pem = fs::read(key).map_err(|e| Error::io("read", key, e))?;
    let key = PrivateKey::from_pem(&pem).map_err(|e| malformed(key, &e))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn malformed(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::Credentials(format!("{} is no PEM file to use: {why}", path.display()))
}

/// What the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` are heeded), read
/// once.
fn system_roots() -> &'static [Certificate<'static>] {
    static ROOTS: OnceLock<Vec<Certificate<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        // What cannot be read is missing later, when somebody's certificate is
        // not trusted, which is said then.
        let found = rustls_native_certs::load_native_certs();
        let own =
            |der: &rustls::pki_types::CertificateDer<'_>| Certificate::from_der(der).to_owned();
        found.certs.iter().map(own).collect()
    })
}
