//! Mounts as data.

use std::path::PathBuf;

/// Flags of a mount. What is set is set; a flag that is not named stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(u64);

impl Attributes {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Nothing can be written (`MOUNT_ATTR_RDONLY` in linux/mount.h, as the others below).
    pub const READ_ONLY: Self = Self(1);
    /// Set-user-ID bits and file capabilities have no effect.
    pub const NO_SUID: Self = Self(2);
    /// Device nodes cannot be opened.
    pub const NO_DEVICES: Self = Self(4);
    /// Nothing can be executed.
    pub const NO_EXECUTION: Self = Self(8);
    /// What the kernel's own file systems need: none of the last three.
    pub const DATA: Self = Self::NO_SUID.and(Self::NO_DEVICES).and(Self::NO_EXECUTION);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// As the kernel counts them.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The flags as mount(2) calls them.
    #[must_use]
    pub fn names(self) -> String {
        let all = [
            (Self::READ_ONLY, "MS_RDONLY"),
            (Self::NO_SUID, "MS_NOSUID"),
            (Self::NO_DEVICES, "MS_NODEV"),
            (Self::NO_EXECUTION, "MS_NOEXEC"),
        ];
        let set = all.iter().filter(|(one, _)| self.0 & one.0 != 0).map(|(_, name)| *name);
        let names = set.collect::<Vec<_>>().join("|");
        if names.is_empty() { "0".to_owned() } else { names }
    }
}

/// A file system of its own, made for the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// Its type, as in `/proc/filesystems`.
    pub kind: &'static str,
    /// Where, absolute in the container.
    pub at: PathBuf,
    /// `key=value` or `key`.
    pub options: Vec<(&'static str, Option<String>)>,
    /// Its flags.
    pub attributes: Attributes,
}

impl Fresh {
    /// Without options.
    #[must_use]
    pub fn new(kind: &'static str, at: &str, attributes: Attributes) -> Self {
        Self { kind, at: at.into(), options: Vec::new(), attributes }
    }

    /// With one option more.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.options.push((key, Some(value.into())));
        self
    }

    /// With one option more that has no value.
    #[must_use]
    pub fn with_flag(mut self, key: &'static str) -> Self {
        self.options.push((key, None));
        self
    }

    /// The options as mount(2) takes them.
    #[must_use]
    pub fn option_text(&self) -> String {
        let one = |(key, value): &(&str, Option<String>)| match value {
            Some(value) => format!("{key}={value}"),
            None => (*key).to_owned(),
        };
        self.options.iter().map(one).collect::<Vec<_>>().join(",")
    }
}

/// Part of the host's files, seen in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The path on the host.
    pub source: PathBuf,
    /// Where, absolute in the container.
    pub at: PathBuf,
    /// The flags that it and all mounts below it get.
    pub attributes: Attributes,
}
