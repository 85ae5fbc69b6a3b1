//! Names in archives as paths beneath a root, and what `.wh.` names mean.

use fstree::{RelPath, show};

/// What a member's name in a layer stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A file, directory or link.
    Path(RelPath),
    /// Removes this path from the layers below.
    Whiteout(RelPath),
    /// Removes everything that layers below have in this directory.
    Opaque(RelPath),
    /// AUFS bookkeeping of old Docker versions.
    Ignored,
}

/// A member's name or hard link target as a path: `/`, `./` and repeated slashes go, `..` takes a part away.
///
/// # Errors
/// When `..` leads out of the root, or a NUL is in it.
pub(crate) fn clean(raw: &[u8]) -> Result<RelPath, String> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return Err(format!("`{}` leads out of the root", show(raw)));
                }
            }
            part => parts.push(part),
        }
    }
    RelPath::new(parts.join(&b'/')).map_err(|error| error.to_string())
}

/// What the name of a member of a layer means (image-spec 1.1, `layer.md`, "Whiteouts").
pub(crate) fn layer_name(raw: &[u8]) -> Result<Name, String> {
    let path = clean(raw)?;
    let Some(parent) = path.parent() else { return Ok(Name::Path(path)) };
    if path.segments().any(|part| part.starts_with(b".wh..wh.") && part != b".wh..wh..opq") {
        return Ok(Name::Ignored);
    }
    if parent.segments().any(|part| part.starts_with(b".wh.")) {
        return Err(format!("`{path}` is beneath a whiteout"));
    }
    let Some(target) = path.name().strip_prefix(b".wh.") else { return Ok(Name::Path(path)) };
    if path.name() == b".wh..wh..opq" {
        return Ok(Name::Opaque(parent));
    }
    match parent.join(target) {
        Ok(target) => Ok(Name::Whiteout(target)),
        Err(_) => Err(format!("`{path}` removes nothing that can exist")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        text.parse().unwrap()
    }

    #[test]
    fn names_stay_beneath_the_root() {
        assert_eq!(clean(b"/x"), Ok(path("x")));
        assert_eq!(clean(b"./a//b/"), Ok(path("a/b")));
        assert_eq!(clean(b"a/../b"), Ok(path("b")));
        assert_eq!(clean(b"./"), Ok(RelPath::root()));
        for escape in ["../x", "a/../../x", "./../x", "/.."] {
            assert!(clean(escape.as_bytes()).is_err(), "{escape}");
        }
    }

    #[test]
    fn whiteouts_remove_names_that_can_exist() {
        assert_eq!(layer_name(b"etc/.wh.passwd"), Ok(Name::Whiteout(path("etc/passwd"))));
        assert_eq!(layer_name(b"./.wh..wh..opq"), Ok(Name::Opaque(RelPath::root())));
        assert_eq!(layer_name(b"a/.wh..wh..opq"), Ok(Name::Opaque(path("a"))));
        assert_eq!(layer_name(b".wh..wh.plnk/1.2"), Ok(Name::Ignored));
        for bad in
            [".wh...", ".wh..", "etc/.wh...", "etc/.wh..", ".wh.", ".wh.a/b", "d/../../.wh.x"]
        {
            assert!(layer_name(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(layer_name(b"d/../.wh.x"), Ok(Name::Whiteout(path("x"))));
    }
}
