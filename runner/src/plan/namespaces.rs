//! The namespaces of a container.

use std::fmt;

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
    /// Those of a container that is connected like this.
    #[must_use]
    pub fn new(net: &Net, user: bool) -> Self {
        let all = KINDS.iter().fold(0, |all, (flag, _)| all | flag);
        let without_user = if user { all } else { all & !USER };
        match net {
            Net::Host | Net::Join(_) => Self(without_user & !NET),
            _ if Self::network_is_made_beside(net, user) => Self(without_user & !NET),
            Net::None | Net::Attach(_) | Net::Userspace { .. } => Self(without_user),
        }
    }

    /// Whether the network namespace is made beside all else, and joined late by the container's first
    /// process. In a user namespace it can only be made with that or later, and a
    /// helper program finds it by the first process, at once.
    #[must_use]
    pub fn network_is_made_beside(net: &Net, user: bool) -> bool {
        !user && matches!(net, Net::None | Net::Attach(_))
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

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = KINDS.iter().filter(|(flag, _)| self.0 & flag != 0).map(|(_, name)| *name);
        f.write_str(&set.collect::<Vec<_>>().join("|"))
    }
}
