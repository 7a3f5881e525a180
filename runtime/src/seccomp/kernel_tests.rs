//! The built-in profile in the real kernel: a program runs under it, and a call
//! that it refuses fails. Installing a filter and fork are unsafe, so they stand
//! alone here.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use super::*;

fn under(filter: &[SockFilter], program: &str, args: &[&str]) -> Output {
    let code: Vec<libc::sock_filter> = filter
        .iter()
        .map(|f| libc::sock_filter {
            code: f.0,
            jt: f.1,
            jf: f.2,
            k: f.3,
        })
        .collect();
    let mut command = Command::new(program);
    command.args(args);
    let install = move || {
        let length = u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog {
            len: length,
            filter: code.as_ptr().cast_mut(),
        };
        // SAFETY: `program` points to `length` instructions, which live as long as
        // the closure; neither call keeps the pointer.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ) != 0
        };
        if failed {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    // SAFETY: between fork and exec the closure makes two system calls and
    // allocates nothing.
    unsafe { command.pre_exec(install) };
    command
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

#[test]
fn the_kernel_takes_the_built_in_profile() {
    let filter = default_filter(&Grants {
        capabilities: &[],
        kernel: (6, 1),
    });
    assert!(under(&filter, "/bin/true", &[]).status.success());
    let output = under(&filter, "/bin/cat", &["/proc/self/status"]);
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(status.lines().any(|line| line == "Seccomp:\t2"), "{status}");
    let unshare = "/usr/bin/unshare";
    if !Path::new(unshare).exists() {
        eprintln!(
            "SKIPPED in part: {unshare} is not there to make a call that the profile refuses"
        );
        return;
    }
    let output = under(&filter, unshare, &["--user", "/bin/true"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && message.contains("Operation not permitted"),
        "{message}"
    );
    let admin = default_filter(&Grants {
        capabilities: &["CAP_SYS_ADMIN".to_owned()],
        kernel: (6, 1),
    });
    let output = under(&admin, unshare, &["--user", "/bin/true"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
