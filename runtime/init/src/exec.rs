//! The last step: finding the program as execvp(3) does, and what its refusal means.

use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use isola_proto::{ErrorKind, Failure};
use rustix::io::Errno;

use crate::error::{failure, reason};
use crate::sys;

/// Where programs are looked for when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest `#!` line that the kernel reads, in bytes.
const SCRIPT_LINE: usize = 256;

/// Arguments or environment as the kernel takes them.
pub(crate) fn c_strings(strings: &[String], what: &str) -> Result<Vec<CString>, Failure> {
    strings
        .iter()
        .map(|text| {
            CString::new(text.as_str()).map_err(|_| {
                failure(format!(
                    "{what} {:?} has a zero byte in it",
                    text.replace('\0', "\\0")
                ))
            })
        })
        .collect()
}

/// Adds `HOME` when it is not there.
pub(crate) fn with_home(mut env: Vec<CString>, home: &str) -> Vec<CString> {
    if !env
        .iter()
        .any(|entry| entry.as_bytes().starts_with(b"HOME="))
        && let Ok(entry) = CString::new(format!("HOME={home}"))
    {
        env.push(entry);
    }
    env
}

/// Runs the program; returns only when that failed.
pub(crate) fn run(program: Option<BorrowedFd<'_>>, args: &[CString], env: &[CString]) -> Failure {
    let Some(name) = args.first() else {
        return failure("there is no program to run");
    };
    let shown = name.to_string_lossy();
    if let Some(program) = program {
        return refused(&shown, Path::new(""), &sys::fexecve(program, args, env));
    }
    let mut denied = None;
    for candidate in candidates(name, env) {
        let error = sys::execve(&candidate, args, env);
        let path = Path::new(std::ffi::OsStr::from_bytes(candidate.as_bytes()));
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NOTDIR) if path.symlink_metadata().is_err() => {}
            // Another folder of PATH may hold one that can be executed.
            Some(Errno::ACCESS) => denied = denied.or(Some(refused(&shown, path, &error))),
            _ => return refused(&shown, path, &error),
        }
    }
    denied.unwrap_or_else(|| {
        let place = if shown.contains('/') {
            "no such file"
        } else {
            "not found in PATH"
        };
        Failure::new(ErrorKind::NotFound, format!("program '{shown}': {place}"))
    })
}

/// The paths to try, in order.
fn candidates(name: &CString, env: &[CString]) -> Vec<CString> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Vec::new();
    }
    if bytes.contains(&b'/') {
        return vec![name.clone()];
    }
    let path = env
        .iter()
        .find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
    path.unwrap_or(DEFAULT_PATH.as_bytes())
        .split(|byte| *byte == b':')
        .filter_map(|folder| {
            // An empty entry is the working directory.
            let folder = if folder.is_empty() { b"." } else { folder };
            CString::new([folder, b"/", bytes].concat()).ok()
        })
        .collect()
}

/// The class of a refusal of execve(2).
fn refused(shown: &str, path: &Path, error: &std::io::Error) -> Failure {
    let why = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => interpreter(path),
        Some(Errno::ACCESS) if path.is_dir() => "it is a folder".to_owned(),
        Some(Errno::NOEXEC) => {
            "neither a program of this machine's kind nor a script with a '#!' line".to_owned()
        }
        Some(Errno::TOOBIG | Errno::NOMEM | Errno::AGAIN | Errno::NFILE | Errno::MFILE) => {
            return failure(format!("program '{shown}': {}", reason(error)));
        }
        _ => reason(error),
    };
    Failure::new(
        ErrorKind::NotExecutable,
        format!("program '{shown}' can't be executed: {why}"),
    )
}

/// The file is there, and yet "no such file": what it needs to be run is absent.
fn interpreter(path: &Path) -> String {
    let line = std::fs::File::open(path).and_then(|mut file| {
        let mut start = vec![0; SCRIPT_LINE];
        let length = std::io::Read::read(&mut file, &mut start)?;
        start.truncate(length);
        Ok(start)
    });
    let script = line.ok().and_then(|start| {
        let text = start
            .strip_prefix(b"#!")?
            .split(|byte| *byte == b'\n')
            .next()?
            .to_vec();
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    });
    match script {
        Some(name) => format!(
            "its interpreter '{}' is missing",
            name.trim_end_matches('\r')
        ),
        None => "its dynamic loader is missing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<CString> {
        c_strings(
            &list
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
            "argument",
        )
        .unwrap()
    }

    #[test]
    fn path_is_searched() {
        let env = strings(&["A=1", "PATH=/a::/b", "PATH=/c"]);
        assert_eq!(
            candidates(&strings(&["x"])[0], &env),
            strings(&["/a/x", "./x", "/b/x"])
        );
        assert_eq!(candidates(&strings(&["./x"])[0], &env), strings(&["./x"]));
        assert!(candidates(&strings(&[""])[0], &env).is_empty());
        assert!(candidates(&strings(&["x"])[0], &[]).contains(&strings(&["/usr/bin/x"])[0]));
    }

    #[test]
    fn refusals_have_classes() {
        let env = strings(&["PATH=/nosuch:/etc"]);
        let failure = run(None, &strings(&["no-such-program"]), &env);
        assert_eq!(
            (failure.kind, &*failure.message),
            (
                ErrorKind::NotFound,
                "program 'no-such-program': not found in PATH"
            )
        );
        assert_eq!(
            run(None, &strings(&["passwd"]), &env).kind,
            ErrorKind::NotExecutable
        );
        assert_eq!(
            run(None, &strings(&["/etc"]), &env).kind,
            ErrorKind::NotExecutable
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        std::fs::write(&path, "#!/no/such/shell -e\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let failure = run(None, &strings(&[path.to_str().unwrap()]), &env);
        assert!(
            failure
                .message
                .ends_with("its interpreter '/no/such/shell -e' is missing"),
            "{failure}"
        );
    }

    #[test]
    fn home_is_added_once() {
        assert_eq!(
            with_home(strings(&["HOME=/x"]), "/y"),
            strings(&["HOME=/x"])
        );
        assert_eq!(with_home(Vec::new(), "/y"), strings(&["HOME=/y"]));
    }

    #[test]
    fn zero_bytes_are_refused() {
        assert!(c_strings(&["a\0b".to_owned()], "argument").is_err());
    }
}
