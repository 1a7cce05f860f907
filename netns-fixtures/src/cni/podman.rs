//! podman with its CNI backend.

use super::{OciImage, sandbox::Sandbox};
use crate::{
    Node,
    program::{self, Ended},
    tools,
};
use serde_json::Value;
use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(100);

/// The limits are lowered since raising them, as podman would, needs `CAP_SYS_RESOURCE`.
const CONFIG: &str = r#"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
default_network = "{network}"

[engine]
runtime = "{runc}"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{folder}/tmp"

[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
"#;

const STORAGE: &str = r#"
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"#;

/// podman with storage of its own and an image in it. Its containers end with this.
#[derive(Debug)]
pub struct Podman {
    sandbox: Sandbox,
    image: OciImage,
}

impl Podman {
    /// podman on a host, with these plugins and this network, which is the default. Needs real root.
    pub fn new(host: &Node, plugins: impl AsRef<Path>, network: &Value) -> io::Result<Self> {
        let sandbox = Sandbox::new(host, plugins.as_ref(), network)?;
        let image = OciImage::write(sandbox.path("image.tar"))?;
        let name = network["name"].as_str().unwrap_or_default();
        let runc = tools::find("runc")?.display().to_string();
        let folder = sandbox.folder.path().display().to_string();
        let filled = |text: &str| {
            text.replace("{folder}", &folder).replace("{network}", name).replace("{runc}", &runc)
        };
        sandbox.file("containers.conf", &filled(CONFIG))?;
        sandbox.file("storage.conf", &filled(STORAGE))?;
        let podman = Self { sandbox, image };
        podman
            .podman(&["load", "--quiet", "--input", &podman.image.path().display().to_string()])?
            .success()?;
        Ok(podman)
    }

    /// Runs podman to its end.
    pub fn podman(&self, words: &[&str]) -> io::Result<Ended> {
        program::run(self.command(words)?, b"", DEADLINE)
    }

    /// A podman that has not been started.
    pub fn command(&self, words: &[&str]) -> io::Result<Command> {
        let mut command = self.sandbox.cell.command("podman")?;
        command.env("CONTAINERS_CONF", self.sandbox.path("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.sandbox.path("storage.conf"));
        command.args(words);
        Ok(command)
    }

    /// Starts a container that sleeps, and returns its network namespace.
    pub fn detached(&self, name: &str, options: &[&str]) -> io::Result<Node> {
        let head = ["run", "--cgroup-parent", self.cgroup(), "--detach", "--name", name];
        let tail = [self.image.name(), "/bin/sleep", "1000"];
        self.podman(&[&head, options, &tail].concat())?.success()?;
        let pid = self.podman(&["inspect", "--format", "{{.State.Pid}}", name])?.success()?;
        let pid = pid.trim().parse().map_err(io::Error::other)?;
        Ok(self.sandbox.cell.netns(name, pid))
    }

    /// The words for podman that run a program in a container and remove it.
    pub fn run_words<'a>(&'a self, options: &[&'a str], program: &[&'a str]) -> Vec<&'a str> {
        [&["run", "--cgroup-parent", self.cgroup(), "--rm"], options, &[self.image.name()], program]
            .concat()
    }

    fn cgroup(&self) -> &str {
        self.sandbox.cgroup.name()
    }

    /// What libcni and host-local keep in /var/lib/cni.
    pub fn var(&self) -> PathBuf {
        self.sandbox.folder.path().join("var")
    }
}
