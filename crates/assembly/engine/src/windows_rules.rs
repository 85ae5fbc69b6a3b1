//! `Dockerfile.windows.toml`: attributes and access lists that files get in Windows images. Beside the Dockerfile and not
//! in it, so that other builders read the Dockerfile as ever.

use build_api::BuildError;
use fstree::{Changeset, Entry, Kind, glob_match, has_wildcards};
use layer::{WINDOWS_ATTRIBUTES_XATTR, WINDOWS_SECURITY_XATTR};
use oci::Digest;
use serde::Deserialize;
use windows::attributes;

use crate::error::refused;

/// The rules of one file, in its order: later ones win.
#[derive(Debug, Default)]
pub(crate) struct WindowsRules {
    rules: Vec<Rule>,
    digest: Option<Digest>,
}

#[derive(Debug)]
struct Rule {
    /// Folded segments.
    patterns: Vec<Vec<Vec<u8>>>,
    attributes: Option<u32>,
    /// As base64.
    security: Option<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    files: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    paths: Vec<toml::Spanned<String>>,
    #[serde(default)]
    attributes: Option<Vec<toml::Spanned<String>>>,
    #[serde(default)]
    sddl: Option<toml::Spanned<String>>,
}

const ATTRIBUTES: [(&str, u32); 5] = [
    ("readonly", attributes::READONLY),
    ("hidden", attributes::HIDDEN),
    ("system", attributes::SYSTEM),
    ("archive", attributes::ARCHIVE),
    ("not-content-indexed", attributes::NOT_CONTENT_INDEXED),
];

/// What a file of rules looks like, for messages.
const SHAPE: &str =
    "each [[files]] has paths = [\"C:/app/**\"], and attributes = [\"hidden\"] or sddl = \"D:…\"";
/// More rules or patterns than a person writes.
const MAX_RULES: usize = 1_000;
const MAX_PATTERNS: usize = 1_000;

impl WindowsRules {
    /// Reads the file's text; `name` is for messages.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, BuildError> {
        let line =
            |at: usize| text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        let wrong = |at: usize, what: String, hint: &str| {
            refused(format!("{name}:{}: {what}", line(at)), Some(hint))
        };
        let document: Document = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong(at, error.message().to_owned(), SHAPE)
        })?;
        if document.files.len() > MAX_RULES {
            return Err(wrong(0, format!("more than {MAX_RULES} rules"), SHAPE));
        }
        let mut rules = Vec::new();
        for written in document.files {
            if written.paths.len() > MAX_PATTERNS {
                return Err(wrong(0, format!("more than {MAX_PATTERNS} paths"), SHAPE));
            }
            let mut patterns = Vec::new();
            for path in &written.paths {
                let pattern = pattern(path.get_ref())
                    .map_err(|what| wrong(path.span().start, what, SHAPE))?;
                patterns.push(pattern);
            }
            let mut attributes = written.attributes.is_some().then_some(0);
            for word in written.attributes.iter().flatten() {
                let known = ATTRIBUTES.iter().find(|(known, _)| known == word.get_ref());
                let (_, bit) = known.ok_or_else(|| {
                    let known: Vec<&str> = ATTRIBUTES.iter().map(|(known, _)| *known).collect();
                    let what = format!("there is no attribute `{}`", word.get_ref());
                    wrong(word.span().start, what, &format!("known are {}", known.join(", ")))
                })?;
                attributes = attributes.map(|all| all | bit);
            }
            let security = written.sddl.map(|sddl| {
                windows::sddl_to_bytes(sddl.get_ref())
                    .map(|bytes| windows::base64(&bytes).into_bytes())
                    .map_err(|error| {
                        // The quote comes before the text.
                        let (at, shown) = (sddl.span().start, marked(sddl.get_ref(), &error));
                        let hint =
                            "for example O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU)";
                        wrong(at, format!("invalid SDDL: {error}\n{shown}"), hint)
                    })
            });
            rules.push(Rule { patterns, attributes, security: security.transpose()? });
        }
        Ok(Self { digest: (!rules.is_empty()).then(|| Digest::of(text.as_bytes())), rules })
    }

    /// What identifies the rules, when there are any.
    pub(crate) fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Gives files and directories what the rules say of their paths.
    pub(crate) fn apply(&self, changes: &mut Changeset) {
        if self.rules.is_empty() {
            return;
        }
        for entry in changes.entries.values_mut() {
            if !matches!(entry.kind, Kind::File(_) | Kind::Directory { .. }) {
                continue;
            }
            let path: Vec<Vec<u8>> = entry.path.segments().map(windows::fold).collect();
            for rule in &self.rules {
                if rule.patterns.iter().any(|pattern| matches(pattern, &path)) {
                    rule.give(entry);
                }
            }
        }
    }
}

impl Rule {
    fn give(&self, entry: &mut Entry) {
        if let Some(bits) = self.attributes {
            // What every file has unless somebody takes care to remove it.
            let usual = if entry.kind.is_directory() { 0 } else { attributes::ARCHIVE };
            let text = (bits | usual).to_string();
            entry.meta.xattrs.insert(WINDOWS_ATTRIBUTES_XATTR.to_vec(), text.into_bytes());
        }
        if let Some(security) = &self.security {
            entry.meta.xattrs.insert(WINDOWS_SECURITY_XATTR.to_vec(), security.clone());
        }
    }
}

/// The text, and a mark beneath the mistake.
fn marked(text: &str, error: &windows::SddlError) -> String {
    let before = text.get(..error.position).unwrap_or_default();
    format!("    {text}\n    {}^", " ".repeat(before.chars().count()))
}

/// Segments of `C:/app/*.exe`, `\app\**` or `app`, folded.
fn pattern(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let path = windows::image_path(text, "/").map_err(|error| error.to_string())?;
    let segments: Vec<Vec<u8>> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| windows::fold(segment.as_bytes()))
        .collect();
    if segments.is_empty() {
        return Err(format!("`{text}` is the root of the drive, which belongs to Windows"));
    }
    for segment in segments.iter().filter(|segment| has_wildcards(segment)) {
        glob_match(segment, b"x").map_err(|_| format!("`{text}` is a malformed pattern"))?;
    }
    Ok(segments)
}

/// Whether segments match; `**` takes any number of them. One row of the table at a time, so that no pattern is slow.
fn matches(pattern: &[Vec<u8>], path: &[Vec<u8>]) -> bool {
    let mut row = vec![false; path.len() + 1];
    row[0] = true;
    for segment in pattern {
        let mut next = vec![false; path.len() + 1];
        if segment == b"**" {
            let mut reached = false;
            for (to, from) in next.iter_mut().zip(&row) {
                reached |= from;
                *to = reached;
            }
        } else {
            for (at, name) in path.iter().enumerate() {
                next[at + 1] = row[at] && glob_match(segment, name).unwrap_or(false);
            }
        }
        row = next;
    }
    row[path.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(text: &str) -> Vec<Vec<u8>> {
        pattern(text).unwrap()
    }

    #[test]
    fn patterns_match_as_windows_compares() {
        for (text, path, expected) in [
            ("C:/app/**", "App/bin/x.exe", true),
            ("C:\\app\\*.exe", "APP/x.EXE", true),
            ("app/*.exe", "app/bin/x.exe", false),
            ("**/x.exe", "x.exe", true),
            ("app/**/x.exe", "app/a/b/x.exe", true),
            ("app", "app/x", false),
            ("/app/[a-c]?", "app/B1", true),
        ] {
            let found = matches(&segments(text), &segments(path));
            assert_eq!(found, expected, "{text} {path}");
        }
        let long = segments(&"**/a/".repeat(200));
        assert!(!matches(&long, &segments(&"a/".repeat(199))));
    }

    #[test]
    fn later_rules_win_and_links_are_left_alone() {
        let rules = WindowsRules::parse(
            "Dockerfile.windows.toml",
            "[[files]]\npaths = ['C:\\app\\**']\nattributes = ['hidden']\nsddl = 'O:BAG:BA'\n\
             [[files]]\npaths = ['app/b']\nattributes = []\n",
        )
        .unwrap();
        let entry = |path: &str, kind: Kind| Entry {
            path: path.parse().unwrap(),
            kind,
            meta: fstree::Metadata::default(),
        };
        let mut changes = Changeset::from_iter([
            entry("App", Kind::DIRECTORY),
            entry("App/a", Kind::File(fstree::Content::Empty)),
            entry("App/b", Kind::File(fstree::Content::Empty)),
            entry("App/c", Kind::Symlink(b"a".to_vec())),
            entry("other", Kind::File(fstree::Content::Empty)),
        ]);
        rules.apply(&mut changes);
        let given: Vec<String> = changes
            .iter()
            .map(|entry| {
                let get = |name: &[u8]| {
                    entry.meta.xattrs.get(name).map(|it| String::from_utf8_lossy(it).into_owned())
                };
                format!(
                    "{} {:?} {}",
                    entry.path,
                    get(WINDOWS_ATTRIBUTES_XATTR),
                    get(WINDOWS_SECURITY_XATTR).as_deref() == Some(windows::SD_ADMIN)
                )
            })
            .collect();
        assert_eq!(
            given,
            [
                "App Some(\"2\") true",
                "App/a Some(\"34\") true",
                "App/b Some(\"32\") true",
                "App/c None false",
                "other None false",
            ]
        );
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_place() {
        for (text, expected) in [
            (
                "\n[[files]]\npaths = ['x']\nsddl = 'O:BAD:(A;;FAX;;;BA)'\n",
                "f:4: invalid SDDL: `X` is no right: FA, FR, FW, FX, GA, SD, WD … are, or a number such as 0x1200a9 (at character 13)\n    O:BAD:(A;;FAX;;;BA)\n                ^",
            ),
            (
                "[[files]]\npaths = ['x']\nattributes = ['invisible']\n",
                "f:3: there is no attribute `invisible`",
            ),
            ("[[files]]\npaths = ['D:/x']\n", "f:2: `D:/x` is not on the system drive (C:)"),
            (
                "[[files]]\npaths = ['C:/']\n",
                "f:2: `C:/` is the root of the drive, which belongs to Windows",
            ),
            ("[[files]]\npaths = ['[a']\n", "f:2: `[a` is a malformed pattern"),
            (
                "[[files]]\npath = ['x']\n",
                "f:2: unknown field `path`, expected one of `paths`, `attributes`, `sddl`",
            ),
        ] {
            let error = WindowsRules::parse("f", text).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
    }
}
