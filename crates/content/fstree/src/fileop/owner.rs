use std::fmt;
use std::sync::Arc;

use crate::{Entry, Kind, RelPath, TreeError, TreeView, resolve};

/// Who files are given to, `pb.ChownOpt`.
#[derive(Clone)]
pub struct Owner {
    /// The user; root when `None`.
    pub user: Option<Id>,
    /// The group; the user's own when `None`.
    pub group: Option<Id>,
    /// The tree whose `/etc/passwd` and `/etc/group` know the names; the edited one when `None`.
    pub names: Option<Arc<dyn TreeView>>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{:?}", self.user, self.group)
    }
}

impl Owner {
    /// By numbers.
    pub fn numbers(user: u32, group: u32) -> Self {
        Self { user: Some(Id::Number(user)), group: Some(Id::Number(group)), names: None }
    }

    /// Uid and gid. A name that is not known is root, as BuildKit has it.
    pub(super) fn ids(&self, edited: &dyn TreeView) -> Result<(u32, u32), TreeError> {
        let names = self.names.as_deref().unwrap_or(edited);
        let (mut uid, mut gid) = (0, 0);
        match &self.user {
            Some(Id::Number(id)) => (uid, gid) = (*id, *id),
            Some(Id::Name(name)) => {
                if let Some(fields) = find(names, "etc/passwd", name)?
                    && let (Some(user), Some(group)) = (number(&fields, 2), number(&fields, 3))
                {
                    (uid, gid) = (user, group);
                }
            }
            None => {}
        }
        match &self.group {
            Some(Id::Number(id)) => gid = *id,
            Some(Id::Name(name)) => {
                if let Some(id) =
                    find(names, "etc/group", name)?.and_then(|fields| number(&fields, 2))
                {
                    gid = id;
                }
            }
            None => {}
        }
        Ok((uid, gid))
    }
}

/// As BuildKit: enough for any real file.
const MAX_USER_FILE: u64 = 10 << 20;

/// The fields of the first line that begins with `name` and `:`.
fn find(view: &dyn TreeView, path: &str, name: &str) -> Result<Option<Vec<String>>, TreeError> {
    let at = resolve(view, &RelPath::clean(path), true)?;
    let content = match view.lookup(&at)? {
        None => return Ok(None),
        Some(Entry { kind: Kind::File(content), .. }) => content,
        Some(_) => return Err(TreeError::Invalid(format!("`/{path}` is not a regular file"))),
    };
    let text = content.read(MAX_USER_FILE).map_err(TreeError::io("read", format!("/{path}")))?;
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .map(str::trim)
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<String>>())
        .find(|fields| fields.first().is_some_and(|first| first == name)))
}

fn number(fields: &[String], index: usize) -> Option<u32> {
    fields.get(index)?.parse().ok()
}
