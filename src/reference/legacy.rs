//! Legacy iptables, which keeps its rules outside of nf_tables.

use std::fs;

use crate::addr::Family;
use crate::error::Result;
use crate::iptables::{Saved, Tool};

/// Whether legacy iptables has this table in the calling thread's namespace. Asked first, since the
/// program makes the table by merely looking at it.
pub fn is_in_use(family: Family, table: &str) -> bool {
    let names = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    // It is missing where the kernel has no legacy iptables.
    fs::read_to_string(names).is_ok_and(|names| names.lines().any(|name| name == table))
}

/// Changes a table, if it is in use: one transaction of what `commands` makes of its rules.
pub fn edit(family: Family, table: &str, commands: impl Fn(&Saved) -> Vec<String>) -> Result<()> {
    if !is_in_use(family, table) {
        return Ok(());
    }
    // The table is there as soon as anybody looked at it with such a program. Where none is
    // installed, none can have made rules lately, and nothing tells whether there are any.
    match Tool::legacy(family) {
        Some(tool) => tool.edit(table, commands),
        None => Ok(()),
    }
}
