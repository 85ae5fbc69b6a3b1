//! The rules that BuildKit has too, under its names.

use super::{Example, Origin, Rule, Severity};

const fn rule(
    id: &'static str,
    url: &'static str,
    summary: &'static str,
    why: &'static str,
    triggers: &'static str,
    fine: &'static str,
    fix: Option<&'static str>,
) -> Rule {
    Rule {
        id,
        severity: Severity::Warning,
        origin: Origin::BuildKit,
        experimental: false,
        summary,
        why,
        url: Some(url),
        triggers: Example::of(triggers),
        fine: Example::of(fine),
        fix,
    }
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "StageNameCasing",
        "stage-name-casing",
        "A stage's name is written in lower case",
        "Stage names are compared without regard to case, so `COPY --from=build` finds `AS Build` too. Capitals only \
         suggest a difference that is not there.",
        "FROM alpine AS Builder\n",
        "FROM alpine AS builder\n",
        Some("writes the name in lower case"),
    ),
    rule(
        "FromAsCasing",
        "from-as-casing",
        "`AS` is written in the same case as `FROM`",
        "Both belong to one instruction; a file in which they differ reads as if one were a name.",
        "FROM alpine as builder\n",
        "FROM alpine AS builder\n",
        Some("writes `AS` in the case of `FROM`"),
    ),
    rule(
        "NoEmptyContinuation",
        "no-empty-continuation",
        "No empty line stands between the lines of one instruction",
        "An empty line after a line that continues is skipped today and is to become an error. It also looks like the \
         end of the instruction, which it is not. A line with a comment may stand there.",
        "FROM alpine\nRUN apk add --no-cache git && \\\n\n    git --version\n",
        "FROM alpine\nRUN apk add --no-cache git && \\\n    git --version\n",
        Some("takes the empty lines out"),
    ),
    rule(
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All instructions are written in the same case",
        "Instructions may be upper or lower case; within one file they are one or the other. The case that most \
         instructions have is taken for the right one, upper case when there are as many of both.",
        "FROM alpine\nWORKDIR /src\ncopy . .\n",
        "FROM alpine\nWORKDIR /src\nCOPY . .\n",
        Some("writes the instruction in the case of the others"),
    ),
    rule(
        "DuplicateStageName",
        "duplicate-stage-name",
        "No two stages have the same name",
        "The later stage hides the earlier one: what is built and copied from depends on where the name is used.",
        "FROM alpine AS build\nFROM debian:13 AS build\n",
        "FROM alpine AS build\nFROM debian:13 AS final\n",
        None,
    ),
    rule(
        "ReservedStageName",
        "reserved-stage-name",
        "No stage is named `scratch` or `context`",
        "`FROM scratch` is the empty image and `context` the main build context; a stage of that name cannot be used.",
        "FROM alpine AS scratch\n",
        "FROM alpine AS base\n",
        None,
    ),
    rule(
        "JSONArgsRecommended",
        "json-args-recommended",
        "CMD and ENTRYPOINT are written as JSON arrays",
        "In shell form the program runs below a shell, which gets the signals and does not pass them on: the container \
         is killed after its grace period instead of ending by itself. Where a shell is meant, say so with `SHELL`, or \
         name it in the array.",
        "FROM alpine\nCMD my-server --port 80\n",
        "FROM alpine\nCMD [\"my-server\", \"--port\", \"80\"]\n",
        Some("writes a command of plain words as an array; one that needs a shell is left alone"),
    ),
    rule(
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The author is a label, not MAINTAINER",
        "MAINTAINER is deprecated; the label `org.opencontainers.image.authors` says the same, and more can be said \
         beside it.",
        "FROM alpine\nMAINTAINER someone@example.com\n",
        "FROM alpine\nLABEL org.opencontainers.image.authors=\"someone@example.com\"\n",
        Some("writes the label"),
    ),
    rule(
        "UndefinedArgInFrom",
        "undefined-arg-in-from",
        "FROM uses arguments that are declared before it",
        "Only ARG instructions before the first FROM, and the arguments that are always there such as \
         `BUILDPLATFORM`, have a value in FROM. Any other is empty.",
        "FROM alpine:3.22${SUFFIX}\n",
        "ARG SUFFIX=\nFROM alpine:3.22${SUFFIX}\n",
        None,
    ),
    rule(
        "WorkdirRelativePath",
        "workdir-relative-path",
        "The first WORKDIR of a stage is absolute",
        "A relative directory continues the one of the base image. When the base changes its own, files end up \
         elsewhere.",
        "FROM nginx:1.29\nWORKDIR usr/share/nginx/html\n",
        "FROM nginx:1.29\nWORKDIR /usr/share/nginx/html\n",
        None,
    ),
    rule(
        "UndefinedVar",
        "undefined-var",
        "Variables are defined before they are used",
        "A variable that nobody sets is empty. An ARG before the first FROM is not seen in a stage until the stage \
         declares it too. What a base image sets is known only when it is asked for (`crossdock check --resolve`); \
         without that, variables that an image may define are not reported.",
        "ARG VERSION=1\nFROM scratch\nCOPY app-$VERSION /app\n",
        "ARG VERSION=1\nFROM scratch\nARG VERSION\nCOPY app-$VERSION /app\n",
        None,
    ),
    rule(
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "A stage has one CMD, one ENTRYPOINT and one HEALTHCHECK",
        "Only the last counts. The earlier one looks as if it did something.",
        "FROM alpine\nCMD [\"first\"]\nCMD [\"second\"]\n",
        "FROM alpine\nCMD [\"second\"]\n",
        Some("takes out the instruction that does not count"),
    ),
    rule(
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "ENV and LABEL are written with `=`",
        "`ENV NAME value` takes the rest of the line for the value and allows one variable only.",
        "FROM alpine\nENV DIR /var/lib/app\n",
        "FROM alpine\nENV DIR=/var/lib/app\n",
        Some("writes `NAME=value`, with quotes where there are spaces"),
    ),
    Rule {
        url: None,
        triggers: Example {
            platform: "linux/arm64",
            base_has: &["linux/amd64"],
            ..Example::of("FROM registry.example.com/tools:1\nRUN make\n")
        },
        fine: Example {
            platform: "linux/amd64",
            base_has: &["linux/amd64"],
            ..Example::of("FROM registry.example.com/tools:1\nRUN make\n")
        },
        ..rule(
            "InvalidBaseImagePlatform",
            "",
            "The base image is for the platform that is built for",
            "An image without an index is used whatever it is for. Its programs then run emulated, or not at all, and \
             the result says it is for a platform that it is not for. Needs the image's configuration: \
             `crossdock check --resolve`, and every build.",
            "",
            "",
            None,
        )
    },
    rule(
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "FROM does not set the platform that is the default",
        "`--platform=$TARGETPLATFORM` is what happens without it.",
        "FROM --platform=$TARGETPLATFORM alpine\n",
        "FROM alpine\n",
        Some("takes the flag out"),
    ),
    rule(
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "No ARG or ENV is named like a secret",
        "Both stay in the image: ENV in its configuration, ARG in its history. Give a secret to the step that needs \
         it, with `RUN --mount=type=secret,id=…`. Names count that have one of these words between underscores: \
         apikey, auth, credential, credentials, key, password, pword, passwd, secret, token; unless one of public, \
         file, version is beside it.",
        "FROM alpine\nARG NPM_TOKEN\nRUN npm ci\n",
        "FROM alpine\nRUN --mount=type=secret,id=npm,env=NPM_AUTH npm ci\n",
        None,
    ),
    rule(
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "FROM names an image even if no argument is given",
        "An ARG without a default leaves a hole in the name. Everybody who builds has to know what to pass.",
        "ARG TAG\nFROM alpine:${TAG}\n",
        "ARG TAG=3.22\nFROM alpine:${TAG}\n",
        None,
    ),
    rule(
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM does not name a fixed platform",
        "A stage for a fixed platform is the same whatever is built for. A compiler's stage takes \
         `$BUILDPLATFORM`; a stage that is meant for one platform has that platform in its name, as in `AS \
         build-arm64`.",
        "FROM --platform=linux/amd64 alpine AS tools\n",
        "FROM --platform=$BUILDPLATFORM alpine AS tools\n",
        None,
    ),
    Rule {
        triggers: Example { ignore: &["*.md"], ..Example::of("FROM scratch\nCOPY README.md /\n") },
        fine: Example { ignore: &["*.log"], ..Example::of("FROM scratch\nCOPY README.md /\n") },
        ..rule(
            "CopyIgnoredFile",
            "copy-ignored-file",
            "COPY and ADD do not name what `.dockerignore` leaves out",
            "The file is not in the context, so the step fails. Where patterns with `!` take something back, nothing \
             is reported.",
            "",
            "",
            None,
        )
    },
    Rule {
        experimental: true,
        ..rule(
            "InvalidDefinitionDescription",
            "invalid-definition-description",
            "A comment above a stage or argument describes it",
            "`--call=outline` and `--call=targets` show such a comment as description. It begins with the name of the \
             stage or argument. Another comment is kept apart by an empty line. This rule is experimental: it speaks \
             where `# check=experimental=InvalidDefinitionDescription` asks for it.",
            "# check=experimental=InvalidDefinitionDescription\n\n# where it begins\nFROM alpine AS base\n",
            "# check=experimental=InvalidDefinitionDescription\n\n# base is where it begins\nFROM alpine AS base\n",
            None,
        )
    },
    rule(
        "ExposeProtoCasing",
        "expose-proto-casing",
        "EXPOSE names its protocol in lower case",
        "Configurations have it in lower case.",
        "FROM alpine\nEXPOSE 80/TCP\n",
        "FROM alpine\nEXPOSE 80/tcp\n",
        Some("writes the protocol in lower case"),
    ),
    rule(
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "EXPOSE names ports of the container only",
        "Addresses and ports of the host are a matter of running the container; here they do nothing and are to become \
         an error.",
        "FROM alpine\nEXPOSE 127.0.0.1:8080:80\n",
        "FROM alpine\nEXPOSE 80\n",
        Some("leaves the container's port"),
    ),
];
