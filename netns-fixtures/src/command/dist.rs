//! `cargo dist`: the static release binary in dist/netup.

use super::{build, elf};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Static, and at a fixed address: a program that lives for two milliseconds spends a twentieth of
/// them on relocating itself and on the pages that this touches.
const STATIC: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// Builds, verifies, and only then puts the binary in its place.
pub fn run() -> io::Result<ExitCode> {
    // Naming the target keeps the flags away from build scripts and procedural macros, which
    // cannot be static.
    let triple = build::host_triple()?;
    let arguments = ["--locked", "--target", &triple];
    let built = build::netup(&arguments, Some(STATIC))?;
    let binary = fs::read(&built)?;
    if !elf::is_static(&binary)? {
        return Err(io::Error::other(format!(
            "{} is not static: it names a dynamic loader",
            built.display()
        )));
    }
    let place = publish(&built)?;
    println!(
        "{}: static, {:.1} MiB, {triple}",
        place.display(),
        binary.len() as f64 / f64::from(1 << 20)
    );
    Ok(ExitCode::SUCCESS)
}

/// Whoever runs the old binary meanwhile keeps it: the new one takes its name by a rename.
fn publish(built: &Path) -> io::Result<PathBuf> {
    let folder = build::workspace()?.join("dist");
    fs::create_dir_all(&folder)?;
    let (temporary, place) = (folder.join(".netup.new"), folder.join("netup"));
    fs::copy(built, &temporary)?;
    fs::rename(&temporary, &place)?;
    Ok(place)
}
