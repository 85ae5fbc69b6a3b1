//! `--output`, `--push` and `--load`.

use std::path::PathBuf;

use build_api::{Annotation, ArchiveFormat, Compression, Destination, ImageOutput, OutputSpec};
use oci::Reference;

use super::text::{boolean, fields};
use super::values::{output_annotation, reference};
use super::{Surroundings, UsageError};
use crate::args::BuildArgs;

const FLAG: &str = "--output";
const TYPES: [&str; 7] = ["image", "registry", "oci", "docker", "tar", "local", "cacheonly"];

/// All places the result goes to. None given means the local store, if it has a name.
pub(crate) fn outputs(
    args: &BuildArgs,
    tags: &[Reference],
    annotations: &[Annotation],
    around: &Surroundings<'_>,
) -> Result<Vec<OutputSpec>, UsageError> {
    let mut outputs = args.output.iter().map(|text| output(text)).collect::<Result<Vec<_>, _>>()?;
    if args.push == Some(true) {
        let mut images = outputs
            .iter_mut()
            .filter_map(
                |output| if let OutputSpec::Image(image) = output { Some(image) } else { None },
            )
            .peekable();
        if images.peek().is_none() {
            outputs.push(OutputSpec::Image(ImageOutput {
                push: true,
                store: true,
                ..ImageOutput::default()
            }));
        } else {
            images.for_each(|image| image.push = true);
        }
    }
    if args.load == Some(true)
        && !outputs.iter().any(|output| matches!(output, OutputSpec::Load(_)))
    {
        outputs.push(OutputSpec::Load(ImageOutput { store: true, ..ImageOutput::default() }));
    }
    check(&outputs, tags, around)?;
    if outputs.is_empty() {
        outputs.push(OutputSpec::Image(ImageOutput { store: true, ..ImageOutput::default() }));
    }
    if args.keep_foreign_layers {
        outputs.iter_mut().filter_map(image_of_mut).for_each(|it| it.keep_foreign_layers = true);
    }
    if !annotations.is_empty() && !outputs.iter().any(|output| image_of(output).is_some()) {
        return Err(UsageError::new(
            "--annotation is given, but no output makes an image",
            "add `--output type=image`",
        ));
    }
    Ok(outputs)
}

fn image_of(output: &OutputSpec) -> Option<&ImageOutput> {
    match output {
        OutputSpec::Image(image) | OutputSpec::Load(image) | OutputSpec::Archive { image, .. } => {
            Some(image)
        }
        OutputSpec::Tar { .. } | OutputSpec::Local { .. } | OutputSpec::CacheOnly => None,
    }
}

fn image_of_mut(output: &mut OutputSpec) -> Option<&mut ImageOutput> {
    match output {
        OutputSpec::Image(image) | OutputSpec::Load(image) | OutputSpec::Archive { image, .. } => {
            Some(image)
        }
        OutputSpec::Tar { .. } | OutputSpec::Local { .. } | OutputSpec::CacheOnly => None,
    }
}

/// What can only be judged with all of them in sight.
fn check(
    outputs: &[OutputSpec],
    tags: &[Reference],
    around: &Surroundings<'_>,
) -> Result<(), UsageError> {
    for output in outputs {
        if let OutputSpec::Image(image) = output
            && image.push
            && image.names.is_empty()
            && tags.is_empty()
        {
            return Err(UsageError::new(
                "there is no name to push to",
                "add `--tag REGISTRY/NAME:TAG`",
            ));
        }
    }
    let to_stdout = outputs.iter().filter(|output| {
        matches!(
            output,
            OutputSpec::Tar { dest: Destination::Stdout, .. }
                | OutputSpec::Archive { dest: Destination::Stdout, .. }
        )
    });
    match to_stdout.count() {
        0 => Ok(()),
        1 if around.stdout_is_terminal => Err(UsageError::new(
            "--output: an archive would be written to the terminal",
            "add `dest=FILE`, or send standard output to a file",
        )),
        1 => Ok(()),
        _ => Err(UsageError::new(
            "--output: two outputs go to standard output",
            "give all but one a `dest=FILE`",
        )),
    }
}

/// The keys of one output, as they come.
#[derive(Default)]
struct Keys {
    kind: Option<String>,
    dest: Option<String>,
    tar: Option<bool>,
    platform_split: Option<bool>,
    push: Option<bool>,
    /// Keys that only some types take, to refuse them elsewhere.
    for_images: Vec<String>,
    image: ImageOutput,
    store: Option<bool>,
    named: bool,
}

/// One `--output`: fields, or a directory, or `-` for a tar on standard output.
pub(crate) fn output(text: &str) -> Result<OutputSpec, UsageError> {
    let fields = fields(FLAG, text)?;
    if let [field] = fields.as_slice()
        && !field.starts_with("type=")
    {
        return match field.as_str() {
            "" => {
                Err(UsageError::new("--output is empty", "write `type=TYPE`, a directory, or `-`"))
            }
            "-" => Ok(OutputSpec::Tar { dest: Destination::Stdout, platform_split: None }),
            directory => {
                Ok(OutputSpec::Local { dest: PathBuf::from(directory), platform_split: None })
            }
        };
    }
    let mut keys = Keys::default();
    for field in &fields {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            UsageError::new(
                format!("{FLAG}: `{field}` has no value"),
                "fields are written `key=value`, separated by commas",
            )
        })?;
        take(&mut keys, key.trim(), value)?;
    }
    finish(keys)
}

fn take(keys: &mut Keys, key: &str, value: &str) -> Result<(), UsageError> {
    if let Some(annotation) = output_annotation(FLAG, key, value)? {
        keys.image.annotations.push(annotation);
        keys.for_images.push("annotation".to_owned());
        return Ok(());
    }
    let lower = key.to_lowercase();
    let flag = |value| boolean(FLAG, &lower, value);
    match lower.as_str() {
        "type" => keys.kind = Some(value.to_owned()),
        "dest" => keys.dest = Some(value.to_owned()),
        "tar" => keys.tar = Some(flag(value)?),
        "platform-split" => keys.platform_split = Some(flag(value)?),
        "push" => keys.push = Some(flag(value)?),
        "push-by-digest" => keys.image.push_by_digest = flag(value)?,
        "store" => keys.store = Some(flag(value)?),
        "name" => {
            for name in value.split(',').filter(|name| !name.is_empty()) {
                keys.image.names.push(reference(FLAG, name)?);
                let last = name.rsplit('/').next().unwrap_or(name);
                keys.named |= last.contains(':');
            }
        }
        "compression" => {
            keys.image.compression = match value {
                "gzip" => Compression::Gzip,
                "zstd" => Compression::Zstd,
                "estargz" => Compression::EStargz,
                "uncompressed" => Compression::Uncompressed,
                other => {
                    return Err(UsageError::new(
                        format!("{FLAG}: there is no compression `{other}`"),
                        "compressions are gzip, zstd, estargz and uncompressed",
                    ));
                }
            }
        }
        "compression-level" => {
            let level = value.parse().map_err(|_| {
                UsageError::new(
                    format!("{FLAG}: `{key}={value}` is not a number"),
                    "write a number",
                )
            })?;
            keys.image.compression_level = Some(level);
        }
        "force-compression" => keys.image.force_compression = flag(value)?,
        "prefer-nondist-layers" => keys.image.keep_foreign_layers = flag(value)?,
        "oci-mediatypes" => keys.image.oci_media_types = Some(flag(value)?),
        "rewrite-timestamp" => keys.image.rewrite_timestamp = flag(value)?,
        other => {
            const KNOWN: [&str; 14] = [
                "type",
                "dest",
                "tar",
                "platform-split",
                "push",
                "push-by-digest",
                "store",
                "name",
                "compression",
                "compression-level",
                "force-compression",
                "oci-mediatypes",
                "prefer-nondist-layers",
                "rewrite-timestamp",
            ];
            let hint = report::did_you_mean(other, KNOWN).map_or_else(
                || format!("keys are {} and annotation.KEY", KNOWN.join(", ")),
                |guess| format!("did you mean {guess}?"),
            );
            return Err(UsageError::new(format!("{FLAG}: there is no key `{other}`"), hint));
        }
    }
    if !matches!(lower.as_str(), "type" | "dest" | "tar" | "platform-split") {
        keys.for_images.push(lower);
    }
    Ok(())
}

fn finish(mut keys: Keys) -> Result<OutputSpec, UsageError> {
    let kind = keys.kind.take().ok_or_else(|| {
        UsageError::new("--output has no type", format!("types are {}", TYPES.join(", ")))
    })?;
    let refuse = |key: &str| {
        Err(UsageError::new(format!("--output type={kind} takes no key `{key}`"), "leave it out"))
    };
    let is_image = matches!(kind.as_str(), "image" | "registry" | "oci" | "docker");
    if let Some(key) = keys.for_images.first().filter(|_| !is_image) {
        return refuse(key);
    }
    if keys.platform_split.is_some() && !matches!(kind.as_str(), "tar" | "local") {
        return refuse("platform-split");
    }
    if keys.tar.is_some() && !matches!(kind.as_str(), "oci" | "docker") {
        return refuse("tar");
    }
    if keys.dest.is_some() && matches!(kind.as_str(), "image" | "registry" | "cacheonly") {
        return refuse("dest");
    }
    if let Some(key) = keys
        .for_images
        .iter()
        .find(|key| matches!(key.as_str(), "push" | "push-by-digest" | "store"))
        && matches!(kind.as_str(), "oci" | "docker")
    {
        return refuse(key);
    }
    level(&keys.image)?;
    let dest = |dest: Option<String>| match dest.as_deref() {
        None | Some("-") => Destination::Stdout,
        Some(path) => Destination::Path(PathBuf::from(path)),
    };
    Ok(match kind.as_str() {
        "image" | "registry" => {
            let push = keys.push.unwrap_or(kind == "registry");
            let store = keys.store.unwrap_or(true);
            if keys.image.push_by_digest && keys.named {
                return Err(UsageError::new(
                    "--output: push-by-digest pushes no tag, but the name has one",
                    "write the name without `:TAG`",
                ));
            }
            OutputSpec::Image(ImageOutput {
                push: push || keys.image.push_by_digest,
                store,
                ..keys.image
            })
        }
        "docker" if keys.dest.is_none() && keys.tar != Some(false) => {
            OutputSpec::Load(ImageOutput { store: true, ..keys.image })
        }
        "oci" | "docker" => {
            let format = if kind == "oci" { ArchiveFormat::Oci } else { ArchiveFormat::Docker };
            let tar = keys.tar.unwrap_or(true);
            let dest = dest(keys.dest);
            if !tar && dest == Destination::Stdout {
                return Err(UsageError::new(
                    format!("--output type={kind},tar=false writes a directory, but names none"),
                    "add `dest=DIRECTORY`",
                ));
            }
            OutputSpec::Archive { image: keys.image, format, dest, tar }
        }
        "tar" => OutputSpec::Tar { dest: dest(keys.dest), platform_split: keys.platform_split },
        "local" => match dest(keys.dest) {
            Destination::Path(dest) => {
                OutputSpec::Local { dest, platform_split: keys.platform_split }
            }
            Destination::Stdout => {
                return Err(UsageError::new(
                    "--output type=local names no directory",
                    "add `dest=DIRECTORY`",
                ));
            }
        },
        "cacheonly" => OutputSpec::CacheOnly,
        other => {
            let hint = report::did_you_mean(other, TYPES).map_or_else(
                || format!("types are {}", TYPES.join(", ")),
                |guess| format!("did you mean {guess}?"),
            );
            return Err(UsageError::new(format!("--output: there is no type `{other}`"), hint));
        }
    })
}

/// Each compression has its own levels.
fn level(image: &ImageOutput) -> Result<(), UsageError> {
    let Some(level) = image.compression_level else { return Ok(()) };
    let (name, levels) = match image.compression {
        Compression::Gzip => ("gzip", 0..=9),
        Compression::EStargz => ("estargz", 0..=9),
        Compression::Zstd => ("zstd", 0..=22),
        Compression::Uncompressed => {
            return Err(UsageError::new(
                "--output: `compression=uncompressed` has no levels",
                "leave out `compression-level`",
            ));
        }
    };
    if levels.contains(&level) {
        return Ok(());
    }
    Err(UsageError::new(
        format!("--output: {name} has no compression level {level}"),
        format!("its levels are {} to {}", levels.start(), levels.end()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_understood() -> Result<(), UsageError> {
        let image = ImageOutput { store: true, ..ImageOutput::default() };
        assert_eq!(output("type=image")?, OutputSpec::Image(image.clone()));
        assert_eq!(
            output("type=registry")?,
            OutputSpec::Image(ImageOutput { push: true, ..image.clone() })
        );
        assert_eq!(
            output("type=registry,push=false,store=false")?,
            OutputSpec::Image(ImageOutput::default())
        );
        assert_eq!(output("type=docker")?, OutputSpec::Load(image));
        assert_eq!(output("type=cacheonly")?, OutputSpec::CacheOnly);
        assert_eq!(output("out")?, OutputSpec::Local { dest: "out".into(), platform_split: None });
        assert_eq!(
            output("-")?,
            OutputSpec::Tar { dest: Destination::Stdout, platform_split: None }
        );
        assert_eq!(
            output("type=local,dest=out,platform-split=true")?,
            OutputSpec::Local { dest: "out".into(), platform_split: Some(true) }
        );
        assert_eq!(
            output("type=tar,dest=a.tar")?,
            OutputSpec::Tar { dest: Destination::Path("a.tar".into()), platform_split: None }
        );
        let archive = |format, dest, tar| OutputSpec::Archive {
            image: ImageOutput::default(),
            format,
            dest,
            tar,
        };
        assert_eq!(output("type=oci")?, archive(ArchiveFormat::Oci, Destination::Stdout, true));
        assert_eq!(
            output("type=oci,tar=false,dest=d")?,
            archive(ArchiveFormat::Oci, Destination::Path("d".into()), false)
        );
        assert_eq!(
            output("type=docker,dest=-")?,
            archive(ArchiveFormat::Docker, Destination::Stdout, true)
        );
        Ok(())
    }

    #[test]
    fn image_keys_are_understood() -> Result<(), UsageError> {
        let text = "type=image,\"name=a,example.com/b:1\",push=true,compression=zstd,compression-level=19,force-compression=true,\
                    oci-mediatypes=false,rewrite-timestamp=true,annotation-index.Some.Key=v";
        let OutputSpec::Image(image) = output(text)? else { panic!("an image") };
        assert_eq!(
            image.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
            ["a:latest", "example.com/b:1"]
        );
        assert!(image.push && image.force_compression && image.rewrite_timestamp);
        assert_eq!(
            (image.compression, image.compression_level, image.oci_media_types),
            (Compression::Zstd, Some(19), Some(false))
        );
        assert_eq!(image.annotations[0].key, "Some.Key");
        Ok(())
    }

    #[test]
    fn nothing_is_accepted_and_ignored() {
        for text in [
            "",
            "type=",
            "type=ocy",
            "dest=a,push=true",
            "type=image,dest=a",
            "type=image,colour=red",
            "type=image,push",
            "type=image,push=maybe",
            "type=image,name=UPPER",
            "type=image,compression=lzma",
            "type=image,compression-level=10",
            "type=image,compression=zstd,compression-level=23",
            "type=image,compression=uncompressed,compression-level=1",
            "type=image,name=a:1,push-by-digest=true",
            "type=local",
            "type=local,dest=-",
            "type=local,dest=a,compression=gzip",
            "type=local,dest=a,tar=true",
            "type=tar,annotation.a=b",
            "type=oci,dest=a,push=true",
            "type=oci,tar=false",
            "type=docker,platform-split=true",
            "type=cacheonly,dest=a",
        ] {
            assert!(output(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_gets_a_suggestion() {
        let hint = |text: &str| output(text).err().and_then(|error| error.hint);
        assert_eq!(hint("type=regystry").as_deref(), Some("did you mean registry?"));
        assert_eq!(
            hint("type=image,compresion=zstd").as_deref(),
            Some("did you mean compression?")
        );
    }
}
