use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tempfile::TempDir;

/// A request that a [`Web`] got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `GET`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers by name in lower case.
    pub headers: BTreeMap<String, String>,
}

/// How a [`Web`] treats a path.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Answer with this, in place of the file.
    pub status: Option<u16>,
    /// Headers of the answer.
    pub headers: Vec<(String, String)>,
    /// `Authorization` that a request must have.
    pub authorization: Option<String>,
}

/// A web server with files, and with git repositories whose names end with `.git` (by `git http-backend`).
pub struct Web {
    root: TempDir,
    address: String,
    pages: Arc<Mutex<BTreeMap<String, Page>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Default for Web {
    fn default() -> Self {
        Self::start()
    }
}

impl Web {
    /// Starts one without files.
    pub fn start() -> Self {
        let root = tempfile::tempdir().expect("a temporary directory can be made");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address").to_string();
        let (pages, asked, over) =
            (Arc::<Mutex<_>>::default(), Arc::<Mutex<_>>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (root, pages, asked, over) =
                (root.path().to_owned(), Arc::clone(&pages), Arc::clone(&asked), Arc::clone(&over));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let (root, pages, asked) =
                        (root.clone(), Arc::clone(&pages), Arc::clone(&asked));
                    // A client that breaks off is no failure of the test.
                    std::thread::spawn(move || drop(serve(stream, &root, &pages, &asked)));
                }
            })
        };
        Self { root, address, pages, asked, over, thread: Some(thread) }
    }

    /// Where its files are.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.address
    }

    /// The address of a file or repository.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Serves a file.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let target = self.root.path().join(path);
        fs_err::create_dir_all(target.parent().expect("a file has a parent"))
            .expect("directories can be made");
        fs_err::write(target, content).expect("a file can be written");
    }

    /// Treats paths that begin with this one in a special way.
    pub fn page(&self, path: &str, page: Page) {
        self.pages.lock().expect("no thread panicked").insert(format!("/{path}"), page);
    }

    /// What was asked for so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panicked").clone()
    }

    /// A new repository at `path`, served from there.
    pub fn repository(&self, path: &str) -> Repository {
        Repository::at(self.root.path().join(path))
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(&self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A repository with a working tree of its own; what is committed is pushed at once.
pub struct Repository {
    bare: PathBuf,
    work: TempDir,
}

impl Repository {
    fn at(bare: PathBuf) -> Self {
        let work = tempfile::tempdir().expect("a temporary directory can be made");
        let repository = Self { bare, work };
        let bare = repository.bare.display().to_string();
        repository.git(&["init", "-q", "--bare", "-b", "main", &bare]);
        repository.git(&["--git-dir", &bare, "config", "uploadpack.allowAnySHA1InWant", "true"]);
        repository.git(&["init", "-q", "-b", "main", "."]);
        repository.git(&["remote", "add", "origin", &bare]);
        repository
    }

    /// Runs git in the working tree; the result is what it printed.
    #[expect(clippy::disallowed_methods, reason = "tests make repositories with plain git")]
    pub fn git(&self, words: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(words).current_dir(self.work.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.work.path());
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "a"),
            ("GIT_AUTHOR_EMAIL", "a@example.com"),
            ("GIT_COMMITTER_NAME", "a"),
            ("GIT_COMMITTER_EMAIL", "a@example.com"),
            ("GIT_AUTHOR_DATE", "2020-01-02T03:04:05Z"),
            ("GIT_COMMITTER_DATE", "2020-01-02T03:04:05Z"),
            ("GIT_ALLOW_PROTOCOL", "file:http"),
        ] {
            command.env(name, value);
        }
        let output = command.output().expect("git is installed");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {words:?}: {text}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes a file in the working tree.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let target = self.work.path().join(path);
        fs_err::create_dir_all(target.parent().expect("a file has a parent"))
            .expect("directories can be made");
        fs_err::write(target, content).expect("a file can be written");
        self
    }

    /// Commits everything and pushes it; the result is the commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.push()
    }

    /// Pushes all branches and tags; the result is the commit.
    pub fn push(&self) -> String {
        self.git(&["push", "-q", "--force", "--all", "origin"]);
        self.git(&["push", "-q", "--force", "--tags", "origin"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Its working tree.
    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// The bare repository.
    pub fn bare(&self) -> &Path {
        &self.bare
    }
}

fn serve(
    stream: TcpStream,
    root: &Path,
    pages: &Mutex<BTreeMap<String, Page>>,
    asked: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let body = body(&mut reader, &headers)?;
    let request = Asked { method: method.to_owned(), path: path.to_owned(), headers };
    asked.lock().expect("no thread panicked").push(request.clone());
    let page = {
        let pages = pages.lock().expect("no thread panicked");
        let mut matching = pages.iter().filter(|(start, _)| path.starts_with(start.as_str()));
        matching.next_back().map(|(_, page)| page.clone()).unwrap_or_default()
    };
    let mut stream = stream;
    if page.authorization.is_some()
        && page.authorization.as_ref() != request.headers.get("authorization")
    {
        return answer(&mut stream, 401, &[("WWW-Authenticate".into(), "Basic".into())], b"");
    }
    if let Some(status) = page.status {
        return answer(&mut stream, status, &page.headers, b"");
    }
    let plain = path.split('?').next().unwrap_or(path);
    if plain.ends_with("/info/lfs/objects/batch") {
        return large_files(&mut stream, &request, &body);
    }
    if plain.contains(".git/") {
        return backend(&mut stream, root, &request, &body);
    }
    let etag = page.headers.iter().find(|(name, _)| name == "ETag").map(|(_, value)| value);
    if etag.is_some() && etag == request.headers.get("if-none-match") {
        return answer(&mut stream, 304, &page.headers, b"");
    }
    let modified = page.headers.iter().find(|(name, _)| name == "Last-Modified");
    if modified.is_some_and(|(_, value)| request.headers.get("if-modified-since") == Some(value)) {
        return answer(&mut stream, 304, &page.headers, b"");
    }
    match fs_err::read(root.join(plain.trim_start_matches('/'))) {
        Ok(content) => answer(&mut stream, 200, &page.headers, &content),
        Err(_) => answer(&mut stream, 404, &[], b"there is nothing here"),
    }
}

fn body(reader: &mut impl BufRead, headers: &BTreeMap<String, String>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if headers.get("expect").is_some_and(|it| it.eq_ignore_ascii_case("100-continue")) {
        return Err(std::io::Error::other("nothing here sends that much"));
    }
    if let Some(length) = headers.get("content-length").and_then(|it| it.parse().ok()) {
        reader.take(length).read_to_end(&mut body)?;
    } else if headers.get("transfer-encoding").is_some_and(|it| it == "chunked") {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).unwrap_or_default();
            reader.take(size).read_to_end(&mut body)?;
            let mut end = String::new();
            reader.read_line(&mut end)?;
            if size == 0 {
                break;
            }
        }
    }
    Ok(body)
}

fn answer(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n");
    if status != 304 {
        write!(text, "Content-Length: {}\r\n", body.len()).expect("text grows");
    }
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").expect("text grows");
    }
    stream.write_all(format!("{text}\r\n").as_bytes())?;
    stream.write_all(body)
}

/// Says where large files of a repository are: `lfs/DIGEST` beneath the root.
fn large_files(stream: &mut TcpStream, request: &Asked, body: &[u8]) -> std::io::Result<()> {
    let asked: serde_json::Value = serde_json::from_slice(body)?;
    let host = request.headers.get("host").cloned().unwrap_or_default();
    let objects: Vec<serde_json::Value> = asked["objects"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|object| {
            let digest = object["oid"].as_str().unwrap_or_default();
            let href = format!("http://{host}/lfs/{digest}");
            serde_json::json!({
                "oid": digest,
                "size": object["size"],
                "actions": {"download": {"href": href}},
            })
        })
        .collect();
    let found = serde_json::json!({"transfer": "basic", "objects": objects}).to_string();
    let kind = ("Content-Type".to_owned(), "application/vnd.git-lfs+json".to_owned());
    answer(stream, 200, &[kind], found.as_bytes())
}

/// Has git answer.
#[expect(clippy::disallowed_methods, reason = "the server in tests is git's own")]
fn backend(
    stream: &mut TcpStream,
    root: &Path,
    request: &Asked,
    body: &[u8],
) -> std::io::Result<()> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROJECT_ROOT", root)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let body = body.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let output = child.wait_with_output()?;
    drop(writer.join());
    let split = output.stdout.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_default();
    let head = String::from_utf8_lossy(&output.stdout[..split]).into_owned();
    let mut status = 200;
    let mut headers = Vec::new();
    for line in head.lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if name == "Status" {
            status = value.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(500);
        } else {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    answer(stream, status, &headers, &output.stdout[(split + 4).min(output.stdout.len())..])
}
