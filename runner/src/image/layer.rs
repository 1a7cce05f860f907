//! One archive, unpacked over what is there already: by a child process that can reach nothing
//! else.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};

use super::Progress;
use super::compression::{Compression, read_up_to};
use super::digest::Hasher;
use super::oci::Check;
use super::pump::Pump;
use super::tar::damage;
use super::unpack::{Counts, Rules, unpack};
use crate::confined;
use crate::error::{Error, Result};
use crate::idmap::UserNamespace;

/// The most that a short beginning says about compression.
const MAGIC: usize = 8;

/// Where archives are unpacked, and how.
pub(super) struct Target<'a> {
    pub(super) root: &'a Path,
    pub(super) users: Option<&'a UserNamespace>,
}

impl Target<'_> {
    /// Unpacks an archive, compressed perhaps, and verifies it.
    pub(super) fn apply(
        &self,
        mut source: Box<dyn Read>,
        check: &Check,
        rules: Rules,
        progress: &mut dyn Progress,
    ) -> Result<Counts> {
        let beginning = read_up_to(&mut source, MAGIC).map_err(damage)?;
        let is_plain = Compression::of(&beginning).map_err(damage)? == Compression::None;
        let mut source = Cursor::new(beginning).chain(source);
        let digest = match check {
            Check::Stored(digest) => Some(digest),
            Check::Plain(digest) => Some(digest).filter(|_| is_plain),
            Check::Nothing => None,
        };
        let mut hasher = digest.map(|_| Hasher::default());
        let counts = self.unpack(&mut source, hasher.as_mut(), rules, progress);
        if let (Some(digest), Some(hasher)) = (digest, hasher) {
            digest.verify(&hasher.finish(), "a layer")?;
        }
        counts
    }

    fn unpack(
        &self,
        source: &mut dyn Read,
        hasher: Option<&mut Hasher>,
        rules: Rules,
        progress: &mut dyn Progress,
    ) -> Result<Counts> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)
            .map(|(read, write)| (File::from(read), File::from(write)))
            .map_err(|errno| Error::kernel("pipe2", errno))?;
        let mut write = Some(write);
        let child = confined::start(self.users, || {
            // The child's own copy, without which it would never see the end.
            write = None;
            confined::enter(self.root)?;
            unpack(read, rules)
        })?;
        let pumped = match write.take() {
            Some(write) => Pump { progress }.run(source, write, hasher),
            None => Ok(0),
        };
        let counts = child.finish();
        // A source that cannot be read looks to the child like one that is cut off.
        pumped.and(counts)
    }
}
