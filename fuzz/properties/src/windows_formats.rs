use layer::tar::Limits;
use layer::{WindowsBase, WindowsHeaders};

/// A layer's headers are read within the limits, and what is kept of them is read back as the same.
pub(crate) fn windows_headers(data: &[u8]) {
    let limits = Limits { entries: 1000, total_bytes: 1 << 24, ..Limits::default() };
    let Ok(headers) = WindowsHeaders::read(data, limits) else { return };
    assert_eq!(WindowsHeaders::decode(&headers.encode()).as_ref(), Some(&headers));
}

/// Bytes of the store that are no list of headers are refused, whatever they say of sizes.
pub(crate) fn windows_kept(data: &[u8]) {
    if let Some(headers) = WindowsHeaders::decode(data) {
        assert_eq!(WindowsHeaders::decode(&headers.encode()).as_ref(), Some(&headers));
    }
}

/// A layer is judged, as a base and on itself as the base, without a word twice.
pub(crate) fn windows_layer(data: &[u8]) {
    let limits = Limits { entries: 1000, total_bytes: 1 << 24, ..Limits::default() };
    let mut base = WindowsBase::default();
    let _ = base.add_layer(data, limits);
    for base in [None, Some(&base)] {
        let Ok(findings) = layer::windows_check(data, base) else { continue };
        for finding in findings {
            assert!(layer::WINDOWS_RULES.iter().any(|(rule, _)| *rule == finding.rule));
        }
    }
}

/// A string that is accepted gives a descriptor that is read, and the text of that gives the same descriptor.
pub(crate) fn sddl(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match windows::sddl_to_bytes(text) {
        Ok(bytes) => agrees(&bytes),
        Err(error) => {
            // Told with its place, whatever it is.
            let _ = error.to_string();
        }
    }
}

/// Bytes that are a descriptor have a text, and that gives a descriptor of the same text.
pub(crate) fn security_descriptor(data: &[u8]) {
    if windows::sddl_from_bytes(data).is_ok() {
        agrees(data);
    }
}

fn agrees(bytes: &[u8]) {
    let text = windows::sddl_from_bytes(bytes).expect("it can be told");
    // Bytes may hold what text cannot, such as kinds of entries that SDDL has no word for.
    let Ok(again) = windows::sddl_to_bytes(&text) else { return };
    assert_eq!(windows::sddl_from_bytes(&again).as_deref(), Ok(&*text));
}

/// A hive that is read can be written, and is the same when it is read again.
pub(crate) fn regf(data: &[u8]) {
    let Ok(hive) = regf::read(data) else { return };
    if let Ok(written) = regf::write(&hive) {
        assert_eq!(regf::read(&written).expect("what is written can be read"), hive);
    }
}

/// A program's headers are read within bounds.
pub(crate) fn pe(data: &[u8]) {
    if let Ok(image) = pe::read(data) {
        let again = pe::read(data).expect("as before");
        assert_eq!(format!("{image:?}"), format!("{again:?}"));
    }
}
