//! Network namespaces: told apart by cookie, entered and left here only.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic;
use std::process;
use std::thread;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Error, ErrorKind, Result};

/// `NS_GET_NSTYPE`, ioctl_nsfs(2): `_IO(0xb7, 3)`.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
/// `SO_NETNS_COOKIE`, since Linux 5.14 (commit e8b9eab99232). Never reused within a boot, unlike
/// the namespace's inode number.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Runs `work` in the namespace.
///
/// The calling thread goes there and comes back, whatever `work` does: also when it panics, and if
/// it cannot come back the process ends, since all that it did from then on would happen in the
/// wrong place. A thread of its own would need none of this, and costs 0.2 ms when the machine is
/// idle, a tenth of a whole `netup up`.
///
/// Sockets opened there stay there; `/proc/sys/net` opened there is the namespace's own, since
/// procfs resolves it by the opener's namespace.
pub fn visit<T>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Result<T> {
    visit_from(current()?, netns, work)
}

/// As [`visit`], where the own namespace has been opened already.
pub fn visit_from<T>(home: OwnedFd, netns: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Result<T> {
    let enter = |netns: BorrowedFd<'_>, which: &str| {
        setns(netns, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::kernel(format!("setns into {which}"), errno as i32, None))
    };
    // To come back takes a right over the own namespace, which may be another user namespace's.
    // Whoever may enter it from here may also enter it from there.
    enter(home.as_fd(), "the own network namespace")?;
    enter(netns, "the container's network namespace")?;
    let home = Home(home);
    let result = work();
    drop(home);
    Ok(result)
}

/// The way back, taken when this is dropped.
struct Home(OwnedFd);

impl Drop for Home {
    fn drop(&mut self) {
        if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
            process::abort();
        }
    }
}

/// Runs `work` in a network namespace that is made for it and ends with it.
pub fn visit_fresh<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    let visit = || {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::kernel("make a network namespace", errno as i32, None))?;
        Ok(work())
    };
    thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, visit) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
        Err(error) => Err(Error::io("start a thread", &error)),
    })
}

/// The calling thread's own network namespace.
pub fn current() -> Result<OwnedFd> {
    // Not /proc/self: that is the main thread's, and this thread may be in another.
    let path = "/proc/thread-self/ns/net";
    std::fs::File::open(path).map(OwnedFd::from).map_err(|e| Error::io(format!("open {path}"), &e))
}

/// Whether the descriptor is a network namespace, and not another kind or an ordinary file.
pub fn is_netns(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: NS_GET_NSTYPE takes no argument and writes no memory; on a descriptor that is no
    // namespace it fails with ENOTTY.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

/// Whether two descriptors are the same live namespace. Inode numbers are compared, which is right
/// only because both are held open.
pub fn same(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> Result<bool> {
    let identity = |fd| {
        nix::sys::stat::fstat(fd)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .map_err(|errno| Error::kernel("fstat a network namespace", errno as i32, None))
    };
    Ok(identity(a)? == identity(b)?)
}

/// An rtnetlink socket in the calling thread's namespace, with the namespace's cookie.
pub fn route_socket() -> Result<(Socket, u64)> {
    let failed = |e: io::Error| Error::io("open a NETLINK_ROUTE socket", &e);
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
    socket.bind(&SocketAddr::new(0, 0)).map_err(failed)?;
    // The kernel's own words on refusal, and only what the request names in a reply.
    socket.set_ext_ack(true).map_err(failed)?;
    socket.set_cap_ack(true).map_err(failed)?;
    socket.set_netlink_get_strict_chk(true).map_err(failed)?;
    let cookie = cookie_of(&socket)?;
    Ok((socket, cookie))
}

/// A second descriptor of a socket; both share one queue, so only one may be read at a time.
pub fn duplicate(socket: &Socket) -> Result<Socket> {
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, which is this call.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    let fd = fd.try_clone_to_owned().map_err(|e| Error::io("duplicate a netlink socket", &e))?;
    // SAFETY: the new descriptor is owned here and given away exactly once.
    Ok(unsafe { Socket::from_raw_fd(std::os::fd::IntoRawFd::into_raw_fd(fd)) })
}

fn cookie_of(socket: &Socket) -> Result<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `cookie`, which outlives the
    // call; any bit pattern is a valid u64.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if status == 0 {
        return Ok(cookie);
    }
    Err(Error::io("read the network namespace's cookie", &io::Error::last_os_error())
        .with_kind(ErrorKind::MissingFeature)
        .hint("Linux 5.14 or newer is needed"))
}

/// A descriptor of this process, duplicated so that it can be kept.
pub fn adopt(number: i32) -> Result<OwnedFd> {
    let operation = || format!("use file descriptor {number}");
    if number < 0 {
        return Err(Error::invalid(format!("file descriptor {number} is negative"))
            .hint("give the number of an open descriptor"));
    }
    // SAFETY: if no such descriptor is open, the duplication fails with EBADF and nothing is kept.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fd.as_fd().try_clone_to_owned().map_err(|e| {
        Error::io(operation(), &e)
            .with_kind(ErrorKind::TargetNotFound)
            .hint("the caller must leave the descriptor open across exec")
    })
}

/// A handle of a process, which never comes to mean another one.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: two plain integers go in, a new descriptor or -1 comes out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = libc::c_int::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec as always.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
