//! Steps in the words of the manual pages: what a person would type in C, or see in strace.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::mount::{Bind, Fresh};
use super::root::{Overlay, RootPlan, Upper};
use super::step::{File, Step};
use crate::capabilities::Sets;

/// The calls of a step.
#[must_use]
pub fn lines(step: &Step) -> Vec<String> {
    match step {
        Step::DieWithParent => one("prctl(PR_SET_PDEATHSIG, SIGKILL)"),
        Step::AwaitIds => one("read(runner)                  # until the id maps are written"),
        Step::BecomeRoot { drop_groups } => become_root(*drop_groups),
        Step::SessionKeyring => one("keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)"),
        Step::JoinNetwork(path) => one(format!("setns(open({}), CLONE_NEWNET)", quoted(path))),
        Step::EnterNetwork => one("setns(netns, CLONE_NEWNET)       # when it is there"),
        Step::LoopbackUp => one("ip link set lo up"),
        Step::PrivateMounts => one(r#"mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)"#),
        Step::OpenSources { binds, devices } => {
            let bound = binds.iter().map(|bind| quoted(&bind.source));
            let devices = devices.iter().map(|device| format!("\"/dev/{}\"", device.name));
            let open = |path| format!("open_tree(AT_FDCWD, {path}, OPEN_TREE_CLONE|AT_RECURSIVE)");
            bound.chain(devices).map(open).collect()
        }
        Step::TakeIdmapped(_) => one("recvmsg(runner, SCM_RIGHTS)   # the idmapped mounts"),
        Step::Scratch { over, .. } => one(format!(
            r#"mount("tmpfs", {}, "tmpfs", 0, NULL)        # the scratch"#,
            quoted(over)
        )),
        Step::Root(root) => self::root(root),
        Step::Mount(fresh) => one(self::fresh(fresh)),
        Step::MakeDevice(device) => one(format!(
            r#"mknod("/dev/{}", S_IFCHR|0666, makedev({}, {}))"#,
            device.name, device.major, device.minor
        )),
        Step::BindDevice(device) => {
            let name = device.name;
            one(format!(r#"mount("/dev/{name}", "ROOT/dev/{name}", NULL, MS_BIND, NULL)"#))
        }
        Step::Link { at, to } => one(format!("symlink({}, {})", quoted(to), quoted(at))),
        Step::Bind(_, bind) => bind_lines(bind),
        Step::Put(File { at, .. }) => {
            one(format!(r#"mount("SCRATCH{0}", "ROOT{0}", NULL, MS_BIND, NULL)"#, at.display()))
        }
        Step::Pivot => one(r#"chdir(ROOT); pivot_root(".", ".")"#),
        Step::DetachOldRoot => {
            one(r#"umount2(".", MNT_DETACH)           # the old root, until it is gone"#)
        }
        Step::ReadOnlyRoot => one(r#"mount(NULL, "/", NULL, MS_REMOUNT|MS_BIND|MS_RDONLY, NULL)"#),
        Step::Mask(path) => {
            one(format!(r#"mount("/dev/null", {}, NULL, MS_BIND, NULL)"#, quoted(path)))
        }
        Step::ReadOnlyPath(path) => {
            one(format!("mount({0}, {0}, NULL, MS_BIND|MS_RDONLY, NULL)", quoted(path)))
        }
        Step::Hostname(name) => one(format!("sethostname({name:?})")),
        Step::OpenTerminal => one("ioctl(open(\"/dev/pts/ptmx\"), TIOCGPTPEER)"),
        Step::AwaitDetached => {
            one("stat(\"/..\")                    # until it is \"/\": the old root is gone")
        }
        Step::AwaitRunner | Step::AwaitNetwork => {
            one("read(runner)                  # until the network is there")
        }
        Step::Init => one("fork()                        # the command; this one stays as PID 1"),
        Step::Hide => one("prctl(PR_SET_DUMPABLE, 0)"),
        Step::NewSession { terminal: false } => one("setsid()"),
        Step::NewSession { terminal: true } => {
            vec!["setsid()".to_owned(), "ioctl(0, TIOCSCTTY, 0)".to_owned()]
        }
        Step::NoInput => one("dup2(open(\"/dev/null\"), 0)"),
        Step::Limit { resource, soft, hard } => {
            one(format!("setrlimit({resource}, {{{soft}, {hard}}})"))
        }
        Step::NoNewPrivileges => one("prctl(PR_SET_NO_NEW_PRIVS, 1)"),
        Step::Seccomp { nested_users } => one(format!(
            "seccomp(SECCOMP_SET_MODE_FILTER, 0, {})",
            if *nested_users { "ALLOWED_AND_NAMESPACES" } else { "ALLOWED" }
        )),
        Step::Identity { user, of_root, of_others, .. } => {
            identity(user.as_deref(), of_root, of_others)
        }
        Step::WorkingDirectory(path) => one(format!("chdir({})", quoted(path))),
        Step::Execute { command, .. } => one(execute(command)),
    }
}

fn one(line: impl Into<String>) -> Vec<String> {
    vec![line.into()]
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

fn become_root(drop_groups: bool) -> Vec<String> {
    let ids = "setresgid(0, 0, 0); setresuid(0, 0, 0)".to_owned();
    if drop_groups { vec!["setgroups(0, NULL)".to_owned(), ids] } else { vec![ids] }
}

fn root(root: &RootPlan) -> Vec<String> {
    match root {
        RootPlan::Directory { path, idmapped: false } => {
            one(format!("mount({0}, {0}, NULL, MS_BIND|MS_REC, NULL)        # ROOT", quoted(path)))
        }
        RootPlan::Directory { path, idmapped: true } => one(format!(
            r#"move_mount(IDMAPPED {}, "", {})        # ROOT"#,
            quoted(path),
            quoted(root.base())
        )),
        RootPlan::Overlay(overlay) => {
            let mut lines: Vec<String> = root.idmapped().iter().enumerate().map(attached).collect();
            lines.push(self::overlay(root.base(), overlay));
            lines
        }
    }
}

/// Where overlayfs can take it as a layer.
fn attached((number, path): (usize, &PathBuf)) -> String {
    format!(r#"move_mount(IDMAPPED {}, "", "SCRATCH/{number}")"#, quoted(path))
}

fn overlay(over: &Path, overlay: &Overlay) -> String {
    let lowers: Vec<String> = match overlay.idmapped {
        true => (0..overlay.lowers.len()).map(|number| format!("SCRATCH/{number}")).collect(),
        false => overlay.lowers.iter().map(|path| path.display().to_string()).collect(),
    };
    let (folder, upper) = match &overlay.upper {
        Upper::Memory { .. } => ("SCRATCH".to_owned(), "upper"),
        Upper::Disk { idmapped: true, .. } => {
            // After the lower layers, if these are idmapped as well.
            let number = if overlay.idmapped { lowers.len() } else { 0 };
            (format!("SCRATCH/{number}"), "root")
        }
        Upper::Disk { folder, .. } => (folder.display().to_string(), "root"),
    };
    let lowers = lowers.join(":");
    let options = format!("lowerdir={lowers},upperdir={folder}/{upper},workdir={folder}/work");
    format!(r#"mount("overlay", {}, "overlay", MS_NODEV, {options:?})        # ROOT"#, quoted(over))
}

fn fresh(fresh: &Fresh) -> String {
    let (kind, at) = (fresh.kind, fresh.at.display());
    let options = fresh.option_text();
    let options = if options.is_empty() { "NULL".to_owned() } else { format!("{options:?}") };
    let flags = fresh.attributes.names();
    format!(r#"mount("{kind}", "ROOT{at}", "{kind}", {flags}, {options})"#)
}

fn bind_lines(bind: &Bind) -> Vec<String> {
    let (source, at) = (quoted(&bind.source), bind.at.display());
    let flags = bind.attributes.names();
    vec![
        format!(r#"mount({source}, "ROOT{at}", NULL, MS_BIND|MS_REC, NULL)"#),
        format!(r#"mount(NULL, "ROOT{at}", NULL, MS_REMOUNT|MS_BIND|MS_REC|{flags}, NULL)"#),
    ]
}

fn identity(user: Option<&str>, of_root: &Sets, of_others: &Sets) -> Vec<String> {
    let of_root_alone = matches!(user, None | Some("0" | "root"));
    let sets = if of_root_alone { of_root } else { of_others };
    let user = user.unwrap_or("0");
    vec![
        format!("prctl(PR_CAPBSET_DROP, …)              # all but {}", sets.bounding),
        format!("setgroups(…); setresgid(…); setresuid(…)   # user {user}"),
        format!("capset(…)                              # {}", sets.effective),
    ]
}

fn execute(command: &[impl AsRef<OsStr>]) -> String {
    let words: Vec<_> = command.iter().map(|word| shell_word(word.as_ref())).collect();
    format!("execve({})", words.join(" "))
}

/// The word as a shell takes it.
fn shell_word(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
