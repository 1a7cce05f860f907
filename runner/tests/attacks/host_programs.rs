//! The environment that a container is given does not reach programs that run on the host.

use std::fs;

use netns_fixtures::{program, tools};

use crate::running::{PATIENCE, ground};
use crate::text;

/// What is executed on the host's side, with the environment of each, told by strace.
#[test]
fn what_the_container_is_given_does_not_reach_helpers() {
    let ground = ground();
    let user = ground.user().unwrap();
    let root = ground.busybox().unwrap().owned_by(&user).unwrap();
    let words = ["run", "-q", "-e", "LD_PRELOAD=/evil.so", "-e", "LD_LIBRARY_PATH=/evil"];
    let words = [&words[..], &[text(root.path()), "/probe", "env"]].concat();
    let called = ground.runner_of(&user).command(&words).unwrap();
    let trace = ground.folder().join("trace");
    let mut command = ground.host().command(tools::find("strace").unwrap());
    command.args(["-f", "-v", "-s", "9999", "-e", "trace=execve,execveat", "-o"]).arg(&trace);
    command.arg(called.get_program()).args(called.get_args()).env_clear();
    command.envs(called.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let said = program::run(command, b"", PATIENCE).unwrap().success().unwrap();
    assert!(said.contains("LD_PRELOAD=/evil.so"), "{said}");
    let trace = fs::read_to_string(trace).unwrap();
    let executed = trace.lines().filter(|line| line.contains("execve"));
    let (own, host): (Vec<_>, Vec<_>) = executed.partition(|line| line.contains("\"/probe\""));
    assert!(!own.is_empty());
    assert!(host.iter().any(|line| line.contains("newuidmap")), "{trace}");
    for line in host {
        let environment = line.rsplit_once("], [").map_or("", |(_, environment)| environment);
        assert!(!environment.contains("evil"), "{line}");
        if line.contains("newuidmap") || line.contains("newgidmap") {
            assert!(!environment.contains("HOME"), "{line}");
        }
    }
}

/// CVE-2020-15257: sockets without a path belong to the network namespace.
#[test]
fn sockets_without_a_path_are_not_seen() {
    let ground = ground();
    let root = ground.busybox().unwrap();
    let name = format!("of-the-host-{}", std::process::id());
    let listening = {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixListener};
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        ground.host().run(|| UnixListener::bind_addr(&address)).unwrap().unwrap()
    };
    let inside = ground.runner().probe(&[], &root, &["cat", "/proc/net/unix"]).unwrap();
    let outside = ["--net", "host"];
    let shared = ground.runner().probe(&outside, &root, &["cat", "/proc/net/unix"]).unwrap();
    drop(listening);
    assert!(!inside.text().contains(&name), "{}", inside.text());
    assert!(shared.text().contains(&name), "the test sees nothing: {}", shared.text());
}
