//! Base chains as `nft -j` lists them (libnftables-json(5)).

use std::collections::BTreeMap;

use serde_json::Value;

use super::iptables;
use super::walk::{Backend, Base, Match, OneOf, Place, Rule, Verdict};
use crate::doctor::program::Program;
use crate::ruleset::TABLE;

/// Families whose forward hook sees packets that are routed.
const FAMILIES: [&str; 3] = ["ip", "ip6", "inet"];
/// Statements that decide nothing.
const SILENT: [&str; 8] =
    ["counter", "log", "mangle", "set", "map", "flow", "notrack", "ct helper"];

/// Every base chain of type filter at hook forward, with its table.
pub fn observe(nft: &Program) -> Result<Vec<Base>, String> {
    let chains = list(nft, &["list", "chains"])?;
    let bases = each(&chains, "chain").filter(|chain| filters_forward(chain));
    bases.map(|chain| base(nft, chain)).collect()
}

/// Links of containers which are not called as ours are, and so must be bridges.
pub fn bridges(nft: &Program) -> Vec<String> {
    // Without our table there are none yet.
    let set = list(nft, &["list", "set", "inet", TABLE, "links"]).unwrap_or_default();
    let elements = each(&set, "set").filter_map(|set| set["elem"].as_array()).flatten();
    elements
        .filter_map(Value::as_str)
        .filter(|name| !name.starts_with("nu"))
        .map(str::to_owned)
        .collect()
}

fn list(nft: &Program, command: &[&str]) -> Result<Value, String> {
    let text = nft.run(&[&["-j"], command].concat(), "")?;
    serde_json::from_str(&text).map_err(|e| format!("nft {}: {e}", command.join(" ")))
}

fn each<'a>(listing: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    listing["nftables"].as_array().into_iter().flatten().filter_map(move |object| object.get(kind))
}

fn filters_forward(chain: &Value) -> bool {
    let family = chain["family"].as_str().unwrap_or_default();
    chain["hook"] == "forward"
        && chain["type"] == "filter"
        && FAMILIES.contains(&family)
        && !(family == "inet" && chain["table"] == TABLE)
}

fn base(nft: &Program, chain: &Value) -> Result<Base, String> {
    let text = |key: &str| chain[key].as_str().unwrap_or_default().to_owned();
    let place = Place {
        backend: Backend::Nft,
        family: text("family"),
        table: text("table"),
        chain: text("name"),
    };
    // Terse: the elements of a named set would not help us, and there may be many.
    let table = list(nft, &["-t", "list", "table", &place.family, &place.table])?;
    let mut chains = chains(&table);
    if hides_conditions(&chains) {
        chains = iptables::spelled_out(&place).unwrap_or(chains);
    }
    Ok(Base { place, policy_accepts: chain["policy"] != "drop", chains })
}

fn hides_conditions(chains: &BTreeMap<String, Vec<Rule>>) -> bool {
    chains.values().flatten().any(|rule| rule.matches.contains(&Match::OpaqueConnection))
}

fn chains(table: &Value) -> BTreeMap<String, Vec<Rule>> {
    let mut chains = BTreeMap::<String, Vec<Rule>>::new();
    for chain in each(table, "chain").filter_map(|chain| chain["name"].as_str()) {
        chains.entry(chain.to_owned()).or_default();
    }
    for rule in each(table, "rule") {
        let chain = rule["chain"].as_str().unwrap_or_default();
        let expressions = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
        chains.entry(chain.to_owned()).or_default().extend(rules(expressions));
    }
    chains
}

/// One rule becomes several where a verdict map decides: one for each of its elements.
fn rules(expressions: &[Value]) -> Vec<Rule> {
    let mut rule = Rule::default();
    for (statement, body) in expressions.iter().filter_map(Value::as_object).flatten() {
        match statement.as_str() {
            "match" => rule.matches.push(condition(body)),
            "vmap" => return verdict_map(&rule.matches, body),
            "xt" => foreign(body, &mut rule),
            name if SILENT.contains(&name) => {}
            name => match verdict(name, body) {
                Some(verdict) => rule.verdict = Some(verdict),
                None => rule.matches.push(Match::Unknown),
            },
        }
    }
    vec![rule]
}

fn verdict(statement: &str, body: &Value) -> Option<Verdict> {
    let target = || body["target"].as_str().unwrap_or_default().to_owned();
    match statement {
        "accept" => Some(Verdict::Accept),
        "drop" | "reject" => Some(Verdict::Drop),
        "return" => Some(Verdict::Return),
        "jump" => Some(Verdict::Jump(target())),
        "goto" => Some(Verdict::Goto(target())),
        _ => None,
    }
}

/// A match or target of iptables that nft shows by name only.
fn foreign(body: &Value, rule: &mut Rule) {
    match (body["type"].as_str(), body["name"].as_str()) {
        (Some("match"), Some("comment")) => {}
        (Some("match"), Some("conntrack" | "state")) => rule.matches.push(Match::OpaqueConnection),
        (Some("target"), Some("REJECT")) => rule.verdict = Some(Verdict::Drop),
        // LOG, MARK and the like: the next rule follows.
        (Some("target"), _) => {}
        _ => rule.matches.push(Match::Unknown),
    }
}

fn condition(body: &Value) -> Match {
    let negated = match body["op"].as_str() {
        Some("==" | "in") => false,
        Some("!=") => true,
        _ => return Match::Unknown,
    };
    let words = words(&body["right"]);
    words.map_or(Match::Unknown, |words| about(&body["left"], OneOf { words, negated }))
}

fn about(left: &Value, words: OneOf) -> Match {
    match (left["meta"]["key"].as_str(), left["ct"]["key"].as_str()) {
        (Some("iifname" | "iif"), _) => Match::Input(words),
        (Some("oifname" | "oif"), _) => Match::Output(words),
        (_, Some("state" | "status")) => Match::Connection(words),
        _ => Match::Unknown,
    }
}

/// The words of `"a"`, `["a", "b"]` or `{"set": ["a", "b"]}`, but not of a named set.
fn words(right: &Value) -> Option<Vec<String>> {
    let word = |value: &Value| {
        let value = value.get("elem").map_or(value, |element| &element["val"]);
        value.as_str().filter(|text| !text.starts_with('@')).map(str::to_owned)
    };
    match right.as_array().or_else(|| right["set"].as_array()) {
        Some(values) => values.iter().map(word).collect(),
        None => word(right).map(|word| vec![word]),
    }
}

fn verdict_map(before: &[Match], body: &Value) -> Vec<Rule> {
    let elements = body["data"]["set"].as_array().into_iter().flatten();
    elements.filter_map(|element| mapped(before, &body["key"], element)).collect()
}

fn mapped(before: &[Match], key: &Value, element: &Value) -> Option<Rule> {
    let (name, target) = element.get(1)?.as_object()?.iter().next()?;
    let words = words(element.get(0)?);
    let last = words.map_or(Match::Unknown, |words| about(key, OneOf { words, negated: false }));
    Some(Rule { matches: [before, &[last]].concat(), verdict: verdict(name, target) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::firewall::walk::{Flow, Packet};

    /// Printed by nft 1.0.6 for what iptables-nft 1.8.9 made in Docker's manner.
    const DOCKER: &str = include_str!("samples/docker.json");
    /// Printed by nft 1.0.6 for a chain with every kind of rule that we read.
    const NATIVE: &str = include_str!("samples/native.json");

    fn base(sample: &str, chain: &str, policy_accepts: bool) -> Base {
        let table = serde_json::from_str(sample).unwrap();
        let place = Place {
            backend: Backend::Nft,
            family: "inet".into(),
            table: "t".into(),
            chain: chain.into(),
        };
        Base { place, policy_accepts, chains: chains(&table) }
    }

    fn dropped(base: &Base, link: &str) -> Vec<Flow> {
        Flow::ALL
            .into_iter()
            .filter(|flow| !base.accepts(&Packet::of(*flow, link, "eth0")))
            .collect()
    }

    #[test]
    fn docker_drops_all_but_its_own() {
        let docker = base(DOCKER, "FORWARD", false);
        assert_eq!(dropped(&docker, "nu0"), Flow::ALL);
        // nft hides the states that iptables asks for, so a rule for this link is taken to hold.
        assert_eq!(dropped(&docker, "docker0"), []);
    }

    #[test]
    fn native_rules_are_read() {
        let native = serde_json::from_str::<Value>(NATIVE).unwrap();
        let chains = chains(&native);
        let words = |words: &[&str], negated| OneOf {
            words: words.iter().map(|w| (*w).into()).collect(),
            negated,
        };
        let rule =
            |matches: &[Match], verdict| Rule { matches: matches.to_vec(), verdict: Some(verdict) };
        let state = |names: &[&str]| Match::Connection(words(names, false));
        assert_eq!(
            chains["forwarding"],
            [
                rule(&[state(&["invalid"])], Verdict::Drop),
                rule(&[state(&["established"])], Verdict::Accept),
                rule(&[state(&["related"])], Verdict::Accept),
                rule(&[state(&["established", "related"])], Verdict::Accept),
                rule(&[state(&["established", "related"])], Verdict::Accept),
                rule(&[state(&["dnat"])], Verdict::Accept),
                rule(
                    &[
                        Match::Input(words(&["br*", "lo"], false)),
                        Match::Output(words(&["eth0"], true))
                    ],
                    Verdict::Accept
                ),
                rule(&[Match::Input(words(&["lo"], false))], Verdict::Accept),
                rule(&[Match::Input(words(&["eth0"], false))], Verdict::Jump("x".into())),
                rule(&[Match::Input(words(&["wl*"], false))], Verdict::Accept),
                rule(&[Match::Connection(words(&["new"], true))], Verdict::Goto("x".into())),
                rule(&[Match::Unknown], Verdict::Drop),
                rule(&[Match::Unknown], Verdict::Return),
                rule(&[Match::Unknown], Verdict::Accept),
                rule(&[], Verdict::Drop),
            ]
        );
    }

    #[test]
    fn a_final_reject_counts_whatever_the_policy() {
        let native = base(NATIVE, "forwarding", true);
        assert_eq!(dropped(&native, "nu0"), [Flow::Out]);
        assert_eq!(dropped(&native, "br0"), [Flow::Out]);
    }

    #[test]
    fn only_forward_filters_of_others_are_looked_at() {
        let chain = |family, table, kind, hook| serde_json::json!({"family": family, "table": table, "name": "c", "type": kind, "hook": hook});
        assert!(filters_forward(&chain("ip", "filter", "filter", "forward")));
        assert!(!filters_forward(&chain("inet", TABLE, "filter", "forward")));
        assert!(!filters_forward(&chain("ip", "filter", "filter", "input")));
        assert!(!filters_forward(&chain("bridge", "filter", "filter", "forward")));
        assert!(!filters_forward(
            &serde_json::json!({"family": "ip", "table": "filter", "name": "c"})
        ));
    }
}
