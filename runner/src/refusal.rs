//! Why the kernel makes no process or no namespace, and what helps.

use std::fs;
use std::io;

use rustix::io::Errno;

use crate::error::Error;
use crate::plan::Namespaces;

/// The switches that keep ordinary users from user namespaces, and at which value they do. The second
/// is Debian's, the last AppArmor's.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "an AppArmor profile for netup-run that has userns, or sysctl \
         kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// Which limit each kind has, below `/proc/sys/user`.
const LIMITS: [(&str, &str); 7] = [
    ("CLONE_NEWUSER", "max_user_namespaces"),
    ("CLONE_NEWNS", "max_mnt_namespaces"),
    ("CLONE_NEWUTS", "max_uts_namespaces"),
    ("CLONE_NEWIPC", "max_ipc_namespaces"),
    ("CLONE_NEWPID", "max_pid_namespaces"),
    ("CLONE_NEWNET", "max_net_namespaces"),
    ("CLONE_NEWCGROUP", "max_cgroup_namespaces"),
];

/// A clone3(2) that made no process in these namespaces, or an unshare(2) that did not make them.
pub(crate) fn of_namespaces(call: &str, namespaces: Namespaces, errno: Errno) -> Error {
    let call = format!("{call}({namespaces})");
    match errno {
        Errno::PERM | Errno::ACCESS if namespaces.has_users() => of_users(call, errno),
        Errno::PERM => Error::kernel(call, errno).hint(
            "namespaces take root with CAP_SYS_ADMIN; with a user namespace nobody needs that: \
             --users ranges or single",
        ),
        Errno::NOSPC | Errno::USERS => {
            Error::kernel(call, errno).hint(reached(namespaces, switched))
        }
        _ => of_process(call, errno),
    }
}

/// A user namespace that was not made, or in which its root has no rights.
pub(crate) fn of_users(call: impl Into<String>, errno: Errno) -> Error {
    let error = Error::kernel(call, errno);
    match errno {
        Errno::PERM | Errno::ACCESS => error.hint(forbidden(switched)),
        _ => error,
    }
}

/// A process that was not made.
pub(crate) fn of_process(call: impl Into<String>, errno: Errno) -> Error {
    let error = Error::kernel(call, errno);
    match errno {
        Errno::AGAIN => error.hint(
            "a limit on processes is reached: the user's (ulimit -u), or pids.max of a cgroup, which is \
             --pids for a container",
        ),
        _ => error,
    }
}

/// A program of the host's that was not started.
pub(crate) fn of_program(call: impl Into<String>, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(errno) => of_process(call, Errno::from_raw_os_error(errno)),
        None => Error::io(call, error),
    }
}

fn forbidden(is: impl Fn(&str, &str) -> bool) -> String {
    match SWITCHES.iter().find(|(file, value, _)| is(file, value)) {
        Some((file, _, remedy)) => {
            format!("/proc/sys/{file} keeps users from making user namespaces: {remedy}")
        }
        None => "what keeps users from making user namespaces is a container around this one, a chroot, \
                 or a security module"
            .to_owned(),
    }
}

fn reached(namespaces: Namespaces, is: impl Fn(&str, &str) -> bool) -> String {
    let wanted = namespaces.to_string();
    let mut limits = LIMITS.iter().filter(|(flag, _)| wanted.split('|').any(|own| own == *flag));
    match limits.find(|(_, limit)| is(&format!("user/{limit}"), "0")) {
        Some((_, limit)) => {
            format!("/proc/sys/user/{limit} allows none: sysctl user.{limit}=15000")
        }
        None => "a limit on namespaces is reached: see /proc/sys/user/max_*_namespaces, here and \
                 outside of any container around this; or there are 32 in each other"
            .to_owned(),
    }
}

/// Whether a file below `/proc/sys` is there and says this.
fn switched(file: &str, value: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|text| text.trim() == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clone::{CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER};

    #[test]
    fn the_switch_that_is_set_is_named() {
        for (file, value, remedy) in SWITCHES {
            let hint = forbidden(|other, set| (other, set) == (file, value));
            assert!(hint.contains(file) && hint.ends_with(remedy), "{hint}");
        }
        assert!(forbidden(|_, _| false).contains("chroot"));
    }

    #[test]
    fn a_limit_of_none_is_named_if_the_kind_was_wanted() {
        let none = |file: &str, value: &str| (file, value) == ("user/max_net_namespaces", "0");
        let hint = reached(Namespaces::of(CLONE_NEWNS | CLONE_NEWNET), none);
        assert!(hint.starts_with("/proc/sys/user/max_net_namespaces allows none"), "{hint}");
        let hint = reached(Namespaces::of(CLONE_NEWNS), none);
        assert!(hint.contains("max_*_namespaces"), "{hint}");
    }

    #[test]
    fn a_refusal_without_a_known_remedy_has_none() {
        let namespaces = Namespaces::of(CLONE_NEWNS | CLONE_NEWUSER);
        let error = of_namespaces("clone3", namespaces, Errno::NOMEM);
        assert_eq!(error.to_string(), error.message());
    }
}
