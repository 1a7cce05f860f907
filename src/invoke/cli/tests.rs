use std::path::PathBuf;

use clap::error::ErrorKind as ClapKind;

use super::*;
use netup::Isolation;

fn decoded(line: &str) -> Result<Invocation> {
    decode(line.split_whitespace().map(OsString::from).collect())
}

fn up(line: &str) -> Up {
    match decoded(line) {
        Ok(Invocation::Up(up)) => *up,
        Ok(_) => panic!("{line}: no up"),
        Err(error) => panic!("{line}: {error}"),
    }
}

fn refused(line: &str) -> String {
    let error = decoded(line).err().unwrap_or_else(|| panic!("{line}: accepted"));
    assert_eq!(error.kind().exit_code(), 2, "{line}");
    assert_eq!(error.to_string().lines().count(), 1, "{line}");
    error.to_string()
}

#[test]
fn the_short_form_and_its_defaults() {
    let up = up("netup 4711 10.0.0.2/24");
    assert_eq!(up.target, TargetName::Pid(4711));
    assert_eq!(up.ifname.as_str(), "eth0");
    assert_eq!(up.network, Network::new().address("10.0.0.2/24".parse().unwrap()));
    assert_eq!((up.id, up.volume), (None, Volume::Normal));
    assert!(!(up.allow_own_netns || up.replace || up.dry_run));
}

#[test]
fn every_option_of_up() {
    let up = up("netup up /run/netns/blue 10.0.0.2/24 fd00::2/64 --subnet 10.1.0.0/16 --nat \
        --gateway 10.0.0.9 --gateway fd00::9 --no-default-route --route 10.9.0.0/16,metric=5 \
        --bridge br0 --ifname eth1 --host-ifname h0 --mac 02:00:00:00:00:07 --mtu 1400 -p 80:80 \
        --publish 53:53/udp --sysctl net.ipv4.tcp_syncookies=1 --id web --replace --dry-run -v \
        --bandwidth-in 8mbit:1mbit --bandwidth-out 500kbit --isolation same-bridge \
        --allow-own-netns --json --color never");
    let network = Network {
        topology: Topology::Bridge("br0".parse().unwrap()),
        gateways: vec!["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()],
        default_route: false,
        routes: vec!["10.9.0.0/16,metric=5".parse().unwrap()],
        host_ifname: Some("h0".parse().unwrap()),
        mac: Some("02:00:00:00:00:07".parse().unwrap()),
        mtu: Some(1400),
        sysctls: vec!["net.ipv4.tcp_syncookies=1".parse().unwrap()],
        bandwidth: Bandwidth {
            ingress: "8mbit:1mbit".parse().ok(),
            egress: "500kbit".parse().ok(),
        },
        isolation: Isolation::SameBridge,
        ..Network::new()
            .address("10.0.0.2/24".parse().unwrap())
            .address("fd00::2/64".parse().unwrap())
            .subnet("10.1.0.0/16".parse().unwrap())
            .nat(true)
            .publish("80:80".parse().unwrap())
            .publish("53:53/udp".parse().unwrap())
    };
    assert_eq!(up.network, network);
    assert_eq!(up.target, TargetName::Path(PathBuf::from("/run/netns/blue")));
    assert_eq!(up.ifname.as_str(), "eth1");
    assert_eq!(up.id.unwrap().as_str(), "web");
    assert_eq!(up.volume, Volume::Verbose);
    assert!(up.allow_own_netns && up.replace && up.dry_run);
}

#[test]
fn a_container_named_like_a_command() {
    assert_eq!(up("netup up ls 10.0.0.2/24").target, TargetName::Named("ls".to_owned()));
    assert_eq!(up("netup -- ls 10.0.0.2/24").target, TargetName::Named("ls".to_owned()));
}

#[test]
fn the_other_commands() {
    use Invocation as I;
    assert!(matches!(decoded("netup ls --json"), Ok(I::List)));
    assert!(matches!(decoded("netup --json ls"), Ok(I::List)));
    assert!(matches!(decoded("netup down web -q"), Ok(I::Down { selector, volume: Volume::Quiet })
        if selector.name == "web" && selector.ifname.is_none()));
    assert!(matches!(decoded("netup show 4711 --ifname eth1"), Ok(I::Show(selector))
        if selector.ifname.as_ref().is_some_and(|name| name.as_str() == "eth1")));
    assert!(matches!(decoded("netup check"), Ok(I::Check { selector: None, repair: false })));
    assert!(matches!(
        decoded("netup check web --repair"),
        Ok(I::Check { selector: Some(_), repair: true })
    ));
    assert!(matches!(decoded("netup gc"), Ok(I::CollectGarbage)));
    assert!(matches!(decoded("netup reload"), Ok(I::Reload)));
    assert!(matches!(decoded("netup reload --remove"), Ok(I::RemoveRuleset)));
    assert!(matches!(decoded("netup doctor"), Ok(I::Doctor)));
    let order = |dir: &str, names: &[&str], replace| Order {
        dir: dir.into(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        replace,
    };
    assert!(matches!(decoded("netup install-cni"), Ok(I::Install(o))
        if o == order("/opt/cni/bin", &[], false)));
    assert!(matches!(
        decoded("netup --dir ls install-cni --names netup,host-local --names ptp --replace"),
        Ok(I::Install(o)) if o == order("ls", &["netup", "host-local", "ptp"], true)
    ));
    assert!(matches!(decoded("netup install-cni --uninstall --dir=/x"), Ok(I::Uninstall(o))
        if o == order("/x", &[], false)));
    assert!(matches!(decoded("netup man /tmp/x"), Ok(I::WriteManual(_))));
}

#[test]
fn help_version_completions_and_manual_are_pages() {
    let table = [
        ("netup --version", "netup "),
        ("netup -h", "Usage: netup TARGET ADDRESS"),
        ("netup --help", "Exit status:"),
        ("netup help down", "Usage: netup down"),
        ("netup 4711 --help", "Usage: netup up"),
        ("netup completions bash", "_netup()"),
        ("netup completions zsh", "#compdef netup"),
        ("netup man", ".TH netup 1"),
    ];
    for (line, part) in table {
        match decoded(line) {
            Ok(Invocation::Page(page)) => {
                assert!(page.plain.contains(part), "{line}: {}", page.plain);
                assert!(!page.plain.contains('\x1b'), "{line}");
            }
            _ => panic!("{line}"),
        }
    }
}

/// `up` is parsed by a definition of its own; it must not differ from the one in the tree.
#[test]
fn both_ways_to_the_help_of_up_agree() {
    let of = |line| match decoded(line) {
        Ok(Invocation::Page(page)) => page.plain,
        _ => panic!("{line}"),
    };
    assert_eq!(of("netup up --help"), of("netup help up"));
}

#[test]
fn wrong_lines_get_one_line() {
    let table = [
        ("netup", "nothing is asked for; write netup TARGET ADDRESS, or see netup --help"),
        (
            "netup 4711",
            "no address is given; give one such as 10.0.0.2/24, or --subnet 10.0.0.0/24 for a free one",
        ),
        (
            "netup lss",
            "\"lss\" is no command, and as a target it lacks an address; see netup --help, or give an address such as 10.0.0.2/24",
        ),
        ("netup up", "TARGET is missing; see netup up --help"),
        ("netup --nat", "TARGET is missing; see netup up --help"),
        (
            "netup 1 10.0.0.0/24",
            "address 10.0.0.0/24 is the address of the network itself; choose another, such as one of 10.0.0.0/8, 192.168.0.0/16 or fd00::/8",
        ),
        ("netup 1 10.0.0.2/24 --natt", "option --natt is unknown; did you mean --nat?"),
        ("netup 1 10.0.0.2/24 --xyz", "option --xyz is unknown; see netup up --help"),
        ("netup 1 10.0.0.2/24 --nat=1", "--nat takes no value; see netup up --help"),
        ("netup 1 10.0.0.2/24 --mtu", "--mtu needs a value; see netup up --help"),
        (
            "netup 1 10.0.0.2/24 --mtu x",
            "MTU \"x\" is not a size (invalid digit found in string); give it in bytes, such as 1500",
        ),
        ("netup 1 10.0.0.2/24 --mtu 1400 --mtu 1500", "--mtu is given twice; see netup up --help"),
        (
            "netup 1 10.0.0.2/24 -q -v",
            "--quiet and --verbose contradict each other; see netup up --help",
        ),
        (
            "netup 1 10.0.0.2/24 -q --json",
            "--quiet and --json contradict each other; see netup up --help",
        ),
        (
            "netup 1 10.0.0.2/24 --gateway x",
            "gateway \"x\" is not an IP address (invalid IP address syntax); write it as 10.0.0.1 or fd00::1",
        ),
        (
            "netup 1 10.0.0.2/24 --gateway 10.1.0.1",
            "gateway 10.1.0.1 lies in no network of the container's addresses; see netup up --help",
        ),
        (
            "netup 1 10.0.0.2/24 --ifname sixteen-bytes-xy",
            "interface name \"sixteen-bytes-xy\" is too long; use letters, digits, '-', '_' and '.', at most 15 in all",
        ),
        ("netup down", "TARGET|ID is missing; see netup down --help"),
        (
            "netup install-cni --names bridge,macvlan",
            "--names cannot be \"macvlan\"; use one of netup, bridge, ptp, host-local, static, loopback, portmap, firewall, bandwidth, tuning",
        ),
        (
            "netup install-cni --replace --uninstall",
            "--replace and --uninstall contradict each other; see netup install-cni --help",
        ),
        ("netup ls web", "\"web\" is one word too many; see netup ls --help"),
        ("netup help nonsense", "there is no command \"nonsense\"; see netup --help"),
        ("netup ls --color red", "--color cannot be \"red\"; use one of auto, always, never"),
        (
            "netup completions csh",
            "SHELL cannot be \"csh\"; use one of bash, elvish, fish, powershell, zsh",
        ),
    ];
    for (line, expected) in table {
        assert_eq!(refused(line), expected, "{line}");
    }
}

#[test]
fn bad_values_of_every_kind_are_refused() {
    for value in [
        "--subnet 10.0.0.1/24",
        "--route x",
        "-p 0:80",
        "-p 65536:80",
        "-p 90-80:90-80",
        "-p 80-82:80-81",
        "-p 80:80 -p 80:81",
        "--bridge a/b",
        "--host-ifname a:b",
        "--mac zz",
        "--sysctl kernel.hostname=x",
        "--id -x",
        "--id a/b",
        "--mtu 67",
    ] {
        refused(&format!("netup 1 10.0.0.2/24 {value}"));
    }
    for target in ["0", "99999999999", "fd:x", ".."] {
        refused(&format!("netup {target} 10.0.0.2/24"));
    }
    refused("netup show fd:x/y");
    refused("netup check ..");
}

#[test]
fn an_argument_that_is_no_text() {
    use std::os::unix::ffi::OsStringExt;
    let words = vec!["netup".into(), OsString::from_vec(vec![0xff]), "10.0.0.2/24".into()];
    let error = decode(words).err().expect("refused");
    assert_eq!(error.to_string(), "an argument is not valid UTF-8; see netup up --help");
}

/// A kind that a later clap adds still gives one line.
#[test]
fn unknown_refusals_give_their_first_line() {
    let arranged = Arranged { words: vec!["netup".into(), "ls".into()], verb_supplied: false };
    let refusal = Cli::command().error(ClapKind::WrongNumberOfValues, "first\nsecond");
    let error = refusal::one_line(&refusal, &arranged);
    assert_eq!(error.to_string(), "first; see netup ls --help");
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn manual_pages_of_every_command() {
    let dir = std::env::temp_dir().join(format!("netup-man-{}", std::process::id()));
    write_manual(&dir).unwrap();
    let pages = std::fs::read_dir(&dir).unwrap().count();
    let up = std::fs::read_to_string(dir.join("netup-up.1")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(pages, 1 + Cli::command().get_subcommands().count());
    assert!(up.contains(".SH NOTES\n.nf\n\\&Examples:"));
}
