//! `--explain`: the calls of a run, in the words of the manual pages and of `ip`, in the order in
//! which they are made.

use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::process::{
    Signal, WaitId, WaitIdOptions, pidfd_send_signal, set_parent_process_death_signal, waitid,
};

use crate::cgroup::{self, Cgroup};
use crate::error::{Error, Result};
use crate::idmap::UserNamespace;
use crate::made::image_command;
use crate::name::ContainerName;
use crate::observe::observe;
use crate::plan::{self, Namespaces, Plan, Step};
use crate::refusal;
use crate::request::{Net, Run};
use crate::run::{Tell, Told, warn_of_root};
use crate::sys::clone;
use crate::{network, root};

/// What is made on the host before the container's first process, and that.
pub(crate) fn before(plan: &Plan, cgroup: Option<&Cgroup>, tell: Tell<'_>) {
    let cgroup = cgroup.map(Cgroup::lines).unwrap_or_default();
    first_lines(plan, &cgroup).iter().for_each(|line| tell(Told::Line(line)));
}

fn first_lines(plan: &Plan, cgroup: &[String]) -> Vec<String> {
    let into = if cgroup.is_empty() { "" } else { "|CLONE_INTO_CGROUP" };
    let clone = format!("clone3({}{into})", plan.namespaces);
    let netns = plan.enters_network().then(|| {
        "unshare(CLONE_NEWNET)         # for the container, by the runner, who goes back".to_owned()
    });
    [&["# on the host".to_owned()], cgroup, &[clone], netns.as_slice()].concat()
}

/// Whose ids the container's users have.
pub(crate) fn ids(users: &UserNamespace, pid: i32, tell: Tell<'_>) {
    for line in users.lines(&pid.to_string()) {
        tell(Told::Line(&line));
    }
}

/// How the files on disk come to be those of the container's users.
pub(crate) fn idmapped(paths: &[PathBuf], pid: i32, tell: Tell<'_>) {
    for line in root::idmapped_lines(paths, &pid.to_string()) {
        tell(Told::Line(&line));
    }
}

/// What the container's first process does, and then the command's.
pub(crate) fn inside(plan: &Plan, tell: Tell<'_>) {
    tell(Told::Line("# in the container's first process"));
    steps(&plan.container, tell);
    tell(Told::Line("# in the command's process"));
    steps(&plan.command, tell);
}

fn steps(steps: &[Step], tell: Tell<'_>) {
    for line in steps.iter().flat_map(plan::lines) {
        tell(Told::Line(&line));
    }
}

/// All of it, planned and not made. What depends on what is made is called by its role: `PID`.
///
/// # Errors
/// As [`run`](crate::run::run), as far as that is found before the first change.
pub(crate) fn only(run: &Run, users: Option<&UserNamespace>, tell: Tell<'_>) -> Result<()> {
    let name =
        run.name.clone().map_or_else(|| format!("dry-run-{}", std::process::id()).parse(), Ok)?;
    // Made and taken back: only a snapshot and a folder can be told from what is there otherwise.
    let prepared = root::prepare(run, &name, users)?;
    let (root, image) = (prepared.plan().clone(), image_command(prepared.config()));
    let plan = plan::plan(run, &observe(run, &name, users, root, image)?)?;
    warn_of_root(run, &plan, tell);
    let cgroup = cgroup::preview(&name, &run.limits)?;
    first_lines(&plan, &cgroup).iter().for_each(|line| tell(Told::Planned(line)));
    for line in users.map(|users| users.lines("PID")).unwrap_or_default() {
        tell(Told::Planned(&line));
    }
    for line in root::idmapped_lines(plan.idmapped(), "PID") {
        tell(Told::Planned(&line));
    }
    network(run, &name, users, tell)?;
    inside(&plan, &mut |told| match told {
        Told::Line(line) => tell(Told::Planned(line)),
        other => tell(other),
    });
    Ok(())
}

/// The steps of the core depend on what it finds in the network namespace: so there is one, for a
/// moment, in which nothing is made.
fn network(
    run: &Run,
    name: &ContainerName,
    users: Option<&UserNamespace>,
    tell: Tell<'_>,
) -> Result<()> {
    let Net::Attach(wanted) = &run.net else { return Ok(()) };
    let failed = |errno| Error::kernel("end the process that the network is planned for", errno);
    let flags = clone::CLONE_NEWNET | if users.is_some() { clone::CLONE_NEWUSER } else { 0 };
    let child = clone::spawn(flags, None, wait_for_the_end)
        .map_err(|errno| refusal::of_namespaces("clone3", Namespaces::of(flags), errno))?;
    let lines = network::preview(wanted, name, child.pid);
    pidfd_send_signal(&child.pidfd, Signal::KILL).map_err(failed)?;
    waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).map_err(failed)?;
    lines?
        .iter()
        .for_each(|line| tell(Told::Planned(&line.replace(&child.pid.to_string(), "PID"))));
    Ok(())
}

fn wait_for_the_end() -> i32 {
    if set_parent_process_death_signal(Some(Signal::KILL)).is_ok() {
        // Signals are blocked or not: only the runner's, or its end, ends this.
        loop {
            rustix::event::pause();
        }
    }
    1
}
