//! `netup-run run`: from the request to the command's exit status.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::cgroup::Cgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::explain;
use crate::idmap::UserNamespace;
use crate::launch::{Launch, Running};
use crate::made::Made;
use crate::network;
use crate::observe::observe;
use crate::plan::{self, Plan, Terms};
use crate::request::{Base, Explain, Run, Users, Writes};
use crate::root;
use crate::signals::{Ending, Signals};
use crate::supervise;
use crate::sys::clone::Child;
use crate::terminal::Terminal;

/// What a run tells while it goes on.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// Something that the caller should know.
    Warning(&'a str),
    /// A call that is made.
    Line(&'a str),
    /// A call that would be made.
    Planned(&'a str),
}

/// Is told.
pub type Tell<'a> = &'a mut dyn FnMut(Told<'_>);

/// Runs a container to its end.
///
/// Whatever happens, what was made is taken back: at the latest, if this process is killed, by the
/// next call for the same name or by `gc`.
///
/// # Errors
/// Why the container could not be made or its command not be run, with what could not be undone;
/// [`Interrupted`](ErrorKind::Interrupted) if a signal ended that.
pub fn run(run: &Run, tell: Tell<'_>) -> Result<i32> {
    network::validate(&run.net)?;
    let users = UserNamespace::choose(run.users)?;
    if run.explain == Explain::Only {
        return explain::only(run, users.as_ref(), tell).map(|()| 0);
    }
    look_at(&run.base);
    let signals = Signals::catch()?;
    let mut made = Made::begin(run)?;
    let ended = bring_up(run, users.as_ref(), &mut made, &signals.ending, tell)
        .and_then(|running| wait(running, &signals, &mut made, run.process.interactive));
    let keep = match &run.writes {
        Writes::Keep(name) if ended.is_ok() => Some(name),
        _ => None,
    };
    let failures = made.take_back(keep);
    match ended {
        Ok(code) if failures.is_empty() => Ok(code),
        Ok(_) => Err(Error::new(ErrorKind::State, "clear up after the container")
            .with_undo_failures(failures)),
        Err(error) => Err(error.with_undo_failures(failures)),
    }
}

/// A network mount whose server has gone keeps whoever looks at it, and only a signal that is not
/// caught ends that: nothing has been made by now. What else is wrong with the base is told later.
fn look_at(base: &Base) {
    if let Base::Directory(path) = base {
        statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::TYPE).ok();
    }
}

/// By the user that the command gets, be it the caller's word or the image's.
pub(crate) fn warn_of_root(run: &Run, plan: &Plan, tell: Tell<'_>) {
    let has_users = plan.namespaces.has_users();
    if !has_users && plan.runs_as_root() && run.users == Users::Auto && !run.quiet {
        tell(Told::Warning(
            "root in the container is the host's root; --users ranges or -u USER changes that, and \
             --users host says that it is meant",
        ));
    }
}

fn bring_up(
    run: &Run,
    users: Option<&UserNamespace>,
    made: &mut Made,
    ending: &Ending,
    tell: Tell<'_>,
) -> Result<Running> {
    let (root, image) = made.root(run, users)?;
    // It may have waited long, as others do who make images and networks.
    ending.check()?;
    let plan = plan::plan(run, &observe(run, made.name(), users, root, image)?)?;
    warn_of_root(run, &plan, tell);
    made.limit(run)?;
    let explains = run.explain == Explain::Running;
    if explains {
        explain::before(&plan, made.cgroup(), tell);
    }
    let mut launch = Launch::start(&plan, made.cgroup().map(Cgroup::fd), ending)?;
    made.started(launch.pid())?;
    map_ids(users, &launch, ending, explains, tell)?;
    hand_over(&plan, &launch, explains, tell)?;
    connect(run, users.is_some(), made, &mut launch, ending, explains, tell)?;
    if explains {
        explain::inside(&plan, tell);
    }
    if plan.awaits_runner() {
        launch.wait_until_made()?;
    }
    if plan.awaits_runner() || plan.awaits_network() {
        ending.check()?;
        launch.go_on()?;
    }
    let running = launch.wait_for_command()?;
    // Not earlier: whoever enters a mount namespace lands on what is uppermost at its root, and until
    // the command runs that may be the host's.
    match made.admit(Terms::of(run, &plan)) {
        Ok(()) => Ok(running),
        Err(error) => Err(end_for(error, &running.child)),
    }
}

/// An error that leaves a container without a runner ends it.
fn end_for(error: Error, child: &Child) -> Error {
    match supervise::end(child.pidfd.as_fd()) {
        Ok(_) => error,
        Err(failure) => error.with_undo_failures(vec![failure]),
    }
}

fn map_ids(
    users: Option<&UserNamespace>,
    launch: &Launch<'_>,
    ending: &Ending,
    explains: bool,
    tell: Tell<'_>,
) -> Result<()> {
    let Some(users) = users else { return Ok(()) };
    if explains {
        explain::ids(users, launch.pid(), tell);
    }
    users.write_maps(launch.pid(), ending)?;
    launch.ids_are_mapped()
}

fn hand_over(plan: &Plan, launch: &Launch<'_>, explains: bool, tell: Tell<'_>) -> Result<()> {
    let paths = plan.idmapped();
    if paths.is_empty() {
        return Ok(());
    }
    if explains {
        explain::idmapped(paths, launch.pid(), tell);
    }
    // If the first process failed meanwhile, that is why there is nobody to take them.
    root::idmapped_mounts(paths, launch.pid())
        .and_then(|mounts| launch.hand_over(&mounts))
        .map_err(|error| launch.failure().unwrap_or(error))
}

/// While the first process makes its mounts.
fn connect(
    run: &Run,
    in_userns: bool,
    made: &mut Made,
    launch: &mut Launch<'_>,
    ending: &Ending,
    explains: bool,
    tell: Tell<'_>,
) -> Result<()> {
    let mut watch = |line: &str| tell(Told::Line(line));
    let watch: Option<network::Watch<'_>> = if explains { Some(&mut watch) } else { None };
    let (child, netns) = (launch.pid(), launch.take_network());
    made.connect(run, child, in_userns, netns, ending, watch).map_err(|error| match error.kind() {
        ErrorKind::Interrupted => error,
        // If the first process failed meanwhile, that is why there is nothing to connect.
        _ => launch.failure().unwrap_or(error),
    })
}

fn wait(running: Running, signals: &Signals, made: &mut Made, interactive: bool) -> Result<i32> {
    let Running { child, terminal, command } = running;
    let signals = &signals.passed_on;
    if let Some(command) = command {
        supervise::until_the_command_ends(&command, child.pidfd.as_fd(), signals)
            .map_err(|error| end_for(error, &child))?;
        // The kernel clears the container away meanwhile.
        made.disconnect();
    }
    let terminal = terminal.map(|master| Terminal::new(master, interactive)).transpose();
    let ended = terminal.and_then(|terminal| {
        supervise::supervise(child.pidfd.as_fd(), signals, terminal, made.helper())
    });
    ended.map(|ended| ended.code).map_err(|error| end_for(error, &child))
}
