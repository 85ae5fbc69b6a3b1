//! What the language has: every instruction with its flags, the keys of mounts, directives, forms of variables and
//! arguments that need no declaration. `docs/reference/dockerfile.md` is written from this table, and tests hold the
//! parser to it.

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The instruction, or the kind of mount, or empty.
    pub of: &'static str,
    /// Its form, a flag or a key.
    pub item: &'static str,
    /// The version of the language that has it; `1.0` is what Docker had before BuildKit.
    pub since: &'static str,
    /// What is to know.
    pub notes: &'static str,
}

const fn entry(
    of: &'static str,
    item: &'static str,
    since: &'static str,
    notes: &'static str,
) -> Entry {
    Entry { of, item, since, notes }
}

/// Where something is crossdock's own.
pub const OWN: &str = "crossdock";

/// Instructions and their forms.
pub const INSTRUCTIONS: [Entry; 18] = [
    entry(
        "ADD",
        "SOURCE… DEST",
        "1.0",
        "paths, addresses, repositories, here-documents; local tar archives are unpacked",
    ),
    entry(
        "ARG",
        "NAME[=DEFAULT]…",
        "1.0",
        "before the first FROM: for FROM lines, and for stages that declare it again",
    ),
    entry("CMD", "[\"WORD\",…] or WORDS", "1.0", "what a container runs when nothing else is said"),
    entry(
        "COPY",
        "SOURCE… DEST",
        "1.0",
        "paths in the context, a stage or an image; here-documents since 1.4",
    ),
    entry("ENTRYPOINT", "[\"WORD\",…] or WORDS", "1.0", "resets a CMD of the base image"),
    entry("ENV", "NAME=VALUE…", "1.0", "`ENV NAME VALUE` is the old form, which is warned of"),
    entry("EXPOSE", "PORT[-PORT][/PROTOCOL]…", "1.0", "`tcp` when nothing is said"),
    entry(
        "FROM",
        "IMAGE [AS NAME]",
        "1.0",
        "`scratch`, an image, an earlier stage or a named context",
    ),
    entry("HEALTHCHECK", "CMD … or NONE", "1.0", "kept in the configuration of the image"),
    entry("LABEL", "KEY=VALUE…", "1.0", "`--label` is stronger"),
    entry("MAINTAINER", "NAME", "1.0", "deprecated; use LABEL org.opencontainers.image.authors"),
    entry(
        "ONBUILD",
        "INSTRUCTION",
        "1.0",
        "not ONBUILD, FROM, MAINTAINER; `--from` of copies and mounts since 1.11",
    ),
    entry(
        "RUN",
        "[\"WORD\",…] or WORDS",
        "1.0",
        "here-documents since 1.4; refused in Windows stages",
    ),
    entry("SHELL", "[\"WORD\",…]", "1.0", "what runs the shell forms that follow"),
    entry("STOPSIGNAL", "SIGNAL", "1.0", "a name or a number"),
    entry("USER", "USER[:GROUP]", "1.0", "names are looked up in the stage when they are used"),
    entry(
        "VOLUME",
        "[\"PATH\",…] or PATHS",
        "1.0",
        "kept in the configuration of the image; no step loses files by it",
    ),
    entry("WORKDIR", "PATH", "1.0", "joins the one before, and makes the directory"),
];

/// Flags of instructions.
pub const FLAGS: [Entry; 26] = [
    entry(
        "ADD",
        "--checksum",
        "1.6",
        "`sha256:…` of an address; of a repository the commit or the beginning of it",
    ),
    entry("ADD", "--chmod", "1.2", "octal; symbolic as in `u=rwX,go=rX` since 1.14"),
    entry(
        "ADD",
        "--chown",
        "1.0",
        "names or ids of the stage that is copied to; not in Windows images",
    ),
    entry("ADD", "--exclude", "1.19", "a pattern; may be given several times"),
    entry("ADD", "--keep-git-dir", "1.1", "keeps `.git` of a repository"),
    entry("ADD", "--link", "1.4", "a layer that does not depend on what is below it"),
    entry(
        "ADD",
        "--unpack",
        "1.17",
        "whether archives are unpacked: by default local ones are, those of addresses are not",
    ),
    entry("COPY", "--chmod", "1.2", "octal; symbolic as in `u=rwX,go=rX` since 1.14"),
    entry(
        "COPY",
        "--chown",
        "1.0",
        "names or ids of the stage that is copied to; not in Windows images",
    ),
    entry("COPY", "--exclude", "1.19", "a pattern; may be given several times"),
    entry(
        "COPY",
        "--from",
        "1.0",
        "a stage's name or number, an image, a named context; with variables in crossdock only",
    ),
    entry("COPY", "--link", "1.4", "a layer that does not depend on what is below it"),
    entry("COPY", "--parents", "1.20", "keeps directories; those before `/./` are left out"),
    entry("FROM", "--platform", "1.0", "what the stage runs on, as in `$BUILDPLATFORM`"),
    entry("HEALTHCHECK", "--interval", "1.0", "30s when not given"),
    entry("HEALTHCHECK", "--retries", "1.0", "3 when not given"),
    entry("HEALTHCHECK", "--start-interval", "1.6", "5s when not given"),
    entry("HEALTHCHECK", "--start-period", "1.0", "0s when not given"),
    entry("HEALTHCHECK", "--timeout", "1.0", "30s when not given"),
    entry(
        "RUN",
        "--device",
        "1.14-labs",
        "`NAME[,required]`, a device of the machine's CDI specifications; needs `--allow device`",
    ),
    entry("RUN", "--mount", "1.2", "see the kinds of mounts"),
    entry(
        "RUN",
        "--network",
        "1.3",
        "`default`, `none` or `host`; host needs `--allow network.host`",
    ),
    entry(
        "RUN",
        "--security",
        "1.20",
        "`sandbox` or `insecure`; insecure needs `--allow security.insecure`",
    ),
    entry("all", "quotes", "1.0", "around a flag's value are taken off"),
    entry(
        "all",
        "variables",
        "1.0",
        "in the flags of ADD, COPY, FROM and `--mount`; not in `--network`, `--security`, `--device`",
    ),
    entry("all", "unknown", "1.0", "an error with the nearest name"),
];

/// Keys of `RUN --mount`.
pub const MOUNTS: [Entry; 29] = [
    entry(
        "bind",
        "from",
        "1.2",
        "a stage, an image, a named context; the build context when not given; with variables in crossdock only",
    ),
    entry("bind", "readonly, ro", "1.2", "the default"),
    entry("bind", "readwrite, rw", "1.2", "what is written is lost after the step"),
    entry("bind", "source, src", "1.2", "path in `from`; its root when not given"),
    entry("bind", "target, dst, destination", "1.2", "joins WORKDIR; not `/`"),
    entry("cache", "from", "1.2", "what it begins with; empty when not given"),
    entry("cache", "gid", "1.2", "0"),
    entry("cache", "id", "1.2", "the cleaned target when not given; after BUILDKIT_CACHE_MOUNT_NS"),
    entry("cache", "mode", "1.2", "0755"),
    entry("cache", "readonly, ro", "1.2", "not the default"),
    entry("cache", "sharing", "1.2", "`shared`, `private` or `locked`; shared when not given"),
    entry("cache", "source, src", "1.2", "path in `from`"),
    entry("cache", "target, dst, destination", "1.2", "joins WORKDIR; not `/`"),
    entry("cache", "uid", "1.2", "0"),
    entry("tmpfs", "size", "1.4", "bytes, as in `64m`; half of the memory when not given"),
    entry("tmpfs", "target, dst, destination", "1.2", "joins WORKDIR; not `/`"),
    entry("secret", "env", "1.10", "a variable; makes no file unless there is a target"),
    entry("secret", "gid", "1.2", "0"),
    entry("secret", "id", "1.2", "the last part of the target when not given"),
    entry("secret", "mode", "1.2", "0400"),
    entry("secret", "required", "1.2", "not the default"),
    entry("secret", "target, dst, destination", "1.2", "`/run/secrets/ID` when not given"),
    entry("secret", "uid", "1.2", "0"),
    entry("ssh", "gid", "1.2", "0"),
    entry("ssh", "id", "1.2", "`default` when not given"),
    entry("ssh", "mode", "1.2", "0600"),
    entry("ssh", "required", "1.2", "not the default"),
    entry(
        "ssh",
        "target, dst, destination",
        "1.2",
        "`/run/buildkit/ssh_agent.N` when not given; SSH_AUTH_SOCK is the first",
    ),
    entry("ssh", "uid", "1.2", "0"),
];

/// Directives, at the top of the file.
pub const DIRECTIVES: [Entry; 3] = [
    entry(
        "",
        "# check=",
        "1.8",
        "`skip=RULE,…` or `skip=all`, `error=true`; `experimental=RULE,…` since 1.9",
    ),
    entry("", "# escape=", "1.0", "`\\` or `` ` ``"),
    entry(
        "",
        "# syntax=",
        "1.0",
        "`docker/dockerfile` in any registry and version is built in; another frontend is refused",
    ),
];

/// How variables are written.
pub const VARIABLES: [Entry; 8] = [
    entry("", "$v, ${v}", "1.0", "`\\$v` is not replaced, nor is anything in single quotes"),
    entry(
        "",
        "${v:-w}, ${v-w}",
        "1.0",
        "`w` where `v` is not set (with `:` also where it is empty)",
    ),
    entry("", "${v:+w}, ${v+w}", "1.0", "`w` where `v` is set (with `:` and is not empty)"),
    entry("", "${v:?w}, ${v?w}", "1.2", "an error that says `w` where `v` is not set"),
    entry(
        "",
        "${v#p}, ${v##p}",
        "1.7",
        "without the shortest or longest beginning that `p` matches",
    ),
    entry("", "${v%p}, ${v%%p}", "1.7", "without the shortest or longest end that `p` matches"),
    entry("", "${v/p/r}", "1.7", "the first match replaced"),
    entry("", "${v//p/r}", "1.7", "all matches replaced"),
];

/// Arguments that are there without ARG, and those that speak to the builder.
pub const ARGUMENTS: [Entry; 24] = [
    entry(
        "platform",
        "TARGETPLATFORM, TARGETOS, TARGETARCH, TARGETVARIANT",
        "1.0",
        "in FROM; in a stage after ARG",
    ),
    entry(
        "platform",
        "BUILDPLATFORM, BUILDOS, BUILDARCH, BUILDVARIANT",
        "1.0",
        "in FROM; in a stage after ARG",
    ),
    entry("platform", "TARGETOSVERSION, BUILDOSVERSION", "1.13", "of Windows"),
    entry(
        "platform",
        "TARGETSTAGE",
        "1.11",
        "`--target`, or the name of the last stage, or `default`",
    ),
    entry(
        "proxy",
        "HTTP_PROXY, http_proxy",
        "1.0",
        "reaches RUN; neither in the image, its history nor keys",
    ),
    entry("proxy", "HTTPS_PROXY, https_proxy", "1.0", "the same"),
    entry("proxy", "FTP_PROXY, ftp_proxy", "1.0", "the same"),
    entry("proxy", "NO_PROXY, no_proxy", "1.0", "the same"),
    entry("proxy", "ALL_PROXY, all_proxy", "1.3", "the same"),
    entry("builder", "BUILDKIT_BUILD_NAME", "1.18", "how the build is called while it runs"),
    entry("builder", "BUILDKIT_CACHE_MOUNT_NS", "1.2", "before the ids of cache mounts"),
    entry(
        "builder",
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
        "1.2",
        "keeps `.git` of a context that is a repository",
    ),
    entry("builder", "BUILDKIT_DOCKERFILE_CHECK", "1.8", "in place of `# check=`"),
    entry("builder", "BUILDKIT_INLINE_CACHE", "1.0", "no effect, which is warned of"),
    entry("builder", "BUILDKIT_MULTI_PLATFORM", "1.3", "an index also for one platform"),
    entry("builder", "BUILDKIT_SANDBOX_HOSTNAME", "1.4", "name of the host in RUN"),
    entry("builder", "BUILDKIT_SBOM_SCAN_CONTEXT", "1.5", "no effect, which is warned of"),
    entry("builder", "BUILDKIT_SBOM_SCAN_STAGE", "1.5", "no effect, which is warned of"),
    entry("builder", "BUILDKIT_SYNTAX", "1.2", "in place of `# syntax=`"),
    entry(
        "builder",
        "SOURCE_DATE_EPOCH",
        "1.5",
        "seconds since 1970; `context`, a named context or a stage of one remote ADD since 1.24",
    ),
    entry(
        "command line",
        "--build-arg PLATFORM:NAME=VALUE",
        OWN,
        "for one platform, as in `linux/arm64:GOARM=7`",
    ),
    entry("command line", "--label PLATFORM:KEY=VALUE", OWN, "for one platform"),
    entry(
        "command line",
        "--build-arg-file FILE",
        OWN,
        "`NAME=VALUE` lines; `#` begins a comment, `NAME` alone is that of the environment",
    ),
    entry(
        "command line",
        "precedence",
        OWN,
        "files in their order, then `--build-arg`; in each, a platform's own value is stronger than one for all",
    ),
];
