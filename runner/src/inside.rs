//! What happens in the container's first process: the plan's steps, made one after the other.
//!
//! Paths are resolved below the new root by the kernel (`openat2` with `RESOLVE_IN_ROOT`), mounts
//! are made on descriptors, and what is opened of the image is looked at before it is trusted: an
//! image is its author's word, and a shared volume can change under our hands.

mod become_command;
mod devices;
mod enact;
mod execute;
mod identity;
pub(crate) mod init;
mod join;
mod masks;
mod mounts;
mod overlay;
mod place;
mod root;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, setsid, umask};
use rustix::thread::sched_yield;

use crate::channel::Channel;
use crate::detacher::Ready;
use crate::error::{Error, Result};
use crate::plan::{Plan, Step};
use crate::refusal;
use crate::sys::{clone, process, title};

pub use enact::Inside;
pub use join::Entry;
pub(crate) use join::enter as enter_running;

/// The number of the channel's descriptor in the container's first process; the ones below are the
/// command's.
const CHANNEL: i32 = 3;
/// Others may read what the command makes, and only the command may write it.
const USUAL_UMASK: u32 = 0o022;
/// What this process exits with if it failed; the runner goes by the report.
pub(crate) const FAILED: i32 = 125;

/// Makes the container and becomes its init, or its command. To be called in the new process.
pub(crate) fn enter(plan: &Plan, channel: Channel, pivoted: Option<Ready>) -> i32 {
    let Ok((channel, pivoted)) = keep_only(channel, pivoted) else { return FAILED };
    let Err(error) = make(plan, &channel, pivoted);
    channel.failed(&error);
    FAILED
}

/// Nothing of what the runner has open is open in the container.
fn keep_only(channel: Channel, pivoted: Option<Ready>) -> Result<(Channel, Option<Ready>), Errno> {
    // First away from the numbers that they are to have.
    let pivoted = pivoted.map(|ready| ready.above(CHANNEL + 2)).transpose()?;
    let channel = channel.put_at(CHANNEL)?;
    let pivoted = pivoted.map(|ready| ready.put_at(CHANNEL + 1)).transpose()?;
    process::close_from(CHANNEL + 1 + i32::from(pivoted.is_some()))?;
    Ok((channel, pivoted))
}

/// What is made gets the permissions that are asked for.
fn make(plan: &Plan, channel: &Channel, pivoted: Option<Ready>) -> Result<Infallible> {
    umask(Mode::empty());
    let mut inside = Inside::new(channel);
    inside.pivoted = pivoted;
    for step in &plan.container {
        match step {
            Step::Init => return start(&plan.command, &mut inside),
            _ => inside.make(step)?,
        }
    }
    be_command(&plan.command, &mut inside, || ())
}

/// The command in a process of its own; this one is PID 1 from here on.
fn start(command: &[Step], inside: &mut Inside<'_>) -> Result<Infallible> {
    // Out of the runner's process group: a key of the caller's terminal signals all of that, and the
    // runner passes the signal on, so that it would come twice.
    setsid().map_err(|errno| Error::kernel("setsid", errno))?;
    // Before there is a command, which could read the words of the host.
    title::replace("netup-run: init");
    let harmless = AtomicBool::new(false);
    let child = clone::spawn_lodger(|| {
        let Err(error) = be_command(command, inside, || until(&harmless));
        inside.channel().failed(&error);
        FAILED
    });
    let child = child.map_err(|errno| refusal::of_process("fork the command", errno))?;
    // Nothing but system calls until the child has left this memory.
    if become_harmless().is_err() {
        // The runner hears that all ended before the command was executed.
        process::exit(FAILED);
    }
    harmless.store(true, Ordering::Release);
    child.wait_until_gone();
    process::exit(init::run(child.pid))
}

/// What the command could wish to take from PID 1 is gone: rights, and descriptors. From here on the
/// runner hears of the command alone: that it is executed, or why not.
fn become_harmless() -> Result<(), Errno> {
    identity::keep_signalling_alone()?;
    process::close_from(CHANNEL)
}

/// It takes PID 1 some microseconds, if it has a processor.
fn until(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        sched_yield();
    }
}

/// From here on nobody in the container can look into this process, or find the runner's program
/// through it (CVE-2019-5736). The command's process is hidden too, until it is the command.
fn hide() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::kernel("prctl(PR_SET_DUMPABLE)", errno))
}

/// The last step makes the process the command, which is not to be before `allowed` has come back.
fn be_command(
    steps: &[Step],
    inside: &mut Inside<'_>,
    allowed: impl FnOnce(),
) -> Result<Infallible> {
    let missing = || Error::invalid("the plan names no command");
    let (last, steps) = steps.split_last().ok_or_else(missing)?;
    umask(Mode::from_raw_mode(USUAL_UMASK));
    for step in steps {
        inside.make(step)?;
    }
    allowed();
    inside.make(last)?;
    Err(missing())
}
