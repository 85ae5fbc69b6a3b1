//! Gives an emulator arguments that no step sees.
//!
//! The kernel calls a handler's emulator with the program and its arguments only, and an environment variable would
//! be visible in the step. So a copy of the emulator is changed: a few instructions put two arguments behind its name
//! on the stack and go on to where the emulator would have started. The copy is tried before it is used.

use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::MemfdFlags;

/// Larger emulators are used as they are.
const LARGEST: u64 = 256 << 20;
/// Alignment of the added segment: the largest page size there is on this architecture.
const PAGE: u64 = 0x1000;

/// A copy, in memory, of the static program at `path` that starts as if `arguments` came first. `None` when the
/// program is not of a form that can be changed, or does not run `trial` afterwards; then it is used as it is.
pub(crate) fn with_arguments(
    path: &Path,
    arguments: [&str; 2],
    trial: &[u8],
) -> Option<fs_err::File> {
    if fs_err::metadata(path).ok()?.len() > LARGEST {
        return None;
    }
    let changed = graft(fs_err::read(path).ok()?, arguments)?;
    let changed = memory_file("emulator", &changed).ok()?;
    let trial = memory_file("trial", trial).ok()?;
    works(&changed, &trial).then_some(changed)
}

fn memory_file(name: &str, content: &[u8]) -> io::Result<fs_err::File> {
    let memory = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?;
    let mut file = fs_err::File::from_parts(memory.into(), name);
    file.write_all(content)?;
    Ok(file)
}

#[expect(clippy::disallowed_methods, reason = "tries an emulator on a program of our own")]
fn works(emulator: &fs_err::File, trial: &fs_err::File) -> bool {
    let path =
        |file: &fs_err::File| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let status = Command::new(path(emulator))
        .arg(path(trial))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Adds a segment with the instructions and makes the program start there. For 64-bit x86 programs; the segment takes
/// the place of the last `PT_NOTE`, which nothing needs to run.
fn graft(mut program: Vec<u8>, arguments: [&str; 2]) -> Option<Vec<u8>> {
    const PT_LOAD: u32 = 1;
    const PT_NOTE: u32 = 4;
    const READ_EXECUTE: u32 = 5;
    const X86_64: u16 = 62;
    if !program.starts_with(b"\x7fELF\x02\x01\x01") || half(&program, 18)? != X86_64 {
        return None;
    }
    let entry = long(&program, 24)?;
    let table = usize::try_from(long(&program, 32)?).ok()?;
    let (size, count) = (usize::from(half(&program, 54)?), usize::from(half(&program, 56)?));
    let (mut end, mut note, mut last_load) = (0, None, 0);
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        match word(&program, at)? {
            PT_LOAD => {
                end = end.max(long(&program, at + 16)?.checked_add(long(&program, at + 40)?)?);
                last_load = index;
            }
            PT_NOTE => note = Some((index, at)),
            _ => {}
        }
    }
    // Segments to load must stand in the order of their addresses.
    let (_, note) = note.filter(|&(index, _)| index > last_load)?;
    let address = end.checked_next_multiple_of(PAGE)?;
    let offset = u64::try_from(program.len()).ok()?.checked_next_multiple_of(PAGE)?;
    let code = instructions(address, entry, arguments)?;
    let length = u64::try_from(code.len()).ok()?;

    put(&mut program, note, &PT_LOAD.to_le_bytes())?;
    put(&mut program, note + 4, &READ_EXECUTE.to_le_bytes())?;
    for (field, value) in
        [(8, offset), (16, address), (24, address), (32, length), (40, length), (48, PAGE)]
    {
        put(&mut program, note + field, &u64::to_le_bytes(value))?;
    }
    put(&mut program, 24, &address.to_le_bytes())?;
    program.resize(usize::try_from(offset).ok()?, 0);
    program.extend(code);
    Some(program)
}

/// At the start of a program the stack holds the count of arguments, then pointers to them. Two places are made below,
/// count and name move there, and the pointers to the new arguments take their places. `rdx` and the rest stay.
fn instructions(address: u64, entry: u64, arguments: [&str; 2]) -> Option<Vec<u8>> {
    let mut code = vec![
        0x48, 0x8b, 0x04, 0x24, // mov rax, [rsp]
        0x48, 0x83, 0xc0, 0x02, // add rax, 2
        0x48, 0x8b, 0x4c, 0x24, 0x08, // mov rcx, [rsp+8]
        0x48, 0x83, 0xec, 0x10, // sub rsp, 16
        0x48, 0x89, 0x04, 0x24, // mov [rsp], rax
        0x48, 0x89, 0x4c, 0x24, 0x08, // mov [rsp+8], rcx
    ];
    // Length of all instructions; the texts follow.
    let texts = code.len() + 7 + 5 + 7 + 5 + 5;
    let mut text_at = texts;
    for (argument, place) in arguments.iter().zip([0x10, 0x18]) {
        // lea rax, [rip + distance]; mov [rsp + place], rax
        let distance = i32::try_from(text_at.checked_sub(code.len() + 7)?).ok()?;
        code.extend([0x48, 0x8d, 0x05]);
        code.extend(distance.to_le_bytes());
        code.extend([0x48, 0x89, 0x44, 0x24, place]);
        text_at += argument.len() + 1;
    }
    let after = address.checked_add(u64::try_from(code.len() + 5).ok()?)?;
    let distance =
        i32::try_from(i64::try_from(entry).ok()?.checked_sub(i64::try_from(after).ok()?)?).ok()?;
    code.push(0xe9); // jmp entry
    code.extend(distance.to_le_bytes());
    debug_assert_eq!(code.len(), texts);
    for argument in arguments {
        code.extend(argument.as_bytes());
        code.push(0);
    }
    Some(code)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at.checked_add(value.len())?)?.copy_from_slice(value);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_program_is_left_alone() {
        assert_eq!(graft(Vec::new(), ["-a", "b"]), None);
        assert_eq!(graft(b"\x7fELF\x02\x01\x01".to_vec(), ["-a", "b"]), None);
        let mut cut = b"\x7fELF\x02\x01\x01".to_vec();
        cut.resize(64, 0xff);
        cut[18..20].copy_from_slice(&[62, 0]);
        assert_eq!(graft(cut, ["-a", "b"]), None);
    }

    #[test]
    fn the_instructions_name_their_texts_and_the_old_start() {
        let code = instructions(0x5000, 0x1000, ["-cpu", "max"]).unwrap();
        assert!(code.ends_with(b"-cpu\0max\0"));
        let texts = code.len() - 9;
        let jump = i32::from_le_bytes(code[texts - 4..texts].try_into().unwrap());
        assert_eq!(0x5000 + i64::try_from(texts).unwrap() + i64::from(jump), 0x1000);
    }
}
