//! The programs of iptables: one call reads a table, one changes it in a transaction.

use std::path::PathBuf;

use crate::addr::Family;
use crate::error::{Error, ErrorKind, Result};
use crate::iptables::{Saved, missing_tool};
use crate::program;

/// How often a table is looked at anew that others changed meanwhile.
const ATTEMPTS: usize = 10;

/// The pair of programs of one family and kind.
#[derive(Debug)]
pub struct Tool {
    save: PathBuf,
    restore: PathBuf,
}

impl Tool {
    /// Those that the system uses, whatever its kind: rules of the other would be beside the point,
    /// as it is with this one that the host's own are made.
    pub fn of_system(family: Family) -> Result<Self> {
        let names: [[&str; 3]; 2] = match family {
            Family::V4 => [
                ["iptables-save", "iptables-nft-save", "iptables-legacy-save"],
                ["iptables-restore", "iptables-nft-restore", "iptables-legacy-restore"],
            ],
            Family::V6 => [
                ["ip6tables-save", "ip6tables-nft-save", "ip6tables-legacy-save"],
                ["ip6tables-restore", "ip6tables-nft-restore", "ip6tables-legacy-restore"],
            ],
        };
        let [save, restore] =
            names.map(|names| program::find(&names).ok_or_else(|| missing_tool(&names)));
        Ok(Self { save: save?, restore: restore? })
    }

    /// Those of legacy iptables, if they are installed. Before 1.8 they bore no other name.
    pub fn legacy(family: Family) -> Option<Self> {
        let names = match family {
            Family::V4 => [
                ["iptables-legacy-save", "iptables-save"],
                ["iptables-legacy-restore", "iptables-restore"],
            ],
            Family::V6 => [
                ["ip6tables-legacy-save", "ip6tables-save"],
                ["ip6tables-legacy-restore", "ip6tables-restore"],
            ],
        };
        let [save, restore] = names.map(|names| program::find(&names));
        Some(Self { save: save?, restore: restore? })
    }

    /// A table as it is.
    pub fn save(&self, table: &str) -> Result<Saved> {
        let ended = program::run(&self.save, &["-t", table], "")?;
        match ended.code {
            Some(0) => Ok(Saved(ended.stdout)),
            _ => Err(refused(&self.save, ended.complaint())),
        }
    }

    /// Changes a table by what `commands` makes of its state: one transaction, or nothing if there
    /// are none. A refusal may mean that somebody else was faster, so the state is looked at anew
    /// as long as it changes.
    pub fn edit(&self, table: &str, commands: impl Fn(&Saved) -> Vec<String>) -> Result<()> {
        let mut refusal = None;
        let mut before = Vec::new();
        for _ in 0..ATTEMPTS {
            let wanted = commands(&self.save(table)?);
            if wanted.is_empty() {
                return Ok(());
            }
            if let Some(refusal) = refusal.take_if(|_| wanted == before) {
                return Err(refusal);
            }
            match self.restore(table, &wanted) {
                Ok(()) => return Ok(()),
                Err(e) => refusal = Some(e),
            }
            before = wanted;
        }
        Err(refusal.unwrap_or_else(|| refused(&self.restore, "others keep changing the rules")))
    }

    /// Not by declaring chains: that would empty those that are there.
    fn restore(&self, table: &str, commands: &[String]) -> Result<()> {
        let input = format!("*{table}\n{}\nCOMMIT\n", commands.join("\n"));
        let ended = program::run(&self.restore, &["--wait", "--noflush"], &input)?;
        match ended.code {
            Some(0) => Ok(()),
            _ => Err(refused(&self.restore, ended.complaint())),
        }
    }
}

fn refused(program: &std::path::Path, complaint: &str) -> Error {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let error = Error::new(ErrorKind::Kernel, format!("{name} failed: {complaint}"));
    if complaint.contains("Permission denied") || complaint.contains("not permitted") {
        return error.with_kind(ErrorKind::NotPermitted).hint("run as root, or with CAP_NET_ADMIN");
    }
    error
}
