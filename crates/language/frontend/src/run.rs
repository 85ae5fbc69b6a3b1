use dockerfile::{Expand, Mount, MountKind, Run, Sharing, Variables, Word};
use llb::{Exec, FileAction, Metadata, Output, pb};
use report::Diagnostic;

use crate::compiler::{Compiler, Stop};
use crate::env::Env;
use crate::stage::Command;
use crate::text::append;
use crate::{names, paths};

/// Bytes that all steps may come to, with the variables each is given.
const MAX_STEP_BYTES: usize = 64 << 20;

/// Mounts of a step, as they are collected.
#[derive(Default)]
struct Mounts {
    files: Vec<llb::Mount>,
    secret_env: Vec<pb::SecretEnv>,
    secrets: Vec<(String, pb::SecretOpt)>,
    ssh: Vec<(String, pb::SshOpt)>,
}

/// Variables as a step's name shows them: those from secrets are hidden.
struct Masked<'a> {
    env: &'a Env,
    secret: Vec<&'a str>,
}

impl Variables for Masked<'_> {
    fn get(&self, name: &str) -> Option<String> {
        if self.secret.contains(&name) {
            return Some("****".to_owned());
        }
        self.env.get(name)
    }
}

impl Compiler<'_> {
    pub(crate) fn run_step(
        &mut self,
        index: usize,
        command: &Command<'_>,
        run: &Run,
    ) -> Result<(), Stop> {
        let instruction = command.instruction.as_ref();
        self.names_hold(index, command)?;
        let env = self.stages[index].env.clone();
        self.step_bytes += env.bytes() + instruction.code.len();
        if self.step_bytes > MAX_STEP_BYTES {
            self.error("the steps of this Dockerfile are too large together", instruction.span);
            return Err(Stop);
        }
        if let Some(context) = self.stages[index].context.clone() {
            self.used_paths.entry(context).or_default().insert("/".to_owned());
        }
        let mut code = instruction.code.clone();
        let mut mounts = Mounts::default();
        let words = self.command_line(index, run, &mut code, &mut mounts);
        let args = if run.command.shell {
            let mut args = self.stages[index].shell();
            args.push(words.join(" "));
            args
        } else {
            words
        };
        let parsed = self.mounts(index, command, run, &mut mounts)?;
        let permitted = self.permitted(run, instruction.span)?;

        let platform = self.platform(index);
        let masked = Masked {
            env: &env,
            secret: parsed.iter().filter_map(|mount| mount.env.as_deref()).collect(),
        };
        let how = Expand { raw_quotes: true, skip_unset: true, ..Expand::words(self.file.escape) };
        let shown = names::shown(&self.budget, &code, how, &masked);
        let with_platform = self.options.multi_platform.then_some(&platform);
        let name = names::step(&mut self.stages[index], &shown, with_platform, &env);
        mounts.files.extend(self.shared_memory());
        let stage = &self.stages[index];
        let created_by = format!("RUN {} # buildkit", history(&args, &stage.args, &env));
        let exec = Exec {
            meta: self.process(index, args),
            network: permitted.network,
            security: permitted.security,
            root: stage.output,
            mounts: mounts.files,
            secret_env: mounts.secret_env,
            secrets: mounts.secrets,
            ssh: mounts.ssh,
            devices: permitted.devices,
            platform: platform.clone(),
        };
        let metadata = self.described(index, &name, instruction);
        let output = self.graph.exec(exec, metadata);
        self.stages[index].output = Some(output);
        self.step(output, index, name, platform, instruction.span);
        self.stages[index].record(created_by, true);
        Ok(())
    }

    /// The process of a step.
    fn process(&self, index: usize, args: Vec<String>) -> pb::Meta {
        let stage = &self.stages[index];
        let hosts = self.options.add_hosts.iter();
        let hostname = self.options.hostname.as_deref();
        let hostname = hostname.or(self
            .options
            .build_args
            .get("BUILDKIT_SANDBOX_HOSTNAME")
            .map(String::as_str));
        pb::Meta {
            args,
            env: stage.env.to_list(),
            cwd: stage.dir.clone(),
            user: stage.user.clone(),
            proxy_env: self.proxies(),
            extra_hosts: hosts
                .map(|(host, ip)| pb::HostIp { host: host.clone(), ip: ip.clone() })
                .collect(),
            hostname: hostname.unwrap_or_default().to_owned(),
            ulimit: self.options.ulimits.clone(),
            cgroup_parent: String::new(),
            remove_mount_stubs_recursive: true,
            valid_exit_codes: Vec::new(),
        }
    }

    /// `--shm-size`.
    fn shared_memory(&self) -> Option<llb::Mount> {
        let size = self.options.shm_size.filter(|size| *size > 0)?;
        Some(llb::Mount {
            dest: "/dev/shm".to_owned(),
            source: None,
            selector: String::new(),
            readonly: false,
            kind: llb::MountKind::Tmpfs { size: i64::try_from(size).unwrap_or(i64::MAX) },
        })
    }

    /// The words to run. A script in a here-document becomes a file, or the text itself.
    fn command_line(
        &mut self,
        index: usize,
        run: &Run,
        code: &mut String,
        mounts: &mut Mounts,
    ) -> Vec<String> {
        let args = &run.command.args;
        let ([only], [first, ..]) = (args.as_slice(), run.command.heredocs.as_slice()) else {
            return args.clone();
        };
        if !dockerfile::is_heredoc(only) {
            let mut text = only.clone();
            for heredoc in &run.command.heredocs {
                text.push('\n');
                text.push_str(&heredoc.body);
                text.push_str(&heredoc.name);
            }
            return vec![text];
        }
        append(code, format_args!(" ({})", summary(&first.body)));
        let data = first.content();
        // As written: with `<<-` and a tab before it, `#!` is a comment of the shell, as it is for BuildKit.
        if self.stages[index].windows() || !first.body.starts_with("#!") {
            return vec![data];
        }
        let script = FileAction::Mkfile(pb::FileActionMkFile {
            path: paths::in_operation("/", &first.name, false),
            mode: 0o755,
            data: data.into_bytes(),
            owner: None,
            timestamp: -1,
        });
        let metadata = Metadata::named("[internal] preparing inline document");
        let output = self.graph.file(None, vec![script], metadata);
        mounts.files.push(llb::Mount {
            dest: "/dev/pipes/".to_owned(),
            source: Some(output),
            selector: "/".to_owned(),
            readonly: true,
            kind: llb::MountKind::Discard,
        });
        vec![paths::join("/dev/pipes", &first.name)]
    }

    fn mounts(
        &mut self,
        index: usize,
        command: &Command<'_>,
        run: &Run,
        mounts: &mut Mounts,
    ) -> Result<Vec<Mount>, Stop> {
        let mut parsed = Vec::with_capacity(run.mounts.len());
        for (word, source) in
            run.mounts.iter().zip(command.sources.iter().copied().chain(std::iter::repeat(None)))
        {
            let mount = self.parse_mount(index, word)?;
            if matches!(mount.kind, MountKind::Secret | MountKind::Ssh) {
                self.asked_mount(index, command.instruction.lines, &mount);
            }
            match mount.kind {
                MountKind::Secret => secret(&mount, mounts),
                MountKind::Ssh => {
                    if !mount.source.is_empty() {
                        self.error("ssh does not support source", word.span);
                        return Err(Stop);
                    }
                    let agent = pb::SshOpt {
                        id: mount.id.clone(),
                        uid: mount.uid.unwrap_or(0),
                        gid: mount.gid.unwrap_or(0),
                        mode: mount.mode.unwrap_or(0o600),
                        optional: !mount.required,
                    };
                    mounts.ssh.push((mount.target.clone(), agent));
                }
                MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {
                    let files = self.file_mount(index, word, &mount, source)?;
                    mounts.files.push(files);
                }
            }
            parsed.push(mount);
        }
        Ok(parsed)
    }

    fn parse_mount(&mut self, index: usize, word: &Word) -> Result<Mount, Stop> {
        let env = self.stages[index].env.clone();
        let how = Expand::words(self.file.escape);
        let mut unmatched = std::collections::BTreeSet::new();
        let budget = &self.budget;
        let mut replace = |text: &str| {
            let expanded = budget.expand(text, how, &env).map_err(|error| error.to_string())?;
            unmatched.extend(expanded.unmatched);
            Ok(expanded.text)
        };
        let parsed = Mount::parse(&word.text, &mut replace);
        self.undefined(index, &unmatched, word.span);
        parsed.map_err(|error| {
            let mut diagnostic = Diagnostic::error(error.message, word.span);
            diagnostic.hint = error.hint;
            self.report(diagnostic);
            Stop
        })
    }

    fn file_mount(
        &mut self,
        index: usize,
        word: &Word,
        mount: &Mount,
        source: Option<usize>,
    ) -> Result<llb::Mount, Stop> {
        let dir = self.stages[index].dir.clone();
        let dest = if mount.target.starts_with('/') {
            mount.target.clone()
        } else {
            paths::join("/", &format!("{dir}/{}", mount.target))
        };
        if paths::clean(&dest) == "/" {
            self.report(
                Diagnostic::error(format!("invalid mount target {dest:?}"), word.span)
                    .hint("give a target= other than the root"),
            );
            return Err(Stop);
        }
        let from_context = mount.from.is_empty() && mount.kind == MountKind::Bind;
        let mut input: Option<Output> = match (mount.kind, source) {
            (MountKind::Tmpfs, _) => None,
            (_, Some(stage)) => {
                if !self.stages[stage].done || stage == index {
                    let message = format!(
                        "cannot mount from stage {:?} to {:?}, stage needs to be defined before \
                         current command",
                        mount.from, mount.target
                    );
                    self.report(
                        Diagnostic::error(message, word.span)
                            .hint("move that stage before this one"),
                    );
                    return Err(Stop);
                }
                self.stages[stage].output
            }
            (_, None) if from_context => Some(self.context_source(crate::compiler::MAIN_CONTEXT)),
            (_, None) => None,
        };
        let mut selector = paths::join("/", &mount.source);
        let owned = mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some();
        if selector == "/" {
            selector.clear();
            if owned && mount.kind == MountKind::Cache {
                input = Some(self.cache_directory(input, mount));
                "/cache".clone_into(&mut selector);
            }
        }
        let kind = match mount.kind {
            MountKind::Tmpfs => llb::MountKind::Tmpfs { size: mount.size },
            MountKind::Cache => {
                let namespace = self.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS");
                let id = match mount.id.as_str() {
                    "" => paths::clean(&mount.target),
                    id => id.to_owned(),
                };
                llb::MountKind::Cache {
                    id: format!("{}/{id}", namespace.map_or("", String::as_str)),
                    sharing: match mount.sharing {
                        None | Some(Sharing::Shared) => pb::CacheSharing::Shared,
                        Some(Sharing::Private) => pb::CacheSharing::Private,
                        Some(Sharing::Locked) => pb::CacheSharing::Locked,
                    },
                }
            }
            _ => llb::MountKind::Discard,
        };
        if from_context || source.is_some() {
            self.uses(source, &mount.source);
        }
        let readonly = mount.readonly && mount.kind != MountKind::Tmpfs;
        Ok(llb::Mount { dest, source: input, selector, readonly, kind })
    }

    /// What a cache mount with an owner is at first.
    fn cache_directory(&mut self, base: Option<Output>, mount: &Mount) -> Output {
        let id = |id: Option<u32>| {
            Some(pb::UserOpt { user: Some(pb::user_opt::User::ById(id.unwrap_or(0))) })
        };
        let mode = mount.mode.unwrap_or(0o755) & 0o777;
        let mkdir = FileAction::Mkdir(pb::FileActionMkDir {
            path: "/cache".to_owned(),
            mode: i32::try_from(mode).unwrap_or(0o755),
            make_parents: false,
            owner: Some(pb::ChownOpt { user: id(mount.uid), group: id(mount.gid) }),
            timestamp: -1,
        });
        let metadata = Metadata::named("[internal] setting cache mount permissions");
        self.graph.file(base, vec![mkdir], metadata)
    }

    /// Proxies among the build arguments, which reach every step without being part of what it is.
    fn proxies(&self) -> Option<pb::ProxyEnv> {
        let mut proxies = pb::ProxyEnv::default();
        let mut any = false;
        for (name, value) in &self.options.build_args {
            let slot = match name.to_lowercase().as_str() {
                "http_proxy" => &mut proxies.http_proxy,
                "https_proxy" => &mut proxies.https_proxy,
                "ftp_proxy" => &mut proxies.ftp_proxy,
                "no_proxy" => &mut proxies.no_proxy,
                "all_proxy" => &mut proxies.all_proxy,
                _ => continue,
            };
            slot.clone_from(value);
            any = true;
        }
        any.then_some(proxies)
    }
}

fn secret(mount: &Mount, mounts: &mut Mounts) {
    let id = [&mount.source, &mount.id].into_iter().find(|id| !id.is_empty());
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let id = id.cloned().unwrap_or_else(|| base(paths::clean(&mount.target).as_str()));
    let optional = !mount.required;
    let mut target = Some(mount.target.clone()).filter(|target| !target.is_empty());
    match &mount.env {
        Some(name) => {
            let name = name.clone();
            mounts.secret_env.push(pb::SecretEnv { id: id.clone(), name, optional });
        }
        None => {
            target.get_or_insert_with(|| format!("/run/secrets/{}", base(&id)));
        }
    }
    if let Some(target) = target {
        let file = pb::SecretOpt {
            id,
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(0o400),
            optional,
        };
        mounts.secrets.push((target, file));
    }
}

/// The command with the arguments that were in force: `|1 A=b /bin/sh -c make`.
fn history(args: &[String], declared: &[(String, Option<String>)], env: &Env) -> String {
    let mut shown: Vec<(&str, String)> = Vec::new();
    for (name, value) in declared {
        let value = env.value(name).or(value.as_deref()).unwrap_or_default();
        let entry = format!("{name}={value}");
        match shown.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = entry,
            None => shown.push((name, entry)),
        }
    }
    let mut words = Vec::with_capacity(shown.len() + args.len() + 1);
    if !shown.is_empty() {
        words.push(format!("|{}", shown.len()));
        words.extend(shown.into_iter().map(|(_, entry)| entry));
    }
    words.extend(args.iter().cloned());
    words.join(" ")
}

/// The first line of a here-document.
fn summary(body: &str) -> String {
    let mut lines = body.trim().lines();
    let first = lines.next().unwrap_or_default().to_owned();
    if lines.next().is_some() { first + "..." } else { first }
}
