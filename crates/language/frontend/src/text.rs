//! Values as Go prints them, which is how BuildKit writes history.

use std::fmt::Write as _;

use oci::HealthConfig;

/// `%q` of a list of strings.
pub(crate) fn quoted(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", items.join(" "))
}

/// `%v` of a list of strings.
pub(crate) fn listed(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_ascii_control() => append(&mut out, format_args!("\\x{:02x}", u32::from(c))),
            c if c.is_control() || c.is_whitespace() && c != ' ' || c == '\u{feff}' => {
                append(&mut out, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Adds to a text.
pub(crate) fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// `%q` of a health check.
pub(crate) fn health(check: &HealthConfig) -> String {
    let times = [check.interval, check.timeout, check.start_period, check.start_interval];
    format!(
        "&{{[{}] {} {}}}",
        check.test.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "),
        times.map(|time| quote(&duration(time))).join(" "),
        quoted_number(check.retries),
    )
}

/// `%q` of a number: the character of that number between single quotes.
fn quoted_number(number: i64) -> String {
    match u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
    {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        other => format!("'{}'", quote(other.encode_utf8(&mut [0; 4])).trim_matches('"')),
    }
}

/// A duration of nanoseconds: `1m30s`, `1.5s`, `0s`.
fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let fraction = |value: u64, unit: u64, name: &str| {
        let (whole, rest) = (value / unit, value % unit);
        if rest == 0 {
            return format!("{whole}{name}");
        }
        let width = unit.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        format!("{whole}.{}{name}", digits.trim_end_matches('0'))
    };
    let text = match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => fraction(total, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(total, 1_000_000, "ms"),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = fraction(total % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// A JSON list of strings as Go writes it.
pub(crate) fn json_list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items = items.into_iter().map(|item| {
        let text = serde_json::Value::from(item.as_ref()).to_string();
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    });
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_as_go_does() {
        assert_eq!(quoted(&["a\"b".into(), "c\n\\".into()]), r#"["a\"b" "c\n\\"]"#);
        for (nanoseconds, text) in [
            (0, "0s"),
            (1_500_000, "1.5ms"),
            (30_000_000_000, "30s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (1_050_000_000, "1.05s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
        assert_eq!(json_list(["a<b", "c"]), r#"["a\u003cb","c"]"#);
    }
}
