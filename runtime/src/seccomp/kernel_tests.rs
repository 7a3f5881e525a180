//! The built-in profile in the real kernel: a program runs under it, and a call
//! that it refuses fails. Installing a filter and fork are unsafe, so they stand
//! alone here.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
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

/// A 32-bit program: writes a line, tries to make a user namespace, and ends with
/// the error number of that.
fn program32() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let code: &[&[u8]] = &[
        &[0xb8, 4, 0, 0, 0],             // mov eax, write
        &[0xbb, 1, 0, 0, 0],             // mov ebx, 1
        &[0xb9, 0x84, 0x80, 0x04, 0x08], // mov ecx, the text below
        &[0xba, 5, 0, 0, 0],             // mov edx, 5
        &[0xcd, 0x80],                   // int 0x80
        &[0xb8, 0x36, 1, 0, 0],          // mov eax, unshare
        &[0xbb, 0, 0, 0, 0x10],          // mov ebx, CLONE_NEWUSER
        &[0xcd, 0x80],                   // int 0x80
        &[0x89, 0xc3, 0xf7, 0xdb],       // mov ebx, eax; neg ebx
        &[0xb8, 1, 0, 0, 0],             // mov eax, exit
        &[0xcd, 0x80],                   // int 0x80
    ];
    let mut code = code.concat();
    code.resize(0x84 - 0x54, 0x90);
    code.extend(b"i386\n");
    let size = 0x54 + code.len() as u32;
    // Executable, i386, version 1, entry, program headers, their size and number.
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    for word in [BASE + 0x54, 0x34, 0, 0, 0x0020_0034, 1, 0] {
        file.extend(u32::to_le_bytes(word));
    }
    // One segment: loaded whole, readable and executable.
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        file.extend(u32::to_le_bytes(word));
    }
    assert_eq!(file.len(), 0x54);
    file.extend(code);
    file
}

#[test]
fn programs_of_32_bits_run_under_the_built_in_profile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    fs::write(&path, program32()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let path = path.to_str().unwrap();
    match Command::new(path).output() {
        Ok(output) if output.stdout == b"i386\n" => {}
        other => {
            eprintln!("SKIPPED: this kernel runs no 32-bit programs: {other:?}");
            return;
        }
    }
    let grants = Grants {
        capabilities: &[],
        kernel: (6, 1),
    };
    let output = under(&default_filter(&grants), path, &[]);
    assert_eq!(output.stdout, b"i386\n", "{output:?}");
    assert_eq!(output.status.code(), Some(libc::EPERM), "{output:?}");
    let native = br#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"]}"#;
    let output = under(&compile_profile(native, &grants).unwrap(), path, &[]);
    assert_eq!(output.status.code(), None, "ended by SIGSYS: {output:?}");
}
