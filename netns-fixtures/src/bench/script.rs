//! Connecting a container by hand: what tutorials tell one to type, as one script per call.

use super::{contender::Contender, stopwatch};
use netns_fixtures::{Container, Node};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The two scripts of one way. `$1` is the container's process.
pub struct Texts {
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

/// The usual way: the pair is made here and one end moved.
pub const TUTORIAL: Texts = Texts {
    name: "tutorial",
    up: r#"
ip link add veth0 type veth peer name ceth0
ip link set ceth0 netns "$1"
ip addr add 10.0.0.1/24 dev veth0
ip link set veth0 up
nsenter -t "$1" -n ip link set lo up
nsenter -t "$1" -n ip addr add 10.0.0.2/24 dev ceth0
nsenter -t "$1" -n ip link set ceth0 up
nsenter -t "$1" -n ip route add default via 10.0.0.1
sysctl -w net.ipv4.ip_forward=1
nft -f - <<'RULES'
table ip veth0 {
  chain prerouting {
    type nat hook prerouting priority dstnat
    fib daddr type local tcp dport 8080 dnat to 10.0.0.2:80
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr 10.0.0.2 oifname != "veth0" masquerade
  }
}
RULES
"#,
    down: "
ip link del veth0
nft delete table ip veth0
",
};

/// The same result by someone who knows where the time goes: the peer is born where it belongs, one
/// process per namespace does all of its links, the shell itself writes the sysctl.
pub const TUNED: Texts = Texts {
    name: "tuned",
    up: r#"
ip -batch - <<LINK
link add veth0 type veth peer name ceth0 netns $1
addr add 10.0.0.1/24 dev veth0
link set veth0 up
LINK
nsenter -t "$1" -n ip -batch - <<'LINK'
link set lo up
addr add 10.0.0.2/24 dev ceth0
link set ceth0 up
route add default via 10.0.0.1
LINK
echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<'RULES'
table ip veth0 {
  chain prerouting {
    type nat hook prerouting priority dstnat
    fib daddr type local tcp dport 8080 dnat to 10.0.0.2:80
  }
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr 10.0.0.2 oifname != "veth0" masquerade
  }
}
RULES
"#,
    down: TUTORIAL.down,
};

/// One way, its scripts written down.
pub struct Script {
    up: PathBuf,
    down: PathBuf,
}

impl Script {
    /// Isolated, /run is a tmpfs of our own: reading the script costs what it would for anyone.
    pub fn write(texts: Texts) -> io::Result<Self> {
        let [up, down] =
            ["up", "down"].map(|verb| PathBuf::from(format!("/run/{}-{verb}.sh", texts.name)));
        fs::write(&up, texts.up)?;
        fs::write(&down, texts.down)?;
        Ok(Self { up, down })
    }
}

impl Contender for Script {
    fn up(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        run(host, &self.up, container)
    }

    fn down(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        run(host, &self.down, container)
    }
}

fn run(host: &Node, script: &Path, container: &Container) -> io::Result<Duration> {
    let pid = container.pid().to_string();
    let words = ["-e".as_ref(), script.as_os_str(), pid.as_ref()];
    stopwatch::run(host, stopwatch::command(Path::new("/bin/sh"), &words))
}
