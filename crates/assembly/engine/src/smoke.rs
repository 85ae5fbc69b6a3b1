//! `crossdock windows smoke`: a program of a Windows image under Wine, in the sandbox of build steps.
//!
//! The sandbox sees this machine's programs and libraries, read-only, and the image; no network and nothing else. Wine's
//! own Windows takes the place of the image's, everything else on C: is the image's. What is written is gone afterwards.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use build_api::BuildError;
use executor::{Mount, MountKind, Stdio, Step, Stream};
use oci::{ContainerConfig, Platform, Reference};
use report::Progress;
use snapshot::{BlobLayer, Layer};
use sources::{Images, PullPolicy};

use crate::Engine;
use crate::error::{failed, failed_with, refused};
use crate::exec::rootfs;
use crate::fetcher::Fetcher;
use crate::reporter::Reporter;
use crate::resolver::hint;

/// What is run.
#[derive(Clone, Debug)]
pub struct SmokeRequest {
    /// The image.
    pub image: Reference,
    /// Which of its platforms; a Windows of this machine's processor where nothing is said.
    pub platform: Option<Platform>,
    /// Program and arguments; what the image starts where there are none.
    pub program: Vec<String>,
    /// Variables, before those of the image.
    pub env: Vec<String>,
}

/// Where Wine is when it is not in `PATH`.
const USUAL: [&str; 4] = [
    "/usr/lib/wine/wine64",
    "/opt/wine-stable/bin/wine",
    "/opt/wine-staging/bin/wine",
    "/opt/wine-devel/bin/wine",
];
/// What of this machine a program needs that was not made for the image.
const SYSTEM: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/etc/ld.so.cache",
    "/etc/alternatives",
];
/// Puts the image's files beside Wine's Windows, then becomes Wine.
const START: &str = r#"
mkdir -p "$WINEPREFIX/drive_c" || exit 125
for entry in /image/* /image/.[!.]*; do
    name=${entry##*/}
    case $name in [Ww][Ii][Nn][Dd][Oo][Ww][Ss]) continue ;; esac
    if [ -e "$entry" ] || [ -L "$entry" ]; then ln -s "$entry" "$WINEPREFIX/drive_c/$name" || exit 125; fi
done
# What Wine says while it makes its Windows is of no use to anybody, unless it cannot.
"$1" wineboot --init >/tmp/wineboot 2>&1 || { cat /tmp/wineboot >&2; exit 125; }
cd "$WINEPREFIX/drive_c/$CROSSDOCK_DIRECTORY" 2>/dev/null || cd "$WINEPREFIX/drive_c"
unset CROSSDOCK_DIRECTORY
exec "$@"
"#;

impl Engine {
    /// Runs a program of a Windows image under Wine on the caller's own standard streams. The result is its exit code.
    pub fn smoke(
        &self,
        request: &SmokeRequest,
        progress: &dyn Progress,
    ) -> Result<i32, BuildError> {
        let wine = wine(&self.options.emulator_dirs).ok_or_else(|| {
            refused(
                "Wine is not installed, and without it nothing of Windows runs here",
                Some("install it (Debian: wine64), or leave this to a machine with Windows; `crossdock windows verify` needs neither"),
            )
        })?;
        let _lease = self.store.lease().map_err(failed("cannot use the store"))?;
        let images = Images::new(self.store.clone(), self.remote.clone(), PullPolicy::Missing);
        let host = Platform::host();
        let platform = request
            .platform
            .clone()
            .unwrap_or_else(|| Platform::new("windows", &host.architecture));
        let what = format!("cannot try {}", request.image.familiar());
        let image = images.image(&request.image, &platform);
        let image = image.map_err(|error| failed_with(what.as_str(), hint(&error))(error))?;
        let config = &image.config.value;
        if config.os != "windows" {
            let hint = "`crossdock run` runs it";
            return Err(refused(format!("{what}: it is no Windows image"), Some(hint)));
        }
        if config.architecture != host.architecture {
            let hint = format!("name another with --platform windows/{}", host.architecture);
            let text = format!(
                "{what}: Wine runs programs for {} here, not for {}",
                host.architecture, config.architecture
            );
            return Err(refused(text, Some(&hint)));
        }
        let reporter = Reporter::new(progress);
        let fetcher = Fetcher::new(&self.store, &images, reporter);
        let blobs = image.manifest.value.layers.iter().zip(&config.rootfs.diff_ids);
        let layers: Vec<Layer> = blobs
            .map(|(blob, diff_id)| {
                fetcher.remember(blob, &image);
                let (descriptor, diff_id) = (blob.clone(), diff_id.clone());
                Layer::blob(BlobLayer { descriptor, diff_id, windows: true })
            })
            .collect();
        let snapshots = self.snapshots()?;
        let trees = snapshots.ensure_trees(&layers, &fetcher).map_err(failed(what.as_str()))?;
        let files = snapshots.mount(&trees, true).map_err(failed(what.as_str()))?;
        let root = snapshots.prepare(&[]).map_err(failed(what.as_str()))?;
        let files = match files.rootfs().clone() {
            snapshot::Rootfs::Directory(source) => {
                MountKind::Bind { source, subpath: None, read_only: false }
            }
            snapshot::Rootfs::Overlay { lowers, upper, work } => MountKind::Overlay {
                lowers,
                upper: upper.zip(work),
                subpath: None,
                read_only: false,
            },
        };
        let mut step = step(request, &config.config, &wine)?;
        step.rootfs = rootfs(root.rootfs());
        step.mounts.push(Mount { target: "/image".to_owned(), kind: files });
        let cancel = &self.options.cancel;
        let exit = executor::run(&step, &mut |_: Stream, _: &[u8]| {}, cancel);
        if cancel.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        Ok(exit.map_err(failed(what))?.shell_code())
    }
}

/// Wine, where it is installed. The program itself comes before scripts that look for it.
fn wine(directories: &[PathBuf]) -> Option<PathBuf> {
    let in_path = ["wine64", "wine"]
        .iter()
        .flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
    USUAL.iter().map(PathBuf::from).chain(in_path).find(|path| path.is_file())
}

fn step(request: &SmokeRequest, config: &ContainerConfig, wine: &Path) -> Result<Step, BuildError> {
    let started = || -> Vec<String> {
        let words = config.entrypoint.iter().chain(&config.cmd).flatten();
        let words: Vec<String> = words.cloned().collect();
        if config.args_escaped && !words.is_empty() {
            // A command line that only Windows can take apart.
            ["cmd", "/S", "/C"].map(str::to_owned).into_iter().chain([words.join(" ")]).collect()
        } else {
            words
        }
    };
    let program = if request.program.is_empty() { started() } else { request.program.clone() };
    if program.is_empty() {
        let text = format!("{} says nothing of what to run", request.image.familiar());
        return Err(refused(text, Some("name a program after the image")));
    }
    let mut env: Vec<String> = [
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "HOME=/wine",
        "WINEPREFIX=/wine",
        // Neither .NET nor a browser is asked to be installed.
        "WINEDLLOVERRIDES=mscoree=;mshtml=",
    ]
    .map(str::to_owned)
    .to_vec();
    let directory = config.working_dir.replace('\\', "/");
    let directory = directory.split_once(':').map_or(directory.as_str(), |(_, rest)| rest);
    env.push(format!("CROSSDOCK_DIRECTORY={}", directory.trim_start_matches('/')));
    for variable in request.env.iter().chain(&config.env) {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        // Wine puts this before the PATH of its Windows.
        let name = if name.eq_ignore_ascii_case("PATH") { "WINEPATH" } else { name };
        if !env.iter().any(|known| known.split('=').next() == Some(name)) {
            env.push(format!("{name}={value}"));
        }
    }
    if !env.iter().any(|known| known.starts_with("WINEDEBUG=")) {
        env.push("WINEDEBUG=-all".to_owned());
    }
    let system = SYSTEM.iter().filter_map(|place| {
        let source = fs_err::canonicalize(place).ok()?;
        let kind = MountKind::Bind { source, subpath: None, read_only: true };
        Some(Mount { target: (*place).to_owned(), kind })
    });
    let prefix = MountKind::Tmpfs { size: None, mode: 0o755 };
    let prefix = Mount { target: "/wine".to_owned(), kind: prefix };
    let temporary = MountKind::Tmpfs { size: None, mode: 0o1777 };
    let temporary = Mount { target: "/tmp".to_owned(), kind: temporary };
    let start = ["/bin/sh", "-c", START, "smoke"].map(str::to_owned);
    Ok(Step {
        args: start.into_iter().chain([wine.display().to_string()]).chain(program).collect(),
        env,
        mounts: system.chain([prefix, temporary]).collect(),
        network: executor::Network::None,
        stdio: Stdio::Inherited,
        ..Step::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_the_variables_of_its_image_and_those_given() {
        let request = SmokeRequest {
            image: "app".parse().unwrap(),
            platform: None,
            program: Vec::new(),
            env: vec!["A=mine".to_owned()],
        };
        let config = ContainerConfig {
            env: ["A=image", "Path=C:\\app", "B=c=d"].map(str::to_owned).to_vec(),
            entrypoint: Some(vec!["C:\\app\\a.exe".to_owned()]),
            cmd: Some(vec!["x y".to_owned()]),
            working_dir: "C:\\data\\in".to_owned(),
            ..ContainerConfig::default()
        };
        let found = step(&request, &config, Path::new("/wine64")).unwrap();
        assert_eq!(found.args[3..], ["smoke", "/wine64", "C:\\app\\a.exe", "x y"]);
        for variable in ["A=mine", "WINEPATH=C:\\app", "B=c=d", "CROSSDOCK_DIRECTORY=data/in"] {
            assert!(found.env.iter().any(|it| it == variable), "{variable}: {:?}", found.env);
        }
        assert!(!found.env.iter().any(|it| it == "A=image"));
        let shell = ContainerConfig { args_escaped: true, ..config };
        let found = step(&request, &shell, Path::new("/wine64")).unwrap();
        assert_eq!(found.args[5..], ["cmd", "/S", "/C", "C:\\app\\a.exe x y"]);
        assert!(step(&request, &ContainerConfig::default(), Path::new("/wine64")).is_err());
    }
}
