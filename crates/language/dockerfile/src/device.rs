//! `RUN --device`.

use report::did_you_mean;

use crate::mount::{MountError, boolean, fields};

/// A device of RUN, by its name in the machine's CDI specifications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// `vendor.example/class=name`, `vendor.example/class` (the first one), or a class that devices are annotated with.
    pub name: String,
    /// Whether the step cannot do without.
    pub required: bool,
}

impl Device {
    /// Reads the value of `--device`: `NAME[,required]` or `name=NAME[,required=BOOL]`.
    pub fn parse(value: &str) -> Result<Self, MountError> {
        let mut device = Self::default();
        for field in fields(value)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value)),
                None => (field.to_lowercase(), None),
            };
            match (key.as_str(), value) {
                ("required", None) => device.required = true,
                ("required", Some(value)) => device.required = boolean("required", value)?,
                ("name", Some(_)) if !device.name.is_empty() => {
                    return Err(format!("device name already set to {}", device.name).into());
                }
                ("name", Some(value)) => value.clone_into(&mut device.name),
                _ if device.name.is_empty() => device.name = field,
                (key, Some(_)) => {
                    let mut error =
                        MountError::from(format!("unexpected key '{key}' in '{field}'"));
                    error.hint = did_you_mean(key, ["name", "required"])
                        .map(|guess| format!("did you mean {guess}?"));
                    return Err(error);
                }
                (_, None) => {
                    let message = format!("invalid field '{field}' must be a key=value pair");
                    return Err(message.into());
                }
            }
        }
        if device.name.is_empty() {
            return Err(MountError {
                message: "the device has no name".to_owned(),
                hint: Some("write --device=vendor.example/class=name".to_owned()),
            });
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_a_name_and_may_be_required() {
        let parse = |text: &str| Device::parse(text).map_err(|error| error.message);
        let device = |name: &str, required| Ok(Device { name: name.to_owned(), required });
        assert_eq!(parse("vendor.com/gpu=0,required"), device("vendor.com/gpu=0", true));
        assert_eq!(parse("name=vendor.com/gpu,required=false"), device("vendor.com/gpu", false));
        assert_eq!(parse("gpu"), device("gpu", false));
        assert_eq!(parse("gpu,requird=1"), Err("unexpected key 'requird' in 'requird=1'".into()));
        assert_eq!(parse("gpu,x"), Err("invalid field 'x' must be a key=value pair".into()));
        assert_eq!(parse("gpu,name=x"), Err("device name already set to gpu".into()));
        assert_eq!(parse("required"), Err("the device has no name".into()));
    }
}
