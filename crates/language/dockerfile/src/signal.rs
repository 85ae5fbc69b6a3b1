/// Names of Linux signals, as STOPSIGNAL takes them, without `SIG`.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Whether `text` names a signal: a number from 1, or a name with or without `SIG`, in any case.
pub fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let relative = |prefix: &str, sign: char, limit: u32| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix(sign))
            .and_then(|rest| rest.parse::<u32>().ok())
            .is_some_and(|number| (1..=limit).contains(&number))
    };
    NAMES.contains(&name) || relative("RTMIN", '+', 15) || relative("RTMAX", '-', 14)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for name in ["SIGTERM", "term", "9", "SIGRTMIN+3", "rtmax-14", "WINCH"] {
            assert!(is_signal(name), "{name}");
        }
        for name in ["", "SIGFOO", "0", "RTMIN+16", "TERM "] {
            assert!(!is_signal(name), "{name}");
        }
    }
}
