//! On a kernel that is not the machine's own: Debian's for clouds, in an emulated machine. It is
//! older, and it knows VLANs on bridges.
#![cfg(target_arch = "x86_64")]

use std::path::Path;
use std::time::Duration;

use netns_fixtures::vm::{Kernel, Vm};
use serde_json::Value;

/// Of one machine, with everything that it does: half a minute, unless others are busy too.
const DEADLINE: Duration = Duration::from_secs(300);

/// What came by the serial line of a machine that ran this script.
fn run(script: &str) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let kernel = Kernel::in_folder(&target.join("kernels"), ".ci/kernel").unwrap();
    let vm = Vm::new(&kernel).unwrap();
    let vm = vm.with_program("netup", Path::new(env!("CARGO_BIN_EXE_netup"))).unwrap();
    let tools = ["ip", "bridge", "nft", "tc"];
    let vm = tools.into_iter().try_fold(vm, Vm::with_tool).unwrap();
    let script = [include_str!("kernels/calls.sh"), script].concat();
    vm.run(&script, DEADLINE).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_container_is_on_its_vlan_and_on_no_other() {
    let console = run(include_str!("kernels/vlan.sh"));
    let result = console.lines().find_map(|line| line.strip_prefix("@result ")).unwrap();
    let result: Value = serde_json::from_str(result).unwrap();
    let interfaces = result["interfaces"].as_array().unwrap();
    let names: Vec<&str> = interfaces.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!((names[0], &names[2..]), ("br0", ["eth0", "br0.10"].as_slice()), "{result}");
    assert_eq!(interfaces[2]["sandbox"], "/run/netns/a");
    assert_eq!(interfaces[3]["mac"].as_str().map(str::len), Some("02:00:00:00:00:01".len()));
    assert_eq!(result["ips"][0]["interface"], 2);
    assert_eq!(result["ips"][0]["gateway"], "10.10.0.1");
}

#[test]
fn an_older_kernel_serves_as_well() {
    run(include_str!("kernels/older.sh"));
}
