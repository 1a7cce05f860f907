//! Images as others save them: docker-archives and OCI layouts.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::archive::{Archive, Compress};

/// An image to be saved, lowest layer first.
pub struct Saved {
    /// As they are stored.
    pub layers: Vec<Vec<u8>>,
    /// Before compression.
    pub plain: Vec<Vec<u8>>,
    pub architecture: String,
}

/// Names and contents.
pub type Members = Vec<(String, Vec<u8>)>;

impl Saved {
    pub fn new(plain: Vec<Vec<u8>>, compress: Compress) -> Self {
        let layers = plain.iter().map(|layer| compress(layer)).collect();
        Self { layers, plain, architecture: architecture().to_owned() }
    }

    pub fn config(&self) -> Vec<u8> {
        let diff_ids: Vec<_> = self.plain.iter().map(|layer| digest(layer)).collect();
        let execution = json!({
            "Env": ["PATH=/bin", "A=b"], "Cmd": ["sh"], "WorkingDir": "/w", "User": "7",
            "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGINT",
        });
        let config = json!({
            "os": "linux", "architecture": self.architecture, "config": execution,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        config.to_string().into_bytes()
    }

    /// As `docker save` of old, with the manifest after the layers.
    pub fn docker(&self) -> Members {
        let mut members = Vec::new();
        for layer in &self.layers {
            members.push((format!("{}/layer.tar", hex(layer)), layer.clone()));
        }
        let names: Vec<_> = members.iter().map(|(name, _)| name.clone()).collect();
        let config = format!("{}.json", hex(&self.config()));
        let manifest = json!([{"Config": config, "RepoTags": ["it:latest"], "Layers": names}]);
        members.push((config, self.config()));
        members.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
        members
    }

    /// As an OCI layout, of which `index.json` comes last.
    pub fn oci(&self) -> Members {
        let config = self.config();
        let layers: Vec<_> = self.layers.iter().map(|layer| descriptor(layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "config": descriptor(&config), "layers": layers,
        });
        let manifest = manifest.to_string().into_bytes();
        let index = json!({"schemaVersion": 2, "manifests": [descriptor(&manifest)]});
        let blobs = self.layers.iter().cloned().chain([config, manifest]);
        let mut members: Members = blobs.map(|blob| (blob_name(&blob), blob)).collect();
        let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes();
        members.push(("oci-layout".to_owned(), layout));
        members.push(("index.json".to_owned(), index.to_string().into_bytes()));
        members
    }
}

pub fn descriptor(blob: &[u8]) -> Value {
    json!({"mediaType": "application/octet-stream", "digest": digest(blob), "size": blob.len()})
}

pub fn blob_name(blob: &[u8]) -> String {
    format!("blobs/sha256/{}", hex(blob))
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub fn packed(members: &Members) -> Vec<u8> {
    members
        .iter()
        .fold(Archive::new(), |archive, (name, content)| {
            archive.entry(name, EntryType::Regular, content, |_| {})
        })
        .done()
}

pub fn unpacked(members: &Members, folder: &Path) {
    for (name, content) in members {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
