//! The words of the command line, as clap knows them. The comments are the help texts.

use std::iter;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Args, Command, Parser, Subcommand};
use netup::addr::{HostAddr, Prefix};
use netup::ident::{ContainerId, IfName, Mac};
use netup::request::{RouteRequest, Sysctl};
use netup::{Error, Isolation, Publish, Rate, Result, TargetName};

use super::help;
use super::selector_name;
use crate::cni::registry::{OWN_NAME, STANDARD_NAMES};

/// Connects any container to the network in about a millisecond, and leaves nothing behind
#[derive(Parser)]
#[command(
    name = "netup",
    version,
    // Not clap's whole help on stderr, but one line as for every other wrong call.
    arg_required_else_help = false,
    override_usage = help::USAGE,
    after_help = help::SEE_MORE,
    after_long_help = help::TOP,
    arg = color()
)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

/// `up` as a command line of its own. To build and parse with it takes half the time that the whole
/// tree of commands takes (about 50 µs less), and `up` is the call whose time counts.
pub fn up() -> Command {
    Up::augment_args(Command::new("up")).bin_name("netup up").arg(color())
}

#[derive(Subcommand)]
pub enum Verb {
    Up(Box<Up>),
    /// Disconnect a container
    Down(Down),
    /// List what is connected
    #[command(arg = json(), after_long_help = help::LS)]
    Ls,
    /// Show everything about one container's connection
    Show(Show),
    /// Compare the kernel with what should hold; exit 1 if something drifted
    Check(Check),
    /// Clear what ended containers and interrupted calls left behind
    #[command(arg = json())]
    Gc,
    /// Put the nftables rules back after someone flushed them
    Reload(Reload),
    /// Look for what keeps containers from the network, and name the remedy
    #[command(arg = json(), after_long_help = help::DOCTOR)]
    Doctor,
    /// Put this program under the names of CNI plugins, where container runtimes look for them
    InstallCni(InstallCni),
    /// Print a completion script
    #[command(after_long_help = help::COMPLETIONS)]
    Completions(Completions),
    /// Print the manual page, or write all of them into a folder
    Man(Man),
}

/// Connect a container (`netup TARGET ADDRESS…` is short for this)
#[derive(Args)]
#[command(arg = json(), after_long_help = help::UP)]
pub struct Up {
    /// The container: a PID, a path to a network namespace, a name under /run/netns, or fd:N
    pub target: TargetName,

    /// An address with its prefix length, such as 10.0.0.2/24 or fd00::2/64
    #[arg(value_name = "ADDRESS")]
    pub addresses: Vec<HostAddr>,

    /// Take a free address of this network (repeatable)
    #[arg(long = "subnet", value_name = "PREFIX", help_heading = ADDRESSING)]
    pub subnets: Vec<Prefix>,

    /// The gateway, one per network [default: the network's first address]
    #[arg(long = "gateway", value_name = "IP", value_parser = gateway, help_heading = ADDRESSING)]
    pub gateways: Vec<IpAddr>,

    /// Give the container no default route
    #[arg(long, help_heading = ADDRESSING)]
    pub no_default_route: bool,

    /// A further route in the container: DST[,via=IP][,metric=N] (repeatable)
    #[arg(long = "route", value_name = "ROUTE", help_heading = ADDRESSING)]
    pub routes: Vec<RouteRequest>,

    /// Let the container reach the outside under the host's address
    #[arg(long, help_heading = OUTSIDE)]
    pub nat: bool,

    /// Publish ports: [HOSTIP:]PORT[-END]:PORT[-END][/tcp|udp|sctp] (repeatable)
    #[arg(short, long, value_name = "PORTS", help_heading = OUTSIDE)]
    pub publish: Vec<Publish>,

    /// Put the container on this bridge, created if missing [default: routed, no bridge]
    #[arg(long, value_name = "NAME", help_heading = LINK)]
    pub bridge: Option<IfName>,

    /// The interface's name in the container
    #[arg(long, value_name = "NAME", default_value = "eth0", help_heading = LINK)]
    pub ifname: IfName,

    /// The host link's name [default: derived from the id and the interface's name]
    #[arg(long, value_name = "NAME", help_heading = LINK)]
    pub host_ifname: Option<IfName>,

    /// The interface's hardware address [default: derived as well]
    #[arg(long, value_name = "MAC", help_heading = LINK)]
    pub mac: Option<Mac>,

    /// The MTU [default: that of the bridge, or of the host's default route]
    #[arg(long, value_name = "BYTES", value_parser = mtu, help_heading = LINK)]
    pub mtu: Option<u32>,

    /// Limit what the container receives, such as 10mbit or 1gbit:2mbit
    #[arg(long, value_name = "RATE[:BURST]", help_heading = LIMITS)]
    pub bandwidth_in: Option<Rate>,

    /// Limit what the container sends
    #[arg(long, value_name = "RATE[:BURST]", help_heading = LIMITS)]
    pub bandwidth_out: Option<Rate>,

    /// Who else here may open connections to it: open, same-bridge or isolated [default: open]
    #[arg(long, value_name = "POLICY", hide_possible_values = true, help_heading = LIMITS)]
    pub isolation: Option<Isolation>,

    /// Set a kernel parameter in the container, such as net.ipv4.tcp_syncookies=1 (repeatable)
    #[arg(long = "sysctl", value_name = "KEY=VALUE", help_heading = LINK)]
    pub sysctls: Vec<Sysctl>,

    /// The name to remember the container by [default: its namespace's number]
    #[arg(long, value_name = "NAME")]
    pub id: Option<ContainerId>,

    /// Take down what the container has under the same interface name, if it differs
    #[arg(long)]
    pub replace: bool,

    /// Accept this command's own network namespace as the target
    #[arg(long)]
    pub allow_own_netns: bool,

    /// Print what would be done, as ip, nft and sysctl commands, and change nothing
    #[arg(long, conflicts_with = "quiet")]
    pub dry_run: bool,

    /// Print nothing on success
    #[arg(short, long, conflicts_with_all = ["verbose", "json"])]
    pub quiet: bool,

    /// Print each step as it is applied, on standard error
    #[arg(short, long)]
    pub verbose: bool,
}

const ADDRESSING: &str = "Addresses and routes";
const OUTSIDE: &str = "Reaching the outside";
const LINK: &str = "Link";
const LIMITS: &str = "Limits";

#[derive(Args)]
#[command(arg = json(), after_long_help = help::DOWN)]
pub struct Down {
    /// The container's id, or what `up` takes as a target
    #[arg(value_name = "TARGET|ID", value_parser = selector_name)]
    pub name: String,

    /// Only this interface of the container [default: all of them]
    #[arg(long, value_name = "NAME")]
    pub ifname: Option<IfName>,

    /// Print nothing on success
    #[arg(short, long, conflicts_with_all = ["verbose", "json"])]
    pub quiet: bool,

    /// Print what is taken down, on standard error
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Args)]
#[command(arg = json())]
pub struct Show {
    /// The container's id, or what `up` takes as a target
    #[arg(value_name = "TARGET|ID", value_parser = selector_name)]
    pub name: String,

    /// Only this interface of the container [default: all of them]
    #[arg(long, value_name = "NAME")]
    pub ifname: Option<IfName>,
}

#[derive(Args)]
#[command(arg = json(), after_long_help = help::CHECK)]
pub struct Check {
    /// The container's id, or what `up` takes as a target [default: every container]
    #[arg(value_name = "TARGET|ID", value_parser = selector_name)]
    pub name: Option<String>,

    /// Put back what drifted
    #[arg(long)]
    pub repair: bool,
}

#[derive(Args)]
#[command(arg = json(), after_long_help = help::RELOAD)]
pub struct Reload {
    /// Take the rules away instead; refused while anything is connected
    #[arg(long)]
    pub remove: bool,
}

#[derive(Args)]
#[command(arg = json(), after_long_help = help::INSTALL_CNI)]
pub struct InstallCni {
    /// The folder where runtimes look
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub dir: PathBuf,

    /// Only these plugins, separated by commas [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = plugins())]
    pub names: Vec<String>,

    /// Move files of others that are in the way into DIR/.netup-replaced
    #[arg(long)]
    pub replace: bool,

    /// Take them away again, and put back what was moved
    #[arg(long, conflicts_with = "replace")]
    pub uninstall: bool,
}

fn plugins() -> PossibleValuesParser {
    PossibleValuesParser::new(iter::once(OWN_NAME).chain(STANDARD_NAMES))
}

#[derive(Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[derive(Args)]
pub struct Man {
    /// Where to write netup.1 and one page per command
    pub dir: Option<PathBuf>,
}

// `--color` and `--json` are read before clap by `manner`, since a refusal by clap follows them
// too. Here they are only declared, so that no field holds a value that nobody reads.

fn color() -> Arg {
    Arg::new("color")
        .long("color")
        .value_name("WHEN")
        .value_parser(PossibleValuesParser::new(["auto", "always", "never"]))
        .hide_possible_values(true)
        .global(true)
        // Behind the options that people look for.
        .display_order(100)
        .help("auto, always or never [default: auto, on a terminal unless NO_COLOR is set]")
}

fn json() -> Arg {
    Arg::new("json")
        .long("json")
        .action(clap::ArgAction::SetTrue)
        .display_order(99)
        .help("Print one JSON document, and errors as JSON on standard error")
}

fn gateway(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|error| {
        Error::invalid(format!("gateway {text:?} is not an IP address ({error})"))
            .hint("write it as 10.0.0.1 or fd00::1")
    })
}

fn mtu(text: &str) -> Result<u32> {
    text.parse().map_err(|error| {
        Error::invalid(format!("MTU {text:?} is not a size ({error})"))
            .hint("give it in bytes, such as 1500")
    })
}
