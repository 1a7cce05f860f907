//! `CNI_ARGS`: `K=V;K=V`.

use std::collections::BTreeMap;

use crate::cni::failure::Failure;

/// By this one a caller says that the plugin may pass over names that it does not know.
const IGNORE_UNKNOWN: &str = "IgnoreUnknown";

/// The pairs of `text` whose names are among `known`, which are spelt exactly so. Of two pairs of
/// one name the later one counts.
///
/// Any other name is refused, unless the text also says `IgnoreUnknown=1`, wherever it says so.
pub fn parse(text: &str, known: &[&str]) -> Result<BTreeMap<String, String>, Failure> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut pairs = text.split(';').map(pair).collect::<Result<BTreeMap<_, _>, _>>()?;
    let lenient = pairs.remove(IGNORE_UNKNOWN).map_or(Ok(false), |value| flag(&value))?;
    let unknown: Vec<String> =
        pairs.keys().filter(|name| !known.contains(&name.as_str())).cloned().collect();
    if !lenient && !unknown.is_empty() {
        let names = unknown.join(", ");
        return Err(Failure::environment(format!("CNI_ARGS has names that are unknown: {names}"))
            .details("add IgnoreUnknown=1 to CNI_ARGS to have them passed over"));
    }
    pairs.retain(|name, _| known.contains(&name.as_str()));
    Ok(pairs)
}

fn pair(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !value.contains('=') => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::environment(format!("CNI_ARGS holds {text:?}, which is not NAME=VALUE"))
            .details("separate pairs by ';', with none at the end")),
    }
}

fn flag(text: &str) -> Result<bool, Failure> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Failure::environment(format!("{IGNORE_UNKNOWN} in CNI_ARGS is {text:?}"))
            .details("write 1, true, 0 or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn taken(text: &str, known: &[&str]) -> Vec<String> {
        parse(text, known).unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn pairs_that_are_known() {
        assert!(taken("", &["MAC"]).is_empty());
        assert_eq!(taken("MAC=02:00:00:00:00:01", &["MAC"]), ["MAC=02:00:00:00:00:01"]);
        assert_eq!(taken("IP=a;GATEWAY=", &["IP", "GATEWAY"]), ["GATEWAY=", "IP=a"]);
        assert_eq!(taken("IP=a;IP=b", &["IP"]), ["IP=b"]);
        assert!(taken("IgnoreUnknown=false", &[]).is_empty());
    }

    #[test]
    fn what_kubernetes_sends() {
        let text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;IP=10.0.0.9";
        assert_eq!(taken(text, &["IP"]), ["IP=10.0.0.9"]);
        assert!(taken("K8S_POD_NAME=web;IgnoreUnknown=TRUE", &["IP"]).is_empty());
    }

    #[test]
    fn what_is_refused() {
        for (text, says) in [
            ("none", "\"none\""),
            ("MAC=a;", "\"\""),
            (";MAC=a", "\"\""),
            ("MAC=a=b", "\"MAC=a=b\""),
            ("OTHER=1;MAC=a", "OTHER"),
            ("mac=a", "mac"),
            ("OTHER=1;IgnoreUnknown=0", "OTHER"),
            ("IgnoreUnknown=yes", "yes"),
            ("ignoreunknown=1", "ignoreunknown"),
        ] {
            let failure = parse(text, &["MAC"]).unwrap_err();
            assert_eq!(failure.code, Failure::ENVIRONMENT, "{text:?}");
            assert!(failure.msg.contains(says), "{text:?}: {}", failure.msg);
        }
    }
}
