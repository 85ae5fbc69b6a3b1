//! `/etc/passwd` and `/etc/group` of an image: who `USER` names. Hostile text, read with limits by the caller.

use std::str::from_utf8;

/// A line of `/etc/passwd`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: &'a [u8],
}

/// A line of `/etc/group`.
#[derive(Debug, PartialEq, Eq)]
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

/// Longest of the two files that is read.
pub(crate) const LONGEST_FILE: u64 = 4 << 20;
/// Ids above this are refused by Docker and BuildKit too: they would be negative in some interfaces.
const HIGHEST: u32 = i32::MAX as u32;
/// As many supplementary groups as the kernel takes.
const MOST_GROUPS: usize = 65_535;

pub(crate) fn parse_passwd(text: &[u8]) -> impl Iterator<Item = User<'_>> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.trim_ascii().split(|&byte| byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (uid, gid) = (number(fields.nth(1)?)?, number(fields.next()?)?);
        Some(User { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

fn parse_group(text: &[u8]) -> impl Iterator<Item = Group<'_>> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.trim_ascii().split(|&byte| byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = number(fields.nth(1)?)?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn number(text: &[u8]) -> Option<u32> {
    from_utf8(text).ok()?.parse().ok()
}

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one first.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: Vec<u8>,
}

/// Why `USER` names nobody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserError {
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    #[error("id {0} is out of range: ids go up to 2147483647")]
    OutOfRange(String),
}

/// Resolves `user[:group]` as BuildKit does: a name is looked up before a number is believed; groups a user is listed
/// in count only when no group is named; `uid:gid` is taken as it is.
pub(crate) fn resolve(wanted: &str, passwd: &[u8], group: &[u8]) -> Result<Person, UserError> {
    let (user, wanted_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let as_number = checked(user)?;
    if let (Some(uid), Some(Some(gid))) = (as_number, wanted_group.map(checked).transpose()?) {
        let home = parse_passwd(passwd).find(|line| line.uid == uid);
        let home = home.map_or_else(|| b"/".to_vec(), |line| home_of(&line));
        return Ok(Person { uid, gid, groups: vec![gid], home });
    }
    let line = parse_passwd(passwd)
        .find(|line| line.name == user.as_bytes() || as_number == Some(line.uid));
    let mut person = match (&line, as_number) {
        (Some(line), _) => {
            Person { uid: line.uid, gid: line.gid, groups: Vec::new(), home: home_of(line) }
        }
        (None, Some(uid)) => Person { uid, gid: 0, groups: Vec::new(), home: b"/".to_vec() },
        (None, None) => return Err(UserError::NoUser(user.to_owned())),
    };
    if let Some(wanted) = wanted_group {
        let as_number = checked(wanted)?;
        let found = parse_group(group)
            .find(|line| line.name == wanted.as_bytes() || as_number == Some(line.gid));
        person.gid = match (found, as_number) {
            (Some(line), _) => line.gid,
            (None, Some(gid)) => gid,
            (None, None) => return Err(UserError::NoGroup(wanted.to_owned())),
        };
        person.groups.push(person.gid);
    } else {
        person.groups.push(person.gid);
        if let Some(line) = line {
            let listed = |group: &Group<'_>| {
                group.members.split(|&byte| byte == b',').any(|member| member == line.name)
            };
            for found in parse_group(group).filter(listed).take(MOST_GROUPS) {
                if !person.groups.contains(&found.gid) {
                    person.groups.push(found.gid);
                }
            }
        }
    }
    let too_high = person.groups.iter().chain([&person.uid]).find(|&&id| id > HIGHEST);
    match too_high {
        Some(id) => Err(UserError::OutOfRange(id.to_string())),
        None => Ok(person),
    }
}

fn home_of(line: &User<'_>) -> Vec<u8> {
    if line.home.is_empty() { b"/".to_vec() } else { line.home.to_vec() }
}

/// The number a text is; an error when it is one but no valid id.
fn checked(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(id) if id <= HIGHEST => Ok(Some(id)),
        _ => Err(UserError::OutOfRange(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\nbin:x:1:1::/bin:\nbad\napp:x:1000:1001::/home/app:/bin/sh\n7:x:70:70:::\n";
    const GROUP: &[u8] = b"root:x:0:root\nbin:x:1:root,bin\nappgrp:x:1001:\nwheel:x:10:app,root\n";

    fn person(wanted: &str) -> Result<(u32, u32, Vec<u32>, String), UserError> {
        let person = resolve(wanted, PASSWD, GROUP)?;
        Ok((person.uid, person.gid, person.groups, String::from_utf8(person.home).unwrap()))
    }

    #[test]
    fn names_and_numbers_resolve_as_buildkit_does() {
        let root = Ok((0, 0, vec![0, 1, 10], "/root".to_owned()));
        assert_eq!(person(""), root);
        assert_eq!(person("root"), root);
        assert_eq!(person("0"), root);
        assert_eq!(person("0:0"), Ok((0, 0, vec![0], "/root".to_owned())));
        assert_eq!(person("app"), Ok((1000, 1001, vec![1001, 10], "/home/app".to_owned())));
        assert_eq!(person("1000"), person("app"));
        assert_eq!(person("app:wheel"), Ok((1000, 10, vec![10], "/home/app".to_owned())));
        assert_eq!(person("app:5"), Ok((1000, 5, vec![5], "/home/app".to_owned())));
        assert_eq!(person("4000"), Ok((4000, 0, vec![0], "/".to_owned())));
        assert_eq!(person("7"), Ok((70, 70, vec![70], "/".to_owned())));
    }

    #[test]
    fn nobody_becomes_root_by_accident() {
        assert_eq!(person("ghost"), Err(UserError::NoUser("ghost".to_owned())));
        assert_eq!(person("app:ghosts"), Err(UserError::NoGroup("ghosts".to_owned())));
        for huge in ["2147483648", "4294967296", "99999999999999999999", "0:4294967296"] {
            assert!(matches!(person(huge), Err(UserError::OutOfRange(_))), "{huge}");
        }
        assert_eq!(resolve("1:1", b"", b"").map(|p| p.uid), Ok(1));
        assert_eq!(resolve("root", b"", b""), Err(UserError::NoUser("root".to_owned())));
    }
}
