//! Which system calls a step may make: a filter in classic BPF, written by hand.
//!
//! The profile follows moby's default: what it does not name is refused with EPERM, what is newer than it is told to
//! be missing (ENOSYS) so that programs use what they did before. One section for each kind of call the machine
//! takes; programs run by an emulator make the machine's own.

mod profile;

use crate::system::Instruction;
use profile::Section;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// Fails with this error.
    Fail(u16),
    /// Depends on an argument.
    Ask(Question),
}

/// Calls that are allowed in some forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// `clone`, `unshare`: not with new namespaces.
    Namespaces,
    /// `ioctl`: not typing into the terminal.
    Terminal,
    /// `personality`: the plain ones.
    Personality,
    /// `socket`: not those that talk to the machine rather than to the network.
    Socket,
}

const EPERM: u16 = 1;
const EINVAL: u16 = 22;
const ENOSYS: u16 = 38;
const EAFNOSUPPORT: u16 = 97;

/// BPF operations this filter needs.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Fields of `struct seccomp_data`; arguments by their low halves, on little-endian machines.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: [u32; 3] = [16, 24, 32];

/// All flags of `clone` that make namespaces. `CLONE_NEWTIME` needs a privilege that steps lack.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
const AF_NETLINK: u32 = 16;
const AF_PACKET: u32 = 17;
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
const NETLINK_AUDIT: u32 = 9;

fn instruction(code: u16, value: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, value }
}

fn test(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, value }
}

fn allow() -> Instruction {
    instruction(RETURN, 0x7fff_0000)
}

fn fail(errno: u16) -> Instruction {
    instruction(RETURN, 0x0005_0000 | u32::from(errno))
}

/// The filter for this machine. `compatible32` says that the step's own programs are of the 32-bit kind.
pub(crate) fn filter(compatible32: bool) -> Vec<Instruction> {
    let mut program = vec![instruction(LOAD, ARCHITECTURE)];
    for section in profile::sections(compatible32) {
        let code = section_code(&section);
        program.push(test(IF_EQUAL, section.architecture, 1, 0));
        program.push(instruction(JUMP, length(&code)));
        program.extend(code);
    }
    program.push(fail(ENOSYS));
    program
}

fn length(code: &[Instruction]) -> u32 {
    u32::try_from(code.len()).unwrap_or(u32::MAX)
}

fn section_code(section: &Section) -> Vec<Instruction> {
    let mut code = vec![instruction(LOAD, NUMBER)];
    code.extend(search(&ranges(section)));
    code
}

/// The section as ranges: each verdict holds from its number to the next one's.
fn ranges(section: &Section) -> Vec<(u32, Verdict)> {
    let mut special: Vec<(u32, Verdict)> =
        section.refused.iter().map(|&number| (number, Verdict::Fail(EPERM))).collect();
    special.extend(section.missing.iter().map(|&number| (number, Verdict::Fail(ENOSYS))));
    special
        .extend(section.asked.iter().map(|&(number, question)| (number, Verdict::Ask(question))));
    special.sort_by_key(|&(number, _)| number);
    special.dedup_by_key(|&mut (number, _)| number);
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    let mut push = |from: u32, verdict: Verdict| {
        if ranges.last().is_none_or(|&(_, last)| last != verdict) {
            ranges.push((from, verdict));
        }
    };
    let mut next = 0;
    for (number, verdict) in special {
        if number > next {
            push(next, Verdict::Allow);
        }
        push(number, verdict);
        next = number + 1;
    }
    if next <= section.newest {
        push(next, Verdict::Allow);
    }
    push(section.newest.max(next.saturating_sub(1)) + 1, Verdict::Fail(ENOSYS));
    if let Some((first, last)) = section.private {
        push(first, Verdict::Allow);
        push(last + 1, Verdict::Fail(ENOSYS));
    }
    ranges
}

/// A binary search for the range the number is in.
fn search(ranges: &[(u32, Verdict)]) -> Vec<Instruction> {
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let Some(&(middle, verdict)) = right.first() else { return vec![fail(ENOSYS)] };
    if left.is_empty() {
        return answer(verdict);
    }
    let (left, right) = (search(left), search(right));
    let mut code = match u8::try_from(left.len()) {
        Ok(distance) => vec![test(IF_AT_LEAST, middle, distance, 0)],
        Err(_) => {
            vec![test(IF_AT_LEAST, middle, 0, 1), instruction(JUMP, length(&left))]
        }
    };
    code.extend(left);
    code.extend(right);
    code
}

fn answer(verdict: Verdict) -> Vec<Instruction> {
    let [first, second, third] = ARGUMENTS;
    match verdict {
        Verdict::Allow => vec![allow()],
        Verdict::Fail(errno) => vec![fail(errno)],
        Verdict::Ask(Question::Namespaces) => vec![
            instruction(LOAD, first),
            test(IF_ANY_BIT, NEW_NAMESPACES, 0, 1),
            fail(EPERM),
            allow(),
        ],
        Verdict::Ask(Question::Terminal) => vec![
            instruction(LOAD, second),
            test(IF_EQUAL, TIOCSTI, 1, 0),
            test(IF_EQUAL, TIOCLINUX, 0, 1),
            fail(EPERM),
            allow(),
        ],
        Verdict::Ask(Question::Personality) => {
            let mut code = vec![instruction(LOAD, first)];
            for personality in PERSONALITIES {
                code.extend([test(IF_EQUAL, personality, 0, 1), allow()]);
            }
            code.push(fail(EPERM));
            code
        }
        Verdict::Ask(Question::Socket) => vec![
            instruction(LOAD, first),
            test(IF_EQUAL, AF_PACKET, 0, 1),
            fail(EPERM),
            test(IF_EQUAL, AF_ALG, 1, 0),
            test(IF_EQUAL, AF_VSOCK, 0, 1),
            fail(EAFNOSUPPORT),
            test(IF_EQUAL, AF_NETLINK, 0, 3),
            instruction(LOAD, third),
            // Without audit, programs that would log to it go on.
            test(IF_EQUAL, NETLINK_AUDIT, 0, 1),
            fail(EINVAL),
            allow(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do: runs the program over one call.
    fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u32; 3]) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let Instruction { code, if_true, if_false, value } = program[at];
            at += 1;
            let jump = |condition| usize::from(if condition { if_true } else { if_false });
            match code {
                LOAD => {
                    loaded = match value {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        16 => arguments[0],
                        24 => arguments[1],
                        32 => arguments[2],
                        other => panic!("loads {other}"),
                    };
                }
                JUMP => at += usize::try_from(value).unwrap(),
                IF_EQUAL => at += jump(loaded == value),
                IF_AT_LEAST => at += jump(loaded >= value),
                IF_ANY_BIT => at += jump(loaded & value != 0),
                RETURN => return value,
                other => panic!("operation {other}"),
            }
        }
    }

    fn expected(section: &Section, number: u32) -> u32 {
        let private = section.private.is_some_and(|(first, last)| (first..=last).contains(&number));
        if section.refused.contains(&number) {
            fail(EPERM).value
        } else if section.missing.contains(&number) || (number > section.newest && !private) {
            fail(ENOSYS).value
        } else {
            allow().value
        }
    }

    #[test]
    fn every_number_gets_its_verdict() {
        for compatible32 in [false, true] {
            let program = filter(compatible32);
            assert!(program.len() < 400, "{}", program.len());
            for section in profile::sections(compatible32) {
                for number in (0..2000).chain(0x4000_0000..0x4000_0400).chain(0xf_0000..0xf_0010) {
                    if section.asked.iter().any(|&(asked, _)| asked == number) {
                        continue;
                    }
                    let verdict = run(&program, section.architecture, number, [0; 3]);
                    assert_eq!(
                        verdict,
                        expected(&section, number),
                        "{:x} {number}",
                        section.architecture
                    );
                }
            }
            assert_eq!(run(&program, 0x1234, 0, [0; 3]), fail(ENOSYS).value);
        }
    }

    #[test]
    fn questions_look_at_arguments() {
        let program = filter(false);
        for section in profile::sections(false) {
            let ask = |question, arguments| {
                let (number, _) = section.asked.iter().find(|&&(_, asked)| asked == question)?;
                Some(run(&program, section.architecture, *number, arguments))
            };
            let (yes, no) = (Some(allow().value), |errno| Some(fail(errno).value));
            // vfork, a thread, a user namespace.
            assert_eq!(ask(Question::Namespaces, [0x4111, 0, 0]), yes);
            assert_eq!(ask(Question::Namespaces, [0x003d_0f00, 0, 0]), yes);
            assert_eq!(ask(Question::Namespaces, [0x1000_0011, 0, 0]), no(EPERM));
            assert_eq!(ask(Question::Terminal, [0, 0x5401, 0]), yes);
            assert_eq!(ask(Question::Terminal, [0, TIOCSTI, 0]), no(EPERM));
            assert_eq!(ask(Question::Terminal, [0, TIOCLINUX, 0]), no(EPERM));
            assert_eq!(ask(Question::Personality, [0xffff_ffff, 0, 0]), yes);
            assert_eq!(ask(Question::Personality, [0x0040_0000, 0, 0]), no(EPERM));
            assert_eq!(ask(Question::Socket, [2, 1, 0]), yes);
            assert_eq!(ask(Question::Socket, [AF_NETLINK, 3, 0]), yes);
            assert_eq!(ask(Question::Socket, [AF_NETLINK, 3, NETLINK_AUDIT]), no(EINVAL));
            assert_eq!(ask(Question::Socket, [AF_PACKET, 3, 0]), no(EPERM));
            assert_eq!(ask(Question::Socket, [AF_ALG, 5, 0]), no(EAFNOSUPPORT));
            assert_eq!(ask(Question::Socket, [AF_VSOCK, 1, 0]), no(EAFNOSUPPORT));
        }
    }
}
