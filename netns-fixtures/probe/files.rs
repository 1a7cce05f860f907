//! What there is in the file system, and what may be done with it.

use crate::{Told, outcome, word};
use std::{
    ffi::OsString,
    fs::{self, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, chown as change_owner},
    path::Path,
};

/// `cat PATH…`: contents, or the errno.
pub fn cat(words: &[OsString]) -> Told {
    for path in words {
        match fs::read(path) {
            Ok(content) => io::stdout().write_all(&content).map_err(|e| e.to_string())?,
            Err(_) => println!("{} {}", path.display(), outcome(&fs::read(path))),
        }
    }
    Ok(())
}

/// `ls FOLDER…`: each entry as [`stat`] prints it, sorted.
pub fn ls(words: &[OsString]) -> Told {
    for folder in words {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            refused => {
                println!("{} {}", folder.display(), outcome(&refused));
                continue;
            }
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort_unstable();
        paths.iter().for_each(|path| describe(path));
    }
    Ok(())
}

/// `stat PATH…`: `PATH TYPE MODE UID:GID MAJOR:MINOR SIZE [-> TARGET]`.
pub fn stat(words: &[OsString]) -> Told {
    words.iter().for_each(|path| describe(Path::new(path)));
    Ok(())
}

fn describe(path: &Path) {
    let shown = path.display();
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        refused => return println!("{shown} {}", outcome(&refused)),
    };
    let target = fs::read_link(path).map(|to| format!(" -> {}", to.display())).unwrap_or_default();
    let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
    let (major, minor) = device(meta.rdev());
    let (kind, size) = (kind(&meta), meta.len());
    println!("{shown} {kind} {mode:o} {uid}:{gid} {major}:{minor} {size}{target}");
}

fn kind(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    match () {
        () if kind.is_dir() => "folder",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "link",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () => "socket",
    }
}

/// As `makedev(3)` packs it.
fn device(number: u64) -> (u64, u64) {
    let major = (number >> 8) & 0xfff | (number >> 32) & !0xfff;
    let minor = number & 0xff | (number >> 12) & !0xff;
    (major, minor)
}

/// The open descriptors, without the one that the listing itself needs.
pub fn fds() -> Told {
    let folder = fs::read_dir("/proc/self/fd").map_err(|e| format!("/proc/self/fd: {e}"))?;
    let mut links: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
    links.sort_unstable();
    for link in links {
        // The listing's own is closed by now.
        if let (Some(number), Ok(target)) = (link.file_name(), fs::read_link(&link)) {
            println!("{} {}", number.display(), target.display());
        }
    }
    Ok(())
}

/// `open MODE PATH…`: whether it opens, by `r`, `w`, `rw` or `create`.
pub fn open(words: &[OsString]) -> Told {
    let mode = word(words)?.to_string_lossy();
    let mut options = OpenOptions::new();
    match mode.as_ref() {
        "r" => options.read(true),
        "w" => options.write(true),
        "rw" => options.read(true).write(true),
        "create" => options.write(true).create(true),
        _ => return Err(format!("open: r, w, rw or create, not {mode}")),
    };
    for path in &words[1..] {
        println!("{} {}", path.display(), outcome(&options.open(path)));
    }
    Ok(())
}

/// `write PATH TEXT`: makes a file or overwrites it.
pub fn write(words: &[OsString]) -> Told {
    let [path, text] = words else { return Err("write PATH TEXT".to_owned()) };
    println!("{} {}", path.display(), outcome(&fs::write(path, text.as_encoded_bytes())));
    Ok(())
}

/// `chown UID GID PATH`: gives it away.
pub fn chown(words: &[OsString]) -> Told {
    let [_, _, path] = words else { return Err("chown UID GID PATH".to_owned()) };
    let (uid, gid) = (crate::number(words)?, crate::number(&words[1..])?);
    println!("{} {}", path.display(), outcome(&change_owner(path, Some(uid), Some(gid))));
    Ok(())
}

/// All that is read until the end.
pub fn stdin() -> Told {
    let mut bytes = Vec::new();
    let read = io::stdin().read_to_end(&mut bytes);
    println!("{:?} {}", String::from_utf8_lossy(&bytes), outcome(&read));
    Ok(())
}
