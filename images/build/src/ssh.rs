//! An agent of SSH keys for a step: a socket with the owner that the step asks for,
//! whose connections go on to the user's own agent.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A socket that is passed on while this lives.
pub(crate) struct Proxy {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn start(
        agent: &Path,
        path: &Path,
        mode: u32,
        owner: (u32, u32),
    ) -> io::Result<Proxy> {
        // One that can't be reached is told now, not by ssh in the step.
        drop(UnixStream::connect(agent)?);
        let listener = UnixListener::bind(path)?;
        chown(path, Some(owner.0), Some(owner.1))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, agent) = (Arc::clone(&stop), agent.to_owned());
        let thread = std::thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                if let (Ok(client), Ok(server)) = (client, UnixStream::connect(&agent)) {
                    join(client, server);
                }
            }
        });
        Ok(Proxy {
            path: path.to_owned(),
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // It wakes from waiting for a client.
        let woken = UnixStream::connect(&self.path).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

/// Copies both ways until either side ends.
fn join(client: UnixStream, server: UnixStream) {
    let (Ok(from_client), Ok(to_client)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    std::thread::spawn(move || pass(from_client, server));
    std::thread::spawn(move || pass(to_client, client));
}

fn pass(mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(count) if count > 0 && to.write_all(&buffer[..count]).is_ok() => {}
            _ => break,
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_on_to_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let (agent, socket) = (folder.path().join("agent"), folder.path().join("socket"));
        let listener = UnixListener::bind(&agent).unwrap();
        std::thread::spawn(move || {
            // The first is the trial at the start.
            for client in listener.incoming().flatten() {
                let mut client = client;
                let mut word = [0; 4];
                if client.read_exact(&mut word).is_ok() {
                    client.write_all(b"pong").unwrap();
                }
            }
        });
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let proxy = Proxy::start(&agent, &socket, 0o600, own).unwrap();
        let mut client = UnixStream::connect(&socket).unwrap();
        client.write_all(b"ping").unwrap();
        let mut word = [0; 4];
        client.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"pong");
        drop(proxy);
        assert!(
            Proxy::start(
                &folder.path().join("none"),
                &folder.path().join("s"),
                0o600,
                own
            )
            .is_err()
        );
    }
}
