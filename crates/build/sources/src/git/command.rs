//! Runs git: an environment of its own, settings and secrets in a file that dies with the run, output within bounds.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use store::{Store, TemporaryDirectory};

use super::address::{Address, Carrier};
use super::auth::{GitAuth, Scope, SshKeys};
use super::refs::{Listing, read};
use super::repository::Lock;
use super::{GitError, GitLog, GitOptions, moved};
use crate::Remote;

/// What git may print for one command.
const OUTPUT_LIMIT: u64 = 256 << 20;
/// Lines of messages that are kept for an error.
const TAIL: usize = 12;
const LINE_LIMIT: u64 = 4096;
/// How often the user's wish to stop is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Runs git for one address.
pub(crate) struct Runner<'a> {
    pub(crate) options: &'a GitOptions,
    /// As it was asked for: what messages and files of the tree say.
    pub(crate) address: &'a Address,
    /// Where it is: what git is told.
    at: Address,
    /// What the server is told.
    authorization: Option<String>,
    git: PathBuf,
    home: TemporaryDirectory,
    ssh: Option<OsString>,
    agent: Option<PathBuf>,
    /// Never shown.
    secrets: Vec<String>,
}

/// One command.
pub(crate) struct Run<'a> {
    /// For messages: `fetch`.
    pub(crate) action: &'static str,
    pub(crate) args: Vec<OsString>,
    pub(crate) git_dir: Option<&'a Path>,
    /// Held by git as long as it runs, so that it outlives a killed crossdock.
    pub(crate) lock: Option<&'a Lock>,
    pub(crate) log: GitLog<'a>,
}

/// The first file of that name among directories.
pub(crate) fn find(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|path| path.is_file())
}

impl<'a> Runner<'a> {
    pub(crate) fn new(
        store: &Store,
        options: &'a GitOptions,
        address: &'a Address,
        auth: &GitAuth,
        scope: Scope,
    ) -> Result<Self, GitError> {
        Self::reaching(store, options, (address, address.clone()), auth, scope)
    }

    /// For the repository that was asked for at one address and is at another.
    fn reaching(
        store: &Store,
        options: &'a GitOptions,
        (address, at): (&'a Address, Address),
        auth: &GitAuth,
        scope: Scope,
    ) -> Result<Self, GitError> {
        let missing = |program, package| GitError::NoProgram { program, package };
        let git = find(&options.programs, "git").ok_or_else(|| missing("git", "git"))?;
        let home = store.temporary_directory().map_err(super::store_error(address))?;
        let authorization = auth.authorization(&at, scope)?;
        let mut secrets: Vec<String> = authorization.iter().cloned().collect();
        let secret = authorization.as_deref().and_then(|value| value.split_once(' '));
        secrets.extend(secret.map(|(_, secret)| secret.to_owned()));
        let (ssh, agent) = (None, None);
        let mut runner =
            Self { options, address, at, authorization, git, home, ssh, agent, secrets };
        runner.write("gitconfig", &config(&runner.at, runner.authorization.as_deref()))?;
        fs_err::rename(runner.home.path().join("gitconfig"), runner.home.path().join(".gitconfig"))
            .map_err(|source| runner.start(source))?;
        if address.carrier == Carrier::Ssh {
            let ssh = find(&options.programs, "ssh");
            let ssh = ssh.ok_or_else(|| missing("ssh", "openssh-client"))?;
            runner.set_ssh(&ssh, auth)?;
        }
        Ok(runner)
    }

    /// One that runs git where the server says that the repository is. Secrets without the name of a host do not go to
    /// another server than the first.
    pub(crate) fn followed(
        &self,
        store: &Store,
        remote: &Remote,
        auth: &GitAuth,
        scope: Scope,
        log: GitLog<'_>,
    ) -> Result<Self, GitError> {
        let at = moved::find(remote, self.address, self.authorization.as_deref())?;
        log(&format!("{} is at {} now", self.address.shown(), at.shown()));
        let same = at.origin() == self.address.origin();
        let scope = if same { scope } else { Scope::NamedHostOnly };
        Self::reaching(store, self.options, (self.address, at), auth, scope)
    }

    /// For git.
    pub(crate) fn url(&self) -> &str {
        self.at.url()
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, GitError> {
        use fs_err::os::unix::fs::OpenOptionsExt as _;
        let path = self.home.path().join(name);
        let mut options = fs_err::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| self.start(source))?;
        Ok(path)
    }

    /// The command that git runs for ssh. git gives it to a shell, so every word is quoted.
    fn set_ssh(&mut self, ssh: &Path, auth: &GitAuth) -> Result<(), GitError> {
        let mut known_hosts: Vec<PathBuf> = if auth.known_hosts.is_empty() {
            self.options.known_hosts.clone()
        } else {
            vec![self.write("known_hosts", &auth.known_hosts)?]
        };
        if known_hosts.is_empty() {
            known_hosts.push(PathBuf::from("/dev/null"));
        }
        let mut words: Vec<OsString> = vec![ssh.into(), "-F".into(), "/dev/null".into()];
        let mut option = |text: OsString| words.extend(["-o".into(), text]);
        for text in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "ConnectTimeout=20",
            "ServerAliveInterval=20",
            "ForwardAgent=no",
            "ForwardX11=no",
            "PermitLocalCommand=no",
            "GlobalKnownHostsFile=/dev/null",
        ] {
            option(text.into());
        }
        let mut files = OsString::from("UserKnownHostsFile=");
        for (at, path) in known_hosts.iter().enumerate() {
            files.push(if at == 0 { "\"" } else { " \"" });
            files.push(path);
            files.push("\"");
        }
        option(files);
        match &auth.ssh {
            Some(SshKeys::Agent(socket)) => self.agent = Some(socket.clone()),
            Some(SshKeys::Files(keys)) => {
                option("IdentitiesOnly=yes".into());
                option("IdentityAgent=none".into());
                for key in keys {
                    words.extend(["-i".into(), key.into()]);
                }
            }
            None => option("IdentityAgent=none".into()),
        }
        let mut line = OsString::new();
        for word in &words {
            line.push("'");
            let text = word.to_string_lossy().replace('\'', r"'\''");
            line.push(text);
            line.push("' ");
        }
        self.ssh = Some(line);
        Ok(())
    }

    fn start(&self, source: std::io::Error) -> GitError {
        GitError::Start { remote: self.address.shown(), source }
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place where git is started")]
    fn command(&self, run: &Run<'_>) -> Result<Command, GitError> {
        let mut command = Command::new(&self.git);
        command.env_clear();
        let path = std::env::join_paths(&self.options.programs).unwrap_or_default();
        command
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "http:https:ssh:git")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_LFS_SKIP_SMUDGE", "1");
        command.envs(self.options.proxies.iter().map(|(name, value)| (name, value)));
        if let Some(ssh) = &self.ssh {
            command.env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", "ssh");
        }
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        if let Some(directory) = run.git_dir {
            command.env("GIT_DIR", directory);
        }
        let stdin = match run.lock {
            Some(lock) => Stdio::from(lock.share().map_err(|source| self.start(source))?),
            None => Stdio::null(),
        };
        // A process group of its own: the terminal's Ctrl-C reaches git through crossdock only.
        command.args(&run.args).current_dir(self.home.path()).process_group(0);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    /// Runs git to its end; the result is what it printed.
    pub(crate) fn run(&self, run: &Run<'_>) -> Result<Vec<u8>, GitError> {
        let command = self.command(run)?;
        let mut output = Vec::new();
        self.drive(run, command, None, &mut |stdout| {
            stdout.take(OUTPUT_LIMIT + 1).read_to_end(&mut output)?;
            if output.len() as u64 > OUTPUT_LIMIT {
                return Err(std::io::Error::other("git printed too much"));
            }
            Ok(())
        })?;
        Ok(output)
    }

    /// Runs git with `input`, and has `read` take what it prints meanwhile.
    pub(crate) fn pipe(
        &self,
        run: &Run<'_>,
        input: &[u8],
        read: &mut (dyn FnMut(&mut dyn Read) -> std::io::Result<()> + Send),
    ) -> Result<(), GitError> {
        let mut command = self.command(run)?;
        command.stdin(Stdio::piped());
        self.drive(run, command, Some(input), read)
    }

    fn drive(
        &self,
        run: &Run<'_>,
        mut command: Command,
        input: Option<&[u8]>,
        read: &mut (dyn FnMut(&mut dyn Read) -> std::io::Result<()> + Send),
    ) -> Result<(), GitError> {
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(GitError::Interrupted);
        }
        let mut child = Running(command.spawn().map_err(|source| self.start(source))?);
        let (stdin, stdout, stderr) =
            (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take());
        let (sender, receiver) = channel::<()>();
        let mut interrupted = false;
        let (read, tail) = std::thread::scope(|scope| {
            // The receiver outlives both.
            let ended = |sender: &Sender<()>| sender.send(()).unwrap_or_default();
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // When git ends early, its exit code tells more than the broken pipe.
                scope.spawn(move || drop(stdin.write_all(input)));
            }
            let reading = sender.clone();
            let reader = scope.spawn(move || {
                let outcome = stdout.map_or(Ok(()), |mut stdout| {
                    let outcome = read(&mut stdout);
                    // git must not wait for somebody to read the rest.
                    drop(stdout);
                    outcome
                });
                ended(&reading);
                outcome
            });
            let teller = scope.spawn(move || {
                let tail = stderr.map_or_else(Vec::new, |stderr| self.tell(stderr, run.log));
                ended(&sender);
                tail
            });
            let mut open = 2;
            while open > 0 {
                match receiver.recv_timeout(POLL) {
                    Ok(()) => open -= 1,
                    Err(RecvTimeoutError::Timeout) => {
                        if self.options.cancel.load(Ordering::Relaxed) {
                            interrupted = true;
                            child.kill();
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            let panicked = || std::io::Error::other("a thread ended unexpectedly");
            let read = reader.join().unwrap_or_else(|_| Err(panicked()));
            (read, teller.join().unwrap_or_default())
        });
        if read.is_err() {
            child.kill();
        }
        let status = child.0.wait().map_err(|source| self.start(source))?;
        if interrupted {
            return Err(GitError::Interrupted);
        }
        read.map_err(|source| self.start(source))?;
        if status.success() { Ok(()) } else { Err(self.failure(run.action, &tail)) }
    }

    /// Hands on what git says, without secrets; gives the last lines.
    fn tell(&self, stderr: impl Read, log: GitLog<'_>) -> Vec<String> {
        let mut tail = Vec::new();
        let mut reader = BufReader::new(stderr);
        loop {
            let mut line = Vec::new();
            match reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return tail,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line);
            let mut text: String =
                text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned();
            for secret in self.secrets.iter().filter(|secret| !secret.is_empty()) {
                text = text.replace(secret.as_str(), "xxxxx");
            }
            if text.is_empty() {
                continue;
            }
            log(&text);
            if tail.len() == TAIL {
                tail.remove(0);
            }
            tail.push(text);
        }
    }

    fn failure(&self, action: &'static str, tail: &[String]) -> GitError {
        let all = tail.join("\n");
        let says = |texts: &[&str]| texts.iter().any(|text| all.contains(text));
        let message = tail.iter().find_map(|line| line.strip_prefix("fatal: "));
        let message = message.or(tail.last().map(String::as_str)).unwrap_or("git failed");
        let host = &self.at.host;
        let redirects = ["error: 301", "error: 302", "error: 303", "error: 307", "error: 308"];
        if self.at.carrier == Carrier::Web && says(&redirects) {
            return GitError::Elsewhere { action, remote: self.address.shown() };
        }
        let hint = if says(&["Host key verification failed", "host key is known"]) {
            Some(format!(
                "the key of {host} is not known: compare it with what its owner publishes, and add it with `ssh-keyscan {host} >> ~/.ssh/known_hosts`"
            ))
        } else if says(&["Permission denied (", "Could not read from remote repository"]) {
            Some("pass an agent or a key that the server knows: --ssh default, or --ssh default=KEYFILE".to_owned())
        } else if says(&[
            "could not read Username",
            "Authentication failed",
            "error: 401",
            "error: 403",
        ]) {
            Some(format!(
                "pass a token: --secret id=GIT_AUTH_TOKEN,env=NAME, or with id=GIT_AUTH_TOKEN.{host} for this server only"
            ))
        } else if says(&["error: 404", "not found"]) {
            Some(
                "check the address; a private repository needs --secret id=GIT_AUTH_TOKEN,env=NAME"
                    .to_owned(),
            )
        } else {
            None
        };
        GitError::Failed { action, remote: self.address.shown(), message: message.to_owned(), hint }
    }

    /// What the server lists for a name; without one, where HEAD is.
    pub(crate) fn list_refs(&self, name: &str, log: GitLog<'_>) -> Result<Listing, GitError> {
        let ask = |patterns: &[String]| -> Result<Listing, GitError> {
            let mut args: Vec<OsString> =
                ["ls-remote", "--symref", "--", self.url()].map(Into::into).into();
            args.extend(patterns.iter().map(Into::into));
            let run = Run { action: "list the branches of", args, git_dir: None, lock: None, log };
            Ok(read(&String::from_utf8_lossy(&self.run(&run)?)))
        };
        if name.is_empty() || name == "HEAD" {
            return ask(&["HEAD".to_owned()]);
        }
        let found = ask(&[name.to_owned(), format!("{name}^{{}}")])?;
        let exact = |listed: &str| {
            let short = listed.strip_prefix("refs/").unwrap_or(listed);
            let shorter = short.strip_prefix("heads/").or_else(|| short.strip_prefix("tags/"));
            [Some(listed), Some(short), shorter].contains(&Some(name))
        };
        if found.refs.iter().any(|listed| exact(&listed.name)) {
            return Ok(found);
        }
        // For the message: what there is instead.
        ask(&[])
    }
}

/// A child that does not outlive its owner.
struct Running(Child);

impl Running {
    fn kill(&mut self) {
        let group = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            // It may have ended by itself.
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL)
                .unwrap_or_default();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.kill();
            drop(self.0.wait());
        }
    }
}

/// The only configuration git reads, save that of its bare repository, which nobody else writes.
fn config(address: &Address, authorization: Option<&str>) -> String {
    let mut text = String::from(
        "[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n\taskPass = \n\
         [credential]\n\thelper = \n\
         [protocol]\n\tallow = never\n\
         [protocol \"http\"]\n\tallow = always\n[protocol \"https\"]\n\tallow = always\n\
         [protocol \"ssh\"]\n\tallow = always\n[protocol \"git\"]\n\tallow = always\n\
         [http]\n\tfollowRedirects = false\n\tlowSpeedLimit = 100\n\tlowSpeedTime = 60\n\
         [init]\n\tdefaultBranch = main\n\
         [gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n\
         [fetch]\n\tunpackLimit = 1\n\trecurseSubmodules = false\n\
         [submodule]\n\trecurse = false\n[safe]\n\tdirectory = *\n[advice]\n\tdetachedHead = false\n",
    );
    let mut add = |section: &str, key: &str, value: &str| {
        writeln!(text, "{section}\n\t{key} = {}", quoted(value)).unwrap_or_default();
    };
    if let (Some(origin), Some(value)) = (address.origin(), authorization) {
        let section = format!("[http {}]", quoted(&origin));
        add(&section, "extraHeader", &format!("Authorization: {value}"));
    }
    if address.carrier == Carrier::Web {
        // Not where the repository's `.lfsconfig` says.
        add("[lfs]", "url", &format!("{}/info/lfs", address.url().trim_end_matches('/')));
    }
    add("[remote \"origin\"]", "url", address.url());
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

/// Words as arguments.
pub(crate) fn args<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Vec<OsString> {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect()
}
