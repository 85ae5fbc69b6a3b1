//! What a build starts from: images, repositories, downloads and local directories, as values of their vertices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use build_api::BuildError;
use frontend::ImageName;
use fstree::{Changeset, Mtime};
use llb::GitSource;
use llb::pb::op::Kind;
use oci::{Digest, Platform, Reference};
use snapshot::{BlobLayer, Layer};

use crate::contents::{self, Times};
use crate::error::{failed, refused};
use crate::graph::Node;
use crate::value::{StackLayer, Value};
use crate::work::Build;

impl Build<'_> {
    /// The repositories among the sources, each once.
    fn repositories(&self) -> Vec<(usize, GitSource)> {
        let source = |vertex: usize| match self.node(vertex).kind() {
            Some(Kind::Source(source)) => Some((vertex, GitSource::from_op(source)?)),
            _ => None,
        };
        (0..self.graph.nodes.len()).filter_map(source).collect()
    }

    /// Finds out which commits are meant, side by side: each asks a server.
    pub(crate) fn pin_repositories(&self) -> Result<(), BuildError> {
        let repositories = self.repositories();
        for some in repositories.chunks(8) {
            let outcomes: Vec<Result<(), BuildError>> = thread::scope(|scope| {
                let running: Vec<_> = some
                    .iter()
                    .map(|(vertex, git)| {
                        scope.spawn(|| {
                            let pinned = self.remotes.pin(git).map(drop);
                            pinned.map_err(|error| self.placed(self.node(*vertex), error))
                        })
                    })
                    .collect();
                let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
                    Ok(outcome) => outcome,
                    Err(panic) => std::panic::resume_unwind(panic),
                };
                running.into_iter().map(join).collect()
            });
            outcomes.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// The newest commit among the sources, in seconds.
    pub(crate) fn newest_git(&self) -> Result<Option<i64>, BuildError> {
        let mut newest = None;
        for (vertex, git) in self.repositories() {
            let tree = self.remotes.tree(&git);
            let tree = tree.map_err(|error| self.placed(self.node(vertex), error))?;
            newest = newest.max(Some(tree.time));
        }
        Ok(newest)
    }

    pub(crate) fn image(
        &self,
        node: &Node,
        source: &llb::pb::SourceOp,
    ) -> Result<Option<sources::Image>, BuildError> {
        let platform = node.platform().unwrap_or_else(Platform::host);
        let name = &source.identifier;
        let what = format!("cannot use image {name}");
        if let Some(reference) = name.strip_prefix("docker-image://") {
            let reference: Reference = reference.parse().map_err(failed(what.as_str()))?;
            return self
                .resolver
                .image(ImageName::Reference(&reference), &platform)
                .map(Some)
                .map_err(failed(what));
        }
        if name.starts_with("oci-layout://") {
            let layout = source.attr(llb::attr::OCI_STORE).unwrap_or_default();
            return self
                .resolver
                .image(ImageName::Layout(layout), &platform)
                .map(Some)
                .map_err(failed(what));
        }
        Ok(None)
    }

    pub(crate) fn source(
        &self,
        vertex: usize,
        source: &llb::pb::SourceOp,
    ) -> Result<Value, BuildError> {
        if let Some(context) = self.local(vertex)? {
            return Ok(Value::Context(context));
        }
        let node = self.node(vertex);
        if let Some(image) = self.image(node, source)? {
            let windows = image.config.value.os == "windows";
            let blobs = image.manifest.value.layers.iter().zip(&image.config.value.rootfs.diff_ids);
            let own = if windows { crate::windows::own_layers(&image) } else { 0 };
            let layers: Vec<StackLayer> = blobs
                .enumerate()
                .map(|(at, (blob, diff_id))| {
                    self.fetcher.remember(blob, &image);
                    let blob =
                        BlobLayer { descriptor: blob.clone(), diff_id: diff_id.clone(), windows };
                    let layer = Layer::blob(blob);
                    if at < own {
                        StackLayer::of_windows(layer)
                    } else {
                        StackLayer::of_image(layer)
                    }
                })
                .collect();
            return Ok(Value::Stack(Arc::new(layers)));
        }
        if source.identifier.starts_with("http://") || source.identifier.starts_with("https://") {
            return self.download(node, source);
        }
        if let Some(git) = GitSource::from_op(source) {
            let tree = self.remotes.tree(&git).map_err(|error| self.placed(node, error))?;
            return Ok(Value::Context(tree.context));
        }
        let hint =
            "use an image, a directory, an OCI layout, a git repository or an http(s) address";
        Err(refused(format!("source `{}` is not supported yet", source.identifier), Some(hint)))
    }

    fn download(&self, node: &Node, source: &llb::pb::SourceOp) -> Result<Value, BuildError> {
        let url = &source.identifier;
        let shown = crate::remote::without_password(url);
        let checksum = source.attr(llb::attr::HTTP_CHECKSUM).filter(|text| !text.is_empty());
        let checksum = checksum
            .map(str::parse::<Digest>)
            .transpose()
            .map_err(failed(format!("cannot check {shown}")))?;
        let progress = |done, total| self.reporter.transfer(&node.id, &shown, done, total, false);
        let secret = source.attr("http.authheadersecret").filter(|id| !id.is_empty());
        let download = self
            .remotes
            .download(url, checksum.as_ref(), secret, &progress)
            .map_err(|error| self.placed(node, error))?;
        self.reporter.transfer(&node.id, &shown, download.size, Some(download.size), true);
        let name = source
            .attr(llb::attr::HTTP_FILENAME)
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        let name = name
            .or(download.server_name.clone())
            .or_else(|| last_segment(url))
            .unwrap_or_else(|| "download".to_owned());
        let number = |key: &str| {
            source
                .attr(key)
                .filter(|text| !text.is_empty())
                .map(|text| u32::from_str_radix(text, if key == "http.perm" { 8 } else { 10 }))
        };
        let mode = number("http.perm").and_then(Result::ok).unwrap_or(0o600);
        let owner = |key| number(key).and_then(Result::ok).unwrap_or(0);
        let content = self.remotes.content(&download)?;
        let mut changes = Changeset::new();
        changes.insert(fstree::Entry {
            path: fstree::RelPath::new(name.as_bytes())
                .map_err(failed(format!("cannot keep {shown}")))?,
            kind: fstree::Kind::File(content),
            meta: fstree::Metadata {
                mode,
                uid: owner("http.uid"),
                gid: owner("http.gid"),
                // A server that does not say when gives the time 0, as in BuildKit.
                mtime: Mtime::seconds(download.modified.unwrap_or(0)),
                xattrs: BTreeMap::new(),
            },
        });
        let key = contents::digest(&changes, Times::Count, self.store)?;
        let layer = StackLayer::made(Layer::changes(Arc::new(changes)), key.to_string());
        Ok(Value::Stack(Arc::new(vec![layer])))
    }
}

fn last_segment(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?.split_once("://")?.1;
    let (_, path) = path.split_once('/')?;
    path.rsplit('/')
        .next()
        .filter(|name| !name.is_empty() && *name != "." && *name != "..")
        .map(str::to_owned)
}
