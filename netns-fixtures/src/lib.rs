//! A test laboratory of real network namespaces.
//!
//! A test file calls [`isolate!`] once. Its process then lives in namespaces of its own before any
//! thread exists, so tests need no root, see a kernel nobody else touches, and leave nothing on the host.
//! In there a [`Lab`] makes hosts, containers and the wires between them, [`probe`] sends packets that
//! really cross, and a [`Dump`] tells whether two moments look the same to the kernel.
//!
//! ```no_run
//! use netns_fixtures::{Lab, isolate, probe};
//!
//! isolate!();
//!
//! #[test]
//! fn a_wire_carries_packets() -> std::io::Result<()> {
//!     let lab = Lab::new();
//!     let (left, right) = (lab.host("left")?, lab.host("right")?);
//!     lab.wire(&left, "eth0", &["192.0.2.1/24"], &right, "eth0", &["192.0.2.2/24"])?;
//!     probe::ping(&left, "192.0.2.2".parse().unwrap())?;
//!     Ok(())
//! }
//! ```
//!
//! Deliberately absent: netup's own netlink code. The laboratory drives iproute2 and nft, so that a
//! mistake in netup cannot hide itself in the test that should find it.

#![deny(unsafe_code, missing_docs)]

pub mod cell;
pub mod cni;
pub mod dump;
pub mod enter;
pub mod fault;
pub mod lab;
pub mod node;
pub mod probe;
pub mod program;
pub mod runner;
pub mod tools;
pub mod vm;

mod blame;
mod kernel;
mod wire;

pub use cell::Cell;
pub use dump::{Dump, assert_same};
pub use fault::{FailAfter, Injected};
pub use lab::{Container, Lab};
pub use node::Node;

/// For the expansion of [`isolate!`]; not an interface.
#[doc(hidden)]
pub use ctor;
