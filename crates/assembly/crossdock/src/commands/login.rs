//! `crossdock login` and `crossdock logout`.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use registry::{Client, ClientOptions, Credential, DockerConfig, Kept, ProxyOptions};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::print;
use crate::args::{LoginArgs, LogoutArgs};
use crate::failure::Failure;
use crate::request::UsageError;
use crate::session::{Session, docker_config_file};

/// No password is longer.
const LONGEST_PASSWORD: u64 = 64 << 10;

/// Asks the registry before anything is saved.
pub(crate) fn login(args: &LoginArgs, session: &Session<'_>) -> Result<(), Failure> {
    let registry = registry_name(&args.registry)?;
    if args.password_stdin && args.username.is_none() {
        return Err(
            UsageError::new("--password-stdin needs --username", "add `--username NAME`").into()
        );
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => ask("user name: ", true)?,
    };
    let password =
        if args.password_stdin { piped_password()? } else { ask("password or token: ", false)? };
    if user.is_empty() || password.is_empty() {
        return Err(Failure::hint("user name or password is empty", "give both"));
    }
    let credential = Credential::Basic { user, password };
    check(&registry, &credential, session)?;
    let mut config = config(session)?;
    let kept = config.store(&registry, &credential).map_err(|error| {
        Failure::because(format!("cannot save the login for {registry}"), error)
    })?;
    match kept {
        Kept::Helper(helper) => print(&format!(
            "logged in to {registry}; the login is kept by docker-credential-{helper}\n"
        )),
        Kept::File => {
            print(&format!("logged in to {registry}\n"))?;
            let note = "note: the password is kept unencrypted in Docker's config.json; a credential helper keeps it better\n";
            drop(io::stderr().write_all(note.as_bytes()));
            Ok(())
        }
    }
}

/// `crossdock logout`.
pub(crate) fn logout(args: &LogoutArgs, session: &Session<'_>) -> Result<(), Failure> {
    let registry = registry_name(&args.registry)?;
    let known = config(session)?.erase(&registry).map_err(|error| {
        Failure::because(format!("cannot remove the login for {registry}"), error)
    })?;
    print(&if known {
        format!("logged out of {registry}\n")
    } else {
        format!("there was no login for {registry}\n")
    })
}

/// The registry as references name it: without scheme and path.
fn registry_name(text: &str) -> Result<String, Failure> {
    let host =
        text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = host.split('/').next().unwrap_or_default();
    let host =
        if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host };
    let is_host = |host: &str| host.contains(['.', ':']) || host == "localhost";
    match format!("{host}/x").parse::<oci::Reference>() {
        Ok(reference) if is_host(host) => Ok(reference.registry().to_owned()),
        _ => Err(UsageError::new(
            format!("`{text}` is not a registry"),
            "write its host, as in `registry.example` or `localhost:5000`",
        )
        .into()),
    }
}

fn config(session: &Session<'_>) -> Result<DockerConfig, Failure> {
    let dir = session.environment.docker_config_dir().ok_or_else(|| {
        Failure::hint("there is no place for logins", "set HOME or DOCKER_CONFIG")
    })?;
    DockerConfig::load(&docker_config_file(&dir))
        .map_err(|error| Failure::because("cannot read the saved logins", error))
}

fn check(registry: &str, credential: &Credential, session: &Session<'_>) -> Result<(), Failure> {
    let proxies = session.environment.proxies();
    let proxy =
        |upper: &str, lower: &str| proxies.get(upper).or_else(|| proxies.get(lower)).cloned();
    let options = ClientOptions {
        hosts: session.settings.hosts.clone(),
        proxy: ProxyOptions {
            http: proxy("HTTP_PROXY", "http_proxy"),
            https: proxy("HTTPS_PROXY", "https_proxy"),
            no_proxy: proxy("NO_PROXY", "no_proxy").unwrap_or_default(),
        },
        ..ClientOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::because("cannot start network access", error))?;
    let checked =
        runtime.block_on(async { Client::new(options).check_login(registry, credential).await });
    checked.map_err(|error| Failure::because(format!("cannot log in to {registry}"), error))
}

fn piped_password() -> Result<String, Failure> {
    let mut password = String::new();
    let read = io::stdin().lock().take(LONGEST_PASSWORD).read_to_string(&mut password);
    read.map_err(|error| Failure::because("cannot read the password from standard input", error))?;
    password.truncate(password.trim_end_matches(['\r', '\n']).len());
    Ok(password)
}

/// One line from the terminal; a secret is not shown while it is typed.
fn ask(prompt: &str, visible: bool) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(UsageError::new(
            "standard input is no terminal to ask on",
            "use --username NAME --password-stdin",
        )
        .into());
    }
    let failed = |error: io::Error| Failure::because("cannot ask on the terminal", error);
    io::stderr().write_all(prompt.as_bytes()).map_err(failed)?;
    let _hidden = if visible { None } else { Some(Hidden::begin().map_err(failed)?) };
    let mut line = String::new();
    io::stdin().lock().take(LONGEST_PASSWORD).read_line(&mut line).map_err(failed)?;
    if !visible {
        io::stderr().write_all(b"\n").map_err(failed)?;
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// The terminal does not echo while this lives.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_named_by_host() {
        for (text, expected) in [
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("ghcr.io", "ghcr.io"),
            ("https://registry.example/some/path", "registry.example"),
        ] {
            assert_eq!(registry_name(text).unwrap(), expected);
        }
        for text in ["", "word", "a b.c", "https://"] {
            assert_eq!(registry_name(text).expect_err(text).exit_code(), 2);
        }
    }
}
