use report::did_you_mean;

/// A mount of RUN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Kind.
    pub kind: MountKind,
    /// Stage, image or context it comes from; empty is the build context, or nothing.
    pub from: String,
    /// Path within that; of secrets, the id.
    pub source: String,
    /// Where.
    pub target: String,
    /// Cannot be written.
    pub readonly: bool,
    /// `size`, bytes.
    pub size: i64,
    /// `id`.
    pub id: String,
    /// `sharing`, if given.
    pub sharing: Option<Sharing>,
    /// `required`.
    pub required: bool,
    /// `env`.
    pub env: Option<String>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

/// Kind of a [`Mount`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// Files from elsewhere.
    #[default]
    Bind,
    /// Files that outlive the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A secret.
    Secret,
    /// An agent's socket.
    Ssh,
}

/// How steps share a cache mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// At the same time.
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

/// Why a mount is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MountError {
    /// What is wrong.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
}

impl From<String> for MountError {
    fn from(message: String) -> Self {
        Self { message, hint: None }
    }
}

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARING: [&str; 3] = ["shared", "private", "locked"];
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl Mount {
    /// Reads the value of `--mount`. `expand` replaces variables in values.
    pub fn parse(
        value: &str,
        expand: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<Self, MountError> {
        let mut mount = Self::default();
        let mut readonly = None;
        for field in fields(value)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(expand(value)?)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("readonly" | "ro", None) => readonly = Some(true),
                ("readwrite" | "rw", None) => readonly = Some(false),
                ("readonly" | "ro", Some(value)) => readonly = Some(boolean(&key, &value)?),
                ("readwrite" | "rw", Some(value)) => readonly = Some(!boolean(&key, &value)?),
                ("required", value) => {
                    mount.only(&key, &[MountKind::Secret, MountKind::Ssh])?;
                    mount.required = value.map_or(Ok(true), |value| boolean(&key, &value))?;
                }
                (_, None) => {
                    let mut error = MountError::from(format!(
                        "invalid field '{field}' must be a key=value pair"
                    ));
                    error.hint =
                        did_you_mean(&key, KEYS).map(|guess| format!("did you mean {guess}=…?"));
                    return Err(error);
                }
                (key, Some(value)) => mount.set(key, value, &field)?,
            }
        }
        mount.check(readonly)?;
        Ok(mount)
    }

    fn set(&mut self, key: &str, value: String, field: &str) -> Result<(), MountError> {
        match key {
            "type" => {
                self.kind = match value.to_lowercase().as_str() {
                    "bind" => MountKind::Bind,
                    "cache" => MountKind::Cache,
                    "tmpfs" => MountKind::Tmpfs,
                    "secret" => MountKind::Secret,
                    "ssh" => MountKind::Ssh,
                    _ => {
                        return Err(unknown(
                            format!("unsupported mount type {value:?}"),
                            &value,
                            &TYPES,
                        ));
                    }
                }
            }
            "from" => self.from = value,
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "size" => {
                self.only(key, &[MountKind::Tmpfs])?;
                let message = || format!("invalid value for {key}: {value}");
                self.size = bytes(&value)
                    .ok_or_else(|| hinted(message(), "write bytes, or 64m, or 1.5g"))?;
            }
            "id" => self.id = value,
            "sharing" => {
                self.sharing = Some(match value.to_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => {
                        return Err(unknown(
                            format!("unsupported sharing value {value:?}"),
                            &value,
                            &SHARING,
                        ));
                    }
                });
            }
            "mode" => {
                let mode = u32::from_str_radix(&value, 8);
                let message = || format!("invalid value {value} for mode");
                self.mode =
                    Some(mode.map_err(|_| hinted(message(), "write octal digits, as in 0755"))?);
            }
            "uid" | "gid" => {
                let id: u32 =
                    value.parse().map_err(|_| format!("invalid value {value} for {key}"))?;
                *(if key == "uid" { &mut self.uid } else { &mut self.gid }) = Some(id);
            }
            "env" => self.env = Some(value),
            _ => return Err(unknown(format!("unexpected key '{key}' in '{field}'"), key, &KEYS)),
        }
        Ok(())
    }

    fn only(&self, key: &str, kinds: &[MountKind]) -> Result<(), MountError> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        let message = format!("unexpected key '{key}' for mount type '{}'", self.kind.name());
        Err(MountError {
            message,
            hint: Some("`type=` has to come before keys that belong to it".to_owned()),
        })
    }

    fn check(&mut self, readonly: Option<bool>) -> Result<(), MountError> {
        let kind = self.kind.name();
        let owned = matches!(self.kind, MountKind::Secret | MountKind::Ssh | MountKind::Cache);
        let given = [
            ("mode", self.mode.is_some()),
            ("uid", self.uid.is_some()),
            ("gid", self.gid.is_some()),
        ];
        if let Some((key, _)) = given.iter().find(|(_, given)| *given && !owned) {
            return Err(format!("{key} not allowed for \"{kind}\" type mounts").into());
        }
        let written = matches!(self.kind, MountKind::Cache | MountKind::Tmpfs);
        self.readonly = readonly.unwrap_or(!written);
        if self.kind == MountKind::Secret {
            if !self.from.is_empty() {
                return Err("secret mount should not have a from".to_owned().into());
            }
            if self.sharing.is_some() {
                return Err("secret mount should not define sharing".to_owned().into());
            }
            if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
                let message = "invalid secret mount. one of source, target required".to_owned();
                return Err(MountError { message, hint: Some("give it an id=".to_owned()) });
            }
            if !self.source.is_empty() && !self.id.is_empty() {
                return Err("both source and id can't be set".to_owned().into());
            }
        }
        if self.sharing.is_some() && self.kind != MountKind::Cache {
            return Err(format!("invalid cache sharing set for {kind} mount").into());
        }
        Ok(())
    }
}

impl MountKind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

fn unknown(message: String, word: &str, known: &[&'static str]) -> MountError {
    let hint = did_you_mean(word, known.iter().copied()).map_or_else(
        || format!("it can be {}", known.join(", ")),
        |guess| format!("did you mean {guess}?"),
    );
    MountError { message, hint: Some(hint) }
}

/// The `from` of a mount as written, before variables are known.
pub fn mounts_from(value: &str) -> Result<Option<String>, MountError> {
    let mut from = None;
    for field in fields(value)? {
        let Some((key, value)) = field.split_once('=') else { continue };
        if !key.eq_ignore_ascii_case("from") {
            continue;
        }
        from = Some(value.to_owned());
    }
    Ok(from)
}

/// The fields of a line of comma-separated values; a field in double quotes may hold commas.
pub(crate) fn fields(line: &str) -> Result<Vec<String>, MountError> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        let start = fields.last().is_none_or(String::is_empty);
        let Some(field) = fields.last_mut() else { break };
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if start => quoted = true,
            '"' => return Err("a quote stands in the middle of a mount's field".to_owned().into()),
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted {
        return Err("a quote in a mount is not closed".to_owned().into());
    }
    Ok(fields)
}

fn hinted(message: String, hint: &str) -> MountError {
    MountError { hint: Some(hint.to_owned()), ..message.into() }
}

pub(crate) fn boolean(key: &str, value: &str) -> Result<bool, MountError> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(hinted(format!("invalid value for {key}: {value}"), "write true or false")),
    }
}

/// `64m`, `1.5GiB`: bytes, units are powers of 1024.
fn bytes(text: &str) -> Option<i64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim_start().to_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    (0.0..9.0e18).contains(&bytes).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Mount, String> {
        Mount::parse(value, &mut |word| Ok(word.replace("$V", "/v"))).map_err(|error| error.message)
    }

    #[test]
    fn the_five_kinds_are_read() {
        let bind = parse("source=go.sum,target=$V/go.sum").unwrap();
        assert_eq!((bind.kind, bind.readonly), (MountKind::Bind, true));
        assert_eq!(bind.target, "/v/go.sum");
        let cache = parse("type=cache,id=a,target=/x,sharing=locked,mode=0700,uid=1").unwrap();
        assert_eq!((cache.sharing, cache.readonly), (Some(Sharing::Locked), false));
        assert_eq!((cache.mode, cache.uid, cache.gid), (Some(0o700), Some(1), None));
        assert_eq!(parse("type=tmpfs,target=/x,size=64m").unwrap().size, 64 << 20);
        assert!(parse("type=secret,id=a,required").unwrap().required);
        assert!(!parse("type=ssh,required=false").unwrap().required);
        assert!(!parse("target=/x,rw").unwrap().readonly);
        assert_eq!(parse(r#"type=bind,"target=/a,b""#).unwrap().target, "/a,b");
    }

    #[test]
    fn mistakes_are_named() {
        for (value, message) in [
            ("type=bnd", r#"unsupported mount type "bnd""#),
            ("targt=/x", "unexpected key 'targt' in 'targt=/x'"),
            ("type=bind,size=1", "unexpected key 'size' for mount type 'bind'"),
            ("type=bind,uid=1", r#"uid not allowed for "bind" type mounts"#),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("type=bind,sharing=shared", "invalid cache sharing set for bind mount"),
            ("foo", "invalid field 'foo' must be a key=value pair"),
        ] {
            assert_eq!(parse(value).unwrap_err(), message, "{value}");
        }
        assert_eq!(mounts_from("from=$X").unwrap().as_deref(), Some("$X"));
        assert_eq!(mounts_from("type=bind,from=a").unwrap().as_deref(), Some("a"));
    }
}
