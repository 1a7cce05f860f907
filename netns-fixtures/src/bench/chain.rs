//! The reference CNI plugins, executed as libcni does it: one process per plugin, the configuration
//! on stdin with the result of the plugin before it, the call itself in the environment.

use super::{
    contender::Contender,
    installed::{self, Part},
    stopwatch::{self, Reply},
};
use netns_fixtures::{Container, Node};
use serde_json::{Value, json};
use std::{io, path::Path, time::Duration};

/// A chain's plugins, and the result of the last ADD, which libcni keeps for the DEL.
pub struct Chain {
    plugins: Vec<Value>,
    result: Value,
}

impl Chain {
    /// What containers get on a host with the usual configuration.
    pub fn with_portmap() -> Result<Box<dyn Contender>, String> {
        let parts = [&installed::BRIDGE, &installed::PORTMAP, &installed::IPTABLES];
        Self::of(&parts, vec![bridge(true), portmap()])
    }

    /// The least that connects a container.
    pub fn bridge_alone() -> Result<Box<dyn Contender>, String> {
        Self::of(&[&installed::BRIDGE], vec![bridge(false)])
    }

    fn of(parts: &[&Part], plugins: Vec<Value>) -> Result<Box<dyn Contender>, String> {
        installed::lacks(parts).map_or(Ok(Box::new(Self { plugins, result: Value::Null })), Err)
    }
}

fn bridge(masquerade: bool) -> Value {
    // On the tmpfs that the laboratory has for /run: their usual /var/lib/cni is on the disk.
    let folder = format!("/run/cni-{masquerade}");
    let ipam = json!({ "type": "host-local", "subnet": "10.0.0.0/24", "dataDir": folder });
    json!({
        "cniVersion": "1.0.0", "name": "bench", "type": "bridge", "bridge": "cni0",
        "isDefaultGateway": true, "ipMasq": masquerade, "ipam": ipam,
    })
}

fn portmap() -> Value {
    let port = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" });
    json!({
        "cniVersion": "1.0.0", "name": "bench", "type": "portmap",
        "capabilities": { "portMappings": true }, "runtimeConfig": { "portMappings": [port] },
    })
}

impl Contender for Chain {
    fn up(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        self.result = Value::Null;
        let mut total = Duration::ZERO;
        for plugin in &self.plugins {
            let reply = call(host, container, "ADD", plugin, &self.result)?;
            self.result = serde_json::from_slice(&reply.document)?;
            total += reply.elapsed;
        }
        Ok(total)
    }

    fn down(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        let calls = self.plugins.iter().rev();
        calls.map(|plugin| Ok(call(host, container, "DEL", plugin, &self.result)?.elapsed)).sum()
    }
}

fn call(
    host: &Node,
    container: &Container,
    verb: &str,
    plugin: &Value,
    previous: &Value,
) -> io::Result<Reply> {
    let mut plugin = plugin.clone();
    if !previous.is_null() {
        plugin["prevResult"] = previous.clone();
    }
    let folder = Path::new("/usr/lib/cni");
    let program = folder.join(plugin["type"].as_str().unwrap_or_default());
    let mut command = stopwatch::command(&program, &[""; 0]);
    command
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", format!("bench-{}", container.pid()))
        .env("CNI_NETNS", container.path())
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", folder);
    stopwatch::converse(host, command, &serde_json::to_vec(&plugin)?)
}
