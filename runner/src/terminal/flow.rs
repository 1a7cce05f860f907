//! One direction of a terminal: what has been read and not yet written.

use std::fmt;
use std::os::fd::BorrowedFd;

use rustix::io::{Errno, read, write};

/// `PIPE_BUF`: a pipe that is ready to be written takes this much without blocking, pipe(7).
const PIECE: usize = 4096;

/// Bytes on their way. One piece at a time, so that whoever reads slowly slows the writer down.
pub(super) struct Flow {
    buffer: Box<[u8; PIECE]>,
    start: usize,
    end: usize,
    last: Option<u8>,
    ended: bool,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.ended { "ended" } else { "open" };
        write!(f, "Flow({} bytes, {state})", self.end - self.start)
    }
}

impl Flow {
    pub(super) fn new() -> Self {
        Self { buffer: Box::new([0; PIECE]), start: 0, end: 0, last: None, ended: false }
    }

    /// One that nothing comes from.
    pub(super) fn ended() -> Self {
        Self { ended: true, ..Self::new() }
    }

    pub(super) fn has_some(&self) -> bool {
        self.start < self.end
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn wants_more(&self) -> bool {
        !self.has_some() && !self.ended
    }

    /// The last byte that ever came.
    pub(super) fn last(&self) -> Option<u8> {
        self.last
    }

    /// Reads a piece. The end is an end, and so is every error but "later": a master without a slave
    /// says EIO, and so does a terminal that hung up.
    pub(super) fn fill(&mut self, from: BorrowedFd<'_>) {
        match read(from, &mut self.buffer[..]) {
            Ok(0) => self.ended = true,
            Ok(length) => (self.start, self.end) = (0, length),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.ended = true,
        }
        self.last = self.pending().last().copied().or(self.last);
    }

    /// These bytes, after all that was read has been written.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.buffer[..bytes.len()].copy_from_slice(bytes);
        (self.start, self.end) = (0, bytes.len());
    }

    /// Writes what is there, as much as goes. What nobody takes any more is dropped: a command does not
    /// stop because nobody watches.
    pub(super) fn drain(&mut self, to: BorrowedFd<'_>) {
        if !self.has_some() {
            return;
        }
        match write(to, self.pending()) {
            Ok(length) => self.start += length,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.start = self.end,
        }
    }

    fn pending(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}
