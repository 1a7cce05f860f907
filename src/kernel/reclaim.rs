//! Removing links without waiting for the kernel's deferred reclaim.
//!
//! `RTM_DELLINK` takes the name, the peer, the addresses and the routes away within 0.3 ms, and
//! then blocks for 12 to 24 ms in `netdev_run_todo` (net/core/dev.c), until RCU lets it free the
//! memory. Nobody needs that wait. So the request is sent by a child process that nobody waits
//! for, and the caller watches for the link to be gone. A thread would not do: a process cannot
//! end before all its threads have left the kernel.
//!
//! Closing an nfnetlink socket waits likewise, if elements were deleted just before: the kernel
//! flushes their deferred destruction then (`nft_rcv_nl_event`, net/netfilter/nf_tables_api.c). So
//! the child holds that socket too, and is the last to close it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_sys::Socket;

use crate::error::{Error, Result};
use crate::kernel::netns;

/// A deletion under way.
pub struct Deletion {
    socket: Socket,
    operation: String,
}

impl Deletion {
    /// Begins to delete a link of the calling thread's namespace. The child closes `linger` only
    /// when the kernel is done.
    pub fn begin(index: u32, linger: BorrowedFd<'_>, operation: impl Into<String>) -> Result<Self> {
        let operation = operation.into();
        let (socket, _) = netns::route_socket()?;
        let request = request(index);
        detach_child([socket.as_raw_fd(), linger.as_raw_fd()], || {
            // SAFETY: the descriptor is open in this copy of the process, and the buffer outlives
            // the call. `send` is async-signal-safe.
            unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        })
        .map_err(|e| Error::io(format!("{operation}: fork"), &e))?;
        Ok(Self { socket, operation })
    }

    /// The kernel's refusal, if it has refused by now.
    pub fn refusal(&self) -> Option<Error> {
        // The child's answer comes to this socket, since both hold the same one.
        let (datagram, _) = self.socket.recv_from_full().ok()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&datagram).ok()?;
        match answer.payload {
            NetlinkPayload::Error(error) => {
                let errno = -error.code?.get();
                Some(Error::kernel(self.operation.clone(), errno, None))
            }
            _ => None,
        }
    }
}

fn request(index: u32) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelLink(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut buffer = vec![0; request.buffer_len()];
    request.serialize(&mut buffer);
    buffer
}

/// Runs `work` in a grandchild that init adopts, so that no zombie is left to a caller that lives
/// on. `work` may only make async-signal-safe calls: the caller may have other threads.
fn detach_child(keep: [RawFd; 2], work: impl FnOnce()) -> io::Result<()> {
    // SAFETY: between fork and _exit the child makes only async-signal-safe calls: fork,
    // close_range and those of `work`. It never returns into the caller's code.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: as above.
            if unsafe { libc::fork() } == 0 {
                close_all_but(keep);
                work();
            }
            // SAFETY: _exit runs no handlers and flushes no buffers of the parent's.
            unsafe { libc::_exit(0) }
        }
        _ => reap(child),
    }
}

/// Closes every other descriptor: a caller that reads our output to its end must not wait for the
/// child, and a lock that the caller releases must be free.
fn close_all_but(mut keep: [RawFd; 2]) {
    keep.sort_unstable();
    let [low, high] = keep;
    close_range(0, low - 1);
    close_range(low + 1, high - 1);
    close_range(high + 1, RawFd::MAX);
}

fn close_range(first: RawFd, last: RawFd) {
    if first <= last {
        // SAFETY: the child owns its table of descriptors, and uses none of these from here on.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

fn reap(child: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call, and `child` is ours and not yet reaped.
        match unsafe { libc::waitpid(child, &raw mut status, 0) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            // A caller that ignores SIGCHLD has its children reaped by the kernel.
            -1 if io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) => return Ok(()),
            -1 => return Err(io::Error::last_os_error()),
            _ => return Ok(()),
        }
    }
}
