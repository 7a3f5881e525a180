//! Debian's `docker-registry` on a port of the test's own loopback, with files of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use isola_tests::Env;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// It ends when this is dropped.
pub(crate) struct Registry {
    /// Address and port.
    pub(crate) host: String,
    child: Child,
}

impl Registry {
    /// HTTP, for everybody.
    pub(crate) fn plain(env: &Env) -> Registry {
        env.host().inside(|| start(&env.files(), ""))
    }

    /// HTTPS with a certificate that nobody knows; maybe with a user, and maybe
    /// for those only who show a certificate.
    pub(crate) fn with_tls(env: &Env, user: Option<(&str, &str)>, client: bool) -> Registry {
        let folder = &env.files();
        certificates(folder);
        let at = |name: &str| folder.join(name).display().to_string();
        let mut more = format!(
            "  tls:\n    certificate: {}\n    key: {}\n",
            at("server.crt"),
            at("server.key")
        );
        if client {
            more.push_str(&format!("    clientcas:\n      - {}\n", at("ca.crt")));
        }
        if let Some((name, password)) = user {
            let output = Command::new("htpasswd")
                .args(["-Bbn", name, password])
                .output();
            let output = output.unwrap_or_else(|e| panic!("htpasswd is needed for this test: {e}"));
            fs::write(folder.join("users"), output.stdout).unwrap();
            let users = at("users");
            more.push_str(&format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {users}\n"
            ));
        }
        env.host().inside(|| start(folder, &more))
    }

    /// Settings that trust its certificate.
    pub(crate) fn trusted(&self, folder: &Path) -> String {
        let ca = folder.join("ca.crt");
        format!(
            "[registry.hosts.\"{}\"]\nca = \"{}\"\n",
            self.host,
            ca.display()
        )
    }

    /// Settings that also show a certificate.
    pub(crate) fn trusted_with_client(&self, folder: &Path) -> String {
        let at = |name: &str| folder.join(name).display().to_string();
        format!(
            "{}client-cert = \"{}\"\nclient-key = \"{}\"\n",
            self.trusted(folder),
            at("client.crt"),
            at("client.key")
        )
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `more` goes on with the section `http`.
fn start(folder: &Path, more: &str) -> Registry {
    for _ in 0..5 {
        // The port may be taken by another before the registry gets it.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let storage = folder.join("storage");
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n{more}",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(folder.join("registry.log")).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("docker-registry is needed for this test: {e}"));
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if TcpStream::connect(&host).is_ok() {
                return Registry { host, child };
            }
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    let log = fs::read_to_string(folder.join("registry.log")).unwrap_or_default();
    panic!("docker-registry does not start: {log}");
}

/// An authority, a server's certificate for 127.0.0.1, and a client's.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
    for (name, host) in [("server", "127.0.0.1"), ("client", "client.test")] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}
