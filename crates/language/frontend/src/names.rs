//! How a step is called.

use dockerfile::{Expand, Variables};
use oci::Platform;

use crate::budget::Budget;
use crate::env::Env;
use crate::stage::StageState;
use crate::text::append;

/// An instruction as its step's name shows it: keyword in upper case, variables replaced where that works.
pub(crate) fn shown(budget: &Budget, code: &str, how: Expand, variables: &dyn Variables) -> String {
    let text = budget.expand(code, how, variables).map(|expanded| expanded.text);
    let text = text.unwrap_or_else(|_| code.to_owned());
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}

/// `[linux/arm64 build 2/5] RUN make`. Counts one more step of the stage.
pub(crate) fn step(
    stage: &mut StageState<'_>,
    text: &str,
    platform: Option<&Platform>,
    env: &Env,
) -> String {
    if stage.step_count == 0 {
        return text.to_owned();
    }
    let mut name = "[".to_owned();
    if let Some(platform) = platform {
        append(&mut name, format_args!("{platform}{} ", cross(platform, env)));
    }
    if !stage.display.is_empty() {
        append(&mut name, format_args!("{} ", stage.display));
    }
    stage.step_index += 1;
    let width = stage.step_count.ilog10() as usize + 1;
    append(&mut name, format_args!("{:width$}/{}] ", stage.step_index, stage.step_count));
    if stage.on_trigger {
        name.push_str("ONBUILD ");
    }
    name + text
}

/// `->arm64` where a stage that runs on one platform builds for another.
fn cross(platform: &Platform, env: &Env) -> String {
    let Some(target) = target(platform, env) else { return String::new() };
    if target.os != platform.os {
        return format!("->{target}");
    }
    if target.architecture == platform.architecture {
        return String::new();
    }
    match target.variant.as_str() {
        "" => format!("->{}", target.architecture),
        variant => format!("->{}/{variant}", target.architecture),
    }
}

/// The platform that `TARGETPLATFORM` or its parts name.
fn target(platform: &Platform, env: &Env) -> Option<Platform> {
    let mut found = Platform::default();
    let mut any = false;
    for name in env.names() {
        let value = env.value(name).unwrap_or_default();
        match name {
            "TARGETPLATFORM" => {
                if let Ok(target) = value.parse() {
                    return Some(target);
                }
                continue;
            }
            "TARGETOS" => value.clone_into(&mut found.os),
            "TARGETARCH" => value.clone_into(&mut found.architecture),
            "TARGETVARIANT" => value.clone_into(&mut found.variant),
            _ => continue,
        }
        any = true;
    }
    if found.os.is_empty() {
        found.os.clone_from(&platform.os);
    }
    if found.architecture.is_empty() {
        found.architecture.clone_from(&platform.architecture);
    }
    any.then(|| found.normalized())
}
