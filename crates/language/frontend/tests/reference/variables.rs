//! Forms of variables one by one, and where they are replaced.

use crate::support::{build, config, copies, names, options, run, told, told_of};

/// What a form gives with `S=some.tar.gz`, `E` empty and `U` not set.
fn value(form: &str) -> String {
    let env = config(&format!("ENV S=some.tar.gz E=\nENV X={form}")).env;
    env.iter().find_map(|pair| pair.strip_prefix("X=")).unwrap().to_owned()
}

#[test]
fn dollar_and_braces() {
    assert_eq!((value("$S").as_str(), value("${S}x").as_str()), ("some.tar.gz", "some.tar.gzx"));
    assert_eq!((value("$U").as_str(), value("a${U}b").as_str()), ("", "ab"));
}

#[test]
fn minus_stands_in_for_what_is_not_set() {
    let with_colon = [value("${S:-w}"), value("${E:-w}"), value("${U:-w}")];
    assert_eq!(with_colon, ["some.tar.gz", "w", "w"]);
    assert_eq!([value("${S-w}"), value("${E-w}"), value("${U-w}")], ["some.tar.gz", "", "w"]);
    assert_eq!(value("${U:-${E:-$S}}"), "some.tar.gz");
}

#[test]
fn plus_stands_in_for_what_is_set() {
    assert_eq!([value("${S:+w}"), value("${E:+w}"), value("${U:+w}")], ["w", "", ""]);
    assert_eq!([value("${S+w}"), value("${E+w}"), value("${U+w}")], ["w", "w", ""]);
}

#[test]
fn question_mark_asks_for_what_is_not_set() {
    assert_eq!(value("${S:?no}"), "some.tar.gz");
    assert!(told_of("ENV X=${U:?needed}").contains("U: needed"));
    assert!(told_of("ENV X=${U?}").contains("U: is not allowed to be unset"));
    assert!(told_of("ENV E=\nENV X=${E:?}").contains("E: is not allowed to be empty"));
}

#[test]
fn hash_cuts_the_beginning() {
    assert_eq!([value("${S#*.}"), value("${S##*.}")], ["tar.gz", "gz"]);
    assert_eq!([value("${S#so?e}"), value("${S#x}")], [".tar.gz", "some.tar.gz"]);
}

#[test]
fn percent_cuts_the_end() {
    assert_eq!([value("${S%.*}"), value("${S%%.*}")], ["some.tar", "some"]);
    assert_eq!(value("${S%x}"), "some.tar.gz");
}

#[test]
fn slash_replaces_once_and_two_slashes_everywhere() {
    assert_eq!([value("${S/./-}"), value("${S//./-}")], ["some-tar.gz", "some-tar-gz"]);
    assert_eq!([value("${S/tar/zip}"), value("${S//x/y}")], ["some.zip.gz", "some.tar.gz"]);
}

#[test]
fn a_backslash_or_single_quotes_keep_the_dollar() {
    assert_eq!([value("\\$S"), value("'$S'"), value("\"\\$S\"")], ["$S", "$S", "$S"]);
    assert_eq!(value("\"$S x\""), "some.tar.gz x");
}

#[test]
fn an_instruction_sees_what_was_set_before_it() {
    assert_eq!(config("ENV a=old\nENV a=new b=$a\nENV c=$a").env[1..], ["a=new", "b=old", "c=new"]);
    assert_eq!(config("ARG a=1 b=$a\nENV x=$a$b").env[1..], ["x=11"]);
}

#[test]
fn variables_are_replaced_in_these_instructions() {
    let it = config(
        "ARG V=7\nARG W=$V\nENV E=$V\nLABEL l$V=$V\nEXPOSE 8$V/tcp\nUSER u$V:g$V\nVOLUME /v$V\nWORKDIR /w$V\n\
         STOPSIGNAL $V\nENV F=$W\nONBUILD ENV O=$V",
    );
    assert_eq!(it.env[1..], ["E=7", "F=7"]);
    assert_eq!(it.labels.get("l7").map(String::as_str), Some("7"));
    assert_eq!(it.exposed_ports.keys().collect::<Vec<_>>(), ["87/tcp"]);
    assert_eq!(it.volumes.keys().collect::<Vec<_>>(), ["/v7"]);
    assert_eq!((it.user.as_str(), it.working_dir.as_str()), ("u7:g7", "/w7"));
    assert_eq!(it.stop_signal, "7");
    // A trigger keeps its text: it is read where it runs.
    assert_eq!(it.on_build, ["ENV O=$V"]);
}

#[test]
fn variables_are_replaced_in_from_its_platform_and_copies() {
    let text = "ARG V=7\nARG P=linux/arm64\nFROM --platform=$P img$V AS one\nFROM a\nARG V\n\
                COPY --chown=$V:$V --chmod=$V$V$V src$V /dst$V\nADD add$V /dst$V/\n";
    let compiled = build(&options(text));
    let copies = copies(&compiled);
    assert_eq!((copies[0].src.as_str(), copies[0].dest.as_str()), ("/src7", "/dst7"));
    assert_eq!((copies[0].mode, copies[1].src.as_str()), (0o777, "/add7"));
    let from = build(&options("ARG V=7\nFROM --platform=linux/arm64 img$V\n"));
    assert!(names(&from).iter().any(|name| name.contains("img7")), "{:?}", names(&from));
}

#[test]
fn commands_are_left_to_the_shell() {
    let args = run("ENV V=1\nRUN echo $V ${V#x}").meta.unwrap().args;
    assert_eq!(args, ["/bin/sh", "-c", "echo $V ${V#x}"]);
    let it = config("ENV V=1\nENTRYPOINT [\"$V\"]\nCMD echo $V\nHEALTHCHECK CMD test $V");
    assert_eq!(it.entrypoint.as_deref(), Some(&["$V".to_owned()][..]));
    assert_eq!(it.cmd.unwrap()[2], "echo $V");
    assert_eq!(it.healthcheck.unwrap().test, ["CMD-SHELL", "test $V"]);
}

#[test]
fn what_is_not_well_formed_has_its_place() {
    let told = told(&options("FROM a\nENV A=1\nLABEL x=${A\n"));
    assert!(told.starts_with("Dockerfile:3:") && told.contains("missing '}'"), "{told}");
}
