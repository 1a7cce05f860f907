//! The binary: decodes at the door by which it was called (the command line, or a container runtime
//! that starts a plugin), runs what was asked for, replies.
#![forbid(unsafe_code)]

mod cni;
mod install;
mod invoke;
mod reply;

use std::ffi::OsString;
use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::task::{Context, Poll, Waker};

use netup::{Error, ErrorKind, Health, Outcome, Request, Result, Selector, Target};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use invoke::{Invocation, Up, Volume, cli};
use reply::Reply;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match cni::door::plugin(&words) {
        Some(plugin) => cni::serve::serve(plugin),
        None => command_line(words),
    }
}

fn command_line(words: Vec<OsString>) -> ExitCode {
    let reply = Reply::new(cli::manner(&words));
    match cli::decode(words).and_then(|invocation| run(invocation, &reply)) {
        Ok(code) => code,
        Err(error) => {
            reply.error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(invocation: Invocation, reply: &Reply) -> Result<ExitCode> {
    match invocation {
        Invocation::Up(request) => up(*request, reply)?,
        Invocation::Down { selector, volume } => down(&selector, volume, reply)?,
        Invocation::List => reply.listed(&wait(netup::list())?)?,
        Invocation::Show(selector) => reply.shown(&wait(netup::show(&selector))?)?,
        Invocation::Check { selector, repair } => return check(selector.as_ref(), repair, reply),
        Invocation::CollectGarbage => return collect_garbage(reply),
        Invocation::Reload => reply.reloaded(&whole(netup::reload())?)?,
        Invocation::RemoveRuleset => {
            whole(netup::remove_ruleset())?;
            reply.ruleset_removed()?;
        }
        Invocation::Doctor => return doctor(reply),
        Invocation::Install(order) => reply.installed(&held(|| install::install(&order))?)?,
        Invocation::Uninstall(order) => reply.installed(&held(|| install::uninstall(&order))?)?,
        Invocation::Page(page) => reply.page(&page)?,
        Invocation::WriteManual(dir) => cli::write_manual(&dir)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(up: Up, reply: &Reply) -> Result<()> {
    let (dry_run, volume) = (up.dry_run, up.volume);
    let request = open(up)?;
    if dry_run {
        return reply.planned(&wait(netup::dry_run(&request))?);
    }
    let outcome = attach(&request, volume, reply)?;
    match volume {
        Volume::Quiet => Ok(()),
        Volume::Normal | Volume::Verbose => reply.attached(&outcome),
    }
}

/// From here on the container is held, whatever becomes of its name.
fn open(up: Up) -> Result<Request> {
    let target = Target::open_name(up.target, up.allow_own_netns)?;
    let request = Request::new(target, up.network)?.with_ifname(up.ifname).replacing(up.replace);
    Ok(match up.id {
        Some(id) => request.with_id(id),
        None => request,
    })
}

fn attach(request: &Request, volume: Volume, reply: &Reply) -> Result<Outcome> {
    match volume {
        // Steps are put into words only for someone who reads them.
        Volume::Quiet | Volume::Normal => whole(netup::attach(request)),
        Volume::Verbose => whole(netup::attach_watched(request, &mut |progress| {
            reply.step(progress);
            Ok(())
        })),
    }
}

fn down(selector: &Selector, volume: Volume, reply: &Reply) -> Result<()> {
    if volume == Volume::Verbose {
        // Only to tell; that there is nothing to show is for `detach` to judge.
        reply.about_to_remove(&wait(netup::show(selector)).unwrap_or_default());
    }
    let gone = whole(netup::detach(selector))?;
    match volume {
        Volume::Quiet => Ok(()),
        Volume::Normal | Volume::Verbose => reply.detached(&gone),
    }
}

fn check(selector: Option<&Selector>, repair: bool, reply: &Reply) -> Result<ExitCode> {
    let check = netup::check(selector, repair);
    let checked = if repair { whole(check)? } else { wait(check)? };
    reply.checked(&checked)?;
    Ok(verdict(checked.iter().all(|one| one.drift.is_empty() || one.repaired)))
}

fn collect_garbage(reply: &Reply) -> Result<ExitCode> {
    let collected = whole(netup::collect_garbage())?;
    reply.collected(&collected)?;
    Ok(verdict(collected.failed.is_empty()))
}

fn doctor(reply: &Reply) -> Result<ExitCode> {
    let findings = wait(async { Ok(netup::doctor().await) })?;
    reply.findings(&findings)?;
    Ok(verdict(findings.iter().all(|finding| finding.health != Health::Failure)))
}

fn verdict(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a change to its end, with the signals held back by which people and supervisors stop a
/// program: an end half-way would leave work for `gc`, while waiting costs a millisecond.
/// A signal that came meanwhile takes effect afterwards. A child (`nft`) inherits the mask, as it
/// should: the terminal sends Ctrl-C to it as well.
fn whole<T>(change: impl Future<Output = Result<T>>) -> Result<T> {
    held(|| wait(change))
}

/// As [`whole`], of work that makes several changes.
fn held<T>(work: impl FnOnce() -> T) -> T {
    let stopping = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    let before = stopping.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let done = work();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    done
}

/// The library's futures are done without ever giving way, so they need no executor: one poll ends
/// them.
fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::new(ErrorKind::Kernel, "the call has not come to an end")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_held_during_a_change_only() {
        let held = || SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM);
        assert!(whole(async { Ok(held()) }).unwrap());
        assert!(!held());
        assert!(!wait(async { Ok(held()) }).unwrap());
        whole::<()>(async { Err(Error::invalid("no")) }).unwrap_err();
        assert!(!held());
    }
}
