//! Bytes from where they are read to where they are wanted.

use std::io::{self, Read, Write};

use super::Progress;
use super::digest::Hasher;
use super::tar::damage;
use crate::error::{Error, Result};

const BUFFER: usize = 256 * 1024;

/// Moves bytes and tells how many.
pub(super) struct Pump<'a> {
    pub(super) progress: &'a mut dyn Progress,
}

impl Pump<'_> {
    /// Moves all there is; the number of bytes. A receiver that has gone needs no more, but what
    /// is hashed is hashed to its end: that the content is wrong says more than what came of it.
    pub(super) fn run(
        &mut self,
        source: &mut dyn Read,
        mut sink: impl Write,
        mut hasher: Option<&mut Hasher>,
    ) -> Result<u64> {
        let mut buffer = vec![0; BUFFER];
        let mut moved = 0;
        let mut is_open = true;
        while is_open || hasher.is_some() {
            let read = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(damage(error)),
            };
            if let Some(hasher) = &mut hasher {
                hasher.update(&buffer[..read]);
            }
            if is_open {
                is_open = pass_on(&mut sink, &buffer[..read])?;
            }
            moved += read as u64;
            self.progress.advance(read as u64);
        }
        Ok(moved)
    }
}

fn pass_on(sink: &mut impl Write, bytes: &[u8]) -> Result<bool> {
    match sink.write_all(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::io("write what was read", &error)),
    }
}
