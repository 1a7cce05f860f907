//! What there is to import: recognised by what it holds, never by what it is called.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::blobs::{Blobs, bad, normal};
use super::compression::{Compression, decompressed, read_up_to};
use super::digest::Digest;
use super::pump::Pump;
use super::tar::{Reader, damage};
use super::{Limits, Progress, Source};
use crate::error::{Error, ErrorKind, Result};

/// Enough for the first entries of any archive, however well compressed: a block of zstd holds up
/// to 128 KiB.
const BEGINNING: usize = 256 * 1024;

const FORMATS: &str = "an image is a tar of a root file system (`docker export`), of `docker save`, \
                       or of an OCI layout, plain or compressed with gzip or zstd";

/// What there is to import.
pub(super) enum Found {
    /// An archive of a root file system, compressed perhaps.
    Tree(Stream),
    /// The parts of an image.
    Parts(Blobs),
}

/// What is read from its beginning to its end.
pub(super) struct Stream {
    pub(super) content: Box<dyn Read>,
    pub(super) size: Option<u64>,
}

/// Finds out what a source holds. What has to be read in another order is kept in `folder`, in a
/// file without a name.
pub(super) fn recognise(
    source: &Source,
    folder: &Path,
    limits: &Limits,
    progress: &mut dyn Progress,
) -> Result<Found> {
    match source {
        Source::Path(path) if path.is_dir() => layout(path).map(Found::Parts),
        Source::Path(path) => {
            let failed = |error| Error::io(format!("open {}", path.display()), &error);
            recognise_file(File::open(path).map_err(failed)?, folder, limits, progress)
        }
        Source::Stdin => {
            // Not the buffered one: what that has read ahead nobody else can read.
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            let stdin = stdin.map_err(|error| Error::io("dup of standard input", &error))?;
            recognise_file(stdin.into(), folder, limits, progress)
        }
    }
}

fn layout(path: &Path) -> Result<Blobs> {
    let blobs = Blobs::folder(path)?;
    if blobs.has("index.json")? || blobs.has("manifest.json")? {
        return Ok(blobs);
    }
    let hint = format!(
        "for a root file system: tar -C {} -c . | netup-run image import NAME",
        path.display()
    );
    Err(bad(format!("{} is no OCI layout: it has no index.json", path.display())).hint(hint))
}

fn recognise_file(
    mut file: File,
    folder: &Path,
    limits: &Limits,
    progress: &mut dyn Progress,
) -> Result<Found> {
    // Somebody may have read the beginning of standard input; then it is as good as a pipe.
    let is_at_start = file.stream_position().is_ok_and(|position| position == 0);
    let size = file.metadata().ok().filter(|about| about.is_file() && is_at_start);
    let size = size.map(|about| about.len());
    let beginning = read_up_to(&mut file, BEGINNING).map_err(damage)?;
    let has_parts = begins_with_parts(&beginning)?;
    let is_plain = Compression::of(&beginning).map_err(damage)? == Compression::None;
    if !has_parts {
        let content = Box::new(Cursor::new(beginning).chain(file));
        return Ok(Found::Tree(Stream { content, size }));
    }
    let mut file = match size {
        Some(_) if is_plain => file,
        size => {
            let stream = Stream { content: Box::new(Cursor::new(beginning).chain(file)), size };
            spool(stream, folder, limits, progress)?
        }
    };
    let failed = |error| Error::io("read the archive", &error);
    file.rewind().map_err(failed)?;
    let again = file.try_clone().map_err(failed)?;
    let blobs = Blobs::archive(file)?;
    if blobs.has("index.json")? || blobs.has("manifest.json")? {
        return Ok(Found::Parts(blobs));
    }
    let size = again.metadata().map_err(failed)?.len();
    let mut again = again;
    again.rewind().map_err(failed)?;
    Ok(Found::Tree(Stream { content: Box::new(again), size: Some(size) }))
}

/// Whether the first name in an archive is one of an image's parts.
fn begins_with_parts(beginning: &[u8]) -> Result<bool> {
    let is_whole = beginning.len() < BEGINNING;
    match first_name(beginning) {
        Ok(Some(name)) => Ok(is_part(&name)),
        Ok(None) => Err(bad("the archive is empty").hint(FORMATS)),
        // A name that is longer than what was read is judged by who reads all of it.
        Err(error) if is_whole || error.message().contains("checksum") => Err(error.hint(FORMATS)),
        Err(_) => Ok(false),
    }
}

/// The first name but that of the root itself, which is empty if nothing else is there.
fn first_name(beginning: &[u8]) -> Result<Option<String>> {
    let mut reader = Reader::new(decompressed(beginning).map_err(damage)?);
    let mut name = None;
    while let Some(entry) = reader.next()? {
        let found = normal(&entry.path);
        let is_root = found.is_empty();
        name = Some(found);
        if !is_root {
            break;
        }
    }
    Ok(name)
}

fn is_part(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    let stem = first.strip_suffix(".json").or(first.strip_suffix(".tar")).unwrap_or(first);
    matches!(first, "manifest.json" | "repositories" | "index.json" | "oci-layout" | "blobs")
        || Digest::from_hex(stem).is_some()
}

/// Keeps a stream in a file, decompressed, so that it can be read in any order.
fn spool(
    stream: Stream,
    folder: &Path,
    limits: &Limits,
    progress: &mut dyn Progress,
) -> Result<File> {
    let file = nameless(folder)?;
    progress.begin(None);
    let content = decompressed(stream.content).map_err(damage)?;
    let mut content = content.take(limits.bytes.saturating_add(1));
    let done = Pump { progress }.run(&mut content, &file, None);
    progress.end();
    if done? > limits.bytes {
        return Err(limits.too_many_bytes());
    }
    Ok(file)
}

/// It goes with its last descriptor, also after a crash.
fn nameless(folder: &Path) -> Result<File> {
    let failed = |error: io::Error| {
        Error::state(format!("make a temporary file in {}", folder.display()), &error)
    };
    let options = || {
        let mut options = File::options();
        options.read(true).write(true).mode(0o600);
        options
    };
    match options().custom_flags(libc::O_TMPFILE).open(folder) {
        // Not every file system has it.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let path = folder.join("spool");
            let file = options().create_new(true).open(&path).map_err(failed)?;
            fs::remove_file(&path).map_err(failed)?;
            Ok(file)
        }
        other => other.map_err(failed),
    }
}

/// Refuses what became of an archive whose parts came in an order that hid what it is.
pub(super) fn refuse_parts_as_files(root: &Path) -> Result<()> {
    let has = |name: &str| fs::symlink_metadata(root.join(name)).is_ok();
    let is_system = ["bin", "usr", "etc", "sbin"].into_iter().any(has);
    if !is_system && (has("oci-layout") || has("manifest.json")) {
        let message = "this is an archive of an image whose first member is none of an image's";
        return Err(
            Error::new(ErrorKind::BadImage, message).hint("unpack it and import the folder")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_image_are_known_by_name() {
        let hex = "0123456789abcdef".repeat(4);
        for part in ["manifest.json", "blobs/sha256", "oci-layout", &hex, &format!("{hex}.json")] {
            assert!(is_part(part), "{part}");
        }
        for file in ["bin", "etc/manifest.json", ".dockerenv", "blobs.tar", &hex[1..]] {
            assert!(!is_part(file), "{file}");
        }
    }

    #[test]
    fn what_is_no_archive_is_refused_at_once() {
        for wrong in [&b""[..], b"#!/bin/sh\n", &[0; 1024], &[b'x'; 2048]] {
            let error = begins_with_parts(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadImage);
        }
    }
}
