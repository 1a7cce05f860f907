//! The container's network namespace, found by what the caller calls it and held from then on.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use netlink_sys::Socket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::ident::text_conversions;
use crate::kernel::netns;

/// Where `ip netns` keeps its names.
pub const NETNS_DIR: &str = "/run/netns";

/// What the caller calls a network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TargetName {
    /// The namespace of this process.
    Pid(i32),
    /// A path such as `/proc/N/ns/net` or a bind mount.
    Path(PathBuf),
    /// A name under `/run/netns`.
    Named(String),
    /// An open descriptor of this process.
    Fd(i32),
}

impl FromStr for TargetName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!("target {text:?} {why}"))
                .hint("give a PID, a path, a name under /run/netns, or fd:N")
        };
        if let Some(number) = text.strip_prefix("fd:") {
            return number
                .parse()
                .map(Self::Fd)
                .map_err(|e| bad(&format!("has no valid descriptor ({e})")));
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return match text.parse() {
                Ok(pid) if pid > 0 => Ok(Self::Pid(pid)),
                _ => Err(bad("is not a possible PID")),
            };
        }
        match text {
            "" | "." | ".." => Err(bad("names nothing")),
            _ if text.contains('\0') => Err(bad("holds a NUL byte")),
            _ if text.contains('/') => Ok(Self::Path(text.into())),
            _ => Ok(Self::Named(text.to_owned())),
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "{pid}"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Named(name) => f.write_str(name),
            Self::Fd(fd) => write!(f, "fd:{fd}"),
        }
    }
}

text_conversions!(TargetName);

impl TargetName {
    /// The words to put before a command so that it runs in this namespace.
    #[must_use]
    pub fn enter_command(&self) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Pid(pid) => &["nsenter", "-t", &pid.to_string(), "-n"],
            Self::Named(name) => &["ip", "netns", "exec", name],
            Self::Path(_) | Self::Fd(_) => &["nsenter", &format!("--net={}", self.ip_argument())],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// What follows `netns` in `ip link add … peer …`.
    #[must_use]
    pub fn ip_argument(&self) -> String {
        match self {
            Self::Pid(pid) => pid.to_string(),
            Self::Path(path) => path.display().to_string(),
            Self::Named(name) => name.clone(),
            Self::Fd(fd) => format!("/proc/self/fd/{fd}"),
        }
    }

    fn open(&self) -> Result<OwnedFd> {
        match self {
            Self::Pid(pid) => open_of_pid(*pid),
            Self::Path(path) => open_path(path, self),
            Self::Named(name) => open_path(&Path::new(NETNS_DIR).join(name), self),
            Self::Fd(fd) => netns::adopt(*fd),
        }
    }
}

/// A network namespace that is held open, with the name it was found by.
///
/// A PID is held by pidfd while its namespace is opened, so a PID that was reused meanwhile is
/// refused; from then on the namespace's own descriptor counts, whatever becomes of the process.
pub struct Target {
    name: TargetName,
    netns: OwnedFd,
    route: Socket,
    cookie: u64,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}, cookie {})", self.name, self.cookie)
    }
}

impl Target {
    /// Opens the namespace that `text` stands for: a PID, a path, a name under `/run/netns`, `fd:N`.
    ///
    /// ```no_run
    /// let target = netup::Target::open("/run/netns/blue")?;
    /// # Ok::<(), netup::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`TargetNotFound`](ErrorKind::TargetNotFound), [`NotANetns`](ErrorKind::NotANetns),
    /// [`OwnNetns`](ErrorKind::OwnNetns) for the caller's own namespace, and
    /// [`NotPermitted`](ErrorKind::NotPermitted).
    pub fn open(text: &str) -> Result<Self> {
        Self::open_name(text.parse()?, false)
    }

    /// As [`Target::open`], and takes the caller's own namespace too if `allow_own`.
    ///
    /// # Errors
    /// As [`Target::open`].
    pub fn open_name(name: TargetName, allow_own: bool) -> Result<Self> {
        let netns = name.open()?;
        Self::found(name, netns, allow_own)
    }

    /// A namespace that the caller holds, with the name by which others will find it: of a process,
    /// say, that is about to join it.
    ///
    /// # Errors
    /// As [`Target::open`], but for [`TargetNotFound`](ErrorKind::TargetNotFound).
    pub fn held(name: TargetName, netns: OwnedFd) -> Result<Self> {
        Self::found(name, netns, false)
    }

    fn found(name: TargetName, netns: OwnedFd, allow_own: bool) -> Result<Self> {
        if !netns::is_netns(netns.as_fd()) {
            return Err(Error::new(
                ErrorKind::NotANetns,
                format!("{name} is not a network namespace"),
            )
            .hint("give a PID, a path such as /proc/PID/ns/net, or a name under /run/netns"));
        }
        let home = netns::current()?;
        if !allow_own && netns::same(netns.as_fd(), home.as_fd())? {
            return Err(Error::new(ErrorKind::OwnNetns, format!("{name} is the caller's own network namespace"))
                .hint("start the container in a network namespace of its own (unshare -n), or add --allow-own-netns"));
        }
        let (route, cookie) = netns::visit_from(home, netns.as_fd(), netns::route_socket)
            .flatten()
            .map_err(|e| e.context(format!("enter {name}")))?;
        Ok(Self { name, netns, route, cookie })
    }

    /// What the caller called it.
    #[must_use]
    pub fn name(&self) -> &TargetName {
        &self.name
    }

    /// The namespace's identity, never reused within a boot.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// The namespace.
    #[must_use]
    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    pub(crate) fn route_socket(&self) -> &Socket {
        &self.route
    }
}

fn open_of_pid(pid: i32) -> Result<OwnedFd> {
    let gone = |e: &io::Error| {
        Error::io(format!("open process {pid}"), e)
            .with_kind(ErrorKind::TargetNotFound)
            .hint("the process has ended or never was; see ps")
    };
    let held = netns::pidfd_open(pid).map_err(|e| gone(&e))?;
    let path = format!("/proc/{pid}/ns/net");
    let netns = File::open(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => gone(&e),
        _ => Error::io(format!("open {path}"), &e),
    })?;
    // Alive after the open means alive before it: the path named this very process.
    match has_ended(held.as_fd())? {
        true => Err(gone(&io::Error::from_raw_os_error(libc::ESRCH))),
        false => Ok(netns.into()),
    }
}

fn has_ended(pidfd: BorrowedFd<'_>) -> Result<bool> {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO)
        .map(|ready| ready > 0)
        .map_err(|errno| Error::kernel("poll a pidfd", errno as i32, None))
}

fn open_path(path: &Path, name: &TargetName) -> Result<OwnedFd> {
    // O_NONBLOCK: a FIFO at this path must not make us wait for its writer.
    let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    opened.map(OwnedFd::from).map_err(|e| {
        let error = Error::io(format!("open {}", path.display()), &e);
        match (e.kind(), name) {
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, TargetName::Named(name)) => {
                error
                    .with_kind(ErrorKind::TargetNotFound)
                    .hint(format!("there is no namespace {name:?}; see ip netns list"))
            }
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _) => {
                error.with_kind(ErrorKind::TargetNotFound).hint("check the path")
            }
            _ => error,
        }
    })
}
