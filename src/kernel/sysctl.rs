//! Kernel parameters under `/proc/sys`. `net` is the opener's namespace, so the caller chooses the
//! side by the thread it calls from.

use std::fs;
use std::io;

use crate::error::{Error, ErrorKind, Result};
use crate::request::{Sysctl, SysctlKey};

/// The value, without the final newline; `None` if there is no such parameter.
pub fn read(key: &SysctlKey) -> Result<Option<String>> {
    match fs::read_to_string(path(key)) {
        Ok(value) => Ok(Some(value.trim_end().to_owned())),
        // A folder of parameters is not one itself.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {
            Ok(None)
        }
        Err(e) => Err(Error::io(format!("sysctl {key}"), &e)),
    }
}

/// Sets the value.
pub fn write(key: &SysctlKey, value: &str) -> Result<()> {
    // One write, without truncation: procfs takes the value from the first write at offset 0.
    let result = fs::OpenOptions::new()
        .write(true)
        .open(path(key))
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
    result.map_err(|e| {
        let error = Error::io(format!("sysctl -w {key}={value}"), &e);
        match e.raw_os_error() {
            Some(libc::EINVAL | libc::ERANGE) => error
                .with_kind(ErrorKind::InvalidArgument)
                .hint("the kernel does not take this value for this parameter"),
            Some(libc::EROFS) => error.hint("/proc/sys is read-only here; remount it read-write"),
            _ => error,
        }
    })
}

/// Whether the parameter has the value.
pub fn holds(wanted: &Sysctl) -> Result<bool> {
    // The kernel separates several numbers by tabs, people by spaces.
    let present = read(&wanted.key)?;
    Ok(present.is_some_and(|value| value.split_whitespace().eq(wanted.value.split_whitespace())))
}

/// The components of a folder, such as the links under `net/ipv6/conf`.
pub fn children(folder: &str) -> Result<Vec<String>> {
    let path = format!("/proc/sys/{folder}");
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(format!("list {path}"), &e)),
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    Ok(entries.filter_map(name).collect())
}

fn path(key: &SysctlKey) -> String {
    format!("/proc/sys/{}", key.path())
}
