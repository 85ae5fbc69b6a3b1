//! Build arguments and labels: for all platforms, for one, and from files.
//!
//! What counts, from weak to strong: files in their order, then the command line; in each of these a value for one
//! platform is stronger than one for all.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use build_api::ForPlatform;
use oci::Platform;

use super::values::{key_value, platform_named};
use super::{Surroundings, UsageError};

/// Bytes of a file of arguments.
const MAX_FILE: u64 = 1 << 20;
/// What a platform before a name begins with; any other name with a colon is a name.
const SYSTEMS: [&str; 6] = ["linux/", "windows/", "windows(", "darwin/", "freebsd/", "local:"];

/// Values by name: for all platforms, and what differs for some.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Values {
    pub(crate) common: BTreeMap<String, String>,
    pub(crate) by_platform: Vec<ForPlatform>,
}

impl Values {
    fn set(&mut self, platform: Option<Platform>, name: &str, value: String) {
        let Some(platform) = platform else {
            self.common.insert(name.to_owned(), value);
            return;
        };
        let known = self.by_platform.iter_mut().find(|known| known.platform == platform);
        if let Some(known) = known {
            known.values.insert(name.to_owned(), value);
        } else {
            let values = BTreeMap::from([(name.to_owned(), value)]);
            self.by_platform.push(ForPlatform { platform, values });
        }
    }

    /// Adds what is stronger.
    fn add(&mut self, stronger: Self) {
        for own in &mut self.by_platform {
            own.values.retain(|name, _| !stronger.common.contains_key(name));
        }
        self.common.extend(stronger.common);
        for own in stronger.by_platform {
            for (name, value) in own.values {
                self.set(Some(own.platform.clone()), &name, value);
            }
        }
        self.by_platform.retain(|own| !own.values.is_empty());
    }
}

/// `--build-arg-file` and `--build-arg`; a name without a value takes that of the environment variable, if it is set.
pub(crate) fn build_args(
    files: &[std::path::PathBuf],
    texts: &[String],
    around: &Surroundings<'_>,
) -> Result<Values, UsageError> {
    let mut values = Values::default();
    for file in files {
        values.add(from_file(file, around)?);
    }
    let mut own = Values::default();
    for text in texts {
        one(&mut own, "--build-arg", text, around)?;
    }
    values.add(own);
    Ok(values)
}

/// `--label`; no value is an empty one.
pub(crate) fn labels(texts: &[String]) -> Result<Values, UsageError> {
    let mut values = Values::default();
    for text in texts {
        let (platform, text) = platform_of("--label", text)?;
        let (key, value) = key_value("--label", text)?;
        values.set(platform, key, value.unwrap_or_default().to_owned());
    }
    Ok(values)
}

fn one(
    values: &mut Values,
    flag: &str,
    text: &str,
    around: &Surroundings<'_>,
) -> Result<(), UsageError> {
    let (platform, text) = platform_of(flag, text)?;
    let (key, value) = key_value(flag, text)?;
    let value = match value {
        Some(value) => Some(value.to_owned()),
        None => around.text_variable(flag, key)?,
    };
    if let Some(value) = value {
        values.set(platform, key, value);
    }
    Ok(())
}

/// `linux/arm64:NAME=VALUE` without its platform. A name of an argument has no slash, so nothing else can be meant.
fn platform_of<'a>(flag: &str, text: &'a str) -> Result<(Option<Platform>, &'a str), UsageError> {
    let name = text.split('=').next().unwrap_or_default();
    let Some((platform, _)) = name.split_once(':') else { return Ok((None, text)) };
    if !SYSTEMS.iter().any(|system| name.starts_with(system)) {
        return Ok((None, text));
    }
    let rest = text.get(platform.len() + 1..).unwrap_or_default();
    if platform == "local" {
        return Ok((Some(Platform::host()), rest));
    }
    let platform = platform_named(flag, platform).map_err(|error| {
        UsageError::new(
            format!("{} in `{text}`", error.message),
            format!("write `{flag} linux/arm64:NAME=VALUE` for one platform"),
        )
    })?;
    Ok((Some(platform), rest))
}

/// Lines `[PLATFORM:]NAME[=VALUE]`; empty ones and those that begin with `#` are left out.
fn from_file(path: &Path, around: &Surroundings<'_>) -> Result<Values, UsageError> {
    let shown = path.display();
    let text = (around.read_text)(path, MAX_FILE).map_err(|error| {
        UsageError::new(
            format!("--build-arg-file {shown}: {error}"),
            "it is a text file with a NAME=VALUE on each line",
        )
    })?;
    let mut values = Values::default();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{shown}:{}:", number + 1);
        let name = line.split('=').next().unwrap_or_default();
        if name.contains(char::is_whitespace) {
            return Err(UsageError::new(
                format!("{place} `{name}` is no name of an argument"),
                "write NAME=VALUE, without spaces around `=` and without `export`",
            ));
        }
        one(&mut values, &place, line, around)?;
    }
    Ok(values)
}

/// Reads a file of at most `limit` bytes of text.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    fs_err::File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::surroundings;
    use super::*;

    fn shown(values: &Values) -> Vec<String> {
        let common = values.common.iter().map(|(name, value)| format!("{name}={value}"));
        let own = values.by_platform.iter().flat_map(|own| {
            own.values.iter().map(|(name, value)| format!("{}:{name}={value}", own.platform))
        });
        common.chain(own).collect()
    }

    fn args(file: &str, texts: &[&str]) -> Result<Values, UsageError> {
        let around = surroundings(&[("HOST_VALUE", "from outside")]);
        let file = file.to_owned();
        let read = move |_: &Path, _: u64| Ok(file.clone());
        let around = Surroundings { read_text: &read, ..around.borrow() };
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        build_args(&["args".into()], &texts, &around)
    }

    #[test]
    fn a_platform_before_the_name_makes_a_value_of_its_own() {
        let values = args("", &["A=1", "linux/arm64:A=2", "linux/arm/v7:B=x:y=z", "org/x:C=3"]);
        assert_eq!(
            shown(&values.unwrap()),
            ["A=1", "org/x:C=3", "linux/arm64:A=2", "linux/arm/v7:B=x:y=z"]
        );
        assert!(args("", &["linux/arm64:=2"]).is_err());
        assert!(args("", &["=2"]).is_err());
        let outside = args("", &["HOST_VALUE", "NOT_SET", "EMPTY="]).unwrap();
        assert_eq!(shown(&outside), ["EMPTY=", "HOST_VALUE=from outside"]);
        assert!(args("", &["linux/a b:A=2"]).is_err());
    }

    #[test]
    fn a_file_has_comments_and_is_weaker_than_the_command_line() {
        let file =
            "# versions\n\nA=1\r\nB=two words # kept\nlinux/arm64:A=arm\nHOST_VALUE\nNOT_SET\n";
        assert_eq!(
            shown(&args(file, &[]).unwrap()),
            ["A=1", "B=two words # kept", "HOST_VALUE=from outside", "linux/arm64:A=arm"]
        );
        assert_eq!(
            shown(&args(file, &["A=9"]).unwrap()),
            ["A=9", "B=two words # kept", "HOST_VALUE=from outside"]
        );
        let error = args("A=1\nexport B=2\n", &[]).unwrap_err();
        assert_eq!(error.message, "args:2: `export B` is no name of an argument");
    }
}
