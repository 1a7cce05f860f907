//! A dump is equal as long as nothing changes, and differs by any single change.

use netns_fixtures::{Dump, Lab, Node, assert_same, isolate};
use std::{fs, io, os::unix::fs::PermissionsExt};

isolate!();

/// Each kind of thing that netup could leave behind.
const CHANGES: [(&str, &[&str]); 8] = [
    ("links", &["link", "add", "dev", "left", "type", "veth", "peer", "name", "right"]),
    ("links", &["link", "set", "dev", "eth0", "mtu", "1400"]),
    ("addresses", &["addr", "add", "10.9.9.9/32", "dev", "eth0"]),
    ("addresses", &["addr", "add", "fd09::9/128", "dev", "eth0", "nodad"]),
    ("routes IPv4", &["route", "add", "10.7.0.0/16", "dev", "eth0"]),
    ("routes IPv4", &["route", "add", "10.7.0.0/16", "dev", "eth0", "table", "77"]),
    ("routes IPv6", &["-6", "route", "add", "fd07::/64", "dev", "eth0"]),
    ("rules IPv4", &["rule", "add", "from", "10.7.0.0/16", "lookup", "77"]),
];

fn busy_host(lab: &Lab) -> io::Result<Node> {
    let (host, peer) = (lab.host("host")?, lab.host("peer")?);
    lab.internet(&peer, &host)?;
    host.ip(&["link", "add", "dev", "br0", "type", "bridge"])?;
    host.nft("table inet t { set s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 } }; chain c { counter; }; }")?;
    Ok(host)
}

#[test]
fn an_untouched_node_dumps_the_same_again() -> io::Result<()> {
    let lab = Lab::new();
    let host = busy_host(&lab)?;
    // Its link-local address is tentative at first, and its timers run.
    host.ip(&["link", "set", "dev", "br0", "up"])?;
    let before = Dump::of(&host)?;
    for section in [
        "links",
        "addresses",
        "routes IPv4",
        "routes IPv6",
        "rules IPv4",
        "rules IPv6",
        "nft",
        "sysctls",
    ] {
        assert!(before.to_string().contains(&format!("== {section}\n")), "{before}");
    }
    // Longer than the kernel's slowest one-second timers.
    for _ in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(600));
        assert_same(&before, &Dump::of(&host)?);
    }
    Ok(())
}

#[test]
fn every_kind_of_change_shows() -> io::Result<()> {
    for (section, change) in CHANGES {
        let lab = Lab::new();
        let node = busy_host(&lab)?;
        let before = Dump::of(&node)?;
        node.ip(change)?;
        let difference = before.changes(&Dump::of(&node)?);
        let head = format!("== {section}\n");
        assert!(difference.contains(&head), "{change:?}: {difference}");
    }
    Ok(())
}

#[test]
fn nft_and_sysctl_changes_show_and_can_be_expected() -> io::Result<()> {
    let lab = Lab::new();
    let host = busy_host(&lab)?;
    let before = Dump::of(&host)?;
    host.nft("add element inet t s { 10.0.0.3 }")?;
    assert!(before.changes(&Dump::of(&host)?).contains("10.0.0.3"));
    host.nft("delete element inet t s { 10.0.0.3 }")?;
    assert_same(&before, &Dump::of(&host)?);
    host.set_sysctl("net/ipv4/conf/eth0/route_localnet", "1")?;
    let after = Dump::of(&host)?;
    let difference = before.changes(&after);
    assert_eq!(
        difference,
        "== sysctls\n- net/ipv4/conf/eth0/route_localnet = 0\n+ net/ipv4/conf/eth0/route_localnet = 1\n"
    );
    assert_same(&before.without("route_localnet"), &after.without("route_localnet"));
    Ok(())
}

#[test]
fn a_change_that_is_undone_leaves_no_difference() -> io::Result<()> {
    let lab = Lab::new();
    let (host, container) = (busy_host(&lab)?, lab.container("box")?);
    let before = (Dump::of(&host)?, Dump::of(&container)?);
    lab.wire(
        &host,
        "veth0",
        &["10.0.0.1/24", "fd00::1/64"],
        &container,
        "eth0",
        &["10.0.0.2/24", "fd00::2/64"],
    )?;
    assert_ne!(before.1, Dump::of(&container)?);
    host.ip(&["link", "del", "dev", "veth0"])?;
    assert_same(&before.0, &Dump::of(&host)?);
    assert_same(&before.1, &Dump::of(&container)?);
    Ok(())
}

#[test]
fn files_count_with_mode_and_content() -> io::Result<()> {
    let lab = Lab::new();
    let (host, folder) = (lab.host("host")?, tempfile::tempdir()?);
    let state = folder.path().join("netup");
    let dump = || Dump::of(&host)?.with_files(&state);
    let before = dump()?;
    fs::create_dir(&state)?;
    let file = state.join("record");
    fs::write(&file, "one")?;
    let created = dump()?;
    assert!(before.changes(&created).contains("record"), "{}", before.changes(&created));
    fs::write(&file, "two")?;
    let written = dump()?;
    assert_ne!(created, written);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    assert_ne!(written, dump()?);
    fs::remove_file(&file)?;
    assert_same(&before, &dump()?);
    Ok(())
}

#[test]
#[should_panic(expected = "+ net/ipv4/ip_forward = 1")]
fn a_difference_is_shown_line_by_line() {
    let lab = Lab::new();
    let host = lab.host("host").unwrap();
    let before = Dump::of(&host).unwrap();
    host.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
    assert_same(&before, &Dump::of(&host).unwrap());
}
