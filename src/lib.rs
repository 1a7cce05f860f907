//! Connects any container to the network in about a millisecond, whoever made the container, and
//! leaves nothing behind.
//!
//! Given a network namespace, [`attach`] makes a veth pair with one end in it, assigns addresses,
//! sets links up, and adds routes, NAT and published ports. It comes about whole or not at all.
//! [`detach`] takes all of it away. Both cost the same however many containers there are.
//!
//! ```no_run
//! use netup::{Network, Request, Selector, Target};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! runtime.block_on(async {
//!     let network = Network::new()
//!         .address("10.0.0.2/24".parse()?)
//!         .address("fd00::2/64".parse()?)
//!         .nat(true)
//!         .publish("8080:80".parse()?);
//!     let request = Request::new(Target::open("4711")?, network)?;
//!     let outcome = netup::attach(&request).await?;
//!     println!("{} in {:?}", outcome.attachment.host_ifname, outcome.elapsed);
//!
//!     netup::detach(&Selector { name: "4711".into(), ifname: None }).await?;
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Everything happens in the calling thread's network namespace, the host's side; it needs
//! `CAP_NET_ADMIN` and `CAP_SYS_ADMIN` there and over the container's. What must be remembered
//! between calls is in small files below `/run/netup`.
//!
//! The futures need no particular executor. The kernel answers within the system call, so they
//! are done within a millisecond or so without ever giving way; in a busy async program run them
//! on a thread for blocking work.
//!
//! The way through the code: [`Request`] → observe → [`plan`] → apply → verify → [`Outcome`];
//! `ARCHITECTURE.md` beside this file is the map.
#![deny(unsafe_code)]
#![deny(rustdoc::broken_intra_doc_links)]

pub mod addr;
mod apply;
mod attach;
mod bandwidth;
mod bridging;
mod check;
mod detach;
mod doctor;
mod error;
mod extend;
mod extension;
pub mod firewalld;
mod gc;
mod host;
pub mod ident;
pub mod iptables;
mod isolation;
mod kernel;
mod list;
mod look;
mod loopback;
mod nft;
mod observe;
mod outcome;
pub mod plan;
mod program;
mod publish;
pub mod reference;
mod reload;
pub mod request;
mod reserve;
pub mod ruleset;
mod shared_bridge;
mod state;
mod target;
mod unrecorded;
mod verify;

pub use attach::{Progress, Watch, attach, attach_watched, dry_run};
pub use bandwidth::{Bandwidth, Rate};
pub use bridging::{Bridging, VlanRange};
pub use check::{check, check_member, is_attached};
pub use detach::{Selector, detach, detach_member, detach_member_of, detach_members};
pub use doctor::{doctor, may_attach};
pub use error::{Error, ErrorKind, Result};
pub use extend::{drift_of_extension, extend, retract, retract_members};
pub use extension::{
    Admission, Backend, Extension, ExtensionId, Limit, Part, PartKind, Publishing, Tuning,
};
pub use gc::collect_garbage;
pub use isolation::Isolation;
pub use list::{list, show};
pub use look::{
    Interface, KnownRoute, host_end, host_interface, interface, remove_interface, routes,
    set_attributes,
};
pub use loopback::{Loopback, loopback, set_loopback};
pub use outcome::{
    Attachment, Change, Checked, Collected, Detached, Finding, Health, Outcome, Reloaded, State,
    Status,
};
pub use publish::{PortRange, Protocol, Publish};
pub use reload::{reload, remove_ruleset};
pub use request::{Network, Request, Topology};
pub use reserve::leases_available;
pub use state::state_folder;
pub use target::{Target, TargetName};
