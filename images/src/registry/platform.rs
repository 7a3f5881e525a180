//! Platforms, as `linux/arm64/v8` (OCI image index specification, "platform").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::image;

/// An operating system, an architecture and maybe its variant, normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// As Go names it: `linux`.
    pub os: String,
    /// As Go names it: `amd64`.
    pub architecture: String,
    /// Such as `v7`; none where the architecture's usual one is meant.
    pub variant: Option<String>,
}

/// As it stands in an index or a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlatformOf {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

impl Platform {
    /// This machine.
    pub fn native() -> Self {
        let native = image::native();
        let (os, architecture) = native.split_once('/').unwrap_or(("linux", "amd64"));
        Self::new(os, architecture, None)
    }

    /// From its parts, as they stand in an index or a configuration.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let variant = variant.filter(|variant| !variant.is_empty());
        let (architecture, implied) = match architecture {
            "x86_64" | "x86-64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            "i386" | "i686" => ("386", None),
            other => (other, None),
        };
        let variant = match (architecture, variant.or(implied)) {
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
            // What Docker takes a bare `arm` for.
            ("arm", None) => Some("v7"),
            ("arm", Some("7")) => Some("v7"),
            ("arm", Some("6")) => Some("v6"),
            ("arm", Some("5")) => Some("v5"),
            (_, variant) => variant,
        };
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// What an image is for by its configuration, a JSON document.
    pub(crate) fn of_config(config: &[u8]) -> Result<Self> {
        let raw: PlatformOf = serde_json::from_slice(config)
            .map_err(|e| Error::document("the image's configuration", e))?;
        Ok(Self::from(&raw))
    }

    /// Whether what is for this can be taken where `wanted` is asked for.
    pub fn serves(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || self.variant == wanted.variant)
    }
}

impl From<&PlatformOf> for Platform {
    fn from(raw: &PlatformOf) -> Self {
        Self::new(&raw.os, &raw.architecture, raw.variant.as_deref())
    }
}

impl From<&Platform> for PlatformOf {
    fn from(platform: &Platform) -> Self {
        Self {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `OS/ARCHITECTURE[/VARIANT]`, or one word of the first two.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::PlatformName(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let word = |part: &&str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            !part.is_empty() && part.bytes().all(plain)
        };
        if !parts.iter().all(word) {
            return Err(wrong());
        }
        let native = Self::native();
        match parts.as_slice() {
            [os @ ("linux" | "windows" | "freebsd" | "darwin")] => {
                Ok(Self::new(os, &native.architecture, None))
            }
            [architecture] => Ok(Self::new(&native.os, architecture, None)),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalised() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/v5", "linux/arm/v5"),
            ("windows", "windows/amd64"),
        ] {
            assert_eq!(
                text.parse::<Platform>().unwrap().to_string(),
                expected,
                "{text}"
            );
        }
        for text in ["", "linux/", "/amd64", "a/b/c/d", "linux/am d64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
