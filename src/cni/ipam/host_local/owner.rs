//! Who holds a lease, and how a lease file says so.

use crate::cni::Call;

/// A container's interface.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The container.
    pub id: String,
    /// The interface in it.
    pub ifname: String,
}

impl Owner {
    /// Whom the call is about.
    pub fn of(call: &Call) -> Self {
        Self { id: call.env.container_id.clone(), ifname: call.env.ifname.clone() }
    }

    /// What a lease file holds: two lines, of which the second does not end.
    pub fn content(&self) -> String {
        format!("{}\r\n{}", self.id, self.ifname)
    }

    /// The name by which the index knows this owner.
    pub fn key(&self) -> String {
        format!("{}@{}", self.id, self.ifname)
    }
}

/// The index's name for whoever a lease file names. Files of the first releases of the reference
/// plugin hold nothing but the container's id, which cannot have an `@`. `None` if the file holds
/// nothing, as after a crash: a file system may have kept its length and lost its content.
pub fn key_of(content: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    match text.split_once("\r\n") {
        Some((id, ifname)) => Some(format!("{id}@{ifname}")),
        None if text.is_empty() => None,
        None => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_leads_back_to_its_owner() {
        let owner = Owner { id: "c1".into(), ifname: "eth0".into() };
        assert_eq!(key_of(owner.content().as_bytes()), Some(owner.key()));
        assert_eq!(key_of(b" c1\r\neth0\n"), Some("c1@eth0".into()));
        assert_eq!(key_of(b"c1\n"), Some("c1".into()));
        assert_eq!(key_of(b"\0\0\0\n"), None);
        assert_eq!(key_of(b""), None);
    }
}
