//! Paths as instructions write them, on the system of their stage. Inside LLB every path has forward slashes and no drive.

/// What is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("no relative path specified in {0:?}")]
    OnlyDrive(String),
    #[error("UNC paths are not supported: {0:?}")]
    Unc(String),
    #[error("the path {0:?} is not on the system drive (C:)")]
    OtherDrive(String),
}

/// `path.Clean` of Go: the shortest form, without looking at files.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// `path.Join` of Go.
pub(crate) fn join(base: &str, path: &str) -> String {
    match (base.is_empty(), path.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean(path),
        (false, true) => clean(base),
        (false, false) => clean(&format!("{base}/{path}")),
    }
}

/// Back slashes of a Windows path as forward ones.
pub(crate) fn to_slash(path: &str, windows: bool) -> String {
    if windows { path.replace('\\', "/") } else { path.to_owned() }
}

/// A path below `parent`, absolute, without drive.
pub(crate) fn normalize(
    parent: &str,
    path: &str,
    windows: bool,
    keep_slash: bool,
) -> Result<String, PathError> {
    let path = to_slash(path, windows);
    let parent = to_slash(parent, windows);
    let parent = if parent.is_empty() { "/".to_owned() } else { parent };
    let mut parent = without_drive(&parent, windows, keep_slash)?;
    if !parent.starts_with('/') {
        parent = join("/", &parent);
    }
    let mut new = if path.is_empty() { parent.clone() } else { path.clone() };
    new = without_drive(&new, windows, keep_slash)?;
    if !new.starts_with('/') {
        new = join(&parent, &new);
    }
    if keep_slash {
        keep_ending(&path, &mut new);
    }
    Ok(new)
}

fn keep_ending(original: &str, path: &mut String) {
    if original.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    } else if original.ends_with("/.") {
        if path != "/" {
            path.push('/');
        }
        path.push('.');
    }
}

/// How a destination stands in an operation: absolute and clean, with its trailing slash.
pub(crate) fn in_operation(parent: &str, path: &str, keep_slash: bool) -> String {
    let mut new = clean(path);
    if !new.starts_with('/') {
        new = join(&format!("/{parent}"), &new);
    }
    if keep_slash {
        keep_ending(path, &mut new);
    }
    new
}

/// The working directory after `WORKDIR path` in `current`, with forward slashes.
pub(crate) fn workdir(current: &str, path: &str, windows: bool) -> Result<String, PathError> {
    normalize(current, path, windows, false)
}

/// How a working directory is written in an image's configuration.
pub(crate) fn configured_workdir(path: &str, windows: bool) -> String {
    if windows { format!("C:{}", path.replace('/', "\\")) } else { path.to_owned() }
}

/// Whether a path is absolute on its system.
pub(crate) fn is_absolute(path: &str, windows: bool) -> bool {
    without_drive(path, windows, false).is_ok_and(|path| path.starts_with('/'))
}

/// A Windows path without its drive, which must be C:, with forward slashes and clean. Others are left alone.
pub(crate) fn without_drive(
    path: &str,
    windows: bool,
    keep_slash: bool,
) -> Result<String, PathError> {
    if !windows {
        return Ok(path.to_owned());
    }
    if path.len() == 2 && path.ends_with(':') {
        return Err(PathError::OnlyDrive(path.to_owned()));
    }
    let slashed = to_slash(path, true);
    if slashed.starts_with("//") {
        return Err(PathError::Unc(path.to_owned()));
    }
    let rest = match slashed.split_once(':') {
        Some((drive, rest)) if drive.eq_ignore_ascii_case("c") => rest,
        Some(_) => return Err(PathError::OtherDrive(path.to_owned())),
        None => &slashed,
    };
    let mut cleaned = clean(rest);
    if keep_slash && cleaned.len() > 1 && rest.ends_with('/') {
        cleaned.push('/');
    }
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("a//b/./c/..", "a/b"),
            ("/../a", "/a"),
            ("../a", "../a"),
            ("a/../..", ".."),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
        assert_eq!(join("/a", "../b"), "/b");
        assert_eq!(join(".", "/a"), "a");
    }

    #[test]
    fn destinations_keep_their_slash() {
        let dest = |path: &str| normalize("/w", path, false, true).unwrap();
        assert_eq!(dest("a/"), "/w/a/");
        assert_eq!(dest("/a/"), "/a/");
        assert_eq!(dest("./"), "/w/");
        assert_eq!(in_operation("/", "/a//b/", true), "/a/b/");
        assert_eq!(in_operation("/", "/a/.", true), "/a/.");
    }

    #[test]
    fn windows_paths_lose_their_drive() {
        assert_eq!(workdir("/", r"c:\windows\y", true), Ok("/windows/y".into()));
        assert_eq!(workdir(r"C:\app\Sub", r"rel\dir", true), Ok("/app/Sub/rel/dir".into()));
        assert_eq!(workdir("/app/Sub", r"..\up", true), Ok("/app/up".into()));
        assert_eq!(workdir("/app", "C:rel", true), Ok("/app/rel".into()));
        assert_eq!(configured_workdir("/app/Sub", true), r"C:\app\Sub");
        assert_eq!(normalize("/", "C:/temp/", true, true), Ok("/temp/".into()));
        assert_eq!(normalize("/", "/c/temp3/", true, true), Ok("/c/temp3/".into()));
        assert_eq!(workdir("/", "C:", true), Err(PathError::OnlyDrive("C:".into())));
        assert!(matches!(workdir("/", r"\\server\share", true), Err(PathError::Unc(_))));
        assert!(matches!(normalize("/", "D:/x", true, true), Err(PathError::OtherDrive(_))));
        assert!(is_absolute(r"C:\x", true) && !is_absolute("x", true));
    }
}
