//! A static program that does nothing, which is what start-up is timed with.
//!
//! Without Rust's runtime it is as small as one in C, so that it hides least of what a runner costs.

#![no_main]
#![allow(unsafe_code, reason = "the name by which it is started has to be exported")]

// SAFETY: no other `main` is linked, since the crate has none of Rust's own.
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    0
}
