//! The `nft` program, which installs the table once per boot.

use crate::doctor::program::{Program, install_command};
use crate::doctor::{failure, ok, warning};
use crate::outcome::Finding;

/// What the rules are tried with; whether an older one does is seen when the rules are loaded.
const LEAST: [u32; 3] = [0, 9, 9];
const SUBJECT: &str = "nft";

pub fn check(nft: Option<&Program>) -> Finding {
    let Some(nft) = nft else {
        return failure(SUBJECT, "is not installed", install_command("nftables"));
    };
    let path = nft.path().display();
    match nft.run(&["--version"], "").map(|text| version(&text).ok_or(text)) {
        Ok(Ok(version)) => judge(version, &path.to_string()),
        Ok(Err(text)) => warning(
            SUBJECT,
            format!("{path} does not tell its version: {}", text.trim()),
            install_command("nftables"),
        ),
        Err(why) => failure(SUBJECT, why, install_command("nftables")),
    }
}

fn judge(version: [u32; 3], path: &str) -> Finding {
    let [major, minor, patch] = version;
    let found = format!("{path}, version {major}.{minor}.{patch}");
    match version >= LEAST {
        true => ok(SUBJECT, found),
        false => {
            warning(SUBJECT, format!("{found}, is older than 0.9.9"), install_command("nftables"))
        }
    }
}

/// From `nftables v1.0.6 (Lester Gooch #5)`.
fn version(text: &str) -> Option<[u32; 3]> {
    let word = text.split_whitespace().find_map(|word| word.strip_prefix('v'))?;
    let mut numbers = word.split('.').map(|n| n.parse::<u32>().ok());
    let (major, minor) = (numbers.next()??, numbers.next()??);
    Some([major, minor, numbers.next().flatten().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Health;

    #[test]
    fn versions_are_read_and_judged() {
        assert_eq!(version("nftables v1.0.6 (Lester Gooch #5)\n"), Some([1, 0, 6]));
        assert_eq!(version("nftables v1.1 (x)"), Some([1, 1, 0]));
        assert_eq!(version("something else"), None);
        assert_eq!(judge([0, 9, 8], "nft").health, Health::Warning);
        assert_eq!(judge([0, 9, 9], "nft").health, Health::Ok);
    }
}
