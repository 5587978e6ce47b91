//! The options by name, and what somebody meant who wrote another one.

use std::fmt;

use proc_macro2::Span;
use syn::Ident;

use crate::model::Attribute;

/// The name that an option was given under.
pub(crate) struct Name {
    pub(crate) ident: Ident,
    pub(crate) attribute: Attribute,
}

impl Name {
    pub(crate) fn span(&self) -> Span {
        self.ident.span()
    }

    /// How the option is written.
    pub(crate) fn form(&self) -> &'static str {
        self.attribute.form(&self.ident.to_string())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ident.fmt(f)
    }
}

/// Every option of `#[idempotent]` with the form it is written in.
pub(crate) const OPTIONS: [(&str, &str); 17] = [
    ("key", "key = header(\"Idempotency-Key\")"),
    ("ttl", "ttl = \"24h\""),
    ("scope", "scope = user.id"),
    ("shared", "shared"),
    ("fingerprint", "fingerprint = (&body.amount, &body.currency)"),
    ("fingerprint_headers", "fingerprint_headers = [\"X-Account\", \"X-Dry-Run\"]"),
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

/// Every option of `#[idempotent_fn]`.
pub(crate) const FUNCTION_OPTIONS: [(&str, &str); 13] = [
    ("key", "key = event.id"),
    ("ttl", "ttl = \"7d\""),
    ("scope", "scope = event.tenant"),
    ("fingerprint", "fingerprint = (&event.amount, &event.currency)"),
    ("lease", "lease = \"30s\""),
    ("wait", "wait = \"10s\""),
    ("attempt", "attempt = attempt"),
    ("on_abandoned", "on_abandoned = halt"),
    ("on_store_error", "on_store_error = bypass"),
    ("on_record_failure", "on_record_failure = withhold"),
    ("operation", "operation = \"ship_order\""),
    ("runtime", "runtime = self.idempotency"),
    ("crate", "crate = some::path"),
];

/// Options of the other attribute, and what to do instead.
const FOREIGN: [(Attribute, &str, &str); 6] = [
    (
        Attribute::Function,
        "optional",
        "a call without a key is an error; call the work itself where nothing has to be guarded",
    ),
    (
        Attribute::Function,
        "fingerprint_headers",
        "a function has no headers: write `fingerprint = …` over its arguments",
    ),
    (Attribute::Function, "record", "`Ok` is recorded and `Err` is not"),
    (Attribute::Function, "shared", "without `scope` all calls share their keys; leave it out"),
    (Attribute::Function, "spawn", "a guarded function runs in its caller's task; leave it out"),
    (Attribute::Handler, "attempt", "take it as an argument, `attempt: Attempt`"),
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

impl Attribute {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Handler => "#[idempotent]",
            Self::Function => "#[idempotent_fn]",
        }
    }

    /// Every option with the form it is written in.
    pub(crate) fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Handler => &OPTIONS,
            Self::Function => &FUNCTION_OPTIONS,
        }
    }

    /// Whether it has the option `name`.
    pub(crate) fn has(self, name: &str) -> bool {
        self.options().iter().any(|(option, _)| *option == name)
    }

    /// How the option `name` is written.
    fn form(self, name: &str) -> &'static str {
        self.options().iter().find(|(option, _)| *option == name).map_or("", |(_, form)| form)
    }

    /// The option that somebody meant who wrote `name`.
    pub(crate) fn meant(self, name: &str) -> Option<&'static str> {
        let synonym = SYNONYMS.iter().find(|(other, _)| *other == name).map(|(_, option)| *option);
        synonym.or_else(|| nearest(name, self.options().iter().map(|(option, _)| *option)))
    }

    /// What is wrong with an option called `name`.
    pub(crate) fn unknown(self, name: &str) -> String {
        let foreign = FOREIGN.iter().find(|(here, option, _)| *here == self && *option == name);
        if let Some((.., instead)) = foreign {
            return format!("`{}` has no option `{name}`: {instead}", self.name());
        }
        match self.meant(name) {
            Some(meant) => {
                let form = self.form(meant);
                format!("unknown option `{name}`: did you mean `{meant}`? Write `{form}`")
            }
            None => format!("unknown option `{name}`: the options are {}", list(self.options())),
        }
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
            assert_eq!(Attribute::Handler.meant(slip), Some(option), "{slip}");
        }
    }

    #[test]
    fn far_words_find_none_and_list_all() {
        for attribute in [Attribute::Handler, Attribute::Function] {
            assert_eq!(attribute.meant("retries"), None);
            let message = attribute.unknown("retries");
            let mut options = attribute.options().iter();
            assert!(options.all(|(option, _)| message.contains(option)), "{message}");
        }
    }

    #[test]
    fn names_of_other_libraries_are_known() {
        assert!(Attribute::Handler.unknown("expires_in").contains("`ttl = \"24h\"`"));
        for attribute in [Attribute::Handler, Attribute::Function] {
            assert!(SYNONYMS.iter().all(|(_, option)| attribute.has(option)));
        }
    }

    #[test]
    fn options_of_the_other_attribute_say_what_to_do_instead() {
        for (attribute, option, instead) in FOREIGN {
            assert!(!attribute.has(option));
            assert!(attribute.unknown(option).ends_with(instead));
        }
        let both = OPTIONS.iter().chain(&FUNCTION_OPTIONS).map(|(option, _)| *option);
        for option in both {
            for attribute in [Attribute::Handler, Attribute::Function] {
                let is_told =
                    FOREIGN.iter().any(|(at, name, _)| (*at, *name) == (attribute, option));
                assert!(attribute.has(option) != is_told, "{option}");
            }
        }
    }

    #[test]
    fn distances() {
        for (from, to, expected) in [("", "abc", 3), ("ttl", "tlt", 1), ("ab", "ab", 0)] {
            assert_eq!(distance(from, to), expected);
            assert_eq!(distance(to, from), expected);
        }
    }
}
