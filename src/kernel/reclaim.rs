//! Removing links without waiting for the kernel's deferred reclaim.
//!
//! `RTM_DELLINK` takes the name, the peer, the addresses and the routes away within 0.3 ms, and
//! then blocks for 12 to 24 ms in `netdev_run_todo` (net/core/dev.c), until RCU lets it free the
//! memory. Nobody needs that wait. So the request is sent by a child process that nobody waits
//! for, and the caller watches for the link to be gone. A thread would not do: a process cannot
//! end before all its threads have left the kernel.
//!
//! Closing an nfnetlink socket waits likewise, if elements were deleted just before, by whomever:
//! the kernel flushes their deferred destruction then (`nft_rcv_nl_event`,
//! net/netfilter/nf_tables_api.c). So such a child holds that socket too, and closes it last.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_sys::Socket;

use crate::error::{Error, Result};
use crate::kernel::netns;

/// A deletion under way.
pub struct Deletion {
    socket: Socket,
    child: libc::pid_t,
    operation: String,
}

impl Deletion {
    /// Begins to delete a link of the calling thread's namespace. The child closes `linger` only
    /// when the kernel is done.
    pub fn begin(
        index: u32,
        linger: &[BorrowedFd<'_>],
        operation: impl Into<String>,
    ) -> Result<Self> {
        let operation = operation.into();
        let (socket, _) = netns::route_socket()?;
        // The answer is looked for, never waited for.
        socket.set_non_blocking(true).map_err(|e| Error::io("open a NETLINK_ROUTE socket", &e))?;
        let request = request(index);
        let mut keep: Vec<RawFd> = linger.iter().map(AsRawFd::as_raw_fd).collect();
        keep.push(socket.as_raw_fd());
        let child = in_a_child(keep, || {
            // SAFETY: the descriptor is open in this copy of the process, and the buffer outlives
            // the call. `send` is async-signal-safe.
            unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
        })
        .map_err(|e| Error::io(format!("{operation}: start a process"), &e))?;
        Ok(Self { socket, child, operation })
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

    /// Whether nobody is at it any more: it is done, or the child was killed.
    pub fn has_ended(&self) -> bool {
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WCLONE;
        // SAFETY: all zeroes is a valid siginfo_t.
        let mut about: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `about` outlives the call, which only writes to it.
        let asked =
            unsafe { libc::waitid(libc::P_PID, self.child.cast_unsigned(), &raw mut about, flags) };
        // SAFETY: waitid(2) fills this field, or leaves it 0 as long as the child runs.
        asked == -1 || unsafe { about.si_pid() } != 0
    }

    /// Nobody is at it, and the link is still there.
    pub fn abandoned(&self) -> Error {
        let interrupted = libc::EINTR;
        Error::kernel(
            self.operation.clone(),
            interrupted,
            Some("its process was killed".to_owned()),
        )
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

/// Leaves it to a child to close descriptors last, for closing one of them waits for the kernel.
pub fn close_later(fds: &[BorrowedFd<'_>]) {
    // Without a child the caller waits itself; nothing else is lost.
    drop(in_a_child(fds.iter().map(AsRawFd::as_raw_fd).collect(), || {
        // SAFETY: usleep takes a number and is async-signal-safe. By its end the caller has closed
        // its own copy.
        unsafe { libc::usleep(50_000) };
    }));
}

/// Children that may not have been reaped yet.
static CHILDREN: Mutex<Vec<libc::pid_t>> = Mutex::new(Vec::new());

/// Runs `work` in a child process that nobody waits for. `work` may only make async-signal-safe
/// calls: the caller may have other threads.
///
/// The child sends no signal when it ends, so it is invisible to a caller's `wait`. A process that
/// ends soon leaves it to init; one that lives on reaps it at the next call.
fn in_a_child(mut keep: Vec<RawFd>, work: impl FnOnce()) -> io::Result<libc::pid_t> {
    keep.sort_unstable();
    reap();
    // SAFETY: with no flags, clone(2) is fork(2) without SIGCHLD: the child goes on here in a copy
    // of the memory. It makes only async-signal-safe calls, close_range and those of `work`, and
    // never returns into the caller's code.
    let child = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            close_all_but(&keep);
            work();
            // SAFETY: _exit runs no handlers and flushes no buffers of the parent's.
            unsafe { libc::_exit(0) }
        }
        child => {
            let (child, children) = (child as libc::pid_t, CHILDREN.lock());
            children.unwrap_or_else(PoisonError::into_inner).push(child);
            Ok(child)
        }
    }
}

fn reap() {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain(|child| {
        // SAFETY: a null status is allowed. `__WCLONE` names children without a signal, which
        // nobody else waits for by accident.
        let ended =
            unsafe { libc::waitpid(*child, std::ptr::null_mut(), libc::WNOHANG | libc::__WCLONE) };
        ended == 0
    });
}

/// Closes every other descriptor: a caller that reads our output to its end must not wait for the
/// child, and a lock that the caller releases must be free.
fn close_all_but(keep: &[RawFd]) {
    let mut first = 0;
    for fd in keep {
        close_range(first, fd - 1);
        first = fd + 1;
    }
    close_range(first, RawFd::MAX);
}

fn close_range(first: RawFd, last: RawFd) {
    if first <= last {
        // SAFETY: the child owns its table of descriptors, and uses none of these from here on.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}
