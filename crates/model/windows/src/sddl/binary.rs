//! Security descriptors as bytes, in the self-relative form (MS-DTYP 2.4.6).

use super::words::KINDS;
use super::{AccessEntry, Guid, List, SecurityDescriptor, Sid};
use crate::{SdError, check_security_descriptor};

const SELF_RELATIVE: u16 = 0x8000;
const DACL_PRESENT: u16 = 0x0004;
const SACL_PRESENT: u16 = 0x0010;
/// Control bits that text can say of the discretionary list; those of the other list are twice that.
const LIST_CONTROL: u16 = 0x1500;

impl SecurityDescriptor {
    /// The self-relative form: owner, group, then the lists, as Windows and go-winio lay them out. `None` when a list is
    /// larger than its size field can say.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut control = SELF_RELATIVE;
        for (list, present) in [(&self.dacl, DACL_PRESENT), (&self.sacl, SACL_PRESENT)] {
            control |= list.as_ref().map_or(0, |list| list.control | present);
        }
        let mut bytes = vec![0; 20];
        bytes[0] = 1;
        bytes[2..4].copy_from_slice(&control.to_le_bytes());
        let list = |list: &Option<List>| match list {
            Some(List { entries: Some(entries), .. }) => list_bytes(entries).map(Some),
            _ => Some(None),
        };
        let sid = |sid: &Option<Sid>| sid.as_ref().map(Sid::to_bytes);
        let parts = [
            (4, sid(&self.owner)),
            (8, sid(&self.group)),
            (12, list(&self.sacl)?),
            (16, list(&self.dacl)?),
        ];
        for (field, part) in parts {
            let Some(part) = part else { continue };
            let offset = u32::try_from(bytes.len()).ok()?;
            bytes[field..field + 4].copy_from_slice(&offset.to_le_bytes());
            bytes.extend(part);
        }
        Some(bytes)
    }

    /// Reads the self-relative form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SdError> {
        check_security_descriptor(bytes)?;
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let part = |at: usize| {
            let offset =
                u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            usize::try_from(offset).ok().filter(|at| *at != 0).and_then(|at| bytes.get(at..))
        };
        let control = word(2);
        let sid = |at| part(at).map(|bytes| Sid::from_bytes(bytes).map(|(sid, _)| sid)).transpose();
        let list = |at, present, times: u16| -> Result<Option<List>, SdError> {
            if control & present == 0 {
                return Ok(None);
            }
            let entries = part(at).map(read_list).transpose()?;
            Ok(Some(List { control: control & (LIST_CONTROL * times), entries }))
        };
        Ok(Self {
            owner: sid(4)?,
            group: sid(8)?,
            sacl: list(12, SACL_PRESENT, 2)?,
            dacl: list(16, DACL_PRESENT, 1)?,
        })
    }
}

impl Sid {
    fn to_bytes(&self) -> Vec<u8> {
        let count = u8::try_from(self.parts.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![1, count];
        bytes.extend(&self.authority.to_be_bytes()[2..]);
        self.parts.iter().for_each(|part| bytes.extend(part.to_le_bytes()));
        bytes
    }

    /// The SID at the start, and how long it is.
    fn from_bytes(bytes: &[u8]) -> Result<(Self, usize), SdError> {
        const BAD: SdError = SdError("a malformed SID");
        let [1, count @ 0..=15, rest @ ..] = bytes else { return Err(BAD) };
        let (authority, rest) = rest.split_first_chunk::<6>().ok_or(BAD)?;
        let authority = authority.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let parts = rest.get(..usize::from(*count) * 4).ok_or(BAD)?;
        let (parts, _) = parts.as_chunks::<4>();
        let parts: Vec<u32> = parts.iter().map(|part| u32::from_le_bytes(*part)).collect();
        let length = 8 + 4 * parts.len();
        Ok((Self { authority, parts }, length))
    }
}

fn list_bytes(entries: &[AccessEntry]) -> Option<Vec<u8>> {
    let objects = entries.iter().any(|entry| matches!(entry.kind, 5..=8));
    let mut bytes = vec![if objects { 4 } else { 2 }, 0, 0, 0];
    bytes.extend(u16::try_from(entries.len()).ok()?.to_le_bytes());
    bytes.extend([0, 0]);
    for entry in entries {
        let start = bytes.len();
        bytes.extend([entry.kind, entry.flags, 0, 0]);
        bytes.extend(entry.mask.to_le_bytes());
        if matches!(entry.kind, 5..=8) {
            let present =
                u32::from(entry.objects[0].is_some()) | u32::from(entry.objects[1].is_some()) << 1;
            bytes.extend(present.to_le_bytes());
            entry.objects.iter().flatten().for_each(|guid| bytes.extend(guid));
        }
        bytes.extend(entry.sid.to_bytes());
        let size = u16::try_from(bytes.len() - start).ok()?;
        bytes[start + 2..start + 4].copy_from_slice(&size.to_le_bytes());
    }
    let size = u16::try_from(bytes.len()).ok()?;
    bytes[2..4].copy_from_slice(&size.to_le_bytes());
    Some(bytes)
}

/// Bounds were checked by `check_security_descriptor`; what it does not look into is checked here.
fn read_list(bytes: &[u8]) -> Result<Vec<AccessEntry>, SdError> {
    const BAD: SdError = SdError("a malformed access control list");
    let size = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
    let count = u16::from_le_bytes([bytes[4], bytes[5]]);
    let mut rest = bytes.get(8..size).ok_or(BAD)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let [kind, flags, low, high, mask @ ..] = rest else { return Err(BAD) };
        let size = usize::from(u16::from_le_bytes([*low, *high]));
        if !KINDS.iter().any(|(_, known)| known == kind) {
            return Err(SdError("an entry of a kind that has no text"));
        }
        let (mask, mut body) = mask
            .get(..size.checked_sub(4).ok_or(BAD)?)
            .and_then(<[u8]>::split_first_chunk::<4>)
            .ok_or(BAD)?;
        let mut objects: [Option<Guid>; 2] = [None; 2];
        if matches!(kind, 5..=8) {
            let (present, guids) = body.split_first_chunk::<4>().ok_or(BAD)?;
            body = guids;
            let present = u32::from_le_bytes(*present);
            for (at, object) in objects.iter_mut().enumerate() {
                if present & (1 << at) != 0 {
                    let (guid, after) = body.split_first_chunk::<16>().ok_or(BAD)?;
                    *object = Some(*guid);
                    body = after;
                }
            }
        }
        let (sid, length) = Sid::from_bytes(body)?;
        if body.len() != length {
            return Err(SdError("an entry with data after its account"));
        }
        entries.push(AccessEntry {
            kind: *kind,
            flags: *flags,
            mask: u32::from_le_bytes(*mask),
            objects,
            sid,
        });
        rest = &rest[size..];
    }
    Ok(entries)
}
