//! The trees that a file operation reads.

use std::sync::Arc;

use build_api::BuildError;
use fstree::{Changeset, EmptyTree, TreeView};
use llb::Edge;

use crate::error::{failed, refused};
use crate::fileop::Trees;
use crate::graph::Node;
use crate::value::Value;
use crate::windows_names::AnyCase;
use crate::work::{Build, plain};

fn edge(node: &Node, input: usize) -> Result<Edge, BuildError> {
    let edge = node.inputs.get(input).copied();
    edge.ok_or_else(|| refused("a file operation reads an input it does not have", None))
}

/// Every input of an operation.
pub(crate) struct InputViews<'a> {
    pub(crate) build: &'a Build<'a>,
    pub(crate) node: &'a Node,
}

impl InputViews<'_> {
    /// The result that an input stands for.
    pub(crate) fn value(&self, input: usize) -> Result<Value, BuildError> {
        self.build.value(edge(self.node, input)?)
    }
}

impl Trees for InputViews<'_> {
    fn view(&self, input: usize) -> Result<Arc<dyn TreeView>, BuildError> {
        match self.value(input)? {
            Value::Context(context) => Ok(Arc::clone(&context.tree) as Arc<dyn TreeView>),
            Value::Stack(layers) => {
                let view = self
                    .build
                    .snapshots
                    .view(&plain(&layers), self.build.fetcher)
                    .map_err(failed("cannot look into a file system"))?;
                let from = edge(self.node, input)?;
                let windows = self.build.node(from.vertex).platform();
                if windows.is_some_and(|platform| platform.is_windows()) {
                    return Ok(Arc::new(AnyCase::new(view)));
                }
                Ok(Arc::new(view))
            }
        }
    }
}

/// The inputs of an operation that are local directories; others are empty.
pub(crate) struct LocalOnly<'a> {
    pub(crate) build: &'a Build<'a>,
    pub(crate) node: &'a Node,
}

impl Trees for LocalOnly<'_> {
    fn view(&self, input: usize) -> Result<Arc<dyn TreeView>, BuildError> {
        let edge = edge(self.node, input)?;
        match self.build.local(edge.vertex)? {
            Some(context) => Ok(Arc::clone(&context.tree) as Arc<dyn TreeView>),
            None => Ok(Arc::new(EmptyTree)),
        }
    }
}

/// Archives are not unpacked for a key: their bytes are it.
pub(crate) struct NoArchives;

impl fstree::fileop::Unpack for NoArchives {
    fn unpack(&self, _: &fstree::Content) -> Result<Option<Changeset>, fstree::TreeError> {
        Ok(None)
    }
}
