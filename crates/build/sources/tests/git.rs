//! Trees of repositories, from servers that run here.
#![expect(clippy::disallowed_methods, reason = "what was fetched is looked at with plain git")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use registry::ClientOptions;
use sources::{Git, GitAuth, GitError, GitOptions, GitRequest, GitTree, Remote, RemoteOptions};
use store::Store;
use tempfile::TempDir;
use testkit::{Page, Repository, Web};

/// The commit time of everything that [`Repository`] commits.
const TIME: i64 = 1_577_934_245;

struct Bench {
    web: Web,
    store: Store,
    _lease: store::Lease,
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let store = Store::open(&dir.path().join("store")).expect("a store can be made");
        let lease = store.lease().expect("a store has leases");
        Self { web: Web::start(), store, _lease: lease, dir }
    }

    fn git(&self) -> Git {
        Git::new(self.store.clone(), remote(), options())
    }

    fn request(&self, path: &str) -> GitRequest {
        GitRequest { remote: self.web.url(path), submodules: true, ..GitRequest::default() }
    }

    fn fetch(&self, request: &GitRequest, auth: &GitAuth) -> Result<GitTree, GitError> {
        let pin = self.git().pin(request, auth, &|_| {})?;
        self.git().fetch(&pin, auth, &|_| {})
    }

    fn tree(&self, request: &GitRequest) -> GitTree {
        self.fetch(request, &GitAuth::default()).unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn refused(&self, request: &GitRequest) -> String {
        match self.fetch(request, &GitAuth::default()) {
            Ok(tree) => panic!("{request:?} gave {tree:?}"),
            Err(error) => error.to_string(),
        }
    }
}

fn options() -> GitOptions {
    GitOptions {
        programs: ["/usr/bin", "/bin"].map(PathBuf::from).to_vec(),
        ..GitOptions::default()
    }
}

fn remote() -> Remote {
    Remote::new(RemoteOptions { client: ClientOptions::default(), offline: false })
}

fn sample(web: &Web) -> Repository {
    let repository = web.repository("r.git");
    repository.file("Dockerfile", "FROM scratch\n").file("sub/file", "x").file("run", "#!");
    std::os::unix::fs::symlink("sub/file", repository.work().join("link")).expect("a link");
    fs_err::set_permissions(repository.work().join("run"), PermissionsExt::from_mode(0o755))
        .expect("a mode");
    repository.commit("one");
    repository.git(&["tag", "-a", "v1", "-m", "version one"]);
    repository.push();
    repository
}

/// Paths beneath a directory, with mode, time, and what links say.
fn listing(root: &Path) -> BTreeMap<String, (u32, i64, Option<PathBuf>)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs_err::symlink_metadata(&path).expect("it is there");
        if metadata.is_dir() {
            let entries = fs_err::read_dir(&path).expect("it can be read");
            waiting.extend(entries.map(|entry| entry.expect("it can be read").path()));
        }
        let name = path.strip_prefix(root).expect("it is beneath").display().to_string();
        let link = metadata.is_symlink().then(|| fs_err::read_link(&path).expect("a link"));
        found.insert(name, (metadata.mode() & 0o7777, metadata.mtime(), link));
    }
    found
}

/// What plain git says of a directory.
fn plain_git(at: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(words)
        .current_dir(at)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git is installed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {text}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn files_have_the_modes_of_git_and_the_time_of_the_commit() {
    let bench = Bench::new();
    sample(&bench.web);
    let tree = bench.tree(&bench.request("r.git"));
    assert_eq!(tree.time, TIME);
    let expected = [
        ("", 0o755, None),
        ("Dockerfile", 0o644, None),
        ("link", 0o777, Some(PathBuf::from("sub/file"))),
        ("run", 0o755, None),
        ("sub", 0o755, None),
        ("sub/file", 0o644, None),
    ];
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(path, mode, link)| (path.to_owned(), (mode, TIME, link)))
        .collect();
    assert_eq!(listing(&tree.path), expected);
}

#[test]
fn a_commit_is_found_by_all_of_its_names() {
    let bench = Bench::new();
    let repository = sample(&bench.web);
    let one = repository.git(&["rev-parse", "HEAD"]);
    repository.file("new", "y");
    repository.git(&["checkout", "-q", "-b", "next"]);
    let two = repository.commit("two");
    let named = |reference: &str| {
        let reference = reference.to_owned();
        bench.tree(&GitRequest { reference, ..bench.request("r.git") }).commit
    };
    for name in ["", "HEAD", "main", "refs/heads/main", "heads/main", "v1", "refs/tags/v1", &one] {
        assert_eq!(named(name), one, "{name}");
    }
    assert_eq!(named("next"), two);
    let checked = |reference: &str, checksum: &str, fetch_by_commit| {
        let (reference, checksum) = (reference.to_owned(), checksum.to_owned());
        let request = GitRequest { reference, checksum, fetch_by_commit, ..bench.request("r.git") };
        bench.fetch(&request, &GitAuth::default()).map(|tree| tree.commit)
    };
    assert_eq!(checked("main", one.get(..8).expect("it is longer"), false).ok(), Some(one.clone()));
    assert_eq!(checked("", &one, false).ok(), Some(one.clone()));
    // The branch has moved on; the commit is what counts.
    assert_eq!(checked("next", &one, true).ok(), Some(one));
    assert!(matches!(checked("main", &two, false), Err(GitError::Checksum { .. })));
    let Err(error) = checked("nex", "", false) else { panic!("there is no branch nex") };
    assert_eq!(error.hint().as_deref(), Some("did you mean next?"));
}

#[test]
fn a_directory_of_a_repository_is_a_directory_and_no_link() {
    let bench = Bench::new();
    let repository = sample(&bench.web);
    std::os::unix::fs::symlink("/", repository.work().join("root")).expect("a link");
    std::os::unix::fs::symlink("sub", repository.work().join("alias")).expect("a link");
    repository.commit("links");
    let inside = |subdir: &str| GitRequest { subdir: subdir.to_owned(), ..bench.request("r.git") };
    let tree = bench.tree(&inside("sub"));
    let names: Vec<String> = listing(&tree.path).into_keys().collect();
    assert_eq!(names, ["", "file"]);
    for subdir in ["missing", "root", "root/etc", "alias", "Dockerfile", "../x", "/etc"] {
        assert!(bench.refused(&inside(subdir)).contains("has no directory"), "{subdir}");
    }
}

#[test]
fn a_kept_git_directory_is_clean_for_git_and_the_same_each_time() {
    let bench = Bench::new();
    let repository = sample(&bench.web);
    repository.file("more", "1");
    let commit = repository.commit("two");
    let request = GitRequest { keep_git_dir: true, ..bench.request("r.git") };
    let tree = bench.tree(&request);

    let other = Bench::new();
    let again = other.git().pin(&request, &GitAuth::default(), &|_| {}).expect("a commit");
    let again = other.git().fetch(&again, &GitAuth::default(), &|_| {}).expect("a tree");
    assert_eq!(listing(&tree.path), listing(&again.path));
    for (path, (_, _, link)) in listing(&tree.path) {
        let (one, two) = (tree.path.join(&path), again.path.join(&path));
        if one.is_file() && link.is_none() {
            assert!(fs_err::read(one).ok() == fs_err::read(two).ok(), "{path} differs");
        }
    }

    assert_eq!(plain_git(&tree.path, &["status", "--porcelain"]), "");
    assert_eq!(plain_git(&tree.path, &["rev-parse", "HEAD"]), commit);
    assert_eq!(plain_git(&tree.path, &["rev-parse", "main"]), commit);
    assert_eq!(plain_git(&tree.path, &["config", "remote.origin.url"]), bench.web.url("r.git"));
    plain_git(&tree.path, &["fsck", "--strict"]);
    let tagged = GitRequest { reference: "v1".to_owned(), ..request };
    let tagged = bench.tree(&tagged);
    assert_eq!(plain_git(&tagged.path, &["describe", "--dirty"]), "v1");
}

#[test]
fn submodules_are_fetched_also_within_submodules() {
    let bench = Bench::new();
    let (inner, middle, outer) = (
        bench.web.repository("libs/inner.git"),
        bench.web.repository("libs/middle.git"),
        bench.web.repository("outer.git"),
    );
    inner.file("deep", "d").commit("inner");
    middle.git(&["submodule", "-q", "add", &bench.web.url("libs/inner.git"), "in"]);
    middle.git(&["config", "-f", ".gitmodules", "submodule.in.url", "../inner.git"]);
    middle.commit("middle");
    outer.file("top", "t");
    outer.git(&["submodule", "-q", "add", &bench.web.url("libs/middle.git"), "vendor/mid"]);
    outer.commit("outer");

    let tree = bench.tree(&bench.request("outer.git"));
    assert!(tree.path.join("vendor/mid/in/deep").is_file());
    assert!(!tree.path.join("vendor/mid/.git").exists());
    let without = GitRequest { submodules: false, ..bench.request("outer.git") };
    let without = bench.tree(&without);
    assert_eq!(fs_err::read_dir(without.path.join("vendor/mid")).expect("a directory").count(), 0);
    let kept = GitRequest { keep_git_dir: true, ..bench.request("outer.git") };
    let kept = bench.tree(&kept);
    assert_eq!(plain_git(&kept.path, &["status", "--porcelain"]), "");
    let status = plain_git(&kept.path, &["submodule", "status", "--recursive"]);
    assert_eq!(status.lines().count(), 2, "{status}");
    assert!(!status.contains(['+', '-', 'U']), "{status}");
    assert_eq!(plain_git(&kept.path.join("vendor/mid/in"), &["status", "--porcelain"]), "");
}

#[test]
fn submodules_that_lead_to_this_machine_are_refused() {
    let bench = Bench::new();
    let inner = bench.web.repository("inner.git");
    inner.file("a", "a").commit("inner");
    let outer = bench.web.repository("outer.git");
    outer.git(&["submodule", "-q", "add", &bench.web.url("inner.git"), "in"]);
    for url in ["file:///etc", "/etc", "ext::sh -c x", "../../../x", "-x"] {
        outer.git(&["config", "-f", ".gitmodules", "submodule.in.url", url]);
        outer.commit(url);
        assert!(bench.refused(&bench.request("outer.git")).contains("cannot be used"), "{url}");
    }
    outer.git(&[
        "config",
        "-f",
        ".gitmodules",
        "--rename-section",
        "submodule.in",
        "submodule.../../x",
    ]);
    outer.git(&[
        "config",
        "-f",
        ".gitmodules",
        "submodule.../../x.url",
        &bench.web.url("inner.git"),
    ]);
    outer.commit("name");
    let text = bench.refused(&bench.request("outer.git"));
    assert!(text.contains("submodule has the name"), "{text}");
}

#[test]
fn a_token_goes_to_its_server_and_nowhere_else() {
    let bench = Bench::new();
    let other = Web::start();
    let inner = other.repository("inner.git");
    inner.file("a", "a").commit("inner");
    let repository = bench.web.repository("private/r.git");
    repository.git(&["submodule", "-q", "add", &other.url("inner.git"), "in"]);
    repository.file("secret", "x").commit("one");
    // "x-access-token:s3cret", in Base64.
    let basic = "basic eC1hY2Nlc3MtdG9rZW46czNjcmV0";
    let page = Page { authorization: Some(basic.to_owned()), ..Page::default() };
    bench.web.page("private/", page);

    let request = bench.request("private/r.git");
    let Err(error) = bench.fetch(&request, &GitAuth::default()) else { panic!("it is private") };
    assert!(error.hint().is_some_and(|hint| hint.contains("GIT_AUTH_TOKEN")), "{error:?}");
    let secret = |id: &str, value: &'static str| {
        let id = id.to_owned();
        let find = move |asked: &str| Ok((asked == id).then(|| value.as_bytes().to_vec()));
        GitAuth { secrets: Arc::new(find), ..GitAuth::default() }
    };
    let Err(error) = bench.fetch(&request, &secret("GIT_AUTH_TOKEN", "wr0ng")) else {
        panic!("it is private")
    };
    assert!(!format!("{error:?}").contains("d3IwbmcK"), "{error:?}");
    let per_host = format!("GIT_AUTH_TOKEN.{}", bench.web.host());
    let tree = bench.fetch(&request, &secret(&per_host, "s3cret")).expect("the token is right");
    assert!(tree.path.join("secret").is_file() && tree.path.join("in/a").is_file());
    let tree = GitRequest { keep_git_dir: true, ..request };
    let tree = bench.fetch(&tree, &secret("GIT_AUTH_TOKEN", "s3cret")).expect("it is right");
    let config = fs_err::read_to_string(tree.path.join(".git/config")).expect("a file");
    assert!(!config.contains("s3cret") && !config.contains("eC1hY2Nlc3"), "{config}");
    let leaked =
        other.asked().into_iter().find(|asked| asked.headers.contains_key("authorization"));
    assert_eq!(leaked, None);
    // Nothing of it stays on disk.
    let found = Command::new("grep")
        .args(["-rl", "eC1hY2Nlc3MtdG9rZW46czNjcmV0"])
        .arg(bench.dir.path())
        .output()
        .expect("grep is installed");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

/// Has every request for `old.git` be sent to `to`.
fn redirect(web: &Web, to: &str) {
    let headers = vec![("Location".to_owned(), to.to_owned())];
    web.page("old.git", Page { status: Some(301), headers, ..Page::default() });
}

const FIRST: &str = "info/refs?service=git-upload-pack";

#[test]
fn a_repository_that_moved_is_found_and_keeps_its_name() {
    let bench = Bench::new();
    let repository = sample(&bench.web);
    redirect(&bench.web, &format!("/r.git/{FIRST}"));
    let request = GitRequest { keep_git_dir: true, ..bench.request("old.git") };
    let tree = bench.tree(&request);
    assert_eq!(tree.commit, repository.git(&["rev-parse", "HEAD"]));
    assert_eq!(plain_git(&tree.path, &["config", "remote.origin.url"]), bench.web.url("old.git"));
    // A commit is taken at its word, so that the first request is that for its files.
    let reference = tree.commit;
    let subdir = "sub".to_owned();
    let tree = bench.tree(&GitRequest { reference, subdir, ..bench.request("old.git") });
    assert!(tree.path.join("file").is_file());
}

#[test]
fn a_token_does_not_follow_a_repository_to_another_server() {
    let (bench, other) = (Bench::new(), Web::start());
    other.repository("r.git").file("a", "a").commit("one");
    let authorization = Some("basic eC1hY2Nlc3MtdG9rZW46dA==".to_owned());
    other.page("private/", Page { authorization, ..Page::default() });
    other.repository("private/r.git").file("b", "b").commit("one");
    let secret = |id: String| {
        let find = move |asked: &str| Ok((asked == id).then(|| b"t".to_vec()));
        GitAuth { secrets: Arc::new(find), ..GitAuth::default() }
    };
    let token = secret("GIT_AUTH_TOKEN".to_owned());
    redirect(&bench.web, &other.url(&format!("r.git/{FIRST}")));
    let tree = bench.fetch(&bench.request("old.git"), &token).expect("it is public there");
    assert!(tree.path.join("a").is_file());
    assert!(bench.web.asked().iter().all(|asked| asked.headers.contains_key("authorization")));
    assert!(!other.asked().is_empty());
    assert!(other.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));

    redirect(&bench.web, &other.url(&format!("private/r.git/{FIRST}")));
    let Err(error) = bench.fetch(&bench.request("old.git"), &token) else {
        panic!("it is private there")
    };
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains(&format!("GIT_AUTH_TOKEN.{}", other.host())), "{error:?}");
    let named = secret(format!("GIT_AUTH_TOKEN.{}", other.host()));
    let tree = bench.fetch(&bench.request("old.git"), &named).expect("the token is that server's");
    assert!(tree.path.join("b").is_file());
}

#[test]
fn a_server_leads_git_to_repositories_only_and_not_for_ever() {
    let (bench, other) = (Bench::new(), Web::start());
    other.repository("r.git").file("a", "a").commit("one");
    for (to, told) in [
        (other.url("r.git/info/refs"), "is not the address of a repository"),
        (other.url("login"), "is not the address of a repository"),
        (format!("/old.git/{FIRST}"), "after too many steps"),
        ("file:///etc/passwd".to_owned(), "only http and https are followed"),
        (format!("http://user@{}/r.git/{FIRST}", other.host()), "with a user name"),
    ] {
        redirect(&bench.web, &to);
        let text = bench.refused(&bench.request("old.git"));
        assert!(text.contains(told), "{to}: {text}");
    }
    assert!(bench.web.asked().len() < 30, "{}", bench.web.asked().len());
    // Nor later than at the first request.
    let headers = vec![("Location".to_owned(), other.url("r.git/git-upload-pack"))];
    sample(&bench.web);
    bench.web.page("r.git/git-upload-pack", Page { status: Some(307), headers, ..Page::default() });
    let before = other.asked().len();
    let text = bench.refused(&bench.request("r.git"));
    assert!(text.contains("elsewhere"), "{text}");
    assert_eq!(other.asked().len(), before);
}

#[test]
fn hostile_repositories_run_nothing_and_write_nothing_elsewhere() {
    let bench = Bench::new();
    let repository = sample(&bench.web);
    let witness = bench.dir.path().join("witness");
    let touch = format!("touch {}", witness.display());
    repository
        .file(".gitattributes", "* filter=evil\n*.txt filter=lfs\n")
        .file(".lfsconfig", "[lfs]\n\turl = file:///etc\n")
        .file("a.txt", "x");
    repository.git(&["config", "filter.evil.smudge", &touch]);
    repository.commit("filters");
    for key in ["core.fsmonitor", "core.sshCommand", "core.pager"] {
        let bare = repository.bare().display().to_string();
        repository.git(&["--git-dir", &bare, "config", key, &touch]);
    }
    drop(fs_err::remove_file(&witness));
    bench.tree(&GitRequest { keep_git_dir: true, ..bench.request("r.git") });
    assert!(!witness.exists());

    // A tree with `.git/config` in it, and one with a link and something beneath it.
    let blob = repository.git(&["rev-parse", "HEAD:a.txt"]);
    let hostile = |lines: &str| {
        let script = format!("printf '{lines}' | git mktree --missing");
        let output =
            Command::new("sh").args(["-c", &script]).current_dir(repository.work()).output();
        let tree = String::from_utf8_lossy(&output.expect("sh runs").stdout).trim().to_owned();
        let commit = repository.git(&["commit-tree", "-m", "x", &tree]);
        repository.git(&["branch", "-f", "hostile", &commit]);
        repository.git(&["push", "-q", "--force", "origin", "hostile"]);
        let reference = "hostile".to_owned();
        bench.refused(&GitRequest { reference, ..bench.request("r.git") })
    };
    let inner = repository.git(&["rev-parse", "HEAD:sub"]);
    assert!(hostile(&format!("040000 tree {inner}\\t.GIT\\n")).contains("refused"));
    assert!(hostile(&format!("040000 tree {inner}\\t..\\n")).contains("refused"));
    assert!(
        hostile(&format!("120000 blob {blob}\\ta\\n040000 tree {inner}\\ta\\n"))
            .contains("refused")
    );
}

#[test]
fn what_was_fetched_needs_no_network_any_more() {
    let bench = Bench::new();
    let commit = sample(&bench.web).git(&["rev-parse", "HEAD"]);
    let request = bench.request("r.git");
    let tree = bench.tree(&request);
    let asked = bench.web.asked().len();
    let by_commit = GitRequest { reference: commit, ..request.clone() };
    assert_eq!(bench.tree(&by_commit), tree);
    assert_eq!(bench.web.asked().len(), asked);
    let offline = Git::new(bench.store, remote(), GitOptions { offline: true, ..options() });
    let pin = offline.pin(&request, &GitAuth::default(), &|_| {}).expect("it is remembered");
    assert_eq!(offline.fetch(&pin, &GitAuth::default(), &|_| {}).expect("it is there"), tree);
    let other = GitRequest { reference: "v1".to_owned(), ..request };
    let refused = offline.pin(&other, &GitAuth::default(), &|_| {});
    assert!(matches!(refused, Err(GitError::Offline { .. })));
}

#[test]
fn several_at_once_and_what_a_killed_one_left_do_no_harm() {
    let bench = Bench::new();
    let repository = sample(&bench.web);
    let trees: Vec<GitTree> = std::thread::scope(|scope| {
        let threads: Vec<_> = ["", "main", "v1", "HEAD"]
            .map(|name| {
                let bench = &bench;
                scope.spawn(move || {
                    let reference = name.to_owned();
                    bench.tree(&GitRequest { reference, ..bench.request("r.git") })
                })
            })
            .into();
        threads.into_iter().map(|thread| thread.join().expect("a tree")).collect()
    });
    assert!(trees.windows(2).all(|two| two[0] == two[1]), "{trees:?}");

    let caches = bench.store.dir().join("caches");
    let cache = fs_err::read_dir(caches).expect("a directory").next().expect("one repository");
    let bare = cache.expect("it can be read").path().join("bare");
    for name in ["shallow.lock", "config.lock", "packed-refs.lock", "objects/pack/tmp_pack_x"] {
        fs_err::write(bare.join(name), "").expect("a file");
    }
    repository.file("next", "n").commit("two");
    assert!(bench.tree(&bench.request("r.git")).path.join("next").is_file());

    // Packs that are gone although their names are there.
    for entry in fs_err::read_dir(bare.join("objects/pack")).expect("a directory") {
        fs_err::remove_file(entry.expect("it can be read").path()).expect("it is removed");
    }
    let request = GitRequest { subdir: "sub".to_owned(), ..bench.request("r.git") };
    assert!(bench.tree(&request).path.join("file").is_file());
}

#[test]
fn large_files_are_fetched_where_git_lfs_is_installed() {
    let bench = Bench::new();
    let repository = bench.web.repository("r.git");
    let large = "large file\n";
    let digest = oci::Digest::of(large.as_bytes()).hex().to_owned();
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {}\n",
        large.len()
    );
    bench.web.file(&format!("lfs/{digest}"), large);
    repository
        .file(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
        .file(".lfsconfig", "[lfs]\n\turl = http://127.0.0.1:1/elsewhere\n")
        .file("a.bin", &pointer)
        .commit("one");
    let read = |tree: &GitTree| fs_err::read_to_string(tree.path.join("a.bin")).expect("a file");

    let none = bench.dir.path().join("programs");
    fs_err::create_dir(&none).expect("a directory");
    for name in ["git", "sh"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{name}"), none.join(name)).expect("a link");
    }
    let git =
        Git::new(bench.store.clone(), remote(), GitOptions { programs: vec![none], ..options() });
    let said = std::sync::Mutex::new(Vec::new());
    let log = |line: &str| said.lock().expect("no panic").push(line.to_owned());
    let request = bench.request("r.git");
    let pin = git.pin(&request, &GitAuth::default(), &log).expect("a commit");
    let tree = git.fetch(&pin, &GitAuth::default(), &log).expect("a tree");
    assert_eq!(read(&tree), pointer);
    let said = said.into_inner().expect("no panic");
    assert_eq!(said.iter().filter(|line| line.contains("git-lfs is not installed")).count(), 1);

    if Path::new("/usr/bin/git-lfs").is_file() {
        assert_eq!(read(&bench.tree(&request)), large);
        bench.web.file(&format!("lfs/{digest}"), "another!!!\n");
        repository.file("b", "b").commit("two");
        for entry in fs_err::read_dir(bench.store.dir().join("caches")).expect("a directory") {
            let path = entry.expect("it can be read").path();
            fs_err::remove_dir_all(path).expect("it is removed");
        }
        let text = bench.refused(&request);
        assert!(text.contains("large files"), "{text}");
    }
}

#[test]
fn without_git_the_package_is_named() {
    let bench = Bench::new();
    let options = GitOptions { programs: vec![bench.dir.path().to_owned()], ..options() };
    let git = Git::new(bench.store.clone(), remote(), options);
    let refused = git.pin(&bench.request("r.git"), &GitAuth::default(), &|_| {});
    let Err(error) = refused else { panic!("there is no git") };
    assert_eq!(error.to_string(), "the program `git` is not installed");
    assert!(error.hint().is_some_and(|hint| hint.contains("`git`")));
}
