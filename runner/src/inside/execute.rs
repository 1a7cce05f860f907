//! Becoming the command.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, statat};
use rustix::io::Errno;

use super::CHANNEL;
use super::enact::Inside;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{process, signal};

/// Where commands are if the environment does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Comes back only if it failed.
pub(super) fn execute(
    inside: &Inside<'_>,
    command: &[OsString],
    environment: &[OsString],
) -> Result<()> {
    let arguments = c_strings(command)?;
    let environment = c_strings(&complete(inside, environment))?;
    let name = command.first().ok_or_else(|| Error::invalid("no command"))?;
    let candidates = candidates(name, &environment)?;
    process::close_from(CHANNEL + 1).map_err(|errno| Error::kernel("close_range", errno))?;
    signal::reset().map_err(|errno| Error::kernel("reset the signals", errno))?;
    inside.channel().executing()?;
    let mut denied = None;
    for candidate in &candidates {
        match process::execute(candidate, &arguments, &environment) {
            // As a shell does: what is not there, or may not be executed, may be further on.
            Errno::NOENT | Errno::NOTDIR if candidates.len() > 1 => {}
            Errno::ACCESS => denied = Some(Errno::ACCESS),
            errno => return Err(refused(name, candidate, errno)),
        }
    }
    match denied {
        Some(errno) => Err(refused(name, &candidates[0], errno)),
        None => Err(Error::new(
            ErrorKind::CommandNotFound,
            format!("there is no command {name:?} in the container's PATH"),
        )),
    }
}

fn refused(name: &OsStr, path: &CString, errno: Errno) -> Error {
    let error = Error::kernel(format!("execute {name:?}"), errno);
    match errno {
        Errno::NOENT if is_file(path) => error
            .with_kind(ErrorKind::CommandNotFound)
            .hint("the file is there: its interpreter (the #! line, or the dynamic loader) is not"),
        Errno::NOENT | Errno::NOTDIR => error.with_kind(ErrorKind::CommandNotFound),
        Errno::ACCESS => error
            .with_kind(ErrorKind::NotExecutable)
            .hint("it has to be an executable file, on a mount without noexec"),
        Errno::NOEXEC => error
            .with_kind(ErrorKind::NotExecutable)
            .hint("it is for another processor, or a script without a #! line"),
        _ => error.with_kind(ErrorKind::NotExecutable),
    }
}

fn is_file(path: &CString) -> bool {
    statat(CWD, path.as_c_str(), rustix::fs::AtFlags::empty())
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

/// With the user's home, unless the image or the caller gave another.
fn complete(inside: &Inside<'_>, environment: &[OsString]) -> Vec<OsString> {
    let mut words = environment.to_vec();
    if !words.iter().any(|word| word.as_bytes().starts_with(b"HOME=")) {
        let home = inside.home.as_deref().unwrap_or(Path::new("/"));
        words.push([OsStr::new("HOME="), home.as_os_str()].concat());
    }
    words
}

fn c_strings(words: &[OsString]) -> Result<Vec<CString>> {
    let convert = |word: &OsString| {
        CString::new(word.as_bytes())
            .map_err(|e| Error::invalid(format!("argument {word:?} cannot be passed on: {e}")))
    };
    words.iter().map(convert).collect()
}

/// The paths at which the command may be: itself if it holds a slash, otherwise one per folder.
fn candidates(name: &OsStr, environment: &[CString]) -> Result<Vec<CString>> {
    if name.as_bytes().contains(&b'/') {
        return c_strings(&[name.to_owned()]);
    }
    if name.is_empty() {
        return Err(Error::new(ErrorKind::CommandNotFound, "the command is an empty word"));
    }
    let path = environment.iter().find_map(|word| word.as_bytes().strip_prefix(b"PATH="));
    let folders = path.unwrap_or(PATH.as_bytes()).split(|byte| *byte == b':');
    let joined = |folder: &[u8]| {
        let folder =
            if folder.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(folder)) };
        folder.join(name).into_os_string()
    };
    c_strings(&folders.map(joined).collect::<Vec<_>>())
}

trait Concat {
    fn concat(self) -> OsString;
}

impl Concat for [&OsStr; 2] {
    fn concat(self) -> OsString {
        let mut joined = self[0].to_owned();
        joined.push(self[1]);
        joined
    }
}
