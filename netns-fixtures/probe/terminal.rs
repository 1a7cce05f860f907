//! The terminal, if there is one.

use crate::{Told, kernel};
use std::fs;

const TIOCGWINSZ: u64 = 0x5413;

/// For each standard descriptor: `FD PATH ROWSxCOLUMNS foreground GROUP`, or `FD none`; then whether
/// there is a controlling terminal.
pub fn tty() -> Told {
    for fd in 0..3 {
        let Some(foreground) = kernel::terminal(fd) else {
            println!("{fd} none");
            continue;
        };
        let mut size = [0_u16; 4];
        kernel::control(fd, TIOCGWINSZ, &mut size).map_err(|e| format!("window size: {e}"))?;
        let path = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        println!("{fd} {} {}x{} foreground {foreground}", path.display(), size[0], size[1]);
    }
    let controlling = fs::OpenOptions::new().read(true).write(true).open("/dev/tty");
    println!("controlling {}", crate::outcome(&controlling));
    Ok(())
}
