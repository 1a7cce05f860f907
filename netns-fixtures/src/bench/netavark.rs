//! podman's network stack, executed as podman does it: one process, the whole request on stdin.

use super::{
    contender::Contender,
    installed,
    stopwatch::{self, Reply},
    world::World,
};
use netns_fixtures::{Container, Node};
use serde_json::{Value, json};
use std::{io, time::Duration};

/// netavark with the firewall driver of its time, iptables.
pub struct Netavark;

impl Netavark {
    /// Its driver calls iptables.
    pub fn with_iptables() -> Result<Box<dyn Contender>, String> {
        installed::lacks(&[&installed::NETAVARK, &installed::IPTABLES])
            .map_or(Ok(Box::new(Self)), Err)
    }
}

impl Contender for Netavark {
    /// Its bridge goes with its last container, which this keeps from being the timed one.
    fn prepare(&mut self, world: &World) -> io::Result<()> {
        let request = request(&world.resident, "10.0.0.99", &json!([]));
        call(&world.host, "setup", &world.resident, &request).map(drop)
    }

    fn up(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        Ok(call(host, "setup", container, &published(container))?.elapsed)
    }

    fn down(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        Ok(call(host, "teardown", container, &published(container))?.elapsed)
    }
}

fn published(container: &Container) -> Value {
    let port = json!({
        "container_port": 80, "host_port": 8080, "host_ip": "", "protocol": "tcp", "range": 1,
    });
    request(container, "10.0.0.2", &json!([port]))
}

/// The address is podman's to choose, so no lease is part of the time.
fn request(container: &Container, address: &str, ports: &Value) -> Value {
    // It insists on 64 digits, and derives the names of its chains from them.
    let (id, network) = (format!("{:064x}", container.pid()), format!("{:064x}", 1));
    json!({
        "container_id": id, "container_name": container.name(), "port_mappings": ports,
        "networks": { "bench": { "interface_name": "eth0", "static_ips": [address] } },
        "network_info": { "bench": {
            "name": "bench", "id": network, "driver": "bridge", "network_interface": "podman0",
            "subnets": [{ "subnet": "10.0.0.0/24", "gateway": "10.0.0.1" }],
            "ipv6_enabled": false, "internal": false, "dns_enabled": false,
            "ipam_options": { "driver": "host-local" },
        } },
    })
}

fn call(host: &Node, verb: &str, container: &Container, request: &Value) -> io::Result<Reply> {
    let netns = container.path().to_string_lossy();
    let words = ["--config", "/run/netavark", verb, &netns];
    let mut command = stopwatch::command(&installed::NETAVARK.path(), &words);
    command.env("NETAVARK_FW", "iptables");
    stopwatch::converse(host, command, &serde_json::to_vec(request)?)
}
