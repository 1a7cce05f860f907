//! Versions of the CNI specification.

use std::fmt;

use crate::cni::verb::Verb;

/// Versions that can be read and answered, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest, in which a plugin answers before it knows what the caller speaks.
    pub const NEWEST: Self = Self::V1_1_0;

    /// The version of this text. Configurations from before there were versions have none, which
    /// is the first.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::V0_1_0),
            _ => Self::ALL.into_iter().find(|version| version.as_str() == text),
        }
    }

    /// The text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The versions that a plugin type speaks. Chained types need a `prevResult` of a shape that
    /// the first versions lack.
    pub fn spoken_by(plugin: &str) -> impl Iterator<Item = Self> + Clone {
        let first = match plugin {
            "bandwidth" => Self::V0_3_0,
            "firewall" => Self::V0_4_0,
            _ => Self::V0_1_0,
        };
        Self::ALL.into_iter().filter(move |version| *version >= first)
    }

    /// As [`Version::spoken_by`], as text: `0.1.0, 0.2.0`.
    pub fn list(plugin: &str) -> String {
        Self::spoken_by(plugin).map(Self::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Whether a configuration of this version may be used for the verb.
    pub fn allows(self, verb: Verb) -> bool {
        match verb {
            Verb::Add | Verb::Del | Verb::Version => true,
            Verb::Check => self >= Self::V0_4_0,
            Verb::Status | Verb::Gc => self >= Self::V1_1_0,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()), Some(version));
        }
        assert_eq!(Version::parse(""), Some(Version::V0_1_0));
        for unknown in ["0.3.2", "1.2.0", "1.1", "v1.1.0", " 1.1.0", "1.1.0-rc1"] {
            assert_eq!(Version::parse(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn what_each_type_speaks() {
        assert_eq!(Version::list("bridge"), "0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0");
        assert_eq!(Version::list("bandwidth"), "0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0");
        assert_eq!(Version::list("firewall"), "0.4.0, 1.0.0, 1.1.0");
    }

    #[test]
    fn verbs_that_came_later() {
        let allowing =
            |verb| Version::ALL.into_iter().filter(|v| v.allows(verb)).collect::<Vec<_>>();
        assert_eq!(allowing(Verb::Add), Version::ALL);
        assert_eq!(allowing(Verb::Del), Version::ALL);
        assert_eq!(allowing(Verb::Check), [Version::V0_4_0, Version::V1_0_0, Version::V1_1_0]);
        assert_eq!(allowing(Verb::Gc), [Version::V1_1_0]);
        assert_eq!(allowing(Verb::Status), [Version::V1_1_0]);
    }
}
