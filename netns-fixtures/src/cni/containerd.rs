//! containerd, and its client `ctr`, which is what executes the plugins for `ctr run --cni`.

use super::{OciImage, sandbox::Sandbox};
use crate::{
    Node,
    blame::Blame,
    program::{self, Ended, Started},
};
use serde_json::Value;
use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(100);

/// Its own root, state and socket, and only the plugins that `ctr run` needs.
const CONFIG: &str = r#"
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{folder}/socket"

[debug]
  level = "warn"
"#;

/// A containerd that runs, with an image, until this goes out of scope.
#[derive(Debug)]
pub struct Containerd {
    // Ends first: the daemon's process is in the cell.
    daemon: Started,
    sandbox: Sandbox,
    image: OciImage,
    snapshotter: &'static str,
}

impl Containerd {
    /// Starts it on a host, with these plugins in /opt/cni/bin and this network in /etc/cni/net.d.
    /// Needs real root.
    pub fn start(host: &Node, plugins: impl AsRef<Path>, network: &Value) -> io::Result<Self> {
        let sandbox = Sandbox::new(host, plugins.as_ref(), network)?;
        let image = OciImage::write(sandbox.path("image.tar"))?;
        let text = CONFIG.replace("{folder}", &sandbox.folder.path().display().to_string());
        let config = sandbox.file("config.toml", &text)?;
        let daemon = sandbox.cell.start(&["containerd", "--config", &config])?;
        let mut containerd = Self { daemon, sandbox, image, snapshotter: "overlayfs" };
        containerd.wait_until_it_answers()?;
        containerd.import()?;
        Ok(containerd)
    }

    /// Runs `ctr` to its end.
    pub fn ctr(&self, words: &[&str]) -> io::Result<Ended> {
        program::run(self.command(words)?, b"", DEADLINE)
    }

    /// A `ctr` that has not been started.
    pub fn command(&self, words: &[&str]) -> io::Result<Command> {
        let mut command = self.sandbox.cell.command("ctr")?;
        command.args(["--address", &self.sandbox.path("socket")]);
        command.args(["--namespace", self.namespace()]).args(words);
        Ok(command)
    }

    /// The words for `ctr` that run a container on the network.
    pub fn run_words<'a>(
        &'a self,
        id: &'a str,
        options: &[&'a str],
        program: &[&'a str],
    ) -> Vec<&'a str> {
        let head = ["run", "--snapshotter", self.snapshotter, "--cni"];
        [&head, options, &[self.image.name(), id], program].concat()
    }

    /// Starts a container whose `ctr` stays in the foreground, waits until it has its network, and
    /// returns `ctr` with the container's network namespace.
    pub fn foreground(&self, id: &str) -> io::Result<(Started, Node)> {
        let words = self.run_words(id, &["--rm"], &["/bin/sleep", "1000"]);
        let mut ctr = program::start(self.command(&words)?, b"")?;
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(pid) = self.running(id)? {
                return Ok((ctr, self.sandbox.cell.netns(id, pid)));
            }
            if ctr.has_ended()? || Instant::now() > deadline {
                let (stdout, stderr) = ctr.said()?;
                return Err(io::Error::other(format!("ctr run {id}: {stdout}{stderr}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The pid of a container's process, in the cell. The network is set up before it runs.
    fn running(&self, id: &str) -> io::Result<Option<u32>> {
        let list = self.ctr(&["task", "list"])?.success()?;
        let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let row = list.lines().map(fields).find(|row| row.first().is_some_and(|first| first == id));
        Ok(row.and_then(|row| match (row.get(1), row.get(2)) {
            (Some(pid), Some(status)) if status == "RUNNING" => pid.parse().ok(),
            _ => None,
        }))
    }

    /// What `ctr` gives to plugins as the container's id.
    pub fn full_id(&self, id: &str) -> String {
        format!("{}-{id}", self.namespace())
    }

    /// The control groups of a namespace have its name, and runc's state of it lies in the one /run
    /// that all daemons of a process share.
    fn namespace(&self) -> &str {
        self.sandbox.cgroup.name()
    }

    /// What libcni and host-local keep in /var/lib/cni.
    pub fn var(&self) -> PathBuf {
        self.sandbox.folder.path().join("var")
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !self.ctr(&["version"])?.is_success() {
            if self.daemon.has_ended()? || Instant::now() > deadline {
                let (stdout, stderr) = self.daemon.said()?;
                return Err(io::Error::other(format!("containerd: {stdout}{stderr}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// overlayfs is what real hosts have; on some file systems, overlayfs itself among them, it is refused.
    fn import(&mut self) -> io::Result<()> {
        if self.imported().is_err() {
            self.snapshotter = "native";
            self.imported().blame("import the image")?;
        }
        Ok(())
    }

    fn imported(&self) -> io::Result<()> {
        let path = self.image.path().display().to_string();
        self.ctr(&["image", "import", "--snapshotter", self.snapshotter, &path])?.success()?;
        let words = [
            "run",
            "--rm",
            "--snapshotter",
            self.snapshotter,
            self.image.name(),
            "try",
            "/bin/true",
        ];
        self.ctr(&words)?.success().map(drop)
    }
}
