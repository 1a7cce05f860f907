//! The static programs that build.rs made.

use std::path::Path;

/// Tells from inside what a container is like; `netns-fixtures/probe/main.rs` lists its commands.
pub fn probe() -> &'static Path {
    Path::new(env!("LABORATORY_PROBE"))
}

/// Does nothing, as fast as a program can.
pub fn nothing() -> &'static Path {
    Path::new(env!("LABORATORY_NOTHING"))
}
