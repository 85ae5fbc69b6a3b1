//! What of an operation counts for its key.

use llb::pb;
use llb::pb::file_action::Action;
use llb::pb::op::Kind;
use oci::Digest;
use prost::Message as _;

use crate::graph::Node;

/// Digest of an operation without what cannot change its result: the digests of its inputs (their keys count in their
/// place), proxies, and where it may run.
pub(crate) fn operation(node: &Node) -> Digest {
    let mut op = node.op.clone();
    for input in &mut op.inputs {
        input.digest.clear();
    }
    op.constraints = None;
    if let Some(Kind::Exec(exec)) = &mut op.op
        && let Some(meta) = &mut exec.meta
    {
        meta.proxy_env = None;
    }
    let mut bytes = op.encode_to_vec();
    // The platform decides by what it is executed, also where two platforms share an operation's text.
    bytes.extend(
        node.platform().map(|platform| platform.to_string()).unwrap_or_default().into_bytes(),
    );
    Digest::of(&bytes)
}

/// Whether an operation makes files whose time is that of the build.
pub(crate) fn makes_files(file: &pb::FileOp) -> bool {
    file.actions.iter().any(|action| match &action.action {
        Some(Action::Mkfile(_) | Action::Mkdir(_) | Action::Symlink(_)) => true,
        Some(Action::Copy(copy)) => copy.create_dest_path,
        Some(Action::Rm(_)) | None => false,
    })
}
