//! The steps by which a process becomes the command: session, limits, rights, identity, program.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::{Observed, Step};
use crate::capabilities::{self, Sets};
use crate::error::{Error, Result};
use crate::request::{Net, Process, Run};

/// Where commands are, unless the image or the caller says otherwise.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image says of its command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageCommand {
    /// The words before the caller's.
    pub entrypoint: Vec<OsString>,
    /// The words in place of the caller's, if there are none.
    pub command: Vec<OsString>,
    /// `KEY=VALUE`.
    pub environment: Vec<OsString>,
    /// The working directory.
    pub cwd: Option<PathBuf>,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
}

/// What differs on the way to one command or another. The way itself, whose order its safety rests on,
/// is the same for all.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    pub(crate) process: &'a Process,
    pub(crate) limits: Vec<(u32, u64, u64)>,
    pub(crate) new_privileges: bool,
    pub(crate) filter: Option<Step>,
    pub(crate) identity: Step,
    pub(crate) cwd: PathBuf,
    /// Whether somebody detaches the old root meanwhile.
    pub(crate) await_detached: bool,
    /// As late as can be, for the runner makes the network beside all that comes before.
    pub(crate) await_runner: Option<Step>,
    pub(crate) execute: Step,
}

impl Way<'_> {
    /// The steps, in order.
    pub(crate) fn steps(self) -> Vec<Step> {
        let Self { process, limits, filter, identity, cwd, .. } = self;
        let mut steps = vec![Step::NewSession { terminal: process.tty }];
        steps.extend((!self.new_privileges).then_some(Step::NoNewPrivileges));
        // Without no_new_privs it needs CAP_SYS_ADMIN, which is about to go: seccomp(2).
        steps.extend(filter);
        // Before any path is followed: `/..` leads there.
        steps.extend(self.await_detached.then_some(Step::AwaitDetached));
        steps.push(Step::Hide);
        if !process.tty && !process.interactive {
            steps.push(Step::NoInput);
        }
        // Not earlier, for they are on what we open, too.
        let limit = |(resource, soft, hard): (u32, u64, u64)| Step::Limit { resource, soft, hard };
        steps.extend(limits.into_iter().map(limit));
        steps.push(identity);
        // The last change of ids took it back.
        steps.push(Step::DieWithParent);
        steps.push(Step::WorkingDirectory(cwd));
        steps.extend(self.await_runner);
        steps.push(self.execute);
        steps
    }
}

pub(super) fn steps(run: &Run, observed: &Observed) -> Result<Vec<Step>> {
    let (process, security) = (&run.process, &run.security);
    let cwd = process.cwd.as_ref().or(observed.image.cwd.as_ref());
    let environment = environment(&observed.image.environment, process, &observed.caller_env);
    // With a helper program it has waited before.
    let await_runner = match &run.net {
        Net::None | Net::Host | Net::Join(_) | Net::Attach(_) if process.tty => {
            Some(Step::AwaitRunner)
        }
        Net::Attach(_) => Some(Step::AwaitNetwork),
        Net::None | Net::Host | Net::Join(_) | Net::Userspace { .. } => None,
    };
    let way = Way {
        await_detached: is_detached_beside(run),
        await_runner,
        process,
        limits: process.rlimits.clone(),
        new_privileges: security.new_privileges,
        filter: (!security.no_seccomp)
            .then_some(Step::Seccomp { nested_users: security.nested_users }),
        identity: identity(run, observed)?,
        cwd: cwd.cloned().unwrap_or_else(|| "/".into()),
        execute: Step::Execute { command: words(process, &observed.image)?, environment },
    };
    Ok(way.steps())
}

/// Whether somebody else detaches the old root, for the kernel holds who does it for long. Where the
/// runner makes a network meanwhile, which takes longer, the first process has the time, and another
/// process would only be in the runner's way.
fn is_detached_beside(run: &Run) -> bool {
    run.init && !matches!(run.net, Net::Attach(_))
}

fn identity(run: &Run, observed: &Observed) -> Result<Step> {
    let security = &run.security;
    let sets = |root: bool| -> Result<Sets> {
        let (changes, new_privileges) = (&security.capabilities, security.new_privileges);
        capabilities::resolve(changes, root, new_privileges, observed.available)
    };
    Ok(Step::Identity {
        user: run.process.user.clone().or_else(|| observed.image.user.clone()),
        of_root: sets(true)?,
        of_others: sets(false)?,
        set_groups: observed.groups.may_be_set,
    })
}

fn words(process: &Process, image: &ImageCommand) -> Result<Vec<OsString>> {
    let own = if process.command.is_empty() { &image.command } else { &process.command };
    let words: Vec<OsString> = image.entrypoint.iter().chain(own).cloned().collect();
    if words.is_empty() {
        return Err(Error::invalid("there is no command, and no image that names one")
            .hint("write the command after the root file system or image"));
    }
    Ok(words)
}

/// The command's environment: the usual, then the image's, then the caller's orders. A later word
/// replaces an earlier one of the same key.
#[must_use]
pub fn environment(
    image: &[OsString],
    process: &Process,
    caller: &[(OsString, OsString)],
) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![PATH.into()];
    let of_caller = |key: &OsStr| caller.iter().find(|(name, _)| name == key).map(|(_, v)| v);
    if process.tty {
        let term = of_caller(OsStr::new("TERM")).map_or(OsStr::new("xterm"), OsString::as_os_str);
        set(&mut words, joined(OsStr::new("TERM"), term));
    }
    for word in image {
        set(&mut words, word.clone());
    }
    for word in &process.env {
        if word.as_bytes().contains(&b'=') {
            set(&mut words, word.clone());
        } else if let Some(value) = of_caller(word) {
            set(&mut words, joined(word, value));
        }
    }
    words
}

fn joined(key: &OsStr, value: &OsStr) -> OsString {
    OsString::from_vec([key.as_bytes(), b"=", value.as_bytes()].concat())
}

fn key(word: &OsStr) -> &[u8] {
    word.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn set(words: &mut Vec<OsString>, word: OsString) {
    match words.iter_mut().find(|old| key(old) == key(&word)) {
        Some(old) => *old = word,
        None => words.push(word),
    }
}
