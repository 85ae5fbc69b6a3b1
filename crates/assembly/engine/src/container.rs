//! `crossdock run`: a process in a fresh container of an image.

use std::sync::atomic::Ordering;

use build_api::{BuildError, Network};
use executor::{Mount, MountKind, Stdio, Step, Stream};
use oci::{ContainerConfig, Platform};
use report::Progress;
use snapshot::{BlobLayer, Layer};
use sources::{Images, PullPolicy};

use crate::error::{failed, failed_with, refused};
use crate::exec::{emulation_mounts, machine, rootfs};
use crate::fetcher::Fetcher;
use crate::reporter::Reporter;
use crate::resolver::hint;
use crate::work::emulation_error;
use crate::{Engine, RunRequest};

impl Engine {
    /// Runs a process on the caller's own standard streams. What it writes to its file system is gone afterwards.
    /// The result is its exit code, 128 and the signal if it was killed.
    pub fn run(&self, request: &RunRequest, progress: &dyn Progress) -> Result<i32, BuildError> {
        let _lease = self.store.lease().map_err(failed("cannot use the store"))?;
        let policy = if request.pull { PullPolicy::Always } else { PullPolicy::Missing };
        let images = Images::new(self.store.clone(), self.remote.clone(), policy);
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let what = format!("cannot run {}", request.image.familiar());
        let image = images.image(&request.image, &platform);
        let image = image.map_err(|error| failed_with(what.as_str(), hint(&error))(error))?;
        let config = &image.config.value;
        if config.os == "windows" {
            return Err(refused(format!("{what}: a Windows image runs on Windows only"), None));
        }
        let platform = if config.os.is_empty() { platform } else { config.platform() };
        let emulation = self
            .emulators(std::slice::from_ref(&platform), progress)?
            .prepare(&platform)
            .map_err(|error| emulation_error(&request.image.familiar(), error))?;

        let reporter = Reporter::new(progress);
        let fetcher = Fetcher::new(&self.store, &images, reporter);
        let blobs = image.manifest.value.layers.iter().zip(&config.rootfs.diff_ids);
        let layers: Vec<Layer> = blobs
            .map(|(blob, diff_id)| {
                fetcher.remember(blob, &image);
                Layer::blob(BlobLayer {
                    descriptor: blob.clone(),
                    diff_id: diff_id.clone(),
                    windows: false,
                })
            })
            .collect();
        let snapshots = self.snapshots()?;
        let trees = snapshots.ensure_trees(&layers, &fetcher).map_err(failed(what.as_str()))?;
        let active = snapshots.prepare(&trees).map_err(failed(what.as_str()))?;
        let step = step(request, &config.config, &emulation, rootfs(active.rootfs()))?;
        let cancel = &self.options.cancel;
        let exit = executor::run(&step, &mut |_: Stream, _: &[u8]| {}, cancel);
        if cancel.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        let exit = exit.map_err(failed(what))?;
        for note in &exit.notes {
            reporter.note(note.clone());
        }
        Ok(exit.shell_code())
    }
}

fn step(
    request: &RunRequest,
    config: &ContainerConfig,
    emulation: &emulation::Emulation,
    rootfs: executor::Rootfs,
) -> Result<Step, BuildError> {
    let entrypoint =
        request.entrypoint.as_ref().or(config.entrypoint.as_ref()).cloned().unwrap_or_default();
    let command = match (&request.args, &request.entrypoint) {
        (args, _) if !args.is_empty() => args.clone(),
        // A new entrypoint does not go with the image's arguments.
        (_, Some(_)) => Vec::new(),
        (_, None) => config.cmd.clone().unwrap_or_default(),
    };
    let args: Vec<String> = entrypoint.into_iter().chain(command).collect();
    if args.is_empty() {
        let hint = "name a command after the image";
        return Err(refused(
            format!("{} says nothing of what to run", request.image.familiar()),
            Some(hint),
        ));
    }
    let mut env = config.env.clone();
    for variable in &request.env {
        let name = variable.split('=').next().unwrap_or_default();
        env.retain(|it| it.split('=').next() != Some(name));
        env.push(variable.clone());
    }
    if !env.iter().any(|it| it.starts_with("PATH=")) {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    }
    let volumes = request.volumes.iter().map(|volume| Mount {
        target: volume.target.display().to_string(),
        kind: MountKind::Bind {
            source: volume.source.clone(),
            subpath: None,
            read_only: volume.read_only,
        },
    });
    let cwd = request.workdir.clone().unwrap_or_else(|| config.working_dir.clone());
    Ok(Step {
        args,
        env,
        cwd: if cwd.is_empty() { "/".to_owned() } else { cwd },
        user: request.user.clone().unwrap_or_else(|| config.user.clone()),
        rootfs,
        mounts: volumes.chain(emulation_mounts(emulation)).collect(),
        network: match request.network {
            Network::Default => executor::Network::Private,
            Network::None => executor::Network::None,
            Network::Host => executor::Network::Host,
        },
        machine: machine(emulation),
        stdio: Stdio::Inherited,
        ..Step::default()
    })
}
