//! How instructions are written, for those who left something out.

/// An example of an instruction.
pub(crate) fn example(keyword: &str) -> &'static str {
    match keyword {
        "ADD" => "ADD SOURCE… DESTINATION",
        "ARG" => "ARG NAME or ARG NAME=VALUE",
        "COPY" => "COPY SOURCE… DESTINATION",
        "ENV" => "ENV NAME=VALUE",
        "EXPOSE" => "EXPOSE 8080 or EXPOSE 53/udp",
        "HEALTHCHECK" => "HEALTHCHECK CMD COMMAND or HEALTHCHECK NONE",
        "LABEL" => "LABEL NAME=VALUE",
        "MAINTAINER" => "LABEL org.opencontainers.image.authors=NAME",
        "ONBUILD" => "ONBUILD INSTRUCTION",
        "SHELL" => r#"SHELL ["/bin/bash", "-c"]"#,
        "STOPSIGNAL" => "STOPSIGNAL SIGTERM",
        "USER" => "USER NAME or USER NAME:GROUP",
        "VOLUME" => "VOLUME /DIRECTORY",
        "WORKDIR" => "WORKDIR /DIRECTORY",
        _ => "it with its arguments",
    }
}
