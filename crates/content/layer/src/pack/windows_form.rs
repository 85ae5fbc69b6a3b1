//! The Windows form: what hcsshim's importer takes, and what a container then sees.
//!
//! `Hives` and `Files` first; every parent before what it holds, once, whatever its letters' case; Windows links,
//! attributes and security descriptors in PAX records. What lower layers say of a directory is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use fstree::{Changeset, Content, Entry, Kind, RelPath, show};
use windows::{attributes, layout, records};

use super::{LayerWriter, PackError, PackOptions, clamp};
use crate::compress::Compression;
use crate::tar::{Header, MemberKind, Time};
use crate::windows_base::WindowsBase;

/// Extended attribute of an entry with the security descriptor (base64) that it is to have in a Windows layer.
pub const WINDOWS_SECURITY_XATTR: &[u8] = b"user.crossdock.windows.rawsd";
/// Extended attribute of an entry with the Win32 attributes (decimal) that it is to have in a Windows layer.
pub const WINDOWS_ATTRIBUTES_XATTR: &[u8] = b"user.crossdock.windows.fileattr";

/// How far links are followed to find out whether they stand for a directory.
const MAX_LINKS: usize = 32;

/// Parts of a path, folded, so that what Windows takes for one path is one, and parents come first.
type Key = Vec<Vec<u8>>;

pub(super) fn emit<W: Write>(
    changeset: &Changeset,
    options: &PackOptions,
    out: &mut LayerWriter<W>,
) -> Result<(), PackError> {
    if matches!(options.compression, Compression::EStargz { .. }) {
        return Err(unfit("*", "eStargz is of no use to Windows"));
    }
    let empty = WindowsBase::default();
    let mut plan = Plan {
        base: options.windows_base.as_deref().unwrap_or(&empty),
        items: BTreeMap::new(),
        options,
    };
    plan.collect(changeset)?;
    plan.add_parents()?;
    plan.respell();
    plan.hide_opaque();
    plan.write(changeset, out)?;
    if plan.base.was_missed() {
        return Err(unfit("*", "the layers of Windows itself were needed but not read (a bug)"));
    }
    Ok(())
}

struct Plan<'a> {
    base: &'a WindowsBase,
    items: BTreeMap<Key, Item<'a>>,
    options: &'a PackOptions,
}

/// What is written at one path.
struct Item<'a> {
    /// With the letters' case that it is written in.
    path: RelPath,
    what: What<'a>,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Entry(&'a Entry),
    /// A parent that the changeset says nothing of.
    Parent,
    /// A removal.
    Whiteout,
}

impl<'a> Plan<'a> {
    fn collect(&mut self, changeset: &'a Changeset) -> Result<(), PackError> {
        for entry in changeset {
            if entry.path.is_root() {
                continue;
            }
            Self::check(entry)?;
            let what = match entry.kind {
                Kind::Whiteout => What::Whiteout,
                _ => What::Entry(entry),
            };
            let key = key(&entry.path);
            match self.items.get(&key).map(|item| (item.what, &item.path)) {
                None => {
                    let path = self.base.spelling(&entry.path);
                    self.items.insert(key, Item { path, what });
                }
                // Removing a path and having it are one thing with another case.
                Some((What::Whiteout, _)) => {
                    let path = self.base.spelling(&entry.path);
                    self.items.insert(key, Item { path, what });
                }
                Some((What::Entry(first), _)) if !matches!(what, What::Whiteout) => {
                    if !(first.kind.is_directory() && entry.kind.is_directory()) {
                        let why = format!("Windows cannot tell it from `{}`", first.path);
                        return Err(unfit(&entry.path.to_string(), &why));
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn check(entry: &Entry) -> Result<(), PackError> {
        let path = entry.path.to_string();
        windows::check_path(entry.path.as_bytes())
            .map_err(|error| unfit(&path, &error.to_string()))?;
        if entry.path.segments().any(|segment| segment.starts_with(b".wh.")) {
            return Err(unfit(&path, "names that begin with `.wh.` mean a removal in a layer"));
        }
        match entry.kind {
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                Err(unfit(&path, "Windows has no device files"))
            }
            Kind::Fifo => Err(unfit(&path, "Windows has no named pipes among files")),
            _ => Ok(()),
        }
    }

    fn add_parents(&mut self) -> Result<(), PackError> {
        let mut missing = BTreeMap::new();
        for (key, item) in &self.items {
            // Removals need no parents.
            if matches!(item.what, What::Whiteout) {
                continue;
            }
            for parent in item.path.ancestors() {
                let above = key[..parent.segments().count()].to_vec();
                match self.items.get(&above).map(|item| item.what) {
                    None | Some(What::Whiteout) => {
                        missing.entry(above).or_insert(Item { path: parent, what: What::Parent });
                    }
                    Some(What::Entry(other)) if !other.kind.is_directory() => {
                        let why =
                            format!("Windows cannot tell its directory from `{}`", other.path);
                        return Err(unfit(&item.path.to_string(), &why));
                    }
                    Some(_) => {}
                }
            }
        }
        self.items.append(&mut missing);
        Ok(())
    }

    /// Gives every path the letters' case of the directory that is written for it.
    fn respell(&mut self) {
        let mut spelled: BTreeMap<Key, Item<'a>> = BTreeMap::new();
        for (key, mut item) in std::mem::take(&mut self.items) {
            let parent = key.split_last().and_then(|(_, above)| spelled.get(above));
            if let Some(path) = parent.and_then(|parent| parent.path.join(item.path.name()).ok()) {
                item.path = path;
            }
            spelled.insert(key, item);
        }
        self.items = spelled;
    }

    /// Windows knows no opaque directories: what lower layers have in one and this layer has not is removed by name.
    fn hide_opaque(&mut self) {
        let mut hidden = BTreeMap::new();
        let opaque = self.items.iter().filter_map(|(key, item)| match item.what {
            What::Entry(Entry { kind: Kind::Directory { opaque: true }, .. }) => Some(key.clone()),
            _ => None,
        });
        let opaque: BTreeSet<Key> = opaque.collect();
        if opaque.is_empty() {
            return;
        }
        for file in self.base.files() {
            let below = key(&file.path);
            let is_hidden = (1..below.len()).any(|depth| opaque.contains(&below[..depth]));
            let shown = |key: &[Vec<u8>]| {
                self.items.get(key).is_some_and(|item| !matches!(item.what, What::Whiteout))
            };
            // A removed directory takes what is in it along.
            let parent_stays = below.len() == 1 || shown(&below[..below.len() - 1]);
            if is_hidden && !shown(&below) && parent_stays {
                hidden.insert(below, Item { path: file.path.clone(), what: What::Whiteout });
            }
        }
        self.items.append(&mut hidden);
    }

    fn write<W: Write>(
        &self,
        changeset: &Changeset,
        out: &mut LayerWriter<W>,
    ) -> Result<(), PackError> {
        let newest = changeset
            .iter()
            .filter(|entry| !matches!(entry.kind, Kind::Whiteout))
            .map(|entry| self.time(entry))
            .max();
        let time = match (self.options.latest_mtime, newest) {
            (Some(latest), _) => Time { secs: latest.max(0), nanos: 0 },
            (None, newest) => newest.unwrap_or_default(),
        };
        for name in [layout::HIVES, layout::FILES] {
            let mut header = directory_header(name.as_bytes().to_vec(), 0o555, time);
            header.records.remove(records::SECURITY.as_bytes());
            out.member(&header, &mut io::empty())?;
        }
        let contents = link_groups(changeset)?;
        for (key, item) in &self.items {
            match item.what {
                What::Whiteout => {
                    let parent = item.path.parent().unwrap_or_else(RelPath::root);
                    let name = [b".wh.", item.path.name()].concat();
                    let path = in_files(
                        &parent
                            .join(name)
                            .map_err(|error| unfit(&item.path.to_string(), &error.to_string()))?,
                    );
                    out.member(&Header::new(path, MemberKind::File), &mut io::empty())?;
                }
                What::Parent => {
                    let mut header = directory_header(in_files(&item.path), 0o755, time);
                    self.keep_base_records(&item.path, &mut header);
                    out.member(&header, &mut io::empty())?;
                }
                What::Entry(entry) => self.entry(key, item, entry, &contents, changeset, out)?,
            }
        }
        Ok(())
    }

    fn entry<W: Write>(
        &self,
        key: &Key,
        item: &Item<'_>,
        entry: &Entry,
        contents: &BTreeMap<RelPath, Key>,
        changeset: &Changeset,
        out: &mut LayerWriter<W>,
    ) -> Result<(), PackError> {
        let time = self.time(entry);
        let path = in_files(&item.path);
        let mode = entry.meta.mode & 0o7777;
        let file = |content: &Content| {
            let mut header = Header::new(path.clone(), MemberKind::File);
            header.size = content.size();
            header.mode = 0o100_000 | mode;
            header.mtime = time;
            set_records(&mut header, attributes::ARCHIVE, Some(windows::SD_FILE), time);
            override_records(&mut header, entry);
            header
        };
        match &entry.kind {
            Kind::Directory { .. } => {
                let mut header = directory_header(path, mode, time);
                self.keep_base_records(&item.path, &mut header);
                override_records(&mut header, entry);
                out.member(&header, &mut io::empty())
            }
            Kind::Symlink(target) => {
                let mut header = Header::new(path, MemberKind::Symlink);
                header.mode = 0o120_777;
                header.mtime = time;
                header.link = link_target(&item.path, target)?;
                let is_directory = self.leads_to_directory(&item.path, target);
                if is_directory.is_none() {
                    out.warn(format!("the link `{}` leads to nothing that is known; it is written as a link to a file", item.path));
                }
                let attributes = if is_directory == Some(true) {
                    attributes::DIRECTORY_LINK
                } else {
                    attributes::FILE_LINK
                };
                set_records(&mut header, attributes, None, time);
                out.member(&header, &mut io::empty())
            }
            Kind::File(_) | Kind::Hardlink(_) => {
                let source = match &entry.kind {
                    Kind::Hardlink(target) => target,
                    _ => &entry.path,
                };
                match contents.get(source) {
                    Some(first) if first != key => {
                        let mut header = Header::new(path, MemberKind::Hardlink);
                        header.mode = 0o644;
                        let first = self.items.get(first).map(|item| in_files(&item.path));
                        header.link = first.ok_or_else(|| {
                            unfit(&entry.path.to_string(), "its content is not in this layer")
                        })?;
                        out.member(&header, &mut io::empty())
                    }
                    _ => match changeset.get(source).map(|entry| &entry.kind) {
                        Some(Kind::File(content)) => out.file(&file(content), content),
                        _ => Err(unfit(
                            &entry.path.to_string(),
                            &format!(
                                "it is a hard link to `{source}`, which is no file of this layer"
                            ),
                        )),
                    },
                }
            }
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo | Kind::Whiteout => {
                Err(unfit(&entry.path.to_string(), "it is of a kind that Windows does not have"))
            }
        }
    }

    fn keep_base_records(&self, path: &RelPath, header: &mut Header) {
        let Some(known) = self.base.find(path) else { return };
        let wanted = |name: &[u8]| {
            [records::ATTRIBUTES, records::SECURITY, records::SDDL, records::CREATED]
                .iter()
                .any(|known| known.as_bytes() == name)
        };
        if !known.is_directory || known.target.is_some() {
            return;
        }
        for (name, value) in known.records.iter().filter(|(name, _)| wanted(name)) {
            header.records.insert(name.clone(), value.clone());
        }
        if !known.records.contains_key(records::SECURITY.as_bytes()) {
            header.records.remove(records::SECURITY.as_bytes());
        }
    }

    /// Whether a link leads to a directory, as far as this layer and those below tell.
    fn leads_to_directory(&self, link: &RelPath, target: &[u8]) -> Option<bool> {
        let mut from = link.clone();
        let mut target = target.to_vec();
        for _ in 0..MAX_LINKS {
            // As Windows will read it: `//app` is no share, but was written on Linux.
            let written = windows::link_target_to_windows(&target);
            let unix = windows::link_target_from_windows(&written)?;
            let whole = if unix.starts_with(b"/") {
                unix
            } else {
                let parent = from.parent().unwrap_or_else(RelPath::root);
                [parent.as_bytes(), b"/", &unix].concat()
            };
            let path = RelPath::clean(whole);
            if path.is_root() {
                return Some(true);
            }
            match self.items.get(&key(&path)).map(|item| item.what) {
                Some(What::Parent) => return Some(true),
                Some(What::Whiteout) => return None,
                Some(What::Entry(entry)) => match &entry.kind {
                    Kind::Symlink(next) => {
                        from = path;
                        target.clone_from(next);
                    }
                    kind => return Some(kind.is_directory()),
                },
                None => return self.base.find(&path).map(|file| file.is_directory),
            }
        }
        None
    }

    fn time(&self, entry: &Entry) -> Time {
        clamp(entry.meta.mtime, self.options.latest_mtime)
    }
}

/// For each file with several names, which of them comes first here and so has the content.
fn link_groups(changeset: &Changeset) -> Result<BTreeMap<RelPath, Key>, PackError> {
    let mut groups: BTreeMap<RelPath, (Key, usize)> = BTreeMap::new();
    for entry in changeset {
        let Kind::Hardlink(target) = &entry.kind else { continue };
        let link = key(&entry.path);
        let group = groups.entry(target.clone()).or_insert_with(|| (key(target), 1));
        group.1 += 1;
        if link < group.0 {
            group.0 = link;
        }
        if group.1 > windows::MAX_LINKS {
            return Err(unfit(
                &entry.path.to_string(),
                "Windows takes at most 1024 names of one file",
            ));
        }
    }
    Ok(groups.into_iter().map(|(target, (first, _))| (target, first)).collect())
}

fn key(path: &RelPath) -> Key {
    path.segments().map(windows::fold).collect()
}

fn in_files(path: &RelPath) -> Vec<u8> {
    [layout::FILES.as_bytes(), b"/", path.as_bytes()].concat()
}

fn directory_header(path: Vec<u8>, mode: u32, time: Time) -> Header {
    let mut header = Header::new(path, MemberKind::Directory);
    header.mode = 0o040_000 | mode;
    header.mtime = time;
    set_records(&mut header, attributes::DIRECTORY, Some(windows::SD_DIR), time);
    header
}

fn set_records(header: &mut Header, attributes: u32, security: Option<&str>, time: Time) {
    let mut set = |name: &str, value: String| {
        header.records.insert(name.as_bytes().to_vec(), value.into_bytes())
    };
    set(records::ATTRIBUTES, attributes.to_string());
    set(records::CREATED, time.secs.to_string());
    if let Some(security) = security {
        set(records::SECURITY, security.to_owned());
    }
}

/// What the entry itself wants to have, where that is well-formed.
fn override_records(header: &mut Header, entry: &Entry) {
    let xattr = |name: &[u8]| entry.meta.xattrs.get(name);
    let is_descriptor = |text: &&Vec<u8>| {
        windows::from_base64(text)
            .is_some_and(|bytes| windows::check_security_descriptor(&bytes).is_ok())
    };
    if let Some(security) = xattr(WINDOWS_SECURITY_XATTR).filter(is_descriptor) {
        header.records.insert(records::SECURITY.as_bytes().to_vec(), security.clone());
    }
    let number = xattr(WINDOWS_ATTRIBUTES_XATTR)
        .and_then(|text| std::str::from_utf8(text).ok()?.parse::<u32>().ok());
    if let Some(number) = number {
        let directory = if entry.kind.is_directory() { attributes::DIRECTORY } else { 0 };
        let number = number & attributes::KEPT | directory;
        header
            .records
            .insert(records::ATTRIBUTES.as_bytes().to_vec(), number.to_string().into_bytes());
    }
}

/// The target as a layer has it. One that begins with `Files` would be taken for a path of the layer.
fn link_target(path: &RelPath, target: &[u8]) -> Result<Vec<u8>, PackError> {
    let link = windows::link_target_to_windows(target);
    if link.is_empty() {
        return Err(unfit(&path.to_string(), "the link leads nowhere: its target is empty"));
    }
    Ok(if link.starts_with(b"Files\\") { [b".\\".to_vec(), link].concat() } else { link })
}

fn unfit(path: &str, why: &str) -> PackError {
    PackError::Unfit { path: show(path.as_bytes()), form: "Windows", why: why.to_owned() }
}
