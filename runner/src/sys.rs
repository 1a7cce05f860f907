//! Everything `unsafe`: system calls that no crate in use wraps, one file per kernel interface.
#![allow(unsafe_code, reason = "the one place for it; each block says why it is sound")]

pub mod btrfs;
pub mod clock;
pub mod clone;
pub mod link;
pub mod mount;
pub mod namespace;
pub mod ofd_lock;
pub mod parent_death;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod signal;
pub mod title;
