//! Whose ids and which capabilities a process has.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities,
};

use super::enact::Inside;
use crate::capabilities::{Set, Sets};
use crate::error::{Error, Result};
use crate::refusal;
use crate::sys::process;
use crate::users::{self, Identity};

/// From linux/capability.h.
const CAP_KILL: u32 = 5;

/// Becomes the root of the new user namespace, whose ids are mapped by now.
pub(super) fn become_root(drop_groups: bool) -> Result<()> {
    // AppArmor lets users make one and gives them no right in it.
    let failed = |errno| refusal::of_users("become root of the user namespace", errno);
    if drop_groups {
        process::set_groups(&[]).map_err(failed)?;
    }
    process::set_group(0).and_then(|()| process::set_user(0)).map_err(failed)
}

/// Becomes the command's user.
pub(super) fn become_user(
    inside: &mut Inside<'_>,
    user: Option<&str>,
    of_root: &Sets,
    of_others: &Sets,
    set_groups: bool,
) -> Result<()> {
    let identity = identify(user.unwrap_or("0"))?;
    let sets = if identity.uid == 0 { of_root } else { of_others };
    give_terminal(inside, identity.uid)?;
    limit_bounding_set(sets.bounding)?;
    keep_capabilities(true)?;
    set_ids(&identity, set_groups)?;
    set_sets(sets).map_err(|errno| Error::kernel("capset", errno))?;
    keep_capabilities(false)?;
    inside.home = identity.home;
    Ok(())
}

fn identify(user: &str) -> Result<Identity> {
    let (passwd, group) = (of_image("/etc/passwd")?, of_image("/etc/group")?);
    users::identify(user, &passwd, &group)
}

/// A file of the image's, which may be missing, or anything.
fn of_image(path: &str) -> Result<Vec<u8>> {
    let failed = |errno| Error::kernel(format!("open the container's {path}"), errno);
    // A fifo would block.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match openat(CWD, Path::new(path), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::invalid(format!("the container's {path} is no regular file")));
    }
    let mut content = Vec::new();
    let most = users::LARGEST_FILE as u64 + 1;
    File::from(file)
        .take(most)
        .read_to_end(&mut content)
        .map_err(|error| Error::io(format!("read the container's {path}"), &error))?;
    Ok(content)
}

fn give_terminal(inside: &Inside<'_>, uid: u32) -> Result<()> {
    let Some(terminal) = &inside.terminal else { return Ok(()) };
    rustix::fs::fchown(terminal, Some(rustix::fs::Uid::from_raw(uid)), None)
        .map_err(|errno| Error::kernel("give the terminal to the user", errno))
}

/// For this process and all after it. Needs `CAP_SETPCAP`, so it comes before that goes.
pub(super) fn limit_bounding_set(kept: Set) -> Result<()> {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if kept.bits() & one.bits() != 0 {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The kernel has no capability of this number, nor of any above it.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(Error::kernel(format!("PR_CAPBSET_DROP {number}"), errno)),
        }
    }
    Ok(())
}

fn keep_capabilities(keep: bool) -> Result<()> {
    set_keep_capabilities(keep).map_err(|errno| Error::kernel("prctl(PR_SET_KEEPCAPS)", errno))
}

fn set_ids(identity: &Identity, set_groups: bool) -> Result<()> {
    let failed = |what: String| move |errno| refused(Error::kernel(what, errno), errno);
    if set_groups {
        // The user's own first, as initgroups(3) has it.
        let groups = [&[identity.gid], identity.groups.as_slice()].concat();
        process::set_groups(&groups).map_err(failed(format!("setgroups{groups:?}")))?;
    }
    process::set_group(identity.gid).map_err(failed(format!("setresgid({})", identity.gid)))?;
    process::set_user(identity.uid).map_err(failed(format!("setresuid({})", identity.uid)))
}

fn refused(error: Error, errno: Errno) -> Error {
    match errno {
        Errno::INVAL => {
            error.hint("this id is not mapped into the user namespace; --users ranges maps more")
        }
        _ => error,
    }
}

/// Sets every set but the bounding one.
fn set_sets(sets: &Sets) -> Result<(), Errno> {
    let of = |set: Set| CapabilitySet::from_bits_retain(set.bits());
    let wanted = CapabilitySets {
        effective: of(sets.effective),
        permitted: of(sets.permitted),
        inheritable: of(sets.inheritable),
    };
    set_capabilities(None, wanted)?;
    clear_ambient_capability_set()?;
    sets.ambient
        .iter()
        .map(|one| CapabilitySet::from_bits_retain(1 << one.number()))
        .try_for_each(|one| configure_capability_in_ambient_set(one, true))
}

/// PID 1 may signal what runs under other ids; it needs no other right. Nothing but system calls.
pub(super) fn keep_signalling_alone() -> Result<(), Errno> {
    let kill = Set::from_bits(1 << CAP_KILL);
    let (bounding, inheritable, ambient) = (Set::EMPTY, Set::EMPTY, Set::EMPTY);
    set_sets(&Sets { bounding, permitted: kill, effective: kill, inheritable, ambient })?;
    // Losing capabilities took it back.
    set_parent_process_death_signal(Some(Signal::KILL))
}
