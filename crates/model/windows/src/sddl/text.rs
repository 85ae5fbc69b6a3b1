//! SDDL as text.

use std::fmt;
use std::str::FromStr;

use super::words::{
    ACCOUNTS, CONTROLS, DOMAIN_ACCOUNTS, FLAGS, KINDS, LABEL_RIGHTS, READ_ONLY_RIGHTS,
    REFUSED_KINDS, RIGHTS, WHOLE_RIGHTS,
};
use super::{AccessEntry, Guid, List, SecurityDescriptor, Sid};

/// Longer texts describe nothing that fits into a descriptor.
const MAX_TEXT: usize = 1 << 20;
const SIX_FIELDS: &str = "an entry has six fields, kind;flags;rights;object;inherits;account";
const LABEL: u8 = 0x11;

/// Why a text is no security descriptor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (at character {})", position + 1)]
pub struct SddlError {
    /// Bytes from the start of the text.
    pub position: usize,
    /// What is wrong there, and what would be right.
    pub what: String,
}

impl SddlError {
    pub(super) fn new(position: usize, what: impl Into<String>) -> Self {
        Self { position, what: what.into() }
    }
}

impl FromStr for SecurityDescriptor {
    type Err = SddlError;

    fn from_str(text: &str) -> Result<Self, SddlError> {
        if text.len() > MAX_TEXT {
            return Err(SddlError::new(0, "the text is longer than 1 MiB"));
        }
        if let Some(at) = text.bytes().position(|byte| !(b' '..0x7f).contains(&byte)) {
            return Err(SddlError::new(at, "a character that SDDL does not have"));
        }
        let mut reader = Reader { text, at: 0 };
        let mut descriptor = Self::default();
        reader.spaces();
        while !reader.rest().is_empty() {
            let start = reader.at;
            let part = reader.rest().as_bytes()[0].to_ascii_uppercase();
            if reader.rest().as_bytes().get(1) != Some(&b':') {
                let what = "expected `O:` (owner), `G:` (group), `D:` (access) or `S:` (auditing)";
                return Err(SddlError::new(start, what));
            }
            reader.at += 2;
            reader.spaces();
            let twice = match part {
                b'O' => descriptor.owner.replace(reader.sid()?).is_some(),
                b'G' => descriptor.group.replace(reader.sid()?).is_some(),
                b'D' => descriptor.dacl.replace(reader.list(1)?).is_some(),
                b'S' => descriptor.sacl.replace(reader.list(2)?).is_some(),
                _ => {
                    let what = "there is no such part: `O:`, `G:`, `D:` and `S:` are known";
                    return Err(SddlError::new(start, what));
                }
            };
            if twice {
                let what = format!("a second `{}:`", char::from(part));
                return Err(SddlError::new(start, what));
            }
            reader.spaces();
        }
        if descriptor == Self::default() {
            return Err(SddlError::new(0, "the text is empty"));
        }
        Ok(descriptor)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// All of it is ASCII: any place is one between characters.
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches(' ').len();
    }

    fn take(&mut self, word: &str) -> bool {
        let found =
            self.rest().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if found {
            self.at += word.len();
        }
        found
    }

    fn sid(&mut self) -> Result<Sid, SddlError> {
        let start = self.at;
        if self.take("S-1-") {
            let end = self.rest().find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
            // `O:S-1-5-18G:SY`: a part begins with a letter and a colon.
            let end = end.unwrap_or(self.rest().len());
            let mut text = self.rest().get(..end).unwrap_or_default();
            if self.rest().as_bytes().get(end) == Some(&b':') {
                text = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
            }
            self.at += text.len();
            return parse_parts(text).ok_or_else(|| {
                SddlError::new(start, "a malformed SID: expected `S-1-`, and up to 16 numbers")
            });
        }
        let word = self.rest().get(..2).unwrap_or(self.rest());
        if let Some((_, authority, parts)) =
            ACCOUNTS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(word))
        {
            self.at += 2;
            return Ok(Sid { authority: *authority, parts: parts.to_vec() });
        }
        if DOMAIN_ACCOUNTS.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            let what =
                format!("`{word}` is an account of a domain or machine, which an image has not");
            return Err(SddlError::new(start, what));
        }
        let what = "expected an account: two letters such as `BA`, or `S-1-…`";
        Err(SddlError::new(start, what))
    }

    fn list(&mut self, times: u16) -> Result<List, SddlError> {
        let mut list = List { control: 0, entries: Some(Vec::new()) };
        loop {
            self.spaces();
            if self.rest().starts_with('(') {
                break;
            }
            if self.take("NO_ACCESS_CONTROL") {
                list.entries = None;
                return Ok(list);
            }
            // `D:S:(…)` is an empty list: what follows is the next part.
            if self.rest().as_bytes().get(1) == Some(&b':') || self.rest().is_empty() {
                return Ok(list);
            }
            let Some((_, bit)) = CONTROLS.iter().find(|(word, _)| self.take(word)) else {
                let what = "expected `P`, `AR`, `AI` or an entry in parentheses";
                return Err(SddlError::new(self.at, what));
            };
            list.control |= bit * times;
        }
        let mut entries = Vec::new();
        while self.take("(") {
            entries.push(self.entry()?);
            self.spaces();
        }
        list.entries = Some(entries);
        Ok(list)
    }

    fn entry(&mut self) -> Result<AccessEntry, SddlError> {
        let start = self.at;
        let kind = self.field(';')?;
        let Some((_, kind)) = KINDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(kind)) else {
            let what = if REFUSED_KINDS.iter().any(|word| word.eq_ignore_ascii_case(kind)) {
                format!("entries of kind `{kind}` hold conditions, which mean nothing in a layer")
            } else {
                format!("`{kind}` is no kind of entry: `A` allows, `D` denies, `AU` audits")
            };
            return Err(SddlError::new(start, what));
        };
        let start = self.at;
        let flags = words(start, self.field(';')?, FLAGS, "flag", "OI, CI, NP, IO, ID, SA, FA")?;
        let start = self.at;
        let mask = rights(start, self.field(';')?, *kind)?;
        let mut objects = [None; 2];
        for object in &mut objects {
            let start = self.at;
            let text = self.field(';')?;
            if !text.is_empty() {
                if !matches!(kind, 5..=8) {
                    let what = "only object entries (`OA`, `OD`, `OU`) name an object";
                    return Err(SddlError::new(start, what));
                }
                let guid = parse_guid(text);
                *object = Some(guid.ok_or_else(|| SddlError::new(start, "a malformed GUID"))?);
            }
        }
        self.spaces();
        let sid = self.sid()?;
        self.spaces();
        if !self.take(")") {
            let what =
                "expected `)`: an entry has six fields, kind;flags;rights;object;inherits;account";
            return Err(SddlError::new(self.at, what));
        }
        Ok(AccessEntry { kind: *kind, flags, mask, objects, sid })
    }

    /// The text up to `end`, which is taken too.
    fn field(&mut self, end: char) -> Result<&'a str, SddlError> {
        let rest = self.rest();
        let at = rest.find([end, ')', '(']).unwrap_or(rest.len());
        let (field, after) = rest.split_at(at);
        if !after.starts_with(end) {
            return Err(SddlError::new(self.at + at, format!("expected `;`: {SIX_FIELDS}")));
        }
        self.at += at + 1;
        Ok(field.trim_matches(' '))
    }
}

fn words(
    start: usize,
    text: &str,
    known: &[(&str, u8)],
    what: &str,
    examples: &str,
) -> Result<u8, SddlError> {
    let mut all = 0;
    for (at, word) in pairs(text) {
        let Some((_, bit)) = known.iter().find(|(known, _)| known.eq_ignore_ascii_case(word))
        else {
            let what = format!("`{word}` is no {what}: {examples} are");
            return Err(SddlError::new(start + at, what));
        };
        all |= bit;
    }
    Ok(all)
}

/// Words of two letters, and where they are; the last may be shorter.
fn pairs(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (0..text.len())
        .step_by(2)
        .map(|at| (at, text.get(at..at + 2).or_else(|| text.get(at..)).unwrap_or_default()))
}

fn rights(start: usize, text: &str, kind: u8) -> Result<u32, SddlError> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => parse_digits(digits, 16),
            None if text.len() > 1 && text.starts_with('0') => parse_digits(text, 8),
            None => parse_digits(text, 10),
        };
        return number
            .ok_or_else(|| SddlError::new(start, format!("`{text}` is no number of 32 bits")));
    }
    let label: &[(&str, u32)] = if kind == LABEL { LABEL_RIGHTS } else { &[] };
    let known = [label, WHOLE_RIGHTS, RIGHTS, READ_ONLY_RIGHTS].concat();
    let mut mask = 0;
    for (at, word) in pairs(text) {
        let Some((_, bits)) = known.iter().find(|(known, _)| known.eq_ignore_ascii_case(word))
        else {
            let what = format!(
                "`{word}` is no right: FA, FR, FW, FX, GA, SD, WD … are, or a number such as 0x1200a9"
            );
            return Err(SddlError::new(start + at, what));
        };
        mask |= bits;
    }
    Ok(mask)
}

/// As `from_str_radix`, without a sign.
fn parse_digits(digits: &str, radix: u32) -> Option<u32> {
    let valid = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    valid.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
}

fn parse_parts(text: &str) -> Option<Sid> {
    let mut numbers = text.split('-');
    let authority = numbers.next()?;
    let authority = match authority.strip_prefix("0x").or_else(|| authority.strip_prefix("0X")) {
        Some(digits) if digits.chars().all(|it| it.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()?
        }
        None if authority.chars().all(|it| it.is_ascii_digit()) => authority.parse().ok()?,
        _ => return None,
    };
    let parts: Vec<u32> =
        numbers.map(|number| parse_digits(number, 10)).collect::<Option<Vec<u32>>>()?;
    (authority < 1 << 48 && (1..=15).contains(&parts.len())).then_some(Sid { authority, parts })
}

fn parse_guid(text: &str) -> Option<Guid> {
    let lengths = [8, 4, 4, 4, 12];
    let groups: Vec<&str> = text.split('-').collect();
    let shaped = groups.len() == 5
        && groups.iter().zip(lengths).all(|(group, length)| {
            group.len() == length && group.chars().all(|digit| digit.is_ascii_hexdigit())
        });
    if !shaped {
        return None;
    }
    let number = u128::from_str_radix(&groups.concat(), 16).ok()?;
    let mut guid = number.to_be_bytes();
    // The first three groups are numbers, lowest byte first.
    guid[..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    Some(guid)
}

/// An account as `S-1-5-32-544` or by one of SDDL's words.
impl FromStr for Sid {
    type Err = SddlError;

    fn from_str(text: &str) -> Result<Self, SddlError> {
        if let Some(at) = text.bytes().position(|byte| !(b' '..0x7f).contains(&byte)) {
            return Err(SddlError::new(at, "a character that SDDL does not have"));
        }
        let mut reader = Reader { text, at: 0 };
        let sid = reader.sid()?;
        if reader.rest().is_empty() {
            Ok(sid)
        } else {
            Err(SddlError::new(reader.at, "more text after the account"))
        }
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = ACCOUNTS
            .iter()
            .find(|(_, authority, parts)| *authority == self.authority && **parts == *self.parts);
        if let Some((word, ..)) = known {
            return f.write_str(word);
        }
        match self.authority {
            small @ 0..=0xffff_ffff => write!(f, "S-1-{small}")?,
            large => write!(f, "S-1-0x{large:x}")?,
        }
        self.parts.iter().try_for_each(|part| write!(f, "-{part}"))
    }
}

impl fmt::Display for SecurityDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(owner) = &self.owner {
            write!(f, "O:{owner}")?;
        }
        if let Some(group) = &self.group {
            write!(f, "G:{group}")?;
        }
        for (name, list, times) in [("D:", &self.dacl, 1), ("S:", &self.sacl, 2)] {
            let Some(list) = list else { continue };
            f.write_str(name)?;
            for (word, bit) in CONTROLS {
                if list.control & (bit * times) != 0 {
                    f.write_str(word)?;
                }
            }
            match &list.entries {
                None => f.write_str("NO_ACCESS_CONTROL")?,
                Some(entries) => entries.iter().try_for_each(|entry| write!(f, "{entry}"))?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for AccessEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = KINDS.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(word, _)| word);
        write!(f, "({kind};")?;
        for (word, bit) in FLAGS.iter().filter(|(_, bit)| self.flags & bit != 0) {
            debug_assert!(*bit != 0);
            f.write_str(word)?;
        }
        f.write_str(";")?;
        let simple = if self.kind == LABEL { LABEL_RIGHTS } else { RIGHTS };
        let covered = simple.iter().fold(0, |all, (_, bit)| all | bit);
        let whole = WHOLE_RIGHTS.iter().find(|(_, bits)| *bits == self.mask);
        match whole {
            Some((word, _)) if self.kind != LABEL => f.write_str(word)?,
            _ if self.mask & !covered != 0 => write!(f, "{:#x}", self.mask)?,
            _ => {
                for (word, _) in simple.iter().filter(|(_, bit)| self.mask & bit != 0) {
                    f.write_str(word)?;
                }
            }
        }
        for object in &self.objects {
            f.write_str(";")?;
            if let Some(guid) = object {
                write_guid(f, *guid)?;
            }
        }
        write!(f, ";{})", self.sid)
    }
}

fn write_guid(f: &mut fmt::Formatter<'_>, mut guid: Guid) -> fmt::Result {
    guid[..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    for (at, byte) in guid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}
