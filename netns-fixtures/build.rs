//! Builds what the laboratory puts into containers. These programs have to be static, also where
//! cargo links everything else dynamically, since a container may have no libraries.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const PROGRAMS: [(&str, &str); 2] = [("probe", "probe/main.rs"), ("nothing", "probe/nothing.rs")];
/// At a fixed address and without symbols: they are started thousands of times.
const FLAGS: [&str; 6] = [
    "-Copt-level=s",
    "-Cpanic=abort",
    "-Cstrip=symbols",
    "-Ctarget-feature=+crt-static",
    "-Crelocation-model=static",
    "--edition=2024",
];

fn main() {
    println!("cargo::rerun-if-changed=probe");
    for (name, source) in PROGRAMS {
        let program = folder("OUT_DIR").join(name);
        build(&folder("CARGO_MANIFEST_DIR").join(source), &program);
        println!("cargo::rustc-env=LABORATORY_{}={}", name.to_uppercase(), program.display());
    }
}

fn build(source: &Path, program: &Path) {
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--crate-type=bin", "--target", &variable("TARGET")]).args(FLAGS);
    let status = rustc.arg("-o").arg(program).arg(source).status();
    let built = status.as_ref().is_ok_and(|status| status.success());
    assert!(built, "{}: {status:?}; the static C library is in libc6-dev", source.display());
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(variable(name))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}
