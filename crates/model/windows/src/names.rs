//! Which names a Windows file may have, and when two are the same.

use std::cmp::Ordering;

/// UTF-16 units of one name.
pub const MAX_COMPONENT_UNITS: usize = 255;
/// UTF-16 units of a whole path.
pub const MAX_PATH_UNITS: usize = 32_767;

/// Why a name cannot be that of a Windows file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not UTF-8, so not UTF-16 either.
    #[error("the name is not valid UTF-8")]
    NotText,
    /// No characters, `.` or `..`.
    #[error("`{0}` is not a name")]
    Empty(String),
    /// A character that Windows keeps for itself.
    #[error("`{0}` holds the character {1:?}, which Windows does not allow in names")]
    Character(String, char),
    /// Win32 programs cannot open it.
    #[error("`{0}` ends in a dot or space, so Windows programs cannot open it")]
    Trailing(String),
    /// `CON`, `aux.txt` and their like.
    #[error("`{0}` is the name of a device on Windows")]
    Device(String),
    /// Too many characters.
    #[error("the name is longer than {max} UTF-16 units")]
    TooLong {
        /// How many are allowed.
        max: usize,
    },
}

/// Checks one part of a path.
pub fn check_component(name: &[u8]) -> Result<(), NameError> {
    let name = std::str::from_utf8(name).map_err(|_| NameError::NotText)?;
    if matches!(name, "" | "." | "..") {
        return Err(NameError::Empty(name.to_owned()));
    }
    let reserved = |character: &char| {
        matches!(character, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*')
            || u32::from(*character) < 0x20
    };
    if let Some(character) = name.chars().find(reserved) {
        return Err(NameError::Character(name.to_owned(), character));
    }
    if name.ends_with(['.', ' ']) {
        return Err(NameError::Trailing(name.to_owned()));
    }
    if is_device_name(name) {
        return Err(NameError::Device(name.to_owned()));
    }
    if name.encode_utf16().count() > MAX_COMPONENT_UNITS {
        return Err(NameError::TooLong { max: MAX_COMPONENT_UNITS });
    }
    Ok(())
}

/// Checks all parts of a `/`-separated path, and its length.
pub fn check_path(path: &[u8]) -> Result<(), NameError> {
    for component in path.split(|byte| *byte == b'/') {
        check_component(component)?;
    }
    let text = std::str::from_utf8(path).map_err(|_| NameError::NotText)?;
    if text.encode_utf16().count() > MAX_PATH_UNITS {
        return Err(NameError::TooLong { max: MAX_PATH_UNITS });
    }
    Ok(())
}

/// Whether Win32 takes the name for a device: `CON`, `NUL.txt`, `com1`, `LPT¹`.
pub fn is_device_name(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let upper = base.to_ascii_uppercase();
    if matches!(upper.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$") {
        return true;
    }
    let number = upper.strip_prefix("COM").or_else(|| upper.strip_prefix("LPT"));
    number.is_some_and(|number| {
        let mut characters = number.chars();
        matches!((characters.next(), characters.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    })
}

/// The form in which names that are the same to Windows are equal: simple upper case, character by character.
///
/// NTFS compares by its own table (`$UpCase`), which is that of Unicode's simple mappings. Bytes that are no UTF-8
/// are kept.
pub fn fold(name: &[u8]) -> Vec<u8> {
    if name.is_ascii() {
        return name.to_ascii_uppercase();
    }
    let mut folded = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut buffer = [0; 4];
            folded.extend_from_slice(simple_upper(character).encode_utf8(&mut buffer).as_bytes());
        }
        folded.extend_from_slice(chunk.invalid());
    }
    folded
}

/// Unicode's full mapping where that is one character; `ß` and its like stay, as in the simple mapping.
fn simple_upper(character: char) -> char {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => single,
        _ => character,
    }
}

/// Orders names as Windows finds them equal, then by bytes.
pub fn compare(left: &[u8], right: &[u8]) -> Ordering {
    fold(left).cmp(&fold(right)).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_windows_cannot_hold_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "a:b",
            "que?",
            "back\\slash",
            "trail.",
            "trail ",
            "aux",
            "AUX.txt",
            "com1",
            "LPT9.log",
            "nul.tar.gz",
            "conin$",
            "con .txt",
            "COM¹",
            "a\u{1}",
        ] {
            assert!(check_component(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for good in [
            "a",
            "aux1",
            "com",
            "COM10",
            "console",
            ".gitignore",
            "a b",
            "ü",
            "Program Files (x86)",
            "nul_",
        ] {
            assert_eq!(check_component(good.as_bytes()), Ok(()), "{good:?}");
        }
        assert_eq!(check_component(b"\xff"), Err(NameError::NotText));
        assert!(check_component("ü".repeat(255).as_bytes()).is_ok());
        assert!(check_component("x".repeat(256).as_bytes()).is_err());
        assert!(check_path(b"a/b").is_ok());
        assert!(check_path(b"/a").is_err());
    }

    #[test]
    fn case_does_not_tell_names_apart() {
        assert_eq!(fold("Straße/ÜBER".as_bytes()), fold("STRAßE/über".as_bytes()));
        assert_ne!(fold("strasse".as_bytes()), fold("straße".as_bytes()));
        assert_eq!(compare(b"File.txt", b"file.TXT"), Ordering::Less);
        assert_eq!(fold(b"\xffa"), b"\xffA");
    }
}
