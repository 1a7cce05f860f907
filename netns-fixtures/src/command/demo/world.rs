//! The small world of the demo: an outside, a host, and two containers.

use netns_fixtures::{Container, Dump, Lab, Node};
use std::{io, path::PathBuf, process::Stdio};

/// Who there is, and the binary that is shown.
pub struct World {
    pub outside: Node,
    pub host: Node,
    pub web: Container,
    pub worker: Container,
    binary: PathBuf,
    /// Last, so that it is dropped last.
    _lab: Lab,
}

impl World {
    pub fn new(binary: PathBuf) -> io::Result<Self> {
        let lab = Lab::new();
        let (outside, host) = (lab.host("outside")?, lab.host("host")?);
        lab.internet(&outside, &host)?;
        let (web, worker) = (lab.container("web")?, lab.container("worker")?);
        for container in [&web, &worker] {
            // As runtimes do. netup would, and rightly leaves it: an lo that was up once keeps 127.0.0.1.
            container.ip(&["link", "set", "dev", "lo", "up"])?;
        }
        Ok(Self { outside, host, web, worker, binary, _lab: lab })
    }

    pub fn pids(&self) -> [u32; 2] {
        [self.web.pid(), self.worker.pid()]
    }

    pub fn description(&self) -> String {
        let [web, worker] = self.pids();
        format!(
            "outside  198.51.100.1, 2001:db8:1::1; knows no way to any container\n\
             host     198.51.100.2, 2001:db8:1::2; default routes by the outside\n\
             web      process {web} in a network namespace with nothing but lo\n\
             worker   process {worker} in another"
        )
    }

    /// What is typed to connect the containers.
    pub fn connections(&self) -> [Vec<String>; 2] {
        let [web, worker] = self.pids();
        let words = |line: String| line.split(' ').map(str::to_owned).collect();
        [
            words(format!("{web} 10.0.0.2/24 fd00::2/64 --nat -p 8080:80")),
            words(format!("{worker} 10.0.0.3/24 --nat")),
        ]
    }

    /// Runs netup on the host and returns what it printed; its complaint is the error.
    pub fn netup(&self, arguments: &[&str]) -> io::Result<String> {
        let output =
            self.host.command(&self.binary).args(arguments).stdin(Stdio::null()).output()?;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            return Ok(format!("{err}{out}"));
        }
        Err(io::Error::other(format!(
            "netup {}: {}: {}",
            arguments.join(" "),
            output.status,
            err.trim()
        )))
    }

    pub fn listing(&self) -> io::Result<String> {
        self.netup(&["ls", "--json"])
    }

    /// The static rules stay when the last container goes, but they hold nothing.
    pub fn empty_rules(&self) -> io::Result<String> {
        let rules = self.host.nft_list()?;
        if rules.contains("elements") {
            return Err(io::Error::other(format!("the table still has elements:\n{rules}")));
        }
        Ok("the sets and maps of table inet netup are empty".to_owned())
    }

    /// What to call the processes.
    pub fn names(&self) -> [(&str, u32); 2] {
        [&self.web, &self.worker].map(|container| (container.name(), container.pid()))
    }

    /// The state of every node that netup touches.
    pub fn dumps(&self) -> io::Result<Vec<(&str, Dump)>> {
        let host = Dump::of(&self.host)?.with_files("/run/netup")?;
        let (web, worker) = (Dump::of(&self.web)?, Dump::of(&self.worker)?);
        Ok(vec![("host", host), ("web", web), ("worker", worker)])
    }
}
