//! The boundary to the kernel: the only module where `unsafe` is allowed.
//!
//! Each file knows one interface of the kernel and speaks in this crate's types; none of them
//! decides anything.
#![expect(unsafe_code, reason = "system calls that no safe wrapper offers")]

pub mod address;
mod answer;
mod bare_call;
pub mod conntrack;
pub mod link;
pub mod netns;
pub mod nfnetlink;
pub mod nft_chain;
pub mod nftables;
pub mod qdisc;
pub mod reclaim;
pub mod route;
pub mod rtnl;
pub mod sockets;
pub mod sysctl;
pub mod vlan;
