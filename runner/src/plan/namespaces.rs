//! The namespaces of a container.

use std::fmt;

use super::Observed;
use crate::request::Net;

/// The flags and names of clone(2), from linux/sched.h.
const KINDS: [(i32, &str); 7] = [
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x0002_0000, "CLONE_NEWNS"),
    (0x0400_0000, "CLONE_NEWUTS"),
    (0x0800_0000, "CLONE_NEWIPC"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x0200_0000, "CLONE_NEWCGROUP"),
];
const USER: i32 = KINDS[0].0;
const NET: i32 = KINDS[5].0;

/// The namespaces that a container does not share with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces(i32);

impl Namespaces {
    /// Those of a container that is connected like this, as clone3(2) makes them.
    #[must_use]
    pub fn new(net: &Net, observed: &Observed) -> Self {
        let all = KINDS.iter().fold(0, |all, (flag, _)| all | flag);
        let without_user = if observed.has_users { all } else { all & !USER };
        match net {
            Net::Host | Net::Join(_) => Self(without_user & !NET),
            _ if network_is_made_beside(net, observed) => Self(without_user & !NET),
            Net::None | Net::Attach(_) | Net::Userspace { .. } => Self(without_user),
        }
    }

    /// Those of these flags of clone(2).
    #[must_use]
    pub fn of(flags: i32) -> Self {
        Self(flags)
    }

    /// Whether there is a user namespace among them.
    #[must_use]
    pub fn has_users(self) -> bool {
        self.0 & USER != 0
    }

    /// As clone(2) takes them.
    #[must_use]
    pub fn flags(self) -> i32 {
        self.0
    }
}

/// Whether the network namespace is made by the runner beside all else, and entered late by the
/// container's first process. A user namespace that has to own it is only there with that process; in
/// one that the caller is in already, nobody comes back from a new network namespace to the old one,
/// which is another's; and a helper program finds it by the first process, at once.
pub(super) fn network_is_made_beside(net: &Net, observed: &Observed) -> bool {
    observed.in_first_users && matches!(net, Net::None | Net::Attach(_))
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = KINDS.iter().filter(|(flag, _)| self.0 & flag != 0).map(|(_, name)| *name);
        f.write_str(&set.collect::<Vec<_>>().join("|"))
    }
}
