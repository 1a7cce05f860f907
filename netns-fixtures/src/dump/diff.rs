//! What differs between two dumps, for people to read.

use std::collections::{BTreeMap, BTreeSet};

type Sections = BTreeMap<String, Vec<String>>;

/// Section by section, first the lines that went, then those that came.
pub(super) fn between(before: &Sections, after: &Sections) -> String {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .map(|name| of_section(name, lines(before, name), lines(after, name)))
        .collect()
}

fn lines<'a>(sections: &'a Sections, name: &str) -> &'a [String] {
    sections.get(name).map_or(&[], Vec::as_slice)
}

fn of_section(name: &str, before: &[String], after: &[String]) -> String {
    if before == after {
        return String::new();
    }
    let (gone, come) = (minus(before, after), minus(after, before));
    if gone.is_empty() && come.is_empty() {
        return format!("== {name}\n  the same lines in another order\n");
    }
    let gone = gone.iter().map(|line| format!("- {line}\n"));
    let come = come.iter().map(|line| format!("+ {line}\n"));
    format!("== {name}\n{}", gone.chain(come).collect::<String>())
}

/// The lines of `left` beyond those that `right` has too, counting repetitions.
fn minus<'a>(left: &'a [String], right: &[String]) -> Vec<&'a str> {
    let mut budget: BTreeMap<String, usize> = BTreeMap::new();
    right.iter().for_each(|line| *budget.entry(line.clone()).or_default() += 1);
    let mut is_matched = |line: &str| match budget.get_mut(line) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    };
    left.iter().map(String::as_str).filter(|line| !is_matched(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(lines: &[&str]) -> Sections {
        BTreeMap::from([("nft".to_owned(), lines.iter().map(|line| (*line).to_owned()).collect())])
    }

    #[test]
    fn only_what_differs_is_shown() {
        let difference = between(&section(&["a", "}", "}"]), &section(&["b", "}"]));
        assert_eq!(difference, "== nft\n- a\n- }\n+ b\n");
    }

    #[test]
    fn order_counts() {
        let difference = between(&section(&["a", "b"]), &section(&["b", "a"]));
        assert!(difference.contains("another order"), "{difference}");
        assert_eq!(between(&section(&["a"]), &section(&["a"])), "");
    }
}
