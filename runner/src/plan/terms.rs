//! On what terms commands run in a container: written down when it is started, so that a later one has
//! no more rights than the first.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Plan, Step, Way, environment};
use crate::capabilities::{Capability, Sets};
use crate::request::{Net, Process, Run};

/// `CLONE_NEWNET`, linux/sched.h.
const NEWNET: i32 = 0x4000_0000;
/// `CLONE_NEWUSER`.
const NEWUSER: i32 = 0x1000_0000;

/// What the steps towards a container's command say, but for the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The namespaces that it does not share with the host, as setns(2) takes them.
    pub namespaces: i32,
    /// Whether its first process is ours.
    pub init: bool,
    /// Whether it may make user namespaces of its own.
    pub nested_users: bool,
    /// Whether supplementary groups may be set in it.
    pub may_set_groups: bool,
    of_root: Sets,
    of_others: Sets,
    new_privileges: bool,
    filtered: bool,
    limits: Vec<(u32, u64, u64)>,
    user: Option<String>,
    cwd: PathBuf,
    environment: Vec<OsString>,
}

impl Terms {
    /// The terms of a container that is made by this plan.
    ///
    /// `None` if the plan ends in no command, which no plan does.
    #[must_use]
    pub fn of(run: &Run, plan: &Plan) -> Option<Self> {
        let (user, of_root, of_others, set_groups) =
            plan.command.iter().find_map(|step| match step {
                Step::Identity { user, of_root, of_others, set_groups } => {
                    Some((user, of_root, of_others, set_groups))
                }
                _ => None,
            })?;
        let cwd = plan.command.iter().find_map(|step| match step {
            Step::WorkingDirectory(cwd) => Some(cwd),
            _ => None,
        })?;
        let environment = plan.command.iter().find_map(|step| match step {
            Step::Execute { environment, .. } => Some(environment),
            _ => None,
        })?;
        // One that existed before was entered and not made, but is to be entered here too.
        let network = if run.net == Net::Host { 0 } else { NEWNET };
        Some(Self {
            namespaces: plan.namespaces.flags() | network,
            init: run.init,
            nested_users: run.security.nested_users,
            may_set_groups: *set_groups,
            of_root: *of_root,
            of_others: *of_others,
            new_privileges: run.security.new_privileges,
            filtered: !run.security.no_seccomp,
            limits: run.process.rlimits.clone(),
            user: user.clone(),
            cwd: cwd.clone(),
            environment: environment.clone(),
        })
    }

    /// Whether a process of the container could look into one that still has rights over the host:
    /// with `CAP_SYS_PTRACE`, and without a user namespace, in which those rights would end.
    #[must_use]
    pub fn may_trace_the_hosts(&self) -> bool {
        let most = self.of_root.bounding.union(self.of_others.bounding);
        self.namespaces & NEWUSER == 0 && most.contains(Capability::SYS_PTRACE)
    }

    /// The steps by which a process becomes a command on these terms.
    #[must_use]
    pub fn steps(&self, process: &Process, caller: &[(OsString, OsString)]) -> Vec<Step> {
        let environment = environment(&self.environment, process, caller);
        let way = Way {
            process,
            limits: [self.limits.as_slice(), &process.rlimits].concat(),
            new_privileges: self.new_privileges,
            filter: self.filtered.then_some(Step::Seccomp { nested_users: self.nested_users }),
            identity: Step::Identity {
                user: process.user.clone().or_else(|| self.user.clone()),
                of_root: self.of_root,
                of_others: self.of_others,
                set_groups: self.may_set_groups,
            },
            cwd: process.cwd.as_ref().unwrap_or(&self.cwd).clone(),
            await_detached: false,
            await_runner: None,
            execute: Step::Execute { command: process.command.clone(), environment },
        };
        way.steps()
    }
}
