//! Rules in iptables' words: those of legacy iptables, which nft does not see at all, and those of
//! the newer iptables, which is nftables underneath but of which nft does not show everything.

use std::collections::BTreeMap;
use std::fs;

use super::walk::{Backend, Base, Match, OneOf, Place, Rule, Verdict};
use crate::doctor::program::Program;

const VARIANTS: [(&str, &str, &str); 2] =
    [("ip", "ip_tables_names", "iptables-legacy"), ("ip6", "ip6_tables_names", "ip6tables-legacy")];

/// The chain FORWARD of each family that has the table `filter`.
pub fn observe() -> Vec<Result<Base, String>> {
    let used = VARIANTS.into_iter().filter(|(_, names, _)| has_filter(names));
    used.map(|(family, _, program)| base(family, program)).collect()
}

/// Asked first, since iptables-legacy makes the table by merely looking at it.
fn has_filter(names: &str) -> bool {
    let names = fs::read_to_string(format!("/proc/thread-self/net/{names}"));
    names.is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

fn base(family: &str, program: &str) -> Result<Base, String> {
    let found = Program::find(program)
        .ok_or_else(|| format!("{program} is not installed, but its table is in use"))?;
    let text = found.run(&["-S"], "")?;
    let place = Place {
        backend: Backend::Legacy,
        family: family.into(),
        table: "filter".into(),
        chain: "FORWARD".into(),
    };
    let policy_accepts = !text.lines().any(|line| line == "-P FORWARD DROP");
    Ok(Base { place, policy_accepts, chains: chains(&text) })
}

/// The rules of a table that iptables keeps in nftables, in iptables' own words, which say more than
/// nft does of them. `None` where no such iptables is installed, or where it cannot read the table.
pub fn spelled_out(place: &Place) -> Option<BTreeMap<String, Vec<Rule>>> {
    if place.table != "filter" {
        return None;
    }
    let names = match place.family.as_str() {
        "ip" => ["iptables-nft", "iptables"],
        "ip6" => ["ip6tables-nft", "ip6tables"],
        _ => return None,
    };
    let program = names.iter().find_map(|name| Program::find(name).filter(is_on_nftables))?;
    Some(chains(&program.run(&["-S"], "").ok()?))
}

/// Plain `iptables` may be either kind: `iptables v1.8.9 (nf_tables)`.
fn is_on_nftables(program: &Program) -> bool {
    program.run(&["--version"], "").is_ok_and(|text| text.contains("nf_tables"))
}

/// The chains of what `iptables -S` prints.
fn chains(text: &str) -> BTreeMap<String, Vec<Rule>> {
    let mut chains = BTreeMap::<String, Vec<Rule>>::new();
    for line in text.lines() {
        let words = split(line);
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["-P" | "-N", chain, ..] => drop(chains.entry(chain.to_owned()).or_default()),
            ["-A", chain, ref rest @ ..] => {
                chains.entry(chain.to_owned()).or_default().push(rule(rest));
            }
            _ => {}
        }
    }
    chains
}

/// Words as a shell would see them: a comment may hold blanks between quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in line.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                continue;
            }
            '"' => {
                quoted = !quoted;
                continue;
            }
            ' ' if !quoted => {
                words.push(String::new());
                continue;
            }
            _ => {}
        }
        words.last_mut().into_iter().for_each(|word| word.push(c));
    }
    words
}

fn rule(words: &[&str]) -> Rule {
    let mut rule = Rule::default();
    let mut negated = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().copied().unwrap_or_default();
        match *word {
            "!" => {
                negated = true;
                continue;
            }
            "-i" => rule.matches.push(Match::Input(interface(value(), negated))),
            "-o" => rule.matches.push(Match::Output(interface(value(), negated))),
            "--ctstate" | "--state" => {
                rule.matches.push(Match::Connection(states(value(), negated)));
            }
            "-m" | "--comment" => drop(value()),
            "-j" => {
                rule.verdict = target(value());
                break;
            }
            "-g" => {
                rule.verdict = Some(Verdict::Goto(value().to_owned()));
                break;
            }
            // An option that we do not know, or the value of one.
            _ => rule.matches.push(Match::Unknown),
        }
        negated = false;
    }
    rule.matches.dedup();
    rule
}

fn interface(pattern: &str, negated: bool) -> OneOf {
    let name =
        pattern.strip_suffix('+').map_or_else(|| pattern.to_owned(), |start| format!("{start}*"));
    OneOf { words: vec![name], negated }
}

fn states(list: &str, negated: bool) -> OneOf {
    OneOf { words: list.split(',').map(str::to_lowercase).collect(), negated }
}

/// A target that is neither a verdict nor a chain (LOG, MARK) is a chain that does not exist, which
/// a packet comes back from.
fn target(name: &str) -> Option<Verdict> {
    Some(match name {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        chain => Verdict::Jump(chain.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::firewall::walk::{Flow, Packet};

    /// Printed by iptables-legacy 1.8.9.
    const SAMPLE: &str = include_str!("samples/legacy.txt");

    fn dropped(text: &str, link: &str) -> Vec<Flow> {
        let place = Place {
            backend: Backend::Legacy,
            family: "ip".into(),
            table: "filter".into(),
            chain: "FORWARD".into(),
        };
        let base = Base { place, policy_accepts: false, chains: chains(text) };
        Flow::ALL
            .into_iter()
            .filter(|flow| !base.accepts(&Packet::of(*flow, link, "eth0")))
            .collect()
    }

    #[test]
    fn forward_is_walked() {
        assert_eq!(dropped(SAMPLE, "nu0"), [Flow::Out, Flow::Published]);
        assert_eq!(dropped(SAMPLE, "br0"), [Flow::Published]);
        assert_eq!(dropped("-P FORWARD DROP\n", "nu0"), Flow::ALL);
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(
            split(r#"-A x --comment "a \"b\" c" -j y"#),
            ["-A", "x", "--comment", r#"a "b" c"#, "-j", "y"]
        );
    }

    #[test]
    fn rules_keep_what_they_can() {
        let rule = |line: &str| rule(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(rule("! -o nu+ -j REJECT --reject-with icmp-port-unreachable").matches.len(), 1);
        assert_eq!(rule("-s 10.0.0.0/8 -j DROP").matches, [Match::Unknown]);
        assert_eq!(rule("-g other").verdict, Some(Verdict::Goto("other".into())));
    }
}
