//! Foreign programs run in a sandbox, through a handler that only this process has. Has its own `main`: the sandbox
//! is this very program, and a namespace is entered before there are threads.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "all of it is tests, but outside `#[test]`"
)]

use std::error::Error;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use emulation::{Emulators, How, Settings, Via};
use executor::{EnterOptions, Machine, Network, Rootfs, Step};
use oci::Platform;

type TestResult = Result<(), Box<dyn Error>>;

fn main() -> TestResult {
    executor::maybe_sandbox();
    let identity = match executor::enter(&EnterOptions::default()) {
        Ok(identity) => identity,
        Err(error) => {
            println!("skipped: {error}");
            return Ok(());
        }
    };
    println!("running as {identity:?}");
    let emulators = Emulators::discover(Settings::default());
    for status in emulators.status() {
        println!("  {}: {:?}", status.platform, status.how);
    }
    for (platform, program, machine) in [
        ("linux/arm64", arm64(), "aarch64"),
        ("linux/arm/v7", arm(), "armv7l"),
        ("linux/riscv64", riscv64(), "riscv64"),
        ("linux/386", x86(), "i686"),
    ] {
        let platform: Platform = platform.parse()?;
        if let How::Missing { reason, .. } = emulators.how(&platform) {
            println!("test {platform} says {machine} ... skipped: {reason}");
            continue;
        }
        let said = uname(&emulators, &platform, &program, identity.offset)?;
        assert_eq!(said, format!("{machine} "), "{platform}");
        let how = emulators.prepare(&platform)?.description;
        println!("test {platform} ({how}) says {machine} ... ok");
    }
    nothing_is_found_where_nothing_is()?;
    println!("test a platform without emulator names what to install ... ok");
    Ok(())
}

/// What a program that prints its machine and its environment prints in a sandbox.
fn uname(
    emulators: &Emulators,
    platform: &Platform,
    program: &[u8],
    owner: u32,
) -> Result<String, Box<dyn Error>> {
    let emulation = emulators.prepare(platform)?;
    if let How::Emulated(emulator) = &emulation.how {
        assert_eq!(emulator.via, Via::OwnHandler);
        assert!(emulation.description.contains(&emulator.version), "{}", emulation.description);
    }
    let root = tempfile::tempdir()?;
    fs_err::write(root.path().join("machine"), program)?;
    let executable: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(root.path().join("machine"), executable.clone())?;
    fs_err::set_permissions(root.path(), executable)?;
    give(root.path(), owner)?;
    let step = Step {
        args: vec!["/machine".to_owned()],
        env: emulation.env.clone(),
        rootfs: Rootfs::Directory(root.path().to_owned()),
        network: Network::None,
        machine: if emulation.compatible32 { Machine::Compatible32 } else { Machine::Native },
        ..Step::default()
    };
    let mut said = Vec::new();
    let exit = executor::run(
        &step,
        &mut |_, bytes| said.extend_from_slice(bytes),
        &AtomicBool::new(false),
    )?;
    let said = String::from_utf8_lossy(&said).replace('\0', " ");
    assert!(exit.success(), "{exit:?} {said}");
    Ok(said.split_inclusive(' ').next().unwrap_or_default().to_owned())
}

fn give(path: &Path, owner: u32) -> std::io::Result<()> {
    for entry in fs_err::read_dir(path)? {
        std::os::unix::fs::lchown(entry?.path(), Some(owner), Some(owner))?;
    }
    std::os::unix::fs::lchown(path, Some(owner), Some(owner))
}

fn nothing_is_found_where_nothing_is() -> TestResult {
    let empty = tempfile::tempdir()?;
    let settings = Settings { search: vec![empty.path().to_owned()], ..Settings::default() };
    let error =
        Emulators::discover(settings).prepare(&Platform::new("linux", "s390x")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "linux/s390x does not run on this machine: no `qemu-s390x-static` was found; \
         `apt-get install qemu-user-static` brings one"
    );
    Ok(())
}

/// An executable with one segment. Every program here calls `uname`, writes the field `machine` to standard output,
/// zero bytes included, and exits with 0.
fn program(class: u8, machine: u16, flags: u32, code: &[u8]) -> Vec<u8> {
    let wide = class == 2;
    let mut file = vec![0x7f, b'E', b'L', b'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let base: u64 = 0x10000;
    let (header, segment) = if wide { (64_u16, 56_u16) } else { (52, 32) };
    let start = u64::from(header + segment);
    let size = start + code.len() as u64;
    let word = |file: &mut Vec<u8>, value: u64| {
        if wide {
            file.extend(value.to_le_bytes());
        } else {
            file.extend(u32::try_from(value).unwrap().to_le_bytes());
        }
    };
    for half in [2, machine] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for value in [base + start, u64::from(header), 0] {
        word(&mut file, value);
    }
    file.extend(flags.to_le_bytes());
    for half in [header, segment, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    if wide {
        file.extend(5_u32.to_le_bytes());
    }
    for value in [0, base, base, size, size] {
        word(&mut file, value);
    }
    if !wide {
        file.extend(5_u32.to_le_bytes());
    }
    word(&mut file, 0x1000);
    file.extend(code);
    file
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn arm64() -> Vec<u8> {
    let code = [
        0xd106_43ff,
        0x9100_03e0,
        0xd280_1408,
        0xd400_0001,
        0xd280_0020,
        0x9104_13e1,
        0xd280_0822,
        0xd280_0808,
        0xd400_0001,
        0xd280_0000,
        0xd280_0ba8,
        0xd400_0001,
    ];
    program(2, 183, 0, &words(&code))
}

fn arm() -> Vec<u8> {
    let code = [
        0xe24d_de19,
        0xe1a0_000d,
        0xe3a0_707a,
        0xef00_0000,
        0xe3a0_0001,
        0xe28d_1f41,
        0xe3a0_2041,
        0xe3a0_7004,
        0xef00_0000,
        0xe3a0_0000,
        0xe3a0_7001,
        0xef00_0000,
    ];
    program(1, 40, 0x0500_0000, &words(&code))
}

fn riscv64() -> Vec<u8> {
    let code = [
        0xe701_0113,
        0x0001_0513,
        0x0a00_0893,
        0x0000_0073,
        0x0010_0513,
        0x1041_0593,
        0x0410_0613,
        0x0400_0893,
        0x0000_0073,
        0x0000_0513,
        0x05d0_0893,
        0x0000_0073,
    ];
    program(2, 243, 5, &words(&code))
}

fn x86() -> Vec<u8> {
    let code =
        b"\x81\xec\x90\x01\0\0\x89\xe3\xb8\x7a\0\0\0\xcd\x80\xbb\x01\0\0\0\x8d\x8c\x24\x04\x01\0\0\
                 \xba\x41\0\0\0\xb8\x04\0\0\0\xcd\x80\x31\xdb\xb8\x01\0\0\0\xcd\x80";
    program(1, 3, 0, code)
}
