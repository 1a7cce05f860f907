//! The types host-local and static, started under their names: what they answer, the files that
//! they share with the reference plugin, and what becomes of a folder that is damaged or full.

mod calling;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use calling::{NETUP, Said, clean, ended, tell};
use netns_fixtures::{isolate, tools};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use tempfile::TempDir;

isolate!();

/// The reference plugin, of Debian's package containernetworking-plugins.
const REFERENCE: &str = "/usr/lib/cni/host-local";

/// A node: our links, a folder of leases and a state folder.
struct Node {
    folder: TempDir,
}

/// What a plugin answered.
#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    document: Value,
    stderr: String,
}

impl Answer {
    fn of(said: Said) -> Self {
        let document = serde_json::from_str(&said.stdout).unwrap_or(Value::Null);
        assert!(said.stdout.is_empty() || !document.is_null(), "{said}");
        Self { code: said.code, document, stderr: said.stderr }
    }

    /// The addresses, if it succeeded.
    #[track_caller]
    fn ips(&self) -> Vec<String> {
        assert_eq!(self.code, Some(0), "{self:?}");
        let ips = self.document["ips"].as_array().cloned().unwrap_or_default();
        ips.iter().map(|ip| ip["address"].as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    fn done(&self) {
        assert_eq!((self.code, &self.document), (Some(0), &Value::Null), "{self:?}");
    }

    /// Asserts a failure of this code, whose message holds this text.
    #[track_caller]
    fn failed(&self, code: u32, message: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert_eq!(self.document["code"], code, "{self:?}");
        assert!(self.document["msg"].as_str().unwrap().contains(message), "{self:?}");
    }
}

/// A call on its way.
struct Plugin<'a> {
    node: &'a Node,
    program: PathBuf,
    conf: Value,
    id: String,
    args: String,
    state: PathBuf,
    prefix: Vec<String>,
}

impl Node {
    fn new() -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(node.path("bin")).unwrap();
        for name in ["host-local", "static"] {
            symlink(NETUP, node.path("bin").join(name)).unwrap();
        }
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn leases(&self) -> PathBuf {
        self.path("data/net")
    }

    fn lease(&self, ip: &str) -> PathBuf {
        self.leases().join(ip)
    }

    /// Our host-local with this `ipam` object.
    fn ours(&self, ipam: Value) -> Plugin<'_> {
        self.plugin("host-local", ipam)
    }

    /// One of 10.0.0.0/24.
    fn simple(&self, id: &str) -> Plugin<'_> {
        self.ours(json!({"subnet": "10.0.0.0/24"})).id(id)
    }

    fn plugin(&self, name: &str, mut ipam: Value) -> Plugin<'_> {
        if let Some(ipam) = ipam.as_object_mut() {
            ipam.insert("type".into(), name.into());
            if !ipam.contains_key("dataDir") {
                ipam.insert("dataDir".into(), self.path("data").to_str().unwrap().into());
            }
        }
        Plugin {
            node: self,
            program: self.path("bin").join(name),
            conf: json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "ipam": ipam}),
            id: "c1".into(),
            args: String::new(),
            state: self.path("state"),
            prefix: Vec::new(),
        }
    }

    /// The addresses that have a file.
    fn taken(&self) -> BTreeSet<String> {
        names(&self.leases()).into_iter().filter(|name| is_ip(name)).collect()
    }

    /// Makes lease files as if so many containers had them.
    fn fill(&self, count: usize) {
        for n in 0..count {
            let ip = format!("10.0.{}.{}", 200 + n / 250, 1 + n % 250);
            fs::write(self.lease(&ip), format!("other{n}\r\neth0")).unwrap();
        }
    }
}

fn is_ip(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_ok()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let names = fs::read_dir(folder).into_iter().flatten().map(name);
    names.map(|name| name.into_string().unwrap()).collect()
}

impl Plugin<'_> {
    fn id(mut self, id: &str) -> Self {
        self.id = id.into();
        self
    }

    fn args(mut self, args: &str) -> Self {
        self.args = args.into();
        self
    }

    /// Sets a key of the configuration.
    fn with(mut self, key: &str, value: Value) -> Self {
        self.conf[key] = value;
        self
    }

    /// Has the reference plugin do it.
    fn by_reference(mut self) -> Self {
        let package = "apt-get install containernetworking-plugins";
        assert!(Path::new(REFERENCE).exists(), "{REFERENCE} is missing: {package}");
        self.program = REFERENCE.into();
        self
    }

    /// Without the right to pass over permissions of files.
    fn unprivileged(mut self) -> Self {
        let setpriv = tools::find("setpriv").unwrap().to_str().unwrap().to_owned();
        let caps = "-dac_override,-dac_read_search,-fowner";
        self.prefix = vec![setpriv, format!("--bounding-set={caps}"), "--".into()];
        self
    }

    /// Where no state folder can be made.
    fn stateless(mut self) -> Self {
        self.state = "/proc/self/nowhere".into();
        self
    }

    fn command(&self, verb: &str) -> Command {
        let program = self.program.to_str().unwrap().to_owned();
        let mut words = self.prefix.iter().cloned().chain([program]);
        let mut command = Command::new(words.next().unwrap());
        clean(&mut command)
            .args(words)
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &self.id)
            .env("CNI_NETNS", "/nonexistent")
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", self.node.path("bin"))
            .env("CNI_ARGS", &self.args)
            .env("NETUP_STATE_DIR", &self.state);
        command
    }

    fn start(&self, verb: &str) -> Child {
        let mut command = self.command(verb);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that fails early may not read it.
        drop(child.stdin.take().unwrap().write_all(self.conf.to_string().as_bytes()));
        child
    }

    #[track_caller]
    fn call(&self, verb: &str) -> Answer {
        Answer::of(ended(self.start(verb)))
    }

    #[track_caller]
    fn add(&self) -> Answer {
        self.call("ADD")
    }

    /// Adds, and returns the one address.
    #[track_caller]
    fn ip(&self) -> String {
        let ips = self.add().ips();
        assert_eq!(ips.len(), 1, "{ips:?}");
        ips[0].split('/').next().unwrap().to_owned()
    }

    #[track_caller]
    fn del(&self) {
        self.call("DEL").done();
    }
}

#[test]
fn a_lease_is_a_file_as_the_reference_makes_it() {
    let node = Node::new();
    let answer = node.simple("c1").add();
    assert_eq!(
        answer.document,
        json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}]})
    );
    assert_eq!(answer.stderr, "");
    assert_eq!(fs::read_to_string(node.lease("10.0.0.2")).unwrap(), "c1\r\neth0");
    assert_eq!(fs::read_to_string(node.lease("last_reserved_ip.0")).unwrap(), "10.0.0.2");
    let mode = |name: &str| fs::metadata(node.lease(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("10.0.0.2"), mode("last_reserved_ip.0"), mode("lock")), (0o600, 0o600, 0o750));
    assert_eq!(fs::metadata(node.leases()).unwrap().permissions().mode() & 0o777, 0o755);
    node.simple("c1").del();
    assert_eq!(names(&node.leases()), ["last_reserved_ip.0".into(), "lock".into()].into());
    node.simple("c1").del();
}

#[test]
fn the_result_has_everything_in_the_reference_s_order() {
    let node = Node::new();
    fs::write(node.path("resolv.conf"), "nameserver 192.0.2.53\nsearch example.com\n").unwrap();
    let ipam = json!({
        "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.20", "gateway": "10.1.0.254",
        "ranges": [[{"subnet": "fd00:1::/64"}], [{"subnet": "10.2.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.1.0.9"}],
        "resolvConf": node.path("resolv.conf"),
    });
    let asked = json!({"ipRanges": [[{"subnet": "10.9.0.0/24"}]], "ips": ["10.2.0.77"]});
    let ours = node.ours(ipam).with("runtimeConfig", asked);
    let answer = ours.add();
    assert_eq!(answer.ips(), ["10.9.0.2/24", "10.1.0.20/24", "fd00:1::2/64", "10.2.0.77/24"]);
    ours.del();
    for n in 0..4 {
        fs::remove_file(node.lease(&format!("last_reserved_ip.{n}"))).unwrap();
    }
    let theirs = ours.by_reference().add();
    assert_eq!(answer.document, theirs.document);
}

#[test]
fn routes_keep_their_attributes() {
    let node = Node::new();
    let routes = json!([{"dst": "0.0.0.0/0", "gw": "10.0.0.1", "mtu": 1400, "advmss": 1360,
        "priority": 100, "table": 50, "scope": 0}, {"dst": "10.0.0.0/8", "mtu": 0}]);
    let answer = node
        .ours(json!({"subnet": "10.0.0.0/24", "routes": routes}))
        .with("cniVersion", "1.1.0".into())
        .add();
    assert_eq!(
        answer.document["routes"],
        json!([{"dst": "0.0.0.0/0", "gw": "10.0.0.1", "mtu": 1400, "advmss": 1360,
            "priority": 100, "table": 50, "scope": 0}, {"dst": "10.0.0.0/8"}])
    );
}

#[test]
fn mistakes_in_the_configuration_have_codes_and_change_nothing() {
    let node = Node::new();
    let range = |range: Value| json!({"ranges": [[range]]});
    for (ipam, code, message) in [
        (Value::Null, 7, "IPAM config missing 'ipam' key"),
        (json!({}), 7, "no IP ranges specified"),
        (json!({"ranges": []}), 7, "no IP ranges specified"),
        (json!({"ranges": [[]]}), 7, "invalid range set 0: empty range set"),
        (range(json!({})), 7, "subnet"),
        (range(json!({"subnet": "10.0.0.0/31"})), 7, "Network 10.0.0.0/31 too small"),
        (range(json!({"subnet": "fd00::/127"})), 7, "too small to allocate from"),
        (range(json!({"subnet": "10.0.0.5/24"})), 7, "Network has host bits set"),
        (
            range(json!({"subnet": "10.0.0.0/24", "rangeStart": "10.0.1.5"})),
            7,
            "RangeStart 10.0.1.5 not in network 10.0.0.0/24",
        ),
        (
            range(json!({"subnet": "10.0.0.0/24", "rangeEnd": "10.0.1.5"})),
            7,
            "RangeEnd 10.0.1.5 not in network 10.0.0.0/24",
        ),
        (
            json!({"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]}),
            7,
            "invalid range set 0: mixed address families",
        ),
        (json!({"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/25"}]]}), 7, "overlap"),
        (
            json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.0.0/25"}]]}),
            7,
            "range set 0 overlaps with 1",
        ),
        (range(json!({"subnet": "10.0.0.0"})), 6, "ranges[0][0].subnet"),
        (range(json!({"subnet": "10.0.0.0/255.255.255.0"})), 6, "subnet"),
        (range(json!({"subnet": "10.0.0.0/99999999999999999999"})), 6, "subnet"),
        (range(json!({"subnet": "10.0.0.0/24", "gateway": "x"})), 6, "gateway"),
        (range(json!({"subnet": 5})), 6, "subnet"),
        (json!({"ranges": "x"}), 6, "ranges"),
        (json!({"subnet": "10.0.0.0/24", "routes": [{"dst": "x"}]}), 6, "routes[0].dst"),
        (json!({"subnet": "10.0.0.0/24", "routes": [{"dst": "0.0.0.0/0", "mtu": -1}]}), 6, "mtu"),
        (json!({"subnet": "10.0.0.0/24", "dataDir": 5}), 6, "dataDir"),
        (json!({"subnet": "10.0.0.0/24", "dataDir": "/proc/self/nowhere"}), 5, "nowhere"),
        (json!({"subnet": "10.0.0.0/24", "dataDir": "/dev/null/x"}), 5, "/dev/null"),
        (json!({"subnet": "10.0.0.0/24", "dataDir": "a\0b"}), 5, "a"),
        (json!({"subnet": "10.0.0.0/24", "resolvConf": "/nonexistent"}), 5, "/nonexistent"),
        (json!({"subnet": "10.0.0.0/24", "resolvConf": "/"}), 5, "read /"),
    ] {
        let answer = node.ours(ipam.clone()).add();
        assert!(answer.document["code"] == code, "{ipam}: {answer:?}");
        answer.failed(code, message);
        assert!(!node.leases().exists(), "{ipam}");
    }
    let two = json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.1.0.0/24"}]]});
    let early = node.ours(two).with("cniVersion", "0.2.0".into());
    early.add().failed(7, "CNI version 0.2.0 does not support more than 1 address per family");
}

#[test]
fn whoever_asks_for_an_address_gets_it_or_an_error() {
    let node = Node::new();
    let cni = |ips: Value| json!({"cni": {"ips": ips}});
    let runtime = |ips: Value| json!({"ips": ips});
    assert_eq!(node.simple("a").args("IP=10.0.0.9").ip(), "10.0.0.9");
    assert_eq!(node.simple("b").args("IP=10.0.0.10/16;IgnoreUnknown=1;X=1").ip(), "10.0.0.10");
    assert_eq!(node.simple("c").with("args", cni(json!(["10.0.0.11"]))).ip(), "10.0.0.11");
    let same = runtime(json!(["10.0.0.12/24", "10.0.0.12"]));
    assert_eq!(node.simple("d").with("runtimeConfig", same).ip(), "10.0.0.12");
    // Round robin goes on after a requested one, as the reference's does.
    assert_eq!(node.simple("e").ip(), "10.0.0.13");
    let before = node.taken();
    let asked = |ips: Value| node.simple("f").with("runtimeConfig", runtime(ips)).add();
    let unavailable = "failed to allocate for range 0: requested IP address 10.0.0.9 is not \
                       available in range set 10.0.0.1-10.0.0.254";
    asked(json!(["10.0.0.9"])).failed(103, unavailable);
    asked(json!(["10.0.0.1"])).failed(103, "requested ip 10.0.0.1 is subnet's gateway");
    asked(json!(["10.7.0.1"])).failed(7, "failed to allocate all requested IPs: 10.7.0.1");
    asked(json!(["10.0.0.20", "10.0.0.21"])).failed(7, "all requested IPs: 10.0.0.21");
    asked(json!(["nonsense"])).failed(7, "invalid IP address nonsense");
    node.simple("f").args("X=1").add().failed(4, "X");
    node.simple("f").args("IP=").ip();
    node.simple("f").del();
    assert_eq!(node.taken(), before);
}

#[test]
fn an_attachment_has_one_address_of_a_set() {
    let node = Node::new();
    assert_eq!(node.simple("c1").ip(), "10.0.0.2");
    let message = "failed to allocate for range 0: 10.0.0.2 has been allocated to c1, duplicate \
                   allocation is not allowed";
    node.simple("c1").add().failed(101, message);
    node.simple("c1").args("IP=10.0.0.9").add().failed(101, "duplicate");
    node.simple("c1").stateless().add().failed(101, "duplicate");
    // A refused ADD takes nothing from the one who is connected.
    assert_eq!(node.taken(), ["10.0.0.2".into()].into());
    // Old releases of the reference noted no interface.
    fs::write(node.lease("10.0.0.7"), "old").unwrap();
    node.simple("old").add().failed(101, "10.0.0.7");
    node.simple("old").del();
    assert!(!node.lease("10.0.0.7").exists());
}

#[test]
fn a_set_that_has_no_address_left_says_which() {
    let node = Node::new();
    let small = |id: &str| node.ours(json!({"subnet": "10.0.0.0/29"})).id(id);
    let status = || small("").with("cniVersion", "1.1.0".into()).call("STATUS");
    status().done();
    for n in 2..7 {
        status().done();
        assert_eq!(small(&format!("c{n}")).ip(), format!("10.0.0.{n}"));
    }
    let message = "no IP addresses available in range set: 10.0.0.1-10.0.0.6";
    small("late").add().failed(11, &format!("failed to allocate for range 0: {message}"));
    status().failed(50, message);
    small("c4").del();
    status().done();
    assert_eq!(small("late").ip(), "10.0.0.4");
    small("c5").del();
    small("c2").del();
    // The turn goes on after the address that was given out last.
    assert_eq!((small("x").ip(), small("y").ip()), ("10.0.0.5".into(), "10.0.0.2".into()));
}

#[test]
fn sets_are_taken_from_together_or_not_at_all() {
    let node = Node::new();
    let both = |id: &str| {
        node.ours(json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/126"}]]}))
            .id(id)
    };
    assert_eq!(both("a").add().ips(), ["10.0.0.2/24", "fd00::2/126"]);
    assert_eq!(both("b").add().ips(), ["10.0.0.3/24", "fd00::3/126"]);
    let before = node.taken();
    both("c").add().failed(11, "failed to allocate for range 1");
    both("c").stateless().add().failed(11, "failed to allocate for range 1");
    assert_eq!(node.taken(), before);
    both("a").del();
    assert_eq!(node.taken(), ["10.0.0.3".into(), "fd00::3".into()].into());
    assert_eq!(both("c").add().ips(), ["10.0.0.6/24", "fd00::2/126"]);
}

#[test]
fn huge_ranges_cost_no_more() {
    for (ipam, expected) in [
        (json!({"subnet": "fd00::/8"}), "fd00::2"),
        (json!({"subnet": "::/0", "rangeStart": "2001:db8::ffff"}), "2001:db8::ffff"),
        (json!({"subnet": "0.0.0.0/0"}), "0.0.0.2"),
        (json!({"subnet": "fd00::/64", "rangeEnd": "fd00::5"}), "fd00::2"),
    ] {
        let node = Node::new();
        let plugin = node.ours(ipam.clone()).with("cniVersion", "1.1.0".into());
        assert_eq!(plugin.ip(), expected, "{ipam}");
        plugin.call("STATUS").done();
    }
}

#[test]
fn leases_are_shared_with_the_reference_in_both_directions() {
    let node = Node::new();
    assert_eq!(node.simple("a").ip(), "10.0.0.2");
    assert_eq!(node.simple("b").by_reference().ip(), "10.0.0.3");
    assert_eq!(node.simple("c").ip(), "10.0.0.4");
    // Each knows what the other gave out.
    node.simple("b").add().failed(101, "10.0.0.3 has been allocated to b");
    node.simple("a").by_reference().add().failed(999, "10.0.0.2 has been allocated to a");
    let check = |plugin: Plugin<'_>| plugin.call("CHECK");
    check(node.simple("b")).done();
    let prev_result = json!({"cniVersion": "1.0.0", "ips": []});
    check(node.simple("a").by_reference().with("prevResult", prev_result)).done();
    // Each gives back what the other gave out.
    node.simple("b").del();
    node.simple("a").by_reference().del();
    assert_eq!(node.taken(), ["10.0.0.4".into()].into());
    // And the turn is one.
    assert_eq!(node.simple("d").by_reference().ip(), "10.0.0.5");
    assert_eq!(node.simple("a").ip(), "10.0.0.6");
}

#[test]
fn ours_and_the_reference_in_parallel_never_give_one_address_twice() {
    let node = Node::new();
    let plugin = |n: usize| {
        let plugin = node.simple(&format!("c{n}"));
        if n.is_multiple_of(2) { plugin } else { plugin.by_reference() }
    };
    let each = |work: &(dyn Fn(usize) + Sync)| {
        thread::scope(|scope| {
            for lane in 0..10 {
                scope.spawn(move || (lane * 10..lane * 10 + 10).for_each(work));
            }
        });
    };
    each(&|n| assert_eq!(plugin(n).add().ips().len(), 1));
    assert_eq!(node.taken().len(), 100);
    let owners: BTreeSet<String> =
        node.taken().iter().map(|ip| fs::read_to_string(node.lease(ip)).unwrap()).collect();
    assert_eq!(owners.len(), 100);
    // Each releases what the other took.
    each(&|n| match n.is_multiple_of(2) {
        true => node.simple(&format!("c{n}")).by_reference().del(),
        false => node.simple(&format!("c{n}")).del(),
    });
    assert_eq!(node.taken().len(), 0);
}

#[test]
fn a_hundred_calls_at_once_each_get_an_address_of_their_own() {
    for stateless in [false, true] {
        let node = Node::new();
        let plugin = |n: usize| {
            let plugin = node.simple(&format!("c{n}"));
            if stateless { plugin.stateless() } else { plugin }
        };
        let started: Vec<Child> = (0..100).map(|n| plugin(n).start("ADD")).collect();
        let ips = started.into_iter().flat_map(|child| Answer::of(ended(child)).ips());
        assert_eq!(ips.collect::<BTreeSet<_>>().len(), 100);
        // Half leave while others come.
        let leave: Vec<Child> = (0..50).map(|n| plugin(n).start("DEL")).collect();
        let come: Vec<Child> = (100..150).map(|n| plugin(n).start("ADD")).collect();
        leave.into_iter().for_each(|child| Answer::of(ended(child)).done());
        come.into_iter().for_each(|child| assert_eq!(Answer::of(ended(child)).ips().len(), 1));
        assert_eq!(node.taken().len(), 100);
        (50..150).for_each(|n| plugin(n).del());
        assert_eq!(node.taken().len(), 0);
    }
}

#[test]
fn del_needs_nothing_but_the_folder() {
    let node = Node::new();
    node.simple("never").del();
    assert!(!node.leases().exists());
    for (n, ipam) in [
        json!({"ranges": [[{"subnet": "10.0.0.5/24"}]]}),
        json!({"ranges": "nonsense"}),
        json!({"subnet": "nonsense"}),
        json!({"routes": [{"dst": "x"}], "resolvConf": "/nonexistent"}),
        json!({}),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("c{n}");
        node.simple(&id).ip();
        node.ours(ipam).id(&id).args("UNKNOWN=1;;").with("runtimeConfig", json!(7)).del();
        assert_eq!(node.taken().len(), 0);
    }
    // A place where no folder can be holds no leases.
    node.ours(json!({"subnet": "10.0.0.0/24", "dataDir": "/dev/null/x"})).del();
}

#[test]
fn an_empty_lease_file_is_nobody_s() {
    for stateless in [false, true] {
        let node = Node::new();
        let plugin = |id: &str| {
            let plugin = node.ours(json!({"subnet": "10.0.0.0/29"})).id(id);
            if stateless { plugin.stateless() } else { plugin }
        };
        plugin("a").ip();
        for ip in ["10.0.0.3", "10.0.0.4"] {
            File::create(node.lease(ip)).unwrap();
        }
        fs::write(node.lease("10.0.0.5"), [0; 8]).unwrap();
        assert_eq!(plugin("b").ip(), "10.0.0.3");
        assert_eq!(fs::read_to_string(node.lease("10.0.0.3")).unwrap(), "b\r\neth0");
        for id in ["c", "d", "e"] {
            plugin(id).ip();
        }
        assert_eq!(node.taken().len(), 5);
        plugin("f").add().failed(11, "no IP addresses available");
    }
}

#[test]
fn a_call_that_is_killed_leaves_no_address_behind() {
    let node = Node::new();
    for n in 0..60 {
        let mut child = node.simple("c1").start("ADD");
        thread::sleep(Duration::from_micros(n * 100));
        child.kill().unwrap();
        child.wait().unwrap();
        // What a runtime does after an ADD that did not succeed.
        node.simple("c1").del();
        let left = node.taken();
        assert!(left.iter().all(|ip| fs::read(node.lease(ip)).unwrap().is_empty()), "{left:?}");
        node.simple("c2").ip();
        assert_eq!(node.taken().len(), 1);
        node.simple("c2").del();
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_no_file() {
    let node = Node::new();
    let disk = node.path("data");
    fs::create_dir(&disk).unwrap();
    let size = Some("size=64k,nr_inodes=64");
    mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), size).unwrap();
    node.simple("a").ip();
    let mut filler = File::create(disk.join("filler")).unwrap();
    while filler.write_all(&[1; 512]).is_ok() {}
    let before = node.taken();
    for plugin in
        [node.simple("b"), node.simple("b").stateless(), node.simple("b").args("IP=10.0.0.9")]
    {
        let answer = plugin.add();
        answer.failed(5, "ENOSPC");
        assert!(answer.document["details"].as_str().unwrap().contains("full"), "{answer:?}");
        assert_eq!(node.taken(), before);
    }
    // What is there can be given back, and with space there are addresses again.
    node.simple("a").del();
    fs::remove_file(disk.join("filler")).unwrap();
    node.simple("b").ip();
    // Neither are there any inodes.
    let mut many = (0..).map_while(|n| File::create(disk.join(format!("f{n}"))).ok());
    assert!(many.by_ref().count() > 0);
    let before = node.taken();
    node.simple("c").add().failed(5, "ENOSPC");
    assert_eq!(node.taken(), before);
    umount2(&disk, MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn unreadable_leases_are_an_error_and_never_a_duplicate() {
    for stateless in [false, true] {
        let node = Node::new();
        let plugin = |id: &str| {
            let plugin = node.simple(id).unprivileged();
            if stateless { plugin.stateless() } else { plugin }
        };
        plugin("a").ip();
        plugin("b").ip();
        // Nobody can read it, whatever his rights.
        symlink("10.0.0.9", node.lease("10.0.0.9")).unwrap();
        plugin("c").add().failed(5, "10.0.0.9");
        plugin("c").call("DEL").failed(5, "10.0.0.9");
        plugin("").with("cniVersion", "1.1.0".into()).call("STATUS").failed(50, "10.0.0.9");
        // Whose file can be read, knows what is his.
        plugin("b").call("CHECK").done();
        plugin("b").add().failed(101, "10.0.0.3");
        plugin("b").del();
        fs::remove_file(node.lease("10.0.0.9")).unwrap();
        let forbid = |mode| {
            fs::set_permissions(node.lease("10.0.0.2"), fs::Permissions::from_mode(mode)).unwrap();
        };
        forbid(0o000);
        // Tells that the folder has changed; a change of rights alone does not.
        File::create(node.lease("x")).unwrap();
        let answer = plugin("c").add();
        answer.failed(5, "10.0.0.2: Permission denied (EACCES)");
        assert!(answer.document["details"].as_str().unwrap().contains("as root"), "{answer:?}");
        forbid(0o600);
        plugin("c").ip();
        assert_eq!(node.taken().len(), 2);
    }
}

#[test]
fn what_is_no_file_is_never_given_out() {
    let node = Node::new();
    fs::create_dir_all(node.lease("10.0.0.2")).unwrap();
    nix::unistd::mkfifo(&node.lease("10.0.0.3"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(node.simple("a").ip(), "10.0.0.4");
    node.simple("b").args("IP=10.0.0.2").add().failed(103, "not available");
    node.simple("a").del();
    node.simple("b").del();
}

#[test]
fn a_missing_right_is_told_by_status_and_add() {
    let node = Node::new();
    node.simple("a").ip();
    let status =
        || node.simple("").unprivileged().with("cniVersion", "1.1.0".into()).call("STATUS");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&node.leases(), 0o555);
    status().failed(50, "EACCES");
    node.simple("b").unprivileged().add().failed(5, "EACCES");
    node.simple("a").unprivileged().call("DEL").failed(5, "remove");
    mode(&node.leases(), 0o755);
    status().done();
    node.simple("a").unprivileged().del();
    // Nor can a folder be made.
    fs::remove_dir_all(node.path("data")).unwrap();
    status().done();
    assert!(!node.path("data").exists());
    mode(node.folder.path(), 0o555);
    status().failed(50, "EACCES");
    mode(node.folder.path(), 0o755);
}

fn age(path: &Path, modified: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn leases_from_before_the_boot_are_taken_back_once() {
    let node = Node::new();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::create_dir_all(node.leases()).unwrap();
    for n in 2..7 {
        fs::write(node.lease(&format!("10.0.0.{n}")), format!("old{n}\r\neth0")).unwrap();
        age(&node.lease(&format!("10.0.0.{n}")), long_ago);
    }
    // Taken in this boot, by the reference.
    fs::write(node.lease("10.0.0.6"), "living\r\neth0").unwrap();
    let small = |id: &str| node.ours(json!({"subnet": "10.0.0.0/29"})).id(id);
    // Where no mark can be left nothing is taken back: nobody would know that it was done.
    small("a").stateless().add().failed(11, "no IP addresses available");
    small("a").with("cniVersion", "1.1.0".into()).call("STATUS").done();
    assert_eq!(node.taken(), ["10.0.0.6".into()].into());
    assert_eq!(small("a").ip(), "10.0.0.2");
    // A second time in one boot would be wrong: the clock may have been set since.
    age(&node.lease("10.0.0.2"), long_ago);
    File::create(node.lease("x")).unwrap();
    small("a").add().failed(101, "10.0.0.2");
    assert_eq!(small("b").ip(), "10.0.0.3");
    small("living").del();
    assert_eq!(node.taken(), ["10.0.0.2".into(), "10.0.0.3".into()].into());
    // After the next boot, the state folder is empty.
    fs::remove_dir_all(node.path("state")).unwrap();
    assert_eq!(small("c").ip(), "10.0.0.4");
    assert_eq!(node.taken(), ["10.0.0.3".into(), "10.0.0.4".into()].into());
}

#[test]
fn the_index_follows_whatever_is_done_to_the_files() {
    let node = Node::new();
    assert_eq!(node.simple("a").ip(), "10.0.0.2");
    // Given away by hand,
    fs::write(node.lease("10.0.0.2"), "b\r\neth0").unwrap();
    assert_eq!(node.simple("a").ip(), "10.0.0.3");
    node.simple("b").add().failed(101, "10.0.0.2");
    // removed by hand,
    fs::remove_file(node.lease("10.0.0.3")).unwrap();
    assert_eq!(node.simple("a").ip(), "10.0.0.4");
    // emptied, removed and made anew,
    fs::remove_dir_all(node.leases()).unwrap();
    assert_eq!(node.simple("a").ip(), "10.0.0.2");
    // and reached by another path.
    symlink(node.path("data"), node.path("link")).unwrap();
    let link = node.path("link");
    let other = node.ours(json!({"subnet": "10.0.0.0/24", "dataDir": link})).id("a");
    other.add().failed(101, "10.0.0.2");
    other.del();
    assert_eq!(node.simple("a").ip(), "10.0.0.3");
    // The index is lost, or damaged.
    fs::remove_dir_all(node.path("state")).unwrap();
    node.simple("a").add().failed(101, "10.0.0.3");
    let index =
        fs::read_dir(node.path("state/host-local")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(names(&index), ["a@eth0".into()].into());
    fs::remove_file(index.join("a@eth0")).unwrap();
    node.simple("a").add().failed(101, "10.0.0.3");
    fs::remove_file(index.join("a@eth0")).unwrap();
    symlink("nonsense", index.join("a@eth0")).unwrap();
    node.simple("a").add().failed(101, "10.0.0.3");
    fs::write(index.join("foreign"), "").unwrap();
    node.simple("a").del();
    assert_eq!((node.taken().len(), names(&index).len()), (0, 0));
}

#[test]
fn names_too_long_for_an_index_work_without_it() {
    let node = Node::new();
    let id = "x".repeat(300);
    assert_eq!(node.simple(&id).ip(), "10.0.0.2");
    node.simple(&id).add().failed(101, "10.0.0.2");
    assert_eq!(node.simple("a").ip(), "10.0.0.3");
    node.simple(&id).call("CHECK").done();
    node.simple(&id).del();
    assert_eq!(node.taken(), ["10.0.0.3".into()].into());
}

/// How many system calls a call makes.
fn system_calls(mut plugin: Plugin<'_>, verb: &str) -> usize {
    let strace = tools::find("strace").unwrap().to_str().unwrap().to_owned();
    let log = plugin.node.path("strace");
    let log_name = log.to_str().unwrap().to_owned();
    plugin.prefix = vec![strace, "-f".into(), "-o".into(), log_name, "--".into()];
    let answer = plugin.call(verb);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    fs::read_to_string(log).unwrap().lines().count()
}

#[test]
fn the_cost_of_a_call_does_not_grow_with_the_leases() {
    let costs = [10, 1000].map(|count| {
        let node = Node::new();
        let plugin = |id: &str| node.ours(json!({"subnet": "10.0.0.0/16"})).id(id);
        plugin("first").ip();
        node.fill(count);
        plugin("warm").ip();
        let indexed = ["ADD", "CHECK", "DEL"].map(|verb| system_calls(plugin("x"), verb));
        let scanned = ["ADD", "DEL"].map(|verb| system_calls(plugin("y").stateless(), verb));
        tell(&format!("{count} leases: {indexed:?} system calls, without the index {scanned:?}"));
        (indexed, scanned)
    });
    let [(few, few_scanned), (many, many_scanned)] = costs;
    for (few, many) in few.into_iter().zip(many) {
        assert!(many as f64 <= few as f64 * 1.1, "{costs:?}");
    }
    // What is measured does tell: without the index, every file is read.
    assert!(many_scanned[0] > few_scanned[0] + 1000, "{costs:?}");
}

#[test]
fn gc_frees_what_is_not_valid_and_nothing_else() {
    let node = Node::new();
    for id in ["a", "b", "c"] {
        node.simple(id).ip();
    }
    node.simple("d").by_reference().ip();
    for (ip, content) in [("10.0.0.50", "a"), ("10.0.0.51", "gone"), ("10.0.0.52", "b\r\neth1")] {
        fs::write(node.lease(ip), content).unwrap();
    }
    let other = node.simple("x").with("name", "other".into());
    other.ip();
    let gc = |key: &str, valid: Value| {
        node.simple("").with("cniVersion", "1.1.0".into()).with(key, valid).call("GC")
    };
    let valid = json!([{"containerID": "a", "ifname": "eth0"}, {"containerID": "d", "ifname": "eth0"},
        {"containerID": "b", "ifname": "eth1"}]);
    gc("cni.dev/valid-attachments", valid.clone()).done();
    let left = ["10.0.0.2", "10.0.0.5", "10.0.0.50", "10.0.0.52"];
    assert_eq!(node.taken(), left.map(String::from).into());
    assert!(node.lease("lock").exists() && node.lease("last_reserved_ip.0").exists());
    assert!(node.path("data/other/10.0.0.2").exists());
    // It goes on past what it cannot read, and says so.
    symlink("10.0.0.9", node.lease("10.0.0.9")).unwrap();
    gc("cni.dev/valid-attachments", json!([{"containerID": "a", "ifname": "eth0"}]))
        .failed(5, "10.0.0.9");
    let left = ["10.0.0.2", "10.0.0.50", "10.0.0.9"];
    assert_eq!(node.taken(), left.map(String::from).into());
    fs::remove_file(node.lease("10.0.0.9")).unwrap();
    gc("unrelated", Value::Null).done();
    assert_eq!(node.taken().len(), 0);
    gc("cni.dev/valid-attachments", json!("nonsense")).failed(6, "valid-attachments");
}

#[test]
fn check_compares_the_result_with_the_leases() {
    let node = Node::new();
    let check = |ips: Value| {
        let result = json!({"cniVersion": "1.0.0", "ips": ips});
        node.simple("a").with("prevResult", result).call("CHECK")
    };
    check(json!([])).failed(112, "host-local: Failed to find address added by container a");
    node.simple("a").ip();
    node.simple("b").ip();
    node.simple("a").call("CHECK").done();
    check(json!([{"address": "10.0.0.2/24"}, {"address": "192.0.2.1/24"}])).done();
    check(json!([{"address": "10.0.0.3/24"}])).failed(112, "10.0.0.3");
    node.simple("a").del();
    check(json!([{"address": "10.0.0.2/24"}])).failed(112, "host-local: Failed to find");
}

#[test]
fn static_tells_what_it_was_told() {
    let node = Node::new();
    let two = json!({
        "addresses": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}, {"address": "fd00::2/64"}],
        "routes": [{"dst": "::/0", "gw": "fd00::1"}],
        "dns": {"nameservers": ["192.0.2.53"], "domain": "example.com"},
    });
    let answer = node.plugin("static", two.clone()).add();
    assert_eq!(
        answer.document,
        json!({"cniVersion": "1.0.0",
            "ips": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}, {"address": "fd00::2/64"}],
            "routes": [{"dst": "::/0", "gw": "fd00::1"}],
            "dns": {"nameservers": ["192.0.2.53"], "domain": "example.com"}})
    );
    let told = |args: &str, by_operator: Value, by_runtime: Value| {
        node.plugin("static", two.clone())
            .args(args)
            .with("args", json!({"cni": {"ips": by_operator}}))
            .with("runtimeConfig", json!({"ips": by_runtime}))
            .add()
    };
    let none = || json!([]);
    let args = "IP=10.1.0.2/24, 10.2.0.2/24;GATEWAY=10.1.0.1,fd00::1;IgnoreUnknown=1;K8S=x";
    let answer = told(args, none(), none());
    assert_eq!(answer.ips(), ["10.0.0.2/24", "fd00::2/64", "10.1.0.2/24", "10.2.0.2/24"]);
    let gateways: Vec<&Value> = (0..4).map(|n| &answer.document["ips"][n]["gateway"]).collect();
    assert_eq!(gateways, [&json!("10.0.0.1"), &json!("fd00::1"), &json!("10.1.0.1"), &Value::Null]);
    assert_eq!(told(args, json!(["10.7.0.2/24"]), none()).ips(), ["10.7.0.2/24"]);
    let by_runtime = told(args, json!(["10.7.0.2/24"]), json!(["10.8.0.2/24", "fd08::2/64"]));
    assert_eq!(by_runtime.ips(), ["10.8.0.2/24", "fd08::2/64"]);
    assert!(node.plugin("static", json!({})).add().ips().is_empty());
    for verb in ["DEL", "STATUS", "GC"] {
        node.plugin("static", two.clone()).with("cniVersion", "1.1.0".into()).call(verb).done();
    }
}

#[test]
fn static_refuses_what_is_no_address() {
    let node = Node::new();
    let of = |address: &str| json!({"addresses": [{"address": address}]});
    for address in ["", "10.0.0.2", "10.0.0.2/33", "10.0.0.02/24", "x/24"] {
        let message =
            format!("the 'address' field is expected to be in CIDR notation, got: '{address}'");
        node.plugin("static", of(address)).add().failed(7, &message);
    }
    let good = || node.plugin("static", of("10.0.0.2/24"));
    good().args("IP=10.0.0.3").add().failed(7, "the 'ip' field is expected to be in CIDR notation");
    good().args("GATEWAY=x").add().failed(7, "invalid gateway address: x");
    good().args("MAC=x").add().failed(4, "MAC");
    good().with("runtimeConfig", json!({"ips": ["10.0.0.3"]})).add().failed(7, "'ips' field");
    good().with("runtimeConfig", json!({"ips": "10.0.0.3/24"})).add().failed(6, "ips");
    node.plugin("static", Value::Null).add().failed(7, "IPAM config missing 'ipam' key");
    node.plugin("static", json!({"addresses": 5})).add().failed(6, "addresses");
    let two = json!({"addresses": [{"address": "10.0.0.2/24"}, {"address": "10.0.1.2/24"}]});
    node.plugin("static", two).with("cniVersion", "0.2.0".into()).add().failed(7, "per family");
}

#[test]
fn static_checks_addresses_and_gateways() {
    let node = Node::new();
    let ipam = json!({"addresses": [{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}]});
    let check = |ips: Value| {
        let result = json!({"cniVersion": "1.0.0", "ips": ips});
        node.plugin("static", ipam.clone()).with("prevResult", result).call("CHECK")
    };
    check(json!([{"address": "10.0.0.2/24", "gateway": "10.0.0.1"}])).done();
    let message = "static: Failed to match addr 10.0.0.2 on interface eth0";
    check(json!([{"address": "10.0.0.2/24", "gateway": "10.0.0.9"}])).failed(112, message);
    check(json!([{"address": "10.0.0.3/24", "gateway": "10.0.0.1"}])).failed(112, message);
    node.plugin("static", ipam.clone()).call("CHECK").failed(7, "Required prevResult missing");
}
