//! Who may open connections to a container.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which other containers of this host may open connections to a container. Answers to what it
/// asked for itself, published ports and traffic from outside are not concerned.
///
/// On a bridge the policy is the bridge's: containers of different policies should not share one.
/// With `Isolated` its ports are kept from each other, and the host forwards nothing between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// All of them.
    #[default]
    Open,
    /// Those on the same bridge.
    SameBridge,
    /// None.
    Isolated,
}

impl FromStr for Isolation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "open" => Ok(Self::Open),
            "same-bridge" => Ok(Self::SameBridge),
            "isolated" => Ok(Self::Isolated),
            _ => Err(Error::invalid(format!("isolation {text:?} is unknown"))
                .hint("use open, same-bridge or isolated")),
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::SameBridge => "same-bridge",
            Self::Isolated => "isolated",
        })
    }
}
