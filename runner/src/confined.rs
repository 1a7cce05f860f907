//! Work on a container's files with the ids of its users, in a child process of its own mount
//! namespace: what the child mounts, or what hostile files make it do, is seen by nobody else.

use std::fs::File;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, Signal, WaitOptions, chdir, getpid, getppid, pidfd_send_signal, pivot_root,
    set_parent_process_death_signal, umask, waitpid,
};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::idmap::UserNamespace;
use crate::plan::Namespaces;
use crate::refusal;
use crate::signals::Ending;
use crate::sys::clone::{self, CLONE_NEWNS, CLONE_NEWUSER, Child};

/// What goes before the result, and before an error.
const DONE: u8 = b'+';
const FAILED: u8 = b'-';

/// A child at work. It is killed when this goes out of scope.
#[derive(Debug)]
pub(crate) struct Confined<T> {
    child: Child,
    report: File,
    waited: bool,
    result: PhantomData<T>,
}

/// Does the work in a child process, to its end.
pub(crate) fn run<T: Serialize + DeserializeOwned>(
    users: Option<&UserNamespace>,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    start(users, work)?.finish()
}

/// Starts a child process on the work: as root of a user namespace, if there are users, and
/// otherwise with the rights of the caller.
pub(crate) fn start<T: Serialize>(
    users: Option<&UserNamespace>,
    work: impl FnOnce() -> Result<T>,
) -> Result<Confined<T>> {
    let failed = |errno| Error::kernel("pipe2", errno);
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let (report, mut say) = pipe_with(PipeFlags::CLOEXEC)
        .map(|(read, write)| (File::from(read), File::from(write)))
        .map_err(failed)?;
    let flags = CLONE_NEWNS | if users.is_some() { CLONE_NEWUSER } else { 0 };
    let parent = getpid();
    let mut go = Some(File::from(go));
    let child = clone::spawn(flags, None, || {
        // Its own copy of the other end, or the end of the parent would never be seen.
        go = None;
        let result = prepare(wait, users, parent).and_then(|()| work());
        say.write_all(&encode(&result)).map_or(1, |()| 0)
    });
    let child =
        child.map_err(|errno| refusal::of_namespaces("clone3", Namespaces::of(flags), errno))?;
    let confined = Confined { child, report, waited: false, result: PhantomData };
    if let Some(users) = users {
        users.write_maps(confined.child.pid, &Ending::Uncaught)?;
    }
    // A child that is gone is found out by its missing report.
    go.into_iter().for_each(|mut go| drop(go.write_all(b"g")));
    Ok(confined)
}

/// In the child: waits for the id maps and becomes root of the namespace.
fn prepare(wait: OwnedFd, users: Option<&UserNamespace>, parent: Pid) -> Result<()> {
    die_with(parent)?;
    let mut go = [0];
    let told = File::from(wait).read(&mut go).map_err(|e| Error::io("wait for the parent", &e))?;
    if told != 1 {
        return Err(Error::new(ErrorKind::Kernel, "the parent ended"));
    }
    if let Some(users) = users {
        become_root(users).map_err(|errno| Error::kernel("become root of the namespace", errno))?;
        // A change of ids takes the order back: prctl(2).
        die_with(parent)?;
    }
    umask(Mode::empty());
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| Error::kernel("make all mounts private", errno))
}

fn die_with(parent: Pid) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| Error::kernel("prctl(PR_SET_PDEATHSIG)", errno))?;
    if getppid() == Some(parent) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Kernel, "the parent ended"))
}

fn become_root(users: &UserNamespace) -> Result<(), Errno> {
    if users.may_set_groups() {
        set_thread_groups(&[])?;
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// In the child: a directory becomes its root, and nothing outside can be reached from then on.
pub(crate) fn enter(root: &Path) -> Result<()> {
    let steps = || -> Result<(), Errno> {
        // Only a mount point can become the root.
        mount_bind(root, root)?;
        chdir(root)?;
        // The old root then lies on top of the new one, and needs no folder in it.
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        chdir("/")
    };
    steps().map_err(|errno| Error::kernel(format!("pivot_root into {}", root.display()), errno))
}

fn encode<T: Serialize>(result: &Result<T>) -> Vec<u8> {
    let (mark, rest) = match result {
        Ok(value) => (DONE, serde_json::to_vec(value).unwrap_or_default()),
        Err(error) => (FAILED, error.encode()),
    };
    [&[mark], rest.as_slice()].concat()
}

impl<T: DeserializeOwned> Confined<T> {
    /// Waits for the child's end: what came of its work.
    pub(crate) fn finish(mut self) -> Result<T> {
        let mut report = Vec::new();
        self.report
            .read_to_end(&mut report)
            .map_err(|error| Error::io("read the child's report", &error))?;
        let end = self.wait().map_err(|errno| Error::kernel("wait for the child", errno))?;
        match report.split_first() {
            Some((&DONE, value)) => serde_json::from_slice(value).ok(),
            Some((&FAILED, error)) => {
                return Err(Error::decode(error).unwrap_or_else(|| lost(&end)));
            }
            _ => None,
        }
        .ok_or_else(|| lost(&end))
    }
}

fn lost(end: &str) -> Error {
    Error::new(ErrorKind::Kernel, format!("the child process {end} before its work was done"))
}

impl<T> Confined<T> {
    fn wait(&mut self) -> Result<String, Errno> {
        self.waited = true;
        let pid = Pid::from_raw(self.child.pid);
        let ended = rustix::io::retry_on_intr(|| waitpid(pid, WaitOptions::empty()))?;
        Ok(match ended.and_then(|(_, status)| status.terminating_signal()) {
            Some(signal) => format!("was killed by signal {signal}"),
            None => "ended".to_owned(),
        })
    }
}

impl<T> Drop for Confined<T> {
    fn drop(&mut self) {
        if !self.waited {
            pidfd_send_signal(&self.child.pidfd, Signal::KILL).ok();
            self.wait().ok();
        }
    }
}
