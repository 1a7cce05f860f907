//! Names that people give: of containers and of images. Parsed once, safe as a file name ever after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// As long as a host name may be, since it becomes one.
const LONGEST: usize = 63;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                check($what, text).map(|()| Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name! {
    /// The name of a running container; its files, its cgroup and its attachments are called by it.
    ContainerName, "container name"
}
name! {
    /// The name of an image in the store.
    ImageName, "image name"
}

fn check(what: &str, text: &str) -> Result<()> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let well_begun = text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if well_begun && text.len() <= LONGEST && text.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} {text:?} is not possible")).hint(format!(
        "use 1 to {LONGEST} letters, digits, '.', '_' and '-', and begin with a letter or digit"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_safe_file_name() {
        for good in ["a", "web-1", "debian_12.5", "0"] {
            assert_eq!(good.parse::<ContainerName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(64);
        for bad in ["", ".", "..", "-a", "a/b", "a b", "a\0", "ä", long.as_str()] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        }
    }
}
