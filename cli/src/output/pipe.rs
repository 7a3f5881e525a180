//! Archives on standard output.

use std::io::{self, Write};

use crate::error::{Failure, Result};

/// Writes to standard output. What writes may wrap the error of a reader that went away
/// in its own words, so it is remembered here: the command then ends without a word, with
/// the code that SIGPIPE would give.
pub(crate) fn stream<T>(write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    stream_to(io::stdout().lock(), write)
}

fn stream_to<T>(out: impl Write, write: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    let mut pipe = Pipe { out, gone: false };
    let written = write(&mut pipe);
    // The last bytes may still be here.
    let flushed = pipe.flush();
    match (written, flushed) {
        _ if pipe.gone => Err(Failure::output(io::ErrorKind::BrokenPipe.into())),
        (Ok(_), Err(error)) => Err(Failure::output(error)),
        (written, _) => written,
    }
}

struct Pipe<W> {
    out: W,
    /// Nobody reads any more.
    gone: bool,
}

impl<W: Write> Pipe<W> {
    fn look<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.gone |= result.as_ref().err().is_some_and(is_gone);
        result
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.look(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.look(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_to_tell() {
        let wrapped = |out: &mut dyn Write| {
            let failed = |_| Failure::new(Code::System, "in other words");
            out.write_all(b"x").map_err(failed)
        };
        let gone = stream_to(Closed(io::ErrorKind::BrokenPipe), wrapped).unwrap_err();
        assert!(gone.is_silent());
        assert_eq!(gone.exit, 141);
        let full = stream_to(Closed(io::ErrorKind::StorageFull), wrapped).unwrap_err();
        assert!(!full.is_silent());
        assert_eq!(full.message, "in other words");
        let mut kept = Vec::new();
        stream_to(&mut kept, wrapped).unwrap();
        assert_eq!(kept, b"x");
    }
}
