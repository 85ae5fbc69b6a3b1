//! The layers of an image, lowest first, each read once.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use fstree::{RelPath, show};
use layer::tar::{Header, Limits, MemberKind, Reader, TarError};
use layer::{WindowsBase, WindowsCheck, WindowsHeaders, decompress};
use oci::{Digest, Digester, HashingReader};
use windows::{attributes, layout, records};

use crate::finding::{Finding, Severity};

/// A layer has at most this many bytes when it is not compressed.
const LAYER_LIMIT: u64 = 256 << 30;
/// Larger programs go to a file while they are looked at.
const IN_MEMORY: u64 = 16 << 20;
/// Larger ones are not looked at.
const PROGRAM_LIMIT: u64 = 4 << 30;
/// Larger hives are not taken apart.
const HIVE_LIMIT: u64 = 32 << 20;
/// More hives are not taken apart: an image has ten.
const MAX_HIVES: usize = 64;
/// Bytes of libraries' names that are kept for all programs together.
const MAX_NAMES: usize = 64 << 20;
/// Findings of one rule in one layer, after which they are only counted.
const SAME_RULE: usize = 20;

/// Why layers cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The layer is damaged, or its bytes did not come.
    #[error("cannot read layer {number}")]
    Layer {
        /// Counted from 0 at the bottom.
        number: usize,
        /// Why.
        source: TarError,
    },
    /// As above, before the first member.
    #[error("cannot read layer {number}")]
    Start {
        /// Counted from 0 at the bottom.
        number: usize,
        /// Why.
        source: io::Error,
    },
    /// A program could not be kept for the moment.
    #[error("cannot write a temporary file")]
    Temporary(#[source] io::Error),
}

/// Who may do what: a security descriptor, which many files share.
pub type Security = Arc<[u8]>;

/// What a container finds at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A file; other names of one count as well.
    File,
    /// A symbolic link and its target.
    Link(String),
    /// A junction and its target.
    Junction(String),
}

/// A file as a container sees it.
#[derive(Clone, Debug)]
pub struct File {
    /// With `/` between names and in the letters' case of the layer, as in `Windows/System32`.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Bytes of its content.
    pub size: u64,
    /// Win32 attributes, where the layer says them.
    pub attributes: Option<u32>,
    /// Its own security descriptor; without one it has what its directory passes on.
    pub security: Option<Security>,
    /// Seconds since 1970 UTC.
    pub modified: i64,
    /// Which layer it is from, counted from 0 at the bottom.
    pub layer: usize,
    /// What it says of itself, if it is a program or library.
    pub program: Option<Arc<pe::Image>>,
}

/// A registry hive in a layer.
#[derive(Clone, Debug)]
pub struct HiveFile {
    /// As the layer names it: `Hives/System_Delta`, `Files/Windows/System32/config/SYSTEM`.
    pub path: String,
    /// Which layer it is in.
    pub layer: usize,
    /// Bytes.
    pub size: u64,
    /// What it holds, or why that cannot be told.
    pub content: Result<Arc<regf::Hive>, String>,
}

/// One layer.
#[derive(Clone, Debug, Default)]
pub struct LayerContents {
    /// Whether it was read; what is not here is left out.
    pub was_read: bool,
    /// Members of its archive.
    pub members: usize,
    /// Bytes of its archive, not compressed.
    pub size: u64,
    /// Whether it has the parts that only layers of Windows itself have.
    pub is_windows: bool,
    /// The digest of its archive.
    pub diff_id: Option<Digest>,
}

/// What is in an image.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Files by path, beneath `Files` and folded as Windows compares names.
    pub files: BTreeMap<Vec<u8>, File>,
    /// Hives of all layers.
    pub hives: Vec<HiveFile>,
    /// Layers, lowest first.
    pub layers: Vec<LayerContents>,
    /// What is wrong with single layers.
    pub findings: Vec<Finding>,
}

impl Contents {
    /// The file at a path beneath C:, with `/` or `\` between names, whatever its letters' case.
    pub fn find(&self, path: &str) -> Option<&File> {
        let path = path.replace('\\', "/");
        self.files.get(&windows::fold(path.trim_matches('/').as_bytes()))
    }

    /// Whether all layers were read.
    pub fn is_whole(&self) -> bool {
        self.layers.iter().all(|layer| layer.was_read)
    }

    /// Whether Windows itself is in it, and not only what is needed to be imported.
    pub fn has_windows(&self) -> bool {
        self.find("Windows/System32/ntdll.dll").is_some()
    }
}

/// Reads layers.
pub struct Scan {
    /// Where large programs are kept while they are looked at.
    temporary: PathBuf,
    contents: Contents,
    base: WindowsBase,
    securities: BTreeMap<Vec<u8>, Security>,
    /// How many more bytes of libraries' names may be kept.
    names_left: usize,
}

impl Scan {
    /// Begins. Files are made in `temporary` for large programs only, and are gone before the next is looked at.
    pub fn new(temporary: impl Into<PathBuf>) -> Self {
        Self {
            temporary: temporary.into(),
            contents: Contents::default(),
            base: WindowsBase::default(),
            securities: BTreeMap::new(),
            names_left: MAX_NAMES,
        }
    }

    /// Passes over a layer that is not here.
    pub fn skip(&mut self) {
        self.contents.layers.push(LayerContents::default());
    }

    /// Reads the next layer, compressed or not, to its end. Only the lowest can be a base layer, and is taken as one
    /// unless `on_a_base` says that there is one below.
    pub fn layer(
        &mut self,
        reader: impl Read + Send,
        diff_id: Option<&Digest>,
        on_a_base: bool,
    ) -> Result<(), ScanError> {
        let number = self.contents.layers.len();
        let failed = |source| ScanError::Layer { number, source };
        let plain = decompress(reader, LAYER_LIMIT)
            .map_err(|source| ScanError::Start { number, source })?;
        let digester = diff_id.map_or_else(Digester::sha256, Digester::like);
        let mut archive = Reader::new(HashingReader::new(plain, digester), Limits::default());
        let base = std::mem::take(&mut self.base);
        let below = (number > 0 || on_a_base).then_some(&base);
        let mut check = WindowsCheck::new(below);
        let mut headers = WindowsHeaders::default();
        let mut found = LayerContents { was_read: true, ..LayerContents::default() };
        while let Some(header) = archive.next_member().map_err(failed)? {
            found.members += 1;
            found.is_windows |= is_part_of_windows(&header.path);
            let (start, program) = self.content(number, &header, &mut archive)?;
            check.member(&header, &start);
            self.file(number, &header, program);
            headers.add(header);
        }
        let (_, digest, size) = archive.finish().map_err(failed)?.finish();
        (found.size, found.diff_id) = (size, Some(digest));
        self.take_findings(number, check.finish(), found.is_windows);
        self.base = base;
        self.base.add_headers(&headers);
        self.contents.layers.push(found);
        Ok(())
    }

    /// What was found.
    pub fn finish(self) -> Contents {
        self.contents
    }

    /// The first bytes of a member, and what it is if it is a program. Hives are taken apart on the way.
    fn content<R: Read>(
        &mut self,
        number: usize,
        header: &Header,
        archive: &mut Reader<R>,
    ) -> Result<(Vec<u8>, Option<Arc<pe::Image>>), ScanError> {
        let failed = |source: io::Error| ScanError::Start { number, source };
        let hive = is_hive(&header.path);
        if header.kind != MemberKind::File || (header.size == 0 && !hive) {
            return Ok((Vec::new(), None));
        }
        let mut start = Vec::new();
        archive.by_ref().take(4).read_to_end(&mut start).map_err(failed)?;
        if hive {
            if self.contents.hives.len() == MAX_HIVES {
                return Ok((start, None));
            }
            let content = if header.size > HIVE_LIMIT {
                Err(format!("it has more than {HIVE_LIMIT} bytes"))
            } else {
                let mut bytes = start.clone();
                archive.take(HIVE_LIMIT).read_to_end(&mut bytes).map_err(failed)?;
                regf::read(&bytes).map(Arc::new).map_err(|error| error.to_string())
            };
            let path = show(&header.path);
            let hive = HiveFile { path, layer: number, size: header.size, content };
            self.contents.hives.push(hive);
            return Ok((start, None));
        }
        if !start.starts_with(b"MZ") || header.size > PROGRAM_LIMIT {
            return Ok((start, None));
        }
        let program = if header.size <= IN_MEMORY {
            let mut bytes = start.clone();
            archive.take(IN_MEMORY).read_to_end(&mut bytes).map_err(failed)?;
            pe::read(bytes.as_slice())
        } else {
            let spool = self.spool(&start, archive)?;
            pe::read(&spool)
        };
        match program {
            Ok(mut program) => {
                let names = program.imports.iter().chain(&program.delayed).map(String::len);
                if let Some(left) = self.names_left.checked_sub(names.sum()) {
                    self.names_left = left;
                } else {
                    (program.imports, program.delayed) = (Vec::new(), Vec::new());
                    let what = "the programs of the image name more libraries than are looked at";
                    program.problems.push(what.to_owned());
                }
                Ok((start, Some(Arc::new(program))))
            }
            Err(pe::PeError::Read(error)) => Err(ScanError::Temporary(error)),
            Err(error) => {
                // Programs for DOS begin the same and are none of Windows' business.
                self.contents.findings.push(Finding {
                    rule: "WP05",
                    severity: Severity::Note,
                    layer: Some(number),
                    path: show(&header.path),
                    what: format!("it begins as a program does, but it is {error}"),
                    help: None,
                });
                Ok((start, None))
            }
        }
    }

    fn spool<R: Read>(&self, start: &[u8], rest: &mut Reader<R>) -> Result<Spool, ScanError> {
        let path = self.temporary.join(format!("program-{}", std::process::id()));
        let made = fs_err::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let mut file = made.map_err(ScanError::Temporary)?;
        // Nobody needs its name, and so nobody needs to remove it.
        fs_err::remove_file(&path).map_err(ScanError::Temporary)?;
        file.write_all(start).map_err(ScanError::Temporary)?;
        let copied = io::copy(&mut rest.take(PROGRAM_LIMIT), &mut file);
        let size = copied.map_err(ScanError::Temporary)? + start.len() as u64;
        Ok(Spool { file, size })
    }

    /// Notes what the layer says of a path.
    fn file(&mut self, number: usize, header: &Header, program: Option<Arc<pe::Image>>) {
        let path = header.path.strip_suffix(b"/").unwrap_or(&header.path);
        let Some(path) = path.strip_prefix(b"Files/") else { return };
        let Ok(path) = RelPath::new(path) else { return };
        if let Some(name) = path.name().strip_prefix(b".wh.") {
            if let Ok(removed) = path.parent().unwrap_or_else(RelPath::root).join(name) {
                self.remove(&windows::fold(removed.as_bytes()));
            }
            return;
        }
        let record = |name: &str| header.records.get(name.as_bytes());
        let number_of = |text: &Vec<u8>| std::str::from_utf8(text).ok()?.parse().ok();
        let target = || show(&header.link);
        let key = windows::fold(path.as_bytes());
        let mut file = File {
            path: path.to_string(),
            kind: match header.kind {
                MemberKind::Directory => FileKind::Directory,
                MemberKind::Symlink if record(records::MOUNT_POINT).is_some() => {
                    FileKind::Junction(target())
                }
                MemberKind::Symlink => FileKind::Link(target()),
                _ => FileKind::File,
            },
            size: header.size,
            attributes: record(records::ATTRIBUTES).and_then(number_of),
            security: record(records::SECURITY).and_then(|text| self.security(text)),
            modified: header.mtime.secs,
            layer: number,
            program,
        };
        if header.kind == MemberKind::Hardlink {
            // Another name of a file has what that has.
            let first = header.link.strip_prefix(b"Files/").map(windows::fold);
            if let Some(first) = first.and_then(|first| self.contents.files.get(&first)) {
                file = File { path: file.path, layer: number, ..first.clone() };
            }
        }
        if file.kind != FileKind::Directory {
            self.remove(&key);
        }
        self.contents.files.insert(key, file);
    }

    fn security(&mut self, text: &[u8]) -> Option<Security> {
        if let Some(known) = self.securities.get(text) {
            return Some(Arc::clone(known));
        }
        let security: Security = windows::from_base64(text)?.into();
        self.securities.insert(text.to_vec(), Arc::clone(&security));
        Some(security)
    }

    /// Removes a path and all that is beneath it.
    fn remove(&mut self, folded: &[u8]) {
        self.contents.files.remove(folded);
        let (first, after) = ([folded, b"/"].concat(), [folded, b"0"].concat());
        let beneath: Vec<Vec<u8>> =
            self.contents.files.range(first..after).map(|(key, _)| key.clone()).collect();
        for key in beneath {
            self.contents.files.remove(&key);
        }
    }

    /// Keeps the first of each rule, and says how many more there are.
    fn take_findings(&mut self, number: usize, found: Vec<layer::Finding>, is_windows: bool) {
        let mut counts: BTreeMap<&'static str, (usize, Severity)> = BTreeMap::new();
        for finding in found {
            let severity = match finding.severity {
                // Nobody but Microsoft can do something about those.
                layer::Severity::Warning if is_windows => continue,
                layer::Severity::Warning => Severity::Warning,
                layer::Severity::Error => Severity::Error,
            };
            let count = counts.entry(finding.rule).or_insert((0, severity));
            count.0 += 1;
            count.1 = count.1.max(severity);
            if count.0 <= SAME_RULE {
                self.contents.findings.push(Finding {
                    rule: finding.rule,
                    severity,
                    layer: Some(number),
                    path: finding.path,
                    what: finding.what,
                    help: None,
                });
            }
        }
        for (rule, (count, severity)) in counts.into_iter().filter(|(_, it)| it.0 > SAME_RULE) {
            self.contents.findings.push(Finding {
                rule,
                severity,
                layer: Some(number),
                path: "*".to_owned(),
                what: format!("{} more paths break this rule", count - SAME_RULE),
                help: None,
            });
        }
    }
}

/// A program in a file that has no name.
struct Spool {
    file: fs_err::File,
    size: u64,
}

impl pe::Source for Spool {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.file().read_at(&mut buffer[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Whether a member is one that only layers of Windows itself have.
fn is_part_of_windows(path: &[u8]) -> bool {
    path.starts_with(layout::UTILITY_VM.as_bytes())
        || path.eq_ignore_ascii_case(b"Files/Windows/System32/ntdll.dll")
}

/// Whether a member is a registry hive that containers are started with.
fn is_hive(path: &[u8]) -> bool {
    let in_files = path.strip_prefix(b"Files/").is_some_and(|path| {
        layout::BASE_HIVES.iter().any(|hive| path.eq_ignore_ascii_case(hive.as_bytes()))
    });
    in_files
        || path
            .strip_prefix(b"Hives/")
            .is_some_and(|name| !name.is_empty() && !name.starts_with(b".wh."))
}

impl File {
    /// Whether it says that it is hidden, read-only, or of the system, in the letters of `attrib`.
    pub fn letters(&self) -> String {
        let has = |bit| self.attributes.is_some_and(|attributes| attributes & bit != 0);
        [
            (attributes::READONLY, 'R'),
            (attributes::HIDDEN, 'H'),
            (attributes::SYSTEM, 'S'),
            (attributes::ARCHIVE, 'A'),
        ]
        .into_iter()
        .map(|(bit, letter)| if has(bit) { letter } else { '-' })
        .collect()
    }
}
