//! Lines of the reference whose truth shows only in what is built, or in what the command line says.

use std::io::Write as _;
use std::process::Stdio;

use testkit::{Context, Program, Registry, outcome};

fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o640);
    header.set_mtime(1_600_000_000);
    tar.append_data(&mut header, "in/file", &b"x"[..]).expect("a tar can be written");
    tar.into_inner().expect("a tar can be written")
}

#[expect(clippy::disallowed_methods, reason = "archives are packed with the usual programs")]
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new(program)
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is installed: {error}"));
    child.stdin.take().expect("it is piped").write_all(bytes).expect("it reads");
    child.wait_with_output().expect("it ends").stdout
}

#[test]
fn add_unpacks_local_archives_however_they_are_packed() {
    let program = Program::new();
    let tar = archive();
    // The name says nothing, the content does.
    let mut context = Context::with_dockerfile(
        "FROM scratch\nADD plain gz bz2 xz zst /one/\nADD --unpack=false gz /kept\nCOPY gz /copied\n\
         ADD text.tar.gz /\n",
    )
    .file("plain", &tar)
    .file("text.tar.gz", "no archive");
    for (name, packer) in [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz"), ("zst", "zstd")] {
        context = context.file(name, packed(packer, &tar));
        let text = format!("FROM scratch\nADD {name} /to/\n");
        fs_err::write(context.join("one.Dockerfile"), text).expect("it can be written");
        let line = format!("build -f one.Dockerfile -o {name}.out .");
        let (_, stderr, code) = outcome(program.command(&line).current_dir(context.path()));
        assert_eq!(code, 0, "{stderr}");
        let file = context.join(&format!("{name}.out/to/in/file"));
        assert_eq!(fs_err::read_to_string(file).expect("it was unpacked"), "x", "{packer}");
    }
    let (_, stderr, code) = outcome(program.command("build -o out .").current_dir(context.path()));
    assert_eq!(code, 0, "{stderr}");
    let read = |path: &str| fs_err::read(context.join("out").join(path)).expect("it was built");
    assert_eq!(read("one/in/file"), b"x");
    assert_eq!((read("kept"), read("text.tar.gz")), (read("copied"), b"no archive".to_vec()));
}

#[test]
fn buildkit_multi_platform_makes_an_index_of_one_platform() {
    let (program, registry) = (Program::new(), Registry::start());
    let context = Context::with_dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    for (value, platforms) in [("1", 1), ("0", 0)] {
        let name = registry.name(&format!("app:{value}"));
        let line = format!(
            "build --platform linux/arm64 --build-arg BUILDKIT_MULTI_PLATFORM={value} -t {name} --push ."
        );
        let (_, stderr, code) = outcome(program.command(&line).current_dir(context.path()));
        assert_eq!(code, 0, "{stderr}");
        // Those that an index lists; a manifest that is none lists nothing.
        assert_eq!(registry.image(&format!("app:{value}")).platforms().len(), platforms);
    }
}

#[test]
fn options_that_are_not_there_are_told_with_a_way_out() {
    let program = Program::new();
    let context = Context::with_dockerfile("FROM scratch\n");
    for (option, way) in [
        ("--attest type=sbom", "leave the flag out"),
        ("--cache-from type=local,src=x", "leave the flag out"),
        ("--cgroup-parent x", "--ulimit"),
        ("--memory 1g", "--ulimit"),
        ("--memory-swap 1g", "--ulimit"),
        ("--cpu-shares 3", "--ulimit"),
        ("--cpu-period 3", "--ulimit"),
        ("--cpu-quota 3", "--ulimit"),
        ("--cpuset-cpus 0", "--ulimit"),
        ("--cpuset-mems 0", "--ulimit"),
    ] {
        let line = format!("build {option} .");
        let (_, stderr, code) = outcome(program.command(&line).current_dir(context.path()));
        let flag = option.split(' ').next().unwrap_or_default();
        assert_eq!(code, 2, "{option}: {stderr}");
        assert!(stderr.contains(flag) && stderr.contains(way), "{option}: {stderr}");
    }
}
