//! What `docker save` wrote before it wrote OCI layouts: `manifest.json` and the files it names.

use serde::Deserialize;

use super::blobs::{Blobs, bad};
use super::config::ConfigFile;
use super::digest::Digest;
use super::oci::{Check, Layer, Parts, parse, refuse_other_machines};
use crate::error::Result;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The parts of the one image that was saved.
pub(super) fn parts(blobs: &Blobs) -> Result<Parts> {
    let saved: Vec<Saved> = parse("manifest.json", &blobs.document("manifest.json")?)?;
    let [image] = saved.as_slice() else {
        let names = saved.iter().map(Saved::name).collect::<Vec<_>>().join(", ");
        return Err(bad(format!("there are {} images: {names}", saved.len()))
            .hint("save the one that is wanted alone"));
    };
    let bytes = blobs.document(&image.config)?;
    // Its name is its digest.
    let stem = image.config.rsplit('/').next().unwrap_or_default();
    if let Some(digest) = Digest::from_hex(stem.strip_suffix(".json").unwrap_or(stem)) {
        digest.verify(&Digest::of(&bytes), &image.config)?;
    }
    let config = ConfigFile::parse(&bytes)?;
    refuse_other_machines(&config)?;
    let layers = layers(image, &config)?;
    Ok(Parts { config, layers })
}

fn layers(image: &Saved, config: &ConfigFile) -> Result<Vec<Layer>> {
    let digests = config.diff_ids();
    if !digests.is_empty() && digests.len() != image.layers.len() {
        let (said, found) = (digests.len(), image.layers.len());
        return Err(bad(format!("the configuration names {said} layers, and there are {found}")));
    }
    let layer = |(number, name): (usize, &String)| {
        let check = match digests.get(number) {
            Some(digest) => Check::Plain(digest.parse()?),
            None => Check::Nothing,
        };
        Ok(Layer { name: name.clone(), check })
    };
    image.layers.iter().enumerate().map(layer).collect()
}

impl Saved {
    fn name(&self) -> &str {
        let first = self.repo_tags.as_ref().and_then(|tags| tags.first());
        first.map_or(&self.config, |tag| tag)
    }
}
