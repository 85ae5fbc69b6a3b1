//! `RUN --mount`: the rows of the table of types and keys.

use llb::pb::{CacheSharing, MountType};

use crate::support::{Images, actions};
use crate::support::{build, build_with, execs, mount, options, run, told_of, with_args};

fn kind(mount: &llb::pb::Mount) -> MountType {
    MountType::try_from(mount.mount_type).unwrap()
}

#[test]
fn bind_is_the_default_type_read_only_and_from_the_context() {
    let it = mount("RUN --mount=source=go.sum,target=go.sum make");
    assert_eq!(kind(&it), MountType::Bind);
    assert!(it.readonly);
    assert_eq!((it.dest.as_str(), it.selector.as_str(), it.output), ("/go.sum", "/go.sum", -1));
    let same = mount("RUN --mount=type=bind,src=go.sum,dst=go.sum,readonly make");
    assert_eq!(it, same);
    assert_eq!(it, mount("RUN --mount=type=bind,src=go.sum,destination=go.sum,ro make"));
}

#[test]
fn bind_rw_can_be_written_and_is_discarded() {
    for key in ["rw", "readwrite", "rw=true", "ro=false"] {
        let it = mount(&format!("RUN --mount=target=/x,{key} make"));
        assert!(!it.readonly, "{key}");
        assert_eq!(it.output, -1, "{key}");
    }
}

#[test]
fn bind_from_is_a_stage_an_image_or_a_named_context() {
    let text = "FROM a AS s\nRUN s\nFROM b\nRUN --mount=from=s,target=/s --mount=from=img,target=/i \
                --mount=from=files,target=/f x\n";
    let mut options = options(text);
    let files = frontend::Context::Directory { excludes: Vec::new() };
    options.contexts.insert("files".to_owned(), files);
    let compiled = build(&options);
    let exec = execs(&compiled).pop().unwrap();
    let dests: Vec<&str> = exec.mounts.iter().map(|it| it.dest.as_str()).collect();
    assert_eq!(dests, ["/", "/f", "/i", "/s"]);
    let inputs: std::collections::BTreeSet<i64> = exec.mounts.iter().map(|it| it.input).collect();
    assert_eq!(inputs.len(), 4, "each mount has an input of its own");
}

#[test]
fn targets_join_the_working_directory() {
    let relative = mount("WORKDIR /antrea\nRUN --mount=target=go.sum,source=go.sum make");
    assert_eq!(relative.dest, "/antrea/go.sum");
    assert_eq!(mount("RUN --mount=type=cache,target=/go/pkg/mod/ make").dest, "/go/pkg/mod/");
    insta::assert_snapshot!(
        told_of("RUN --mount=target=/ make"),
        @r#"Dockerfile:2:5: invalid mount target "/" (give a target= other than the root)"#
    );
}

#[test]
fn values_of_mounts_are_expanded() {
    let it = mount("ENV D=/data\nRUN --mount=type=cache,id=$D,target=$D/x make");
    assert_eq!((it.dest.as_str(), it.cache_opt.unwrap().id.as_str()), ("/data/x", "//data"));
}

#[test]
fn cache_is_shared_writable_and_named_by_its_cleaned_target() {
    let it = mount("RUN --mount=type=cache,target=/go/pkg/mod/ make");
    assert_eq!(kind(&it), MountType::Cache);
    assert!(!it.readonly);
    assert_eq!(it.input, -1, "a plain cache begins empty, with 0755 and root");
    let opt = it.cache_opt.unwrap();
    assert_eq!(opt.id, "//go/pkg/mod");
    assert_eq!(opt.sharing, CacheSharing::Shared as i32);
}

#[test]
fn cache_sharing_is_shared_private_or_locked() {
    for (word, sharing) in [
        ("shared", CacheSharing::Shared),
        ("private", CacheSharing::Private),
        ("locked", CacheSharing::Locked),
    ] {
        let it = mount(&format!("RUN --mount=type=cache,target=/x,sharing={word} make"));
        assert_eq!(it.cache_opt.unwrap().sharing, sharing as i32, "{word}");
    }
    insta::assert_snapshot!(
        told_of("RUN --mount=type=cache,target=/x,sharing=lock make"),
        @r#"Dockerfile:2:5: unsupported sharing value "lock" (did you mean locked?)"#
    );
}

#[test]
fn cache_has_an_id_and_may_be_read_only() {
    let it = mount("RUN --mount=type=cache,id=go,target=/x,ro make");
    assert!(it.readonly);
    assert_eq!(it.cache_opt.unwrap().id, "/go");
}

#[test]
fn cache_mode_uid_and_gid_make_its_first_directory() {
    let text = "FROM a\nRUN --mount=type=cache,target=/x,mode=0700,uid=1000,gid=1001 make\n";
    let compiled = build(&options(text));
    let [llb::pb::file_action::Action::Mkdir(mkdir)] = &actions(&compiled)[..] else {
        panic!("one directory is made")
    };
    assert_eq!((mkdir.path.as_str(), mkdir.mode), ("/cache", 0o700));
    let owner = mkdir.owner.clone().unwrap();
    let id = |it: Option<llb::pb::UserOpt>| match it.and_then(|it| it.user) {
        Some(llb::pb::user_opt::User::ById(id)) => id,
        other => panic!("{other:?}"),
    };
    assert_eq!((id(owner.user), id(owner.group)), (1000, 1001));
    let exec = execs(&compiled).pop().unwrap();
    assert_eq!(exec.mounts[1].selector, "/cache");
}

#[test]
fn cache_may_begin_with_what_from_and_source_name() {
    let it = mount("RUN --mount=type=cache,target=/x,from=seed,source=/data make");
    assert_eq!(it.selector, "/data");
    assert!(it.input >= 0);
}

#[test]
fn tmpfs_has_a_size() {
    let it = mount("RUN --mount=type=tmpfs,target=/x,size=64m make");
    assert_eq!((kind(&it), it.tmpfs_opt.unwrap().size), (MountType::Tmpfs, 64 << 20));
    assert_eq!(mount("RUN --mount=type=tmpfs,target=/x make").tmpfs_opt.unwrap().size, 0);
    insta::assert_snapshot!(
        told_of("RUN --mount=type=tmpfs,target=/x,size=much make"),
        @"Dockerfile:2:5: invalid value for size: much (write bytes, or 64m, or 1.5g)"
    );
}

#[test]
fn secret_lies_in_run_secrets_and_only_root_reads_it() {
    let it = mount("RUN --mount=type=secret,id=token make");
    assert_eq!((kind(&it), it.dest.as_str()), (MountType::Secret, "/run/secrets/token"));
    let opt = it.secret_opt.unwrap();
    assert_eq!((opt.id.as_str(), opt.mode, opt.uid, opt.gid), ("token", 0o400, 0, 0));
    assert!(opt.optional);
    let it = mount("RUN --mount=type=secret,target=/etc/key make");
    assert_eq!((it.dest.as_str(), it.secret_opt.unwrap().id.as_str()), ("/etc/key", "key"));
}

#[test]
fn secret_has_required_mode_uid_and_gid() {
    let it = mount("RUN --mount=type=secret,id=t,target=/t,required,mode=0444,uid=1,gid=2 make");
    let opt = it.secret_opt.unwrap();
    assert_eq!((opt.optional, opt.mode, opt.uid, opt.gid), (false, 0o444, 1, 2));
}

#[test]
fn secret_env_alone_makes_no_file() {
    let exec = run("RUN --mount=type=secret,id=token,env=TOKEN make");
    assert_eq!(exec.mounts.len(), 1, "only the root");
    let secret = &exec.secretenv[0];
    assert_eq!((secret.id.as_str(), secret.name.as_str()), ("token", "TOKEN"));
    let both = run("RUN --mount=type=secret,id=token,env=TOKEN,target=/t make");
    assert_eq!((both.mounts.len(), both.secretenv.len()), (2, 1));
}

#[test]
fn ssh_has_a_socket_of_its_own() {
    let it = mount("RUN --mount=type=ssh make");
    assert_eq!((kind(&it), it.dest.as_str()), (MountType::Ssh, "/run/buildkit/ssh_agent.0"));
    let opt = it.ssh_opt.unwrap();
    assert_eq!((opt.mode, opt.uid, opt.gid, opt.optional), (0o600, 0, 0, true));
    let exec = run("RUN --mount=type=ssh --mount=type=ssh,id=other make");
    assert_eq!(exec.mounts[2].dest, "/run/buildkit/ssh_agent.1");
    let env = exec.meta.unwrap().env;
    assert!(env.contains(&"SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0".to_owned()), "{env:?}");
}

#[test]
fn ssh_has_id_target_required_mode_uid_and_gid() {
    let it = mount("RUN --mount=type=ssh,id=k,target=/s,required,mode=0666,uid=1,gid=2 make");
    assert_eq!(it.dest, "/s");
    let opt = it.ssh_opt.unwrap();
    assert_eq!((opt.id.as_str(), opt.mode, opt.uid, opt.gid), ("k", 0o666, 1, 2));
    assert!(!opt.optional);
}

#[test]
fn buildkit_cache_mount_ns_separates_caches() {
    let text = "FROM a\nRUN --mount=type=cache,target=/x make\n";
    let compiled = build(&with_args(text, &[("BUILDKIT_CACHE_MOUNT_NS", "team")]));
    let exec = execs(&compiled).pop().unwrap();
    assert_eq!(exec.mounts[1].cache_opt.as_ref().unwrap().id, "team//x");
}

#[test]
fn mistakes_in_mounts_are_told() {
    for (value, told) in [
        ("type=volume,target=/x", "unsupported mount type \"volume\""),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=bind,target=/x,sharing=locked", "invalid cache sharing set for bind mount"),
        ("type=bind,target=/x,id", "invalid field 'id' must be a key=value pair"),
        ("type=tmpfs,target=/x,uid=1", "uid not allowed for \"tmpfs\" type mounts"),
        ("type=cache,target=/x,mode=9", "invalid value 9 for mode"),
        ("type=ssh,source=x", "ssh does not support source"),
    ] {
        let all = told_of(&format!("RUN --mount={value} make"));
        assert!(all.contains(told), "{value}: {all}");
    }
    let images = Images::default();
    let compiled = build_with(&options("FROM a\nRUN --mount=target=/x,rw=false make\n"), &images);
    assert!(execs(&compiled)[0].mounts[1].readonly);
}
