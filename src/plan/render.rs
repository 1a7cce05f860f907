//! Steps as the commands that would do the same: for `--dry-run`, the log, errors and the golden
//! tests. What is printed can be pasted.

use crate::plan::step::{FlowKey, Route, Side, Step, Veth};
use crate::ruleset::{self, Element};
use crate::target::TargetName;

/// A step as commands, one per line. `target` tells how to enter the container.
///
/// A command that fits on one line is one; the static rules are a here-document.
#[must_use]
pub fn lines(step: &Step, target: &TargetName) -> Vec<String> {
    let on = |side: Side, command: String| match side {
        Side::Host => command,
        Side::Container => format!("{} {command}", target.enter_command()),
    };
    match step {
        Step::InstallRuleset => install(),
        Step::RemoveRuleset => vec![format!("nft delete table inet {}", ruleset::TABLE)],
        Step::WriteSysctl { side, sysctl } => {
            vec![on(*side, format!("sysctl -qw {}={}", sysctl.key, quoted(&sysctl.value)))]
        }
        Step::AddBridge { name, mac, mtu } => {
            vec![format!("ip link add {name} address {mac}{} type bridge", mtu_words(*mtu))]
        }
        Step::AddVeth(veth) => vec![add_veth(veth, target)],
        Step::DeleteVeth(label) | Step::DeleteBridge(label) => {
            vec![format!("ip link delete {}", label.name)]
        }
        Step::SetUp { side, name, alias } => {
            let alias =
                alias.as_ref().map_or(String::new(), |alias| format!(" alias {}", quoted(alias)));
            vec![on(*side, format!("ip link set {name} up{alias}"))]
        }
        Step::SetDown { side, name } => vec![on(*side, format!("ip link set {name} down"))],
        Step::AddAddress { side, name, address, connected } => {
            vec![on(*side, add_address(&name.to_string(), *address, *connected))]
        }
        Step::DeleteAddress { side, name, address } => {
            vec![on(*side, format!("ip address delete {address} dev {name}"))]
        }
        Step::AddRoute(route) => vec![on(route.side, add_route(route))],
        Step::AddElements(elements) => element_lines("add", elements),
        Step::DeleteElements(elements) => element_lines("delete", elements),
        Step::FlushFlows(flows) => flows.iter().map(flush).collect(),
    }
}

fn install() -> Vec<String> {
    let open = "nft -f - <<'EOF'".to_owned();
    let text = ruleset::TEXT.lines().map(str::to_owned);
    std::iter::once(open).chain(text).chain(["EOF".to_owned()]).collect()
}

fn add_veth(veth: &Veth, target: &TargetName) -> String {
    let Veth { host, host_index, host_mac, container, container_mac, mtu, bridge } = veth;
    let mtu = mtu_words(*mtu);
    let master = bridge.as_ref().map_or(String::new(), |bridge| format!(" master {bridge}"));
    format!(
        "ip link add {host} index {host_index} address {host_mac}{mtu}{master} type veth peer name {container} \
         address {container_mac}{mtu} netns {}",
        target.ip_argument()
    )
}

fn mtu_words(mtu: Option<u32>) -> String {
    mtu.map_or(String::new(), |mtu| format!(" mtu {mtu}"))
}

fn add_address(name: &str, address: crate::addr::HostAddr, connected: bool) -> String {
    let family = address.family();
    let mut line = format!("ip address add {address}");
    let has_broadcast = family == crate::addr::Family::V4 && address.prefix().length() <= 30;
    line += if has_broadcast { " broadcast +" } else { "" };
    line += &format!(" dev {name}");
    line += if family == crate::addr::Family::V6 { " nodad" } else { "" };
    line + if connected { "" } else { " noprefixroute" }
}

fn add_route(route: &Route) -> String {
    let Route { name, destination, via, source, metric, .. } = route;
    let family = match destination.family() {
        crate::addr::Family::V4 => "ip",
        crate::addr::Family::V6 => "ip -6",
    };
    let destination = match destination.is_default() {
        true => "default".to_owned(),
        false if destination.length() == destination.family().bits() => {
            destination.network().to_string()
        }
        false => destination.to_string(),
    };
    let mut line = format!("{family} route add {destination}");
    line += &via.map_or(String::new(), |via| format!(" via {via}"));
    line += &format!(" dev {name} proto static");
    line += if via.is_none() { " scope link" } else { "" };
    line += &source.map_or(String::new(), |source| format!(" src {source}"));
    line + &metric.map_or(String::new(), |metric| format!(" metric {metric}"))
}

/// One line per set, as nft takes several elements of one set at a time.
fn element_lines(verb: &str, elements: &[Element]) -> Vec<String> {
    elements
        .chunk_by(|a, b| a.set() == b.set())
        .map(|group| {
            let list: Vec<String> = group.iter().map(ToString::to_string).collect();
            let set = group[0].set();
            format!("nft {verb} element inet {} {set} '{{ {} }}'", ruleset::TABLE, list.join(", "))
        })
        .collect()
}

fn flush(flow: &FlowKey) -> String {
    let FlowKey { protocol, host_port, ip, .. } = flow;
    let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    // conntrack(8) fails when there is nothing to delete.
    format!(
        "conntrack -D -f {family} -p {protocol} --orig-port-dst {host_port} 2>/dev/null || true"
    )
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-:/@,+".contains(c);
    if text.chars().all(plain) && !text.is_empty() {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
