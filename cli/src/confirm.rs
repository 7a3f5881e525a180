//! Questions before much is removed.

use std::io::{self, Write};

use crate::error::{Code, Failure, Result};

/// Asks on standard error whether to go on, unless `force`. Anything but `y` or
/// `yes`, and the end of standard input, is a no.
pub(crate) fn confirm(force: bool, what: &str) -> Result<()> {
    if force {
        return Ok(());
    }
    let mut out = io::stderr().lock();
    let _ = write!(out, "{what}\nGo on? [y/N] ");
    let _ = out.flush();
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::system("read the answer", error))?;
    if is_yes(&answer) {
        return Ok(());
    }
    // The next message starts on a line of its own where nobody typed one.
    if !answer.ends_with('\n') {
        let _ = writeln!(out);
    }
    Err(Failure::new(Code::Usage, "nothing was removed").hint("--force does not ask"))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(is_yes("y\n") && is_yes(" Yes\n"));
        for answer in ["", "\n", "n\n", "yeah\n", "yy\n"] {
            assert!(!is_yes(answer), "{answer:?}");
        }
    }
}
