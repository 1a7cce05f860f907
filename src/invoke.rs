//! The doors: each decodes what its caller sends into an [`Invocation`]. Decoding only: nothing
//! here touches the kernel, so a wrong argument is refused before anything is opened.

pub mod cli;

use std::path::PathBuf;

use netup::ident::{ContainerId, IfName};
use netup::{Network, Selector, TargetName};

use crate::install::Order;

/// What a caller asks for, with every value parsed.
pub enum Invocation {
    /// Connect a container.
    Up(Box<Up>),
    /// Disconnect one.
    Down { selector: Selector, volume: Volume },
    /// List every attachment.
    List,
    /// Show the attachments of one container.
    Show(Selector),
    /// Compare the kernel with what should hold.
    Check { selector: Option<Selector>, repair: bool },
    /// Clear what ended containers left.
    CollectGarbage,
    /// Put the rules back.
    Reload,
    /// Take the rules away.
    RemoveRuleset,
    /// Look at the host.
    Doctor,
    /// Put the binary under the names of CNI plugins.
    Install(Order),
    /// Take it away from there.
    Uninstall(Order),
    /// Show text that needs no kernel: help, version, a completion script, a manual page.
    Page(Page),
    /// Write every manual page into this folder.
    WriteManual(PathBuf),
}

/// A container to connect. The target is a name still; whoever runs this opens it.
pub struct Up {
    pub target: TargetName,
    pub allow_own_netns: bool,
    pub id: Option<ContainerId>,
    pub ifname: IfName,
    pub network: Network,
    pub replace: bool,
    pub dry_run: bool,
    pub volume: Volume,
}

/// How much is said when all goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volume {
    /// Nothing.
    Quiet,
    /// What now holds.
    Normal,
    /// Also each step.
    Verbose,
}

/// Text, with and without terminal colours.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub plain: String,
    pub coloured: String,
}

impl Page {
    /// Text that has no colours.
    pub fn plain(text: String) -> Self {
        Self { coloured: text.clone(), plain: text }
    }
}

/// In which form the reply goes out. It is known even when the rest makes no sense, since a refusal
/// goes out in that form too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    pub form: Form,
    pub color: Color,
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Text,
    Json,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    Always,
    Never,
}
