//! The steps by which a container is made, as data: printed by `--explain`, made by `inside`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::mount::{Attributes, Bind, Fresh};
use super::root::RootPlan;
use crate::capabilities::Sets;

/// One thing that the container's first process does, or the command's before it is the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The kernel kills this process when the runner ends, however it ends. Every change of ids
    /// takes the order back, so it is given again.
    DieWithParent,
    /// Waits until the runner has written the id maps.
    AwaitIds,
    /// Becomes the user namespace's root.
    BecomeRoot {
        /// Whether the kernel lets us drop the supplementary groups.
        drop_groups: bool,
    },
    /// A session keyring of its own.
    SessionKeyring,
    /// A network namespace that exists already.
    JoinNetwork(PathBuf),
    /// Waits for the network namespace that is made meanwhile, and enters it.
    EnterNetwork,
    /// `lo` up.
    LoopbackUp,
    /// No mount made from here on is seen outside, nor any of outside in here.
    PrivateMounts,
    /// Opens what of the host is to be seen inside, before the new root covers it.
    OpenSources {
        /// Files and directories.
        binds: Vec<Bind>,
        /// Devices, where they cannot be made.
        devices: Vec<Device>,
    },
    /// Takes the idmapped mounts of these from the runner: it has the right to make them, and the way
    /// to what is in its store.
    TakeIdmapped(Vec<PathBuf>),
    /// A tmpfs for what the runner puts into the container.
    Scratch {
        /// Over this directory, in the container's mount namespace only.
        over: PathBuf,
        /// The most that fits, in bytes.
        size: Option<u64>,
        /// Whether what it covers is taken up before, to become the root.
        takes_up: bool,
    },
    /// The root file system, over the scratch.
    Root(RootPlan),
    /// A new file system.
    Mount(Fresh),
    /// A device node, made.
    MakeDevice(Device),
    /// A device node, the host's, opened before.
    BindDevice(Device),
    /// A symbolic link in `/dev`.
    Link {
        /// Where.
        at: PathBuf,
        /// What it says.
        to: PathBuf,
    },
    /// What was opened before as the source of this number.
    Bind(usize, Bind),
    /// A file of ours over whatever the image has there.
    Put(File),
    /// The new root becomes the root, and the old one is mounted on top of it.
    Pivot,
    /// Nothing of the old root is left.
    DetachOldRoot,
    /// Waits until nothing of the old root is left.
    AwaitDetached,
    /// The root can no longer be written.
    ReadOnlyRoot,
    /// Hides a file or directory of `/proc` or `/sys`, if there is one.
    Mask(PathBuf),
    /// A part of `/proc` that can only be read, if there is one.
    ReadOnlyPath(PathBuf),
    /// The host name.
    Hostname(String),
    /// A terminal of the container's own, whose other end goes to the runner.
    OpenTerminal,
    /// Says that all is made, and waits until the runner has done its part: the network, and the
    /// size of the terminal.
    AwaitRunner,
    /// Hands the runner what tells the command's end, and waits until the network is there.
    AwaitNetwork,
    /// The command's process is made; this one stays as PID 1, reaps and forwards signals.
    Init,
    /// Nobody who has not the right to look into every process can look into this one, or into PID 1,
    /// until it is the command: they share their memory. Later than [`AwaitDetached`](Self::AwaitDetached),
    /// for who detaches the old root enters by PID 1.
    Hide,
    /// A session of its own, so that nothing can be typed into the caller's terminal.
    NewSession {
        /// Whether the container's terminal becomes its controlling one, and its standard files.
        terminal: bool,
    },
    /// Standard input that ends at once.
    NoInput,
    /// A limit on a resource.
    Limit {
        /// `RLIMIT_*`.
        resource: u32,
        /// What a process may raise itself to is `hard`.
        soft: u64,
        /// The most.
        hard: u64,
    },
    /// No program gains rights by being executed.
    NoNewPrivileges,
    /// The system-call filter.
    Seccomp {
        /// Whether namespaces may be made.
        nested_users: bool,
    },
    /// Becomes the user that the command runs as, with these capabilities.
    Identity {
        /// `USER[:GROUP]` as written; none is root.
        user: Option<String>,
        /// The capabilities of a command that runs as root.
        of_root: Sets,
        /// The capabilities of any other.
        of_others: Sets,
        /// Whether the kernel lets us set supplementary groups.
        set_groups: bool,
    },
    /// The working directory.
    WorkingDirectory(PathBuf),
    /// Becomes the command.
    Execute {
        /// Its words.
        command: Vec<OsString>,
        /// `KEY=VALUE`; `HOME` is added if it is not there.
        environment: Vec<OsString>,
    },
}

/// A file that the runner provides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where, absolute in the container.
    pub at: PathBuf,
    /// What it holds.
    pub content: Vec<u8>,
    /// Whether the container is of no use without it: others are left out where the root has no such
    /// file and takes none, as one of another user's does.
    pub needed: bool,
}

/// A character device that every container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Its name below `/dev`.
    pub name: &'static str,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
}

/// The devices of a container: those that hold nothing of the host.
pub const DEVICES: [Device; 6] = [
    Device { name: "null", major: 1, minor: 3 },
    Device { name: "zero", major: 1, minor: 5 },
    Device { name: "full", major: 1, minor: 7 },
    Device { name: "random", major: 1, minor: 8 },
    Device { name: "urandom", major: 1, minor: 9 },
    Device { name: "tty", major: 5, minor: 0 },
];

/// The flags of the root: its device nodes are only names.
pub const ROOT_ATTRIBUTES: Attributes = Attributes::NO_DEVICES;
