//! One error type for the whole crate.
//!
//! Callers branch on [`ErrorKind`]; people read [`Display`](fmt::Display), which is one line:
//! what was attempted with which operands, the cause (errno and the kernel's own words), and the
//! remedy when one is known. Context wraps a message and never changes the kind.
//! What is deliberately absent: an `Other(String)` kind, and any logging.

use std::fmt;
use std::io;

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for callers that branch on it. [`ErrorKind::exit_code`] is the one table of
/// exit statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument makes no sense, or two of them contradict each other.
    InvalidArgument,
    /// The process, namespace or name that was to be connected does not exist.
    TargetNotFound,
    /// The path exists but is no network namespace.
    NotANetns,
    /// The target is the caller's own network namespace.
    OwnNetns,
    /// No attachment answers to that id or target.
    AttachmentNotFound,
    /// The kernel refused for want of a right (`EPERM`, `EACCES`).
    NotPermitted,
    /// The attachment exists and differs from what is asked for.
    AttachmentExists,
    /// An interface of that name exists already.
    InterfaceExists,
    /// An address, or the network it lies in, belongs to something else.
    AddressInUse,
    /// A port to publish is taken, by another attachment or by a process of the host.
    PortInUse,
    /// The container already has a route to that destination.
    RouteExists,
    /// The name given as bridge belongs to a link of another kind.
    NotABridge,
    /// A bridge that is not ours lacks what the request needs.
    BridgeUnsuitable,
    /// In the place of a CNI plugin is a file that is not ours.
    PluginExists,
    /// No free address is left in a pool.
    PoolExhausted,
    /// A program that is needed is not installed.
    MissingTool,
    /// The kernel lacks a feature or a module.
    MissingFeature,
    /// The kernel refused for another reason.
    Kernel,
    /// `nft` refused the ruleset.
    Nft,
    /// A file under the state folder could not be read or written, or holds something foreign.
    State,
    /// What was applied is not what the kernel holds afterwards, or has drifted since.
    Drifted,
    /// A progress callback asked to stop.
    Interrupted,
}

impl ErrorKind {
    /// The kind in one word, for machines.
    ///
    /// ```
    /// assert_eq!(netup::ErrorKind::PortInUse.as_str(), "port_in_use");
    /// ```
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::TargetNotFound => "target_not_found",
            Self::NotANetns => "not_a_netns",
            Self::OwnNetns => "own_netns",
            Self::AttachmentNotFound => "attachment_not_found",
            Self::NotPermitted => "not_permitted",
            Self::AttachmentExists => "attachment_exists",
            Self::InterfaceExists => "interface_exists",
            Self::AddressInUse => "address_in_use",
            Self::PortInUse => "port_in_use",
            Self::RouteExists => "route_exists",
            Self::NotABridge => "not_a_bridge",
            Self::BridgeUnsuitable => "bridge_unsuitable",
            Self::PluginExists => "plugin_exists",
            Self::PoolExhausted => "pool_exhausted",
            Self::MissingTool => "missing_tool",
            Self::MissingFeature => "missing_feature",
            Self::Kernel => "kernel",
            Self::Nft => "nft",
            Self::State => "state",
            Self::Drifted => "drifted",
            Self::Interrupted => "interrupted",
        }
    }

    /// The exit status of the command line: 1 failed, 2 usage, 3 not found, 4 not permitted,
    /// 5 conflict.
    ///
    /// ```
    /// assert_eq!(netup::ErrorKind::PortInUse.exit_code(), 5);
    /// ```
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::InvalidArgument | Self::NotANetns | Self::OwnNetns => 2,
            Self::TargetNotFound | Self::AttachmentNotFound => 3,
            Self::NotPermitted => 4,
            Self::AttachmentExists
            | Self::InterfaceExists
            | Self::AddressInUse
            | Self::PortInUse
            | Self::RouteExists
            | Self::NotABridge
            | Self::BridgeUnsuitable
            | Self::PluginExists => 5,
            Self::PoolExhausted
            | Self::MissingTool
            | Self::MissingFeature
            | Self::Kernel
            | Self::Nft
            | Self::State
            | Self::Drifted
            | Self::Interrupted => 1,
        }
    }
}

/// An error with its cause, operands, errno, the kernel's text and a remedy.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    errno: Option<i32>,
    kernel_text: Option<String>,
    hint: Option<String>,
    /// Failures of the undo that this error set off. They never replace the cause.
    undo: Vec<Error>,
}

impl Error {
    /// An error of our own finding.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            errno: None,
            kernel_text: None,
            hint: None,
            undo: Vec::new(),
        }))
    }

    /// A wrong argument. A remedy that says more than where to read on is given by
    /// [`Error::hint`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message).hint("see netup up --help")
    }

    /// A refusal by the kernel: `operation` names the call with its operands.
    pub fn kernel(operation: impl Into<String>, errno: i32, kernel_text: Option<String>) -> Self {
        let mut error = Self::new(kind_of_errno(errno), operation);
        error.0.errno = Some(errno);
        error.0.kernel_text = kernel_text.filter(|text| !text.is_empty());
        error.0.hint = hint_of_errno(errno).map(str::to_owned);
        error
    }

    /// A failed system call.
    pub fn io(operation: impl Into<String>, source: &io::Error) -> Self {
        match source.raw_os_error() {
            Some(errno) => Self::kernel(operation, errno, None),
            None => Self::new(ErrorKind::Kernel, format!("{}: {source}", operation.into())),
        }
    }

    /// A failed operation on the state folder.
    pub fn state(operation: impl Into<String>, source: &io::Error) -> Self {
        let error = Self::io(operation, source);
        match error.kind() {
            ErrorKind::NotPermitted => error,
            _ => error.with_kind(ErrorKind::State),
        }
    }

    /// The same error under a kind that says more than its errno does.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same error with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same error with what was being done around it.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// The same error with the failures of the undo that followed it.
    #[must_use]
    pub fn with_undo_failures(mut self, failures: Vec<Error>) -> Self {
        self.0.undo.extend(failures);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The errno, when the kernel refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The remedy, when one is known.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What the undo could not put back; empty when everything is as it was.
    #[must_use]
    pub fn undo_failures(&self) -> &[Error] {
        &self.0.undo
    }

    /// The message with its cause, but without the remedy.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = self.0.message.clone();
        if let Some(errno) = self.0.errno {
            text += &format!(": {}", describe_errno(errno));
        }
        if let Some(kernel) = &self.0.kernel_text {
            text += &format!(" (kernel: {kernel})");
        }
        for failure in &self.0.undo {
            text += &format!("; undo also failed: {}", failure.message());
        }
        text
    }

    /// Whether the kernel said that the thing is not there.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(
            self.0.errno,
            Some(libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENXIO)
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message())?;
        match &self.0.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

fn describe_errno(errno: i32) -> String {
    // `io::Error` prints "text (os error N)"; the symbolic name is what people search for.
    let symbol = nix::errno::Errno::from_raw(errno);
    format!("{} ({symbol:?})", symbol.desc())
}

fn kind_of_errno(errno: i32) -> ErrorKind {
    match errno {
        libc::EPERM | libc::EACCES | libc::EROFS => ErrorKind::NotPermitted,
        libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOPROTOOPT => {
            ErrorKind::MissingFeature
        }
        _ => ErrorKind::Kernel,
    }
}

fn hint_of_errno(errno: i32) -> Option<&'static str> {
    match errno {
        libc::EPERM | libc::EACCES => Some(
            "run as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN over both network namespaces",
        ),
        libc::EROFS => Some("the file system is mounted read-only here; remount it read-write"),
        libc::ENOSPC => Some("the file system is full; free some space"),
        libc::EMFILE | libc::ENFILE => Some("raise the limit of open files (ulimit -n)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_cause_kernel_text_undo_and_remedy() {
        let undo = Error::kernel("ip link del nu1", libc::EBUSY, None);
        let error = Error::kernel("ip link add nu1", libc::EPERM, Some("no right".into()))
            .context("attach c1")
            .with_undo_failures(vec![undo])
            .hint("run as root");
        assert_eq!(
            error.to_string(),
            "attach c1: ip link add nu1: Operation not permitted (EPERM) (kernel: no right); \
             undo also failed: ip link del nu1: Device or resource busy (EBUSY); run as root"
        );
        assert_eq!(error.kind(), ErrorKind::NotPermitted);
        assert_eq!(error.errno(), Some(libc::EPERM));
    }

    #[test]
    fn exit_codes_are_pinned() {
        use ErrorKind::*;
        let table = [
            (InvalidArgument, 2),
            (TargetNotFound, 3),
            (NotANetns, 2),
            (OwnNetns, 2),
            (AttachmentNotFound, 3),
            (NotPermitted, 4),
            (AttachmentExists, 5),
            (InterfaceExists, 5),
            (AddressInUse, 5),
            (PortInUse, 5),
            (RouteExists, 5),
            (NotABridge, 5),
            (BridgeUnsuitable, 5),
            (PluginExists, 5),
            (PoolExhausted, 1),
            (MissingTool, 1),
            (MissingFeature, 1),
            (Kernel, 1),
            (Nft, 1),
            (State, 1),
            (Drifted, 1),
            (Interrupted, 1),
        ];
        for (kind, code) in table {
            assert_eq!(kind.exit_code(), code, "{kind:?}");
        }
    }
}
