//! The laboratory: namespaces and processes that end when it does.

use crate::{Node, blame::Blame, kernel};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    ops::Deref,
    path::PathBuf,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

/// A set of namespaces, processes and wires. Dropping it ends and removes all of them.
///
/// The process should be isolated first ([`isolate!`](crate::isolate)): names live in /run/netns.
#[derive(Debug)]
pub struct Lab {
    serial: u32,
    names: Mutex<Vec<PathBuf>>,
    processes: Mutex<Vec<Arc<Process>>>,
}

/// A process in a network namespace of its own, with lo down, as `unshare --net` leaves it.
#[derive(Debug, Clone)]
pub struct Container {
    node: Node,
    process: Arc<Process>,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    child: Mutex<Child>,
}

impl Lab {
    /// An empty laboratory.
    #[expect(clippy::new_without_default, reason = "a Lab is a place, not a value with a default")]
    pub fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Self { serial, names: Mutex::default(), processes: Mutex::default() }
    }

    /// A fresh namespace under a name in /run/netns, with lo up.
    pub fn host(&self, name: &str) -> io::Result<Node> {
        let node = self.named(name)?;
        node.run(kernel::loopback_up)?.blame(format_args!("bring lo up in {name}"))?;
        Ok(node)
    }

    /// A fresh namespace under a name in /run/netns, with lo down, as `ip netns add` leaves it.
    pub fn named(&self, name: &str) -> io::Result<Node> {
        // Tests of one file run in parallel and share /run/netns: the serial keeps equal names apart.
        let path = PathBuf::from(format!("/run/netns/{name}-{}", self.serial));
        File::create_new(&path).blame(format_args!("create {}", path.display()))?;
        lock(&self.names).push(path.clone());
        thread::scope(|scope| scope.spawn(|| pin_new_netns(&path)).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .blame(format_args!("pin a new netns at {}", path.display()))?;
        Ok(Node::at(name, path))
    }

    /// A process in a fresh namespace.
    pub fn container(&self, name: &str) -> io::Result<Container> {
        // It waits for its input to end. That is better than a parent-death signal: the kernel sends
        // that one when the *thread* that forked ends, while the pipe lives as long as this process.
        let mut command = kernel::command_unshared(OsStr::new("cat"));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let child = child.blame(format_args!("start the process of {name}"))?;
        let pid = child.id();
        let process = Arc::new(Process { pid, child: Mutex::new(child) });
        lock(&self.processes).push(Arc::clone(&process));
        Ok(Container { node: Node::at(name, format!("/proc/{pid}/ns/net")), process })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in lock(&self.processes).drain(..) {
            process.end().ok();
        }
        for path in lock(&self.names).drain(..) {
            // Lazily, since a test may have bound it a second time or still hold it open.
            umount2(&path, MntFlags::MNT_DETACH).ok();
            fs::remove_file(&path).ok();
        }
    }
}

impl Container {
    /// The process id, which is what one gives to netup.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Ends the process and reaps it. Its namespace goes with it, unless something else holds it.
    pub fn kill(&self) -> io::Result<()> {
        self.process.end()
    }
}

impl Deref for Container {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Process {
    /// Killing twice is fine. The pid cannot have been reused: until `wait` the child is ours.
    fn end(&self) -> io::Result<()> {
        let mut child = lock(&self.child);
        child.kill().blame(format_args!("kill {}", self.pid))?;
        child.wait().blame(format_args!("reap {}", self.pid)).map(drop)
    }
}

fn pin_new_netns(path: &std::path::Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let bind = MsFlags::MS_BIND;
    Ok(mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, bind, None::<&str>)?)
}

/// A test that panicked while it held the lock must not keep the laboratory from cleaning up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
