//! OCI image layouts: image-layout.md and manifest.md of the image-spec.

use std::collections::HashMap;
use std::env::consts;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::blobs::{Blobs, bad};
use super::config::ConfigFile;
use super::digest::Digest;
use crate::error::Result;

/// An index may name an index, but not for ever.
const DEEPEST: usize = 4;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const IMAGE_NAME: &str = "io.containerd.image.name";

/// What there is to unpack.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: ConfigFile,
    /// Lowest first.
    pub(super) layers: Vec<Layer>,
}

/// A layer by the name of its blob.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) check: Check,
}

/// What a layer is compared with.
#[derive(Debug, Clone)]
pub(super) enum Check {
    /// The digest of what is stored.
    Stored(Digest),
    /// The digest of what is stored if that is not compressed.
    Plain(Digest),
    Nothing,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// The parts of the one image that this machine can run.
pub(super) fn parts(blobs: &Blobs) -> Result<Parts> {
    let mut index: Index = parse("index.json", &blobs.document("index.json")?)?;
    for _ in 0..DEEPEST {
        let chosen = choose(&index.manifests)?;
        let bytes = verified(blobs, chosen)?;
        if !chosen.is_index() {
            return of_manifest(blobs, &parse("the manifest", &bytes)?);
        }
        index = parse("an index", &bytes)?;
    }
    Err(bad("the index names an index that names an index, and so on"))
}

fn of_manifest(blobs: &Blobs, manifest: &Manifest) -> Result<Parts> {
    let config = ConfigFile::parse(&verified(blobs, &manifest.config)?)?;
    refuse_other_machines(&config)?;
    let layers = manifest.layers.iter().map(|layer| {
        let digest: Digest = layer.digest.parse()?;
        let name = digest.blob();
        let size = blobs.get(&name)?.size;
        if size != layer.size {
            return Err(bad(format!("{name} has {size} bytes and should have {}", layer.size)));
        }
        Ok(Layer { name, check: Check::Stored(digest) })
    });
    Ok(Parts { config, layers: layers.collect::<Result<_>>()? })
}

/// Refuses an image of which no command could be executed.
pub(super) fn refuse_other_machines(config: &ConfigFile) -> Result<()> {
    let (Some(os), Some(architecture)) = (&config.os, &config.architecture) else {
        return Err(bad(
            "this is no image of a root file system: its configuration names no platform",
        ));
    };
    if (os.as_str(), architecture.as_str()) == ("linux", architecture_here()) {
        return Ok(());
    }
    let here = architecture_here();
    Err(bad(format!("the image is for {os}/{architecture}, and this machine is linux/{here}"))
        .hint("fetch the image for this platform"))
}

fn choose(offered: &[Descriptor]) -> Result<&Descriptor> {
    let mut known: Vec<&Descriptor> = Vec::new();
    for descriptor in offered.iter().filter(|descriptor| !descriptor.is_attestation()) {
        // The same image under several names.
        if !known.iter().any(|other| other.digest == descriptor.digest) {
            known.push(descriptor);
        }
    }
    let ours =
        |descriptor: &&&Descriptor| descriptor.platform.as_ref().is_none_or(Platform::is_ours);
    let fitting: Vec<_> = known.iter().filter(ours).collect();
    let list = known.iter().map(|one| one.describe()).collect::<Vec<_>>().join(", ");
    match fitting.as_slice() {
        [one] => Ok(one),
        [] => Err(bad(format!("nothing is for linux/{}; there is: {list}", architecture_here()))
            .hint("fetch the image for this platform")),
        _ => Err(bad(format!("there are several images: {list}"))
            .hint("save the one that is wanted alone")),
    }
}

impl Descriptor {
    fn is_index(&self) -> bool {
        self.media_type.ends_with("image.index.v1+json")
            || self.media_type.ends_with("manifest.list.v2+json")
    }

    /// What builders add to say how an image was made.
    fn is_attestation(&self) -> bool {
        self.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
    }

    fn describe(&self) -> String {
        let annotation =
            |key: &str| self.annotations.as_ref().and_then(|annotations| annotations.get(key));
        let name = annotation(IMAGE_NAME).or(annotation(REF_NAME));
        match (name, &self.platform) {
            (Some(name), None) => name.clone(),
            (Some(name), Some(platform)) => format!("{name} ({})", platform.describe()),
            (None, Some(platform)) => platform.describe(),
            (None, None) => self.digest.clone(),
        }
    }
}

impl Platform {
    fn is_ours(&self) -> bool {
        self.os == "linux" && self.architecture == architecture_here()
    }

    fn describe(&self) -> String {
        let variant = self.variant.as_deref().map(|variant| format!("/{variant}"));
        format!("{}/{}{}", self.os, self.architecture, variant.unwrap_or_default())
    }
}

/// This machine's architecture by the name that images have for it: Go's.
fn architecture_here() -> &'static str {
    match consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// A document that is what its descriptor says.
fn verified(blobs: &Blobs, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let digest: Digest = descriptor.digest.parse()?;
    let bytes = blobs.document(&digest.blob())?;
    digest.verify(&Digest::of(&bytes), &digest.blob())?;
    Ok(bytes)
}

pub(super) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| bad(format!("{what} is damaged: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(digest: char, platform: Option<(&str, &str)>) -> Descriptor {
        Descriptor {
            media_type: String::new(),
            digest: digest.to_string(),
            size: 0,
            platform: platform.map(|(os, architecture)| Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: None,
            }),
            annotations: None,
        }
    }

    #[test]
    fn the_platform_of_this_machine_is_chosen() {
        let here = Some(("linux", architecture_here()));
        let offered = [
            descriptor('a', Some(("windows", architecture_here()))),
            descriptor('b', here),
            descriptor('c', Some(("linux", "mips"))),
            descriptor('b', here),
            descriptor('d', Some(("unknown", "unknown"))),
        ];
        assert_eq!(choose(&offered).unwrap().digest, "b");
        assert_eq!(choose(&[descriptor('a', None)]).unwrap().digest, "a");
    }

    #[test]
    fn a_choice_that_is_none_names_what_is_offered() {
        let offered =
            [descriptor('a', Some(("linux", "mips"))), descriptor('b', Some(("plan9", "386")))];
        let error = choose(&offered).unwrap_err().to_string();
        assert!(error.contains("linux/mips, plan9/386"), "{error}");
        let error = choose(&[descriptor('a', None), descriptor('b', None)]).unwrap_err();
        assert!(error.to_string().contains("several images: a, b"), "{error}");
        assert!(choose(&[]).is_err());
    }
}
