//! Windows layers made by the real program: what BuildKit makes of the same Dockerfiles where it is right, and what
//! Windows wants where it is not. Each test is named after a case that BuildKit's result is known of.

mod dockerfile;
mod layers;

use oci::Platform;
use testkit::{Context, Entry, Kind, Program, Registry, WindowsLayer, outcome};

const FILE: &str = windows::SD_FILE;
const DIRECTORY: &str = windows::SD_DIR;

/// A builder, a registry, and in it a base like servercore.
struct Windows {
    program: Program,
    registry: Registry,
}

impl Windows {
    fn new() -> Self {
        let (program, registry) = (Program::new(), Registry::start());
        let platform: Platform = "windows(10.0.20348.3091)/amd64".parse().expect("a platform");
        let system = WindowsLayer::new()
            .directory("Files", 16, "")
            .junction("Files/Documents and Settings", "C:\\Users")
            .file("Files/License.txt", b"license")
            .directory("Files/Program Files", 17, windows::SD_ADMIN)
            .directory("Files/ProgramData", 8210, windows::SD_USER)
            .directory("Files/Users", 16, "")
            .file("Files/Users/who.txt", b"user")
            .directory("Files/Windows", 16, "")
            .directory("Files/Windows/System32", 16, windows::SD_ADMIN)
            .file("Files/Windows/System32/cmd.exe", b"MZ old")
            .hard_link("Files/Windows/cmd.exe", "Files/Windows/System32/cmd.exe")
            .directory("UtilityVM", 16, "")
            .directory("UtilityVM/Files", 16, "");
        let update = WindowsLayer::new()
            .directory("Files", 16, "")
            .directory("Files/Windows", 16, "")
            .directory("Files/Windows/System32", 16, windows::SD_ADMIN)
            .file("Files/Windows/System32/cmd.exe", b"MZ new")
            .directory("Hives", 16, "")
            .file("Hives/System_Delta", b"regf");
        let own = WindowsLayer::new()
            .directory("Hives", 16, "")
            .directory("Files", 16, "")
            .directory("Files/Mine", 18, windows::SD_USER);
        registry.add_windows_image(
            "core",
            "1",
            &platform,
            vec![system.finish(), update.finish(), own.finish()],
            &["Apply image 10.0.20348.1", "Install update 10.0.20348.3091", "RUN mkdir Mine"],
        );
        Self { program, registry }
    }

    /// Builds with `{core}` standing for the base, pushes to `app:1`, and returns what was said.
    fn run(&self, context: &Context, dockerfile: &str, more: &str) -> (String, i32) {
        let text = dockerfile.replace("{core}", &self.registry.name("core:1"));
        let text =
            if text.contains("{shell}") { text.replace("{shell}", &self.shell()) } else { text };
        fs_err::write(context.join("Dockerfile"), text).expect("a context can be written");
        let line = format!(
            "build --progress plain --reproducible --push -t {} {more} .",
            self.registry.name("app:1")
        );
        let mut command = self.program.command(&line);
        let (_, said, code) =
            outcome(command.current_dir(context.path()).env("SOURCE_DATE_EPOCH", "1700000100"));
        (said, code)
    }

    /// An image for Linux with a shell.
    fn shell(&self) -> String {
        let busybox = fs_err::read("/bin/busybox")
            .expect("busybox is installed (Debian package busybox-static)");
        let platform = Platform { os: "linux".into(), ..Platform::host() };
        let files = [("bin/busybox", &*busybox), ("bin/sh", &*busybox)];
        let image = self.registry.add_image("shell", &platform, &files);
        format!("{}@{}", self.registry.name("shell"), image.digest)
    }

    /// The layers above the base, without their `Hives` and `Files`, and what was said.
    fn layers(&self, context: &Context, dockerfile: &str) -> (Vec<Vec<String>>, String) {
        let (said, code) = self.run(context, dockerfile, "--platform windows/amd64");
        assert_eq!(code, 0, "{said}");
        let base = if dockerfile.contains("{core}") { 3 } else { 0 };
        (self.shown("windows/amd64", base), said)
    }

    fn shown(&self, platform: &str, skip: usize) -> Vec<Vec<String>> {
        let layers = self.registry.image("app:1").layers(platform);
        layers.iter().skip(skip).map(|layer| shown(layer)).collect()
    }

    fn build(&self, context: &Context, dockerfile: &str) -> Vec<Vec<String>> {
        self.layers(context, dockerfile).0
    }
}

/// `kind path mode attributes descriptor`, as the notes on BuildKit's results have it.
fn shown(layer: &[(String, Entry)]) -> Vec<String> {
    let top: Vec<&str> = layer.iter().take(2).map(|(name, _)| name.as_str()).collect();
    assert_eq!(top, ["Hives", "Files"], "what every layer begins with");
    let line = |(path, entry): &(String, Entry)| {
        let record = |name: &str| {
            let value = entry.pax.get(name).map(|it| String::from_utf8_lossy(it).into_owned());
            value.unwrap_or_else(|| "-".to_owned())
        };
        let created = record("LIBARCHIVE.creationtime");
        if !matches!(entry.kind, Kind::Hardlink(_)) && !path.contains("/.wh.") {
            assert!(
                created.parse::<i64>().is_ok_and(|time| time <= 1_700_000_100),
                "{path} {created}"
            );
        }
        let security = match record("MSWINDOWS.rawsd") {
            it if it == FILE => "SD_FILE".to_owned(),
            it if it == DIRECTORY => "SD_DIR".to_owned(),
            it if it == windows::SD_USER => "SD_USER".to_owned(),
            it if it == windows::SD_ADMIN => "SD_ADMIN".to_owned(),
            it => windows::from_base64(it.as_bytes())
                .and_then(|bytes| windows::sddl_from_bytes(&bytes).ok())
                .unwrap_or(it),
        };
        let attributes = record("MSWINDOWS.fileattr");
        assert_eq!((entry.uid, entry.gid), (0, 0), "{path}");
        let path = path.strip_prefix("Files/").unwrap_or(path);
        match &entry.kind {
            Kind::Directory => format!("DIR {path} {:o} {attributes} {security}", entry.mode),
            Kind::File(_) => format!("REG {path} {:o} {attributes} {security}", entry.mode),
            Kind::Symlink(target) => format!("SYM {path} > {target} {attributes} {security}"),
            Kind::Hardlink(target) => format!("LNK {path} > {target}"),
            Kind::Other(kind) => format!("other {kind} {path}"),
        }
    };
    layer.iter().skip(2).map(line).collect()
}

fn files() -> Context {
    Context::new().file("a.txt", "hello\n").file("b.exe", "MZ....\n").file("d/e/f.txt", "f")
}
