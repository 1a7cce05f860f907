//! A table as iptables-save prints it. Whatever its version and kind, a rule is printed in the words
//! that restore it.

use std::net::IpAddr;

/// The text of one table.
#[derive(Debug)]
pub struct Saved(pub String);

/// A rule in iptables' words, without the chain it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedRule<'a> {
    chain: &'a str,
    words: &'a str,
}

impl Saved {
    /// Whether there is such a chain.
    pub fn has_chain(&self, name: &str) -> bool {
        let chains = self.0.lines().filter_map(|line| line.strip_prefix(':'));
        chains.filter_map(|chain| chain.split(' ').next()).any(|chain| chain == name)
    }

    /// The rules of a chain, in order.
    pub fn rules<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = SavedRule<'a>> + 'a {
        let rules = self.0.lines().filter_map(|line| line.strip_prefix("-A "));
        rules.filter_map(move |rule| match rule.split_once(' ') {
            Some((of, words)) if of == chain => Some(SavedRule { chain, words }),
            _ => None,
        })
    }
}

impl SavedRule<'_> {
    /// The command that deletes it.
    pub fn delete(&self) -> String {
        format!("-D {} {}", self.chain, self.words)
    }

    /// The command that puts it on top of its chain.
    pub fn insert(&self) -> String {
        format!("-I {} 1 {}", self.chain, self.words)
    }

    /// Whether it is the same but for a comment.
    pub fn is(&self, words: &str) -> bool {
        without_comment(self.words) == without_comment(words)
    }

    /// Whether it leads to this chain.
    pub fn jumps_to(&self, chain: &str) -> bool {
        self.value("-j") == Some(chain)
    }

    /// Whether it ends the walk and lets the packet through.
    pub fn accepts(&self) -> bool {
        self.jumps_to("ACCEPT")
    }

    /// Whether it asks for exactly one of these addresses.
    pub fn names_any(&self, addresses: &[IpAddr]) -> bool {
        let single = |ip: &IpAddr| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
        let wanted: Vec<String> = addresses.iter().map(single).collect();
        self.single_addresses().any(|named| wanted.iter().any(|wanted| wanted == named))
    }

    /// Whether it asks for a single address that is none of these; without any, nothing is.
    pub fn is_of_others(&self, addresses: &[IpAddr]) -> bool {
        let names_one = self.single_addresses().next().is_some();
        !addresses.is_empty() && names_one && !self.names_any(addresses)
    }

    /// The destination port that it asks for, if it asks for UDP.
    pub fn udp_port(&self) -> Option<u16> {
        self.value("-p").filter(|protocol| *protocol == "udp")?;
        self.value("--dport")?.parse().ok()
    }

    fn single_addresses(&self) -> impl Iterator<Item = &str> {
        let addresses = [self.value("-s"), self.value("-d")].into_iter().flatten();
        addresses.filter(|cidr| cidr.ends_with("/32") || cidr.ends_with("/128"))
    }

    /// The word after this one.
    fn value(&self, option: &str) -> Option<&str> {
        let mut words = self.words.split(' ');
        words.find(|word| *word == option)?;
        words.next()
    }
}

/// The words of a rule with its comment left out, whose wording is nobody's business but a reader's.
fn without_comment(words: &str) -> String {
    const MATCH: &str = "-m comment --comment ";
    let Some((before, rest)) = words.split_once(MATCH) else {
        return words.to_owned();
    };
    // One word, or several between quotes, in which a quote is escaped.
    let after = match rest.strip_prefix('"') {
        Some(quoted) => after_quotes(quoted),
        None => rest.split_once(' ').map_or("", |(_, after)| after),
    };
    format!("{}{}", before, after.trim_start())
}

fn after_quotes(quoted: &str) -> &str {
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            '"' if !escaped => return quoted.get(at + 1..).unwrap_or_default(),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"*nat
:POSTROUTING ACCEPT [0:0]
:CNI-a - [0:0]
-A POSTROUTING -s 10.0.0.2/32 -m comment --comment "name: \"n\" id: \"c\"" -j CNI-a
-A POSTROUTING -s 10.0.0.0/24 -m comment --comment old -j CNI-a
-A CNI-a -p udp -m udp --dport 53 -j DNAT --to-destination 10.0.0.2:53
COMMIT
"#;

    #[test]
    fn rules_are_read_as_they_are_printed() {
        let saved = Saved(TEXT.to_owned());
        assert!(saved.has_chain("CNI-a") && !saved.has_chain("CNI-"));
        let jumps: Vec<_> = saved.rules("POSTROUTING").collect();
        assert_eq!(jumps.len(), 2);
        assert!(jumps[0].is("-s 10.0.0.2/32 -j CNI-a"));
        assert!(jumps[1].is("-s 10.0.0.0/24 -j CNI-a"));
        assert!(jumps[0].jumps_to("CNI-a") && !jumps[0].accepts());
        let ours = ["10.0.0.2".parse().unwrap()];
        let other = ["10.0.0.3".parse().unwrap()];
        assert!(jumps[0].names_any(&ours) && !jumps[0].is_of_others(&ours));
        assert!(jumps[0].is_of_others(&other) && !jumps[0].is_of_others(&[]));
        assert!(!jumps[1].is_of_others(&other), "a network is not an address");
        assert_eq!(
            jumps[0].delete(),
            r#"-D POSTROUTING -s 10.0.0.2/32 -m comment --comment "name: \"n\" id: \"c\"" -j CNI-a"#
        );
        assert_eq!(saved.rules("CNI-a").next().unwrap().udp_port(), Some(53));
    }
}
