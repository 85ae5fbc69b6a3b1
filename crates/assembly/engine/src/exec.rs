//! LLB exec operations as steps of the executor.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use build_api::{BuildError, SecretSource, SshSource};
use executor::{
    HostEntry, Mount, MountKind, Rootfs, SshAgent, SshKeyError, SshKeys, SshServer, Step, Stream,
};
use fstree::{Metadata, RelPath, TreeView};
use llb::pb;
use oci::Digest;
use report::Output;
use snapshot::{CacheMount, CacheRequest, LayerSource, Mounted, Sharing, Snapshots, TreeId};

use crate::contents::StoredDigests;
use crate::error::{failed, refused};
use crate::graph::llb_root;
use crate::reporter::{Reporter, StepLog};
use crate::value::Value;

/// What steps of one build share.
pub(crate) struct Runner<'a> {
    pub(crate) snapshots: &'a Snapshots,
    pub(crate) source: &'a dyn LayerSource,
    pub(crate) secrets: &'a std::collections::BTreeMap<String, SecretSource>,
    pub(crate) ssh: &'a std::collections::BTreeMap<String, SshSource>,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) log_dir: PathBuf,
    /// Where the machine's devices are specified.
    pub(crate) device_dirs: &'a [PathBuf],
    pub(crate) reporter: Reporter<'a>,
}

/// How a step failed.
pub(crate) enum Failed {
    /// Its process ended with something else than success.
    Exit { message: String, code: Option<i32>, tail: Vec<String>, log: Option<PathBuf> },
    /// It did not get that far.
    Before(BuildError),
}

impl From<BuildError> for Failed {
    fn from(error: BuildError) -> Self {
        Self::Before(error)
    }
}

/// Things that live as long as the step.
#[derive(Default)]
struct Held {
    caches: Vec<CacheMount>,
    mounted: Vec<Mounted>,
}

impl Runner<'_> {
    /// Runs the operation on its inputs' results. The result is the layer it wrote.
    pub(crate) fn run(
        &self,
        id: &Digest,
        op: &pb::ExecOp,
        inputs: &[Value],
        emulation: &emulation::Emulation,
    ) -> Result<TreeId, Failed> {
        let meta = op.meta.as_ref().ok_or_else(|| refused("a step without a process", None))?;
        let input =
            |number: i64| usize::try_from(number).ok().and_then(|at| inputs.get(at)).cloned();
        let root = op.mounts.iter().find(|mount| mount.dest == llb_root());
        let root = root.and_then(|mount| input(mount.input)).unwrap_or_else(Value::empty);

        let mut held = Held::default();
        let mounts = op.mounts.iter().filter(|mount| mount.dest != llb_root());
        let mut env = meta.env.clone();
        let mounts = mounts
            .map(|mount| self.mount(mount, input(mount.input), &mut held))
            .collect::<Result<Vec<_>, _>>()?;
        let mut mounts: Vec<Mount> = mounts.into_iter().flatten().collect();
        env.extend(emulation.env.iter().cloned());
        mounts.extend(emulation_mounts(emulation));
        self.devices(op, &mut env, &mut mounts)?;
        self.secret_env(op, &mut env)?;
        proxy_env(meta, &mut env);

        let fail = || failed("cannot prepare the step's file system");
        let trees =
            self.snapshots.ensure_trees(&root.plain_layers(), self.source).map_err(fail())?;
        let active = self.snapshots.prepare(&trees).map_err(fail())?;
        let step = Step {
            env,
            rootfs: rootfs(active.rootfs()),
            mounts,
            machine: machine(emulation),
            ..described(op, meta)?
        };
        self.execute(id, meta, &step)?;
        let tree = active.commit().map_err(failed("cannot keep what the step wrote"))?;
        drop(held);
        Ok(tree)
    }

    /// Runs the process and tells what it says; `Ok` when its exit code is one that is accepted.
    fn execute(&self, id: &Digest, meta: &pb::Meta, step: &Step) -> Result<(), Failed> {
        let mut log = StepLog::new(self.log_dir.join(format!("{}.log", id.short())));
        let mut output = |stream: Stream, data: &[u8]| {
            log.add(data);
            let stream = match stream {
                Stream::Stdout => Output::Stdout,
                Stream::Stderr => Output::Stderr,
            };
            self.reporter.log(id, stream, data);
        };
        let exit = executor::run(step, &mut output, self.stop);
        let exit = match exit {
            Ok(exit) => exit,
            Err(executor::ExecError::Cancelled) => {
                return Err(Failed::Before(BuildError::Interrupted));
            }
            Err(executor::ExecError::Step(message)) => {
                let (tail, log) = log.finish();
                return Err(Failed::Exit { message, code: None, tail, log });
            }
            Err(error) => return Err(Failed::Before(failed("cannot run the step")(error))),
        };
        for note in &exit.notes {
            self.reporter.note(note.clone());
        }
        let accepted =
            exit.success() || exit.code.is_some_and(|code| meta.valid_exit_codes.contains(&code));
        if !accepted {
            let command = meta.args.join(" ");
            let how = match (exit.code, exit.signal) {
                _ if exit.timed_out => "it ran too long".to_owned(),
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("killed by signal {signal}"),
                (None, None) => "it died".to_owned(),
            };
            let message = format!("process \"{command}\" did not complete successfully: {how}");
            let (tail, log) = log.finish();
            return Err(Failed::Exit { message, code: Some(exit.shell_code()), tail, log });
        }
        Ok(())
    }

    /// Adds what the step's devices are made of.
    fn devices(
        &self,
        op: &pb::ExecOp,
        env: &mut Vec<String>,
        mounts: &mut Vec<Mount>,
    ) -> Result<(), BuildError> {
        if op.cdi_devices.is_empty() {
            return Ok(());
        }
        let devices = executor::Devices::read(self.device_dirs);
        for wanted in &op.cdi_devices {
            match devices.find(&wanted.name) {
                Ok(edits) => {
                    env.extend(edits.env);
                    mounts.extend(edits.mounts);
                }
                Err(error @ executor::CdiError::Unknown { .. }) if wanted.optional => {
                    self.reporter.note(format!("{error}; the step runs without it"));
                }
                Err(error) => {
                    let searched: Vec<String> =
                        self.device_dirs.iter().map(|dir| dir.display().to_string()).collect();
                    return Err(BuildError::Failed {
                        message: error.to_string(),
                        hint: Some(format!("specifications are in {}", searched.join(" and "))),
                        source: None,
                    });
                }
            }
        }
        Ok(())
    }

    fn mount(
        &self,
        mount: &pb::Mount,
        input: Option<Value>,
        held: &mut Held,
    ) -> Result<Option<Mount>, BuildError> {
        let target = mount.dest.clone();
        let kind = match pb::MountType::try_from(mount.mount_type) {
            Ok(pb::MountType::Bind) => {
                self.bind(mount, &input.unwrap_or_else(Value::empty), held)?
            }
            Ok(pb::MountType::Cache) => self.cache(mount, input.as_ref(), held)?,
            Ok(pb::MountType::Tmpfs) => {
                let size = mount
                    .tmpfs_opt
                    .as_ref()
                    .map(|opt| opt.size)
                    .and_then(|size| u64::try_from(size).ok());
                MountKind::Tmpfs { size: size.filter(|size| *size > 0), mode: 0o1777 }
            }
            Ok(pb::MountType::Secret) => match self.secret(mount)? {
                Some(kind) => kind,
                None => return Ok(None),
            },
            Ok(pb::MountType::Ssh) => match self.agent(mount)? {
                Some(kind) => kind,
                None => return Ok(None),
            },
            Err(_) => {
                return Err(refused(
                    format!("mount type {} of `{target}` is not known", mount.mount_type),
                    None,
                ));
            }
        };
        Ok(Some(Mount { target, kind }))
    }

    fn bind(
        &self,
        mount: &pb::Mount,
        input: &Value,
        held: &mut Held,
    ) -> Result<MountKind, BuildError> {
        let fail = || failed(format!("cannot prepare mount `{}`", mount.dest));
        let subpath =
            (!matches!(mount.selector.as_str(), "" | "/" | ".")).then(|| mount.selector.clone());
        let trees =
            self.snapshots.ensure_trees(&input.plain_layers(), self.source).map_err(fail())?;
        let mounted = self.snapshots.mount(&trees, !mount.readonly).map_err(fail())?;
        let read_only = mount.readonly;
        let kind = match mounted.rootfs().clone() {
            snapshot::Rootfs::Directory(source) => MountKind::Bind { source, subpath, read_only },
            snapshot::Rootfs::Overlay { lowers, upper, work } => {
                MountKind::Overlay { lowers, upper: upper.zip(work), subpath, read_only }
            }
        };
        held.mounted.push(mounted);
        Ok(kind)
    }

    fn cache(
        &self,
        mount: &pb::Mount,
        input: Option<&Value>,
        held: &mut Held,
    ) -> Result<MountKind, BuildError> {
        let opt = mount.cache_opt.clone().unwrap_or_default();
        let sharing = match pb::CacheSharing::try_from(opt.sharing) {
            Ok(pb::CacheSharing::Private) => Sharing::Private,
            Ok(pb::CacheSharing::Locked) => Sharing::Locked,
            _ => Sharing::Shared,
        };
        let layers = input.map(Value::plain_layers).unwrap_or_default();
        let fail = || failed(format!("cannot prepare cache mount `{}`", mount.dest));
        let view = self.snapshots.view(&layers, self.source).map_err(fail())?;
        let selector = RelPath::clean(&mount.selector);
        let initial = (!layers.is_empty()).then_some((&view as &dyn TreeView, &selector));
        let root = initial
            .map(|(view, path)| view.lookup(path))
            .transpose()
            .map_err(failed(format!("cannot look into cache mount `{}`", mount.dest)))?
            .flatten();
        let meta = root
            .map_or_else(|| Metadata { mode: 0o755, ..Metadata::default() }, |entry| entry.meta);
        // A cache that begins with something is another one than the plain cache of the same name.
        let id = match initial {
            Some((view, _)) => {
                let selector = fstree::Selector {
                    path: mount.selector.clone().into_bytes(),
                    follow_links: true,
                    ..fstree::Selector::default()
                };
                let begins = fstree::content_digest(
                    view,
                    &[selector],
                    &StoredDigests(self.snapshots.store()),
                );
                let begins = begins
                    .map_err(failed(format!("cannot look into cache mount `{}`", mount.dest)))?;
                format!("{}\0{begins}", opt.id)
            }
            None => opt.id,
        };
        let request = CacheRequest {
            id: &id,
            sharing,
            initial,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
        };
        let cache = self
            .snapshots
            .cache_mount(request, self.stop)
            .map_err(failed(format!("cannot prepare cache mount `{}`", mount.dest)))?;
        let kind = MountKind::Bind {
            source: cache.path().to_owned(),
            subpath: None,
            read_only: mount.readonly,
        };
        held.caches.push(cache);
        Ok(kind)
    }

    fn secret(&self, mount: &pb::Mount) -> Result<Option<MountKind>, BuildError> {
        let opt = mount.secret_opt.clone().unwrap_or_default();
        let Some(bytes) = self.secret_bytes(&opt.id, opt.optional)? else { return Ok(None) };
        Ok(Some(MountKind::Secret { bytes, mode: opt.mode & 0o7777, uid: opt.uid, gid: opt.gid }))
    }

    fn secret_bytes(&self, id: &str, optional: bool) -> Result<Option<Vec<u8>>, BuildError> {
        /// As BuildKit has it.
        const LIMIT: usize = 500 << 10;
        let bytes = match self.secrets.get(id) {
            Some(SecretSource::Value(bytes)) => bytes.clone(),
            Some(SecretSource::File(path)) => {
                fs_err::read(path).map_err(failed(format!("cannot read secret `{id}`")))?
            }
            None if optional => return Ok(None),
            None => {
                let hint =
                    format!("pass it with --secret id={id},src=FILE or --secret id={id},env=NAME");
                return Err(BuildError::Failed {
                    message: format!("secret `{id}` was not passed"),
                    hint: Some(hint),
                    source: None,
                });
            }
        };
        if bytes.len() > LIMIT {
            return Err(refused(
                format!("secret `{id}` has {} bytes, more than {LIMIT}", bytes.len()),
                None,
            ));
        }
        Ok(Some(bytes))
    }

    fn secret_env(&self, op: &pb::ExecOp, env: &mut Vec<String>) -> Result<(), BuildError> {
        for secret in &op.secretenv {
            // As BuildKit has it, a secret that need not be there and is not leaves an empty variable.
            let bytes = self.secret_bytes(&secret.id, secret.optional)?.unwrap_or_default();
            let value = String::from_utf8(bytes).map_err(failed(format!(
                "secret `{}` is no text, so it cannot be a variable",
                secret.id
            )))?;
            env.push(format!("{}={value}", secret.name));
        }
        Ok(())
    }

    fn agent(&self, mount: &pb::Mount) -> Result<Option<MountKind>, BuildError> {
        let opt = mount.ssh_opt.clone().unwrap_or_default();
        let id = if opt.id.is_empty() { "default" } else { opt.id.as_str() };
        let server = match self.ssh.get(id) {
            Some(SshSource::Agent(socket)) => SshServer::Agent(socket.clone()),
            Some(SshSource::Keys(paths)) => {
                let keys = SshKeys::read(paths).map_err(|error| {
                    let hint = match &error {
                        SshKeyError::Unusable { hint, .. } => Some(*hint),
                        SshKeyError::Read { .. } => None,
                    };
                    refused(crate::error::chain(&error), hint)
                })?;
                SshServer::Keys(Arc::new(keys))
            }
            None if opt.optional => return Ok(None),
            None => {
                return Err(BuildError::Failed {
                    message: format!("ssh agent `{id}` was not passed"),
                    hint: Some(format!("pass it with --ssh {id}")),
                    source: None,
                });
            }
        };
        let (mode, uid, gid) = (opt.mode & 0o7777, opt.uid, opt.gid);
        Ok(Some(MountKind::Ssh(SshAgent { server, mode, uid, gid })))
    }
}

pub(crate) fn rootfs(rootfs: snapshot::Rootfs) -> Rootfs {
    match rootfs {
        snapshot::Rootfs::Overlay { lowers, upper, work } => Rootfs::Overlay {
            lowers,
            upper: upper.unwrap_or_default(),
            work: work.unwrap_or_default(),
            // The store makes durable what it keeps; nothing else needs to be synced.
            volatile: true,
        },
        snapshot::Rootfs::Directory(path) => Rootfs::Directory(path),
    }
}

pub(crate) fn emulation_mounts(emulation: &emulation::Emulation) -> impl Iterator<Item = Mount> {
    emulation.mounts.iter().map(|mount| Mount {
        target: mount.target.clone(),
        kind: MountKind::Bind { source: mount.source.clone(), subpath: None, read_only: true },
    })
}

pub(crate) fn machine(emulation: &emulation::Emulation) -> executor::Machine {
    if emulation.compatible32 { executor::Machine::Compatible32 } else { executor::Machine::Native }
}

fn shm_size(op: &pb::ExecOp) -> u64 {
    let shm = op.mounts.iter().find(|mount| mount.dest == "/dev/shm");
    shm.and_then(|mount| mount.tmpfs_opt.as_ref())
        .and_then(|opt| u64::try_from(opt.size).ok())
        .unwrap_or_default()
}

fn hosts(meta: &pb::Meta) -> Result<Vec<HostEntry>, BuildError> {
    let entry = |host: &pb::HostIp| {
        let address: IpAddr = host
            .ip
            .parse()
            .map_err(failed(format!("`{}` is not an address for host {}", host.ip, host.host)))?;
        Ok(HostEntry { host: host.host.clone(), address })
    };
    meta.extra_hosts.iter().map(entry).collect()
}

/// What the operation says of the process.
fn described(op: &pb::ExecOp, meta: &pb::Meta) -> Result<Step, BuildError> {
    Ok(Step {
        args: meta.args.clone(),
        cwd: if meta.cwd.is_empty() { "/".to_owned() } else { meta.cwd.clone() },
        user: meta.user.clone(),
        hostname: (!meta.hostname.is_empty()).then(|| meta.hostname.clone()),
        network: match pb::NetMode::try_from(op.network) {
            Ok(pb::NetMode::Host) => executor::Network::Host,
            Ok(pb::NetMode::None) => executor::Network::None,
            _ => executor::Network::Private,
        },
        add_hosts: hosts(meta)?,
        ulimits: meta
            .ulimit
            .iter()
            .map(|limit| executor::Ulimit {
                name: limit.name.to_lowercase(),
                soft: limit.soft,
                hard: limit.hard,
            })
            .collect(),
        shm_size: shm_size(op),
        security: match pb::SecurityMode::try_from(op.security) {
            Ok(pb::SecurityMode::Insecure) => executor::Security::Insecure,
            Ok(pb::SecurityMode::Sandbox) | Err(_) => executor::Security::Sandbox,
        },
        ..Step::default()
    })
}

/// Proxies reach the step, in both spellings, and never its key or the image.
fn proxy_env(meta: &pb::Meta, env: &mut Vec<String>) {
    let Some(proxy) = &meta.proxy_env else { return };
    let values = [
        ("HTTP_PROXY", &proxy.http_proxy),
        ("HTTPS_PROXY", &proxy.https_proxy),
        ("FTP_PROXY", &proxy.ftp_proxy),
        ("NO_PROXY", &proxy.no_proxy),
        ("ALL_PROXY", &proxy.all_proxy),
    ];
    for (name, value) in values {
        for name in [name.to_owned(), name.to_lowercase()] {
            let prefix = format!("{name}=");
            if !value.is_empty() && !env.iter().any(|entry| entry.starts_with(&prefix)) {
                env.push(format!("{prefix}{value}"));
            }
        }
    }
}
