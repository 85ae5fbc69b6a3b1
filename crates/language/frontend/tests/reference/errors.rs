//! What is told of instructions that are wrong: the message, the place and a way out.

use crate::support::{build, options, told, told_of};

fn all(instructions: &[&str]) -> String {
    instructions.iter().map(|text| told_of(text)).collect::<Vec<_>>().join("\n")
}

#[test]
fn unknown_words_are_guessed() {
    insta::assert_snapshot!(all(&[
        "RUNN x",
        "FOOBAR x",
        "COPY --form=b a /",
        "RUN --mounted=type=bind x",
        "USER --x=y z",
        "RUN --network=hosts x",
        "RUN --network=internet x",
        "RUN --security=insecur x",
    ]), @r#"
    Dockerfile:2:1: unknown instruction: RUNN (did you mean RUN?)
    Dockerfile:2:1: unknown instruction: FOOBAR
    Dockerfile:2:6: unknown flag: --form (did you mean --from?)
    Dockerfile:2:5: unknown flag: --mounted (did you mean --mount?)
    Dockerfile:2:6: unknown flag: --x
    Dockerfile:2:5: network "hosts" is not valid (did you mean host?)
    Dockerfile:2:5: network "internet" is not valid (it can be default, none, host)
    Dockerfile:2:5: security "insecur" is not valid (did you mean insecure?)
    "#);
}

#[test]
fn mounts_name_what_is_wrong_with_them() {
    insta::assert_snapshot!(all(&[
        "RUN --mount=typ=bind x",
        "RUN --mount=type=foo,target=/a x",
        "RUN --mount=type=cache,sharing=x,target=/a x",
        "RUN --mount=type=cache x",
        "RUN --mount=type=tmpfs,target=/a,size=much x",
        "RUN --mount=type=cache,target=/a,mode=9 x",
        "RUN --mount=type=secret,required=maybe,id=a x",
    ]), @r#"
    Dockerfile:2:5: unexpected key 'typ' in 'typ=bind' (did you mean type?)
    Dockerfile:2:5: unsupported mount type "foo" (it can be bind, cache, tmpfs, secret, ssh)
    Dockerfile:2:5: unsupported sharing value "x" (it can be shared, private, locked)
    Dockerfile:2:5: invalid mount target "/" (give a target= other than the root)
    Dockerfile:2:5: invalid value for size: much (write bytes, or 64m, or 1.5g)
    Dockerfile:2:5: invalid value 9 for mode (write octal digits, as in 0755)
    Dockerfile:2:5: invalid value for required: maybe (write true or false)
    "#);
}

#[test]
fn missing_arguments_come_with_an_example() {
    insta::assert_snapshot!(all(&[
        "ADD x",
        "ARG",
        "COPY",
        "ENV",
        "ENV a",
        "EXPOSE",
        "HEALTHCHECK",
        "HEALTHCHECK CMD",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ]), @r#"
    Dockerfile:2:1: ADD requires at least two arguments, but only one was provided. Destination could not be determined (write ADD SOURCE… DESTINATION)
    Dockerfile:2:1: ARG requires at least one argument (write ARG NAME or ARG NAME=VALUE)
    Dockerfile:2:1: COPY requires at least two arguments, but only one was provided. Destination could not be determined (write COPY SOURCE… DESTINATION)
    Dockerfile:2:1: ENV requires at least one argument (write ENV NAME=VALUE)
    Dockerfile:2:5: ENV must have two arguments (write ENV a=VALUE)
    Dockerfile:2:1: EXPOSE requires at least one argument (write EXPOSE 8080 or EXPOSE 53/udp)
    Dockerfile:2:1: HEALTHCHECK requires at least one argument (write HEALTHCHECK CMD COMMAND or HEALTHCHECK NONE)
    Dockerfile:2:13: missing command after HEALTHCHECK CMD
    Dockerfile:2:1: LABEL requires at least one argument (write LABEL NAME=VALUE)
    Dockerfile:2:1: MAINTAINER requires exactly one argument (write LABEL org.opencontainers.image.authors=NAME)
    Dockerfile:2:1: Maintainer instruction is deprecated in favor of using label (write LABEL org.opencontainers.image.authors=…)
    Dockerfile:2:1: ONBUILD requires at least one argument (write ONBUILD INSTRUCTION)
    Dockerfile:2:1: SHELL requires at least one argument (write SHELL ["/bin/bash", "-c"])
    Dockerfile:2:1: STOPSIGNAL requires exactly one argument (write STOPSIGNAL SIGTERM)
    Dockerfile:2:1: USER requires exactly one argument (write USER NAME or USER NAME:GROUP)
    Dockerfile:2:1: VOLUME requires at least one argument (write VOLUME /DIRECTORY)
    Dockerfile:2:1: WORKDIR requires exactly one argument (write WORKDIR /DIRECTORY)
    "#);
    insta::assert_snapshot!(told(&options("FROM\n")), @r#"
    Dockerfile:1:1: FROM requires either one or three arguments (write FROM image AS name)
    "#);
}

#[test]
fn what_is_not_closed_is_told() {
    insta::assert_snapshot!(all(&[
        "RUN <<E\nx",
        "COPY <<-\"E\" <<F /\nx\nE\ny",
        "ENV a=\"b",
        "LABEL a='b",
        "ENV a=${b",
        "WORKDIR ${b:-c",
    ]), @r#"
    Dockerfile:2:1: unterminated heredoc `E` (end it with a line that has nothing but `E`)
    Dockerfile:2:1: unterminated heredoc `F` (end it with a line that has nothing but `F`)
    Dockerfile:2:5: failed to process "\"b": unexpected end of statement while looking for matching double-quote (close the quote, or escape it if it is meant as it stands)
    Dockerfile:2:7: failed to process "'b": unexpected end of statement while looking for matching single-quote (close the quote, or escape it if it is meant as it stands)
    Dockerfile:2:5: failed to process "${b": syntax error: missing '}' (close the braces, or escape the $ if it is meant as it stands)
    Dockerfile:2:9: failed to process "${b:-c": syntax error: missing '}' (close the braces, or escape the $ if it is meant as it stands)
    "#);
}

#[test]
fn values_that_cannot_be_say_what_can() {
    insta::assert_snapshot!(all(&[
        "HEALTHCHECK --interval=5 CMD x",
        "HEALTHCHECK --timeout=1us CMD x",
        "HEALTHCHECK --retries=x CMD x",
        "HEALTHCHECK RUN x",
        "EXPOSE a",
        "EXPOSE 70000",
        "EXPOSE 90-80",
        "EXPOSE 80/xyz",
        "COPY --chmod=9 a /",
        "COPY --chmod=abc a /",
        "STOPSIGNAL SIGX",
        "SHELL /bin/bash -c",
        "ONBUILD FROM x",
    ]), @r#"
    Dockerfile:2:13: invalid duration "5" (write 30s or 1m30s)
    Dockerfile:2:13: interval "timeout" cannot be less than 1ms
    Dockerfile:2:13: invalid number of retries "x"
    Dockerfile:2:13: unknown type "RUN" in HEALTHCHECK (write HEALTHCHECK CMD … or HEALTHCHECK NONE)
    Dockerfile:2:8: invalid containerPort: a (write 8080, 8000-8010 or 53/udp)
    Dockerfile:2:8: invalid containerPort: 70000 (write 8080, 8000-8010 or 53/udp)
    Dockerfile:2:8: invalid containerPort: 90-80 (write 8080, 8000-8010 or 53/udp)
    Dockerfile:2:8: invalid port: "80/xyz": invalid proto: xyz (write 8080, 8000-8010 or 53/udp)
    Dockerfile:2:6: invalid chmod parameter: '9'. it should be octal string and between 0 and 07777 (or symbolic, as in --chmod=u=rwX,go=rX)
    Dockerfile:2:6: invalid chmod parameter: 'abc'. it should be octal string and between 0 and 07777 (or symbolic, as in --chmod=u=rwX,go=rX)
    Dockerfile:2:12: invalid signal: SIGX (write SIGTERM or a number)
    Dockerfile:2:7: SHELL requires the arguments to be in JSON form (write SHELL ["/bin/bash", "-c"])
    Dockerfile:2:9: FROM isn't allowed as an ONBUILD trigger
    "#);
    insta::assert_snapshot!(told(&options("FROM --platform=a/b/c/d x\n")), @r#"
    Dockerfile:1:6: failed to parse platform a/b/c/d: `a/b/c/d` is not a platform: expected `os/architecture` or `os/architecture/variant`, as in `linux/arm64`
    "#);
}

/// As BuildKit: an array that is no JSON is text, one of something else than strings an error.
#[test]
fn arrays_are_json_or_text() {
    let of_strings = "when using JSON array syntax, arrays must be comprised of strings only";
    for keyword in ["CMD", "ENTRYPOINT", "SHELL", "VOLUME", "COPY", "ADD", "HEALTHCHECK CMD"] {
        for array in [r#"["a", 1]"#, "[null]", r#"["a", ["b"]]"#] {
            let told = told_of(&format!("{keyword} {array}"));
            assert!(told.ends_with(of_strings), "{keyword} {array}: {told}");
        }
    }
    for text in [r#"["a", "b""#, "['a', 'b']", r#"["a",]"#, r#"["a"] b"#, r#"["a\qb"]"#, "{}"] {
        let image = build(&options(&format!("FROM scratch\nCMD {text}\nENTRYPOINT {text}\n")));
        let config = image.config.config;
        let shell = ["/bin/sh", "-c", text].map(str::to_owned).to_vec();
        assert_eq!(
            (&config.entrypoint, &config.cmd),
            (&Some(shell.clone()), &Some(shell)),
            "{text}"
        );
    }
    let image = build(&options("FROM scratch\nVOLUME [\"/a\", \"/b\"\nCMD [\"\\u0041\"]\n"));
    assert!(image.config.config.volumes.keys().eq(["/b", "[/a,"]));
    assert_eq!(image.config.config.cmd, Some(vec!["A".to_owned()]));
    assert!(told_of("SHELL [\"a\"").contains("SHELL requires the arguments to be in JSON form"));
}

#[test]
fn all_errors_of_a_file_are_told_at_once() {
    let text = "FROM a\nRUNN x\nCOPY --form=b a /\nUSER\nRUN --mount=typ=bind x\nEXPOSE 80\nHEALTHCHECK --interval=5 CMD x\nFROM\nENV a=\"b\nRUN <<E\n";
    insta::assert_snapshot!(told(&options(text)), @r#"
    Dockerfile:2:1: unknown instruction: RUNN (did you mean RUN?)
    Dockerfile:3:6: unknown flag: --form (did you mean --from?)
    Dockerfile:4:1: USER requires exactly one argument (write USER NAME or USER NAME:GROUP)
    Dockerfile:7:13: invalid duration "5" (write 30s or 1m30s)
    Dockerfile:8:1: FROM requires either one or three arguments (write FROM image AS name)
    Dockerfile:10:1: unterminated heredoc `E` (end it with a line that has nothing but `E`)
    "#);
    // What only shows with the values of variables comes after what the text itself shows, all of it too.
    let text = "FROM b AS b\nEXPOSE y\nFROM a\nCOPY --from=b a /\nEXPOSE x\nCOPY --chmod=9 a /\nENV a=${b\nSTOPSIGNAL SIGX\nRUN --mount=typ=bind x\n";
    insta::assert_snapshot!(told(&options(text)), @r#"
    Dockerfile:2:8: invalid containerPort: y (write 8080, 8000-8010 or 53/udp)
    Dockerfile:5:8: invalid containerPort: x (write 8080, 8000-8010 or 53/udp)
    Dockerfile:6:6: invalid chmod parameter: '9'. it should be octal string and between 0 and 07777 (or symbolic, as in --chmod=u=rwX,go=rX)
    Dockerfile:7:5: failed to process "${b": syntax error: missing '}' (close the braces, or escape the $ if it is meant as it stands)
    Dockerfile:8:12: invalid signal: SIGX (write SIGTERM or a number)
    Dockerfile:9:5: unexpected key 'typ' in 'typ=bind' (did you mean type?)
    "#);
}
