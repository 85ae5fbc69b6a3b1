//! LLB file operations, carried out by `fstree`.

use std::sync::Arc;

use build_api::BuildError;
use fstree::fileop::{
    Action, Copy, Edit, Id, MakeDirectory, MakeFile, ModeChange, Owner, Remove, Surroundings,
    Symlink, Unpack,
};
use fstree::{Changeset, EmptyTree, Mtime, TreeError, TreeView};
use llb::pb;
use llb::pb::file_action::Action as Wire;

/// Where the trees come from that an operation reads.
pub(crate) trait Trees {
    /// The view of an input, by its position.
    fn view(&self, input: usize) -> Result<Arc<dyn TreeView>, BuildError>;

    /// The view of an input that is changed: what is where matters, not what files hold.
    fn base(&self, input: usize) -> Result<Arc<dyn TreeView>, BuildError> {
        self.view(input)
    }

    /// The number that stands for the owner of a name, where names are not looked up in the tree.
    fn owner(&self, name: &str) -> Result<Option<u32>, TreeError> {
        let _ = name;
        Ok(None)
    }
}

/// What one operation needs besides its trees.
pub(crate) struct Making<'a> {
    /// The time of what is made.
    pub(crate) now: Mtime,
    pub(crate) unpack: &'a dyn Unpack,
    /// Names of owners and what is at the destination do not count: for keys only.
    pub(crate) ignore_base: bool,
}

/// Why an operation failed: a tree could not be had, or the operation makes no sense on it.
pub(crate) enum FileError {
    Build(BuildError),
    Tree(TreeError),
}

impl From<BuildError> for FileError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl From<TreeError> for FileError {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

/// What the operation changes in its first input.
pub(crate) fn evaluate(
    op: &pb::FileOp,
    inputs: usize,
    trees: &dyn Trees,
    making: &Making<'_>,
) -> Result<Changeset, FileError> {
    let mut results: Vec<Option<Edit>> = Vec::with_capacity(op.actions.len());
    let with = Surroundings { now: making.now, unpack: Some(making.unpack) };
    for action in &op.actions {
        let mut edit = match position(action.input) {
            None => Edit::new(Arc::new(EmptyTree)),
            Some(_)
                if making.ignore_base && position(action.input).is_some_and(|at| at < inputs) =>
            {
                Edit::new(Arc::new(EmptyTree))
            }
            Some(at) if at < inputs => Edit::new(trees.base(at)?),
            Some(at) => results
                .get_mut(at - inputs)
                .and_then(Option::take)
                .ok_or_else(|| malformed("an action is changed twice"))?,
        };
        let translated = translate(action, trees, inputs, making)?;
        match position(action.secondary_input) {
            None => edit.apply(&translated, Some(&EmptyTree), with)?,
            Some(at) if at < inputs => {
                edit.apply(&translated, Some(trees.view(at)?.as_ref()), with)?;
            }
            Some(at) => {
                let earlier = results
                    .get(at - inputs)
                    .and_then(Option::as_ref)
                    .ok_or_else(|| malformed("an action reads a later one"))?;
                edit.apply(&translated, Some(earlier as &dyn TreeView), with)?;
            }
        }
        results.push(Some(edit));
    }
    // The frontend's operations have one output: the last action's result.
    let wanted = op
        .actions
        .iter()
        .rposition(|action| action.output == 0)
        .or(op.actions.len().checked_sub(1));
    let edit = wanted.and_then(|at| results.get_mut(at)).and_then(Option::take);
    Ok(edit.map(Edit::finish).unwrap_or_default())
}

fn malformed(reason: &str) -> FileError {
    FileError::Tree(TreeError::Invalid(format!("malformed file operation: {reason}")))
}

fn position(input: i64) -> Option<usize> {
    usize::try_from(input).ok()
}

fn time(nanoseconds: i64) -> Option<Mtime> {
    (nanoseconds >= 0).then(|| {
        let nanos = u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or_default();
        Mtime { secs: nanoseconds.div_euclid(1_000_000_000), nanos }
    })
}

fn bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or_default() & 0o7777
}

fn translate(
    action: &pb::FileAction,
    trees: &dyn Trees,
    inputs: usize,
    making: &Making<'_>,
) -> Result<Action, FileError> {
    let owner = |opt: Option<&pb::ChownOpt>| owner(opt, trees, inputs, making);
    Ok(match action.action.as_ref().ok_or_else(|| malformed("it does nothing"))? {
        Wire::Copy(copy) => Action::Copy(Copy {
            source: copy.src.clone().into_bytes(),
            destination: copy.dest.clone().into_bytes(),
            owner: owner(copy.owner.as_ref())?,
            mode: match (copy.mode_str.as_str(), copy.mode) {
                ("", mode) if mode < 0 => None,
                ("", mode) => Some(ModeChange::Bits(bits(mode))),
                (text, _) => Some(ModeChange::parse(text)?),
            },
            follow_symlink: copy.follow_symlink,
            directory_contents: copy.dir_copy_contents,
            unpack: copy.attempt_unpack_docker_compatibility,
            create_destination: copy.create_dest_path,
            wildcard: copy.allow_wildcard,
            empty_wildcard: copy.allow_empty_wildcard,
            timestamp: time(copy.timestamp),
            include: copy.include_patterns.clone(),
            exclude: copy.exclude_patterns.clone(),
            replace_existing: copy.always_replace_existing_dest_paths,
            required: copy.required_paths.iter().map(|path| path.clone().into_bytes()).collect(),
        }),
        Wire::Mkfile(file) => Action::MakeFile(MakeFile {
            path: file.path.clone().into_bytes(),
            mode: bits(file.mode),
            data: file.data.clone().into(),
            owner: owner(file.owner.as_ref())?,
            timestamp: time(file.timestamp),
        }),
        Wire::Mkdir(directory) => Action::MakeDirectory(MakeDirectory {
            path: directory.path.clone().into_bytes(),
            mode: bits(directory.mode),
            parents: directory.make_parents,
            owner: owner(directory.owner.as_ref())?,
            timestamp: time(directory.timestamp),
        }),
        Wire::Rm(remove) => Action::Remove(Remove {
            path: remove.path.clone().into_bytes(),
            allow_not_found: remove.allow_not_found,
            wildcard: remove.allow_wildcard,
        }),
        Wire::Symlink(link) => Action::Symlink(Symlink {
            target: link.oldpath.clone().into_bytes(),
            path: link.newpath.clone().into_bytes(),
            owner: owner(link.owner.as_ref())?,
            timestamp: time(link.timestamp),
        }),
    })
}

fn owner(
    opt: Option<&pb::ChownOpt>,
    trees: &dyn Trees,
    inputs: usize,
    making: &Making<'_>,
) -> Result<Option<Owner>, FileError> {
    let Some(opt) = opt else { return Ok(None) };
    let mut names: Option<Arc<dyn TreeView>> = None;
    let mut id = |opt: Option<&pb::UserOpt>| -> Result<Option<Id>, FileError> {
        Ok(match opt.and_then(|opt| opt.user.as_ref()) {
            None => None,
            Some(pb::user_opt::User::ById(id)) => Some(Id::Number(*id)),
            Some(pb::user_opt::User::ByName(_)) if making.ignore_base => None,
            Some(pb::user_opt::User::ByName(named)) => {
                if let Some(number) = trees.owner(&named.name)? {
                    return Ok(Some(Id::Number(number)));
                }
                let Some(at) = position(named.input).filter(|at| *at < inputs) else {
                    return Err(TreeError::Invalid(format!(
                        "cannot look up the owner `{}`: there is no /etc/passwd in an empty file system; give numbers",
                        named.name
                    ))
                    .into());
                };
                names = Some(trees.view(at)?);
                Some(Id::Name(named.name.clone()))
            }
        })
    };
    let (user, group) = (id(opt.user.as_ref())?, id(opt.group.as_ref())?);
    Ok(Some(Owner { user, group, names }))
}
