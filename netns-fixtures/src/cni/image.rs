//! A container image in one archive, as the OCI image specification lays it out: one layer with
//! busybox in it, a configuration, a manifest, an index.

use crate::{blame::Blame, tools};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    env::consts::ARCH,
    fs, io,
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};

/// The programs it has, all of them busybox.
const APPLETS: [&str; 5] = ["sh", "true", "sleep", "nc", "wget"];
/// Where it does not say otherwise.
const NAME: &str = "localhost/busybox:latest";

/// An image archive.
#[derive(Debug)]
pub struct OciImage {
    path: PathBuf,
}

type Archive = Builder<Vec<u8>>;

impl OciImage {
    /// Writes the archive. busybox has to be the static one.
    pub fn write(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::write(&path, archive()?).blame(path.display())?;
        Ok(Self { path })
    }

    /// Where the archive is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name to run it by.
    pub fn name(&self) -> &'static str {
        NAME
    }
}

fn archive() -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    let layer = layer()?;
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": { "Cmd": ["/bin/sh"] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    });
    let layer = blob(&mut archive, "image.layer.v1.tar", &layer)?;
    let config = blob(&mut archive, "image.config.v1+json", config.to_string().as_bytes())?;
    let kind = "image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media(kind), "config": config, "layers": [layer] });
    let mut manifest = blob(&mut archive, kind, manifest.to_string().as_bytes())?;
    // containerd reads the first, podman the second.
    manifest["annotations"] =
        json!({ "io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": NAME });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    file(&mut archive, "index.json", 0o644, index.to_string().as_bytes())?;
    file(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.into_inner()
}

fn layer() -> io::Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    let busybox = tools::find("busybox")?;
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        let mut header = header(EntryType::Directory, 0o755, 0);
        layer.append_data(&mut header, folder, io::empty())?;
    }
    file(&mut layer, "bin/busybox", 0o755, &fs::read(&busybox).blame(busybox.display())?)?;
    for applet in APPLETS {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    layer.into_inner()
}

/// Adds a blob, and describes it.
fn blob(archive: &mut Archive, kind: &str, bytes: &[u8]) -> io::Result<Value> {
    let digest = digest(bytes);
    file(archive, &format!("blobs/{}", digest.replace(':', "/")), 0o644, bytes)?;
    Ok(json!({ "mediaType": media(kind), "digest": digest, "size": bytes.len() }))
}

fn media(kind: &str) -> String {
    format!("application/vnd.oci.{kind}")
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn file(archive: &mut Archive, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = header(EntryType::Regular, mode, bytes.len() as u64);
    archive.append_data(&mut header, path, bytes)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

/// As Go calls it.
fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn digests_are_what_the_specification_wants() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(b""), empty);
    }
}
