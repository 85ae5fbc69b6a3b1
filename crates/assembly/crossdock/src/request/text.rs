//! Small languages inside values: fields separated by commas, sizes, durations.

use std::time::Duration;

use super::UsageError;

/// Splits at commas, as in one line of a CSV file (RFC 4180): a field that begins with `"` ends with `"` and holds
/// commas; `""` in it is one `"`.
pub(crate) fn fields(flag: &str, text: &str) -> Result<Vec<String>, UsageError> {
    let unbalanced = || {
        UsageError::new(
            format!("{flag} `{text}` has an unbalanced `\"`"),
            "a field with commas is written `\"…\"`, with both quotes",
        )
    };
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            loop {
                let (part, after) = quoted.split_once('"').ok_or_else(unbalanced)?;
                field.push_str(part);
                match after.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        quoted = more;
                    }
                    None => break (field, after),
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (field, after) = rest.split_at(end);
            if field.contains('"') {
                return Err(unbalanced());
            }
            (field.to_owned(), after)
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(fields),
            None => return Err(unbalanced()),
        }
    }
}

/// `KEY=VALUE` of one field; keys are lower-cased.
pub(crate) fn pair(flag: &str, field: &str) -> Result<(String, String), UsageError> {
    let (key, value) = field.split_once('=').ok_or_else(|| {
        UsageError::new(
            format!("{flag}: `{field}` has no value"),
            "fields are written `key=value`, separated by commas",
        )
    })?;
    Ok((key.trim().to_lowercase(), value.to_owned()))
}

/// `true` or `false` in the spellings of Go.
pub(crate) fn boolean(flag: &str, key: &str, value: &str) -> Result<bool, UsageError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(UsageError::new(
            format!("{flag}: `{key}={value}` is neither true nor false"),
            format!("write `{key}=true` or `{key}=false`"),
        )),
    }
}

/// A number of bytes, as Docker reads it: a number with optional fraction and unit; units are powers of 1024.
pub(crate) fn bytes(flag: &str, text: &str) -> Result<u64, UsageError> {
    let wrong = || {
        UsageError::new(
            format!("{flag}: `{text}` is not a size"),
            "write a number and a unit, as in `64m`, `1.5GiB` or `1024`",
        )
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let scale = 1_u64 << shift;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return Err(wrong());
    }
    let digits = |digits: &str| {
        if digits.is_empty() { Ok(0) } else { digits.parse::<u64>().map_err(|_| wrong()) }
    };
    let power = fraction.bytes().fold(1_u64, |power, _| power * 10);
    let part = u128::from(digits(fraction)?) * u128::from(scale) / u128::from(power);
    let whole = digits(whole)?.checked_mul(scale).ok_or_else(wrong)?;
    whole.checked_add(u64::try_from(part).map_err(|_| wrong())?).ok_or_else(wrong)
}

/// A length of time: numbers with units, `1h30m`, `7d`.
pub(crate) fn duration(flag: &str, text: &str) -> Result<Duration, UsageError> {
    let wrong = || {
        UsageError::new(
            format!("{flag}: `{text}` is not a length of time"),
            "write numbers and units, as in `90s`, `1h30m` or `7d`",
        )
    };
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let mut chars = after.chars();
        let unit = match chars.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86400,
            Some('w') => 7 * 86400,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        seconds = number
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or_else(wrong)?;
        rest = chars.as_str();
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_as_in_csv() -> Result<(), UsageError> {
        assert_eq!(fields("-o", "type=oci,dest=a b")?, ["type=oci", "dest=a b"]);
        assert_eq!(
            fields("-o", "type=image,\"name=a,b\",push=true")?,
            ["type=image", "name=a,b", "push=true"]
        );
        assert_eq!(fields("-o", "\"a\"\"b\"")?, ["a\"b"]);
        assert_eq!(fields("-o", "")?, [""]);
        assert_eq!(fields("-o", "a,")?, ["a", ""]);
        for text in ["\"a", "a\"b", "\"a\"b"] {
            assert!(fields("-o", text).is_err(), "{text}");
        }
        Ok(())
    }

    #[test]
    fn sizes_have_units_of_1024() -> Result<(), UsageError> {
        for (text, expected) in [
            ("64m", 64 << 20),
            ("1024", 1024),
            ("1.5k", 1536),
            ("2GiB", 2 << 30),
            ("0.5 mb", 1 << 19),
            ("1t", 1 << 40),
            ("7b", 7),
        ] {
            assert_eq!(bytes("--shm-size", text)?, expected, "{text}");
        }
        for text in ["", "m", "-1", "1.2.3k", "1x", "99999999999t", "1e3", "."] {
            assert!(bytes("--shm-size", text).is_err(), "{text}");
        }
        Ok(())
    }

    #[test]
    fn durations_add_up() -> Result<(), UsageError> {
        assert_eq!(duration("--older-than", "1h30m")?, Duration::from_mins(90));
        assert_eq!(duration("--older-than", "7d")?, Duration::from_hours(7 * 24));
        for text in ["", "7", "d", "1y", "-1h", "99999999999999999999d"] {
            assert!(duration("--older-than", text).is_err(), "{text}");
        }
        Ok(())
    }
}
