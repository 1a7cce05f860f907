//! Whiteouts: how a layer says that something of the layers below is gone (image-spec/layer.md).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::bad;
use super::path::EntryPath;
use crate::error::Result;

const PREFIX: &[u8] = b".wh.";
/// Of AUFS, whose own files begin with the prefix twice.
const OWN_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an entry hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whiteout<'a> {
    /// The file or folder of this name beside it.
    Hides(&'a OsStr),
    /// All that the layers below have in its folder.
    HidesAll,
    /// Nothing; it is no file either.
    Ignored,
}

/// What an entry hides, if it is a whiteout. It is decided from the parts as they are written:
/// joined to a path first, `.wh...` would hide the folder's own folder.
pub(super) fn whiteout<'a>(path: &EntryPath<'a>) -> Result<Option<Whiteout<'a>>> {
    let Some((name, folders)) = path.parts().split_last() else { return Ok(None) };
    for folder in folders {
        if folder.starts_with(OWN_PREFIX) {
            return Ok(Some(Whiteout::Ignored));
        }
        if folder.starts_with(PREFIX) {
            return Err(bad("it is in a folder that is a whiteout"));
        }
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(None),
        Some(_) if *name == OPAQUE => Ok(Some(Whiteout::HidesAll)),
        Some(_) if name.starts_with(OWN_PREFIX) => Ok(Some(Whiteout::Ignored)),
        Some(b"" | b"." | b"..") => Err(bad("it is a whiteout of no file")),
        Some(name) => Ok(Some(Whiteout::Hides(OsStr::from_bytes(name)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<Whiteout<'_>> {
        whiteout(&EntryPath::parse(path.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn whiteouts_are_known_by_their_names() {
        assert_eq!(of("a/.wh.b"), Some(Whiteout::Hides(OsStr::new("b"))));
        assert_eq!(of(".wh..b"), Some(Whiteout::Hides(OsStr::new(".b"))));
        assert_eq!(of("a/.wh..wh..opq"), Some(Whiteout::HidesAll));
        assert_eq!(of(".wh..wh.plnk/1.2"), Some(Whiteout::Ignored));
        assert_eq!(of(".wh..wh.aufs"), Some(Whiteout::Ignored));
        assert_eq!((of("a/b"), of("a/wh.b"), of("./")), (None, None, None));
    }

    #[test]
    fn what_would_hide_a_folder_from_within_is_refused() {
        for path in [".wh.", "a/.wh..", "a/.wh...", ".wh.a/b"] {
            assert!(whiteout(&EntryPath::parse(path.as_bytes()).unwrap()).is_err(), "{path}");
        }
    }
}
