//! From what is wanted and what was observed to the ordered steps. Pure: no kernel, files, clock or
//! environment.

mod command;
mod filesystem;
mod mount;
mod namespaces;
mod render;
mod root;
mod step;
mod terms;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::capabilities;
use crate::error::{Error, Result};
use crate::request::{Net, Run, Security};

pub(crate) use command::Way;
pub use command::{ImageCommand, environment};
pub use mount::{Attributes, Bind, Fresh};
pub use namespaces::Namespaces;
pub use render::lines;
pub use root::{Overlay, RootPlan, Upper};
pub use step::{DEVICES, Device, File, ROOT_ATTRIBUTES, Step};
pub use terms::Terms;

/// What is known of the machine and the caller, beside the request.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The container's own name.
    pub name: String,
    /// The root's make-up.
    pub root: RootPlan,
    /// What the image says of its command.
    pub image: ImageCommand,
    /// Whether there is to be a user namespace.
    pub has_users: bool,
    /// Whether the container is in the machine's own user namespace.
    pub in_first_users: bool,
    /// Whether device nodes can be made: elsewhere than in the first user namespace the kernel lets
    /// nobody, and there only who has the right, which a container's root may have lost.
    pub makes_devices: bool,
    /// What is known of the user namespace that the container is in, a new one or the caller's.
    pub groups: Groups,
    /// The files below `/etc` that the runner provides.
    pub files: Vec<File>,
    /// The words of the caller's environment that `-e KEY` asks for, and `TERM`.
    pub caller_env: Vec<(OsString, OsString)>,
    /// The capabilities that the container can be given: all in a user namespace of its own,
    /// otherwise the caller's.
    pub available: capabilities::Set,
}

/// What the planner has to know of the groups of a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// Whether supplementary groups may be set in it.
    pub may_be_set: bool,
    /// Whether the group of terminals (5) exists in it.
    pub has_terminals: bool,
}

/// What is to be done, in order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the container does not share with the host.
    pub namespaces: Namespaces,
    /// What the container's first process does.
    pub container: Vec<Step>,
    /// What the command's process does.
    pub command: Vec<Step>,
}

/// Plans a run.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if parts of the request contradict each
/// other or what was observed.
pub fn plan(run: &Run, observed: &Observed) -> Result<Plan> {
    refuse_contradictions(run)?;
    let mut container = beginning(run, observed);
    container.extend(filesystem::steps(run, observed, late_network(run, observed))?);
    container.push(Step::Hostname(run.hostname.clone().unwrap_or_else(|| observed.name.clone())));
    if run.process.tty {
        container.push(Step::OpenTerminal);
    }
    // The helper programs enter by the first process, which later hides from their user.
    container.extend(run.net.is_made_by_a_helper().then_some(Step::AwaitRunner));
    container.extend(run.init.then_some(Step::Init));
    let namespaces = Namespaces::new(&run.net, observed);
    Ok(Plan { namespaces, container, command: command::steps(run, observed)? })
}

fn refuse_contradictions(run: &Run) -> Result<()> {
    if run.net == Net::Host && run.security.nested_users && run.security.no_seccomp {
        return Err(Error::invalid("--net host with --nested-users and --no-seccomp")
            .hint("that is no container; leave one of them out"));
    }
    Ok(())
}

fn beginning(run: &Run, observed: &Observed) -> Vec<Step> {
    let mut steps = vec![Step::DieWithParent];
    if observed.has_users {
        steps.push(Step::AwaitIds);
        steps.push(Step::BecomeRoot { drop_groups: observed.groups.may_be_set });
        steps.push(Step::DieWithParent);
    }
    steps.push(Step::SessionKeyring);
    match &run.net {
        Net::Host => {}
        Net::Join(path) => steps.push(Step::JoinNetwork(path.clone())),
        net if namespaces::network_is_made_beside(net, observed) => {}
        Net::None | Net::Attach(_) | Net::Userspace { .. } => steps.push(Step::LoopbackUp),
    }
    steps
}

/// What is done when the network namespace that is made beside is there.
fn late_network(run: &Run, observed: &Observed) -> Vec<Step> {
    match namespaces::network_is_made_beside(&run.net, observed) {
        true => vec![Step::EnterNetwork, Step::LoopbackUp],
        false => Vec::new(),
    }
}

impl Plan {
    /// Whether somebody else than the container's first process detaches the old root.
    #[must_use]
    pub fn is_detached_beside(&self) -> bool {
        self.command.contains(&Step::AwaitDetached)
    }

    /// Whether the command is root's in the container, as far as that can be told without its
    /// `/etc/passwd`.
    #[must_use]
    pub fn runs_as_root(&self) -> bool {
        let user = self.command.iter().find_map(|step| match step {
            Step::Identity { user, .. } => user.as_deref(),
            _ => None,
        });
        matches!(user.unwrap_or("0").split(':').next(), Some("0" | "root"))
    }

    /// What the runner has to hand over idmapped mounts of.
    #[must_use]
    pub fn idmapped(&self) -> &[PathBuf] {
        let taken = |step: &Step| matches!(step, Step::TakeIdmapped(_));
        match self.container.iter().find(|step| taken(step)) {
            Some(Step::TakeIdmapped(paths)) => paths,
            _ => &[],
        }
    }

    /// Whether the container waits for the runner before its command is started.
    #[must_use]
    pub fn awaits_runner(&self) -> bool {
        let mut all = self.container.iter().chain(&self.command);
        all.any(|step| *step == Step::AwaitRunner)
    }

    /// Whether the network namespace is made beside.
    #[must_use]
    pub fn enters_network(&self) -> bool {
        self.container.contains(&Step::EnterNetwork)
    }

    /// Whether the command waits for the network alone, and nothing else of the runner's.
    #[must_use]
    pub fn awaits_network(&self) -> bool {
        self.command.contains(&Step::AwaitNetwork)
    }
}

impl Net {
    /// Whether a program has to be started for it.
    #[must_use]
    pub fn is_made_by_a_helper(&self) -> bool {
        match self {
            Self::None | Self::Host | Self::Join(_) | Self::Attach(_) => false,
            Self::Userspace { .. } => true,
        }
    }
}

impl Security {
    /// Whether `/proc` and `/sys` are masked.
    #[must_use]
    pub fn masks(&self) -> bool {
        !self.unmasked
    }
}
