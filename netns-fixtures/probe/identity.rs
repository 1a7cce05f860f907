//! Who the process is, and what it was given.

use crate::{Told, kernel};
use std::{env, ffi::OsString, fs};

/// `args WORD…`: each on a line of its own, as it came.
pub fn args(words: &[OsString]) -> Told {
    words.iter().for_each(|word| println!("{word:?}"));
    Ok(())
}

/// The working directory, as the kernel names it.
pub fn cwd() -> Told {
    match env::current_dir() {
        Ok(path) => println!("{}", path.display()),
        Err(error) => println!("errno {}", error.raw_os_error().unwrap_or_default()),
    }
    Ok(())
}

/// The environment in its order.
pub fn env() -> Told {
    env::vars_os().for_each(|(key, value)| println!("{}={}", key.display(), value.display()));
    Ok(())
}

/// Process numbers, users and groups, capabilities, filters.
pub fn ids() -> Told {
    let place = kernel::place();
    println!(
        "pid {}\nppid {}\npgrp {}\nsid {}",
        place.pid, place.parent, place.group, place.session
    );
    let status = fs::read_to_string("/proc/self/status").map_err(|e| format!("status: {e}"))?;
    for line in status.lines() {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        println!("{key} {}", value.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Ok(())
}
