//! What made-up and real programs say of themselves.
#![expect(clippy::disallowed_methods, reason = "a compiler is asked")]

use std::process::Command;

use pe::{Machine, Managed, PeError, Subsystem, read};
use proptest::prelude::*;
use testkit::WindowsProgram as Program;

#[test]
fn a_program_says_what_it_needs() {
    let mut program = Program::new(&["KERNEL32.dll", "VCRUNTIME140.dll", "kernel32.dll"]);
    program.delayed = vec!["winhttp.dll".to_owned()];
    program.signed = true;
    let image = read(program.bytes().as_slice()).unwrap();
    assert_eq!(image.imports, ["KERNEL32.dll", "VCRUNTIME140.dll"]);
    assert_eq!(image.delayed, ["winhttp.dll"]);
    assert_eq!((image.machine, image.subsystem), (Machine::Amd64, Subsystem::Console));
    assert!(image.is_signed && !image.is_library && image.problems.is_empty());
    assert_eq!(image.managed, Managed::No);

    let library = Program {
        machine: 0xaa64,
        library: true,
        managed: Some(1),
        ..Program::new(&["mscoree.dll"])
    };
    let image = read(library.bytes().as_slice()).unwrap();
    assert_eq!((image.machine, image.is_library), (Machine::Arm64, true));
    assert_eq!(image.managed, Managed::Yes { any_machine: false });
}

#[test]
fn what_is_no_program_is_told_apart() {
    let wrong = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert_eq!(wrong(b"#!/bin/sh"), "not a Windows program: it has no DOS header");
    assert_eq!(wrong(&[0; 64]), "not a Windows program: it does not begin with `MZ`");
    let mut bytes = Program::new(&[]).bytes();
    bytes[0x80..0x82].copy_from_slice(b"NE");
    assert!(wrong(&bytes).ends_with("it is a program for DOS or for Windows 3"));
    assert!(matches!(read(&Program::new(&[]).bytes()[..200]), Err(PeError::NotAProgram(_))));
}

#[test]
fn damaged_tables_are_told_and_do_not_hide_the_rest() {
    let mut bytes = Program::new(&["a.dll"]).bytes();
    // The table of imports leads out of the file.
    bytes[0x98 + 120..0x98 + 124].copy_from_slice(&0x7fff_0000_u32.to_le_bytes());
    let image = read(bytes.as_slice()).unwrap();
    assert_eq!(image.problems, ["the table of imports is outside of the file"]);
    assert_eq!(image.machine, Machine::Amd64);
}

#[test]
fn what_a_compiler_makes_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("a.c"), dir.path().join("a.exe"));
    fs_err::write(
        &source,
        "#include <winsock2.h>\nint main(void){WSADATA d; return WSAStartup(0x202,&d);}",
    )
    .unwrap();
    let compiler = Command::new("x86_64-w64-mingw32-gcc")
        .args([source.as_os_str(), "-o".as_ref(), program.as_os_str(), "-lws2_32".as_ref()])
        .status();
    let Ok(status) = compiler else {
        eprintln!("SKIPPED: no x86_64-w64-mingw32-gcc (Debian: gcc-mingw-w64-x86-64-win32)");
        return;
    };
    assert!(status.success());
    let image = read(fs_err::read(&program).unwrap().as_slice()).unwrap();
    assert_eq!(image.imports, ["KERNEL32.dll", "msvcrt.dll", "WS2_32.dll"]);
    assert_eq!((image.machine, image.subsystem), (Machine::Amd64, Subsystem::Console));
    assert_eq!((image.is_signed, image.problems), (false, Vec::new()));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_fail_in_another_way(
        changes in proptest::collection::vec((0_usize..2048, any::<u8>()), 1..30),
        length in 0_usize..2048,
    ) {
        let mut program = Program::new(&["a.dll", "b.dll"]);
        program.delayed = vec!["c.dll".to_owned()];
        program.managed = Some(3);
        let mut bytes = program.bytes();
        for (at, value) in changes {
            let whole = bytes.len();
            bytes[at % whole] = value;
        }
        drop(read(bytes.as_slice()));
        bytes.truncate(length);
        drop(read(bytes.as_slice()));
    }
}
