//! What is set for this machine and user. The environment is read here, once, and nowhere else.
#![expect(clippy::disallowed_methods, reason = "the one place that reads environment and clock")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use report::{Diagnostic, SourceText, Span};
use serde::Deserialize;

use crate::args::{GlobalArgs, ProgressMode};

/// The settings file, as it is written.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct SettingsFile {
    /// Directory of the local store.
    pub(crate) store: Option<PathBuf>,
    /// How progress is shown: auto, tty, plain, rawjson or quiet.
    pub(crate) progress: Option<Progress>,
    /// What times in images come from: `inputs` or `clock`.
    pub(crate) time: Time,
    /// Steps that run at the same time, and threads that pack layers; by default the processors.
    pub(crate) parallelism: Option<std::num::NonZeroUsize>,
    /// Never use the network.
    pub(crate) offline: bool,
    /// Emulators for foreign platforms.
    pub(crate) emulators: EmulatorSettings,
    /// Directories with specifications of devices, in place of `/etc/cdi` and `/var/run/cdi`; the last is the strongest.
    pub(crate) device_directories: Option<Vec<PathBuf>>,
    /// Registries by name: mirrors, insecure, ca.
    pub(crate) registries: registry::Hosts,
}

/// `[emulators]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct EmulatorSettings {
    /// Directories searched for `qemu-*-static` before the usual ones.
    pub(crate) directories: Vec<PathBuf>,
    /// Emulators named one by one, by architecture.
    pub(crate) programs: BTreeMap<String, PathBuf>,
    /// An image with emulators for this machine.
    pub(crate) image: Option<oci::Reference>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Time {
    #[default]
    Inputs,
    Clock,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Progress {
    Auto,
    Tty,
    Plain,
    Rawjson,
    Quiet,
}

impl From<Progress> for ProgressMode {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Auto => Self::Auto,
            Progress::Tty => Self::Tty,
            Progress::Plain => Self::Plain,
            Progress::Rawjson => Self::Rawjson,
            Progress::Quiet => Self::Quiet,
        }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("the settings file is wrong")]
    Malformed(Box<Diagnostic>),
    #[error("cannot read the settings file")]
    Read(#[source] io::Error),
    #[error("there is no place for the local store: neither HOME nor XDG_DATA_HOME is set")]
    NoStore,
}

/// Everything that is set.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) store: PathBuf,
    pub(crate) progress: ProgressMode,
    pub(crate) time: Time,
    pub(crate) threads: usize,
    pub(crate) emulator_dirs: Vec<PathBuf>,
    pub(crate) device_dirs: Vec<PathBuf>,
    pub(crate) emulators: BTreeMap<String, PathBuf>,
    pub(crate) emulator_image: Option<oci::Reference>,
    pub(crate) offline: bool,
    pub(crate) hosts: registry::Hosts,
}

/// The process' environment, as it was at the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    pub(crate) variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// Reads it.
    pub(crate) fn read() -> Self {
        Self { variables: std::env::vars_os().collect() }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(OsStr::to_str)
    }

    /// An absolute path; the XDG specification has others ignored.
    fn directory(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// `$DOCKER_CONFIG`, or `~/.docker`.
    pub(crate) fn docker_config_dir(&self) -> Option<PathBuf> {
        self.get("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| self.directory("HOME").map(|home| home.join(".docker")))
    }

    /// Proxies, as other programs read them.
    pub(crate) fn proxies(&self) -> BTreeMap<String, String> {
        const NAMES: [&str; 8] = [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "NO_PROXY",
            "no_proxy",
            "ALL_PROXY",
            "all_proxy",
        ];
        NAMES
            .iter()
            .filter_map(|name| self.text(name).map(|value| ((*name).to_owned(), value.to_owned())))
            .collect()
    }

    /// Whether colours are wanted on a terminal (no-color.org).
    pub(crate) fn wants_color(&self) -> bool {
        self.get("NO_COLOR").is_none() && self.get("TERM") != Some(OsStr::new("dumb"))
    }

    /// The settings: arguments before environment before file before defaults.
    pub(crate) fn settings(
        &self,
        global: &GlobalArgs,
        is_root: bool,
    ) -> Result<Settings, SettingsError> {
        let home = self.directory("HOME");
        let file = self.file(global, home.as_deref())?;
        let data_home = || {
            self.directory("XDG_DATA_HOME")
                .or_else(|| home.as_deref().map(|home| home.join(".local/share")))
        };
        let default_store = || {
            if is_root {
                Some(PathBuf::from("/var/lib/crossdock"))
            } else {
                data_home().map(|data| data.join("crossdock"))
            }
        };
        let store = global
            .store
            .clone()
            .or_else(|| self.get("CROSSDOCK_STORE").map(PathBuf::from))
            .or(file.store)
            .or_else(default_store);
        let processors =
            || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Ok(Settings {
            store: store.ok_or(SettingsError::NoStore)?,
            progress: file.progress.map_or(ProgressMode::Auto, ProgressMode::from),
            time: file.time,
            threads: file.parallelism.map_or_else(processors, std::num::NonZeroUsize::get),
            emulator_dirs: file.emulators.directories,
            device_dirs: file
                .device_directories
                .unwrap_or_else(|| executor::CDI_DIRECTORIES.iter().map(PathBuf::from).collect()),
            emulators: file.emulators.programs,
            emulator_image: file.emulators.image,
            offline: file.offline,
            hosts: file.registries,
        })
    }

    fn file(
        &self,
        global: &GlobalArgs,
        home: Option<&Path>,
    ) -> Result<SettingsFile, SettingsError> {
        let named =
            global.config.clone().or_else(|| self.get("CROSSDOCK_CONFIG").map(PathBuf::from));
        let usual = || {
            let config = self
                .directory("XDG_CONFIG_HOME")
                .or_else(|| home.map(|home| home.join(".config")))?;
            Some(config.join("crossdock/config.toml"))
        };
        let is_named = named.is_some();
        let Some(path) = named.or_else(usual) else { return Ok(SettingsFile::default()) };
        match fs_err::read_to_string(&path) {
            Ok(text) => parse(&path.display().to_string(), &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => {
                Ok(SettingsFile::default())
            }
            Err(error) => Err(SettingsError::Read(error)),
        }
    }
}

/// Reads a settings file. `name` is for messages.
pub(crate) fn parse(name: &str, text: &str) -> Result<SettingsFile, SettingsError> {
    let source = SourceText { name: name.to_owned(), text: text.into() };
    toml::from_str(text).map_err(|error| {
        let Range { start, end } = error.span().unwrap_or(0..0);
        let message = error.message().lines().next().unwrap_or("it is no TOML").to_owned();
        SettingsError::Malformed(Box::new(
            Diagnostic::error(message, Span::new(start, end)).in_source(&source),
        ))
    })
}

/// The present, since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment {
            variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        }
    }

    #[test]
    fn a_settings_file_is_read() -> Result<(), SettingsError> {
        let text = r#"
            store = "/data/crossdock"
            progress = "plain"
            time = "clock"
            parallelism = 3
            [emulators]
            directories = ["/opt/qemu/bin"]
            programs = { arm64 = "/opt/qemu/arm64" }
            [registries."docker.io"]
            mirrors = [{ url = "https://mirror.example" }]
            [registries."localhost:5000"]
            insecure = true
        "#;
        let file = parse("config.toml", text)?;
        assert_eq!(file.store.as_deref(), Some(Path::new("/data/crossdock")));
        assert_eq!(
            (file.progress, file.time, file.parallelism.map(Into::into)),
            (Some(Progress::Plain), Time::Clock, Some(3_usize))
        );
        assert_eq!(file.registries.host("docker.io").mirrors.len(), 1);
        assert!(file.registries.host("localhost:5000").insecure);
        Ok(())
    }

    #[test]
    fn what_is_wrong_in_it_is_told_with_its_line() {
        for (text, line, part) in [
            ("store = \"/a\"\nstoer = 1\n", 2, "unknown field `stoer`"),
            ("\n\n[registries.\"a.example\"]\ninsecur = true\n", 4, "unknown field `insecur`"),
            ("progress = \"loud\"\n", 1, "unknown variant `loud`"),
            ("parallelism = 0\n", 1, "nonzero"),
            ("a = = b\n", 1, ""),
        ] {
            let Err(SettingsError::Malformed(diagnostic)) = parse("c.toml", text) else {
                panic!("{text} was accepted")
            };
            assert!(diagnostic.message.contains(part), "{}", diagnostic.message);
            assert!(diagnostic.to_string().starts_with(&format!("c.toml:{line}:")), "{diagnostic}");
        }
    }

    #[test]
    fn the_store_is_where_the_first_of_argument_environment_and_default_says()
    -> Result<(), SettingsError> {
        let none = GlobalArgs::default();
        let argument = GlobalArgs { store: Some("/arg".into()), ..GlobalArgs::default() };
        let both = environment(&[("HOME", "/nowhere"), ("CROSSDOCK_STORE", "/env")]);
        assert_eq!(both.settings(&argument, false)?.store, Path::new("/arg"));
        assert_eq!(both.settings(&none, true)?.store, Path::new("/env"));
        let home = environment(&[("HOME", "/nowhere")]);
        assert_eq!(
            home.settings(&none, false)?.store,
            Path::new("/nowhere/.local/share/crossdock")
        );
        assert_eq!(home.settings(&none, true)?.store, Path::new("/var/lib/crossdock"));
        let data = environment(&[("HOME", "/nowhere"), ("XDG_DATA_HOME", "/data")]);
        assert_eq!(data.settings(&none, false)?.store, Path::new("/data/crossdock"));
        assert!(matches!(environment(&[]).settings(&none, false), Err(SettingsError::NoStore)));
        Ok(())
    }

    #[test]
    fn a_file_that_was_asked_for_must_be_there() {
        let missing =
            GlobalArgs { config: Some("/nowhere/config.toml".into()), ..GlobalArgs::default() };
        assert!(matches!(
            environment(&[("HOME", "/nowhere")]).settings(&missing, true),
            Err(SettingsError::Read(_))
        ));
    }
}
