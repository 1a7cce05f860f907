//! Containers that are connected, by a veth pair or without rights, and what is left of that.

mod running;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Once;
use std::thread;
use std::time::Duration;

use netns_fixtures::probe::{TcpEcho, UdpEcho, ping, tcp_ask, udp_ask};
use netns_fixtures::program::{self, Started};
use netns_fixtures::runner::{Ground, Root, Runner};
use netns_fixtures::{Dump, Node, isolate};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use running::{PATIENCE, Staying, alone, ground, shell, soon};

isolate!();

const BOTH: [&str; 5] = ["--net", "10.0.0.2/24", "--net", "fd00::2/64", "--nat"];

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Starts a container whose command answers at a port, and waits until it does.
fn server(runner: &Runner, options: &[&str], root: &Root, at: &str) -> Started {
    let mut started = runner.start_probe(options, root, &["serve", "tcp", at]).unwrap();
    started.await_line("listening", PATIENCE).unwrap();
    started
}

/// Nobody may be there to wait for an orphan.
fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// A file of a container's web server.
fn fetch(node: &Node, at: &str) -> io::Result<String> {
    node.run(|| {
        let mut stream = TcpStream::connect_timeout(&socket(at), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    })?
}

fn end(started: Started) {
    started.signal(Signal::SIGTERM).unwrap();
    started.finish(PATIENCE).unwrap();
}

#[test]
fn both_families_go_out_by_nat_and_come_in_by_published_ports() {
    let ground = ground();
    let (root, runner) = (ground.busybox().unwrap(), ground.runner());
    let v4 = TcpEcho::start(ground.outside(), socket("198.51.100.1:4000")).unwrap();
    let v6 = TcpEcho::start(ground.outside(), socket("[2001:db8:1::1]:4000")).unwrap();
    let words = ["ask", "tcp", "198.51.100.1:4000", "+", "ask", "tcp", "[2001:db8:1::1]:4000"];
    let seen = runner.probe(&BOTH, &root, &words).unwrap();
    drop((v4, v6));
    let answers: Vec<&str> = seen.text().lines().collect();
    assert!(answers[0].starts_with("answer outside 198.51.100.2:"), "{answers:?}");
    assert!(answers[1].starts_with("answer outside [2001:db8:1::2]:"), "{answers:?}");

    let options = [&BOTH[..], &["-p", "8080:80", "--hostname", "web"]].concat();
    let started = server(&runner, &options, &root, "[::]:80");
    for host in ["198.51.100.2:8080", "[2001:db8:1::2]:8080"] {
        assert_eq!(tcp_ask(ground.outside(), socket(host)).unwrap().server, "web");
    }
    end(started);
    tcp_ask(ground.outside(), socket("198.51.100.2:8080")).unwrap_err();
}

#[test]
fn containers_on_a_bridge_reach_each_other_and_take_it_with_them() {
    let ground = ground();
    let (root, runner) = (ground.busybox().unwrap(), ground.runner());
    let links = || ground.host().ip(&["-o", "link"]).unwrap();
    let on = |address: &'static str| ["--net", address, "--bridge", "br7"];
    let one = Staying::start(&runner, &on("10.7.0.2/24"), &root);
    assert!(links().contains("br7"));
    let seen = runner.run_probe(&on("10.7.0.3/24"), &root, &["ask", "tcp", "10.7.0.2:9"]).unwrap();
    // Refused by the container, and so reached.
    assert_eq!(seen.stdout, "errno 111\n", "{seen}");
    ping(ground.host(), "10.7.0.2".parse().unwrap()).unwrap();
    one.end();
    assert!(!links().contains("br7"), "{}", links());
}

#[test]
fn a_network_that_fails_means_no_command_and_nothing_left() {
    let ground = alone();
    let (root, runner) = (ground.busybox().unwrap(), ground.runner());
    let staying = Staying::start(&runner, &["--net", "10.0.0.2/24", "-p", "8080:80"], &root);
    let before = settled(&ground, &runner);
    let taken = [
        vec!["--net", "10.0.0.2/24"],
        vec!["--net", "10.0.0.3/24", "-p", "8080:80"],
        vec!["--net", "10.0.0.3/24", "--gateway", "10.0.0.99", "-p", "8080:81"],
    ];
    for options in taken {
        let ended = shell(&runner, &options, &root, "echo it ran");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(125), ""), "{options:?}: {ended}");
        assert!(ended.stderr.starts_with("netup-run: "), "{ended}");
        ground.expect_unchanged(&runner, &before);
    }
    staying.end();
}

/// What the host is like when nothing of earlier runs is under way any more: links are deleted by a
/// process that nobody waits for.
fn settled(ground: &Ground, runner: &Runner) -> Dump {
    let mut last = ground.dump(runner).unwrap();
    soon("a host at rest", || {
        thread::sleep(Duration::from_millis(100));
        let now = ground.dump(runner).unwrap();
        now == std::mem::replace(&mut last, now.clone())
    });
    last
}

#[test]
fn an_end_leaves_the_host_as_it_was() {
    let ground = alone();
    let (root, runner) = (ground.busybox().unwrap(), ground.runner());
    // What the first of all calls leaves in force for those that follow.
    shell(&runner, &BOTH, &root, "true").success().unwrap();
    let before = settled(&ground, &runner);
    let options = [&BOTH[..], &["-p", "8080:80", "-p", "53:53/udp"]].concat();
    for script in ["true", "exit 7", "kill -9 $$"] {
        shell(&runner, &options, &root, script);
        ground.expect_unchanged(&runner, &before);
    }
}

/// The core's records are the same for all who have theirs elsewhere.
#[test]
fn a_container_of_the_same_name_keeps_its_network_when_another_is_cleared_away() {
    let ground = ground();
    let (runner, root) = (ground.runner(), ground.busybox().unwrap());
    let mut dead = Staying::start(&runner, &["--net", "10.0.0.2/24", "--name", "twin"], &root);
    let pids = dead.pids();
    dead.runner.kill().unwrap();
    soon("the end of all", || pids.iter().all(|pid| has_ended(*pid)));
    let path = root.path().to_str().unwrap();
    let elsewhere = |words: &[&str]| {
        let mut command = runner.command(words).unwrap();
        command.env("NETUP_RUN_STATE", ground.folder().join("elsewhere"));
        program::start(command, b"").unwrap()
    };
    let words = ["run", "--net", "10.0.0.3/24", "--name", "twin", path, "/probe", "signals", "15"];
    let mut living = elsewhere(&words);
    living.await_line("ready", PATIENCE).unwrap();
    let told = runner.run(&["gc"]).unwrap().success().unwrap();
    assert!(told.contains("twin: undid its"), "{told}");
    ping(ground.host(), "10.0.0.3".parse().unwrap()).unwrap();
    end(living);
    // That one took its own away.
    let listed = ground.host().command("ip").args(["-br", "link"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(!listed.contains("nu"), "{listed}");
}

/// Death without warning: the container ends, and what outlives it is undone by whoever comes next.
#[test]
fn what_a_killed_runner_leaves_is_undone_by_gc_and_by_the_next_of_its_name() {
    let ground = alone();
    let (root, runner) = (ground.busybox().unwrap(), ground.runner());
    shell(&runner, &BOTH, &root, "true").success().unwrap();
    let before = settled(&ground, &runner);
    let options = [&BOTH[..], &["-p", "8080:80", "--name", "web"]].concat();
    let crash = || {
        let mut staying = Staying::start(&runner, &options, &root);
        let pids = staying.pids();
        assert!(!pids.is_empty());
        staying.runner.kill().unwrap();
        soon("the container's end", || pids.iter().all(|pid| has_ended(*pid)));
        assert!(ground.host().nft_list().unwrap().contains("8080"), "the port is still published");
    };
    crash();
    let told = runner.run(&["gc"]).unwrap().success().unwrap();
    assert!(told.starts_with("web: undid its ") && told.contains("network"), "{told}");
    ground.expect_unchanged(&runner, &before);

    crash();
    shell(&runner, &options, &root, "true").success().unwrap();
    ground.expect_unchanged(&runner, &before);
}

#[test]
fn gc_leaves_alone_what_runs() {
    let ground = ground();
    let (root, runner) = (ground.busybox().unwrap(), ground.runner());
    let staying = Staying::start(&runner, &[&BOTH[..], &["--name", "web"]].concat(), &root);
    let told = runner.run(&["gc"]).unwrap().success().unwrap();
    assert_eq!(told, "nothing was left behind\n");
    ping(ground.host(), "10.0.0.2".parse().unwrap()).unwrap();
    assert_eq!(staying.end().code, Some(0));
}

#[test]
fn a_container_knows_its_name_and_its_name_servers() {
    let ground = ground();
    let (root, runner) = (ground.busybox().unwrap(), ground.runner());
    let options = [&BOTH[..], &["--hostname", "web", "--dns", "192.0.2.53"]].concat();
    let script = "cat /etc/hostname /etc/hosts /etc/resolv.conf; hostname";
    let told = shell(&runner, &options, &root, script).success().unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!((lines[0], *lines.last().unwrap()), ("web", "web"));
    for line in ["10.0.0.2\tweb", "fd00::2\tweb", "::1\tlocalhost ip6-localhost ip6-loopback"] {
        assert!(lines.contains(&line), "{told}");
    }
    assert!(lines.contains(&"nameserver 192.0.2.53"), "{told}");
}

#[test]
fn a_network_namespace_that_exists_is_joined() {
    let ground = ground();
    let (root, runner) = (ground.busybox().unwrap(), ground.runner());
    let net = format!("netns:{}", ground.outside().path().display());
    let seen = runner.probe(&["--net", &net], &root, &["links"]).unwrap();
    assert!(seen.value("eth0").starts_with("up 198.51.100.1"), "{}", seen.text());
    for (path, says) in
        [("/nowhere", "No such file"), ("/proc/self/ns/uts", "no network namespace")]
    {
        let ended = shell(&runner, &["--net", &format!("netns:{path}")], &root, "true");
        assert!(ended.code == Some(125) && ended.stderr.contains(says), "{ended}");
    }
}

#[test]
fn an_ordinary_user_is_told_of_the_way_that_needs_no_rights() {
    let ground = ground();
    let user = ground.user().unwrap();
    let root = ground.busybox().unwrap();
    let ended = shell(&ground.runner_of(&user), &["--net", "10.0.0.2/24"], &root, "true");
    assert_eq!(ended.code, Some(125));
    assert!(ended.stderr.contains("--net pasta"), "{ended}");
}

/// Distributions let everybody open it; this machine may not.
fn open_tun(ground: &Ground) {
    static OPENED: Once = Once::new();
    OPENED.call_once(|| {
        let node = ground.folder().join("tun");
        mknod(&node, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(10, 200)).unwrap();
        fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).unwrap();
        let nothing = None::<&str>;
        mount(Some(&node), "/dev/net/tun", nothing, MsFlags::MS_BIND, nothing).unwrap();
    });
}

fn user_on(ground: &Ground) -> (Runner, Root) {
    open_tun(ground);
    let user = ground.user().unwrap();
    let root = ground.busybox().unwrap().owned_by(&user).unwrap();
    (ground.runner_of(&user), root)
}

fn helpers(runner: &Started) -> Vec<u32> {
    let is_helper = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // pasta is another name of passt.
        name.starts_with("pas") || name.starts_with("slirp")
    };
    running::children(runner.pid()).into_iter().filter(is_helper).collect()
}

#[test]
fn without_rights_pasta_connects_both_ways() {
    let ground = ground();
    let (runner, root) = user_on(&ground);
    let v4 = TcpEcho::start(ground.outside(), socket("198.51.100.1:4000")).unwrap();
    let v6 = UdpEcho::start(ground.outside(), socket("[2001:db8:1::1]:4000")).unwrap();
    // A datagram may be lost, and is while the host looks for its neighbour.
    for words in [["ask", "tcp", "198.51.100.1:4000"], ["ask", "udp", "[2001:db8:1::1]:4000"]] {
        soon(words[1], || {
            let seen = runner.probe(&["--net", "pasta"], &root, &words).unwrap();
            seen.text().contains("answer outside ")
        });
    }
    drop((v4, v6));

    // Not a server that speaks first: pasta of 2023 loses what is said before the client has spoken.
    let script = "echo this is web >/tmp/index.html; echo listening; exec httpd -f -p 80 -h /tmp";
    let path = root.path().to_str().unwrap();
    let words = ["run", "--net", "pasta", "-p", "8080:80", path, "/bin/sh", "-c", script];
    let mut started = runner.start(&words).unwrap();
    started.await_line("listening", PATIENCE).unwrap();
    for host in ["198.51.100.2:8080", "[2001:db8:1::2]:8080"] {
        soon("the web server", || {
            fetch(ground.outside(), host).is_ok_and(|page| page.ends_with("this is web\n"))
        });
    }
    let helper = helpers(&started);
    assert_eq!(helper.len(), 1);
    end(started);
    assert!(has_ended(helper[0]));
}

#[test]
fn without_rights_slirp4netns_connects_both_ways() {
    let ground = ground();
    let (runner, root) = user_on(&ground);
    let echo = TcpEcho::start(ground.outside(), socket("198.51.100.1:4000")).unwrap();
    let words = ["links", "+", "ask", "tcp", "198.51.100.1:4000"];
    let seen = runner.probe(&["--net", "slirp4netns"], &root, &words).unwrap();
    drop(echo);
    assert!(seen.value("eth0").starts_with("up 10.0.2.100"), "{}", seen.text());
    assert!(seen.value("answer").starts_with("outside 198.51.100.2:"), "{}", seen.text());

    let options = ["--net", "slirp4netns", "-p", "8080:80", "-p", "5300:53/udp"];
    let options = [&options[..], &["--hostname", "web"]].concat();
    let started = server(&runner, &options, &root, "0.0.0.0:80");
    let address = socket("198.51.100.2:8080");
    assert_eq!(tcp_ask(ground.outside(), address).unwrap().server, "web");
    let helper = helpers(&started);
    assert_eq!(helper.len(), 1);
    end(started);
    assert!(has_ended(helper[0]));
    let started = runner.start_probe(&options, &root, &["serve", "udp", "0.0.0.0:53"]).unwrap();
    let mut started = started;
    started.await_line("listening", PATIENCE).unwrap();
    assert_eq!(udp_ask(ground.outside(), socket("198.51.100.2:5300")).unwrap().server, "web");
    end(started);
}

#[test]
fn a_port_that_a_helper_cannot_have_means_no_command() {
    let ground = ground();
    let (runner, root) = user_on(&ground);
    let taken = TcpEcho::start(ground.host(), socket("0.0.0.0:8080")).unwrap();
    for helper in ["pasta", "slirp4netns"] {
        let options = ["--net", helper, "-p", "0.0.0.0:8080:80"];
        let ended = shell(&runner, &options, &root, "echo it ran");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(125), ""), "{ended}");
        assert!(ended.stderr.contains(helper), "{ended}");
    }
    drop(taken);
}

#[test]
fn without_its_helper_a_container_ends_and_without_its_runner_a_helper_does() {
    let ground = ground();
    let (runner, root) = user_on(&ground);
    for net in ["pasta", "slirp4netns"] {
        let staying = Staying::start(&runner, &["--net", net], &root);
        let helper = helpers(&staying.runner);
        assert_eq!(helper.len(), 1, "{net}");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(helper[0]).unwrap());
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
        let ended = staying.runner.finish(PATIENCE).unwrap();
        assert_ne!(ended.code, Some(0), "{net}: {ended}");

        let mut staying = Staying::start(&runner, &["--net", net], &root);
        let mut pids = helpers(&staying.runner);
        pids.extend(staying.pids());
        staying.runner.kill().unwrap();
        soon("the end of all", || pids.iter().all(|pid| has_ended(*pid)));
        let told = runner.run(&["gc"]).unwrap().success().unwrap();
        assert!(told.contains(": "), "{told}");
    }
}

/// Root's pasta may not look into the container by then, and what a killed runner's left is none's.
#[test]
fn root_has_the_helpers_too_whatever_was_left_behind() {
    let ground = ground();
    open_tun(&ground);
    let (runner, root) = (ground.runner(), ground.busybox().unwrap());
    fs::create_dir_all(runner.state()).unwrap();
    fs::set_permissions(runner.state(), fs::Permissions::from_mode(0o700)).unwrap();
    for (net, left) in [("pasta", ".pasta-again"), ("slirp4netns", ".slirp-again")] {
        fs::write(runner.state().join(left), "4711\n").unwrap();
        let seen = runner.probe(&["--net", net, "--name", "again"], &root, &["links"]).unwrap();
        assert!(seen.value("eth0").starts_with("up "), "{net}: {}", seen.text());
        assert!(!runner.state().join(left).exists());
    }
}
