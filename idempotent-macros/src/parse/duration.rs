//! `ttl = "24h"`, `lease = "30s"`, `wait = "10s"`.

use std::time::Duration;

use humantime::parse_duration;
use syn::{Error, Expr, ExprLit, Lit, LitStr, parse::ParseStream};

use super::{
    names::Name,
    value::{expression, unparenthesized},
};

/// The finest step that every store keeps.
const FINEST: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Far beyond what the clocks of stores can add to today.
const CENTURY: Duration = Duration::from_hours(100 * 8766);

/// How long a record is replayable.
pub(super) fn ttl(name: &Name, input: ParseStream<'_>) -> syn::Result<Duration> {
    let (literal, ttl) = read(name, input, "24h")?;
    if ttl.is_zero() {
        let message =
            "a ttl of zero protects nothing: a retry would run again; write `ttl = \"24h\"`";
        return Err(Error::new(literal.span(), message));
    }
    at_least_a_millisecond(&literal, name, ttl)?;
    let advice = "nothing is kept that long; name the time in which a client may still retry, as in \
                  `ttl = \"24h\"`";
    at_most(CENTURY, &literal, name, ttl, advice)
}

/// How long a lease is held before it is renewed or lost.
pub(super) fn lease(name: &Name, input: ParseStream<'_>) -> syn::Result<Duration> {
    let (literal, lease) = read(name, input, "30s")?;
    if lease.is_zero() {
        let message = "a lease of zero protects nothing: duplicates would run at once; write `lease \
                       = \"30s\"`";
        return Err(Error::new(literal.span(), message));
    }
    at_least_a_millisecond(&literal, name, lease)?;
    let advice = "it is renewed while the handler runs, and after a crash retries are locked out \
                  until it ends; write `lease = \"30s\"` (`ttl` says how long a record is kept)";
    at_most(DAY, &literal, name, lease, advice)
}

/// How long a duplicate waits for the first request's outcome; zero answers at once.
pub(super) fn wait(name: &Name, input: ParseStream<'_>) -> syn::Result<Duration> {
    let (literal, wait) = read(name, input, "10s")?;
    if !wait.is_zero() {
        at_least_a_millisecond(&literal, name, wait)?;
    }
    let advice = "no client keeps a request open that long; write `wait = \"10s\"`";
    at_most(HOUR, &literal, name, wait, advice)
}

fn read(name: &Name, input: ParseStream<'_>, example: &str) -> syn::Result<(LitStr, Duration)> {
    let write = format!("write `{name} = \"{example}\"`");
    let value = expression(name, input)?;
    let literal = match unparenthesized(&value) {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => literal.clone(),
        Expr::Lit(ExprLit { lit: Lit::Int(_) | Lit::Float(_), .. }) => {
            return Err(Error::new_spanned(
                &value,
                format!("`{name}` needs a number with its unit, in quotes: {write}"),
            ));
        }
        _ => {
            return Err(Error::new_spanned(
                &value,
                format!("`{name}` is checked at compile time, so it is a string literal: {write}"),
            ));
        }
    };
    let text = literal.value();
    if text.trim().is_empty() {
        return Err(Error::new(literal.span(), format!("`{name}` is empty: {write}")));
    }
    if let Some(number) = months(&text) {
        let message = format!(
            "`M` could be minutes or months: write `{name} = \"{number}min\"` or `{name} = \
             \"{number}months\"`"
        );
        return Err(Error::new(literal.span(), message));
    }
    match parse_duration(&text) {
        Ok(duration) => Ok((literal, duration)),
        Err(error) => {
            let reason = reason(&text, &error);
            let message = format!("`{text}` is not a duration: {reason}; {write}");
            Err(Error::new(literal.span(), message))
        }
    }
}

/// The number before the unit `M`, which humantime takes for months and many readers for minutes.
fn months(text: &str) -> Option<&str> {
    let at = text.match_indices('M').map(|(at, _)| at).find(|at| {
        let before = text[..*at].trim_end().ends_with(|last: char| last.is_ascii_digit());
        before && !text[at + 1..].starts_with(char::is_alphabetic)
    })?;
    let number = text[..at].trim_end();
    Some(&number[number.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |end| end + 1)..])
}

/// humantime's words, except where they would send the reader the wrong way.
fn reason(text: &str, error: &humantime::DurationError) -> String {
    use humantime::DurationError;

    match error {
        DurationError::Empty => "it has no number".into(),
        DurationError::NumberOverflow => "the number is too large or too fine".into(),
        DurationError::InvalidCharacter(_) | DurationError::NumberExpected(_)
            if text.trim_start().starts_with('-') =>
        {
            "it is negative".into()
        }
        DurationError::NumberExpected(_) => "it does not begin with a number".into(),
        DurationError::UnknownUnit { unit, value, .. } if unit.is_empty() => {
            format!("the unit is missing, as in `{value}s`, `{value}min` or `{value}h`")
        }
        DurationError::UnknownUnit { unit, .. } => {
            format!("`{unit}` is not a unit (ms, s, min, h, days, weeks)")
        }
        DurationError::InvalidCharacter(at) => match text.get(*at..).and_then(|s| s.chars().next())
        {
            Some(character) => format!("`{character}` does not belong there"),
            None => "it is cut off".into(),
        },
    }
}

fn at_least_a_millisecond(literal: &LitStr, name: &Name, given: Duration) -> syn::Result<()> {
    if given >= FINEST {
        return Ok(());
    }
    let message = format!("a {name} of less than a millisecond would be rounded away");
    Err(Error::new(literal.span(), message))
}

fn at_most(
    limit: Duration,
    literal: &LitStr,
    name: &Name,
    given: Duration,
    advice: &str,
) -> syn::Result<Duration> {
    if given <= limit {
        return Ok(given);
    }
    let message = format!("a {name} of {} is too long: {advice}", literal.value().trim());
    Err(Error::new(literal.span(), message))
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;
    use quote::quote;
    use syn::{Ident, parse::Parser};

    use super::*;
    use crate::model::Attribute;

    type Reader = fn(&Name, ParseStream<'_>) -> syn::Result<Duration>;

    fn read(reader: Reader, text: &str) -> Result<Duration, String> {
        let ident = Ident::new("given", Span::call_site());
        let name = Name { ident, attribute: Attribute::Handler };
        Parser::parse2(|input: ParseStream<'_>| reader(&name, input), quote!(= #text))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_usual_forms_are_read() {
        for (text, seconds) in [
            ("24h", 86_400),
            ("24 hours", 86_400),
            ("1day 1h", 90_000),
            ("90s", 90),
            ("7d", 604_800),
        ] {
            assert_eq!(read(ttl, text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(read(lease, "1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(read(wait, "0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_protects_nothing_is_refused() {
        for reader in [ttl, lease] {
            assert!(read(reader, "0s").is_err_and(|message| message.contains("protects nothing")));
        }
        for reader in [ttl, lease, wait] {
            assert!(read(reader, "999us").is_err_and(|message| message.contains("rounded away")));
        }
    }

    #[test]
    fn limits_are_inclusive() {
        for (reader, at_limit, beyond) in [
            (lease as Reader, "1day", "1day 1ms"),
            (wait, "1h", "1h 1ms"),
            (ttl, "36525days", "101y"),
        ] {
            assert!(read(reader, at_limit).is_ok(), "{at_limit}");
            assert!(read(reader, beyond).is_err_and(|message| message.contains("too long")));
        }
    }

    #[test]
    fn messages_say_what_is_wrong_with_the_text() {
        for (text, part) in [
            ("", "`given` is empty"),
            ("24", "the unit is missing, as in `24s`"),
            ("24x", "`x` is not a unit"),
            ("h", "does not begin with a number"),
            ("-1s", "it is negative"),
            ("24 $", "`$` does not belong there"),
            ("99999999999999999999s", "too large"),
        ] {
            let message = read(ttl, text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
