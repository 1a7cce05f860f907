//! Steps as the commands that would do the same: for `--dry-run`, the log, errors and the golden
//! tests. What is printed can be pasted: every word is quoted where a shell would read it
//! otherwise.

use std::fmt::Display;

use crate::addr::{Family, HostAddr};
use crate::bandwidth::Rate;
use crate::firewalld;
use crate::ident::IfName;
use crate::iptables;
use crate::plan::step::{FlowKey, LinkAttributes, Pair, PortVlans, Route, Side, Step, Veth};
use crate::ruleset::{self, Element, Rules};
use crate::target::TargetName;

/// A step as commands, one per line. `target` tells how to enter the container.
///
/// A command that fits on one line is one; the static rules are a here-document.
#[must_use]
pub fn lines(step: &Step, target: &TargetName) -> Vec<String> {
    match step {
        Step::InstallRuleset => install(Rules::Inet),
        Step::InstallBridgeRuleset => install(Rules::Bridge),
        Step::WriteSysctls { side, sysctls } => {
            let write = |sysctl| Words::on(*side, target).all("sysctl -qw").arg(sysctl).line();
            sysctls.iter().map(write).collect()
        }
        Step::Redirect { from, to } => redirect(from, to),
        Step::SetVlans(vlans) => port_vlans(vlans),
        Step::FlushFlows(flows) => flows.iter().map(flush).collect(),
        Step::AddElements(elements) => element_lines("add", elements),
        Step::DeleteElements(elements) => element_lines("delete", elements),
        Step::AdmitByIptables(admission) => iptables::lines(admission, true),
        Step::UnadmitByIptables(admission) => iptables::lines(admission, false),
        step => vec![command(step, target).line()],
    }
}

fn command(step: &Step, target: &TargetName) -> Words {
    let link = |verb: &str, name: &IfName| Words::of("ip link").arg(verb).arg(name);
    match step {
        Step::RemoveRuleset => remove(Rules::Inet),
        Step::RemoveBridgeRuleset => remove(Rules::Bridge),
        Step::AddBridge { name, mac, mtu } => link("add", name)
            .pair("address", Some(mac))
            .pair("mtu", mtu.as_ref())
            .all("type bridge"),
        Step::AddVeth(veth) => add_veth(veth, target),
        Step::AddPair(pair) => add_pair(pair),
        Step::AddIfb { name, mac, mtu } => link("add", name)
            .pair("address", Some(mac))
            .pair("mtu", mtu.as_ref())
            .all("txqueuelen 0 type ifb"),
        Step::DeleteLink(label) | Step::DeleteBridge(label) => link("delete", &label.name),
        Step::SetUp { side, name, alias } => Words::on(*side, target)
            .all("ip link set")
            .arg(name)
            .arg("up")
            .pair("alias", alias.as_ref()),
        Step::SetDown { side, name } => {
            Words::on(*side, target).all("ip link set").arg(name).arg("down")
        }
        Step::PinMac { name, mac } => link("set", name).pair("address", Some(mac)),
        Step::SetLink { side, name, attributes } => {
            set_link(Words::on(*side, target).all("ip link set").arg(name), attributes)
        }
        Step::Reflect { name } => link("set", name).all("type bridge_slave hairpin on"),
        Step::Unreflect { name } => link("set", name).all("type bridge_slave hairpin off"),
        Step::FilterVlans { name } => link("set", name).all("type bridge vlan_filtering 1"),
        Step::UnfilterVlans { name } => link("set", name).all("type bridge vlan_filtering 0"),
        Step::Isolate { name } => link("set", name).all("type bridge_slave isolated on"),
        Step::Unisolate { name } => link("set", name).all("type bridge_slave isolated off"),
        Step::Shape { .. } | Step::Unshape { .. } | Step::Unredirect { .. } => shaping(step),
        Step::AddAddress { side, .. } => add_address(Words::on(*side, target), step),
        Step::DeleteAddress { side, name, address } => {
            delete_address(Words::on(*side, target), name, *address)
        }
        Step::WithdrawAddress { name, address } => delete_address(Words::default(), name, *address),
        Step::AddRoute(route) => add_route(Words::on(route.side, target), route),
        Step::TrustByFirewalld { zone, addresses } => {
            Words(firewalld::words(zone, "add", addresses))
        }
        Step::DistrustByFirewalld { zone, addresses } => {
            Words(firewalld::words(zone, "remove", addresses))
        }
        Step::AdmitByIptables(_)
        | Step::UnadmitByIptables(_)
        | Step::InstallRuleset
        | Step::InstallBridgeRuleset
        | Step::Redirect { .. }
        | Step::SetVlans(_)
        | Step::WriteSysctls { .. }
        | Step::FlushFlows(_)
        | Step::AddElements(_)
        | Step::DeleteElements(_) => Words::default(),
    }
}

/// The words of a command.
#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn of(words: &str) -> Self {
        Self::default().all(words)
    }

    /// What comes before a command on this side.
    fn on(side: Side, target: &TargetName) -> Self {
        match side {
            Side::Host => Self::default(),
            Side::Container => Self(target.enter_command()),
        }
    }

    /// Several words of our own.
    fn all(mut self, words: &str) -> Self {
        self.0.extend(words.split(' ').map(str::to_owned));
        self
    }

    /// One word of the caller's.
    fn arg(mut self, word: impl Display) -> Self {
        self.0.push(word.to_string());
        self
    }

    fn pair(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.arg(key).arg(value),
            None => self,
        }
    }

    fn line(self) -> String {
        self.0.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-:/@,+=%".contains(c);
    if word.chars().all(plain) && !word.is_empty() {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn remove(rules: Rules) -> Words {
    Words::of("nft delete table").arg(rules.family()).arg(ruleset::TABLE)
}

fn install(rules: Rules) -> Vec<String> {
    let open = "nft -f - <<'EOF'".to_owned();
    let text = rules.text().lines().map(str::to_owned);
    std::iter::once(open).chain(text).chain(["EOF".to_owned()]).collect()
}

/// What `kernel::link` asks for likewise.
const ONE_QUEUE: &str = "numtxqueues 1 numrxqueues 1";

fn add_veth(veth: &Veth, target: &TargetName) -> Words {
    let Veth { host, host_index, host_mac, container, container_mac, mtu, bridge } = veth;
    let near = Words::of("ip link add").arg(host).pair("index", Some(host_index));
    near.pair("address", Some(host_mac))
        .pair("mtu", mtu.as_ref())
        .all(ONE_QUEUE)
        .pair("master", bridge.as_ref())
        .all("type veth peer name")
        .arg(container)
        .pair("address", Some(container_mac))
        .pair("mtu", mtu.as_ref())
        .all(ONE_QUEUE)
        .pair("netns", Some(target.ip_argument()))
}

fn add_pair(pair: &Pair) -> Words {
    let Pair { host, host_mac, port, port_mac, mtu, bridge } = pair;
    let near = Words::of("ip link add").arg(port).pair("address", Some(port_mac));
    near.pair("mtu", mtu.as_ref())
        .all(ONE_QUEUE)
        .pair("master", Some(bridge))
        .all("type veth peer name")
        .arg(host)
        .pair("address", Some(host_mac))
        .pair("mtu", mtu.as_ref())
        .all(ONE_QUEUE)
}

fn port_vlans(vlans: &PortVlans) -> Vec<String> {
    let PortVlans { name, without, tagged, native } = vlans;
    let vlan = |verb: &str, id: &dyn Display| {
        Words::of("bridge vlan").arg(verb).pair("dev", Some(name)).pair("vid", Some(id))
    };
    let leave = without.map(|id| vlan("delete", &id));
    let tagged = tagged.iter().map(|range| vlan("add", range));
    let native = vlan("add", native).all("pvid untagged");
    leave.into_iter().chain(tagged).chain([native]).map(Words::line).collect()
}

fn set_link(words: Words, attributes: &LinkAttributes) -> Words {
    let LinkAttributes { mac, mtu, promiscuous, all_multicast, tx_queue_length } = attributes;
    let switch = |on: bool| if on { "on" } else { "off" };
    words
        .pair("address", mac.as_ref())
        .pair("mtu", mtu.as_ref())
        .pair("promisc", promiscuous.map(switch))
        .pair("allmulticast", all_multicast.map(switch))
        .pair("txqueuelen", tx_queue_length.as_ref())
}

fn shaping(step: &Step) -> Words {
    match step {
        Step::Shape { name, rate: Rate { bits_per_second, burst_bits } } => {
            let words = Words::of("tc qdisc replace dev").arg(name).all("root handle 1: tbf rate");
            let burst = format!("{}b", burst_bits / 8);
            words
                .arg(format!("{bits_per_second}bit"))
                .pair("burst", Some(burst))
                .all("latency 25ms")
        }
        Step::Unshape { name } => Words::of("tc qdisc delete dev").arg(name).arg("root"),
        Step::Unredirect { from } => Words::of("tc qdisc delete dev").arg(from).arg("ingress"),
        _ => Words::default(),
    }
}

fn redirect(from: &IfName, to: &IfName) -> Vec<String> {
    let queue = Words::of("tc qdisc replace dev").arg(from).all("handle ffff: ingress");
    let filter = Words::of("tc filter replace dev")
        .arg(from)
        .all("parent ffff: handle 800::800 protocol all prio 1 u32 match u32 0 0")
        .all("action mirred egress redirect dev")
        .arg(to);
    vec![queue.line(), filter.line()]
}

fn delete_address(on: Words, name: &IfName, address: HostAddr) -> Words {
    on.all("ip address delete").arg(address).pair("dev", Some(name))
}

fn add_address(on: Words, step: &Step) -> Words {
    let Step::AddAddress { name, address, connected, detect_duplicates, .. } = step else {
        return on;
    };
    let v6 = address.family() == Family::V6;
    let words = on.all("ip address add").arg(address);
    let words = match !v6 && address.prefix().length() <= 30 {
        true => words.all("broadcast +"),
        false => words,
    };
    let words = words.pair("dev", Some(name));
    let words = if v6 && !detect_duplicates { words.arg("nodad") } else { words };
    if *connected { words } else { words.arg("noprefixroute") }
}

fn add_route(on: Words, route: &Route) -> Words {
    let Route { name, destination, via, source, metric, mtu, advmss, table, scope, beside, .. } =
        route;
    let words = match destination.family() {
        Family::V4 => on.all("ip route"),
        Family::V6 => on.all("ip -6 route"),
    };
    let words = words.arg(if *beside { "prepend" } else { "add" });
    let words = match destination.is_default() {
        true => words.arg("default"),
        false if destination.length() == destination.family().bits() => {
            words.arg(destination.network())
        }
        false => words.arg(destination),
    };
    let words = words.pair("via", via.as_ref()).pair("dev", Some(name)).all("proto static");
    let words = match (scope, via) {
        (Some(scope), _) => words.pair("scope", Some(scope)),
        (None, None) => words.all("scope link"),
        (None, Some(_)) => words,
    };
    words
        .pair("src", source.as_ref())
        .pair("metric", metric.as_ref())
        .pair("table", table.as_ref())
        .pair("mtu", mtu.as_ref())
        .pair("advmss", advmss.as_ref())
}

/// One line per set, as nft takes several elements of one set at a time.
fn element_lines(verb: &str, elements: &[Element]) -> Vec<String> {
    let line = |group: &[Element]| {
        let list: Vec<String> = group.iter().map(ToString::to_string).collect();
        let words = Words::of("nft").arg(verb).arg("element").arg(group[0].rules().family());
        words
            .arg(ruleset::TABLE)
            .arg(group[0].set())
            .arg(format!("{{ {} }}", list.join(", ")))
            .line()
    };
    elements.chunk_by(|a, b| a.set() == b.set()).map(line).collect()
}

fn flush(flow: &FlowKey) -> String {
    let FlowKey { protocol, host_port, host_ip, ip } = flow;
    let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    let words = Words::of("conntrack -D -f").arg(family).pair("-p", Some(protocol));
    let words = words.pair("--orig-dst", host_ip.as_ref()).pair("--orig-port-dst", Some(host_port));
    // conntrack(8) fails when there is nothing to delete.
    format!("{} 2>/dev/null || true", words.line())
}
