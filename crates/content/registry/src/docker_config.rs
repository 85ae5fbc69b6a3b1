//! Docker's `config.json`: credentials in the file itself, or with helper programs.

use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::credentials::{Credential, CredentialError, Credentials};

/// How Docker calls its hub in this file.
const HUB: &str = "https://index.docker.io/v1/";

/// Longest that a helper program may take.
const HELPER_TIME: Duration = Duration::from_secs(10);

/// A `config.json`. Fields that are none of our business are kept when it is saved.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    path: PathBuf,
    fields: Map<String, Value>,
    helper_time: Duration,
    /// Where helper programs are looked for; in `PATH` if nowhere.
    helper_directories: Vec<PathBuf>,
}

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerConfigError {
    /// It could not be read or written.
    #[error("cannot access the Docker configuration {}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no JSON object.
    #[error("the Docker configuration {} is not valid", path.display())]
    Malformed {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A helper program failed.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// Where `login` put credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// With a helper program of this name.
    Helper(String),
    /// In the file, readable for whoever may read it.
    File,
}

impl DockerConfig {
    /// Reads the file; one that does not exist is empty.
    pub fn load(path: &Path) -> Result<Self, DockerConfigError> {
        let text = match fs_err::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(DockerConfigError::Io { path: path.to_owned(), source }),
        };
        Self::parse(path, &text)
    }

    /// Takes `text` for the content of the file at `path`.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, DockerConfigError> {
        let malformed = |source| DockerConfigError::Malformed { path: path.to_owned(), source };
        let blank = text.iter().all(u8::is_ascii_whitespace);
        let fields =
            if blank { Map::new() } else { serde_json::from_slice(text).map_err(malformed)? };
        Ok(Self {
            path: path.to_owned(),
            fields,
            helper_time: HELPER_TIME,
            helper_directories: Vec::new(),
        })
    }

    /// Looks for helper programs in these directories and not in `PATH`.
    #[must_use]
    pub fn search_in(mut self, directories: Vec<PathBuf>) -> Self {
        self.helper_directories = directories;
        self
    }

    /// Gives helper programs this long to answer; 10 seconds otherwise.
    #[must_use]
    pub fn helper_time(mut self, time: Duration) -> Self {
        self.helper_time = time;
        self
    }

    /// Remembers `credential` for `registry`, with the helper that is set for it or in the file.
    pub fn store(
        &mut self,
        registry: &str,
        credential: &Credential,
    ) -> Result<Kept, DockerConfigError> {
        let key = key_of(registry);
        let (user, secret) = match credential {
            Credential::Basic { user, password } => (user.as_str(), password.as_str()),
            Credential::IdentityToken(token) => ("<token>", token.as_str()),
            Credential::RegistryToken(token) => ("", token.as_str()),
        };
        if let Some(helper) = self.helper(registry) {
            let entry = json!({ "ServerURL": key, "Username": user, "Secret": secret }).to_string();
            self.run_helper(&helper, "store", registry, &entry)?;
            self.change_auths(|auths| {
                auths.insert(key.to_owned(), json!({}));
            });
            self.save()?;
            return Ok(Kept::Helper(helper));
        }
        let entry = match credential {
            Credential::Basic { user, password } => {
                json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
            }
            Credential::IdentityToken(token) => json!({ "identitytoken": token }),
            Credential::RegistryToken(token) => json!({ "registrytoken": token }),
        };
        self.change_auths(|auths| {
            auths.insert(key.to_owned(), entry);
        });
        self.save()?;
        Ok(Kept::File)
    }

    /// Forgets what is known of `registry`. Says whether anything was.
    pub fn erase(&mut self, registry: &str) -> Result<bool, DockerConfigError> {
        let mut known = false;
        if let Some(helper) = self.helper(registry) {
            known = self.ask_helper(&helper, registry)?.is_some();
            if known {
                self.run_helper(&helper, "erase", registry, key_of(registry))?;
            }
        }
        let mut changed = false;
        self.change_auths(|auths| {
            let keys: Vec<String> =
                auths.keys().filter(|key| same_registry(key, registry)).cloned().collect();
            for key in keys {
                changed |= auths.remove(&key).is_some();
            }
        });
        if changed {
            self.save()?;
        }
        Ok(known || changed)
    }

    /// The helper program that keeps credentials of `registry`.
    fn helper(&self, registry: &str) -> Option<String> {
        let text =
            |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let own = self.fields.get("credHelpers").and_then(Value::as_object);
        let own = own.and_then(|helpers| {
            helpers
                .iter()
                .find(|(key, _)| same_registry(key, registry))
                .and_then(|(_, value)| text(value))
        });
        own.or_else(|| self.fields.get("credsStore").and_then(text))
    }

    fn change_auths(&mut self, change: impl FnOnce(&mut Map<String, Value>)) {
        let auths = self.fields.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        if let Some(auths) = auths.as_object_mut() {
            change(auths);
        }
    }

    /// Replaces the file in one step; only its owner can read it. A symbolic link stays one.
    fn save(&self) -> Result<(), DockerConfigError> {
        let failed = |source| DockerConfigError::Io { path: self.path.clone(), source };
        let target = fs_err::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = target.parent().unwrap_or(Path::new("."));
        if !directory.as_os_str().is_empty() && !directory.exists() {
            fs_err::create_dir_all(directory).map_err(failed)?;
            fs_err::set_permissions(directory, PermissionsExt::from_mode(0o700)).map_err(failed)?;
        }
        let mut text =
            serde_json::to_vec_pretty(&self.fields).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let temporary = target.with_extension(format!("json.{}", std::process::id()));
        let write = || {
            let mut options = fs_err::OpenOptions::new();
            options.options_mut().mode(0o600);
            let mut file = options.write(true).create(true).truncate(true).open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs_err::set_permissions(&temporary, PermissionsExt::from_mode(0o600))?;
            fs_err::rename(&temporary, &target)
        };
        write().map_err(|error| {
            // The failure that is told is the first one.
            fs_err::remove_file(&temporary).ok();
            failed(error)
        })
    }

    fn in_file(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Entry {
            auth: String,
            username: String,
            password: String,
            identitytoken: String,
            registrytoken: String,
        }
        let malformed =
            |reason| CredentialError::Malformed { registry: registry.to_owned(), reason };
        let Some(auths) = self.fields.get("auths").and_then(Value::as_object) else {
            return Ok(None);
        };
        let exact = auths.get(key_of(registry));
        let found = exact.or_else(|| {
            auths.iter().find(|(key, _)| same_registry(key, registry)).map(|(_, value)| value)
        });
        let Some(found) = found else { return Ok(None) };
        let entry = Entry::deserialize(found).map_err(|_| malformed("its fields are no texts"))?;
        if !entry.identitytoken.is_empty() {
            return Ok(Some(Credential::IdentityToken(entry.identitytoken)));
        }
        if !entry.registrytoken.is_empty() {
            return Ok(Some(Credential::RegistryToken(entry.registrytoken)));
        }
        if !entry.auth.is_empty() {
            let decoded = STANDARD
                .decode(entry.auth.trim())
                .map_err(|_| malformed("its `auth` is no base64"))?;
            let decoded =
                String::from_utf8(decoded).map_err(|_| malformed("its `auth` is no text"))?;
            let (user, password) =
                decoded.split_once(':').ok_or_else(|| malformed("its `auth` has no colon"))?;
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Credential::Basic { user: user.to_owned(), password }));
        }
        let named = !entry.username.is_empty();
        Ok(named.then_some(Credential::Basic { user: entry.username, password: entry.password }))
    }

    fn ask_helper(
        &self,
        helper: &str,
        registry: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            #[serde(rename = "ServerURL", default)]
            server: String,
            username: String,
            secret: String,
        }
        let failed = |message: &str| CredentialError::Helper {
            helper: program(helper),
            registry: registry.to_owned(),
            message: message.to_owned(),
        };
        let output = match self.run_helper(helper, "get", registry, key_of(registry)) {
            Ok(output) => output,
            Err(CredentialError::Helper { message, .. })
                if message.to_lowercase().contains("credentials not found") =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let answer: Answer = serde_json::from_slice(&output)
            .map_err(|_| failed("it answered with something else than credentials"))?;
        if !answer.server.is_empty() && !same_registry(&answer.server, registry) {
            return Err(failed("it answered with the credentials of another registry"));
        }
        if answer.secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(if answer.username == "<token>" {
            Credential::IdentityToken(answer.secret)
        } else {
            Credential::Basic { user: answer.username, password: answer.secret }
        }))
    }

    /// Runs `docker-credential-<helper> <action>` with `input`, and gives what it wrote.
    fn run_helper(
        &self,
        helper: &str,
        action: &str,
        registry: &str,
        input: &str,
    ) -> Result<Vec<u8>, CredentialError> {
        let failed = |message: String| CredentialError::Helper {
            helper: program(helper),
            registry: registry.to_owned(),
            message,
        };
        let plain =
            helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !plain || helper.starts_with('.') {
            return Err(failed("its name is no name of a program".to_owned()));
        }
        let name = program(helper);
        let path = self
            .helper_directories
            .iter()
            .map(|directory| directory.join(&name))
            .find(|path| path.exists())
            .unwrap_or(PathBuf::from(&name));
        #[expect(
            clippy::disallowed_methods,
            reason = "helpers find the user's session and keys by the user's own environment"
        )]
        let mut command = Command::new(path);
        command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| failed(format!("it cannot be started ({error})")))?;
        let (mut stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        if let Some(stdin) = &mut stdin {
            // A helper that does not read has its reasons, and says so with its exit code.
            stdin.write_all(input.as_bytes()).ok();
        }
        drop(stdin);
        let (stdout, stderr) = (collect(stdout), collect(stderr));
        let deadline = Instant::now() + self.helper_time;
        let status = loop {
            match child.try_wait().map_err(|error| failed(error.to_string()))? {
                Some(status) => break status,
                None if Instant::now() >= deadline => {
                    // Whether it could be killed or not, nobody waits for it any longer.
                    child.kill().ok();
                    child.wait().ok();
                    return Err(failed(format!(
                        "it did not answer within {} seconds",
                        self.helper_time.as_secs()
                    )));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let received = |from: mpsc::Receiver<Vec<u8>>| {
            from.recv_timeout(Duration::from_secs(1)).unwrap_or_default()
        };
        let output = received(stdout);
        if status.success() {
            return Ok(output);
        }
        // The protocol puts the message on standard output.
        let text = if output.is_empty() { received(stderr) } else { output };
        let text: String = String::from_utf8_lossy(&text)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(200)
            .collect();
        let text = text.trim();
        Err(failed(if text.is_empty() {
            format!("it ended with {status}")
        } else {
            text.to_owned()
        }))
    }
}

impl Credentials for DockerConfig {
    fn credential(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        if let Some(helper) = self.helper(registry)
            && let Some(found) = self.ask_helper(&helper, registry)?
        {
            return Ok(Some(found));
        }
        self.in_file(registry)
    }
}

fn program(helper: &str) -> String {
    format!("docker-credential-{helper}")
}

/// How the file calls a registry.
fn key_of(registry: &str) -> &str {
    if registry == "docker.io" { HUB } else { registry }
}

/// Whether a key of the file means `registry`. Old entries are URLs.
fn same_registry(key: &str, registry: &str) -> bool {
    let host = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let hub = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    host == registry || (hub(registry) && hub(host))
}

/// Reads what a program writes, 1 MiB at most, on a thread of its own.
fn collect(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = Vec::new();
        if let Some(from) = from {
            // What was read before a failure is all there is.
            from.take(1 << 20).read_to_end(&mut output).ok();
        }
        // Nobody may be waiting any more.
        sender.send(output).ok();
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DockerConfig {
        DockerConfig::parse(Path::new("config.json"), text.as_bytes()).unwrap()
    }

    fn basic(user: &str, password: &str) -> Credential {
        Credential::Basic { user: user.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn entries_are_found_under_every_name_docker_uses() {
        let text = r#"{"auths":{
            "https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},
            "https://old.example/v2/":{"username":"u","password":"p"},
            "new.example:5000":{"auth":"YTpiOmM="},
            "token.example":{"identitytoken":"refresh"},
            "bearer.example":{"registrytoken":"bearer"},
            "empty.example":{},
            "bad.example":{"auth":"!"}
        }}"#;
        let config = config(text);
        let found = |registry: &str| config.credential(registry).unwrap();
        assert_eq!(found("docker.io"), Some(basic("hub", "secret")));
        assert_eq!(found("old.example"), Some(basic("u", "p")));
        assert_eq!(found("new.example:5000"), Some(basic("a", "b:c")));
        assert_eq!(found("new.example"), None);
        assert_eq!(found("token.example"), Some(Credential::IdentityToken("refresh".to_owned())));
        assert_eq!(found("bearer.example"), Some(Credential::RegistryToken("bearer".to_owned())));
        assert_eq!(found("empty.example"), None);
        assert!(config.credential("bad.example").is_err());
        assert!(!format!("{:?}", found("docker.io")).contains("secret"));
    }

    #[test]
    fn login_and_logout_keep_what_they_do_not_know() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/config.json");
        let mut fresh = DockerConfig::load(&path).unwrap();
        assert_eq!(fresh.store("docker.io", &basic("u", "p")).unwrap(), Kept::File);
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        fs_err::write(&path, r#"{"psFormat":"table","auths":{"other":{"auth":"YTpi","email":"x"}},"proxies":{"default":{}}}"#).unwrap();
        let mut config = DockerConfig::load(&path).unwrap();
        config.store("r.example", &basic("u", "p")).unwrap();
        let mut config = DockerConfig::load(&path).unwrap();
        assert_eq!(config.credential("r.example").unwrap(), Some(basic("u", "p")));
        assert!(config.erase("r.example").unwrap());
        assert!(!config.erase("r.example").unwrap());
        let left: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        assert_eq!(
            left,
            json!({"psFormat":"table","auths":{"other":{"auth":"YTpi","email":"x"}},"proxies":{"default":{}}})
        );
        assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_malformed_file_is_an_error_and_a_missing_one_is_empty() {
        assert!(matches!(
            DockerConfig::parse(Path::new("x"), b"{"),
            Err(DockerConfigError::Malformed { .. })
        ));
        assert!(matches!(
            DockerConfig::parse(Path::new("x"), b"[]"),
            Err(DockerConfigError::Malformed { .. })
        ));
        assert_eq!(config("").credential("docker.io").unwrap(), None);
        assert!(DockerConfig::load(Path::new("/does/not/exist")).is_ok());
    }

    #[test]
    fn a_helper_with_a_strange_name_is_not_run() {
        let config = config(r#"{"credsStore":"../../bin/sh"}"#);
        assert!(matches!(config.credential("a"), Err(CredentialError::Helper { .. })));
    }
}
