//! Would Windows import this layer, and would containers see what is meant? The rules of hcsshim's importer and of
//! Win32 names, applied to a layer without Windows.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use fstree::show;
use windows::{attributes, layout, records};

use crate::tar::{Header, Limits, MemberKind, Reader, TarError};
use crate::windows_base::WindowsBase;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but perhaps not as meant.
    Warning,
    /// Windows refuses the layer, or programs cannot use the file.
    Error,
}

/// Something that is wrong with a Windows layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule it breaks, one of [`WINDOWS_RULES`].
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Which member, as its name is written.
    pub path: String,
    /// What is wrong with it.
    pub what: String,
}

/// The rules, and what each asks for.
pub const WINDOWS_RULES: [(&str, &str); 10] = [
    ("WL01", "only Files, Hives and UtilityVM are at the top of a layer, and Files is there"),
    ("WL02", "a directory comes before what is in it"),
    (
        "WL03",
        "no path is there twice, whatever its letters' case, and none is both there and removed",
    ),
    ("WL04", "names are ones that Windows programs can open"),
    ("WL05", "there are only files, directories and links, in plain PAX form"),
    ("WL06", "a hard link follows its target"),
    ("WL07", "a symbolic link has the attributes and the target of one"),
    ("WL08", "attributes, security descriptors and times are well-formed"),
    ("WL09", "removals are single, beneath Files, and not in a base layer"),
    ("WL10", "a base layer has the five registry hives"),
];

/// Checks a layer (a plain tar) in Windows form. `base` is what the layers below have, `None` for a base layer.
pub fn windows_check(
    layer: impl Read,
    base: Option<&WindowsBase>,
) -> Result<Vec<Finding>, TarError> {
    let mut archive = Reader::new(layer, Limits::default());
    let mut check = WindowsCheck::new(base);
    while let Some(header) = archive.next_member()? {
        let mut start = [0; 4];
        let count =
            if check.wants_start(&header) { archive.read(&mut start).unwrap_or(0) } else { 0 };
        check.member(&header, &start[..count]);
    }
    archive.finish()?;
    Ok(check.finish())
}

/// The check of one layer, member by member, for who reads its contents as well.
#[derive(Default)]
pub struct WindowsCheck<'a> {
    base: Option<&'a WindowsBase>,
    findings: Vec<Finding>,
    /// Directories of this layer, folded, without a slash at the end.
    directories: BTreeSet<Vec<u8>>,
    /// All paths of this layer, folded, and whether they are removals.
    paths: BTreeMap<Vec<u8>, bool>,
    /// Files of this layer, as written, and how many names they have.
    files: BTreeMap<Vec<u8>, usize>,
    hives: BTreeSet<Vec<u8>>,
    links: Vec<Link>,
    /// The file before, as written: streams follow their file.
    previous: Vec<u8>,
}

/// A symbolic link, whose target may come later.
struct Link {
    path: Vec<u8>,
    target: Vec<u8>,
    is_directory: bool,
}

const MAX_FINDINGS: usize = 1_000;

impl<'a> WindowsCheck<'a> {
    /// Begins. `base` is what the layers below have, `None` for a base layer.
    pub fn new(base: Option<&'a WindowsBase>) -> Self {
        Self { base, ..Self::default() }
    }

    /// Whether the first four bytes of the member's content are asked for.
    pub fn wants_start(&self, header: &Header) -> bool {
        self.is_base_hive(header)
    }

    /// Takes the next member. `start` is the beginning of its content, where it was asked for.
    pub fn member(&mut self, header: &Header, start: &[u8]) {
        if start.starts_with(b"regf") && self.is_base_hive(header) {
            self.hives.insert(header.path.clone());
        }
        self.check(header);
    }

    fn check(&mut self, header: &Header) {
        let path = header.path.strip_suffix(b"/").unwrap_or(&header.path).to_vec();
        if header.path.ends_with(b"/") && is_top(&path) {
            // Microsoft's own base for HostProcess containers has `Files/`; `UtilityVM/` is refused.
            if path == layout::UTILITY_VM.as_bytes() {
                self.error("WL01", &header.path, "this directory must not end in a slash");
            } else {
                let what = "a directory at the top is better written without a slash at its end";
                self.warning("WL01", &header.path, what);
            }
        }
        let mut parts = path.split(|byte| *byte == b'/');
        let top = parts.next().unwrap_or_default();
        if header.path.starts_with(b"/") || header.path.starts_with(b"./") {
            return self.error("WL01", &header.path, "paths must be relative, without `./`");
        }
        if !is_top(top) {
            return self.error(
                "WL01",
                &header.path,
                "only `Files`, `Hives` and `UtilityVM` may be at the top",
            );
        }
        if is_stream(&path, &self.previous) {
            return;
        }
        self.previous.clone_from(&path);
        for part in parts {
            let name = part.strip_prefix(b".wh.").unwrap_or(part);
            if let Err(error) = windows::check_component(name) {
                self.error("WL04", &header.path, &error.to_string());
            }
        }
        if let Ok(text) = std::str::from_utf8(&path) {
            match text.encode_utf16().count() {
                length if length > windows::MAX_PATH_UNITS => {
                    self.error("WL04", &header.path, "the path is too long");
                }
                length if length > 259 + layout::FILES.len() => {
                    self.warning(
                        "WL04",
                        &header.path,
                        "the path is longer than most programs can open (260)",
                    );
                }
                _ => {}
            }
        }
        if header.gnu {
            self.error(
                "WL05",
                &header.path,
                "GNU extensions are not understood by all readers of Windows layers",
            );
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name.starts_with(b".wh.") {
            return self.whiteout(header, &path);
        }
        self.place(header, &path);
        self.kind(header, &path);
        self.records(header);
    }

    /// Parents first, and every path once.
    fn place(&mut self, header: &Header, path: &[u8]) {
        let folded = windows::fold(path);
        if let Some(slash) = folded.iter().rposition(|byte| *byte == b'/')
            && !self.directories.contains(&folded[..slash])
        {
            self.error("WL02", &header.path, "its directory is not in the layer before it");
        }
        match self.paths.insert(folded.clone(), false) {
            Some(true) => self.error("WL03", &header.path, "it is also removed in this layer"),
            Some(false) => {
                self.error("WL03", &header.path, "it is in the layer twice (case does not count)");
            }
            None => {}
        }
        if header.kind == MemberKind::Directory {
            self.directories.insert(folded);
        }
    }

    fn whiteout(&mut self, header: &Header, path: &[u8]) {
        let in_files =
            [&b"Files/"[..], b"UtilityVM/Files/"].iter().any(|prefix| path.starts_with(prefix));
        if !in_files {
            self.error("WL09", &header.path, "removals are allowed beneath `Files` only");
        }
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..=slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        if name.starts_with(b".wh..wh.") {
            self.error("WL09", &header.path, "Windows knows no opaque directories");
        }
        if self.base.is_none() {
            self.error("WL09", &header.path, "a base layer cannot remove anything");
        }
        let removed = [parent, name.strip_prefix(b".wh.").unwrap_or(name)].concat();
        if self.paths.insert(windows::fold(&removed), true) == Some(false) {
            self.error("WL03", &header.path, "what it removes is also in this layer");
        }
    }

    fn kind(&mut self, header: &Header, path: &[u8]) {
        match header.kind {
            MemberKind::File => {
                self.files.insert(path.to_vec(), 1);
            }
            MemberKind::Directory => {}
            MemberKind::Hardlink => self.hardlink(header),
            MemberKind::Symlink => self.symlink(header),
            MemberKind::CharDevice
            | MemberKind::BlockDevice
            | MemberKind::Fifo
            | MemberKind::Other(_) => {
                self.error(
                    "WL05",
                    &header.path,
                    "only files, directories and links can be in a Windows layer",
                );
            }
        }
    }

    fn hardlink(&mut self, header: &Header) {
        let Some(target) = header.link.strip_prefix(b"Files/") else {
            return self.error(
                "WL06",
                &header.path,
                "the target of a hard link must begin with `Files/`",
            );
        };
        if let Some(names) = self.files.get_mut(&header.link) {
            *names += 1;
            if *names > windows::MAX_LINKS {
                self.error("WL06", &header.path, "a file can have 1024 names at most");
            }
            return;
        }
        let in_base = self.base.is_some_and(|base| {
            fstree::RelPath::new(target).is_ok_and(|target| base.find(&target).is_some())
        });
        if !in_base {
            self.error(
                "WL06",
                &header.path,
                "the target of the hard link is not in the layer before it",
            );
        }
    }

    fn symlink(&mut self, header: &Header) {
        if attributes_of(header)
            .is_none_or(|attributes| attributes & attributes::REPARSE_POINT == 0)
        {
            self.error(
                "WL07",
                &header.path,
                "a link needs the attribute 0x400 in `MSWINDOWS.fileattr`",
            );
        }
        if header.link.starts_with(b"Files/") || header.link.starts_with(b"Files\\") {
            self.error(
                "WL07",
                &header.path,
                "the target of a link is a path in the container, without `Files`",
            );
        }
        if header.link.starts_with(b"/") || header.link.is_empty() {
            self.error(
                "WL07",
                &header.path,
                "the target of a link is relative or begins with a drive",
            );
        }
        let is_directory =
            attributes_of(header).is_some_and(|attributes| attributes & attributes::DIRECTORY != 0);
        self.links.push(Link {
            path: header.path.clone(),
            target: header.link.clone(),
            is_directory,
        });
    }

    /// Windows has links to files and links to directories, and neither works for the other.
    fn link_kinds(&mut self) {
        for link in std::mem::take(&mut self.links) {
            if self
                .leads_to_directory(&link)
                .is_some_and(|is_directory| is_directory != link.is_directory)
            {
                let wanted = if link.is_directory { "file" } else { "directory" };
                self.error(
                    "WL07",
                    &link.path,
                    &format!(
                        "its attributes are not those of a link to a {wanted}, which its target is"
                    ),
                );
            }
        }
    }

    fn leads_to_directory(&self, link: &Link) -> Option<bool> {
        let target = windows::link_target_from_windows(&link.target)?;
        let path = link.path.strip_prefix(b"Files/")?;
        let whole = if target.starts_with(b"/") {
            target
        } else {
            let parent = path
                .iter()
                .rposition(|byte| *byte == b'/')
                .map_or(&path[..0], |slash| &path[..slash]);
            [parent, b"/", &target].concat()
        };
        let whole = fstree::RelPath::clean(whole);
        let in_layer = windows::fold(&[b"Files/", whole.as_bytes()].concat());
        if self.directories.contains(&in_layer) {
            return Some(true);
        }
        if self.files.contains_key(&[b"Files/", whole.as_bytes()].concat()) {
            return Some(false);
        }
        self.base.and_then(|base| base.find(&whole)).map(|file| file.is_directory)
    }

    fn records(&mut self, header: &Header) {
        let record = |name: &str| header.records.get(name.as_bytes());
        if record(records::ATTRIBUTES).is_some() {
            match attributes_of(header) {
                None => {
                    self.error(
                        "WL08",
                        &header.path,
                        "`MSWINDOWS.fileattr` is not a decimal 32-bit number",
                    );
                }
                Some(attributes) => {
                    let says_directory = attributes & attributes::DIRECTORY != 0;
                    let wrong = match header.kind {
                        MemberKind::Directory => !says_directory,
                        MemberKind::File => says_directory,
                        _ => false,
                    };
                    if wrong {
                        self.error(
                            "WL08",
                            &header.path,
                            "`MSWINDOWS.fileattr` and the kind of the member disagree",
                        );
                    }
                }
            }
        }
        if let Some(text) = record(records::SECURITY) {
            match windows::from_base64(text) {
                None => self.error("WL08", &header.path, "`MSWINDOWS.rawsd` is not base64"),
                Some(bytes) => {
                    if let Err(error) = windows::check_security_descriptor(&bytes) {
                        self.error("WL08", &header.path, &format!("`MSWINDOWS.rawsd`: {error}"));
                    }
                }
            }
        }
        for name in [records::CREATED, "atime", "ctime"] {
            if record(name).is_some_and(|text| crate::tar::parse_time(text).is_none()) {
                self.error("WL08", &header.path, &format!("`{name}` is not a time"));
            }
        }
        if !header.xattrs.is_empty() {
            self.warning(
                "WL08",
                &header.path,
                "extended attributes of Linux mean nothing on Windows",
            );
        }
    }

    fn is_base_hive(&self, header: &Header) -> bool {
        self.base.is_none()
            && base_hives().any(|hive| windows::fold(&hive) == windows::fold(&header.path))
    }

    /// What was found.
    pub fn finish(mut self) -> Vec<Finding> {
        self.link_kinds();
        if !self.directories.contains(&windows::fold(layout::FILES.as_bytes())) {
            self.error("WL01", layout::FILES.as_bytes(), "the layer has no `Files` directory");
        }
        if self.base.is_none() {
            let found: BTreeSet<Vec<u8>> =
                self.hives.iter().map(|path| windows::fold(path)).collect();
            for hive in base_hives().filter(|hive| !found.contains(&windows::fold(hive))) {
                self.error(
                    "WL10",
                    &hive,
                    "a base layer needs this registry hive, which begins with `regf`",
                );
            }
        }
        self.findings
    }

    fn error(&mut self, rule: &'static str, path: &[u8], what: &str) {
        self.find(rule, Severity::Error, path, what);
    }

    fn warning(&mut self, rule: &'static str, path: &[u8], what: &str) {
        self.find(rule, Severity::Warning, path, what);
    }

    fn find(&mut self, rule: &'static str, severity: Severity, path: &[u8], what: &str) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { rule, severity, path: show(path), what: what.to_owned() });
        }
    }
}

/// Whether `path` is `previous:stream`.
fn is_stream(path: &[u8], previous: &[u8]) -> bool {
    let name = path.strip_prefix(previous).and_then(|rest| rest.strip_prefix(b":"));
    !previous.is_empty()
        && name.is_some_and(|name| {
            !name.is_empty() && !name.iter().any(|byte| matches!(byte, b'/' | b'\\'))
        })
}

fn is_top(name: &[u8]) -> bool {
    [layout::FILES, layout::HIVES, layout::UTILITY_VM].iter().any(|top| top.as_bytes() == name)
}

fn attributes_of(header: &Header) -> Option<u32> {
    let text = header.records.get(records::ATTRIBUTES.as_bytes())?;
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn base_hives() -> impl Iterator<Item = Vec<u8>> {
    layout::BASE_HIVES.iter().map(|hive| [layout::FILES.as_bytes(), b"/", hive.as_bytes()].concat())
}
