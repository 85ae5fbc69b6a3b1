//! The rules that look further than BuildKit's.

use super::{Example, Origin, Rule, Severity};

const fn rule(
    id: &'static str,
    severity: Severity,
    summary: &'static str,
    why: &'static str,
    triggers: Example,
    fine: Example,
    fix: Option<&'static str>,
) -> Rule {
    Rule {
        id,
        severity,
        origin: Origin::Crossdock,
        experimental: false,
        summary,
        why,
        url: None,
        triggers,
        fine,
        fix,
    }
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "BaseImagePlatformMissing",
        Severity::Error,
        "The base image exists for every platform that is asked for",
        "A build for several platforms fails at the first base image that lacks one of them, possibly after an hour of \
         work for the others. With `--resolve` (and in every build, before its first step) each base is asked for each \
         platform, and the finding lists the platforms it has.",
        Example {
            platform: "linux/riscv64",
            base_has: &["linux/amd64", "linux/arm64"],
            ..Example::of("FROM registry.example.com/tools:1\nCOPY a /\n")
        },
        Example {
            platform: "linux/arm64",
            base_has: &["linux/amd64", "linux/arm64"],
            ..Example::of("FROM registry.example.com/tools:1\nCOPY a /\n")
        },
        None,
    ),
    rule(
        "ConstantBuildPlatform",
        Severity::Warning,
        "A stage that compiles for other platforms runs on the builder's own",
        "The stage names a fixed platform, uses `TARGETARCH`, `TARGETOS` or `TARGETPLATFORM`, and only its files are \
         copied out: it is a cross compiler. With a fixed platform it runs emulated on every other machine, often ten \
         times slower. `$BUILDPLATFORM` is the platform of the machine that builds.",
        Example::of(
            "FROM --platform=linux/amd64 golang:1.25 AS build\nARG TARGETOS TARGETARCH\nRUN GOOS=$TARGETOS \
             GOARCH=$TARGETARCH go build -o /app .\nFROM scratch\nCOPY --from=build /app /app\n",
        ),
        Example::of(
            "FROM --platform=$BUILDPLATFORM golang:1.25 AS build\nARG TARGETOS TARGETARCH\nRUN GOOS=$TARGETOS \
             GOARCH=$TARGETARCH go build -o /app .\nFROM scratch\nCOPY --from=build /app /app\n",
        ),
        Some("writes `$BUILDPLATFORM`"),
    ),
    rule(
        "CrossCompilePossible",
        Severity::Note,
        "A Go stage without C could compile on the builder's own platform",
        "The stage compiles Go with `CGO_ENABLED=0`, sets no `GOARCH`, and only its files are copied out. Built for \
         another platform it runs emulated; Go compiles for any platform on any other, at full speed, when it is told \
         to. The finding has the lines rewritten.",
        Example::of(
            "FROM golang:1.25 AS build\nENV CGO_ENABLED=0\nCOPY . .\nRUN go build -o /app .\nFROM scratch\nCOPY \
             --from=build /app /app\n",
        ),
        Example::of(
            "FROM --platform=$BUILDPLATFORM golang:1.25 AS build\nENV CGO_ENABLED=0\nCOPY . .\nARG TARGETOS \
             TARGETARCH\nRUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /app .\nFROM scratch\nCOPY --from=build \
             /app /app\n",
        ),
        Some(
            "adds `--platform=$BUILDPLATFORM`, declares the arguments and passes them to `go build`",
        ),
    ),
    rule(
        "SecretFileCopied",
        Severity::Warning,
        "No file that holds credentials is copied into an image",
        "A file in a layer can be read by everybody who has the image, also when a later step removes it. Mount it \
         into the step that needs it: `RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci`. Names that count: \
         `.npmrc`, `.netrc`, `.pypirc`, `.git-credentials`, `.aws/credentials`, `.docker/config.json`, \
         `.kube/config`, private SSH keys, `*.pem` with `key` or `private` in their name, `*.p12`, `*.pfx`, `*.ppk`. Only \
         what ends up in the last stage counts, and what comes from the context.",
        Example::of("FROM node:24\nCOPY package.json .npmrc ./\nRUN npm ci\n"),
        Example::of(
            "FROM node:24\nCOPY package.json ./\nRUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci\n",
        ),
        None,
    ),
    rule(
        "UnpinnedBase",
        Severity::Note,
        "A base image is named with a tag that is not `latest`",
        "Without a tag, and with `latest`, the base is another one from day to day. A tag with a version moves less, a \
         digest (`alpine:3.22@sha256:…`) not at all. Where the name comes from a variable or a named context, nothing \
         is reported.",
        Example::of("FROM alpine\nRUN apk add --no-cache git\n"),
        Example::of("FROM alpine:3.22\nRUN apk add --no-cache git\n"),
        None,
    ),
    rule(
        "UnpinnedDownload",
        Severity::Note,
        "ADD of an address has a checksum",
        "What an address gives can change, by mistake or on purpose. With `--checksum=sha256:…` the build fails \
         instead of taking something else, and the step is cached without asking the server.",
        Example::of("FROM scratch\nADD https://example.com/tool-1.2.tar.gz /tool.tar.gz\n"),
        Example::of(
            "FROM scratch\nADD \
             --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 \
             https://example.com/tool-1.2.tar.gz /tool.tar.gz\n",
        ),
        None,
    ),
    rule(
        "AptUpdateAlone",
        Severity::Warning,
        "`apt-get update` runs in the step that installs",
        "A step of its own is cached: the next build installs from lists of last month, whose files are gone from the \
         servers. Update and install belong into one RUN.",
        Example::of("FROM debian:13\nRUN apt-get update\nRUN apt-get install -y git\n"),
        Example::of("FROM debian:13\nRUN apt-get update && apt-get install -y git\n"),
        Some("joins it with the RUN that follows, where that installs"),
    ),
    rule(
        "CacheMountEmptied",
        Severity::Warning,
        "A cache mount is not emptied by the program that fills it",
        "Images of Debian and Ubuntu have `/etc/apt/apt.conf.d/docker-clean`, by which apt removes every package it \
         fetched; dnf does so by default; `apk --no-cache`, `pip --no-cache-dir`, `npm cache clean` and `… clean all` \
         say so themselves. A cache mount at that place then never holds anything.",
        Example::of(
            "FROM debian:13\nRUN --mount=type=cache,target=/var/cache/apt apt-get update && apt-get install -y git\n",
        ),
        Example::of(
            "FROM debian:13\nRUN --mount=type=cache,target=/var/cache/apt rm -f /etc/apt/apt.conf.d/docker-clean; \
             apt-get update && apt-get install -y git\n",
        ),
        Some("for apt, removes `docker-clean` in the same step"),
    ),
    rule(
        "NonReproducibleStep",
        Severity::Note,
        "A step gives the same whenever it runs",
        "The step reads the clock, describes a git tree as it happens to be, or fetches from an address that is said \
         to move (`/latest/`, `/master/`, `/main/`, `/nightly/`). Two builds of one commit then differ, and a cached \
         step hides it. Pass such values as arguments (`SOURCE_DATE_EPOCH`, a version), and fetch a version.",
        Example::of("FROM alpine:3.22\nRUN date > /built\n"),
        Example::of(
            "FROM alpine:3.22\nARG SOURCE_DATE_EPOCH\nRUN date -u -d @$SOURCE_DATE_EPOCH > /built\n",
        ),
        None,
    ),
    rule(
        "JSONArgsSyntax",
        Severity::Warning,
        "What looks like a JSON array is one",
        "JSON strings stand in double quotes. With single quotes the text is no JSON, and is passed to a shell as it \
         is, brackets included.",
        Example::of("FROM alpine\nRUN ['echo', 'x']\n"),
        Example::of("FROM alpine\nRUN [\"echo\", \"x\"]\n"),
        Some("writes double quotes"),
    ),
    rule(
        "WindowsRun",
        Severity::Error,
        "A Windows stage built on Linux has no RUN",
        "Programs for Windows cannot run here. Files are made in a Linux stage and copied; variables are set with ENV, \
         directories made with WORKDIR, archives unpacked and files fetched with ADD. The finding says which of these \
         fits. Registry changes, Windows features, services and MSI installers need a real Windows host.",
        Example::windows(
            "FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nRUN mkdir C:\\\\app\n",
        ),
        Example::windows("FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nWORKDIR C:/app\n"),
        None,
    ),
    rule(
        "WindowsPath",
        Severity::Warning,
        "Paths in a Windows stage keep their backslashes",
        "A backslash is the escape character: `WORKDIR C:\\temp\\x` means `C:tempx`, and one at the end of a line \
         continues it. Write forward slashes, double the backslashes, quote the text, or begin the file with `` # \
         escape=` ``. A path such as `/c/app` is a directory named `c`, not the drive.",
        Example::windows(
            "FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nWORKDIR C:\\temp\\x\n",
        ),
        Example::windows("FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nWORKDIR C:/temp/x\n"),
        Some("writes forward slashes in WORKDIR, VOLUME, COPY and ADD"),
    ),
    rule(
        "WindowsChown",
        Severity::Warning,
        "COPY into a Windows image has no `--chown`",
        "Windows has no numeric owners; the flag does nothing there.",
        Example::windows(
            "FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nCOPY --chown=1000:1000 app.exe C:/\n",
        ),
        Example::windows("FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nCOPY app.exe C:/\n"),
        Some("takes the flag out"),
    ),
    rule(
        "WindowsCommandForms",
        Severity::Warning,
        "ENTRYPOINT and CMD of a Windows image have the same form",
        "The shell form is one command line, the exec form a list of arguments; Windows cannot put one after the \
         other.",
        Example::windows(
            "FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nENTRYPOINT [\"app.exe\"]\nCMD verbose\n",
        ),
        Example::windows(
            "FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nENTRYPOINT [\"app.exe\"]\nCMD [\"verbose\"]\n",
        ),
        None,
    ),
    rule(
        "WindowsDefaultPath",
        Severity::Warning,
        "PATH of a Windows base is in its registry",
        "The configuration of Microsoft's base images has no PATH. `ENV PATH=C:\\app;$PATH` takes the one that this \
         base is known to have; check that it is right, or write it out.",
        Example::windows(
            "FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nENV PATH=\"C:\\\\app;$PATH\"\n",
        ),
        Example::windows(
            "FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nENV \
             PATH=\"C:\\\\app;C:\\\\Windows\\\\system32;C:\\\\Windows\"\n",
        ),
        None,
    ),
];
