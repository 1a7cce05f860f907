//! Capabilities: their names, and the sets that a container has.
//!
//! The usual set of a container's root is what installing packages and serving on a low port take,
//! and nothing that reaches outside: no raw packets, no device nodes, no file capabilities, no audit
//! records. Whoever is not root has none at all, unless `--cap-add` names one: then it is put into
//! the ambient set too, since without that it would be lost at the first `execve`
//! (capabilities(7)) and the flag would do nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// A change to the usual set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    /// This one as well.
    Add(Capability),
    /// Not this one.
    Drop(Capability),
    /// All that the caller has.
    AddAll,
    /// None.
    DropAll,
}

impl Adjustment {
    /// What `--cap-add TEXT` means: a name or `all`.
    pub fn add(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case("all") {
            Ok(Self::AddAll)
        } else {
            text.parse().map(Self::Add)
        }
    }

    /// What `--cap-drop TEXT` means: a name or `all`.
    pub fn drop(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case("all") {
            Ok(Self::DropAll)
        } else {
            text.parse().map(Self::Drop)
        }
    }
}

/// A capability by its number in linux/capability.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Capability(u8);

/// The names, each at its number. The last came with Linux 5.9, so every kernel we run on has all.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container's root has if nothing else is said: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL,
/// SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, SYS_CHROOT.
pub const USUAL: Set =
    Set(1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18);

impl Capability {
    /// Looks into processes and changes them, those that hide included.
    pub const SYS_PTRACE: Self = Self(19);
    /// Mounts, and much else.
    pub const SYS_ADMIN: Self = Self(21);
    /// Makes device nodes.
    pub const MKNOD: Self = Self(27);

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its name without `CAP_`, in capitals.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CAP_{}", self.name())
    }
}

/// By name, in any case, with or without `cap_`.
impl FromStr for Capability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("CAP_").unwrap_or(&name);
        match (0u8..).zip(NAMES).find(|(_, known)| *known == name) {
            Some((number, _)) => Ok(Self(number)),
            None => Err(Error::invalid(format!("there is no capability {text:?}"))
                .hint(format!("near it are {}; see capabilities(7)", nearest(name).join(", ")))),
        }
    }
}

/// The three names that take the fewest changes to become `name`.
fn nearest(name: &str) -> Vec<&'static str> {
    let mut names = NAMES;
    names.sort_by_key(|known| distance(known.as_bytes(), name.as_bytes()));
    names[..3].to_vec()
}

/// How many insertions, deletions and replacements lie between two words (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A set of capabilities as the kernel's bit mask.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Set(u64);

impl Set {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// Every capability that has a name here.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The set of a kernel's bit mask; bits that have no name are left out.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The kernel's bit mask.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it holds this one.
    #[must_use]
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & Self::from(capability).0 != 0
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is not in the other.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Its members by number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0u8..).map(Capability).take(NAMES.len()).filter(move |&one| self.contains(one))
    }
}

impl From<Capability> for Set {
    fn from(capability: Capability) -> Self {
        Self(1 << capability.0)
    }
}

impl FromIterator<Capability> for Set {
    fn from_iter<I: IntoIterator<Item = Capability>>(all: I) -> Self {
        all.into_iter().fold(Self::EMPTY, |set, one| set.union(one.into()))
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Capability::name).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(" "))
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// The five sets of the command, as they are set before it is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sets {
    /// What can be had at most, by this process and its children.
    pub bounding: Set,
    /// What it may use.
    pub permitted: Set,
    /// What it uses.
    pub effective: Set,
    /// Empty but for a user who is not root and was given some: a raised ambient set needs it.
    pub inheritable: Set,
    /// As `inheritable`.
    pub ambient: Set,
}

/// What the command has.
///
/// `all` is taken first and names after it, whatever their order on the command line; a name that is
/// both added and dropped is dropped. `available` is what the runner itself has in the container's
/// user namespace: everything in one of its own, otherwise its permitted set. A usual capability
/// that is not available is left out; one that is asked for by name is an error.
pub fn resolve(
    adjustments: &[Adjustment],
    root_user: bool,
    new_privileges: bool,
    available: Set,
) -> Result<Sets> {
    let given = given(adjustments, available)?;
    let dropped = dropped(adjustments);
    let usual = if adjustments.contains(&Adjustment::DropAll) { Set::EMPTY } else { USUAL };
    let all = usual.union(given).difference(dropped).intersection(available);
    if root_user {
        let (bounding, permitted, effective) = (all, all, all);
        return Ok(Sets {
            bounding,
            permitted,
            effective,
            inheritable: Set::EMPTY,
            ambient: Set::EMPTY,
        });
    }
    let given = given.difference(dropped);
    // Without new privileges nothing can take from the bounding set any more, so nothing is in it.
    let bounding = if new_privileges { all } else { given };
    Ok(Sets { bounding, permitted: given, effective: given, inheritable: given, ambient: given })
}

fn given(adjustments: &[Adjustment], available: Set) -> Result<Set> {
    let named: Set = adjustments
        .iter()
        .filter_map(|change| if let Adjustment::Add(one) = change { Some(*one) } else { None })
        .collect();
    let all = adjustments.contains(&Adjustment::AddAll);
    if all && adjustments.contains(&Adjustment::DropAll) {
        return Err(Error::invalid("all capabilities can be added or dropped, not both"));
    }
    let missing = named.difference(available);
    if !missing.is_empty() {
        let message = format!("cannot give what the caller does not have: {missing}");
        return Err(Error::new(ErrorKind::NotPermitted, message)
            .hint("a container in a user namespace of its own can be given any"));
    }
    Ok(if all { available } else { named })
}

fn dropped(adjustments: &[Adjustment]) -> Set {
    adjustments
        .iter()
        .filter_map(|change| if let Adjustment::Drop(one) = change { Some(*one) } else { None })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &str) -> Set {
        names.split_whitespace().map(|name| name.parse::<Capability>().unwrap()).collect()
    }

    fn adjust(text: &str) -> Vec<Adjustment> {
        let parse = |word: &str| match word.strip_prefix('+') {
            Some(name) => Adjustment::add(name),
            None => Adjustment::drop(word.trim_start_matches('-')),
        };
        text.split_whitespace().map(|word| parse(word).unwrap()).collect()
    }

    #[test]
    fn names_are_the_kernels() {
        let number = |name: &str| name.parse::<Capability>().unwrap().number();
        assert_eq!(number("chown"), 0);
        assert_eq!(number("cap_net_raw"), 13);
        assert_eq!(number("CAP_SYS_ADMIN"), 21);
        assert_eq!(number("Mknod"), 27);
        assert_eq!(number("checkpoint_restore"), 40);
    }

    #[test]
    fn what_is_near_an_unknown_name_is_told() {
        let error = "net_admim".parse::<Capability>().unwrap_err().to_string();
        assert!(error.contains("NET_ADMIN"), "{error}");
        for bad in ["", "cap_", "cap_cap_chown", "21", "all", "CHOWN "] {
            assert!(bad.parse::<Capability>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn root_has_the_usual_ones_and_nothing_inherited() {
        let sets = resolve(&[], true, false, Set::ALL).unwrap();
        let usual = set("chown dac_override fowner fsetid kill net_bind_service setgid setuid \
                         setpcap sys_chroot");
        assert_eq!(sets.bounding, usual);
        assert_eq!((sets.permitted, sets.effective), (usual, usual));
        assert_eq!((sets.inheritable, sets.ambient), (Set::EMPTY, Set::EMPTY));
    }

    #[test]
    fn others_have_none_and_a_bounding_set_only_if_they_may_gain() {
        let sets = resolve(&[], false, false, Set::ALL).unwrap();
        assert_eq!(sets.bounding, Set::EMPTY);
        assert_eq!((sets.permitted, sets.effective), (Set::EMPTY, Set::EMPTY));
        let sets = resolve(&[], false, true, Set::ALL).unwrap();
        assert_eq!((sets.bounding, sets.permitted), (USUAL, Set::EMPTY));
    }

    #[test]
    fn what_is_added_for_others_is_had_after_execve() {
        let sets = resolve(&adjust("+net_bind_service"), false, false, Set::ALL).unwrap();
        let one = set("net_bind_service");
        assert_eq!(sets.bounding, one);
        assert_eq!((sets.permitted, sets.inheritable, sets.ambient), (one, one, one));
    }

    #[test]
    fn all_comes_before_names_in_any_order() {
        for text in ["-all +chown", "+chown -all", "+chown -all +kill -kill"] {
            let sets = resolve(&adjust(text), true, false, Set::ALL).unwrap();
            assert_eq!(sets.permitted, set("chown"), "{text}");
        }
        let sets = resolve(&adjust("+all -sys_admin"), true, false, Set::ALL).unwrap();
        assert_eq!(sets.permitted, Set::ALL.difference(set("sys_admin")));
        assert!(resolve(&adjust("+all -all"), true, false, Set::ALL).is_err());
    }

    #[test]
    fn nobody_gives_what_he_lacks() {
        let caller = Set::ALL.difference(set("sys_resource chown"));
        let sets = resolve(&[], true, false, caller).unwrap();
        assert_eq!(sets.permitted, USUAL.difference(set("chown")));
        assert_eq!(resolve(&adjust("+all"), true, false, caller).unwrap().permitted, caller);
        let error = resolve(&adjust("+sys_resource"), true, false, caller).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotPermitted);
        assert!(error.to_string().contains("SYS_RESOURCE"), "{error}");
    }

    #[test]
    fn sets_read_as_names() {
        assert_eq!(set("kill chown").to_string(), "CHOWN KILL");
        assert_eq!(Set::EMPTY.to_string(), "none");
        assert_eq!(Set::from_bits(u64::MAX), Set::ALL);
    }
}
