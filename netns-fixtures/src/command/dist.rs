//! `cargo dist`: the static release binaries in dist/.

use super::{build, elf};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Static, and at a fixed address: a program that lives for two milliseconds spends a twentieth of
/// them on relocating itself and on the pages that this touches.
const STATIC: &str = "-C target-feature=+crt-static -C relocation-model=static";

pub const NETUP: &str = "netup";
pub const NETUP_RUN: &str = "netup-run";

/// All of them.
pub fn run() -> io::Result<ExitCode> {
    for name in [NETUP, NETUP_RUN] {
        one(name)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds, verifies, and only then puts the binary in its place, which it returns.
pub fn one(name: &str) -> io::Result<PathBuf> {
    // Naming the target keeps the flags away from build scripts and procedural macros, which
    // cannot be static.
    let triple = build::host_triple()?;
    let arguments = ["--locked", "--target", &triple];
    let built = build::program(name, &arguments, Some(STATIC))?;
    let binary = fs::read(&built)?;
    if !elf::is_static(&binary)? {
        return Err(io::Error::other(format!(
            "{} is not static: it names a dynamic loader",
            built.display()
        )));
    }
    let place = publish(&built, name)?;
    println!(
        "{}: static, {:.1} MiB, {triple}",
        place.display(),
        binary.len() as f64 / f64::from(1 << 20)
    );
    Ok(place)
}

/// Whoever runs the old binary meanwhile keeps it: the new one takes its name by a rename.
fn publish(built: &Path, name: &str) -> io::Result<PathBuf> {
    let folder = build::workspace()?.join("dist");
    fs::create_dir_all(&folder)?;
    let (temporary, place) = (folder.join(format!(".{name}.new")), folder.join(name));
    fs::copy(built, &temporary)?;
    fs::rename(&temporary, &place)?;
    Ok(place)
}
