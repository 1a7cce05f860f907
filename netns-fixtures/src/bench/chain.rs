//! CNI plugins, executed as libcni does it: one process per plugin, one after the other, the
//! configuration on stdin with the result of the plugin before it, the call itself in the environment.

use super::{
    contender::Contender,
    installed::{self, Part},
    stopwatch::{self, Reply},
    world::World,
};
use netns_fixtures::{Container, Node, cni::REFERENCE};
use serde_json::{Value, json};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A network: its plugins, and where they are.
pub struct Network {
    folder: PathBuf,
    plugins: Vec<Value>,
}

/// A network that takes part, and the result of the last ADD, which libcni keeps for the DEL.
pub struct Chain {
    network: Network,
    result: Value,
    has_resident: bool,
}

/// What is connected, and the port of the host that leads there.
pub struct Spot<'a> {
    pub id: &'a str,
    pub netns: &'a Path,
    pub port: Option<u16>,
}

impl Chain {
    /// What containers get on a host with the usual configuration.
    pub fn with_portmap() -> Result<Box<dyn Contender>, String> {
        let parts = [&installed::BRIDGE, &installed::PORTMAP, &installed::IPTABLES];
        Self::of(&parts, Network::reference(vec![bridge(true), portmap()]), false)
    }

    /// The least that connects a container.
    pub fn bridge_alone() -> Result<Box<dyn Contender>, String> {
        Self::of(&[&installed::BRIDGE], Network::reference(vec![bridge(false)]), false)
    }

    /// As runtimes install it.
    pub fn with_firewall() -> Result<Box<dyn Contender>, String> {
        let parts =
            [&installed::BRIDGE, &installed::PORTMAP, &installed::FIREWALL, &installed::IPTABLES];
        Self::of(&parts, Network::three(Path::new(REFERENCE)), true)
    }

    /// netup's plugins; only the first container of a host makes the bridge and the static rules.
    pub fn of_netup(network: Network) -> Result<Box<dyn Contender>, String> {
        Self::of(&[], network, true)
    }

    fn of(
        parts: &[&Part],
        network: Network,
        has_resident: bool,
    ) -> Result<Box<dyn Contender>, String> {
        let chain = Self { network, result: Value::Null, has_resident };
        installed::lacks(parts).map_or(Ok(Box::new(chain)), Err)
    }
}

impl Network {
    fn reference(plugins: Vec<Value>) -> Self {
        Self { folder: REFERENCE.into(), plugins }
    }

    /// bridge, portmap and firewall, with leases of host-local.
    pub fn three(folder: &Path) -> Self {
        let is_reference = folder == Path::new(REFERENCE);
        let leases = if is_reference { "/run/cni-theirs" } else { "/run/cni-ours" };
        let ipam = json!({
            "type": "host-local", "subnet": "10.0.0.0/16", "dataDir": leases,
            "routes": [{ "dst": "0.0.0.0/0" }],
        });
        let bridge = json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipam": ipam,
        });
        let firewall = json!({ "type": "firewall" });
        Self { folder: folder.into(), plugins: [bridge, portmap(), firewall].map(named).into() }
    }

    /// Type netup, which does all of that by itself.
    pub fn one(folder: &Path) -> Self {
        let plugin = json!({
            "type": "netup", "topology": "routed", "subnets": ["10.0.0.0/16"], "masquerade": true,
            "capabilities": { "portMappings": true },
        });
        Self { folder: folder.into(), plugins: vec![named(plugin)] }
    }

    /// The same with leases elsewhere, where there are files of them.
    pub fn leasing(mut self, folder: &str) -> Self {
        for plugin in &mut self.plugins {
            if let Some(data) = plugin.pointer_mut("/ipam/dataDir") {
                *data = json!(folder);
            }
        }
        self
    }

    /// Connects, and tells the result.
    pub fn add(&self, host: &Node, spot: &Spot<'_>) -> io::Result<(Duration, Value)> {
        let (mut total, mut result) = (Duration::ZERO, Value::Null);
        for plugin in &self.plugins {
            let reply = self.call(host, spot, "ADD", plugin, &result)?;
            result = serde_json::from_slice(&reply.document)?;
            total += reply.elapsed;
        }
        Ok((total, result))
    }

    /// Disconnects, in reverse order.
    pub fn del(&self, host: &Node, spot: &Spot<'_>, result: &Value) -> io::Result<Duration> {
        let calls = self.plugins.iter().rev();
        calls.map(|plugin| Ok(self.call(host, spot, "DEL", plugin, result)?.elapsed)).sum()
    }

    fn call(
        &self,
        host: &Node,
        spot: &Spot<'_>,
        verb: &str,
        plugin: &Value,
        previous: &Value,
    ) -> io::Result<Reply> {
        let mut plugin = plugin.clone();
        if let (Some(port), true) = (spot.port, plugin["capabilities"]["portMappings"] == true) {
            let port = json!({ "hostPort": port, "containerPort": 80, "protocol": "tcp" });
            plugin["runtimeConfig"] = json!({ "portMappings": [port] });
        }
        if !previous.is_null() {
            plugin["prevResult"] = previous.clone();
        }
        let program = self.folder.join(plugin["type"].as_str().unwrap_or_default());
        let mut command = stopwatch::command(&program, &[""; 0]);
        command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", spot.id);
        command
            .env("CNI_NETNS", spot.netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.folder);
        stopwatch::converse(host, command, &serde_json::to_vec(&plugin)?)
    }
}

/// The configuration list that podman and others come with.
pub fn standard() -> Value {
    let ipam = json!({
        "type": "host-local", "ranges": [[{ "subnet": "10.88.0.0/16" }]],
        "routes": [{ "dst": "0.0.0.0/0" }],
    });
    json!({ "cniVersion": "1.0.0", "name": "standard", "plugins": [
        { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": ipam },
        { "type": "portmap", "capabilities": { "portMappings": true } },
        { "type": "firewall" },
        { "type": "tuning" },
    ] })
}

fn bridge(masquerade: bool) -> Value {
    // On the tmpfs that the laboratory has for /run: their usual /var/lib/cni is on the disk.
    let folder = format!("/run/cni-{masquerade}");
    let ipam = json!({ "type": "host-local", "subnet": "10.0.0.0/24", "dataDir": folder });
    named(json!({
        "type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": masquerade, "ipam": ipam,
    }))
}

fn portmap() -> Value {
    named(json!({ "type": "portmap", "capabilities": { "portMappings": true } }))
}

fn named(mut plugin: Value) -> Value {
    plugin["cniVersion"] = json!("1.0.0");
    plugin["name"] = json!("bench");
    plugin
}

impl Contender for Chain {
    /// A bridge of netup's goes with its last container.
    fn prepare(&mut self, world: &World) -> io::Result<()> {
        if !self.has_resident {
            return Ok(());
        }
        let spot = Spot { id: "resident", netns: world.resident.path(), port: None };
        self.network.add(&world.host, &spot).map(drop)
    }

    fn up(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        let (elapsed, result) = self.network.add(host, &spot(container, &id(container)))?;
        self.result = result;
        Ok(elapsed)
    }

    fn down(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        self.network.del(host, &spot(container, &id(container)), &self.result)
    }
}

fn id(container: &Container) -> String {
    format!("bench-{}", container.pid())
}

fn spot<'a>(container: &'a Container, id: &'a str) -> Spot<'a> {
    Spot { id, netns: container.path(), port: Some(8080) }
}
