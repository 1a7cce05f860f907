//! One error type for the runner.
//!
//! A message says what was attempted with which operands, the cause (the errno by its name) and the
//! remedy when one is known. Context wraps a message and never changes the kind.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// Result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for callers that branch on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument makes no sense, or two of them contradict each other.
    InvalidArgument,
    /// No container, image or root file system answers to that name.
    NotFound,
    /// The kernel refused for want of a right (`EPERM`, `EACCES`).
    NotPermitted,
    /// The name, or something that only one can have, is taken.
    Conflict,
    /// A program that is needed is not installed.
    MissingTool,
    /// The kernel or the machine lacks a feature.
    MissingFeature,
    /// The kernel refused for another reason.
    Kernel,
    /// A file below the state or image folder could not be read or written, or holds something
    /// foreign.
    State,
    /// What was to be imported is damaged, hostile or of an unknown format.
    BadImage,
    /// The network that was asked for could not be had.
    Network,
    /// The command is there and cannot be executed.
    NotExecutable,
    /// There is no such command in the container.
    CommandNotFound,
    /// A signal ended the start before the command ran.
    Interrupted,
}

impl ErrorKind {
    /// The exit status of `run` and `exec`, as `docker`, `env` and `chroot` use them: 125 the
    /// runner failed, 126 the command cannot be executed, 127 it is not there.
    ///
    /// ```
    /// assert_eq!(netup_run::ErrorKind::CommandNotFound.exit_code_of_run(), 127);
    /// ```
    #[must_use]
    pub fn exit_code_of_run(self) -> u8 {
        match self {
            Self::NotExecutable => 126,
            Self::CommandNotFound => 127,
            _ => 125,
        }
    }

    /// The exit status of the other verbs, as in `netup`: 1 failed, 2 usage, 3 not found, 4 not
    /// permitted, 5 conflict.
    ///
    /// ```
    /// assert_eq!(netup_run::ErrorKind::NotFound.exit_code(), 3);
    /// ```
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::InvalidArgument => 2,
            Self::NotFound | Self::CommandNotFound => 3,
            Self::NotPermitted | Self::NotExecutable => 4,
            Self::Conflict => 5,
            Self::MissingTool
            | Self::MissingFeature
            | Self::Kernel
            | Self::State
            | Self::BadImage
            | Self::Network
            | Self::Interrupted => 1,
        }
    }
}

/// An error with its cause, operands, errno and a remedy.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    errno: Option<Errno>,
    hint: Option<String>,
    /// The signal that ended what was done.
    signal: Option<u8>,
    /// Failures of the undo that this error set off. They never replace the cause.
    undo: Vec<Error>,
}

impl Error {
    /// An error of our own finding.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        let (errno, hint, signal) = (None, None, None);
        Self(Box::new(Inner { kind, message, errno, hint, signal, undo: Vec::new() }))
    }

    /// The end by a signal, of this number and name, before the command ran.
    pub(crate) fn interrupted(signal: u8, name: &str) -> Self {
        let message = format!("{name} ended the start: the command was not run");
        let mut error = Self::new(ErrorKind::Interrupted, message);
        error.0.signal = Some(signal);
        error
    }

    /// A wrong argument.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// A refusal by the kernel: `operation` names the call with its operands.
    pub fn kernel(operation: impl Into<String>, errno: Errno) -> Self {
        let mut error = Self::new(kind_of_errno(errno), operation);
        error.0.errno = Some(errno);
        error
    }

    /// A failed system call of the standard library.
    pub fn io(operation: impl Into<String>, source: &io::Error) -> Self {
        match source.raw_os_error() {
            Some(errno) => Self::kernel(operation, Errno::from_raw_os_error(errno)),
            None => Self::new(ErrorKind::Kernel, format!("{}: {source}", operation.into())),
        }
    }

    /// A failed operation on a file of our own.
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
    pub fn errno(&self) -> Option<Errno> {
        self.0.errno
    }

    /// The exit status of `run` and `exec`: 128+n if signal n ended the start, otherwise
    /// [that of the kind](ErrorKind::exit_code_of_run).
    #[must_use]
    pub fn exit_code_of_run(&self) -> u8 {
        self.0.signal.map_or(self.0.kind.exit_code_of_run(), |number| 128 + number)
    }

    /// The message with its cause, but without the remedy.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = self.0.message.clone();
        if let Some(errno) = self.0.errno {
            text += &format!(": {}", describe(errno));
        }
        for failure in &self.0.undo {
            text += &format!("; undo also failed: {}", failure.message());
        }
        text
    }
}

/// For the way from the container's first process to the runner.
#[derive(serde::Serialize, serde::Deserialize)]
struct Encoded {
    kind: ErrorKind,
    message: String,
    errno: Option<i32>,
    hint: Option<String>,
}

impl Error {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let errno = self.0.errno.map(Errno::raw_os_error);
        // A hostile image can make a path as long as it likes; a message is one datagram.
        let message = self.0.message.chars().take(500).collect();
        let hint = self.0.hint.clone();
        let encoded = Encoded { kind: self.0.kind, message, errno, hint };
        serde_json::to_vec(&encoded).unwrap_or_default()
    }

    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let Encoded { kind, message, errno, hint } = serde_json::from_slice(message).ok()?;
        let errno = errno.map(Errno::from_raw_os_error);
        Some(Self(Box::new(Inner { kind, message, errno, hint, signal: None, undo: Vec::new() })))
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

/// The network's own words are kept whole; they carry their remedy.
impl From<netup::Error> for Error {
    fn from(error: netup::Error) -> Self {
        let kind = match error.kind() {
            netup::ErrorKind::InvalidArgument => ErrorKind::InvalidArgument,
            netup::ErrorKind::NotPermitted => ErrorKind::NotPermitted,
            netup::ErrorKind::MissingTool => ErrorKind::MissingTool,
            netup::ErrorKind::MissingFeature => ErrorKind::MissingFeature,
            _ => ErrorKind::Network,
        };
        Self::new(kind, error.to_string())
    }
}

/// The text and the symbolic name, which is what people search for.
fn describe(errno: Errno) -> String {
    let named = nix::errno::Errno::from_raw(errno.raw_os_error());
    format!("{} ({named:?})", named.desc())
}

fn kind_of_errno(errno: Errno) -> ErrorKind {
    match errno {
        Errno::PERM | Errno::ACCESS | Errno::ROFS => ErrorKind::NotPermitted,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV => ErrorKind::MissingFeature,
        _ => ErrorKind::Kernel,
    }
}
