//! Devices by name: the machine's specifications in the format of the Container Device Interface (version 1.1 of the
//! specification, JSON or YAML), and what a step gets for each.
//!
//! What cannot be done here is refused by name: hooks would run programs of the machine as root, and ids, rights and
//! network devices cannot be given to a step whose root is nobody outside.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::step::{Mount, MountKind};

/// Where specifications are by the standard; later directories are stronger.
pub const CDI_DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// Bytes of a specification.
const MAX_FILE: u64 = 1 << 20;
/// Files of all directories.
const MAX_FILES: usize = 500;
/// Devices of all files.
const MAX_DEVICES: usize = 5_000;
/// The annotation by which a class of devices is asked for, as in BuildKit.
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// Why a device cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CdiError {
    /// No specification has it.
    #[error("no device `{name}` is known on this machine{others}")]
    Unknown {
        /// As asked for.
        name: String,
        /// What went wrong with specifications, which may be the reason.
        others: String,
    },
    /// Two specifications of one directory have it.
    #[error("device `{0}` stands in two specifications of the same directory")]
    Twice(String),
    /// Its specification asks for what cannot be done.
    #[error("device `{name}` ({file}): {reason}")]
    Unusable {
        /// Of the device.
        name: String,
        /// Of the specification.
        file: String,
        /// What.
        reason: String,
    },
}

/// What a step gets for a device.
#[derive(Clone, Debug, Default)]
pub struct DeviceEdits {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Device nodes and files.
    pub mounts: Vec<Mount>,
}

/// All devices that are known.
#[derive(Debug, Default)]
pub struct Devices {
    by_name: BTreeMap<String, Known>,
    wrong: Vec<String>,
}

#[derive(Clone, Debug)]
struct Known {
    file: PathBuf,
    /// Of the whole specification, then of the device.
    edits: [Edits; 2],
    class: Option<String>,
    twice: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specification {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<FileMount>,
    hooks: Vec<serde::de::IgnoredAny>,
    net_devices: Vec<serde::de::IgnoredAny>,
    additional_gids: Vec<u32>,
    intel_rdt: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: Option<String>,
    permissions: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FileMount {
    host_path: String,
    container_path: String,
    options: Vec<String>,
}

impl Devices {
    /// Reads all specifications of the directories; those that are none are left out and told of when a device is not
    /// found.
    pub fn read<P: AsRef<Path>>(directories: &[P]) -> Self {
        let mut devices = Self::default();
        let mut files = 0;
        for directory in directories {
            // A directory that is not there has nothing.
            let Ok(entries) = fs_err::read_dir(directory.as_ref()) else { continue };
            let mut paths: Vec<PathBuf> = entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| {
                    let known = ["json", "yaml", "yml"];
                    path.extension().and_then(OsStr::to_str).is_some_and(|it| known.contains(&it))
                })
                .take(MAX_FILES)
                .collect();
            paths.sort();
            let mut here = BTreeSet::new();
            for path in paths {
                files += 1;
                if files > MAX_FILES {
                    devices.wrong.push(format!("there are more than {MAX_FILES} specifications"));
                    return devices;
                }
                match specification(&path) {
                    Ok(found) => devices.add(&path, found, &mut here),
                    Err(error) => {
                        let first: String =
                            error.lines().next().unwrap_or_default().chars().take(200).collect();
                        devices.wrong.push(format!("{}: {first}", path.display()));
                    }
                }
            }
        }
        devices
    }

    fn add(&mut self, path: &Path, found: Specification, here: &mut BTreeSet<String>) {
        for device in found.devices {
            if self.by_name.len() >= MAX_DEVICES {
                self.wrong.push(format!("there are more than {MAX_DEVICES} devices"));
                return;
            }
            let name = format!("{}={}", found.kind, device.name);
            let class = device.annotations.get(CLASS).or_else(|| found.annotations.get(CLASS));
            let known = Known {
                file: path.to_owned(),
                edits: [found.container_edits.clone(), device.container_edits],
                class: class.cloned(),
                twice: !here.insert(name.clone()),
            };
            self.by_name.insert(name, known);
        }
    }

    /// What a step gets for `name`: `vendor/class=device`, `vendor/class=*` for all of a kind, `vendor/class` for the
    /// first one, or a class that devices are annotated with.
    pub fn find(&self, name: &str) -> Result<DeviceEdits, CdiError> {
        let (kind, device) = name.split_once('=').unwrap_or((name, ""));
        let of_kind = |known: &&str| known.split_once('=').is_some_and(|(it, _)| it == kind);
        let names = self.by_name.keys().map(String::as_str);
        let mut found: Vec<&str> = match device {
            "" => names.filter(of_kind).take(1).collect(),
            "*" => names.filter(of_kind).collect(),
            _ => names.filter(|known| *known == name).collect(),
        };
        if found.is_empty() {
            let of_class = |(_, known): &(&String, &Known)| known.class.as_deref() == Some(name);
            found = self.by_name.iter().filter(of_class).map(|(name, _)| name.as_str()).collect();
        }
        if found.is_empty() {
            let others = match self.wrong.as_slice() {
                [] => String::new(),
                wrong => format!("; these specifications are wrong: {}", wrong.join("; ")),
            };
            return Err(CdiError::Unknown { name: name.to_owned(), others });
        }
        let mut all = DeviceEdits::default();
        for name in found {
            let Some(known) = self.by_name.get(name) else { continue };
            if known.twice {
                return Err(CdiError::Twice(name.to_owned()));
            }
            for edits in &known.edits {
                edits.apply(&mut all).map_err(|reason| CdiError::Unusable {
                    name: name.to_owned(),
                    file: known.file.display().to_string(),
                    reason,
                })?;
            }
        }
        Ok(all)
    }
}

impl Edits {
    fn apply(&self, all: &mut DeviceEdits) -> Result<(), String> {
        for (what, there) in [
            ("hooks, which would run programs of the machine", !self.hooks.is_empty()),
            ("network devices", !self.net_devices.is_empty()),
            ("additional groups", !self.additional_gids.is_empty()),
            ("a class of Intel RDT", self.intel_rdt.is_some()),
        ] {
            if there {
                return Err(format!("it asks for {what}; a step cannot have that"));
            }
        }
        for entry in &self.env {
            if entry.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
                return Err(format!("variable `{entry}` is no NAME=VALUE"));
            }
            all.env.push(entry.clone());
        }
        for node in &self.device_nodes {
            let rights = node.permissions.as_deref().unwrap_or("rwm");
            if !rights.contains('r') || !rights.contains('w') {
                return Err(format!(
                    "device node `{}` has rights `{rights}`; a step can only have `rw`",
                    node.path
                ));
            }
            let source = node.host_path.as_deref().filter(|path| !path.is_empty());
            let source = absolute(source.unwrap_or(&node.path))?.into();
            let target = absolute(&node.path)?.to_owned();
            all.mounts.push(Mount { target, kind: MountKind::Device { source } });
        }
        for mount in &self.mounts {
            let known = [
                "ro", "rw", "bind", "rbind", "nosuid", "nodev", "private", "rprivate", "slave",
                "rslave",
            ];
            if let Some(option) = mount.options.iter().find(|it| !known.contains(&it.as_str())) {
                return Err(format!(
                    "option `{option}` of the mount at `{}` is not known",
                    mount.container_path
                ));
            }
            let read_only = mount.options.iter().any(|option| option == "ro");
            all.mounts.push(Mount {
                target: absolute(&mount.container_path)?.to_owned(),
                kind: MountKind::Bind {
                    source: absolute(&mount.host_path)?.into(),
                    subpath: None,
                    read_only,
                },
            });
        }
        Ok(())
    }
}

fn absolute(path: &str) -> Result<&str, String> {
    let plain = path.starts_with('/')
        && !path.contains('\0')
        && path.split('/').all(|part| part != ".." && part != ".");
    if plain { Ok(path) } else { Err(format!("`{path}` is no absolute path")) }
}

fn specification(path: &Path) -> Result<Specification, String> {
    let mut text = String::new();
    fs_err::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    let found: Specification = if path.extension().is_some_and(|it| it == "json") {
        serde_json::from_str(&text).map_err(|error| error.to_string())?
    } else {
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())?
    };
    let version = found.cdi_version.split('.').next().unwrap_or_default();
    if !["0", "1"].contains(&version) {
        return Err(format!("version {} is not known", found.cdi_version));
    }
    let word = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let kind = found.kind.split_once('/');
    if !kind.is_some_and(|(vendor, class)| word(vendor, ".-_") && word(class, ".-_")) {
        return Err(format!("`{}` is no kind of device", found.kind));
    }
    if let Some(device) = found.devices.iter().find(|device| !word(&device.name, ".-_:")) {
        return Err(format!("`{}` is no name of a device", device.name));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Devices {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs_err::write(directory.path().join(name), text).unwrap();
        }
        Devices::read(&[directory.path()])
    }

    const GPU: &str = "cdiVersion: '0.6.0'\nkind: vendor.com/gpu\ncontainerEdits:\n  env: [ALL=1]\ndevices:\n\
                       - name: '0'\n  annotations: {org.mobyproject.buildkit.device.class: gpus}\n  containerEdits:\n    env: [GPU=0]\n    deviceNodes:\n    - path: /dev/gpu0\n      hostPath: /dev/null\n    mounts:\n    - hostPath: /usr/lib\n      containerPath: /gpu\n      options: [ro, rbind]\n- name: '1'\n  containerEdits: {env: [GPU=1]}\n";

    #[test]
    fn devices_are_found_by_name_kind_star_and_class() {
        let devices = read(&[("gpu.yaml", GPU)]);
        let env = |name: &str| devices.find(name).map(|edits| edits.env);
        let list = |items: &[&str]| Ok(items.iter().map(|item| (*item).to_owned()).collect());
        assert_eq!(env("vendor.com/gpu=1"), list(&["ALL=1", "GPU=1"]));
        assert_eq!(env("vendor.com/gpu"), list(&["ALL=1", "GPU=0"]));
        assert_eq!(env("vendor.com/gpu=*"), list(&["ALL=1", "GPU=0", "ALL=1", "GPU=1"]));
        assert_eq!(env("gpus"), list(&["ALL=1", "GPU=0"]));
        let mounts = devices.find("vendor.com/gpu=0").unwrap().mounts;
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].target, "/dev/gpu0");
        assert!(
            matches!(&mounts[0].kind, MountKind::Device { source } if source == Path::new("/dev/null"))
        );
        assert!(matches!(&mounts[1].kind, MountKind::Bind { read_only: true, .. }));
        let unknown = devices.find("vendor.com/gpu=7").unwrap_err();
        assert_eq!(unknown.to_string(), "no device `vendor.com/gpu=7` is known on this machine");
    }

    #[test]
    fn what_a_step_cannot_have_is_refused() {
        let with = |edits: &str| {
            let text = format!(
                r#"{{"cdiVersion":"1.0.0","kind":"v.com/d","devices":[{{"name":"a","containerEdits":{edits}}}]}}"#
            );
            read(&[("d.json", &text)]).find("v.com/d=a").unwrap_err().to_string()
        };
        for (edits, reason) in [
            (r#"{"hooks":[{"hookName":"createRuntime","path":"/bin/x"}]}"#, "it asks for hooks"),
            (r#"{"netDevices":[{}]}"#, "it asks for network devices"),
            (r#"{"additionalGids":[4]}"#, "it asks for additional groups"),
            (r#"{"intelRdt":{}}"#, "it asks for a class of Intel RDT"),
            (r#"{"deviceNodes":[{"path":"/dev/x","permissions":"r"}]}"#, "has rights `r`"),
            (r#"{"deviceNodes":[{"path":"dev/x"}]}"#, "is no absolute path"),
            (r#"{"mounts":[{"hostPath":"/a/../b","containerPath":"/c"}]}"#, "is no absolute path"),
            (
                r#"{"mounts":[{"hostPath":"/a","containerPath":"/c","options":["exec"]}]}"#,
                "option `exec`",
            ),
            (r#"{"env":["=x"]}"#, "is no NAME=VALUE"),
        ] {
            let message = with(edits);
            assert!(message.contains(reason) && message.contains("d.json"), "{message}");
        }
    }

    #[test]
    fn hostile_specifications_are_left_out_and_told_of() {
        let bomb = format!(
            "a: &a [x]\n{}",
            (0..40).fold(String::new(), |text, level| {
                let name = char::from(b'b' + u8::try_from(level % 20).unwrap());
                text + &format!("{name}{level}: [*a, *a, *a, *a, *a, *a, *a, *a]\n")
            })
        );
        let big = "x".repeat(2 << 20);
        let devices = read(&[
            ("bomb.yaml", &bomb),
            ("big.json", &big),
            ("deep.yaml", &"[".repeat(100_000)),
            ("kind.json", r#"{"cdiVersion":"0.5.0","kind":"../x","devices":[]}"#),
            ("version.json", r#"{"cdiVersion":"9.0.0","kind":"a/b","devices":[]}"#),
            ("gpu.yml", GPU),
            ("notes.txt", "not read"),
        ]);
        assert!(devices.find("vendor.com/gpu=0").is_ok());
        let message = devices.find("other").unwrap_err().to_string();
        for part in ["bomb.yaml", "big.json: it is larger", "deep.yaml", "is no kind", "version 9"]
        {
            assert!(message.contains(part), "{part}: {message}");
        }
        let twice = read(&[("a.yaml", GPU), ("b.yaml", GPU)]).find("vendor.com/gpu=0");
        assert_eq!(twice.unwrap_err(), CdiError::Twice("vendor.com/gpu=0".to_owned()));
    }
}
