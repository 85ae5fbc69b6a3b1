//! PAX extended headers: `length key=value\n`, parsed by length, because values may hold any byte.

use std::collections::BTreeMap;

use super::Time;

pub(super) const PATH: &[u8] = b"path";
pub(super) const LINK: &[u8] = b"linkpath";
pub(super) const SIZE: &[u8] = b"size";
pub(super) const UID: &[u8] = b"uid";
pub(super) const GID: &[u8] = b"gid";
pub(super) const MTIME: &[u8] = b"mtime";
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";
pub(super) const SPARSE: &[u8] = b"GNU.sparse.";
pub(super) const SPARSE_OFFSET: &[u8] = b"GNU.sparse.offset";
pub(super) const SPARSE_BYTES: &[u8] = b"GNU.sparse.numbytes";
pub(super) const SPARSE_MAP: &[u8] = b"GNU.sparse.map";

/// The records of one extended header.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Parses the body of an extended header.
///
/// A key that comes twice must say the same twice, but for the two keys that sparse format 0.0 repeats, whose values
/// are joined with commas into `GNU.sparse.map`.
pub(super) fn parse(mut body: &[u8]) -> Result<Records, &'static str> {
    let mut records = Records::new();
    let mut map: Vec<Vec<u8>> = Vec::new();
    while !body.is_empty() {
        let (key, value, rest) = record(body)?;
        body = rest;
        if key == SPARSE_OFFSET || key == SPARSE_BYTES {
            let expected_offset = map.len().is_multiple_of(2);
            if expected_offset != (key == SPARSE_OFFSET) || value.contains(&b',') {
                return Err("a sparse map whose offsets and sizes do not alternate");
            }
            map.push(value.to_vec());
            continue;
        }
        if value.contains(&0) && is_text(key) {
            return Err("a PAX text with a NUL byte");
        }
        match records.insert(key.to_vec(), value.to_vec()) {
            Some(before) if before != value => {
                return Err("two PAX records that contradict one another");
            }
            _ => {}
        }
    }
    if !map.is_empty() {
        records.insert(SPARSE_MAP.to_vec(), map.join(&b','));
    }
    Ok(records)
}

fn is_text(key: &[u8]) -> bool {
    matches!(key, b"path" | b"linkpath" | b"uname" | b"gname")
}

/// Key, value, and what follows the record.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The first record, and what follows.
fn record(body: &[u8]) -> Result<Record<'_>, &'static str> {
    const BAD: &str = "a malformed PAX record";
    let space = body.iter().take(20).position(|byte| *byte == b' ').ok_or(BAD)?;
    let length = usize::try_from(decimal(&body[..space]).ok_or(BAD)?).map_err(|_| BAD)?;
    if length <= space + 1 || length > body.len() {
        return Err(BAD);
    }
    let (record, rest) = body.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n").ok_or(BAD)?;
    let equals = record.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if key.is_empty() || key.contains(&0) {
        return Err(BAD);
    }
    Ok((key, value, rest))
}

/// Decimal digits and nothing else.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A PAX time: `[-]seconds[.fraction]`.
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let secs = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanos = 0_u32;
    if let Some(fraction) = parts.next() {
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for index in 0..9 {
            nanos = nanos * 10 + u32::from(fraction.get(index).map_or(0, |digit| digit - b'0'));
        }
    }
    Some(match (negative, nanos) {
        (false, _) => Time { secs, nanos },
        (true, 0) => Time { secs: -secs, nanos },
        (true, _) => Time { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// A time as Microsoft's writer and Go form it: seconds, and a fraction without trailing zeros where there is one.
pub(super) fn format_time(time: Time) -> String {
    let (sign, secs, nanos) = match time {
        Time { secs, nanos } if secs < 0 && nanos > 0 => {
            ("-", (secs + 1).unsigned_abs(), 1_000_000_000 - nanos)
        }
        Time { secs, nanos } if secs < 0 => ("-", secs.unsigned_abs(), nanos),
        Time { secs, nanos } => ("", secs.unsigned_abs(), nanos),
    };
    if nanos == 0 {
        return format!("{sign}{secs}");
    }
    format!("{sign}{secs}.{nanos:09}").trim_end_matches('0').to_owned()
}

/// Appends one record. Its length counts itself.
pub(super) fn push(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    body.extend_from_slice(length.to_string().as_bytes());
    body.push(b' ');
    body.extend_from_slice(key);
    body.push(b'=');
    body.extend_from_slice(value);
    body.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_written_whatever_bytes_they_hold() {
        let mut body = Vec::new();
        push(&mut body, b"SCHILY.xattr.user.a", b"1\n2=3\n\0");
        push(&mut body, b"path", &[b'x'; 95]);
        push(&mut body, b"k", &[b'y'; 93]);
        let records = parse(&body).unwrap();
        assert_eq!(records[b"SCHILY.xattr.user.a".as_slice()], b"1\n2=3\n\0");
        assert_eq!(records[b"path".as_slice()].len(), 95);
        assert!(
            body.windows(8).any(|part| part == b"\n99 k=yy"),
            "the length of a record includes its own digits"
        );
    }

    #[test]
    fn broken_records_are_refused() {
        let bad: [&[u8]; 9] = [
            b"x",
            b"5 a=b",
            b"6 a=b\n\n",
            b"99 a=b\n",
            b"+6 a=b\n",
            b"6 =ab\n",
            b"5 ab\n",
            b"3 \n",
            b"99999999999999999999 a=b\n",
        ];
        for body in bad {
            assert!(parse(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
        assert!(parse(b"6 a=b\n6 a=b\n").is_ok());
        assert!(parse(b"6 a=b\n6 a=c\n").is_err());
        assert!(parse(b"10 path=\0b\n").is_err());
    }

    #[test]
    fn times_keep_sign_and_fraction() {
        for (text, secs, nanos) in [
            ("5", 5, 0),
            ("5.25", 5, 250_000_000),
            ("-1.25", -2, 750_000_000),
            ("-3", -3, 0),
            ("0.000000001", 0, 1),
        ] {
            let parsed = time(text.as_bytes()).unwrap();
            assert_eq!(parsed, Time { secs, nanos }, "{text}");
            assert_eq!(format_time(parsed), text);
        }
        assert_eq!(time(b"1.0000000019"), Some(Time { secs: 1, nanos: 1 }));
        for bad in ["", "-", ".5", "1.x", "1e3", "--1", "99999999999999999999"] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }
}
