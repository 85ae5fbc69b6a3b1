//! Operations as JSON, in the names that `BuildKit`'s provenance gives to fields.

use llb::pb;
use llb::pb::file_action::Action;
use llb::pb::op::Kind;
use llb::pb::user_opt::User;
use serde_json::{Map, Value, json};

/// An operation without its inputs; what is empty or zero is left out, see [`settled`].
pub(crate) fn op(op: &pb::Op) -> Value {
    let kind = match &op.op {
        None => json!({}),
        Some(Kind::Exec(exec)) => json!({ "exec": self::exec(exec) }),
        Some(Kind::Source(source)) => json!({ "source": self::source(source) }),
        Some(Kind::File(file)) => {
            json!({ "file": { "actions": file.actions.iter().map(action).collect::<Vec<_>>() } })
        }
        Some(Kind::Merge(merge)) => {
            let inputs: Vec<Value> =
                merge.inputs.iter().map(|input| json!({ "input": input.input })).collect();
            json!({ "merge": { "inputs": inputs } })
        }
        Some(Kind::Diff(diff)) => {
            let side =
                |side: &Option<pb::InputRef>| side.map(|side| json!({ "input": side.input }));
            json!({ "diff": { "lower": side(&diff.lower), "upper": side(&diff.upper) } })
        }
        Some(other) => json!({ "other": format!("{other:?}") }),
    };
    let platform = op.platform.as_ref().map(|platform| {
        json!({
            "Architecture": platform.architecture,
            "OS": platform.os,
            "Variant": platform.variant,
            "OSVersion": platform.os_version,
            "OSFeatures": platform.os_features,
        })
    });
    let constraints = op.constraints.as_ref().map(|of| json!({ "filter": of.filter }));
    settled(&json!({ "Op": kind, "platform": platform, "constraints": constraints }))
}

/// Without what Go leaves out of JSON in some places and not in others.
pub(crate) fn settled(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept: Map<String, Value> = fields
                .iter()
                .map(|(key, field)| (key.clone(), settled(field)))
                .filter(|(_, field)| !empty(field))
                .collect();
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(items.iter().map(settled).collect()),
        other => other.clone(),
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn source(source: &pb::SourceOp) -> Value {
    let attrs = source.attrs.iter().map(|attr| {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        (text(&attr.key), Value::from(text(&attr.value)))
    });
    json!({ "identifier": source.identifier, "attrs": attrs.collect::<Map<_, _>>() })
}

fn exec(exec: &pb::ExecOp) -> Value {
    let secrets = exec.secretenv.iter();
    let secrets =
        secrets.map(|of| json!({ "ID": of.id, "name": of.name, "optional": of.optional }));
    let devices =
        exec.cdi_devices.iter().map(|of| json!({ "name": of.name, "optional": of.optional }));
    json!({
        "meta": exec.meta.as_ref().map(meta),
        "mounts": exec.mounts.iter().map(mount).collect::<Vec<_>>(),
        "network": exec.network,
        "security": exec.security,
        "secretenv": secrets.collect::<Vec<_>>(),
        "cdiDevices": devices.collect::<Vec<_>>(),
    })
}

fn meta(meta: &pb::Meta) -> Value {
    let proxies = meta.proxy_env.as_ref().map(|of| {
        json!({
            "http_proxy": of.http_proxy,
            "https_proxy": of.https_proxy,
            "ftp_proxy": of.ftp_proxy,
            "no_proxy": of.no_proxy,
            "all_proxy": of.all_proxy,
        })
    });
    let hosts = meta.extra_hosts.iter().map(|of| json!({ "Host": of.host, "IP": of.ip }));
    let limits =
        meta.ulimit.iter().map(|of| json!({ "Name": of.name, "Soft": of.soft, "Hard": of.hard }));
    json!({
        "args": meta.args,
        "env": meta.env,
        "cwd": meta.cwd,
        "user": meta.user,
        "proxy_env": proxies,
        "extraHosts": hosts.collect::<Vec<_>>(),
        "hostname": meta.hostname,
        "ulimit": limits.collect::<Vec<_>>(),
        "cgroupParent": meta.cgroup_parent,
        "removeMountStubsRecursive": meta.remove_mount_stubs_recursive,
        "validExitCodes": meta.valid_exit_codes,
    })
}

fn mount(mount: &pb::Mount) -> Value {
    let secret = |id: &str, uid: u32, gid: u32, mode: u32, optional: bool| json!({ "ID": id, "uid": uid, "gid": gid, "mode": mode, "optional": optional });
    json!({
        "input": mount.input,
        "selector": mount.selector,
        "dest": mount.dest,
        "output": mount.output,
        "readonly": mount.readonly,
        "mountType": mount.mount_type,
        "TmpfsOpt": mount.tmpfs_opt.map(|of| json!({ "size": of.size })),
        "cacheOpt": mount.cache_opt.as_ref().map(|of| json!({ "ID": of.id, "sharing": of.sharing })),
        "secretOpt": mount
            .secret_opt
            .as_ref()
            .map(|of| secret(&of.id, of.uid, of.gid, of.mode, of.optional)),
        "SSHOpt": mount.ssh_opt.as_ref().map(|of| secret(&of.id, of.uid, of.gid, of.mode, of.optional)),
        "contentCache": mount.content_cache,
    })
}

fn action(action: &pb::FileAction) -> Value {
    let change = match &action.action {
        None => json!({}),
        Some(Action::Copy(of)) => json!({ "copy": {
            "src": of.src,
            "dest": of.dest,
            "owner": owner(of.owner.as_ref()),
            "mode": of.mode,
            "modeStr": of.mode_str,
            "followSymlink": of.follow_symlink,
            "dirCopyContents": of.dir_copy_contents,
            "attemptUnpackDockerCompatibility": of.attempt_unpack_docker_compatibility,
            "createDestPath": of.create_dest_path,
            "allowWildcard": of.allow_wildcard,
            "allowEmptyWildcard": of.allow_empty_wildcard,
            "timestamp": of.timestamp,
            "include_patterns": of.include_patterns,
            "exclude_patterns": of.exclude_patterns,
            "alwaysReplaceExistingDestPaths": of.always_replace_existing_dest_paths,
            "required_paths": of.required_paths,
        }}),
        Some(Action::Mkfile(of)) => json!({ "mkfile": {
            "path": of.path,
            "mode": of.mode,
            "data": base64(&of.data),
            "owner": owner(of.owner.as_ref()),
            "timestamp": of.timestamp,
        }}),
        Some(Action::Mkdir(of)) => json!({ "mkdir": {
            "path": of.path,
            "mode": of.mode,
            "makeParents": of.make_parents,
            "owner": owner(of.owner.as_ref()),
            "timestamp": of.timestamp,
        }}),
        Some(other) => json!({ "other": format!("{other:?}") }),
    };
    json!({
        "input": action.input,
        "secondaryInput": action.secondary_input,
        "output": action.output,
        "Action": change,
    })
}

fn owner(owner: Option<&pb::ChownOpt>) -> Value {
    let who = |who: &Option<pb::UserOpt>| match who.as_ref().and_then(|who| who.user.as_ref()) {
        None => Value::Null,
        Some(User::ByName(of)) => {
            json!({ "User": { "byName": { "name": of.name, "input": of.input } } })
        }
        Some(User::ById(id)) => json!({ "User": { "byId": id } }),
    };
    owner.map_or(Value::Null, |of| json!({ "user": who(&of.user), "group": who(&of.group) }))
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk
            .iter()
            .enumerate()
            .fold(0u32, |sum, (at, byte)| sum | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let sign = SIGNS.get((number >> (18 - 6 * at) & 63) as usize);
            text.push(if at > chunk.len() {
                '='
            } else {
                sign.map_or('=', |sign| char::from(*sign))
            });
        }
    }
    text
}
