//! Security descriptors in their binary self-relative form (MS-DTYP 2.4.6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What BuildKit gives directories: full control for administrators and SYSTEM; users read, run and add.
/// `O:BAG:SYD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;;FA;;;BA)(A;OICIIO;GA;;;CO)(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CI;DC;;;BU)`
pub const SD_DIR: &str = "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgCoAAcAAAAAAxgA/wEfAAECAAAAAAAFIAAAACACAAAAAxQA/wEfAAEBAAAAAAAFEgAAAAAAGAD/AR8AAQIAAAAAAAUgAAAAIAIAAAALFAAAAAAQAQEAAAAAAAMAAAAAAAMYAKkAEgABAgAAAAAABSAAAAAhAgAAAAIYAAQAAAABAgAAAAAABSAAAAAhAgAAAAIYAAIAAAABAgAAAAAABSAAAAAhAgAA";
/// What BuildKit gives files: full control for administrators and SYSTEM; users read and run.
/// `O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU)`
pub const SD_FILE: &str = "AQAEgBQAAAAkAAAAAAAAADAAAAABAgAAAAAABSAAAAAgAgAAAQEAAAAAAAUSAAAAAgBMAAMAAAAAABgA/wEfAAECAAAAAAAFIAAAACACAAAAABQA/wEfAAEBAAAAAAAFEgAAAAAAGACpABIAAQIAAAAAAAUgAAAAIQIAAA==";
/// Owned by users, everybody may do everything. `O:BUG:BU`
pub const SD_USER: &str =
    "AQAAgBQAAAAkAAAAAAAAAAAAAAABAgAAAAAABSAAAAAhAgAAAQIAAAAAAAUgAAAAIQIAAA==";
/// Owned by administrators, everybody may do everything. `O:BAG:BA`
pub const SD_ADMIN: &str =
    "AQAAgBQAAAAkAAAAAAAAAAAAAAABAgAAAAAABSAAAAAgAgAAAQIAAAAAAAUgAAAAIAIAAA==";

/// Why bytes are not a security descriptor that Windows takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a self-relative security descriptor: {0}")]
pub struct SdError(pub &'static str);

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of standard base64 with padding.
pub fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Checks revision, form, offsets, SIDs and access control lists.
pub fn check_security_descriptor(descriptor: &[u8]) -> Result<(), SdError> {
    let header = descriptor.get(..20).ok_or(SdError("shorter than its header"))?;
    if header[0] != 1 {
        return Err(SdError("unknown revision"));
    }
    let control = u16::from_le_bytes([header[2], header[3]]);
    if control & 0x8000 == 0 {
        return Err(SdError("not self-relative"));
    }
    let offset = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let part = |offset: u32| match usize::try_from(offset) {
        Ok(0) => Ok(None),
        Ok(offset) if offset < 20 => Err(SdError("an offset into its header")),
        Ok(offset) => descriptor.get(offset..).map(Some).ok_or(SdError("an offset beyond its end")),
        Err(_) => Err(SdError("an offset beyond its end")),
    };
    for at in [4, 8] {
        if let Some(sid) = part(offset(at))? {
            check_sid(sid)?;
        }
    }
    for (at, present) in [(12, 0x10), (16, 0x4)] {
        match part(offset(at))? {
            Some(list) if control & present != 0 => check_acl(list)?,
            Some(_) => return Err(SdError("a list that is not marked as present")),
            None => {}
        }
    }
    Ok(())
}

fn check_sid(sid: &[u8]) -> Result<(), SdError> {
    match sid {
        [1, count @ 0..=15, rest @ ..] if rest.len() >= 6 + 4 * usize::from(*count) => Ok(()),
        _ => Err(SdError("a malformed SID")),
    }
}

fn check_acl(list: &[u8]) -> Result<(), SdError> {
    const BAD: SdError = SdError("a malformed access control list");
    let [revision @ (2 | 4), _, size_low, size_high, count_low, count_high, _, _, ..] = list else {
        return Err(BAD);
    };
    let size = usize::from(u16::from_le_bytes([*size_low, *size_high]));
    let list = list.get(..size).ok_or(BAD)?;
    let mut rest = list.get(8..).ok_or(BAD)?;
    for _ in 0..u16::from_le_bytes([*count_low, *count_high]) {
        let [kind, _, low, high, ..] = rest else { return Err(BAD) };
        let size = usize::from(u16::from_le_bytes([*low, *high]));
        let entry = rest.get(..size).filter(|_| size >= 4).ok_or(BAD)?;
        // Plain entries are a mask and a SID; object entries (revision 4) carry identifiers between them.
        if matches!(kind, 0..=3 | 17) && *revision <= 4 {
            check_sid(entry.get(8..).ok_or(BAD)?)?;
        }
        rest = &rest[size..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_well_formed() {
        for (text, size) in [(SD_DIR, 216), (SD_FILE, 124), (SD_USER, 52), (SD_ADMIN, 52)] {
            let bytes = from_base64(text.as_bytes()).unwrap();
            assert_eq!(bytes.len(), size);
            assert_eq!(check_security_descriptor(&bytes), Ok(()));
            assert_eq!(base64(&bytes), text);
        }
    }

    #[test]
    fn no_cut_or_changed_descriptor_panics() {
        let good = from_base64(SD_DIR.as_bytes()).unwrap();
        for end in 0..good.len() {
            assert!(check_security_descriptor(&good[..end]).is_err(), "cut at {end}");
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = good.clone();
                changed[at] = value;
                let _either = check_security_descriptor(&changed);
            }
        }
    }
}
