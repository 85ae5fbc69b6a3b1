//! What is known of foreign architectures: the emulator's name, and how their programs begin.

use oci::Platform;

/// An architecture QEMU can stand in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As in platforms.
    pub(crate) architecture: &'static str,
    /// As QEMU calls it.
    qemu: &'static str,
    bits: u8,
    big_endian: bool,
    /// `e_machine` of its ELF files.
    machine: u16,
    /// The processor QEMU should imitate where its default is a poor choice, and a program that exits with 0 on it.
    pub(crate) processor: Option<(&'static str, &'static [u8])>,
}

const fn little(architecture: &'static str, qemu: &'static str, bits: u8, machine: u16) -> Target {
    Target { architecture, qemu, bits, big_endian: false, machine, processor: None }
}

/// `mov x0, #0; mov x8, #93; svc #0` in an executable of one segment.
const ARM64_EXIT: [u8; 132] = {
    let header: [u8; 64] = [
        0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 64 bits, little-endian
        2, 0, 183, 0, 1, 0, 0, 0, // executable, AArch64
        120, 0, 1, 0, 0, 0, 0, 0, // entry: 0x10078
        64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // program headers at 64, no sections
        0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0, // sizes, one program header
    ];
    let segment: [u8; 56] = [
        1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, // loaded, readable and executable, from 0
        0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, // at 0x10000
        132, 0, 0, 0, 0, 0, 0, 0, 132, 0, 0, 0, 0, 0, 0, 0, // the whole file
        0, 0, 1, 0, 0, 0, 0, 0, // aligned to 64 KiB
    ];
    let code: [u8; 12] = [0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];
    let mut program = [0; 132];
    let mut at = 0;
    while at < program.len() {
        program[at] = if at < 64 {
            header[at]
        } else if at < 120 {
            segment[at - 64]
        } else {
            code[at - 120]
        };
        at += 1;
    }
    program
};

/// Machine numbers from the ELF specification's registry.
const TARGETS: [Target; 9] = [
    little("amd64", "x86_64", 64, 62),
    little("386", "i386", 32, 3),
    // Its default computes pointer authentication codes, which costs a factor of ten in QEMU 7.2.
    Target { processor: Some(("neoverse-n1", &ARM64_EXIT)), ..little("arm64", "aarch64", 64, 183) },
    little("arm", "arm", 32, 40),
    little("riscv64", "riscv64", 64, 243),
    little("ppc64le", "ppc64le", 64, 21),
    Target { big_endian: true, ..little("s390x", "s390x", 64, 22) },
    little("mips64le", "mips64el", 64, 8),
    little("loong64", "loongarch64", 64, 258),
];

impl Target {
    pub(crate) fn of(platform: &Platform) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.architecture == platform.architecture)
    }

    /// `qemu-aarch64`.
    pub(crate) fn qemu_name(&self) -> String {
        format!("qemu-{}", self.qemu)
    }

    /// The first 20 bytes of its programs, and which bits of them count. The ABI byte does not: it tells GNU
    /// programs apart that use a particular feature. Executable and shared (position-independent) both count.
    pub(crate) fn magic(&self) -> ([u8; 20], [u8; 20]) {
        let mut magic = [0; 20];
        let mut mask = [0xff; 20];
        magic[..4].copy_from_slice(b"\x7fELF");
        magic[4] = if self.bits == 64 { 2 } else { 1 };
        magic[5] = if self.big_endian { 2 } else { 1 };
        magic[6] = 1;
        mask[7] = 0;
        let half =
            |value: u16| if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        magic[16..18].copy_from_slice(&half(2));
        mask[16..18].copy_from_slice(&half(0xfffe));
        magic[18..20].copy_from_slice(&half(self.machine));
        (magic, mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_is_that_of_the_architecture() {
        let target = Target::of(&Platform::new("linux", "arm64")).unwrap();
        let (magic, mask) = target.magic();
        assert_eq!(magic, *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0");
        assert_eq!(
            mask,
            *b"\xff\xff\xff\xff\xff\xff\xff\0\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
        );
        let (magic, mask) = Target::of(&Platform::new("linux", "s390x")).unwrap().magic();
        assert_eq!(magic[16..], [0, 2, 0, 22]);
        assert_eq!(mask[16..], [0xff, 0xfe, 0xff, 0xff]);
    }
}
