//! Wires: veth pairs between two nodes.

use crate::{Lab, Node, blame::Blame};
use std::{
    fs, io,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// `IFA_F_TENTATIVE` in /proc/net/if_inet6: duplicate address detection has not finished.
const TENTATIVE: u32 = 0x40;
/// The kernel batches carrier events for up to a second.
const PATIENCE: Duration = Duration::from_secs(5);

impl Lab {
    /// A veth pair from `left_name` in `left` to `right_name` in `right`, up at both ends, with
    /// addresses of both families. It is ready to carry packets when this returns.
    pub fn wire(
        &self,
        left: &Node,
        left_name: &str,
        left_addresses: &[&str],
        right: &Node,
        right_name: &str,
        right_addresses: &[&str],
    ) -> io::Result<()> {
        // The peer is born in its netns: moving it there afterwards costs an RCU grace period.
        let (netns, left_index, right_index) = (right.path().to_string_lossy(), index(), index());
        let near = ["link", "add", "dev", left_name, "index", &left_index, "type", "veth"];
        let far = ["peer", "name", right_name, "index", &right_index, "netns", &netns];
        left.ip(&[&near[..], &far].concat())?;
        raise(left, left_name, left_addresses)?;
        raise(right, right_name, right_addresses)?;
        wait_until_settled(left, left_name)?;
        wait_until_settled(right, right_name)
    }

    /// Connects `host` to `outside`, the rest of the world, as `eth0` at both ends.
    ///
    /// `outside` is 198.51.100.1/24 and 2001:db8:1::1/64, `host` is .2 and ::2 and has its default routes
    /// there. `outside` knows no way to any container, so an answer that arrives proves NAT.
    pub fn internet(&self, outside: &Node, host: &Node) -> io::Result<()> {
        let far = ["198.51.100.1/24", "2001:db8:1::1/64"];
        let near = ["198.51.100.2/24", "2001:db8:1::2/64"];
        self.wire(outside, "eth0", &far, host, "eth0", &near)?;
        host.ip(&["-4", "route", "add", "default", "via", "198.51.100.1", "dev", "eth0"])?;
        host.ip(&["-6", "route", "add", "default", "via", "2001:db8:1::1", "dev", "eth0"]).map(drop)
    }
}

/// A number that no other link has. Left to itself the kernel gives 2 to both ends of the first wire
/// between fresh namespaces, and takes a link whose peer has its own number for one without a peer:
/// its carrier is then noted up to a second late (`linkwatch_urgent_event`).
fn index() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1000);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

fn raise(node: &Node, name: &str, addresses: &[&str]) -> io::Result<()> {
    // Only for this link, and before it is up: its link-local address is then usable at once, while
    // links that netup makes still show whether netup thought of duplicate address detection.
    node.set_sysctl(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
    for address in addresses {
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        node.ip(&[&["addr", "add", address, "dev", name], nodad].concat())?;
    }
    node.ip(&["link", "set", "dev", name, "up"]).map(drop)
}

/// The link-local address appears once the kernel has taken note of the carrier, and with it come the
/// IPv6 routes; until then both packets and state dumps depend on timing.
fn wait_until_settled(node: &Node, name: &str) -> io::Result<()> {
    let settled = |addresses: &[Inet6]| {
        let mut own = addresses.iter().filter(|address| address.link == name);
        own.clone().any(|address| address.is_link_local())
            && own.all(|address| !address.is_tentative())
    };
    wait_for(node, settled).blame(format_args!("{}: wait until {name} is ready", node.name()))
}

/// Waits until no address of the node is tentative.
pub(crate) fn wait_for_addresses(node: &Node) -> io::Result<()> {
    wait_for(node, |addresses| !addresses.iter().any(Inet6::is_tentative))
        .blame(format_args!("{}: wait for duplicate address detection", node.name()))
}

fn wait_for(node: &Node, done: impl Fn(&[Inet6]) -> bool + Sync) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    node.run(|| {
        while !done(&inet6_addresses()?) {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    })?
}

/// A line of if_inet6.
struct Inet6 {
    address: String,
    flags: u32,
    link: String,
}

impl Inet6 {
    fn is_link_local(&self) -> bool {
        self.address.starts_with("fe80")
    }

    fn is_tentative(&self) -> bool {
        self.flags & TENTATIVE != 0
    }

    /// `address ifindex prefix scope flags name`, all but the name in hexadecimal.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let address = words.next()?.to_owned();
        let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
        Some(Self { address, flags, link: words.next()?.to_owned() })
    }
}

/// Of the calling thread's netns. /proc/net would be that of the process.
fn inet6_addresses() -> io::Result<Vec<Inet6>> {
    match fs::read_to_string("/proc/thread-self/net/if_inet6") {
        Ok(text) => Ok(text.lines().filter_map(Inet6::parse).collect()),
        // A kernel booted with ipv6.disable=1 has no such file and no tentative address.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
