//! One end of a copy.

use crate::error::{Code, Failure, Result};

/// Where a copy comes from or goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// An archive on standard input or output.
    Stream,
    /// A path of the host.
    Host(String),
    /// A path behind a wall.
    Instance {
        /// Name or id.
        instance: String,
        /// Path inside, relative to the root.
        path: String,
    },
}

impl End {
    /// Reads an argument. A name of the host with a colon is written with a
    /// slash before it, as `./a:b`.
    pub(crate) fn parse(text: &str) -> Result<End> {
        if text == "-" {
            return Ok(End::Stream);
        }
        match text.split_once(':') {
            Some((instance, path)) if !text.starts_with(['/', '.']) && !instance.contains('/') => {
                if path.is_empty() || instance.is_empty() {
                    return Err(Failure::new(
                        Code::Copy,
                        format!("{text:?} is not INSTANCE:PATH"),
                    ));
                }
                Ok(End::Instance {
                    instance: instance.to_owned(),
                    path: path.to_owned(),
                })
            }
            _ if text.is_empty() => Err(Failure::new(Code::Copy, "a path is empty")),
            _ => Ok(End::Host(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let host = |path: &str| Some(End::Host(path.to_owned()));
        let inside = |instance: &str, path: &str| {
            Some(End::Instance {
                instance: instance.to_owned(),
                path: path.to_owned(),
            })
        };
        for (text, end) in [
            ("-", Some(End::Stream)),
            ("web:/etc", inside("web", "/etc")),
            ("web:etc:x", inside("web", "etc:x")),
            ("/etc:x", host("/etc:x")),
            ("./web:x", host("./web:x")),
            ("a/b:c", host("a/b:c")),
            ("plain", host("plain")),
            ("web:", None),
            (":x", None),
            ("", None),
        ] {
            assert_eq!(End::parse(text).ok(), end, "{text}");
        }
    }
}
