use crate::TreeError;

/// A change of permission bits, as `chmod(1)` takes it: `755`, `u=rwX,go=rX`, `g+s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeChange {
    /// These bits, `0o7777`.
    Bits(u32),
    /// Clauses, applied in order.
    Symbolic(Vec<Clause>),
}

/// One operation of a symbolic mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Bits that may change.
    who: u32,
    operation: Operation,
    permissions: Permissions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permissions {
    /// These bits; with the flag also execution where anybody may execute already, and for directories.
    Bits { bits: u32, execute_if_any: bool },
    /// What the user (shift 6), the group (3) or others (0) may.
    Of { shift: u32 },
}

const ALL: u32 = 0o7777;

impl ModeChange {
    /// Reads an octal or a symbolic mode.
    pub fn parse(text: &str) -> Result<Self, TreeError> {
        let fault = || TreeError::Invalid(format!("invalid mode `{text}`"));
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).map_err(|_| fault())?;
            return if bits <= ALL { Ok(Self::Bits(bits)) } else { Err(fault()) };
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let mut rest = part.chars().peekable();
            let mut who = 0;
            while let Some(class) = rest.next_if(|char| "augo".contains(*char)) {
                who |= match class {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o0007,
                    _ => 0o6777,
                };
            }
            let everybody = who == 0;
            if everybody {
                who = 0o6777;
            }
            rest.peek().ok_or_else(fault)?;
            while let Some(sign) = rest.next() {
                let operation = match sign {
                    '+' => Operation::Add,
                    '-' => Operation::Remove,
                    '=' => Operation::Set,
                    _ => return Err(fault()),
                };
                let (mut bits, mut execute_if_any, mut copied) = (0, false, Vec::new());
                let mut sticky = 0;
                while let Some(permission) = rest.next_if(|char| !"+-=".contains(*char)) {
                    match permission {
                        'r' => bits |= 0o444,
                        'w' => bits |= 0o222,
                        'x' => bits |= 0o111,
                        'X' if operation == Operation::Remove => bits |= 0o111,
                        'X' => execute_if_any = true,
                        // For others alone neither means anything.
                        's' if who & !0o007 != 0 => bits |= 0o6000,
                        't' if who & !0o007 != 0 => sticky = 0o1000,
                        's' | 't' => {}
                        'u' => copied.push(6),
                        'g' => copied.push(3),
                        'o' => copied.push(0),
                        _ => return Err(fault()),
                    }
                }
                let plain = Permissions::Bits { bits: bits | sticky, execute_if_any };
                if copied.is_empty() || bits | sticky != 0 || execute_if_any {
                    clauses.push(Clause { who: who | sticky, operation, permissions: plain });
                }
                for (index, shift) in copied.into_iter().enumerate() {
                    // `=` clears once, the rest adds.
                    let first = index == 0 && bits | sticky == 0 && !execute_if_any;
                    let operation = if operation == Operation::Set && !first {
                        Operation::Add
                    } else {
                        operation
                    };
                    clauses.push(Clause { who, operation, permissions: Permissions::Of { shift } });
                }
            }
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The bits of a file that had `mode`.
    pub fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Self::Bits(bits) => *bits,
            Self::Symbolic(clauses) => {
                let before = mode;
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, before, directory))
                    & ALL
            }
        }
    }

    /// Mode of directories that are made on the way. BuildKit gives them the plain bits only, less
    /// those that its umask takes.
    pub(super) fn of_parents(change: Option<&Self>) -> u32 {
        match change {
            Some(Self::Bits(bits)) => *bits & 0o755,
            _ => 0o755,
        }
    }
}

impl Clause {
    fn apply(&self, mode: u32, before: u32, directory: bool) -> u32 {
        let bits = match self.permissions {
            Permissions::Bits { bits, execute_if_any } => {
                bits | if execute_if_any && (directory || before & 0o111 != 0) { 0o111 } else { 0 }
            }
            Permissions::Of { shift } => {
                let bits = (mode >> shift) & 7;
                bits | bits << 3 | bits << 6
            }
        };
        match self.operation {
            Operation::Add => mode | (bits & self.who),
            Operation::Remove => mode & !(bits & self.who),
            Operation::Set => (mode & !self.who) | (bits & self.who),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str, mode: u32, directory: bool) -> u32 {
        ModeChange::parse(text).unwrap().apply(mode, directory)
    }

    #[test]
    fn symbolic_modes_do_what_chmod_does() {
        assert_eq!(change("755", 0o600, false), 0o755);
        assert_eq!(change("u=rwX,go=rX", 0o644, false), 0o644);
        assert_eq!(change("u=rwX,go=rX", 0o744, false), 0o755);
        assert_eq!(change("u=rwX,go=rX", 0o600, true), 0o755);
        assert_eq!(change("a+x", 0o644, false), 0o755);
        assert_eq!(change("+x,g-x", 0o644, false), 0o745);
        assert_eq!(change("go=", 0o777, false), 0o700);
        assert_eq!(change("g=u", 0o640, false), 0o660);
        assert_eq!(change("go=u-w", 0o755, false), 0o755);
        assert_eq!(change("u+s,g+s", 0o755, false), 0o6755);
        assert_eq!(change("+t", 0o777, true), 0o1777);
        assert_eq!(change("o+s", 0o755, false), 0o755);
        assert_eq!(change("a=", 0o6755, false), 0);
    }

    #[test]
    fn faulty_modes_are_refused() {
        for bad in ["", "8", "10000", "u", "u=q", "rwx", "u+x,", "z+x"] {
            assert!(ModeChange::parse(bad).is_err(), "{bad}");
        }
    }
}
