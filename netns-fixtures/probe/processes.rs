//! Processes: ending, waiting, having children, using up what there is.

use crate::{Told, kernel, number, outcome, word};
use std::{
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt,
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

/// `exit N`.
pub fn exit(words: &[OsString]) -> Told {
    process::exit(number(words)?)
}

/// `signal N`: to itself.
pub fn signal(words: &[OsString]) -> Told {
    println!("{}", outcome(&kernel::send(kernel::place().pid, number(words)?)));
    Ok(())
}

/// `signals UNTIL`: prints `ready`, then each signal that comes, and goes on after `UNTIL`.
pub fn signals(words: &[OsString]) -> Told {
    let until: i32 = number(words)?;
    kernel::block_signals();
    println!("ready");
    loop {
        let signal = kernel::next_signal();
        println!("signal {signal}");
        if signal == until {
            return Ok(());
        }
    }
}

/// `sleep SECONDS`, with fractions.
pub fn sleep(words: &[OsString]) -> Told {
    thread::sleep(Duration::from_secs_f64(number(words)?));
    Ok(())
}

/// `exec PROGRAM WORD…`: this process becomes it.
pub fn exec(words: &[OsString]) -> Told {
    let refused = Command::new(word(words)?).args(&words[1..]).exec();
    println!("{}", outcome(&io::Result::<()>::Err(refused)));
    Ok(())
}

/// `fork N SECONDS`: so many children that sleep, as far as they are allowed; prints how many.
pub fn fork(words: &[OsString]) -> Told {
    let count: u32 = number(words)?;
    let patience = Duration::from_secs_f64(number(words.get(1..).unwrap_or_default())?);
    for made in 0..count {
        match kernel::split() {
            Ok(Some(_)) => {}
            Ok(None) => {
                thread::sleep(patience);
                process::exit(0);
            }
            refused => {
                println!("forked {made} {}", outcome(&refused));
                return Ok(());
            }
        }
    }
    println!("forked {count} ok");
    Ok(())
}

/// `orphan SECONDS`: a grandchild that outlives its parent so long; prints its number.
pub fn orphan(words: &[OsString]) -> Told {
    let patience = Duration::from_secs_f64(number(words)?);
    if let Some(child) = kernel::split().map_err(|e| e.to_string())? {
        kernel::reap(child);
        return Ok(());
    }
    match kernel::split() {
        Ok(None) => thread::sleep(patience),
        Ok(Some(grandchild)) => println!("orphan {grandchild}"),
        refused => println!("{}", outcome(&refused)),
    }
    process::exit(0)
}

/// `zombies N`: so many children that end at once and are not waited for.
pub fn zombies(words: &[OsString]) -> Told {
    for _ in 0..number::<u32>(words)? {
        if kernel::split().map_err(|e| e.to_string())?.is_none() {
            process::exit(0);
        }
    }
    thread::sleep(Duration::from_millis(50));
    Ok(())
}

/// All processes that are seen: `PID PPID STATE NAME`.
pub fn ps() -> Told {
    let folder = fs::read_dir("/proc").map_err(|e| format!("/proc: {e}"))?;
    let names = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut pids: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        // It may have ended meanwhile.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name);
        let mut fields = tail.split(' ');
        let (state, parent) = (fields.next().unwrap_or("?"), fields.next().unwrap_or("?"));
        println!("{pid} {parent} {state} {name}");
    }
    Ok(())
}

/// `count SECONDS`: uses a processor for so long by the clock; prints how far it came.
pub fn count(words: &[OsString]) -> Told {
    let (patience, started) = (Duration::from_secs_f64(number(words)?), Instant::now());
    let mut rounds: u64 = 0;
    while started.elapsed() < patience {
        rounds += 1;
    }
    println!("counted {rounds}");
    Ok(())
}

/// `memory MIB`: touches each page of so much; prints it when all of it was to be had.
pub fn memory(words: &[OsString]) -> Told {
    let mebibytes: usize = number(words)?;
    let mut pages = vec![0_u8; mebibytes << 20];
    pages.iter_mut().step_by(4096).for_each(|page| *page = 1);
    println!("touched {}", std::hint::black_box(&pages).len() >> 20);
    Ok(())
}
