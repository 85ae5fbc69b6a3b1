//! Errors of the parts, as the errors of a build.

use build_api::BuildError;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Something went wrong while doing `message`.
pub(crate) fn failed<E: Into<Cause>>(message: impl Into<String>) -> impl FnOnce(E) -> BuildError {
    let message = message.into();
    move |source| BuildError::Failed { message, hint: None, source: Some(source.into()) }
}

/// As [`failed`], with a way out where one is known.
pub(crate) fn failed_with<E: Into<Cause>>(
    message: impl Into<String>,
    hint: Option<String>,
) -> impl FnOnce(E) -> BuildError {
    let message = message.into();
    move |source| BuildError::Failed { message, hint, source: Some(source.into()) }
}

/// Something is wrong, and nothing lies beneath it.
pub(crate) fn refused(message: impl Into<String>, hint: Option<&str>) -> BuildError {
    BuildError::Failed { message: message.into(), hint: hint.map(str::to_owned), source: None }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
