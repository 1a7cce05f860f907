//! Keeps a container from writing to the program that runs it (CVE-2019-5736).
//!
//! A process of the container can come to hold our executable: its first process has it as
//! `/proc/1/exe`, and a command or interpreter called `/proc/self/exe` is it. Where the container's ids
//! may write that file, the host would next run what the container wrote. So the runner runs from where
//! nobody can write: if it does not yet, it executes itself anew, once, before all else,
//!
//! - through a read-only mount of its own file, attached nowhere, which costs an `execve` (0.1 to
//!   0.5 ms, less for a static program); or where it may not mount,
//! - as a copy in sealed memory (1 to 2 ms).
//!
//! Root's program has done the first by the time this is asked, before its libc's start
//! (`sys/entry.rs`), whatever it was called for: then this only sees that all is well.
//!
//! The second start sees that it stands on a read-only mount or is sealed; nothing else has to tell it.
//! That the first process cannot be looked into (`PR_SET_DUMPABLE`) is not enough by itself, because of
//! the interpreter; that a running program cannot be written (`ETXTBSY`) is not either, for the
//! container outlives the runner by a moment.
//!
//! None of it is needed, and so not done, where the file cannot be written anyway: by an ordinary
//! caller's container if root owns the file, by a container of another user without a way to more
//! rights, and if the file is immutable (chattr(1)) or has fs-verity.

use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{
    AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, Statx, StatxAttributes,
    StatxFlags, fcntl_add_seals, fcntl_get_seals, fstatvfs, memfd_create, openat, sendfile, statx,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::param::linux_execfn;
use rustix::process::geteuid;
use rustix::thread::set_name;

use crate::capabilities::Adjustment;
use crate::error::{Error, Result};
use crate::plan::Attributes;
use crate::request::{Run, Users};
use crate::sys::{mount, process};

const NAME: &CStr = c"netup-run";
const PROGRAM: &str = "/proc/self/exe";
/// `CAP_LINUX_IMMUTABLE`: who has it can make an immutable file an ordinary one.
const LINUX_IMMUTABLE: u8 = 9;

/// The descriptor of the read-only mount by which this program was executed, if it is open.
static MOUNT: AtomicI32 = AtomicI32::new(-1);

/// Keeps the descriptor of the mount that the program was executed by from every program that is started.
/// To be called before any other is opened. The kernel tells by what the program was executed; who has
/// done so by a descriptor of its own that is closed by now has none to keep.
///
/// A mount that is attached nowhere goes with its descriptor, and the kernel makes whoever closes the last
/// one wait for RCU (`dissolve_on_fput` in fs/namespace.c), so a run closes it when it has nothing to do.
pub fn keep_mount() {
    let name = linux_execfn().to_str().unwrap_or_default();
    let number = name.strip_prefix("/dev/fd/").and_then(|number| number.parse().ok());
    let Some(number) = number.filter(|number| *number > 2) else { return };
    if process::close_at_exec(number).is_ok() {
        MOUNT.store(number, Ordering::Relaxed);
    }
}

/// Closes that descriptor, while nobody waits for us: after all who had copies of it, for a processor that
/// is busy in the kernel, as one that makes a network namespace is, lets whoever waits for RCU wait.
pub(crate) fn let_mount_go() {
    match MOUNT.swap(-1, Ordering::Relaxed) {
        -1 => {}
        number => process::close(number),
    }
}

/// Returns in a process whose program a container run like this cannot write, or not at all.
pub fn ensure(run: &Run) -> Result<()> {
    ensure_against(&Reach::of(run, geteuid().is_root()))
}

/// Returns in a process whose program nobody in any container of the caller's can write, or not at all.
pub fn ensure_against_all() -> Result<()> {
    ensure_against(&Reach { ids: Ids::of_caller(geteuid().is_root()), changes_attributes: true })
}

/// What a container's processes could do to a file of the host.
#[derive(Debug, PartialEq, Eq)]
struct Reach {
    ids: Ids,
    /// Whether they could take back that a file is immutable.
    changes_attributes: bool,
}

/// As whom they could open it.
#[derive(Debug, PartialEq, Eq)]
enum Ids {
    /// The host's root.
    Root,
    /// Nobody but this user of the host.
    One(u32),
    /// An ordinary caller and the ids that were given to that one; none is root.
    Ordinary,
}

impl Ids {
    fn of_caller(root: bool) -> Self {
        if root { Self::Root } else { Self::Ordinary }
    }
}

impl Reach {
    fn of(run: &Run, root: bool) -> Self {
        let changes_attributes = run.security.capabilities.iter().any(|change| match change {
            Adjustment::Add(one) => one.number() == LINUX_IMMUTABLE,
            Adjustment::AddAll => true,
            Adjustment::Drop(_) | Adjustment::DropAll => false,
        });
        let ids = only_user(run).filter(|_| root).map_or(Ids::of_caller(root), Ids::One);
        Self { ids, changes_attributes }
    }

    /// Whether a file with these owner and permissions could be written. A group's members are not
    /// looked up: a program that its group may write is rare, and then this errs on the safe side.
    fn may_write(&self, owner: u32, mode: u32) -> bool {
        let by_others = mode & 0o022 != 0;
        match self.ids {
            Ids::Root => true,
            Ids::One(user) => by_others || owner == user,
            Ids::Ordinary => by_others || owner != 0,
        }
    }
}

/// The one user of the host that the container's processes can be, if that is known already: no root,
/// no capability to become another, and no set-user-ID program.
fn only_user(run: &Run) -> Option<u32> {
    let (security, process) = (&run.security, &run.process);
    let confined = !security.new_privileges && security.capabilities.is_empty();
    let outside = matches!(run.users, Users::Auto | Users::Host);
    let user = process.user.as_deref()?.split(':').next()?.parse().ok()?;
    (confined && outside && user != 0).then_some(user)
}

fn ensure_against(reach: &Reach) -> Result<()> {
    let failed = |errno| Error::kernel(format!("look at {PROGRAM}"), errno);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let program = openat(CWD, PROGRAM, flags, Mode::empty()).map_err(failed)?;
    if is_safe(&program, reach).map_err(failed)? {
        return Ok(());
    }
    let arguments: Vec<CString> = words(std::env::args_os());
    let environment: Vec<CString> =
        words(std::env::vars_os().map(|(key, value)| joined(key, &value)));
    let safe = safe(&program).map_err(|errno| {
        Error::kernel("put the runner's program where the container cannot write it", errno)
    })?;
    let errno = process::execute_file(&safe, &arguments, &environment);
    Err(Error::kernel("execute the runner from where the container cannot write it", errno))
}

fn is_safe(program: &OwnedFd, reach: &Reach) -> rustix::io::Result<bool> {
    if fstatvfs(program)?.f_flag.contains(StatVfsMountFlags::RDONLY) || is_sealed(program) {
        // Executed by descriptor, a process is called by the descriptor's number.
        set_name(NAME)?;
        return Ok(true);
    }
    let wanted = StatxFlags::MODE | StatxFlags::UID;
    let found = statx(program, "", AtFlags::EMPTY_PATH, wanted)?;
    Ok(is_fixed(&found, reach) || !reach.may_write(found.stx_uid, u32::from(found.stx_mode)))
}

/// Only files in memory have seals; others say EINVAL.
fn is_sealed(program: &OwnedFd) -> bool {
    fcntl_get_seals(program).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

fn is_fixed(found: &Statx, reach: &Reach) -> bool {
    let has = |attribute| found.stx_attributes.contains(attribute);
    has(StatxAttributes::VERITY) || (has(StatxAttributes::IMMUTABLE) && !reach.changes_attributes)
}

fn safe(program: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    match read_only_mount() {
        // No right to mount, or the file is on a mount of another namespace. Memory is as sure.
        Err(Errno::PERM | Errno::INVAL) => sealed_copy(program),
        other => other,
    }
}

fn read_only_mount() -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, PROGRAM, flags)?;
    mount::set_attributes(&tree, Attributes::READ_ONLY, false)?;
    Ok(tree)
}

fn sealed_copy(program: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let copy = executable_memory(NAME)?;
    let size = usize::try_from(rustix::fs::fstat(program)?.st_size).or(Err(Errno::FBIG))?;
    let mut copied = 0;
    while copied < size {
        match sendfile(&copy, program.as_fd(), None, size - copied)? {
            // Somebody has just made it shorter.
            0 => return Err(Errno::IO),
            more => copied += more,
        }
    }
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&copy, seals)?;
    Ok(copy)
}

/// Since Linux 6.3 the kernel wants to be told, and before it does not know how.
fn executable_memory(name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        other => other,
    }
}

/// They come from the kernel, which ends them with a zero byte, so they hold none.
fn words(all: impl Iterator<Item = OsString>) -> Vec<CString> {
    all.filter_map(|word| CString::new(word.into_vec()).ok()).collect()
}

fn joined(mut key: OsString, value: &OsString) -> OsString {
    key.push("=");
    key.push(value);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Invocation, decode};

    fn run(words: &str) -> Run {
        let words = ["netup-run", "run"].into_iter().chain(words.split_whitespace());
        let words: Vec<OsString> = words.chain(["/", "true"]).map(OsString::from).collect();
        match decode(&words).unwrap() {
            Invocation::Run(run) => *run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn root_writes_everything() {
        for words in
            ["", "-u 0", "-u root", "-u www-data", "-u 1000 --cap-add kill", "--users single"]
        {
            let reach = Reach::of(&run(words), true);
            assert!(reach.may_write(0, 0o755), "{words}");
        }
    }

    #[test]
    fn a_user_without_capabilities_writes_what_is_its_own() {
        let reach = Reach::of(&run("-u 1000:7"), true);
        assert!(!reach.may_write(0, 0o755));
        assert!(reach.may_write(1000, 0o555));
        assert!(reach.may_write(0, 0o775) && reach.may_write(0, 0o757));
    }

    #[test]
    fn an_ordinary_callers_container_does_not_write_what_is_roots() {
        for words in ["", "-u 1000", "--cap-add all"] {
            let reach = Reach::of(&run(words), false);
            assert!(!reach.may_write(0, 0o755), "{words}");
            assert!(reach.may_write(1000, 0o755), "{words}");
        }
    }

    #[test]
    fn only_the_capability_for_it_takes_back_that_a_file_is_immutable() {
        assert!(!Reach::of(&run("--cap-add kill"), true).changes_attributes);
        assert!(Reach::of(&run("--cap-add linux_immutable"), true).changes_attributes);
        assert!(Reach::of(&run("--cap-add all"), true).changes_attributes);
    }

    #[test]
    fn a_copy_in_memory_is_whole_and_cannot_be_changed() {
        let program = openat(CWD, PROGRAM, OFlags::RDONLY, Mode::empty()).unwrap();
        let copy = sealed_copy(&program).unwrap();
        assert!(is_sealed(&copy) && !is_sealed(&program));
        let size = |fd| rustix::fs::fstat(fd).unwrap().st_size;
        assert_eq!(size(&copy), size(&program));
        assert_eq!(rustix::io::write(&copy, b"x"), Err(Errno::PERM));
    }
}
