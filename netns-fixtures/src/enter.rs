//! Moves the whole process into namespaces of its own.
//!
//! Invariant: after [`isolate`] nothing this process does to links, routes, nft, /proc/sys/net, mounts
//! or /run can be seen outside. It must happen before the first thread: the kernel refuses
//! `unshare(CLONE_NEWUSER)` to a process with threads, and later threads inherit what the first one has.

use crate::{blame::Blame, kernel};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{getegid, geteuid},
};
use std::{
    env, fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    process,
};

/// Set to anything, it makes every isolated process print how to look inside.
const DEBUG: &str = "NETUP_LAB_DEBUG";
/// From linux/capability.h.
const CAP_NET_ADMIN: u64 = 1 << 12;
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Isolates the process of a test file before `main` runs. Once per file, at its top level.
///
/// When a right is missing, the process says so and fails: tests that did not run must not look passed.
/// `isolate!(debian)` first makes the [Debian](crate::runner::prepare_debian) for containers: that
/// needs the network of outside.
#[macro_export]
macro_rules! isolate {
    () => {
        $crate::isolate!(@ {});
    };
    (debian) => {
        $crate::isolate!(@ { $crate::runner::prepare_debian_or_exit() });
    };
    (@ $before:block) => {
        $crate::ctor::declarative::ctor!(
            #[ctor(unsafe, anonymous)]
            fn isolate_before_main() {
                $before
                $crate::enter::isolate_or_exit();
            }
        );
    };
}

/// [`isolate`], ending the process with the cause and the remedy when it is refused.
pub fn isolate_or_exit() {
    if let Err(error) = isolate() {
        eprintln!("netns-fixtures: {error}");
        process::exit(1);
    }
}

/// Moves this process into its own network and mount namespaces, inside its own user namespace unless
/// it has the rights already. Gives it an empty /run with /run/netns, and brings lo up.
///
/// Real root keeps its user namespace: real container runtimes have to work in tests.
pub fn isolate() -> io::Result<()> {
    let privileged = may_unshare()?;
    if !privileged {
        become_root_of_a_user_namespace()?;
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .blame("unshare network and mount namespaces")?;
    seclude_mounts()?;
    kernel::loopback_up().blame("bring lo up in the new network namespace")?;
    if env::var_os(DEBUG).is_some() {
        eprintln!("{}", nsenter_line(privileged));
    }
    Ok(())
}

fn nsenter_line(privileged: bool) -> String {
    let user = if privileged { "" } else { " --user --preserve-credentials" };
    format!("nsenter --target {}{user} --net --mount", process::id())
}

/// Being uid 0 says little: a root without capabilities is what many container runtimes give.
fn may_unshare() -> io::Result<bool> {
    let status = fs::read_to_string("/proc/self/status").blame("read /proc/self/status")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .ok_or_else(|| io::Error::other("/proc/self/status has no CapEff line"))?;
    let wanted = CAP_NET_ADMIN | CAP_SYS_ADMIN;
    Ok(effective & wanted == wanted)
}

fn become_root_of_a_user_namespace() -> io::Result<()> {
    // To be asked before: afterwards both ids read as the overflow id.
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| {
        io::Error::other(format!("unshare(CLONE_NEWUSER): {errno}. {}", remedy()))
    })?;
    // Since Linux 3.19 an unprivileged gid_map is refused until setgroups is denied.
    fs::write("/proc/self/setgroups", "deny").blame("write /proc/self/setgroups")?;
    write_map("uid_map", uid.as_raw())?;
    write_map("gid_map", gid.as_raw())
}

/// AppArmor (Ubuntu 23.10 and later) lets the unshare pass and refuses what comes after it.
fn write_map(file: &str, outside: u32) -> io::Result<()> {
    fs::write(format!("/proc/self/{file}"), format!("0 {outside} 1")).map_err(|error| {
        io::Error::other(format!("write /proc/self/{file}: {error}. {}", remedy()))
    })
}

/// The switch that forbids unprivileged user namespaces here, as far as the kernel tells.
fn remedy() -> String {
    let reads =
        |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let command = if reads("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor forbids it; `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    } else if reads("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "`sudo sysctl kernel.unprivileged_userns_clone=1`"
    } else if reads("/proc/sys/user/max_user_namespaces", "0") {
        "`sudo sysctl user.max_user_namespaces=15000`"
    } else {
        "A container's seccomp profile or a security module forbids it; lift that"
    };
    format!("User namespaces without root are refused here. {command}, or run this as root")
}

/// Private mounts, an empty /run, and a /sys that shows this netns.
fn seclude_mounts() -> io::Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .blame("make all mounts private")?;
    empty_run()?;
    seclude_var_lib();
    // Another one, in which the layers of /var/lib are not seen.
    empty_run()?;
    fs::create_dir("/run/netns").blame("create /run/netns")?;
    show_own_netns_in_sysfs();
    Ok(())
}

fn empty_run() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), flags, Some("mode=755"))
        .blame("mount a tmpfs on /run")
}

/// What is written below /var/lib, as CNI's leases are, stays in here. Where the kernel refuses an
/// overlay, for example on top of others, only tests that name no folder of their own write there.
fn seclude_var_lib() {
    let (upper, work) = ("/run/var-lib/upper", "/run/var-lib/work");
    if [upper, work].iter().any(|folder| fs::create_dir_all(folder).is_err()) {
        return;
    }
    let layers = format!("lowerdir=/var/lib,upperdir={upper},workdir={work}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("overlay"), "/var/lib", Some("overlay"), flags, Some(layers.as_str())).ok();
}

/// A sysfs mount shows the netns that mounted it. Inside another container the kernel may refuse a new
/// one (`mount_too_revealing`); nothing in netup depends on it, so that is tolerated.
fn show_own_netns_in_sysfs() {
    let cgroup = open_tree_root("/sys/fs/cgroup");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&str>).is_err() {
        return;
    }
    // The new mount hides the cgroup hierarchies, which real runtimes need: bind them back.
    if let Ok(old) = cgroup {
        let source = format!("/proc/self/fd/{}", old.as_raw_fd());
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(source.as_str()), "/sys/fs/cgroup", None::<&str>, bind, None::<&str>).ok();
    }
}

fn open_tree_root(path: impl AsRef<Path>) -> nix::Result<OwnedFd> {
    use nix::{fcntl, sys::stat::Mode};
    let flags = fcntl::OFlag::O_PATH | fcntl::OFlag::O_DIRECTORY | fcntl::OFlag::O_CLOEXEC;
    fcntl::open(path.as_ref(), flags, Mode::empty())
}
