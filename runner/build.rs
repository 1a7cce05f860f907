//! Tells the linker where the program begins, see `src/sys/entry.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if architecture == "x86_64" {
        println!("cargo::rustc-link-arg-bin=netup-run=-Wl,--entry=netup_run_entry");
    }
}
