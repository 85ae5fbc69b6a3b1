//! What may have been meant by a path that is not there.

use std::collections::VecDeque;

use fstree::{RelPath, TreeView};
use llb::pb;
use llb::pb::file_action::Action;
use llb::pb::op::Kind;

use crate::fileop::Trees as _;
use crate::graph::Node;
use crate::inputs::InputViews;
use crate::work::Build;

/// Files looked at for one of the same name.
const SEARCHED: usize = 20_000;

impl Build<'_> {
    /// A way out for a copy whose source is not there.
    pub(crate) fn missing_hint(&self, node: &Node, op: &pb::FileOp, path: &str) -> Option<String> {
        let wanted = RelPath::clean(path);
        let copies = op.actions.iter().filter_map(|action| match &action.action {
            Some(Action::Copy(copy)) => Some((action.secondary_input, copy)),
            _ => None,
        });
        for (input, copy) in copies {
            let named = RelPath::clean(copy.src.as_bytes()) == wanted
                || copy.required_paths.iter().any(|it| RelPath::clean(it.as_bytes()) == wanted);
            let Some(edge) =
                usize::try_from(input).ok().and_then(|at| node.inputs.get(at)).filter(|_| named)
            else {
                continue;
            };
            let hint = match self.node(edge.vertex).kind() {
                Some(Kind::Source(source)) if source.identifier.starts_with("local://") => {
                    if self.contexts.is_left_out(source, path) {
                        let ignore = "it is there, but the `.dockerignore` file leaves it out";
                        return Some(format!("{ignore}; add a line `!{wanted}` at its end"));
                    }
                    near(&self.contexts.whole(source)?, &wanted)
                }
                _ => {
                    let views = InputViews { build: self, node };
                    let view = views.view(usize::try_from(input).ok()?).ok()?;
                    near(view.as_ref(), &wanted)
                }
            };
            if hint.is_some() {
                return hint;
            }
        }
        None
    }
}

/// Names like the one that is missing, else files of the same name elsewhere.
fn near(view: &dyn TreeView, wanted: &RelPath) -> Option<String> {
    let mut at = RelPath::root();
    for segment in wanted.segments() {
        let names = view.list(&at).ok()?;
        if names.iter().any(|name| name == segment) {
            at = at.join(segment).ok()?;
            continue;
        }
        let word = String::from_utf8_lossy(segment);
        let names: Vec<&str> = names.iter().filter_map(|name| str::from_utf8(name).ok()).collect();
        if let Some(guess) = report::did_you_mean(&word, names) {
            return Some(format!("did you mean `{}`?", at.join(guess).ok()?));
        }
        break;
    }
    let mut waiting = VecDeque::from([RelPath::root()]);
    let mut found = Vec::new();
    let mut looked_at = 0;
    while let Some(directory) = waiting.pop_front() {
        for name in view.list(&directory).ok()? {
            looked_at += 1;
            let Ok(path) = directory.join(&name) else { continue };
            if name == wanted.name() && found.len() < 3 {
                found.push(format!("`{path}`"));
            }
            if view.lookup(&path).ok()?.is_some_and(|entry| entry.kind.is_directory()) {
                waiting.push_back(path);
            }
        }
        if looked_at > SEARCHED {
            break;
        }
    }
    (!found.is_empty()).then(|| format!("there is {}", found.join(", ")))
}

#[cfg(test)]
mod tests {
    use fstree::{Changeset, Content, Entry, Kind, Metadata};

    use super::*;

    fn tree(paths: &[&str]) -> Changeset {
        let mut changes = Changeset::new();
        for path in paths {
            let path = RelPath::clean(path);
            for above in path.ancestors().filter(|above| *above != path) {
                changes.insert(Entry {
                    path: above,
                    kind: Kind::DIRECTORY,
                    meta: Metadata::default(),
                });
            }
            changes.insert(Entry {
                path,
                kind: Kind::File(Content::Empty),
                meta: Metadata::default(),
            });
        }
        changes
    }

    #[test]
    fn what_is_like_it_or_elsewhere_is_named() {
        let tree = tree(&["package.json", "src/main.rs", "deploy/app.conf"]);
        let near = |path: &str| near(&tree, &RelPath::clean(path));
        assert_eq!(near("pakage.json").as_deref(), Some("did you mean `package.json`?"));
        assert_eq!(near("src/mian.rs").as_deref(), Some("did you mean `src/main.rs`?"));
        assert_eq!(near("app.conf").as_deref(), Some("there is `deploy/app.conf`"));
        assert_eq!(near("nothing/like/it.zip"), None);
    }
}
