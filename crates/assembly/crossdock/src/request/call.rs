//! `--call=METHOD[,format=FORMAT]` and `--check`.

use super::UsageError;
use crate::args::BuildArgs;

/// What a build command is asked for in place of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Check,
    Outline,
    Targets,
    Describe,
}

/// A call, and how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) json: bool,
    /// Whether the exit code tells nothing of what was found.
    pub(crate) ignore_status: bool,
}

/// The call of a command line; `None` where it is to build.
pub(crate) fn call(args: &BuildArgs) -> Result<Option<Call>, UsageError> {
    let checks = args.check == Some(true);
    let Some(text) = args.call.as_deref().filter(|text| !text.is_empty()) else {
        let check = Call { method: Method::Check, json: false, ignore_status: false };
        return Ok(checks.then_some(check));
    };
    let wrong = |message: String| {
        UsageError::new(
            format!("--call {text}: {message}"),
            "it is build, check, outline, targets or subrequests.describe, with `,format=json` or `,format=text`",
        )
    };
    let mut parts = text.split(',');
    let method = match parts.next().unwrap_or_default() {
        "build" => None,
        "check" | "lint" => Some(Method::Check),
        "outline" => Some(Method::Outline),
        "targets" => Some(Method::Targets),
        "subrequests.describe" => Some(Method::Describe),
        other => return Err(wrong(format!("`{other}` is not known"))),
    };
    if checks && method != Some(Method::Check) {
        return Err(wrong("--check asks for something else".to_owned()));
    }
    let (mut json, mut ignore_status) = (false, false);
    for part in parts {
        match part.split_once('=').unwrap_or((part, "true")) {
            ("format", "json") => json = true,
            ("format", "text") => json = false,
            ("ignorestatus", "true" | "1") => ignore_status = true,
            ("ignorestatus", "false" | "0") => ignore_status = false,
            _ => return Err(wrong(format!("`{part}` is not known"))),
        }
    }
    Ok(method.map(|method| Call { method, json, ignore_status }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: Option<&str>, check: bool) -> Result<Option<Call>, UsageError> {
        let call = text.map(str::to_owned);
        super::call(&BuildArgs { call, check: check.then_some(true), ..BuildArgs::default() })
    }

    #[test]
    fn calls_are_read_as_buildx_writes_them() -> Result<(), UsageError> {
        let call = |method, json| Some(Call { method, json, ignore_status: false });
        assert_eq!(of(None, false)?, None);
        assert_eq!(of(Some("build"), false)?, None);
        assert_eq!(of(None, true)?, call(Method::Check, false));
        assert_eq!(of(Some("check,format=json"), true)?, call(Method::Check, true));
        assert_eq!(of(Some("outline,format=text"), false)?, call(Method::Outline, false));
        assert_eq!(of(Some("targets,format=json"), false)?, call(Method::Targets, true));
        assert_eq!(of(Some("subrequests.describe"), false)?, call(Method::Describe, false));
        let silent = of(Some("lint,ignorestatus=true"), false)?;
        assert!(silent.is_some_and(|call| call.ignore_status));
        for wrong in ["nothing", "check,format=xml", "check,x"] {
            assert!(of(Some(wrong), false).is_err(), "{wrong}");
        }
        assert!(of(Some("targets"), true).is_err());
        Ok(())
    }
}
