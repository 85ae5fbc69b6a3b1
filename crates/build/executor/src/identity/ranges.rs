//! Which ids of the machine a process may hand out.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, getgid, getuid};

use super::{EnterOptions, Identity, IdentityKind, ROOT_COUNT, ROOT_OFFSET};

/// One line of `/proc/PID/uid_map`: `count` ids from `inside` are those from `outside` of the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) inside: u32,
    pub(super) outside: u32,
    pub(super) count: u32,
}

/// How the maps will be written, and who the process then is.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) identity: Identity,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The helper has the privilege to write them itself.
    Direct { uids: Vec<Extent>, gids: Vec<Extent> },
    /// `newuidmap` and `newgidmap` check `/etc/subuid` and `/etc/subgid` and write them.
    Tools { uid_tool: PathBuf, gid_tool: PathBuf, uids: Vec<Extent>, gids: Vec<Extent> },
    /// Nothing but the user's own id; the text says why.
    Single(String),
}

/// Fewer ids than this cannot hold a distribution's users (`nobody` is 65534).
const ENOUGH: u32 = 65_535;
/// More lines than this do not fit the kernel's maps.
const MOST_EXTENTS: usize = 300;

pub(super) fn plan(privileged: bool, options: &EnterOptions) -> io::Result<Plan> {
    // After `unshare` every id shows as the overflow id.
    real_ids();
    if options.single_id && !privileged {
        return Ok(single("asked for"));
    }
    if privileged {
        let uids = inside_as_is(&fs_err::read_to_string("/proc/self/uid_map")?);
        let gids = inside_as_is(&fs_err::read_to_string("/proc/self/gid_map")?);
        let available = reach(&uids).min(reach(&gids));
        return Ok(if available >= ROOT_OFFSET + ROOT_COUNT {
            let identity = identity(IdentityKind::Root, ROOT_OFFSET, ROOT_COUNT);
            Plan { identity, way: Way::Direct { uids, gids } }
        } else if available > 1 {
            let identity = identity(IdentityKind::SubIds, 1, available - 1);
            Plan { identity, way: Way::Direct { uids, gids } }
        } else {
            single("this container has one user id only")
        });
    }
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let Some(uid_tool) = find(&options.search, "newuidmap") else {
        return Ok(single("`newuidmap` is not installed; `apt-get install uidmap` brings it"));
    };
    let Some(gid_tool) = find(&options.search, "newgidmap") else {
        return Ok(single("`newgidmap` is not installed; `apt-get install uidmap` brings it"));
    };
    let name = user_name(uid);
    let owned = |path: &Path, id: u32| match fs_err::read_to_string(path) {
        Ok(text) => subordinate(&text, name.as_deref(), id),
        Err(_) => Vec::new(),
    };
    // Both files name users: ranges of group ids belong to users too.
    let uids = own_and(uid, &owned(&options.subuid, uid));
    let gids = own_and(gid, &owned(&options.subgid, uid));
    let count = reach(&uids).min(reach(&gids)).saturating_sub(1);
    if count < ENOUGH {
        let who = name.unwrap_or_else(|| uid.to_string());
        return Ok(single(&format!(
            "`{who}` has no range of at least 65536 subordinate ids; `usermod --add-subuids 100000-165535 \
             --add-subgids 100000-165535 {who}` (as root) gives it one"
        )));
    }
    let way = Way::Tools { uid_tool, gid_tool, uids, gids };
    Ok(Plan { identity: identity(IdentityKind::SubIds, 1, count), way })
}

fn identity(kind: IdentityKind, offset: u32, count: u32) -> Identity {
    Identity { kind, offset, count, note: None }
}

fn single(reason: &str) -> Plan {
    Plan { identity: identity(IdentityKind::SingleId, 0, 1), way: Way::Single(reason.to_owned()) }
}

/// What a user with one id is told.
pub(super) fn single_id_note(reason: &str) -> String {
    format!("file owners other than root are recorded but not applied while building: {reason}")
}

impl Plan {
    /// Writes the maps of `process`, from the namespace it left. The error is told to the user.
    pub(super) fn write(&self, process: Pid) -> Result<(), String> {
        let process = process.as_raw_nonzero();
        let plainly = |error: io::Error| error.to_string();
        match &self.way {
            Way::Direct { uids, gids } => {
                fs_err::write(format!("/proc/{process}/uid_map"), lines(uids)).map_err(plainly)?;
                fs_err::write(format!("/proc/{process}/gid_map"), lines(gids)).map_err(plainly)
            }
            Way::Tools { uid_tool, gid_tool, uids, gids } => {
                run(uid_tool, process.get(), uids)?;
                run(gid_tool, process.get(), gids)
            }
            Way::Single(reason) => Err(reason.clone()),
        }
    }
}

fn lines(extents: &[Extent]) -> String {
    let lines: Vec<_> =
        extents.iter().map(|e| format!("{} {} {}\n", e.inside, e.outside, e.count)).collect();
    lines.concat()
}

#[expect(clippy::disallowed_methods, reason = "the two setuid helpers, by absolute path")]
fn run(tool: &Path, process: i32, extents: &[Extent]) -> Result<(), String> {
    let mut command = Command::new(tool);
    command.env_clear().stdin(Stdio::null()).arg(process.to_string());
    for extent in extents {
        command.args([extent.inside, extent.outside, extent.count].map(|id| id.to_string()));
    }
    let output = command.output().map_err(|error| format!("`{}`: {error}", tool.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}` refused: {}", tool.display(), said.trim()))
}

/// Every id that exists here, mapped to itself.
fn inside_as_is(map: &str) -> Vec<Extent> {
    let mut extents: Vec<_> = map
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u32>);
            let (inside, _, count) =
                (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
            Some(Extent { inside, outside: inside, count })
        })
        .collect();
    extents.sort_by_key(|extent| extent.inside);
    extents
}

/// How many ids exist without a gap from 0 on.
fn reach(extents: &[Extent]) -> u32 {
    let mut end = 0;
    for extent in extents {
        if extent.inside != end {
            break;
        }
        end = extent.inside.saturating_add(extent.count);
    }
    end
}

/// 0 is the user itself, then the ranges one after the other.
fn own_and(id: u32, ranges: &[(u32, u32)]) -> Vec<Extent> {
    let mut extents = vec![Extent { inside: 0, outside: id, count: 1 }];
    let mut next: u32 = 1;
    for &(start, count) in ranges.iter().take(MOST_EXTENTS) {
        let Some(end) = next.checked_add(count) else { break };
        extents.push(Extent { inside: next, outside: start, count });
        next = end;
    }
    extents
}

/// The ranges a user owns in `/etc/subuid` form: `name-or-uid:start:count`. Overlapping ones count once.
fn subordinate(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in text.lines() {
        let mut fields = line.trim().splitn(3, ':');
        let (Some(owner), Some(start), Some(count)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (Ok(start), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else { continue };
        let mine = name == Some(owner) || owner == uid;
        let overlaps = ranges.iter().any(|&(s, c)| {
            u64::from(start) < u64::from(s) + u64::from(c)
                && u64::from(s) < u64::from(start) + u64::from(count)
        });
        if mine && count > 0 && start.checked_add(count).is_some() && !overlaps {
            ranges.push((start, count));
        }
    }
    ranges
}

fn find(search: &[PathBuf], tool: &str) -> Option<PathBuf> {
    search.iter().map(|directory| directory.join(tool)).find(|path| path.is_file())
}

/// The name of a user of the machine, for `/etc/subuid`.
fn user_name(uid: u32) -> Option<String> {
    let text = fs_err::read_to_string("/etc/passwd").ok()?;
    crate::users::parse_passwd(text.as_bytes())
        .find(|user| user.uid == uid)
        .map(|user| String::from_utf8_lossy(user.name).into_owned())
}

/// Who the process was before it unshared.
pub(super) fn real_ids() -> (u32, u32) {
    *REAL_IDS
        .get_or_init(|| (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()))
}

static REAL_IDS: std::sync::OnceLock<(u32, u32)> = std::sync::OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let text = "root:1:2\nalice:100000:65536\n# x\n1000:300000:10\nalice:100010:5\nalice:x:1\n";
        assert_eq!(subordinate(text, Some("alice"), 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(subordinate(text, None, 7), []);
    }

    #[test]
    fn own_id_comes_first_and_ranges_follow_without_gap() {
        let extents = own_and(1000, &[(100_000, 65_536), (300_000, 10)]);
        assert_eq!(lines(&extents), "0 1000 1\n1 100000 65536\n65537 300000 10\n");
        assert_eq!(reach(&extents), 65_547);
    }

    #[test]
    fn the_ids_of_a_container_are_kept_as_they_are() {
        let map = "         1     100000      65536\n         0       1000          1\n";
        let extents = inside_as_is(map);
        assert_eq!(lines(&extents), "0 0 1\n1 1 65536\n");
        assert_eq!(reach(&inside_as_is("0 0 4294967295\n")), u32::MAX);
    }
}
