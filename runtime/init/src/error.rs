//! From an error of the kernel to one line that says what failed, on what and why.

use std::io;

use isola_proto::{ErrorKind, Failure};

/// The reason alone, without the error number that `io::Error` appends.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// A failure of class `Setup`.
pub(crate) fn failure(message: impl Into<String>) -> Failure {
    Failure::new(ErrorKind::Setup, message)
}

/// Names the step that failed.
pub(crate) trait Setup<T> {
    /// Turns the error into `WHAT: REASON`.
    fn setup(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Setup<T> for Result<T, E> {
    fn setup(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| failure(format!("{}: {}", what(), reason(&error.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_number_is_left_out() {
        let result: Result<(), io::Error> = Err(io::Error::from_raw_os_error(libc::ENOENT));
        let failure = result.setup(|| "open '/x'".to_owned()).unwrap_err();
        assert_eq!(failure.message, "open '/x': No such file or directory");
        assert_eq!(failure.kind, ErrorKind::Setup);
    }
}
