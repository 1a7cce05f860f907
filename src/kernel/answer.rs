//! Where answers over netlink are received.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// No answer is longer: the kernel fills what a dump sends up to the length that the reader has shown
/// to take, and at most this (`NLMSG_GOODSIZE` and 32 KiB in `netlink_dump`, net/netlink/af_netlink.c).
const LONGEST: usize = 32 * 1024;

thread_local! {
    /// Kept from answer to answer: each would else make the heap grow and shrink again, which is two
    /// system calls.
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Room for any answer, so none has to be asked for its length first, which would be another system
/// call for each.
pub struct Room(Vec<u8>);

/// An empty one.
pub fn room() -> Room {
    let mut room = KEPT.try_with(Cell::take).unwrap_or_default();
    room.reserve_exact(LONGEST);
    Room(room)
}

impl Drop for Room {
    fn drop(&mut self) {
        self.0.clear();
        let room = std::mem::take(&mut self.0);
        // A thread that is just ending keeps nothing any more.
        let _ = KEPT.try_with(|kept| kept.set(room));
    }
}

impl Deref for Room {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
