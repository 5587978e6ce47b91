//! The options by name, and what somebody meant who wrote another one.

/// Every option with the form it is written in.
pub(crate) const OPTIONS: [(&str, &str); 15] = [
    ("key", "key = header(\"Idempotency-Key\")"),
    ("ttl", "ttl = \"24h\""),
    ("scope", "scope = user.id"),
    ("fingerprint", "fingerprint = (&body.amount, &body.currency)"),
    ("lease", "lease = \"30s\""),
    ("wait", "wait = \"10s\""),
    ("optional", "optional"),
    ("record", "record = success"),
    ("on_abandoned", "on_abandoned = halt"),
    ("on_store_error", "on_store_error = bypass"),
    ("on_record_failure", "on_record_failure = withhold"),
    ("operation", "operation = \"create_payment\""),
    ("runtime", "runtime = app.idempotency"),
    ("spawn", "spawn = false"),
    ("crate", "crate = some::path"),
];

/// What other libraries call it.
const SYNONYMS: [(&str, &str); 12] = [
    ("expires", "ttl"),
    ("expires_in", "ttl"),
    ("expiry", "ttl"),
    ("retention", "ttl"),
    ("header", "key"),
    ("header_name", "key"),
    ("lock", "lease"),
    ("lock_timeout", "lease"),
    ("tenant", "scope"),
    ("user", "scope"),
    ("timeout", "wait"),
    ("store", "runtime"),
];

/// How the option `name` is written.
pub(crate) fn form(name: &str) -> &'static str {
    OPTIONS.iter().find(|(option, _)| *option == name).map_or("", |(_, form)| form)
}

/// The option that somebody meant who wrote `name`.
pub(crate) fn meant(name: &str) -> Option<&'static str> {
    let synonym = SYNONYMS.iter().find(|(other, _)| *other == name).map(|(_, option)| *option);
    synonym.or_else(|| nearest(name, OPTIONS.iter().map(|(option, _)| *option)))
}

/// What is wrong with an option called `name`.
pub(crate) fn unknown(name: &str) -> String {
    match meant(name) {
        Some(meant) => {
            format!("unknown option `{name}`: did you mean `{meant}`? Write `{}`", form(meant))
        }
        None => format!("unknown option `{name}`: the options are {}", list(&OPTIONS)),
    }
}

/// The words of `options` in backticks.
pub(crate) fn list<T>(options: &[(&str, T)]) -> String {
    let names: Vec<_> = options.iter().map(|(name, _)| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The candidate that differs from `name` in at most a third of its letters.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = name.to_lowercase();
    let near = candidates.map(|candidate| (distance(&name, candidate), candidate));
    near.filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be added, removed, changed or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<_>, Vec<_>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                let swap = if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1]
                {
                    rows[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                change.min(swap).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_option() {
        for (slip, option) in [
            ("tll", "ttl"),
            ("TTL", "ttl"),
            ("kye", "key"),
            ("keys", "key"),
            ("scopes", "scope"),
            ("finger_print", "fingerprint"),
            ("on_store_err", "on_store_error"),
            ("onabandoned", "on_abandoned"),
        ] {
            assert_eq!(meant(slip), Some(option), "{slip}");
        }
    }

    #[test]
    fn far_words_find_none_and_list_all() {
        assert_eq!(meant("retries"), None);
        let message = unknown("retries");
        assert!(OPTIONS.iter().all(|(option, _)| message.contains(option)), "{message}");
    }

    #[test]
    fn names_of_other_libraries_are_known() {
        assert!(unknown("expires_in").contains("`ttl = \"24h\"`"));
        assert!(SYNONYMS.iter().all(|(_, option)| !form(option).is_empty()));
    }

    #[test]
    fn distances() {
        for (from, to, expected) in [("", "abc", 3), ("ttl", "tlt", 1), ("ab", "ab", 0)] {
            assert_eq!(distance(from, to), expected);
            assert_eq!(distance(to, from), expected);
        }
    }
}
