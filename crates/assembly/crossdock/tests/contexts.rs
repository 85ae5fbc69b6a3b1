//! Builds whose context, Dockerfile or files come from elsewhere.

use std::io::Write as _;

use assert_cmd::Command;
use testkit::{Context, Page, Program, Repository, Web, outcome};

/// 2020-01-02T03:04:05Z, when [`Repository`] commits.
const TIME: i64 = 1_577_934_245;

/// Standard output of what must succeed.
fn success(command: &mut Command) -> String {
    testkit::success(command).0
}

fn failure(command: &mut Command) -> String {
    let (_, stderr, code) = outcome(command);
    assert_eq!(code, 1, "{stderr}");
    stderr
}

/// Paths of what a build gives, with mode, owner, time and content.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    path: String,
    mode: u32,
    owner: (u64, u64),
    time: i64,
    text: String,
}

/// Builds to a tar archive and reads it.
fn items(program: &Program, arguments: &str, stdin: &[u8]) -> Vec<Item> {
    let line = format!("build --progress plain -o - {arguments}");
    let mut command = program.command(&line);
    command.current_dir(program.home()).write_stdin(stdin.to_vec());
    let output = command.output().expect("crossdock can be started");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments}: {stderr}");
    read(&output.stdout)
}

fn read(archive: &[u8]) -> Vec<Item> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("it is a tar archive");
    let mut items: Vec<Item> = entries
        .map(|entry| {
            let mut entry = entry.expect("an entry can be read");
            let path = entry.path().expect("a path").display().to_string();
            let header = entry.header().clone();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("it can be read");
            let mut text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some(link) = header.link_name().expect("a link") {
                text = format!("-> {}", link.display());
            }
            Item {
                path: path.trim_end_matches('/').to_owned(),
                mode: header.mode().expect("a mode"),
                owner: (header.uid().expect("an owner"), header.gid().expect("an owner")),
                time: i64::try_from(header.mtime().expect("a time")).expect("a time"),
                text,
            }
        })
        .collect();
    items.sort_by(|a, b| a.path.cmp(&b.path));
    items
}

fn paths(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.path.as_str()).collect()
}

fn repository(web: &Web) -> Repository {
    let repository = web.repository("r.git");
    repository
        .file("Dockerfile", "FROM scratch\nCOPY . /all/\n")
        .file("sub/Dockerfile", "FROM scratch\nCOPY . /sub/\n")
        .file("other.Dockerfile", "FROM scratch\nCOPY kept /other\n")
        .file(".dockerignore", "ignored\n")
        .file("ignored", "i")
        .file("kept", "k");
    std::os::unix::fs::symlink("kept", repository.work().join("link")).expect("a link");
    repository.commit("one");
    repository.git(&["tag", "-a", "v1", "-m", "version one"]);
    repository.push();
    repository
}

#[test]
fn a_repository_is_a_context() {
    let (program, web) = (Program::new(), Web::start());
    let repository = repository(&web);
    let commit = repository.git(&["rev-parse", "HEAD"]);
    let all = items(&program, &web.url("r.git"), b"");
    // As in BuildKit, ignore files count for local directories only.
    let expected = [
        "all",
        "all/.dockerignore",
        "all/Dockerfile",
        "all/ignored",
        "all/kept",
        "all/link",
        "all/other.Dockerfile",
        "all/sub",
        "all/sub/Dockerfile",
    ];
    assert_eq!(paths(&all), expected);
    assert!(all.iter().all(|item| item.time == TIME && item.owner == (0, 0)), "{all:?}");
    let sub = items(&program, &web.url("r.git#v1:sub"), b"");
    assert_eq!(paths(&sub), ["sub", "sub/Dockerfile"]);
    let query = web.url("r.git?tag=v1&subdir=sub");
    assert_eq!(items(&program, &query, b""), sub);
    let other = format!("-f other.Dockerfile {}", web.url(&format!("r.git#{commit}")));
    assert_eq!(paths(&items(&program, &other, b"")), ["other"]);
    let text = b"FROM scratch\nCOPY link /followed\n";
    let followed = items(&program, &format!("-f - {}", web.url("r.git")), text);
    assert_eq!((paths(&followed), followed[0].text.as_str()), (vec!["followed"], "k"));
    let kept = format!("--build-arg BUILDKIT_CONTEXT_KEEP_GIT_DIR=1 -o kept {}", web.url("r.git"));
    success(program.command(&format!("build -q {kept}")).current_dir(program.home()));
    let head = fs_err::read_to_string(program.home().join("kept/all/.git/HEAD")).expect("a file");
    assert_eq!(head.trim(), commit);
}

#[test]
fn the_time_of_an_image_is_that_of_its_commit() {
    let (program, web) = (Program::new(), Web::start());
    repository(&web);
    success(&mut program.command(&format!("build -q -t app {}", web.url("r.git"))));
    let config = success(&mut program.command("image inspect --raw-config app"));
    assert!(config.contains("\"created\":\"2020-01-02T03:04:05Z\""), "{config}");
    // A commit that changes nothing of what is used costs nothing, and gives the same image.
    let first = success(&mut program.command(&format!("build -q {}", web.url("r.git#main:sub"))));
    let second = success(&mut program.command(&format!("build -q {}", web.url("r.git#v1:sub"))));
    assert_eq!(first, second);
}

#[test]
fn a_branch_that_is_not_there_is_told_with_those_that_are() {
    let (program, web) = (Program::new(), Web::start());
    repository(&web);
    let stderr = failure(&mut program.command(&format!("build {}", web.url("r.git#mian1"))));
    assert!(stderr.contains("has no branch, tag or commit `mian1`"), "{stderr}");
    let stderr = failure(&mut program.command(&format!("build {}", web.url("r.git#1"))));
    assert!(stderr.contains("did you mean v1?"), "{stderr}");
    for hostile in ["r.git#--upload-pack=x", "r.git#-c", "r.git#refs/heads/--exec=x"] {
        let stderr = failure(&mut program.command(&format!("build {}", web.url(hostile))));
        assert!(stderr.contains("is not a valid name"), "{stderr}");
    }
    let asked = web.asked().iter().any(|asked| asked.path.contains("exec"));
    assert!(!asked);
}

#[test]
fn a_private_repository_needs_its_secret() {
    let (program, web) = (Program::new(), Web::start());
    let private = web.repository("private/r.git");
    private.file("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n").commit("one");
    let authorization = Some("basic eC1hY2Nlc3MtdG9rZW46czNjcmV0".to_owned());
    web.page("private/", Page { authorization, ..Page::default() });
    let url = web.url("private/r.git");
    let stderr = failure(&mut program.command(&format!("build {url}")));
    assert!(stderr.contains("--secret id=GIT_AUTH_TOKEN"), "{stderr}");
    let build = |id: &str, token: &str| {
        let line = format!("build --progress plain --secret id={id},env=TOKEN {url}");
        outcome(program.command(&line).env("TOKEN", token))
    };
    let (_, stderr, code) = build("GIT_AUTH_TOKEN", "s3cret");
    assert_eq!(code, 0, "{stderr}");
    let (_, stderr, code) = build(&format!("GIT_AUTH_TOKEN.{}", web.host()), "wr0ng");
    assert_eq!(code, 1, "{stderr}");
    assert!(!stderr.contains("wr0ng") && !stderr.contains("d3IwbmcK"), "{stderr}");
}

#[test]
fn add_takes_repositories_in_all_forms() {
    let (program, web) = (Program::new(), Web::start());
    let repository = repository(&web);
    let commit = repository.git(&["rev-parse", "HEAD"]);
    let (url, short) = (web.url("r.git"), commit.get(..10).expect("it is longer"));
    let context = Context::with_dockerfile(&format!(
        "FROM scratch\nADD {url} /a/\nADD {url}#v1:sub /b/\nADD {url}?subdir=sub&ref=main /c/\n\
         ADD --checksum={short} {url}#v1 /d/\nADD --keep-git-dir=true {url}#v1 /e/\nADD --link --chown=5:6 {url}#main:sub /f/\n"
    ));
    let items = items(&program, &context.path().display().to_string(), b"");
    let in_directory = |name: &str| -> Vec<String> {
        let start = format!("{name}/");
        let inside = items.iter().filter_map(|item| item.path.strip_prefix(start.as_str()));
        inside.filter(|path| !path.contains('/')).map(str::to_owned).collect()
    };
    let whole =
        [".dockerignore", "Dockerfile", "ignored", "kept", "link", "other.Dockerfile", "sub"];
    assert_eq!(in_directory("a"), whole);
    assert_eq!(in_directory("b"), ["Dockerfile"]);
    assert_eq!(in_directory("c"), ["Dockerfile"]);
    assert_eq!(in_directory("d"), whole);
    assert!(in_directory("e").contains(&".git".to_owned()));
    let owned = items.iter().find(|item| item.path == "f/Dockerfile").expect("a file");
    assert_eq!((owned.owner, owned.time), ((5, 6), TIME));

    let wrong =
        Context::with_dockerfile(&format!("FROM scratch\n\nADD --checksum=0123456 {url}#v1 /d/\n"));
    let stderr = failure(program.command("build .").current_dir(wrong.path()));
    assert!(stderr.contains("expected commit 0123456"), "{stderr}");
    assert!(stderr.contains("--> Dockerfile:3:1"), "{stderr}");
}

#[test]
fn what_moved_is_fetched_and_what_did_not_is_not() {
    let (program, web) = (Program::new(), Web::start());
    let repository = repository(&web);
    let context = Context::with_dockerfile(&format!(
        "FROM scratch AS one\nADD {} /a/\nFROM scratch\nCOPY --from=one /a/kept /b\n",
        web.url("r.git")
    ));
    let build = || {
        let mut command = program.command("build --progress plain .");
        let (_, stderr, code) = outcome(command.current_dir(context.path()));
        assert_eq!(code, 0, "{stderr}");
        stderr
    };
    build();
    let asked = web.asked().len();
    let second = build();
    assert!(second.contains("0 steps run"), "{second}");
    let further: Vec<String> = web.asked().split_off(asked).into_iter().map(|it| it.path).collect();
    assert!(
        further.iter().all(|path| !path.ends_with("pack") || further.len() <= 3),
        "{further:?}"
    );
    repository.file("kept", "changed").commit("two");
    let third = build();
    assert!(!third.contains("0 steps run"), "{third}");
}

fn archive(files: &[(&str, &str, (u64, u64))]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text, (uid, gid)) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o640);
        header.set_uid(*uid);
        header.set_gid(*gid);
        header.set_mtime(1_600_000_000);
        archive.append_data(&mut header, path, text.as_bytes()).expect("a tar can be written");
    }
    archive.into_inner().expect("a tar can be written")
}

/// Packs by a program of the machine.
#[expect(clippy::disallowed_methods, reason = "archives are packed by the usual programs")]
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    use std::process::{Command, Stdio};
    let mut child = Command::new(program)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is installed: {error}"));
    child.stdin.take().expect("it is piped").write_all(bytes).expect("it reads");
    child.wait_with_output().expect("it ends").stdout
}

#[test]
fn an_archive_is_a_context_however_it_is_packed_and_wherever_it_is() {
    let (program, web) = (Program::new(), Web::start());
    let plain = archive(&[
        ("Dockerfile", "FROM scratch\nCOPY . /all/\n", (0, 0)),
        (".dockerignore", "left\n", (0, 0)),
        ("left", "l", (1000, 1001)),
        ("dir/Dockerfile", "FROM scratch\nCOPY left /only\n", (0, 0)),
    ]);
    let from_stdin = items(&program, "-", &plain);
    let all =
        ["all", "all/.dockerignore", "all/Dockerfile", "all/dir", "all/dir/Dockerfile", "all/left"];
    assert_eq!(paths(&from_stdin), all);
    let left = from_stdin.last().expect("a file");
    // Owners, modes and times are those of the archive, as in BuildKit.
    assert_eq!((left.owner, left.mode, left.time), ((1000, 1001), 0o640, 1_600_000_000));
    for (name, packer) in [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz"), ("zst", "zstd")] {
        let bytes = packed(packer, &plain);
        assert_eq!(items(&program, "-", &bytes), from_stdin, "{packer}");
        web.file(&format!("context.tar.{name}"), &bytes);
        let url = web.url(&format!("context.tar.{name}"));
        assert_eq!(items(&program, &url, b""), from_stdin, "{url}");
        let only = items(&program, &format!("-f dir/Dockerfile {url}"), b"");
        assert_eq!(paths(&only), ["only"]);
    }
    let (_, stderr, code) = outcome(program.command("build -f missing -").write_stdin(plain));
    assert!(code == 1 && stderr.contains("there is no missing in"), "{stderr}");
}

#[test]
fn a_dockerfile_may_be_elsewhere() {
    let (program, web) = (Program::new(), Web::start());
    web.file("Dockerfile", "FROM scratch\nCOPY . /all/\n");
    let single = items(&program, &web.url("Dockerfile"), b"");
    assert_eq!(paths(&single), ["all", "all/context"]);
    assert_eq!(single[1].mode, 0o600);
    let context = Context::new().file("here", "h");
    let line = format!("-f {} {}", web.url("Dockerfile"), context.path().display());
    assert_eq!(paths(&items(&program, &line, b"")), ["all", "all/here"]);
    let stderr = failure(&mut program.command(&format!("build {}", web.url("nothing"))));
    assert!(stderr.contains("404"), "{stderr}");
}

#[test]
fn a_named_context_may_be_anything_and_stand_for_anything() {
    let (program, web) = (Program::new(), Web::start());
    repository(&web);
    web.file("tool.tar", archive(&[("x", "y", (0, 0))]));
    let context = Context::with_dockerfile(
        "FROM base AS one\nFROM scratch AS two\nCOPY nothing /\nFROM one\n\
         COPY --from=two /Dockerfile /two\nCOPY --from=tool /context /tool\nCOPY --from=three /kept /three\n",
    )
    .file("local/Dockerfile", "local");
    let (git, tool) = (web.url("r.git"), web.url("tool.tar"));
    let local = context.join("local").display().to_string();
    let line = format!(
        "--build-context base={git}#main:sub --build-context two={local} --build-context tool={tool} --build-context three={git} {}",
        context.path().display()
    );
    let items = items(&program, &line, b"");
    assert_eq!(paths(&items), ["Dockerfile", "three", "tool", "two"]);
    assert_eq!(items[3].text, "local");
    assert_eq!(items[2].mode, 0o600);
}

#[test]
fn what_was_just_built_is_a_base_without_a_registry() {
    let program = Program::new();
    let base = Context::with_dockerfile("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\n")
        .file("amd64", "x")
        .file("arm64", "a");
    let platforms = "--platform linux/amd64,linux/arm64";
    success(
        program.command(&format!("build -q {platforms} -t mine/base:1 .")).current_dir(base.path()),
    );
    let next = Context::with_dockerfile("FROM mine/base:1\nCOPY --from=mine/base:1 /arch /again\n");
    success(
        program
            .command(&format!("build -q {platforms} -o out ."))
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .current_dir(next.path()),
    );
    for (platform, text) in [("linux_amd64", "x"), ("linux_arm64", "a")] {
        for name in ["arch", "again"] {
            let path = next.join("out").join(platform).join(name);
            assert_eq!(fs_err::read_to_string(path).expect("a file"), text);
        }
    }
    // With --pull the registry decides, and it cannot be asked here.
    let stderr = failure(
        program
            .command("build --pull .")
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .current_dir(next.path()),
    );
    assert!(stderr.contains("mine/base:1"), "{stderr}");
}

#[test]
fn add_takes_files_with_credentials_for_their_server_only() {
    let (program, web, other) = (Program::new(), Web::start(), Web::start());
    web.file("private/file", "p");
    let authorization = Some("Bearer t0ken".to_owned());
    web.page("private/", Page { authorization, ..Page::default() });
    other.file("elsewhere", "e");
    let headers = vec![("Location".to_owned(), other.url("elsewhere"))];
    web.page("moved", Page { status: Some(302), headers, ..Page::default() });
    let context = Context::with_dockerfile(&format!(
        "FROM scratch\nADD {} /one\nADD {} /two\n",
        web.url("private/file"),
        web.url("moved")
    ));
    let directory = context.path().display().to_string();
    let stderr = failure(&mut program.command(&format!("build {directory}")));
    assert!(stderr.contains("HTTP_AUTH_TOKEN_127.0.0.1"), "{stderr}");
    let mut command = program.command(&format!(
        "build -q --secret id=HTTP_AUTH_TOKEN_{},env=TOKEN -o out {directory}",
        web.host()
    ));
    success(command.env("TOKEN", "t0ken").current_dir(program.home()));
    assert_eq!(fs_err::read_to_string(program.home().join("out/one")).expect("a file"), "p");
    assert_eq!(fs_err::read_to_string(program.home().join("out/two")).expect("a file"), "e");
    assert!(other.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
    assert!(!other.asked().is_empty());
}

#[test]
fn a_file_is_fetched_again_only_when_it_changed() {
    let (program, web) = (Program::new(), Web::start());
    for (path, name, value) in
        [("tagged", "ETag", "\"1\""), ("dated", "Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")]
    {
        web.file(path, "one");
        let headers = vec![(name.to_owned(), value.to_owned())];
        web.page(path, Page { headers, ..Page::default() });
        let context = Context::with_dockerfile(&format!("FROM scratch\nADD {} /\n", web.url(path)));
        let directory = context.path().display().to_string();
        let first = items(&program, &directory, b"");
        // The server says that it is the same, whatever it would send.
        web.file(path, "two");
        assert_eq!(items(&program, &directory, b""), first);
        let page = Page { headers: vec![(name.to_owned(), "\"2\"".to_owned())], ..Page::default() };
        web.page(path, page);
        let item = items(&program, &directory, b"").pop().expect("a file");
        assert_eq!((item.path.as_str(), item.text.as_str(), item.mode), (path, "two", 0o600));
    }
}

#[test]
fn a_missing_file_is_told_with_what_is_there() {
    let program = Program::new();
    let context = Context::with_dockerfile("FROM scratch\nCOPY pakage.json /\n")
        .file("package.json", "{}")
        .file("secret.txt", "s")
        .file("deploy/app.conf", "a")
        .file(".dockerignore", "secret.txt\n");
    let build = |text: &str| {
        let mut command = program.command("build -f - .");
        failure(command.current_dir(context.path()).write_stdin(text.to_owned()))
    };
    let stderr = build("FROM scratch\nCOPY pakage.json /\n");
    assert!(stderr.contains("did you mean `package.json`?"), "{stderr}");
    let stderr = build("FROM scratch\nCOPY secret.txt /\n");
    assert!(stderr.contains("`.dockerignore` file leaves it out"), "{stderr}");
    let stderr = build("FROM scratch\nCOPY app.conf /\n");
    assert!(stderr.contains("there is `deploy/app.conf`"), "{stderr}");
    let stderr = build(
        "FROM scratch AS a\nCOPY package.json /x/\nFROM scratch\nCOPY --from=a /x/pakage.json /\n",
    );
    assert!(stderr.contains("did you mean `x/package.json`?"), "{stderr}");
}
