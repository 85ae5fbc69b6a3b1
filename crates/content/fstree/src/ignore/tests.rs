use std::time::{Duration, Instant};

use super::*;

fn rules(text: &str) -> IgnoreRules {
    IgnoreRules::parse(text.as_bytes()).unwrap()
}

#[test]
fn lines_are_cleaned_as_docker_does() {
    let read = rules(
        "\u{feff}# no\n  # yes \n\n/a/\n./b/../c  \r\n ! /d \n!\t\n".trim_end_matches("!\t\n"),
    );
    assert_eq!(read.patterns(), ["# yes", "a", "c", "!d"]);
    assert!(IgnoreRules::parse(b"!").is_err());
    assert!(IgnoreRules::parse(b"a[").is_err());
}

/// From the tables of `moby/patternmatcher` (`patternmatcher_test.go`).
#[test]
fn agrees_with_moby() {
    let cases: &[(&str, &str, bool)] = &[
        ("**", "file", true),
        ("**", "file/", true),
        ("**/", "file", true),
        ("**", "/", true),
        ("**", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir2/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**/file", "dir/dir/file", true),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/file*.txt*", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("**/**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcdef", false),
        ("abc.def", "abc.def", true),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abcdef", false),
        ("a\\\\", "a\\", true),
        ("**/foo/bar", "foo/bar", true),
        ("**/foo/bar", "dir/dir2/foo/bar", true),
        ("abc/**", "abc", false),
        ("abc/**", "abc/def/ghi", true),
        ("**/.foo", ".foo", true),
        ("**/.foo", "bar.foo", false),
        ("a(b)c/def", "a(b)c/def", true),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        (
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            true,
        ),
        ("docs", "docs/a/b", true),
    ];
    for (pattern, path, expected) in cases {
        let set = PatternSet::new(&[*pattern]).unwrap();
        assert_eq!(set.matches(path.as_bytes()).unwrap(), *expected, "{pattern} {path}");
    }
}

#[test]
fn exceptions_take_back_in_order() {
    let read = rules("*\n!docs/**\ndocs/secret\n!docs/secret/ok");
    assert!(read.matches(b"x").unwrap());
    assert!(!read.matches(b"docs/a").unwrap());
    assert!(read.matches(b"docs/secret/b").unwrap());
    assert!(!read.matches(b"docs/secret/ok").unwrap());
}

#[test]
fn parents_results_give_the_same_answers() {
    let sets = [
        vec!["*", "!a/b/*.go", "a/b/x.go"],
        vec!["a", "!a/b"],
        vec!["**/t", "!a/t/k"],
        vec!["a/*", "!a/t"],
    ];
    let paths: [&[&str]; 3] =
        [&["a", "a/b", "a/b/x.go"], &["a", "a/b", "a/b/y.go"], &["a", "a/t", "a/t/k"]];
    for patterns in sets {
        let set = PatternSet::new(&patterns).unwrap();
        for chain in paths {
            let mut info = MatchInfo::default();
            for path in chain {
                let (matched, next) = set.matches_beneath(path.as_bytes(), &info).unwrap();
                assert_eq!(matched, set.matches(path.as_bytes()).unwrap(), "{patterns:?} {path}");
                info = next;
            }
        }
    }
}

#[test]
fn a_hostile_pattern_takes_bounded_time() {
    let set = PatternSet::new(&["a**/*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b".repeat(3)]).unwrap();
    assert!(!set.matches("a/".repeat(200).as_bytes()).unwrap());
}

/// What this is to agree with: each pattern tried with each path, written down as moby does it.
struct Slow(Vec<(bool, Matcher)>);

impl Slow {
    fn new(patterns: &[String]) -> Self {
        Self(
            patterns
                .iter()
                .map(|pattern| {
                    let text = clean(pattern);
                    match text.strip_prefix('!') {
                        Some(rest) => (true, Matcher::compile(rest)),
                        None => (false, Matcher::compile(&text)),
                    }
                })
                .collect(),
        )
    }

    fn one(matcher: &Matcher, path: &[u8]) -> bool {
        matcher.matches(path, false, &mut 0)
    }

    fn or_above(matcher: &Matcher, path: &[u8]) -> bool {
        Self::one(matcher, path)
            || path
                .iter()
                .enumerate()
                .any(|(at, byte)| *byte == b'/' && Self::one(matcher, &path[..at]))
    }

    fn matches(&self, path: &[u8]) -> bool {
        self.0.iter().fold(false, |matched, (exception, matcher)| {
            if *exception == matched && Self::or_above(matcher, path) {
                !exception
            } else {
                matched
            }
        })
    }

    fn beneath(&self, path: &[u8], parent: &[bool]) -> (bool, Vec<bool>) {
        let mut matched = false;
        let mut info = vec![false; self.0.len()];
        for (at, (exception, matcher)) in self.0.iter().enumerate() {
            let mut hit = parent.get(at).copied().unwrap_or(false);
            if !hit {
                if *exception != matched {
                    continue;
                }
                hit = if parent.is_empty() {
                    Self::or_above(matcher, path)
                } else {
                    Self::one(matcher, path)
                };
            }
            info[at] = hit;
            if hit {
                matched = !exception;
            }
        }
        (matched, info)
    }
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn text(&mut self, pieces: &[&str], most: usize) -> String {
        (0..=self.below(most)).map(|_| pieces[self.below(pieces.len())]).collect()
    }
}

#[test]
fn the_index_changes_no_answer() {
    let pieces = [
        "a", "b", "ab", "a", "b", "/", "/", "/", "*", "**", "**/", "/**", "?", "[ab]", "[^a]",
        "\\a", "\u{e9}", "\u{fffd}", ".",
    ];
    let names: [&[u8]; 7] = [b"a", b"b", b"ab", b"ba", b"\xc3\xa9", b"a\xff", b"\xe2b"];
    let mut numbers = Numbers(1);
    let mut hits = [0; 2];
    for round in 0..3000 {
        let most = [3, 12, 40][round % 3];
        let mut patterns = Vec::new();
        for _ in 0..=numbers.below(most) {
            let sign = if numbers.below(3) == 0 { "!" } else { "" };
            let pattern = format!("{sign}{}", numbers.text(&pieces, 5));
            if PatternSet::new(&[&pattern]).is_ok() {
                patterns.push(pattern);
            }
        }
        let few = [0, FEW][round % 2];
        let (set, slow) = (PatternSet::compile(&patterns, few).unwrap(), Slow::new(&patterns));
        for _ in 0..5 {
            let (mut info, mut slow_info) = (MatchInfo::default(), Vec::new());
            let mut path = Vec::new();
            // Where nothing is known of what lies above, as at the start of a copy.
            let begin = numbers.below(3);
            for depth in 0..4 {
                if depth > 0 {
                    path.push(b'/');
                }
                path.extend(names[numbers.below(names.len())]);
                let told = set.matches(&path).unwrap();
                assert_eq!(told, slow.matches(&path), "{patterns:?} {}", show(&path));
                hits[usize::from(told)] += 1;
                if depth >= begin {
                    let told;
                    let expected;
                    (told, info) = set.matches_beneath(&path, &info).unwrap();
                    (expected, slow_info) = slow.beneath(&path, &slow_info);
                    assert_eq!(told, expected, "{patterns:?} {} from {begin}", show(&path));
                }
            }
        }
    }
    assert!(hits.iter().all(|hits| *hits > 5000), "{hits:?}");
}

/// What a walk asks for each file of a flat directory.
fn walked(patterns: &[String], files: usize) -> (Result<usize, TreeError>, Duration) {
    let start = Instant::now();
    let set = PatternSet::new(patterns).unwrap();
    let (_, info) = set.matches_beneath(b"dir", &MatchInfo::default()).unwrap();
    let ignored = (0..files).try_fold(0, |ignored, file| {
        let (matched, _) = set.matches_beneath(format!("dir/f{file}.c").as_bytes(), &info)?;
        Ok(ignored + usize::from(matched))
    });
    (ignored, start.elapsed())
}

#[test]
fn a_hundred_thousand_patterns_take_little_more_than_one() {
    let many = |pattern: &dyn Fn(usize) -> String| (0..100_000).map(pattern).collect::<Vec<_>>();
    let sets = [
        many(&|n| format!("dir/f{n}.c")),
        many(&|n| format!("{}dir/f{}.c", if n % 2 == 0 { "" } else { "!" }, n / 2)),
        many(&|n| format!("**/f{n}.c")),
        many(&|n| format!("dir/f{n}*.?")),
        many(&|n| format!("**/x*f{n}.c")),
    ];
    for (patterns, expected) in sets.into_iter().zip([5000, 0, 5000, 5000, 0]) {
        let (ignored, took) = walked(&patterns, 5000);
        assert_eq!(ignored.unwrap(), expected, "{}", patterns[0]);
        if std::env::args().any(|arg| arg == "--nocapture") {
            println!("{took:>10.1?} {}", patterns[0]);
        }
    }
    let steep = ["**/".repeat(200) + "x"];
    assert_eq!(walked(&steep, 1000).0.unwrap(), 0);
}

#[test]
fn patterns_that_have_to_be_tried_with_every_path_are_refused_when_that_takes_too_long() {
    let patterns: Vec<_> = (0..20_000).map(|n| format!("*x{n}*")).collect();
    let set = PatternSet {
        work: Arc::new(Work { most: 1 << 20, ..Work::default() }),
        ..PatternSet::new(&patterns).unwrap()
    };
    let told = (0..1000).find_map(|_| set.matches(b"some/path").err()).unwrap().to_string();
    assert_eq!(
        told,
        "`some/path` exceeds a limit: trying 20000 patterns with each path takes too long; give fewer of them, or \
         such as begin or end with a plain name"
    );
}
