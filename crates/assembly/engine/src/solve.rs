//! What the solver's actions mean for a build: keys, look-ups, results.

use std::fmt::Write as _;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use build_api::BuildError;
use llb::pb::op::Kind;
use oci::Digest;

use crate::driver::Work;
use crate::error::{chain, failed};
use crate::records::{self, LayerRecord};
use crate::value::Value;
use crate::work::{Build, plain};

impl Work for Build<'_> {
    fn fast_key(&self, vertex: usize, inputs: &[Digest]) -> Result<Option<Digest>, BuildError> {
        let node = self.node(vertex);
        let mut text = format!("fast 1\n{}\n", crate::keys::operation(node));
        match node.kind() {
            Some(Kind::Source(source)) => {
                if self.local(vertex)?.is_some() {
                    // What is read of it is part of the key of what reads it.
                    "local\n".clone_into(&mut text);
                } else if let Some(image) = self.image(node, source)? {
                    // By content: a name that moved to an equal image changes nothing.
                    text = format!("image {}\n", image.config.value.os);
                    image.config.value.rootfs.diff_ids.iter().for_each(|diff_id| {
                        text.push_str(diff_id.as_str());
                        text.push('\n');
                    });
                } else if let Some(git) = llb::GitSource::from_op(source) {
                    text = self.remotes.git_key(&git)?;
                } else if let Some(file) = self.remotes.file(&source.identifier) {
                    // Fetched by this build already, so it is known what it is.
                    let (digest, modified) = (&file.digest, file.modified);
                    writeln!(text, "is {digest} {modified:?}").unwrap_or_default();
                } else if source.attr(llb::attr::HTTP_CHECKSUM).is_none_or(str::is_empty) {
                    return Ok(None);
                }
            }
            Some(Kind::File(file)) if crate::keys::makes_files(file) => {
                text.push_str("now ");
                text.push_str(&self.now.to_string());
                text.push('\n');
            }
            _ => {}
        }
        if let Some(Kind::File(_)) = node.kind()
            && node.platform().is_some_and(|it| it.is_windows())
            && let Some(rules) = self.contexts.windows.digest()
        {
            text.push_str("windows rules ");
            text.push_str(rules.as_str());
            text.push('\n');
        }
        for input in inputs {
            text.push_str(input.as_str());
            text.push('\n');
        }
        let Some(reads) = self.local_reads(node)? else { return Ok(None) };
        for digest in reads {
            text.push_str(digest.as_str());
            text.push('\n');
        }
        let key = Digest::of(text.as_bytes());
        Ok(Some(self.state[vertex].fast.get_or_init(|| key).clone()))
    }

    fn look_up(&self, vertex: usize, key: &Digest) -> Result<bool, BuildError> {
        let key = records::key(self.node(vertex), key);
        let record = records::look_up(self.store, &key).map_err(failed("cannot look up a step"))?;
        let layer = record.and_then(|record| record.layer(self.store));
        let found = layer.is_some();
        *self.state[vertex].found.lock().unwrap_or_else(PoisonError::into_inner) = layer;
        Ok(found)
    }

    fn content_key(&self, vertex: usize) -> Result<Option<Digest>, BuildError> {
        let node = self.node(vertex);
        match node.kind() {
            Some(Kind::File(file)) => {
                let (_, digest) = self.changes(vertex, file)?;
                // Equal changes of different forms are kept apart: a Windows layer holds neither owners nor modes.
                let form =
                    if node.platform().is_some_and(|it| it.is_windows()) { " windows" } else { "" };
                Ok(Some(Digest::of(format!("changes 1{form}\n{digest}").as_bytes())))
            }
            Some(Kind::Exec(exec)) => {
                let mut text = format!("exec 1\n{}\n", crate::keys::operation(node));
                for mount in &exec.mounts {
                    let Some(edge) =
                        usize::try_from(mount.input).ok().and_then(|at| node.inputs.get(at))
                    else {
                        continue;
                    };
                    let value = self.value(*edge)?;
                    let digest = match &value {
                        Value::Context(context) => {
                            self.selected(node, context.tree.as_ref(), &mount.selector)?
                        }
                        Value::Stack(layers) if mount.readonly && mount.dest != "/" => {
                            let view = self
                                .snapshots
                                .view(&plain(layers), self.fetcher)
                                .map_err(failed("cannot look into a file system"))?;
                            self.selected(node, &view, &mount.selector)?
                        }
                        Value::Stack(_) => self.stack_key(&value)?,
                    };
                    text.push_str(digest.as_str());
                    text.push('\n');
                }
                Ok(Some(Digest::of(text.as_bytes())))
            }
            _ => Ok(None),
        }
    }

    fn load(&self, vertex: usize) -> Result<bool, BuildError> {
        let layer = self.state[vertex].found.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(layer) = layer else { return Ok(false) };
        self.finish_layer(vertex, layer)?;
        self.reporter.cached(&self.node(vertex).id);
        Ok(true)
    }

    fn run(&self, vertex: usize, keys: &[Digest]) -> Result<(), BuildError> {
        let node = self.node(vertex);
        if self.stop.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        // A vertex that ignores the cache has no key yet; what it makes is remembered all the same.
        let own;
        let keys = if keys.is_empty() && !node.is_trivial() {
            own = self.content_key(vertex)?.into_iter().collect::<Vec<_>>();
            own.as_slice()
        } else {
            keys
        };
        if !node.is_trivial()
            && let Some(reason) = self.why(vertex)
        {
            self.reporter.because(&node.id, reason.to_string());
        }
        self.reporter.started(&node.id);
        let began = self.reporter.began.elapsed();
        let outcome = self.run_vertex(vertex, keys);
        self.state[vertex].ran.get_or_init(|| (began, self.reporter.began.elapsed()));
        let error = outcome.as_ref().err().map(|error| match error {
            BuildError::Step(failure) => failure.message.clone(),
            other => chain(other),
        });
        self.reporter.finished(&node.id, error);
        outcome
    }

    fn remember(&self, vertex: usize, key: &Digest) -> Result<(), BuildError> {
        let Some(Value::Stack(layers)) = self.state[vertex].value.get() else { return Ok(()) };
        match layers.last().and_then(|layer| LayerRecord::of(layer, None)) {
            Some(record) => {
                records::record(self.store, &[records::key(self.node(vertex), key)], &record)
                    .map_err(failed("cannot remember a step"))
            }
            None => Ok(()),
        }
    }
}
