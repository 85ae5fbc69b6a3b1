//! Security descriptors for people.

use std::fmt::Write;

/// A descriptor as SDDL, or its bytes where it is none.
pub(super) fn text(security: &[u8]) -> String {
    windows::sddl_from_bytes(security).unwrap_or_else(|error| format!("{error}: {}", hex(security)))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A text takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
