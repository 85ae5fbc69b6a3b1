//! Which commit a name means.

use serde::{Deserialize, Serialize};

use super::GitError;

/// A name and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resolved {
    pub(crate) commit: String,
    /// Full name of the branch or tag.
    pub(crate) name: Option<String>,
    /// The commit, or the tag object that leads to it.
    pub(crate) object: String,
}

impl Resolved {
    pub(crate) fn commit(id: &str) -> Self {
        let id = id.to_ascii_lowercase();
        Self { commit: id.clone(), name: None, object: id }
    }
}

/// A line of `git ls-remote`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) object: String,
    pub(crate) name: String,
}

/// What a server listed: names, and where HEAD points to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) head: Option<String>,
    pub(crate) refs: Vec<Listed>,
}

/// Whether a text is a whole object id, of SHA-1 or SHA-256.
pub(crate) fn is_full(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The name as far as it is certain without asking.
pub(crate) fn full_name(reference: &str) -> Option<String> {
    reference.starts_with("refs/").then(|| reference.to_owned())
}

/// Refuses what git could take for an option or a pattern: the rules of `git check-ref-format`.
pub(crate) fn check_name(name: &str) -> Result<(), GitError> {
    let wrong = name.starts_with('-')
        || name.starts_with('/')
        || name.ends_with(['/', '.'])
        || name.len() > 4096
        || name == "@"
        || ["..", "//", "@{", "/-"].iter().any(|part| name.contains(part))
        || name.chars().any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c))
        || name.split('/').any(|part| part.starts_with('.') || has_lock_ending(part));
    if wrong { Err(GitError::Reference { name: name.chars().take(200).collect() }) } else { Ok(()) }
}

fn has_lock_ending(part: &str) -> bool {
    part.len() >= 5 && part.get(part.len() - 5..) == Some(".lock")
}

/// A checksum is the beginning of a commit's name.
pub(crate) fn check_checksum(text: &str) -> Result<(), GitError> {
    let fits = text.is_empty()
        || (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fits { Ok(()) } else { Err(GitError::Reference { name: text.chars().take(200).collect() }) }
}

/// Reads the answer of `git ls-remote --symref`. Names that a server should not have are left out.
pub(crate) fn read(text: &str) -> Listing {
    let mut listing = Listing::default();
    for line in text.lines() {
        let Some((first, name)) = line.split_once('\t') else { continue };
        if let Some(target) = first.strip_prefix("ref: ") {
            if name == "HEAD" && check_name(target).is_ok() {
                listing.head = Some(target.to_owned());
            }
            continue;
        }
        let bare = name.strip_suffix("^{}").unwrap_or(name);
        if is_full(first) && check_name(bare).is_ok() {
            let (object, name) = (first.to_ascii_lowercase(), name.to_owned());
            listing.refs.push(Listed { object, name });
        }
    }
    listing
}

/// What `reference` means among what the server has: a branch before a tag, as git itself decides. Empty is the default
/// branch.
pub(crate) fn choose(
    listing: &Listing,
    reference: &str,
    remote: &str,
) -> Result<Resolved, GitError> {
    let object = |name: &str| {
        listing.refs.iter().find(|listed| listed.name == name).map(|listed| listed.object.clone())
    };
    let candidates = if reference.is_empty() || reference == "HEAD" {
        listing.head.iter().cloned().chain(["HEAD".to_owned()]).collect()
    } else if reference.starts_with("refs/") {
        vec![reference.to_owned()]
    } else {
        vec![
            format!("refs/{reference}"),
            format!("refs/heads/{reference}"),
            format!("refs/tags/{reference}"),
        ]
    };
    for name in candidates {
        let Some(found) = object(&name) else { continue };
        let commit = object(&format!("{name}^{{}}")).unwrap_or_else(|| found.clone());
        let name = if name == "HEAD" { listing.head.clone() } else { Some(name) };
        return Ok(Resolved { commit, name, object: found });
    }
    let shown = if reference.is_empty() { "HEAD" } else { reference };
    let short = |listed: &Listed| {
        let name = listed.name.as_str();
        let name = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"))?;
        (!name.ends_with("^{}")).then(|| name.to_owned())
    };
    let mut near: Vec<String> =
        listing.refs.iter().filter_map(short).filter(|name| is_near(name, shown)).collect();
    near.sort();
    near.dedup();
    near.truncate(3);
    Err(GitError::NotFound { remote: remote.to_owned(), name: shown.to_owned(), near })
}

/// Whether two names differ by a `v`, by case, or by one being part of the other.
fn is_near(name: &str, asked: &str) -> bool {
    let (name, asked) = (name.to_ascii_lowercase(), asked.to_ascii_lowercase());
    let plain = |text: &str| text.trim_start_matches('v').to_owned();
    plain(&name) == plain(&asked)
        || (asked.len() >= 3 && name.contains(&asked))
        || matches!((asked.as_str(), name.as_str()), ("main", "master") | ("master", "main"))
}

/// Whether the commit is the one that was asked for.
pub(crate) fn matching(
    resolved: Resolved,
    checksum: &str,
    remote: &str,
) -> Result<Resolved, GitError> {
    let checksum = checksum.to_ascii_lowercase();
    if resolved.commit.starts_with(&checksum) || resolved.object.starts_with(&checksum) {
        return Ok(resolved);
    }
    Err(GitError::Checksum {
        remote: remote.to_owned(),
        expected: checksum,
        name: resolved.name.clone().unwrap_or_else(|| "HEAD".to_owned()),
        found: resolved.commit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let (one, two, three) = ("1".repeat(40), "2".repeat(40), "3".repeat(40));
        read(&format!(
            "ref: refs/heads/main\tHEAD\n{one}\tHEAD\n{one}\trefs/heads/main\n{two}\trefs/tags/v1\n{three}\trefs/tags/v1^{{}}\n\
             {two}\trefs/heads/--upload-pack=x\n{two}\trefs/heads/both\n{three}\trefs/tags/both\n"
        ))
    }

    #[test]
    fn names_mean_what_git_means() {
        let choose = |name: &str| choose(&listing(), name, "r");
        let main = choose("").unwrap();
        assert_eq!(main.name.as_deref(), Some("refs/heads/main"));
        assert_eq!(choose("main").unwrap(), main);
        let tag = choose("v1").unwrap();
        assert_eq!((tag.commit, tag.object), ("3".repeat(40), "2".repeat(40)));
        assert_eq!(choose("tags/v1").unwrap().commit, "3".repeat(40));
        assert_eq!(choose("both").unwrap().name.as_deref(), Some("refs/heads/both"));
        let error = choose("1").unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean v1?"));
    }

    #[test]
    fn hostile_names_are_neither_asked_for_nor_taken() {
        for name in [
            "--upload-pack=x",
            "-c",
            "refs/heads/--exec=x",
            "a..b",
            "a b",
            "a:b",
            "a\nb",
            "a^{}",
            "a.lock",
            "x/.git",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["", "main", "v1.0", "feature/x-1", "refs/pull/1/head", "a_b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        assert!(!listing().refs.iter().any(|listed| listed.name.contains("upload")));
        let hostile = read("ref: refs/heads/--upload-pack=/x\tHEAD\n");
        assert_eq!(hostile.head, None);
    }

    #[test]
    fn a_checksum_is_a_beginning() {
        let resolved = Resolved::commit(&"a".repeat(40));
        assert!(matching(resolved.clone(), "aaaaaaa", "r").is_ok());
        assert!(matching(resolved, "bbbbbbb", "r").is_err());
        assert!(check_checksum("xyz").is_err() && check_checksum("abc").is_err());
    }
}
