//! Paths as Dockerfiles and links write them, and as layers hold them.

/// Why a path is not one of the C: volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `D:\x`.
    #[error("`{0}` is not on the system drive (C:)")]
    Drive(String),
    /// `\\server\share`.
    #[error("`{0}` is a network path, which an image cannot hold")]
    Network(String),
    /// `C:` alone.
    #[error("`{0}` names a drive but no path on it")]
    DriveAlone(String),
}

/// A path of a Dockerfile as `/`-separated path on C:, resolved against `working_directory` (in the same form).
///
/// Back-slashes count as separators, the drive letter C goes, `C:x` is relative to the working directory, `.` and
/// `..` are resolved without leaving the drive. The result starts with `/`.
pub fn image_path(path: &str, working_directory: &str) -> Result<String, PathError> {
    let text = path.replace('\\', "/");
    if text.starts_with("//") {
        return Err(PathError::Network(path.to_owned()));
    }
    let rest = without_drive(&text, path)?;
    let absolute = rest.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    let start = if absolute { "" } else { working_directory };
    for part in start.split('/').chain(rest.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

fn without_drive<'a>(text: &'a str, path: &str) -> Result<&'a str, PathError> {
    match text.split_once(':') {
        Some((drive, "")) if drive.len() == 1 => Err(PathError::DriveAlone(path.to_owned())),
        Some((drive, rest)) if drive.eq_ignore_ascii_case("c") => Ok(rest),
        Some((drive, _))
            if drive.len() == 1 && drive.bytes().all(|byte| byte.is_ascii_alphabetic()) =>
        {
            Err(PathError::Drive(path.to_owned()))
        }
        _ => Ok(text),
    }
}

/// A `/`-separated path on C: as an image configuration holds it: `C:\app\Sub`.
pub fn stored_path(path: &str) -> String {
    format!("C:\\{}", path.trim_matches('/').replace('/', "\\"))
}

/// A Unix link target as Windows wants it: `/app/x` becomes `C:\app\x`, relative targets get back-slashes.
pub fn link_target_to_windows(target: &[u8]) -> Vec<u8> {
    let slashes = |bytes: &[u8]| {
        bytes.iter().map(|byte| if *byte == b'/' { b'\\' } else { *byte }).collect::<Vec<u8>>()
    };
    if is_drive_path(target) || !target.starts_with(b"/") {
        return slashes(target);
    }
    let start = target.iter().position(|byte| *byte != b'/').unwrap_or(target.len());
    [b"C:\\".to_vec(), slashes(&target[start..])].concat()
}

/// A Windows link target as a Unix one beneath the root of C:; `None` when it leads elsewhere (other drives, volumes,
/// shares).
pub fn link_target_from_windows(target: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> =
        target.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
    let text = text.strip_prefix(b"//?/").or_else(|| text.strip_prefix(b"/??/")).unwrap_or(&text);
    if is_drive_path(text) {
        if !text[0].eq_ignore_ascii_case(&b'c') {
            return None;
        }
        let rest = &text[2..];
        return Some(if rest.starts_with(b"/") { rest.to_vec() } else { [b"/", rest].concat() });
    }
    if text.starts_with(b"//") || text.starts_with(b"Volume{") || text.contains(&b':') {
        None
    } else {
        Some(text.to_vec())
    }
}

fn is_drive_path(path: &[u8]) -> bool {
    matches!(path, [letter, b':', ..] if letter.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockerfile_paths_become_paths_on_c() {
        let path = |text| image_path(text, "/work");
        assert_eq!(path("c:\\windows\\y").as_deref(), Ok("/windows/y"));
        assert_eq!(path("C:rel\\dir").as_deref(), Ok("/work/rel/dir"));
        assert_eq!(path("..\\up").as_deref(), Ok("/up"));
        assert_eq!(path("/c/temp3/").as_deref(), Ok("/c/temp3"));
        assert_eq!(path("D:/foo/"), Err(PathError::Drive("D:/foo/".to_owned())));
        assert_eq!(path("C:"), Err(PathError::DriveAlone("C:".to_owned())));
        assert_eq!(
            path("\\\\server\\share"),
            Err(PathError::Network("\\\\server\\share".to_owned()))
        );
        assert_eq!(stored_path("/app/Sub"), "C:\\app\\Sub");
        assert_eq!(stored_path("/"), "C:\\");
    }

    #[test]
    fn link_targets_change_form_both_ways() {
        assert_eq!(link_target_to_windows(b"/app/x"), b"C:\\app\\x");
        assert_eq!(link_target_to_windows(b"../a/b"), b"..\\a\\b");
        assert_eq!(link_target_to_windows(b"C:\\x"), b"C:\\x");
        assert_eq!(link_target_from_windows(b"C:\\Users").as_deref(), Some(b"/Users".as_slice()));
        assert_eq!(
            link_target_from_windows(b"\\??\\C:\\ProgramData").as_deref(),
            Some(b"/ProgramData".as_slice())
        );
        assert_eq!(link_target_from_windows(b"..\\a").as_deref(), Some(b"../a".as_slice()));
        assert_eq!(link_target_from_windows(b"D:\\x"), None);
    }
}
