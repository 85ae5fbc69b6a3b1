//! Build arguments that speak to the builder, and the frontend that a Dockerfile asks for.

use oci::Reference;
use report::{Diagnostic, Span};

use crate::compiler::Compiler;
use crate::options::Context;

/// Arguments that are about what this builder does not make, and what that is.
const NOT_MADE: [(&str, &str); 3] = [
    ("BUILDKIT_INLINE_CACHE", "no cache is put into images"),
    ("BUILDKIT_SBOM_SCAN_CONTEXT", "no SBOM is made"),
    ("BUILDKIT_SBOM_SCAN_STAGE", "no SBOM is made"),
];

impl Compiler<'_> {
    /// Says of build arguments that would change nothing that they do not.
    pub(crate) fn tell_builtins(&mut self) {
        for (name, what) in NOT_MADE {
            let off = ["", "0", "f", "false", "False", "FALSE", "F"];
            let on = |value: &String| !off.contains(&value.as_str());
            if self.options.build_args.get(name).is_some_and(on) {
                let message = format!("build argument {name} has no effect: {what}");
                self.report(
                    Diagnostic::warning("UnsupportedBuildArg", message, Span::default())
                        .hint("leave it out"),
                );
            }
        }
    }

    /// Why a file that is written for another frontend cannot be built: the language built in here is that of
    /// `docker/dockerfile`, whatever registry it is taken from and whichever version is named.
    pub(crate) fn frontend_refusal(&self) -> Option<Diagnostic> {
        let directive = self.file.directives.iter().find(|directive| directive.name == "syntax");
        let (name, span) = match (self.options.build_args.get("BUILDKIT_SYNTAX"), directive) {
            (Some(name), _) => (name.clone(), Span::default()),
            (None, Some(directive)) => (directive.value.clone(), directive.span),
            (None, None) => {
                let found = dockerfile::foreign_syntax(&self.file.source.text)?;
                (found.value, found.span)
            }
        };
        let name = name.split_whitespace().next().unwrap_or_default();
        let replaced = self.context_for(name).and_then(|name| self.options.contexts.get(name));
        let replaced = match replaced {
            Some(Context::Image(reference)) => Some(reference.familiar()),
            _ => None,
        };
        let asked = replaced.as_deref().unwrap_or(name);
        if asked.is_empty() || asked == "dockerfile.v0" || is_dockerfile(asked) {
            return None;
        }
        Some(Diagnostic::error(format!("the frontend {asked} cannot be used"), span).hint(
            "only the language of docker/dockerfile is known: leave the line out if the file is \
                 a Dockerfile, or build with BuildKit",
        ))
    }
}

/// `[REGISTRY/…]docker/dockerfile[-upstream|…][:TAG][@DIGEST]`.
fn is_dockerfile(name: &str) -> bool {
    let Ok(reference) = name.parse::<Reference>() else { return false };
    let mut parts = reference.repository().rsplit('/');
    let last = parts.next().unwrap_or_default();
    let family = last.strip_prefix("dockerfile");
    family.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        && parts.next() == Some("docker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_known_by_its_name_wherever_it_comes_from() {
        for name in [
            "docker/dockerfile",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "mirror.example:5000/hub/docker/dockerfile-upstream:master",
        ] {
            assert!(is_dockerfile(name), "{name}");
        }
        for name in
            ["dockerfile", "evil/dockerfile", "docker/dockerfiles", "docker/buildkit", "a b"]
        {
            assert!(!is_dockerfile(name), "{name}");
        }
    }
}
