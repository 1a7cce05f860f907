//! The main job on processes that real runtimes made, whose namespaces netup knows nothing of.

mod calling;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use calling::{World, holds_soon, without_forwarding, without_what_stays};
use netns_fixtures::probe::{TcpEcho, ping, tcp_ask};
use netns_fixtures::{Dump, Node, assert_same, isolate, tools};
use serde_json::{Value, json};

isolate!();

/// Whether this is real root, and not root of a user namespace that the laboratory made.
fn is_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"]
}

impl World {
    /// Starts a program on the host.
    fn start(&self, command: &mut Command) -> Running {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        Running(child)
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Attaches the process, sends traffic each way, takes it down, and finds the host as it was.
fn the_main_job(world: &World, pid: u32) {
    let container = Node::at("container", format!("/proc/{pid}/ns/net"));
    let before = without_forwarding(Dump::of(&world.host).unwrap());
    // A runtime may have left the loopback down; netup sets it up, and leaves it so.
    container.ip(&["link", "set", "lo", "up"]).unwrap();
    let inside = Dump::of(&container).unwrap();
    for addresses in ["10.0.0.2/24", "10.0.0.2/24 fd00::2/64", "10.0.0.2/24 --bridge br0"] {
        println!("{}", world.must(&format!("{pid} {addresses} --nat -p 8080:80")));
        let server = TcpEcho::start(&container, "0.0.0.0:80".parse().unwrap()).unwrap();
        let outside = TcpEcho::start(&world.outside, "198.51.100.1:7000".parse().unwrap()).unwrap();
        let answer = tcp_ask(&world.outside, "198.51.100.2:8080".parse().unwrap()).unwrap();
        assert_eq!(answer.server, "container");
        assert_eq!(answer.client_seen.ip().to_string(), "198.51.100.1");
        let answer = tcp_ask(&container, outside.address()).unwrap();
        assert_eq!(answer.client_seen.ip().to_string(), "198.51.100.2");
        tcp_ask(&world.host, "127.0.0.1:8080".parse().unwrap()).unwrap();
        ping(&world.host, "10.0.0.2".parse().unwrap()).unwrap();
        drop(server);
        world.must(&format!("down {pid}"));
        assert_same(&inside, &Dump::of(&container).unwrap());
        assert_same(&before.clone().without_section("nft"), &without_what_stays(&world.host));
        world.must("reload --remove");
        assert_same(&before, &without_forwarding(Dump::of(&world.host).unwrap()));
    }
}

/// Until then the process is still on its way into its namespace.
fn wait_until_apart(world: &World, pid: u32) {
    let inode = |path: &Path| fs::read_link(path).unwrap();
    let netns = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let host = world.host.run(|| inode(Path::new("/proc/thread-self/ns/net"))).unwrap();
    assert!(holds_soon(|| inode(&netns) != host), "{pid} stays on the host");
}

#[test]
fn a_process_that_unshare_made() {
    let world = World::new();
    let flags = if is_root() { "-n" } else { "-Urn" };
    let mut command = world.host.command(tools::find("unshare").unwrap());
    let running = world.start(command.args([flags, "sleep", "1000"]));
    wait_until_apart(&world, running.0.id());
    the_main_job(&world, running.0.id());
}

#[test]
fn a_process_in_a_user_namespace_of_its_own() {
    let world = World::new();
    let mut command = world.host.command(tools::find("unshare").unwrap());
    let running = world.start(command.args(["-Urn", "sleep", "1000"]));
    wait_until_apart(&world, running.0.id());
    the_main_job(&world, running.0.id());
}

#[test]
fn a_process_that_bubblewrap_made() {
    let world = World::new();
    let mut command = world.host.command(tools::find("bwrap").unwrap());
    let words = "--unshare-net --die-with-parent --info-fd 1 --dev-bind / / sleep 1000";
    let mut running = world.start(command.args(words.split(' ')));
    let mut told = String::new();
    let mut lines = BufReader::new(running.0.stdout.take().unwrap());
    while !told.contains('}') {
        assert_ne!(lines.read_line(&mut told).unwrap(), 0, "bwrap ended: {told:?}");
    }
    let told: Value = serde_json::from_str(&told).unwrap();
    let pid = told["child-pid"].as_u64().unwrap().try_into().unwrap();
    wait_until_apart(&world, pid);
    the_main_job(&world, pid);
}

/// A container of runc's, with its own root of a single static program.
struct Runc<'a> {
    world: &'a World,
    folder: tempfile::TempDir,
}

impl Runc<'_> {
    fn runc(&self, words: &str) {
        let log = File::create(self.folder.path().join("log")).unwrap();
        let mut command = self.world.host.command(tools::find("runc").unwrap());
        let root = self.folder.path().join("state");
        command.arg("--root").arg(root).args(words.split(' ')).current_dir(self.folder.path());
        // Not pipes: what runs in the container inherits these and keeps them open.
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let status = command.status().unwrap();
        let said = fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(status.success(), "runc {words}: {said}");
    }

    fn make_bundle(&self) {
        let rootfs = self.folder.path().join("rootfs");
        for folder in ["bin", "proc", "dev", "sys"] {
            fs::create_dir_all(rootfs.join(folder)).unwrap();
        }
        fs::copy(tools::find("busybox").unwrap(), rootfs.join("bin/busybox")).unwrap();
        symlink("busybox", rootfs.join("bin/sleep")).unwrap();
        self.runc("spec");
        let path = self.folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/sleep", "1000"]);
        config["process"].as_object_mut().unwrap().remove("rlimits");
        config["root"]["path"] = json!(rootfs);
        let spaces = config["linux"]["namespaces"].as_array().unwrap();
        assert!(spaces.contains(&json!({"type": "network"})), "{spaces:?}");
        fs::write(&path, config.to_string()).unwrap();
    }
}

impl Drop for Runc<'_> {
    fn drop(&mut self) {
        // A panic here would hide the one that brought us here.
        if !thread::panicking() {
            self.runc("delete --force netup-test");
        }
    }
}

#[test]
fn a_container_that_runc_made() {
    if !is_root() {
        // Without root runc needs a configuration of its own kind, and delegated cgroups. What
        // netup sees of it is the same as this:
        return a_process_in_a_user_namespace_of_its_own();
    }
    let world = World::new();
    let runc = Runc { world: &world, folder: tempfile::tempdir().unwrap() };
    runc.make_bundle();
    runc.runc("run --detach --pid-file pid netup-test");
    let pid = fs::read_to_string(runc.folder.path().join("pid")).unwrap();
    the_main_job(&world, pid.trim().parse().unwrap());
}
