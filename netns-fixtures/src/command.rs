//! The commands, and what they share.

pub mod demo;
pub mod dist;
pub mod shell;

mod build;
mod elf;
mod screen;
