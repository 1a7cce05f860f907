//! newuidmap(1) and newgidmap(1), which write the maps that an ordinary user cannot.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::event::Timespec;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::subid::WITHOUT;
use crate::error::{Error, ErrorKind, Result};
use crate::refusal;
use crate::signals::Ending;

/// Where set-user-ID programs are looked for. Not `PATH`: that is the caller's to choose, and
/// these decide who the container's users are.
const FOLDERS: [&str; 6] =
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/run/wrappers/bin"];
/// They make a few system calls; a user data base on a network can be slow.
const DEADLINE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The two programs by their paths.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Helpers {
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

impl Helpers {
    pub(super) fn find() -> Result<Self> {
        Ok(Self { newuidmap: find("newuidmap")?, newgidmap: find("newgidmap")? })
    }

    pub(super) fn map_users(&self, child: i32, map: &[String], ending: &Ending) -> Result<()> {
        run(&self.newuidmap, child, map, ending)
    }

    pub(super) fn map_groups(&self, child: i32, map: &[String], ending: &Ending) -> Result<()> {
        run(&self.newgidmap, child, map, ending)
    }
}

fn find(name: &str) -> Result<PathBuf> {
    let mut paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    paths.find(|path| path.is_file()).ok_or_else(|| {
        Error::new(ErrorKind::MissingTool, format!("{name} is in none of {}", FOLDERS.join(", ")))
            .hint(format!(
                "install it (Debian and Ubuntu: uidmap, others: shadow-utils), {WITHOUT}"
            ))
    })
}

fn run(program: &Path, child: i32, map: &[String], ending: &Ending) -> Result<()> {
    let what = format!("{} {child} {}", program.display(), map.join(" "));
    let mut command = Command::new(program);
    // Nothing of the environment: what is meant for the container must not steer these.
    command.arg(child.to_string()).args(map).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut helper =
        command.spawn().map_err(|error| refusal::of_program(format!("run {what}"), &error))?;
    let ended = await_end(&helper, ending);
    if !matches!(ended, Ok(true)) {
        helper.kill().ok();
    }
    let status = helper.wait().map_err(|error| Error::io(format!("wait for {what}"), &error))?;
    if !ended? {
        let message = format!("{what}: was not done within {} s", DEADLINE.tv_sec);
        return Err(Error::new(ErrorKind::Kernel, message)
            .hint("it asks the system's data bases of users, which may be on a network"));
    }
    if status.success() {
        return Ok(());
    }
    let said = said_by(&mut helper)?;
    let cause = if said.is_empty() { status.to_string() } else { said };
    Err(Error::new(ErrorKind::NotPermitted, format!("{what}: {cause}")).hint(
        "it has to be set-user-ID root, and the ids to be set aside in /etc/subuid and /etc/subgid",
    ))
}

/// Whether it ended before the deadline.
fn await_end(helper: &Child, ending: &Ending) -> Result<bool> {
    let pidfd = pidfd_open(Pid::from_child(helper), PidfdFlags::empty())
        .map_err(|errno| Error::kernel("wait for a helper program", errno))?;
    ending.wait([pidfd.as_fd()], Some(DEADLINE)).map(|[ended]| ended)
}

fn said_by(helper: &mut Child) -> Result<String> {
    let mut said = Vec::new();
    if let Some(stderr) = helper.stderr.take() {
        let failed = |error| Error::io("read what a helper program says", &error);
        stderr.take(4096).read_to_end(&mut said).map_err(failed)?;
    }
    Ok(String::from_utf8_lossy(&said).trim().replace('\n', "; "))
}
