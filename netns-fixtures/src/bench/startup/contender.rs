//! Who starts a container, and how.

use super::{BWRAP, NETUP_RUN, bundle::Bundle, stage::Stage};
use crate::bench::stopwatch;
use netns_fixtures::{Node, tools};
use serde::Serialize;
use std::{
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// What the container is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// What the host is.
    Host,
    /// Itself: an empty network namespace.
    Nothing,
    /// The outside through NAT, and from there by a published port.
    Published,
}

/// Who starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    Root,
    User,
}

/// A row: one program, one network, one caller.
pub struct Contender {
    pub name: &'static str,
    pub reach: Reach,
    pub caller: Caller,
    program: Program,
}

/// Groups of words, one after the other.
type Options = &'static [&'static [&'static str]];

enum Program {
    /// The stage's own, with these options.
    NetupRun(Options),
    /// unshare(1) with these options, then chroot(1).
    Unshare(Options),
    Bwrap(Options),
    /// crun and runc, with a bundle.
    Oci(&'static str),
    Podman(&'static [&'static str]),
}

/// As much as netup-run does, as far as bwrap can do it.
const BWRAP_KINDS: &[&str] =
    &["--unshare-pid", "--unshare-uts", "--unshare-ipc", "--unshare-cgroup-try"];
const BWRAP_MOUNTS: &[&str] = &["--proc", "/proc", "--dev", "/dev"];
const UNSHARE: &[&str] = &["--fork", "--mount", "--uts", "--ipc", "--pid", "--cgroup"];
const UNSHARE_USER: &[&str] = &["--net", "--user", "--map-root-user"];
const PUBLISHED: &[&str] = &["--net", "10.0.0.2/24", "--nat", "-p", "8080:80"];
const NO_OVERLAY: &[&str] = &["--writes", "direct"];

/// All rows, in the order in which they take turns and are listed.
pub fn contenders() -> Vec<Contender> {
    use Caller::{Root, User};
    use Program::{Bwrap, NetupRun, Oci, Podman, Unshare};
    use Reach::{Host, Nothing, Published};
    const DIRECT: &str = "netup-run, no overlay";
    let row = |name, caller, reach, program| Contender { name, reach, caller, program };
    vec![
        row(NETUP_RUN, Root, Host, NetupRun(&[&["--net", "host"]])),
        row(DIRECT, Root, Host, NetupRun(&[&["--net", "host"], NO_OVERLAY])),
        row("unshare, chroot", Root, Host, Unshare(&[UNSHARE])),
        row(BWRAP, Root, Host, Bwrap(&[BWRAP_KINDS, BWRAP_MOUNTS])),
        row("crun", Root, Host, Oci("crun")),
        row("runc", Root, Host, Oci("runc")),
        row("podman run", Root, Host, Podman(&["--network", "host"])),
        row(NETUP_RUN, Root, Nothing, NetupRun(&[&["--net", "none"]])),
        row(DIRECT, Root, Nothing, NetupRun(&[&["--net", "none"], NO_OVERLAY])),
        row("unshare, chroot", Root, Nothing, Unshare(&[UNSHARE, &["--net"]])),
        row(BWRAP, Root, Nothing, Bwrap(&[BWRAP_KINDS, &["--unshare-net"], BWRAP_MOUNTS])),
        row("crun", Root, Nothing, Oci("crun")),
        row("runc", Root, Nothing, Oci("runc")),
        row("podman run", Root, Nothing, Podman(&["--network", "none"])),
        row(NETUP_RUN, Root, Published, NetupRun(&[PUBLISHED])),
        row(DIRECT, Root, Published, NetupRun(&[PUBLISHED, NO_OVERLAY])),
        row("podman run", Root, Published, Podman(&["--publish", "8080:80"])),
        row(NETUP_RUN, User, Nothing, NetupRun(&[&["--net", "none", "--users", "ranges"]])),
        row(
            "netup-run, one id",
            User,
            Nothing,
            NetupRun(&[&["--net", "none", "--users", "single"]]),
        ),
        row(
            "unshare, ranges, chroot",
            User,
            Nothing,
            Unshare(&[UNSHARE, UNSHARE_USER, &["--map-auto"]]),
        ),
        row("unshare, chroot", User, Nothing, Unshare(&[UNSHARE, UNSHARE_USER])),
        row(BWRAP, User, Nothing, Bwrap(&[&["--unshare-all"], BWRAP_MOUNTS])),
    ]
}

impl Caller {
    pub fn words(self) -> &'static str {
        match self {
            Self::Root => "as root",
            Self::User => "as an ordinary user",
        }
    }
}

impl Reach {
    pub fn words(self) -> &'static str {
        match self {
            Self::Host => "on the host's network",
            Self::Nothing => "with an empty netns",
            Self::Published => "with address, default route, NAT and a published port",
        }
    }
}

impl Contender {
    /// Where it runs.
    pub fn host<'a>(&self, stage: &'a Stage) -> &'a Node {
        match self.program {
            Program::Podman(_) => &stage.podman_host,
            _ => stage.ground.host(),
        }
    }

    /// The world around that host.
    pub fn outside<'a>(&self, stage: &'a Stage) -> &'a Node {
        match self.program {
            Program::Podman(_) => &stage.podman_outside,
            _ => stage.ground.outside(),
        }
    }

    /// Why it cannot take part, if so.
    pub fn lacks(&self, stage: &Stage) -> Option<String> {
        let installed = |tool| tools::find(tool).err().map(|error| error.to_string());
        match self.program {
            Program::NetupRun(_) => None,
            Program::Unshare(_) => installed("unshare"),
            Program::Bwrap(_) => installed("bwrap"),
            Program::Oci(runtime) => installed(runtime),
            Program::Podman(_) => stage.podman.as_ref().err().cloned(),
        }
    }

    /// Not started. `id` tells containers apart that are there at the same time.
    pub fn command(&self, stage: &Stage, id: &str, inside: &[&str]) -> io::Result<Command> {
        let root = match self.caller {
            Caller::Root => stage.root.path(),
            Caller::User => stage.own_root.path(),
        };
        let command = match self.program {
            Program::NetupRun(options) => self.netup_run(stage, &options.concat(), root, inside)?,
            Program::Unshare(options) => {
                let mut command = found("unshare")?;
                command.arg(format!("--mount-proc={}", root.join("proc").display()));
                command.args(options.concat()).arg(tools::find("chroot")?).arg(root).args(inside);
                command
            }
            Program::Bwrap(options) => {
                let mut command = found("bwrap")?;
                command.arg("--bind").arg(root).arg("/").args(options.concat()).args(inside);
                command
            }
            Program::Oci(runtime) => {
                let bundle = Bundle::write(&stage.folder(id)?, root, self.reach, inside)?;
                let mut command = found(runtime)?;
                command.arg("--root").arg(stage.folder("oci-state")?).arg("run");
                command.arg("--bundle").arg(bundle.path()).arg(id);
                command
            }
            Program::Podman(options) => return podman(stage, options, inside),
        };
        Ok(self.called(stage, command))
    }

    fn netup_run(
        &self,
        stage: &Stage,
        options: &[&str],
        root: &Path,
        inside: &[&str],
    ) -> io::Result<Command> {
        let runner = match self.caller {
            Caller::Root => stage.ground.runner(),
            Caller::User => stage.ground.runner_of(&stage.user),
        };
        let mut command = stopwatch::command(runner.program(), &["run", "--quiet"]);
        command.envs(runner.variables()).args(options).arg(root).arg("--").args(inside);
        Ok(command)
    }

    /// By the standard library and not by setpriv: that would take longer than what is measured.
    fn called(&self, stage: &Stage, mut command: Command) -> Command {
        if self.caller == Caller::User {
            command.uid(stage.user.id).gid(stage.user.id).current_dir(&stage.user.home);
        }
        command
    }
}

fn found(tool: &str) -> io::Result<Command> {
    let program: PathBuf = tools::find(tool)?;
    Ok(stopwatch::command(&program, &[""; 0]))
}

fn podman(stage: &Stage, options: &[&str], inside: &[&str]) -> io::Result<Command> {
    let podman = stage.podman.as_ref().map_err(|why| io::Error::other(why.as_str()))?;
    let probe = format!("{}:/probe:ro", stage.root.at("/probe").display());
    let options = [&["--volume", &probe], options].concat();
    let mut command = podman.command(&podman.run_words(&options, inside))?;
    command.stdout(std::process::Stdio::null());
    Ok(command)
}
