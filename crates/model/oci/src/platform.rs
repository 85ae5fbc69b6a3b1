use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on (image-spec 1.1, `image-index.md`).
///
/// As text: `os[(os.version)]/architecture[/variant]`, for example `linux/arm/v7` or `windows(10.0.20348)/amd64`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH: `amd64`, `arm64`, `arm`, …
    #[serde(default)]
    pub architecture: String,
    /// GOOS: `linux`, `windows`.
    #[serde(default)]
    pub os: String,
    /// Windows only: `10.0.20348.2227`, or its beginning where one is asked for.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Windows only: `win32k`.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// CPU variant: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// It has no, or too many, parts, or a part has characters that none can have.
    #[error(
        "`{0}` is not a platform: expected `os/architecture` or `os/architecture/variant`, as in `linux/arm64`"
    )]
    Malformed(String),
    /// One word that is neither a known system nor a known architecture.
    #[error(
        "`{0}` is neither a known operating system nor a known architecture; write `os/architecture`, as in `linux/arm64`"
    )]
    Unknown(String),
}

const SYSTEMS: [&str; 12] = [
    "linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "aix", "android",
    "wasip1", "js", "plan9",
];
const ARCHITECTURES: [&str; 14] = [
    "amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "ppc64", "s390x", "mips64le", "mips64",
    "mips", "mipsle", "loong64", "wasm",
];

impl Platform {
    /// A platform without variant, normalised.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self { os: os.to_owned(), architecture: architecture.to_owned(), ..Self::default() }
            .normalized()
    }

    /// The Linux platform of the machine this program runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new("linux", architecture)
    }

    /// The same platform in the one spelling that comparison needs: lower case, `x86_64` as `amd64`, `aarch64` as
    /// `arm64`, arm64's `v8` and amd64's `v1` left out, `arm` without variant as `v7` (containerd's rules).
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.os = self.os.to_lowercase();
        if self.os == "macos" {
            "darwin".clone_into(&mut self.os);
        }
        self.architecture = self.architecture.to_lowercase();
        self.variant = self.variant.to_lowercase();
        let (architecture, variant) = match (self.architecture.as_str(), self.variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", ""),
            ("aarch64" | "arm64", "v8" | "8" | "") => ("arm64", ""),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "v7" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        let (architecture, variant) = (architecture.to_owned(), variant.to_owned());
        self.architecture = architecture;
        self.variant = variant;
        self
    }

    /// Whether an image for `self` is right where `wanted` was asked for: equal when normalised, and on Windows the
    /// asked `os.version` is equal or, part by part, a beginning of the image's.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let (have, wanted) = (self.clone().normalized(), wanted.clone().normalized());
        let version_fits = wanted.os_version.is_empty()
            || have.os_version == wanted.os_version
            || have
                .os_version
                .strip_prefix(&wanted.os_version)
                .is_some_and(|rest| rest.starts_with('.'));
        have.os == wanted.os
            && have.architecture == wanted.architecture
            && have.variant == wanted.variant
            && (wanted.os != "windows" || version_fits)
    }

    /// Whether this is a Windows platform.
    pub fn is_windows(&self) -> bool {
        self.os == "windows"
    }

    /// A form that can be a file name: `linux_arm_v7`.
    pub fn file_name(&self) -> String {
        self.to_string().replace('/', "_")
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if !self.os_version.is_empty() {
            write!(f, "({})", self.os_version)?;
        }
        write!(f, "/{}", self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let malformed = || PlatformError::Malformed(text.to_owned());
        let word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let [first, rest @ ..] = parts.as_slice() else { return Err(malformed()) };
        let (os, os_version) = match first.split_once('(') {
            Some((os, version)) => (
                os,
                version.strip_suffix(')').filter(|version| word(version)).ok_or_else(malformed)?,
            ),
            None => (*first, ""),
        };
        if !word(os) || !rest.iter().all(|part| word(part)) {
            return Err(malformed());
        }
        let lower = os.to_lowercase();
        let mut platform = match rest {
            [] if SYSTEMS.contains(&lower.as_str()) || lower == "macos" => {
                Self::new(os, &Self::host().architecture)
            }
            [] => {
                let platform = Self::new("linux", os);
                if !ARCHITECTURES.contains(&platform.architecture.as_str()) {
                    return Err(PlatformError::Unknown(text.to_owned()));
                }
                platform
            }
            [architecture] => Self::new(os, architecture),
            [architecture, variant] => Self {
                os: os.to_owned(),
                architecture: (*architecture).to_owned(),
                variant: (*variant).to_owned(),
                ..Self::default()
            },
            _ => return Err(malformed()),
        };
        os_version.clone_into(&mut platform.os_version);
        Ok(platform.normalized())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_platform_are_one() -> Result<(), PlatformError> {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("arm64", "linux/arm64"),
            ("windows(10.0.20348)/amd64", "windows(10.0.20348)/amd64"),
            ("Linux/ARM/V6", "linux/arm/v6"),
        ] {
            assert_eq!(text.parse::<Platform>()?.to_string(), expected);
        }
        Ok(())
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for text in
            ["", "/", "linux/", "linux/arm/v7/x", "nonsense", "windows(10/amd64", "li nux/amd64"]
        {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_windows_version_is_matched_part_by_part() -> Result<(), PlatformError> {
        let image: Platform = "windows(10.0.20348.2227)/amd64".parse()?;
        assert!(image.satisfies(&"windows/amd64".parse()?));
        assert!(image.satisfies(&"windows(10.0.20348)/amd64".parse()?));
        assert!(!image.satisfies(&"windows(10.0.2034)/amd64".parse()?));
        Ok(())
    }
}
