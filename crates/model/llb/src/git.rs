//! Git repositories as sources: how people write them, and how a definition does.

use crate::pb;

/// Attributes of a git source.
mod key {
    pub(super) const FULL_URL: &str = "git.fullurl";
    pub(super) const KEEP_DIR: &str = "git.keepgitdir";
    pub(super) const CHECKSUM: &str = "git.checksum";
    pub(super) const SKIP_SUBMODULES: &str = "git.skipsubmodules";
    pub(super) const MTIME: &str = "git.mtime";
    pub(super) const FETCH_BY_COMMIT: &str = "git.fetchbycommit";
    pub(super) const TOKEN_SECRET: &str = "git.authtokensecret";
    pub(super) const HEADER_SECRET: &str = "git.authheadersecret";
    pub(super) const KNOWN_HOSTS: &str = "git.knownsshhosts";
    pub(super) const SSH_SOCKET: &str = "git.mountsshsock";
}

/// Name of the secret that holds a token, and of the one that holds a whole `Authorization` header.
const TOKEN_SECRET: &str = "GIT_AUTH_TOKEN";
const HEADER_SECRET: &str = "GIT_AUTH_HEADER";
/// Characters of an address of a repository; longer ones are no addresses.
const MAX_LENGTH: usize = 8 << 10;

/// A tree of files of a git repository: `https://HOST/PATH.git#REF:SUBDIR` and its other forms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    /// What git is given: an address without fragment and query, or `user@host:path`.
    pub remote: String,
    /// Host, with its port where one is given.
    pub host: String,
    /// Path on the host, with a leading slash for addresses.
    pub path: String,
    /// Whether ssh carries it.
    pub ssh: bool,
    /// Branch, tag or commit; empty is the default branch.
    pub reference: String,
    /// Directory inside the repository; empty is all of it.
    pub subdir: String,
    /// Commit (or the beginning of its name) that `reference` must be.
    pub checksum: String,
    /// Whether `.git` stays; `None` where the address does not say.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched; `None`, where the address does not say, is yes.
    pub submodules: Option<bool>,
    /// What the files' times are.
    pub mtime: GitMtime,
    /// Whether `checksum` is fetched, without asking what `reference` is now.
    pub fetch_by_commit: bool,
    /// Secret with a token for the host.
    pub token_secret: String,
    /// Secret with a whole header for the host.
    pub header_secret: String,
    /// Id of the agent that ssh uses.
    pub ssh_agent: String,
    /// Lines of `known_hosts`; empty leaves it to whoever fetches.
    pub known_hosts: String,
    /// Whether it was written as `github.com/…`, which could be a path as well; only contexts may be.
    pub looks_local: bool,
}

/// What the times of a repository's files are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GitMtime {
    /// The address does not say.
    #[default]
    Unset,
    /// When they were checked out.
    Checkout,
    /// That of the commit.
    Commit,
}

impl GitSource {
    /// Reads an address as instructions and command lines have it. `None` is something else than a repository: a path,
    /// a file on a web server; an error is a repository whose query is wrong.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        if text.len() > MAX_LENGTH
            || text.starts_with("./")
            || text.starts_with("../")
            || text.contains(char::is_control)
        {
            return None;
        }
        let (mut source, query) = if let Some(rest) = text.strip_prefix("github.com/") {
            let (source, query) = Self::parse_url("https", &format!("github.com/{rest}"))?;
            (Self { looks_local: true, ..source }, query)
        } else if let Some((scheme, rest)) = text.split_once("://") {
            let scheme = scheme.to_ascii_lowercase();
            let (source, query) = Self::parse_url(&scheme, rest)?;
            // Any file has an address; that of a repository ends with `.git`.
            if scheme.starts_with("http") && source.path.strip_suffix(".git").is_none() {
                return None;
            }
            (source, query)
        } else {
            Self::parse_scp(text)?
        };
        Some(source.read_query(&query).map(|()| source))
    }

    fn parse_url(scheme: &str, rest: &str) -> Option<(Self, String)> {
        if !["http", "https", "ssh", "git"].contains(&scheme) {
            return None;
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if rest.contains(' ') || host.contains(|c: char| c.is_whitespace() || "<>\"%\\".contains(c))
        {
            return None;
        }
        let (reference, subdir) = split_fragment(&percent_decoded(fragment, false)?);
        let source = Self {
            remote: format!("{scheme}://{rest}"),
            host: host.to_owned(),
            path: percent_decoded(path, false)?,
            ssh: scheme == "ssh",
            reference,
            subdir,
            ..Self::defaults(scheme == "ssh")
        };
        Some((source, query.to_owned()))
    }

    /// `user@host:path?query#fragment`.
    fn parse_scp(text: &str) -> Option<(Self, String)> {
        let (user, rest) = text.split_once('@')?;
        let (host, rest) = rest.split_once(':')?;
        let word = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !word(user, "-_") || !word(host, "-.") {
            return None;
        }
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (path, rest) = rest.split_at(end);
        let (query, fragment) = match rest.strip_prefix('?') {
            Some(rest) => rest.split_once('#').unwrap_or((rest, "")),
            None => ("", rest.strip_prefix('#').unwrap_or("")),
        };
        let (reference, subdir) = split_fragment(fragment);
        let source = Self {
            remote: format!("{user}@{host}:{path}"),
            host: host.to_owned(),
            path: path.to_owned(),
            ssh: true,
            reference,
            subdir,
            ..Self::defaults(true)
        };
        Some((source, query.to_owned()))
    }

    fn defaults(ssh: bool) -> Self {
        Self {
            token_secret: TOKEN_SECRET.to_owned(),
            header_secret: HEADER_SECRET.to_owned(),
            ssh_agent: if ssh { "default".to_owned() } else { String::new() },
            ..Self::default()
        }
    }

    fn read_query(&mut self, query: &str) -> Result<(), String> {
        let mut seen: Vec<String> = Vec::new();
        let (mut tag, mut branch) = (None, None);
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (Some(key), Some(value)) =
                (percent_decoded(key, true), percent_decoded(value, true))
            else {
                return Err(format!("invalid query {part:?}"));
            };
            if seen.contains(&key) {
                return Err(format!("query {key:?} has multiple values"));
            }
            seen.push(key.clone());
            let switch = ["submodules", "keep-git-dir", "fetch-by-commit"].contains(&key.as_str());
            if value.is_empty() && !switch {
                return Err(format!("query {key:?} has no value"));
            }
            match key.as_str() {
                "ref" => agree("ref", &mut self.reference, value)?,
                "tag" => tag = Some(qualified("refs/tags/", value)),
                "branch" => branch = Some(qualified("refs/heads/", value)),
                "subdir" => agree("subdir", &mut self.subdir, value)?,
                "checksum" | "commit" => self.checksum = value,
                "keep-git-dir" => self.keep_git_dir = Some(boolean(&key, &value)?),
                "submodules" => self.submodules = Some(boolean(&key, &value)?),
                "fetch-by-commit" => self.fetch_by_commit = boolean(&key, &value)?,
                "mtime" => {
                    self.mtime = match value.as_str() {
                        "checkout" => GitMtime::Checkout,
                        "commit" => GitMtime::Commit,
                        _ => {
                            return Err(format!(
                                "invalid mtime value: {value:?} (must be \"checkout\" or \"commit\")"
                            ));
                        }
                    }
                }
                _ => return Err(format!("unexpected query {key:?}")),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err("branch conflicts with tag".to_owned());
        }
        match tag.or(branch) {
            Some(reference) => agree("ref", &mut self.reference, reference),
            None => Ok(()),
        }
    }

    /// The repository's name: `bar` of `https://example.com/foo/bar.git`.
    pub fn short_name(&self) -> &str {
        let last = self.remote.rsplit('/').next().unwrap_or_default();
        last.strip_suffix(".git").unwrap_or(last)
    }

    /// As a vertex has it. Equal files have equal identifiers, whether ssh or https brings them.
    pub fn to_op(&self) -> pb::SourceOp {
        let path = if self.path.starts_with('/') { "" } else { "/" }.to_owned() + &self.path;
        let mut identifier = format!("git://{}{}", self.host, clean(&path));
        if !self.reference.is_empty() || !self.subdir.is_empty() {
            identifier = format!("{identifier}#{}", self.reference);
            if !self.subdir.is_empty() {
                identifier = format!("{identifier}:{}", self.subdir);
            }
        }
        let mut op = pb::SourceOp { identifier, attrs: Vec::new() };
        let mtime = match self.mtime {
            GitMtime::Unset => "",
            GitMtime::Checkout => "checkout",
            GitMtime::Commit => "commit",
        };
        let switch = |on: bool| if on { "true" } else { "" };
        for (key, value) in [
            (key::FULL_URL, self.remote.as_str()),
            (key::KEEP_DIR, switch(self.keep_git_dir == Some(true))),
            (key::CHECKSUM, &self.checksum),
            (key::SKIP_SUBMODULES, switch(self.submodules == Some(false))),
            (key::MTIME, mtime),
            (key::FETCH_BY_COMMIT, switch(self.fetch_by_commit)),
            (key::TOKEN_SECRET, &self.token_secret),
            (key::HEADER_SECRET, &self.header_secret),
            (key::KNOWN_HOSTS, &self.known_hosts),
            (key::SSH_SOCKET, &self.ssh_agent),
        ] {
            if !value.is_empty() {
                op.set_attr(key, value);
            }
        }
        op
    }

    /// The repository that a vertex names; `None` where it is no git source.
    pub fn from_op(op: &pb::SourceOp) -> Option<Self> {
        let rest = op.identifier.strip_prefix("git://")?;
        let (place, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let text = |key: &str| op.attr(key).unwrap_or_default().to_owned();
        let set = |key: &str| op.attr(key) == Some("true");
        let remote = match text(key::FULL_URL) {
            full if full.is_empty() => format!("https://{place}"),
            full => full,
        };
        let ssh = remote.starts_with("ssh://") || !remote.contains("://");
        Some(Self {
            host: host.to_owned(),
            path: path.to_owned(),
            ssh,
            reference: reference.to_owned(),
            subdir: subdir.to_owned(),
            checksum: text(key::CHECKSUM),
            keep_git_dir: set(key::KEEP_DIR).then_some(true),
            submodules: set(key::SKIP_SUBMODULES).then_some(false),
            mtime: match text(key::MTIME).as_str() {
                "commit" => GitMtime::Commit,
                "checkout" => GitMtime::Checkout,
                _ => GitMtime::Unset,
            },
            fetch_by_commit: set(key::FETCH_BY_COMMIT),
            token_secret: text(key::TOKEN_SECRET),
            header_secret: text(key::HEADER_SECRET),
            ssh_agent: text(key::SSH_SOCKET),
            known_hosts: text(key::KNOWN_HOSTS),
            looks_local: false,
            remote,
        })
    }
}

/// `ref:subdir`, the directory without `..` that would lead out.
fn split_fragment(fragment: &str) -> (String, String) {
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let subdir = clean(&format!("/{subdir}"));
    (reference.to_owned(), subdir.trim_start_matches('/').to_owned())
}

fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn agree(what: &str, known: &mut String, value: String) -> Result<(), String> {
    if !known.is_empty() && *known != value {
        return Err(format!("{what} conflicts: {known:?} vs {value:?}"));
    }
    *known = value;
    Ok(())
}

fn qualified(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("invalid {key} value: {value:?}")),
    }
}

/// `None` where an escape is none, or what it means is no text.
fn percent_decoded(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).ok().filter(|text| !text.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<GitSource, String> {
        GitSource::parse(text).unwrap_or_else(|| Err("no repository".to_owned()))
    }

    #[test]
    fn repositories_are_told_from_files_and_paths() {
        for git in [
            "https://github.com/a/b.git",
            "HTTPS://github.com/a/b.git#v1:sub",
            "http://user:pw@h:8080/b.git?ref=x",
            "git@github.com:a/b",
            "git://x/y",
            "ssh://git@h:22/y",
            "github.com/a/b",
        ] {
            assert!(parse(git).is_ok(), "{git}");
        }
        for other in [
            "https://x/a.tgz",
            "https://x/a.tgz#b.git",
            "https://x/a?x=.git",
            "./git@a:b",
            "a@b",
            "a.git",
            "dir/a@b:c",
            "file:///a.git",
            "https://x/%zz.git",
        ] {
            assert!(GitSource::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn fragment_and_query_name_what_is_taken() {
        let it = parse("https://h/a/b.git#v1:/x/../sub").unwrap();
        assert_eq!((it.reference.as_str(), it.subdir.as_str()), ("v1", "sub"));
        assert_eq!((it.remote.as_str(), it.short_name()), ("https://h/a/b.git", "b"));
        let it = parse("https://h/b.git?tag=v1&subdir=s&keep-git-dir&submodules=false").unwrap();
        assert_eq!((it.reference.as_str(), it.subdir.as_str()), ("refs/tags/v1", "s"));
        assert_eq!((it.keep_git_dir, it.submodules), (Some(true), Some(false)));
        let it = parse("https://h/b.git?branch=m&commit=abc&mtime=commit&fetch-by-commit=1");
        let it = it.unwrap();
        assert_eq!((it.reference.as_str(), it.checksum.as_str()), ("refs/heads/m", "abc"));
        assert_eq!((it.mtime, it.fetch_by_commit), (GitMtime::Commit, true));
        assert_eq!(parse("git@h:a/b?ref=x#x:y").unwrap().subdir, "y");
        for (wrong, message) in [
            ("https://h/b.git?ref=a#b", r#"ref conflicts: "b" vs "a""#),
            ("https://h/b.git?tag=a&branch=b", "branch conflicts with tag"),
            ("https://h/b.git?subdir", r#"query "subdir" has no value"#),
            ("https://h/b.git?ref=a&ref=a", r#"query "ref" has multiple values"#),
            ("https://h/b.git?rev=a", r#"unexpected query "rev""#),
            ("https://h/b.git?submodules=maybe", r#"invalid submodules value: "maybe""#),
            (
                "https://h/b.git?mtime=now",
                r#"invalid mtime value: "now" (must be "checkout" or "commit")"#,
            ),
        ] {
            assert_eq!(parse(wrong).unwrap_err(), message);
        }
    }

    #[test]
    fn a_vertex_says_the_same_as_the_address() {
        for text in [
            "https://h:1/a/b.git#v1:sub",
            "git@h:a/b.git?keep-git-dir&checksum=abc",
            "ssh://git@h/a/b?submodules=0&mtime=checkout&fetch-by-commit",
            "git://h/a",
        ] {
            let source = parse(text).unwrap();
            let op = source.to_op();
            let back = GitSource::from_op(&op).unwrap();
            assert_eq!(back.to_op(), op, "{text}");
            assert_eq!((&back.remote, back.ssh), (&source.remote, source.ssh));
        }
        let op = parse("git@h:a/b.git#v1").unwrap().to_op();
        assert_eq!(op.identifier, "git://h/a/b.git#v1");
        assert_eq!(op.attr("git.fullurl"), Some("git@h:a/b.git"));
        assert_eq!(op.attr("git.mountsshsock"), Some("default"));
        assert_eq!(op.attr("git.authtokensecret"), Some("GIT_AUTH_TOKEN"));
        let op = parse("github.com/a/b").unwrap().to_op();
        assert_eq!(op.attr("git.fullurl"), Some("https://github.com/a/b"));
    }
}
