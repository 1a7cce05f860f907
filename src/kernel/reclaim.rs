//! Removing links without waiting for the kernel's deferred reclaim.
//!
//! `RTM_DELLINK` takes the name, the peer, the addresses and the routes away within 0.3 ms, and
//! then blocks for 12 to 24 ms in `netdev_run_todo` (net/core/dev.c), until RCU lets it free the
//! memory. Nobody needs that wait. So the request is sent by a child process that nobody waits
//! for, and the caller watches for the link to be gone. A thread would not do: a process cannot
//! end before all its threads have left the kernel.
//!
//! The child is in the caller's memory, on a stack of its own: to copy it costs 0.2 ms where it is
//! small, and grows with it. Who ends meanwhile leaves the memory to the child.
//!
//! Closing an nfnetlink socket waits likewise, if elements were deleted just before, by whomever:
//! the kernel flushes their deferred destruction then (`nft_rcv_nl_event`,
//! net/netfilter/nf_tables_api.c). So such a child holds that socket too, and closes it last.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use crate::error::{Error, Result};
use crate::kernel::bare_call::bare_call;

/// Length of `struct nlmsghdr`; in an answer the errno follows it, negative.
const HEADER: usize = 16;

/// A deletion under way.
pub struct Deletion {
    child: Child,
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
        let child = in_a_child(linger, Work::Ask(request(index)))
            .map_err(|e| Error::io(format!("{operation}: start a process"), &e))?;
        Ok(Self { child, operation })
    }

    /// If nobody is at it any more, what to say if the link is still there: the kernel's refusal, or
    /// that the child was killed.
    pub fn end(&self) -> Option<Error> {
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WCLONE;
        let pid = self.child.pid.cast_unsigned();
        // SAFETY: all zeroes is a valid siginfo_t.
        let mut about: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `about` outlives the call, which only writes to it.
        let asked = unsafe { libc::waitid(libc::P_PID, pid, &raw mut about, flags) };
        // SAFETY: waitid(2) fills these fields, or leaves them 0 as long as the child runs.
        let (about_whom, status) = unsafe { (about.si_pid(), about.si_status()) };
        match (asked, about_whom) {
            (0, 0) => None,
            (0, _) if about.si_code == libc::CLD_EXITED && status != 0 => {
                Some(Error::kernel(self.operation.clone(), status, None))
            }
            _ => Some(self.abandoned()),
        }
    }

    fn abandoned(&self) -> Error {
        let why = Some("its process was killed".to_owned());
        Error::kernel(self.operation.clone(), libc::EINTR, why)
    }
}

impl Drop for Deletion {
    fn drop(&mut self) {
        leave_to_reap(self.child);
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
    if let Ok(child) = in_a_child(fds, Work::Outstay) {
        leave_to_reap(child);
    }
}

/// What a child does before it ends, which closes what it holds.
enum Work {
    /// Sends a request over rtnetlink. It ends with the errno.
    Ask(Vec<u8>),
    /// Sleeps until the caller has surely closed its own copies of the descriptors.
    Outstay,
}

/// A child, and what it uses.
#[derive(Clone, Copy)]
struct Child {
    pid: libc::pid_t,
    room: *mut Room,
}

// SAFETY: the memory belongs to no thread, and only `reap` does anything to it, once.
unsafe impl Send for Child {}

/// What a child uses of the caller's memory. It stays where it is until the child has ended.
struct Room {
    _stack: Box<MaybeUninit<Stack>>,
    /// In ascending order.
    keep: Vec<RawFd>,
    work: Work,
}

/// What a child calls is a few functions deep, and no signal reaches it.
#[repr(align(16))]
struct Stack {
    _room: [u8; 16 << 10],
}

/// Children that nobody looks after any more and that may not have been reaped yet.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Makes a child process that nobody waits for.
///
/// The child sends no signal when it ends, so it is invisible to a caller's `wait`. A process that
/// ends soon leaves it to init; one that lives on reaps it at the next call.
fn in_a_child(keep: &[BorrowedFd<'_>], work: Work) -> io::Result<Child> {
    reap();
    let mut keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    keep.sort_unstable();
    let mut stack = Box::<Stack>::new_uninit();
    // One past its end, for it grows downwards.
    let end = stack.as_mut_ptr().wrapping_add(1);
    let room = Box::into_raw(Box::new(Room { _stack: stack, keep, work }));
    match clone_unsignalled(end, room) {
        Ok(pid) => Ok(Child { pid, room }),
        Err(e) => {
            // SAFETY: there is no child, so nobody else has this.
            drop(unsafe { Box::from_raw(room) });
            Err(e)
        }
    }
}

/// A handler of the caller's must not run in the child: it would do so in the caller's memory.
fn clone_unsignalled(stack: *mut Stack, room: *mut Room) -> io::Result<libc::pid_t> {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: the stack and what `run` reads are the child's alone until `reap` finds that it has
    // ended. It makes nothing but bare system calls, so it neither allocates nor uses the caller's
    // thread-local variables.
    let pid = unsafe { libc::clone(run, stack.cast(), libc::CLONE_VM, room.cast()) };
    let made = if pid == -1 { Err(io::Error::last_os_error()) } else { Ok(pid) };
    before.thread_set_mask()?;
    made
}

/// All that the child does. The result is what it ends with.
extern "C" fn run(room: *mut c_void) -> c_int {
    // SAFETY: made by `in_a_child`, and nobody writes to it while the child runs.
    let room = unsafe { &*room.cast::<Room>() };
    close_all_but(&room.keep);
    match &room.work {
        Work::Ask(request) => ask(request).err().unwrap_or(0),
        Work::Outstay => outstay(),
    }
}

/// Sends a request and reads the answer, which is there when it has been sent.
fn ask(request: &[u8]) -> Result<(), c_int> {
    let mut answer = MaybeUninit::<[u8; HEADER + size_of::<c_int>()]>::uninit();
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK;
    let [family, kind, protocol] = [libc::AF_NETLINK, kind, libc::NETLINK_ROUTE].map(number);
    // SAFETY: the buffers are as long as is said and outlive the calls; the answer is read only where
    // the kernel has filled it.
    unsafe {
        let socket = bare_call(libc::SYS_socket, [family, kind, protocol])? as *mut c_void;
        let (bytes, length) = (request.as_ptr().cast_mut().cast(), request.len() as *mut c_void);
        bare_call(libc::SYS_write, [socket, bytes, length])?;
        let length = size_of_val(&answer);
        let room = [socket, answer.as_mut_ptr().cast(), length as *mut c_void];
        if bare_call(libc::SYS_read, room)? < length {
            return Err(libc::EPROTO);
        }
        match answer.as_ptr().byte_add(HEADER).cast::<c_int>().read_unaligned() {
            0 => Ok(()),
            code => Err(-code),
        }
    }
}

fn outstay() -> c_int {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let time = (&raw const time).cast_mut().cast();
    // SAFETY: `time` outlives the call, which only reads it.
    let _ = unsafe { bare_call(libc::SYS_nanosleep, [time, null_mut(), null_mut()]) };
    0
}

/// An argument of a system call.
fn number(value: c_int) -> *mut c_void {
    value as usize as *mut c_void
}

fn leave_to_reap(child: Child) {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(child);
}

fn reap() {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain(|child| {
        let flags = libc::WNOHANG | libc::__WCLONE;
        // SAFETY: a null status is allowed. `__WCLONE` names children without a signal, which
        // nobody else waits for by accident.
        let ended = unsafe { libc::waitpid(child.pid, null_mut(), flags) };
        if ended != 0 {
            // SAFETY: it has left this memory, or somebody could not have waited for it; and it is
            // taken off the list, so this is done once.
            drop(unsafe { Box::from_raw(child.room) });
        }
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
        let _ =
            unsafe { bare_call(libc::SYS_close_range, [number(first), number(last), null_mut()]) };
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Of an index that no link has: a refusal by whatever rights.
    fn refused() -> Deletion {
        Deletion::begin(i32::MAX.cast_unsigned(), &[], "delete nothing").unwrap()
    }

    #[test]
    fn a_refusal_is_told_by_the_child() {
        let (deletion, begun) = (refused(), Instant::now());
        let error = loop {
            assert!(begun.elapsed() < Duration::from_secs(10));
            if let Some(error) = deletion.end() {
                break error;
            }
        };
        assert!([Some(libc::ENODEV), Some(libc::EPERM)].contains(&error.errno()), "{error}");
    }

    #[test]
    fn who_waits_for_children_does_not_meet_this_one() {
        let deletion = refused();
        // SAFETY: a null status is allowed.
        let met = unsafe { libc::waitpid(deletion.child.pid, null_mut(), 0) };
        assert_eq!((met, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ECHILD)));
    }

    #[test]
    fn signals_reach_the_caller_as_before() {
        let mask = || SigSet::thread_get_mask().unwrap();
        let before = mask();
        drop(refused());
        assert_eq!(before, mask());
    }
}
