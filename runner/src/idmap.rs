//! Whose ids a container's users have outside: the id maps of its user namespace.
//!
//! A map is never made narrower than what was asked for: with fewer ids than a distribution uses,
//! files silently change their owners.

mod shadow;
mod subid;

use std::fmt::Write as _;
use std::fs;

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::request::Users;
use crate::signals::Ending;
use shadow::Helpers;
use subid::Caller;

/// The group of terminals, by every distribution's convention.
const TERMINALS: u32 = 5;

/// The id maps of a user namespace, and who writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    uids: Vec<Range>,
    gids: Vec<Range>,
    writer: Writer,
}

/// Ids inside, and what they are outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

/// Who writes the maps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Writer {
    /// We do, by our own right over these ids.
    Root,
    /// We do, for our own id alone; the kernel then wants supplementary groups fixed.
    Oneself,
    /// The set-user-ID programs that check the ranges of `/etc/subuid`.
    Helpers(Helpers),
}

impl UserNamespace {
    /// The namespace that these users ask for; none if ids are to be the same inside and outside.
    ///
    /// # Errors
    /// That no or too few ids are set aside for the caller, that newuidmap or newgidmap is missing,
    /// or that the host's ids are asked for without root.
    pub fn choose(users: Users) -> Result<Option<Self>> {
        match (users, is_root()?) {
            (Users::Auto | Users::Host, true) => Ok(None),
            (Users::Auto | Users::Ranges, false) => Self::ranges().map(Some),
            (Users::Ranges, true) => Self::straight().map(Some),
            (Users::Single, _) => Ok(Some(Self::single())),
            (Users::Host, false) => {
                let message = "the host's own ids (--users host) are for root only";
                Err(Error::new(ErrorKind::NotPermitted, message).hint("run it with sudo"))
            }
        }
    }

    /// The caller's own ids as root's, and its ranges from 1 on.
    fn ranges() -> Result<Self> {
        let caller = Caller::current()?;
        let helpers = Helpers::find()?;
        let map = |own, ranges: Vec<(u32, u32)>| {
            let own = Range { inside: 0, outside: own, count: 1 };
            std::iter::once(own).chain(in_a_row(1, ranges)).collect()
        };
        Ok(Self {
            uids: map(geteuid().as_raw(), caller.subordinate_uids()?),
            gids: map(getegid().as_raw(), caller.subordinate_gids()?),
            writer: Writer::Helpers(helpers),
        })
    }

    /// Root's ranges from 0 on: not even the container's root is root outside.
    fn straight() -> Result<Self> {
        let caller = Caller::current()?;
        Ok(Self {
            uids: in_a_row(0, caller.subordinate_uids()?).collect(),
            gids: in_a_row(0, caller.subordinate_gids()?).collect(),
            writer: Writer::Root,
        })
    }

    /// The caller's own ids alone.
    #[must_use]
    pub fn single() -> Self {
        let only = |outside| vec![Range { inside: 0, outside, count: 1 }];
        Self {
            uids: only(geteuid().as_raw()),
            gids: only(getegid().as_raw()),
            writer: Writer::Oneself,
        }
    }

    /// Writes the maps of a child that waits in the new namespace. The caller has not waited for
    /// the child, so its PID is still its own.
    ///
    /// # Errors
    /// What the kernel or the helper program says, or that a signal ended the wait for that.
    pub(crate) fn write_maps(&self, child: i32, ending: &Ending) -> Result<()> {
        match &self.writer {
            Writer::Helpers(helpers) => {
                // The group first: whoever could use the namespace too early has root's uid in it,
                // and then nothing is left to be done.
                helpers.map_groups(child, &words(&self.gids), ending)?;
                helpers.map_users(child, &words(&self.uids), ending)
            }
            Writer::Root => self.write_directly(child),
            Writer::Oneself => {
                // Since Linux 3.19 the group map of one without rights is refused before this:
                // dropping a group could grant what the group is denied (CVE-2014-8989).
                write(child, "setgroups", "deny")?;
                self.write_directly(child)
            }
        }
    }

    fn write_directly(&self, child: i32) -> Result<()> {
        write(child, "gid_map", &lines(&self.gids))?;
        write(child, "uid_map", &lines(&self.uids))
    }

    /// What `write_maps` does, as commands; `child` stands for the PID.
    #[must_use]
    pub fn lines(&self, child: &str) -> Vec<String> {
        let file =
            |name: &str, text: &str| format!("echo '{}' > /proc/{child}/{name}", text.trim_end());
        let maps = |lines: &[Range]| self::lines(lines).trim_end().replace('\n', "\\n");
        match &self.writer {
            Writer::Helpers(_) => vec![
                format!("newgidmap {child} {}", words(&self.gids).join(" ")),
                format!("newuidmap {child} {}", words(&self.uids).join(" ")),
            ],
            Writer::Root => {
                vec![file("gid_map", &maps(&self.gids)), file("uid_map", &maps(&self.uids))]
            }
            Writer::Oneself => vec![
                file("setgroups", "deny"),
                file("gid_map", &maps(&self.gids)),
                file("uid_map", &maps(&self.uids)),
            ],
        }
    }

    /// Whether supplementary groups can be set inside.
    #[must_use]
    pub fn may_set_groups(&self) -> bool {
        self.writer != Writer::Oneself
    }

    /// Whether the group of terminals (5) exists inside.
    #[must_use]
    pub fn has_terminal_group(&self) -> bool {
        self.gids
            .iter()
            .any(|range| (range.inside..range.inside + range.count).contains(&TERMINALS))
    }

    /// Whether the container's root is one of the caller's subordinate ids and not the caller
    /// itself. Files that the caller owns then belong to nobody inside, unless mounted with the
    /// ids mapped.
    #[must_use]
    pub fn shifts_the_caller(&self) -> bool {
        self.writer == Writer::Root
    }
}

/// Whether the group of terminals exists in the caller's own user namespace, of which it may be root
/// with few ids.
pub(crate) fn caller_has_terminal_group() -> Result<bool> {
    read("/proc/self/gid_map").map(|map| maps(&map, TERMINALS))
}

/// Whether supplementary groups can be set in the caller's own user namespace.
pub(crate) fn caller_may_set_groups() -> Result<bool> {
    read("/proc/self/setgroups").map(|text| text.trim() == "allow")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::io(format!("read {path}"), &error))
}

/// Whether a map as the kernel shows it has an id inside: a line is first, outside, count.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u32> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        let [first, _outside, count] = numbers[..] else { return false };
        id.checked_sub(first).is_some_and(|offset| offset < count)
    })
}

/// Whether the caller may give files and processes any id of its user namespace.
fn is_root() -> Result<bool> {
    let own = capabilities(None).map_err(|errno| Error::kernel("capget", errno))?;
    Ok(geteuid().is_root() && own.effective.contains(CapabilitySet::SETUID))
}

fn in_a_row(first: u32, ranges: Vec<(u32, u32)>) -> impl Iterator<Item = Range> {
    ranges.into_iter().scan(first, |inside, (outside, count)| {
        let range = Range { inside: *inside, outside, count };
        *inside = inside.checked_add(count)?;
        Some(range)
    })
}

/// As newuidmap wants them.
fn words(map: &[Range]) -> Vec<String> {
    let numbers = |range: &Range| [range.inside, range.outside, range.count];
    map.iter().flat_map(numbers).map(|number| number.to_string()).collect()
}

/// As the kernel wants them.
fn lines(map: &[Range]) -> String {
    map.iter().fold(String::new(), |mut text, range| {
        writeln!(text, "{} {} {}", range.inside, range.outside, range.count)
            .expect("a String takes any text");
        text
    })
}

/// In one write: the kernel takes no second one.
fn write(child: i32, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{child}/{file}");
    fs::write(&path, text).map_err(|error| Error::io(format!("write {text:?} to {path}"), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_ranges() -> Vec<Range> {
        let own = Range { inside: 0, outside: 1000, count: 1 };
        let given = vec![(100_000, 4), (500_000, 65536)];
        std::iter::once(own).chain(in_a_row(1, given)).collect()
    }

    #[test]
    fn ranges_follow_each_other_inside() {
        assert_eq!(words(&two_ranges()).join(" "), "0 1000 1 1 100000 4 5 500000 65536");
        assert_eq!(lines(&two_ranges()), "0 1000 1\n1 100000 4\n5 500000 65536\n");
    }

    #[test]
    fn the_explanation_is_what_the_helpers_are_called_with() {
        let namespace = UserNamespace {
            uids: two_ranges(),
            gids: two_ranges()[..2].to_vec(),
            writer: Writer::Helpers(Helpers::default()),
        };
        assert_eq!(
            namespace.lines("PID"),
            [
                "newgidmap PID 0 1000 1 1 100000 4",
                "newuidmap PID 0 1000 1 1 100000 4 5 500000 65536"
            ]
        );
        assert!(!namespace.has_terminal_group() && namespace.may_set_groups());
    }

    #[test]
    fn an_id_is_looked_up_in_the_kernels_map() {
        assert!(maps("         0          0 4294967295\n", TERMINALS));
        assert!(!maps("0 1000 1\n", TERMINALS));
        assert!(maps("0 1000 1\n1 100000 65536\n", TERMINALS));
        assert!(!maps("6 7 8\n", TERMINALS) && !maps("", TERMINALS));
    }

    #[test]
    fn a_single_id_fixes_the_groups_first() {
        let lines = UserNamespace::single().lines("PID");
        assert_eq!(lines[0], "echo 'deny' > /proc/PID/setgroups");
        assert!(lines[1].contains("gid_map") && lines[2].contains("uid_map"));
        assert!(!UserNamespace::single().may_set_groups());
    }
}
