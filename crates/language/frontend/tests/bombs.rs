//! Dockerfiles made to take all memory or all day. They are the only test of this program, so that the memory it needed
//! is theirs.

use std::time::{Duration, Instant};

use frontend::{CompileOptions, ImageName, ImageResolver, ResolveError, ResolvedImage, compile};
use oci::{Digest, ImageConfig, Platform};
use report::SourceText;

/// A registry in which every image exists.
struct Images;

impl ImageResolver for Images {
    fn resolve(
        &self,
        _name: ImageName<'_>,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError> {
        Ok(ResolvedImage { digest: Digest::of(b"x"), config: ImageConfig::new(platform) })
    }
}

/// What the first error says.
fn refused(text: String) -> String {
    let source = SourceText { name: "Dockerfile".to_owned(), text: text.into() };
    match compile(&CompileOptions::new(source), &Images) {
        Ok(_) => "nothing".to_owned(),
        Err(found) => found.iter().take(1).map(ToString::to_string).collect(),
    }
}

/// Lines, one for each number.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(|number| line(number) + "\n").collect()
}

fn x(count: usize) -> String {
    "x".repeat(count)
}

fn doubling(keyword: &str) -> String {
    let next = |n| format!("{keyword} A{}=${{A{n}}}${{A{n}}}", n + 1);
    format!("{keyword} A0=0123456789abcdef\n{}", lines(64, next))
}

/// Its name, what makes it, and a part of what is said of it.
type Bomb = (&'static str, fn() -> String, &'static str);

/// Every bomb and a part of what is said of it.
fn bombs() -> Vec<Bomb> {
    vec![
        ("ARG doubling", || format!("FROM scratch\n{}", doubling("ARG")), "more variables than"),
        ("global ARG doubling", || format!("{}FROM scratch\n", doubling("ARG")), "more arguments"),
        ("ENV doubling", || format!("FROM scratch\n{}", doubling("ENV")), "more variables than"),
        (
            "ENV doubling itself",
            || format!("FROM scratch\nENV b={}\n{}", x(16), "ENV b=$b$b\n".repeat(20)),
            "the result is larger",
        ),
        (
            "LABEL of large values",
            || format!("FROM scratch\nENV b={}\n{}", x(100_000), "LABEL a=$b$b$b$b\n".repeat(500)),
            "the configuration of an image",
        ),
        ("one line", || format!("FROM scratch\nRUN {}\n", x(10 << 20)), "may have 1048576 bytes"),
        ("a million lines", || format!("FROM scratch\n{}", "RUN a\n".repeat(1_000_000)), "320000"),
        (
            "12,000 labels",
            || format!("FROM scratch\n{}", lines(12_000, |n| format!("LABEL l{n}=v"))),
            "10000 instructions",
        ),
        (
            "12,000 global arguments",
            || format!("{}FROM scratch\n", lines(12_000, |n| format!("ARG A{n}=1"))),
            "more arguments",
        ),
        (
            "nested defaults",
            || format!("FROM scratch\nENV a={}{}\n", "${a:-".repeat(100_000), "}".repeat(100_000)),
            "nested more than 64 deep",
        ),
        ("10,000 stages", || lines(10_000, |n| format!("FROM scratch AS s{n}")), "2000 stages"),
        (
            "a ring of stages",
            || {
                lines(1000, |n| {
                    format!("FROM scratch AS s{n}\nCOPY --from=s{} a b", (n + 1) % 1000)
                })
            },
            "",
        ),
        (
            "12,000 triggers",
            || format!("FROM scratch\n{}", "ONBUILD RUN a\n".repeat(12_000)),
            "10000 instructions",
        ),
        (
            "triggers times stages",
            || {
                format!(
                    "FROM scratch AS t\n{}FROM t AS s0\n{}",
                    "ONBUILD RUN a\n".repeat(5000),
                    lines(1000, |n| format!("FROM t AS s{}\nCOPY --from=s{n} a b", n + 1)),
                )
            },
            "10000 triggers",
        ),
        (
            "ONBUILD ONBUILD",
            || format!("FROM scratch\n{}RUN a\n", "ONBUILD ".repeat(100_000)),
            "Chaining ONBUILD",
        ),
        (
            "stages that inherit",
            || {
                let stages = lines(1999, |n| format!("FROM s{n} AS s{}", n + 1));
                format!("FROM scratch AS s0\nLABEL a={}\n{stages}", x(1_000_000))
            },
            "all stages are too large together",
        ),
        (
            "ports",
            || format!("FROM scratch\nEXPOSE {}\n", "1-65535 ".repeat(20_000)),
            "196605 ports",
        ),
        (
            "ports again and again",
            || format!("FROM scratch\n{}", "EXPOSE 1-65535\n".repeat(3000)),
            "the configuration of an image",
        ),
        (
            "a pattern",
            || format!("FROM scratch\nENV b={}\nENV c=${{b//*a*a*a*b/x}}\n", "a".repeat(500_000)),
            "too long to match",
        ),
        (
            "many patterns",
            || {
                format!(
                    "FROM scratch\nENV b={}\nENV c={}\n",
                    "a".repeat(50_000),
                    "${b//a*a*b/x}".repeat(70_000)
                )
            },
            "too long to match",
        ),
        (
            "values that are looked at and left out",
            || {
                format!(
                    "FROM scratch\nENV b={}\nLABEL a={}\n",
                    x(500_000),
                    "${b:+}".repeat(150_000)
                )
            },
            "takes too long",
        ),
        (
            "here-documents that look at large values",
            || {
                format!(
                    "FROM scratch\nENV b={}\n{}",
                    x(100_000),
                    "COPY <<E /a\n${b:+}${b:+}${b:+}${b:+}\nE\n".repeat(1000)
                )
            },
            "takes too long",
        ),
        (
            "here-documents on a line",
            || format!("FROM scratch\nRUN {}\n{}", "<<E ".repeat(250_000), "x\n".repeat(2_000_000)),
            "unterminated heredoc",
        ),
        (
            "words",
            || format!("FROM scratch\n{}", format!("COPY {}\n", "a ".repeat(500_000)).repeat(4)),
            "1000000 words",
        ),
        ("errors", || format!("FROM scratch\n{}", "X\n".repeat(5_000_000)), "unknown instruction"),
        (
            "deeper and deeper",
            || format!("FROM scratch\n{}", "WORKDIR a\n".repeat(9000)),
            "the configuration of an image",
        ),
        (
            "steps",
            || {
                let copies = "COPY a /a\n".repeat(6000);
                format!("FROM scratch AS a\n{copies}FROM a\n{copies}")
            },
            "10000 steps",
        ),
    ]
}

#[test]
fn bombs_are_refused_in_time_and_without_much_memory() {
    // The promise is two seconds for the program that users have; this one may be built without optimization, and
    // others may be at work beside it.
    let limit = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 10 });
    let mut wrong = Vec::new();
    for (name, text, said) in bombs() {
        let text = text();
        let start = Instant::now();
        let told = refused(text);
        let took = start.elapsed();
        if !told.contains(said) || told.len() > 1000 || took > limit {
            let told: String = told.chars().take(300).collect();
            wrong.push(format!("{name}, {took:?}: {told}"));
        }
        if std::env::args().any(|arg| arg == "--nocapture") {
            println!("{took:>12.1?} {} KiB {name}", peak_kib().unwrap_or_default());
        }
    }
    assert_eq!(wrong, [""; 0]);
    if let Some(kib) = peak_kib() {
        assert!(kib < 256 << 10, "{kib} KiB");
    }
}

/// The most memory this process had so far, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
