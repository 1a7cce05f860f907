//! What the caller wants of a run, validated. Pure: the planner's input beside what was observed.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use netup::{Network, Publish};

use crate::capabilities::Adjustment;
use crate::name::{ContainerName, ImageName};

/// A container that is to be run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it is called; one is made up if there is none.
    pub name: Option<ContainerName>,
    /// Where its files come from.
    pub base: Base,
    /// What becomes of what it writes.
    pub writes: Writes,
    /// Whether its root is mounted read-only.
    pub read_only: bool,
    /// Mounts beside the usual ones, in the order given.
    pub volumes: Vec<Volume>,
    /// Its host name, if not its own name.
    pub hostname: Option<String>,
    /// The command and what it finds around itself.
    pub process: Process,
    /// How it is connected.
    pub net: Net,
    /// Name servers in place of the host's.
    pub dns: Vec<IpAddr>,
    /// Whose ids its users have outside.
    pub users: Users,
    /// What it may do.
    pub security: Security,
    /// What it may use.
    pub limits: Limits,
    /// Whether a first process of ours reaps and forwards signals; otherwise the command is PID 1.
    pub init: bool,
    /// Whether the calls are printed.
    pub explain: Explain,
    /// Whether warnings are held back.
    pub quiet: bool,
}

/// A command that is to be run in a running container.
#[derive(Debug, Clone)]
pub struct ExecOrder {
    /// Which container.
    pub name: ContainerName,
    /// The command and what it finds around itself.
    pub process: Process,
}

/// Where the files of a container come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A directory that holds a root file system.
    Directory(PathBuf),
    /// An image in the store.
    Image(ImageName),
}

/// What becomes of what a container writes to its root. The base itself changes only if told so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Writes {
    /// A snapshot where the store has them, otherwise in memory, and gone with the container.
    #[default]
    Discard,
    /// On disk, in the store, and gone with the container.
    Disk,
    /// In memory, and gone with the container.
    Memory,
    /// To the base directory itself.
    Direct,
    /// Kept as a new image.
    Keep(ImageName),
}

/// A mount that the caller asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Where it is seen in the container, absolute.
    pub at: PathBuf,
    /// What is seen there.
    pub kind: VolumeKind,
}

/// What is mounted by a [`Volume`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeKind {
    /// A file or directory of the host, with what is mounted below it.
    Bind {
        /// The path on the host, absolute.
        source: PathBuf,
        /// Whether the container may only read it.
        read_only: bool,
    },
    /// Memory, gone with the container.
    Tmpfs {
        /// The most that fits, in bytes.
        size: Option<u64>,
        /// Permissions of its root.
        mode: Option<u32>,
    },
}

/// The command and what it finds around itself.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// The words of the command; none means the image's own.
    pub command: Vec<OsString>,
    /// `KEY=VALUE` sets, `KEY` alone takes the caller's value.
    pub env: Vec<OsString>,
    /// The working directory, absolute.
    pub cwd: Option<PathBuf>,
    /// `USER[:GROUP]`, names or numbers, as written.
    pub user: Option<String>,
    /// Whether it gets a terminal of its own.
    pub tty: bool,
    /// Whether it reads the caller's standard input.
    pub interactive: bool,
    /// Limits on single resources, `RLIMIT_*` by number: soft and hard.
    pub rlimits: Vec<(u32, u64, u64)>,
}

/// How a container is connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Net {
    /// Only to itself: a network namespace with `lo` up.
    #[default]
    None,
    /// The host's own network.
    Host,
    /// An existing network namespace, by path.
    Join(PathBuf),
    /// By a veth pair.
    Attach(Box<Network>),
    /// By a helper process that needs no rights.
    Userspace {
        /// Which one.
        helper: Helper,
        /// Ports of the host that lead to ports of the container.
        publish: Vec<Publish>,
    },
}

/// A program that connects a network namespace without rights on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helper {
    /// pasta, of passt.
    Pasta,
    /// slirp4netns.
    Slirp4netns,
}

/// Whose ids the container's users have outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Users {
    /// Without root the ranges of `/etc/subuid`; with root no user namespace, and a warning.
    #[default]
    Auto,
    /// The ranges that `/etc/subuid` and `/etc/subgid` give the caller.
    Ranges,
    /// The caller's own id alone, as the container's root.
    Single,
    /// No user namespace: root inside is root outside.
    Host,
}

/// What a container may do. The default is the strictest.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// Capabilities beside or without the usual ones.
    pub capabilities: Vec<Adjustment>,
    /// Whether set-user-ID programs and file capabilities take effect.
    pub new_privileges: bool,
    /// Whether the system-call filter is left out.
    pub no_seccomp: bool,
    /// Whether it may make user namespaces of its own.
    pub nested_users: bool,
    /// Whether paths of `/proc` and `/sys` stay unmasked.
    pub unmasked: bool,
}

/// What a container may use; needs a cgroup v2 controller each.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processors' worth of time, in thousandths.
    pub millicpus: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// Whether the calls are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Explain {
    /// No.
    #[default]
    No,
    /// As they are made.
    Running,
    /// Instead of being made.
    Only,
}
