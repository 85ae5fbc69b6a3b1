//! What a step may and may not do, tried from inside: the published posture, row by row.
//!
//! This program runs itself as the step. `expected.txt` is what it prints there; a difference is a change of the
//! posture and needs a reason.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "all of it is a test, but outside `#[test]`"
)]

mod probe;

use std::error::Error;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use executor::{EnterOptions, IdentityKind, Mount, MountKind, Network, Rootfs, Step};

const EXPECTED: &str = include_str!("expected.txt");

fn main() -> Result<(), Box<dyn Error>> {
    executor::maybe_sandbox();
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "probe") {
        probe::probe(&args[2..]);
        return Ok(());
    }
    let identity = match executor::enter(&EnterOptions::default()) {
        Ok(identity) => identity,
        Err(error) => {
            println!("skipped: {error}");
            return Ok(());
        }
    };
    let seen = posture(identity.offset)?;
    let mut differences = Vec::new();
    let mut rows = 0;
    for line in EXPECTED.lines() {
        let (row, values) = line.split_once(" = ").ok_or("a row has a value")?;
        let value = seen.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(" = "));
        rows += 1;
        // Some rows depend on the kernel's configuration, or on whose file the probe is.
        if !values.split(" | ").any(|allowed| Some(allowed) == value) {
            differences.push(format!("{row}: expected {values}, seen {value:?}"));
        }
    }
    let known = |line: &str| EXPECTED.lines().any(|expected| row(expected) == row(line));
    differences.extend(seen.lines().filter(|line| !known(line)).map(|line| format!("new: {line}")));
    let mapped = seen.contains("root of the outer namespace is mapped = true");
    if mapped != (identity.kind == IdentityKind::SingleId) {
        differences
            .push("the caller's own id may be mapped only where there is no other".to_owned());
    }
    if !differences.is_empty() {
        println!("test posture as {:?} ... FAILED", identity.kind);
        for difference in differences {
            println!("  {difference}");
        }
        std::process::exit(1);
    }
    println!("test posture as {:?}: {rows} rows ... ok", identity.kind);
    Ok(())
}

fn row(line: &str) -> &str {
    line.split(" = ").next().unwrap_or_default()
}

/// Runs the probe as a step: a root of its own, the machine's libraries read-only.
fn posture(owner: u32) -> Result<String, Box<dyn Error>> {
    let base = tempfile::tempdir()?;
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| base.path().join(name));
    for directory in [&lower, &upper, &work] {
        fs_err::create_dir(directory)?;
        let all: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(directory, all)?;
        std::os::unix::fs::lchown(directory, Some(owner), Some(owner))?;
    }
    let bind = |source: PathBuf, target: &str| Mount {
        target: target.to_owned(),
        kind: MountKind::Bind { source, subpath: None, read_only: true },
    };
    let mut mounts =
        vec![bind(fs_err::canonicalize(std::env::args().next().ok_or("a name")?)?, "/probe")];
    for directory in ["/usr", "/lib", "/lib64"] {
        if PathBuf::from(directory).exists() {
            mounts.push(bind(directory.into(), directory));
        }
    }
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let port = tcp.local_addr()?.port();
    let name = format!("crossdock-posture-{}", std::process::id());
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(
            &name,
        )?;
    let _unix = UnixListener::bind_addr(&address)?;
    let mut args = vec!["/probe".to_owned(), "probe".to_owned(), port.to_string(), name];
    args.push(base.path().display().to_string());
    for kind in probe::NAMESPACES {
        let link = fs_err::read_link(format!("/proc/self/ns/{kind}"))?;
        args.push(link.display().to_string());
    }
    let step = Step {
        args,
        env: vec!["PATH=/usr/bin:/bin".to_owned()],
        rootfs: Rootfs::Overlay { lowers: vec![lower], upper, work, volatile: true },
        mounts,
        network: Network::None,
        ..Step::default()
    };
    let mut seen = Vec::new();
    let exit = executor::run(
        &step,
        &mut |_, bytes| seen.extend_from_slice(bytes),
        &AtomicBool::new(false),
    )?;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(exit.success(), "{exit:?}\n{seen}");
    Ok(seen)
}
