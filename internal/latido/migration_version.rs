//! The version of a new migration among those of its folder. psql, golang-migrate and Flyway apply
//! migrations in the order of their versions, and the last two refuse or pass over one that comes
//! later with a lower version. So a project that counts its migrations must not get the time.

use std::path::Path;

/// Returns the version of a migration that comes after those of a folder. `time` has 14 digits, from
/// the year to the second, and is the version in a folder without migrations. Where versions are
/// times, the new one is as long as the highest. Elsewhere it is the highest plus one.
pub(super) fn next_version(folder: &Path, prefixes: &[char], time: &str) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    version_after(names, prefixes, time)
}

fn version_after(names: impl Iterator<Item = String>, prefixes: &[char], time: &str) -> String {
    let versions = names.filter_map(|name| version_of(&name, prefixes));
    let Some((highest, width)) = versions.max() else {
        return time.to_owned();
    };
    let digits = highest.to_string();
    let is_time = digits.len() == width
        && matches!(width, 8 | 10 | 12 | 14)
        && digits.get(..2) == time.get(..2);
    let now = time.get(..width).filter(|_| is_time);
    let now = now.and_then(|digits| digits.parse().ok()).unwrap_or(0);
    format!("{:0width$}", now.max(highest.saturating_add(1)))
}

/// Returns the version with which the name of a migration begins, and its number of digits. Of a
/// version with several parts it is the first.
fn version_of(name: &str, prefixes: &[char]) -> Option<(u64, usize)> {
    let rest = match prefixes {
        [] => name,
        prefixes => name.strip_prefix(prefixes)?,
    };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    Some((rest[..end].parse().ok()?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "20261130080509";

    #[test]
    fn new_migration_comes_last_in_the_numbering_of_its_folder() {
        for (names, expected) in [
            (&["README.md", "no_version.sql"][..], TIME),
            (&["20260101000000_a.up.sql"], TIME),
            (&["000001_a.up.sql", "000009_b.up.sql"], "000010"),
            (&["9_a.sql"], "10"),
            // No time, although it begins like one.
            (&["00000020_a.up.sql"], "00000021"),
            (&["20261231000000_a.sql"], "20261231000001"),
            (&["20261129_a.sql"], "20261130"),
            (&["20261130_a.sql", "1_b.sql"], "20261131"),
            // Unix seconds.
            (&["1764489600_a.sql"], "1764489601"),
            (&["99999999999999999999_a.sql"], TIME),
        ] {
            let names_owned = names.iter().map(|name| (*name).to_owned());
            assert_eq!(version_after(names_owned, &[], TIME), expected, "{names:?}");
        }
        let flyway = [
            "V1__a.sql",
            "V1_2__b.sql",
            "B2.1__c.sql",
            "R__d.sql",
            "7_e.sql",
        ];
        let names = flyway.iter().map(|name| (*name).to_owned());
        assert_eq!(version_after(names, &['V', 'U', 'B'], TIME), "3");
    }
}
