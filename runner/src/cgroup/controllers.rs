//! Making controllers available where limits need them, or saying why that cannot be.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::cgroup::hierarchy::{self, Place};
use crate::cgroup::limits::Setting;
use crate::cgroup::{Parent, failed};
use crate::error::{Error, ErrorKind, Result};

const OFFERED: &str = "cgroup.controllers";
const PASSED_ON: &str = "cgroup.subtree_control";

/// Those that have figures or limits that we show.
const OURS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// Where the runner itself goes when it is in the way, see [`step_aside`].
const ASIDE: &str = "netup-run.runner";

const DELEGATE: &str = "start it by systemd-run --user --scope -p Delegate=yes netup-run …, \
    or leave the limit out";

/// Checks that every controller can be had.
pub fn offered(parent: &Parent, settings: &[Setting]) -> Result<()> {
    let Some(folder) = givers(parent).first().map(|folder| (*folder).to_owned()) else {
        return Ok(());
    };
    let offered = if settings.is_empty() { String::new() } else { read(&folder.join(OFFERED))? };
    match settings.iter().find(|setting| !has(&offered, setting.controller)) {
        Some(setting) => Err(missing(setting, parent, &folder, &offered)),
        None => Ok(()),
    }
}

/// Makes the controllers available to the containers' cgroups. What is enabled stays so, since
/// others may have come to rely on it.
pub fn enable(parent: &Parent, settings: &[Setting]) -> Result<()> {
    offered(parent, settings)?;
    for folder in givers(parent) {
        if parent.place.is_shared() && folder == parent.place.folder() {
            parent.make_shared()?;
        }
        let passed_on = read(&folder.join(PASSED_ON))?;
        let mut wanted: Vec<&str> = settings.iter().map(|setting| setting.controller).collect();
        wanted.dedup();
        wanted.retain(|controller| !has(&passed_on, controller));
        if !wanted.is_empty() {
            pass(folder, &wanted)?;
        }
    }
    Ok(())
}

/// Passes on what a cgroup was given, as far as it is of use to a container. What it was not given
/// is no error where nobody asked for a limit: the figures will be said to be missing.
pub fn pass_on(folder: &Path) -> Result<()> {
    let offered = read(&folder.join(OFFERED))?;
    let given: Vec<&str> = OURS.into_iter().filter(|name| has(&offered, name)).collect();
    if given.is_empty() {
        return Ok(());
    }
    fs::write(folder.join(PASSED_ON), words(&given))
        .map_err(|e| failed("write", &folder.join(PASSED_ON), &e))
}

/// The cgroups that must pass controllers on, from the top.
fn givers(parent: &Parent) -> Vec<&Path> {
    match &parent.place {
        Place::Shared(folder) => vec![&parent.hierarchy, folder],
        Place::Own(folder) => vec![folder],
    }
}

fn pass(folder: &Path, controllers: &[&str]) -> Result<()> {
    let path = folder.join(PASSED_ON);
    let write = || fs::write(&path, words(controllers));
    let written = match write() {
        // A cgroup other than the root may have processes or pass controllers on, not both
        // (cgroups(7), "no internal processes").
        Err(e) if errno(&e) == Some(Errno::BUSY) => step_aside(folder).and_then(|()| write()),
        written => written,
    };
    written.map_err(|e| {
        let error = failed(&format!("echo {} >", words(controllers)), &path, &e);
        match error.errno() {
            Some(Errno::BUSY) => {
                error.hint(format!("other processes are in that cgroup; {DELEGATE}"))
            }
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                error.hint(format!("that cgroup was not given to this user; {DELEGATE}"))
            }
            _ => error,
        }
    })
}

/// A scope of systemd's has its command in it, which is us. We go into a cgroup of our own beside
/// the containers', which goes with the scope.
fn step_aside(folder: &Path) -> io::Result<()> {
    let aside = folder.join(ASIDE);
    match fs::create_dir(&aside) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    fs::write(aside.join("cgroup.procs"), "0")
}

fn missing(setting: &Setting, parent: &Parent, folder: &Path, offered: &str) -> Error {
    let Setting { controller, option, .. } = setting;
    let offered = if offered.trim().is_empty() { "none" } else { offered.trim() };
    let what = format!(
        "{option} needs the cgroup v2 controller {controller}; {} offers {offered}",
        folder.display()
    );
    let v1 = hierarchy::membership().ok();
    let v1 = v1.and_then(|membership| hierarchy::v1_mount(&membership, controller));
    match v1 {
        Some(mount) => bound_to_v1(what, &mount),
        None if folder == parent.hierarchy => Error::new(ErrorKind::MissingFeature, what)
            .hint("the kernel, or the container this runs in, does not have it"),
        None => Error::new(ErrorKind::MissingFeature, what).hint(DELEGATE),
    }
}

/// There is no version 2 hierarchy at all.
pub fn no_hierarchy(controller: &str) -> Error {
    let what =
        format!("a limit needs the cgroup v2 controller {controller}; no cgroup v2 is there");
    let v1 = hierarchy::membership().ok();
    match v1.and_then(|membership| hierarchy::v1_mount(&membership, controller)) {
        Some(mount) => bound_to_v1(what, &mount),
        None => Error::new(ErrorKind::MissingFeature, what)
            .hint("mount -t cgroup2 cgroup2 /sys/fs/cgroup, or leave the limit out"),
    }
}

fn bound_to_v1(what: String, mount: &str) -> Error {
    let what = format!("{what}, and version 1 has the controller, at {mount}");
    Error::new(ErrorKind::MissingFeature, what).hint(
        "boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all, or leave the limit out",
    )
}

fn has(list: &str, controller: &str) -> bool {
    list.split_whitespace().any(|name| name == controller)
}

fn words(controllers: &[&str]) -> String {
    controllers.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| failed("read", path, &e))
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}
