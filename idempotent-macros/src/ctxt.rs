//! Where every mistake is noted, so that all of them are reported at once.

use std::{fmt::Display, mem, thread};

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::Error;

/// Collects errors. Must be consumed by [`finish`](Self::finish).
pub(crate) struct Ctxt {
    errors: Vec<Error>,
    finished: bool,
}

/// At least one mistake.
pub(crate) struct Errors(Vec<Error>);

impl Ctxt {
    pub(crate) fn new() -> Self {
        Self { errors: Vec::new(), finished: false }
    }

    /// How many mistakes were noted.
    pub(crate) fn len(&self) -> usize {
        self.errors.len()
    }

    /// Notes a mistake that spans `tokens`.
    pub(crate) fn error_at(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(Error::new_spanned(tokens, message));
    }

    pub(crate) fn push(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// Notes the error of `result` and goes on with nothing in its place.
    pub(crate) fn ok<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// `value`, or all that was noted.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Errors> {
        self.finished = true;
        let mut errors = mem::take(&mut self.errors);
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            None if errors.is_empty() => {
                // A part that gives up has to say why, and a silent `None` must not drop the guard.
                let message = "`#[idempotent]` failed without a reason; please report this";
                errors.push(Error::new(Span::call_site(), message));
                Err(Errors(errors))
            }
            _ => Err(Errors(errors)),
        }
    }
}

impl Drop for Ctxt {
    fn drop(&mut self) {
        assert!(self.finished || thread::panicking(), "errors were collected and never looked at");
    }
}

impl Errors {
    /// One `compile_error!` for each mistake.
    pub(crate) fn into_compile_errors(self) -> TokenStream {
        self.0.into_iter().map(Error::into_compile_error).collect()
    }

    #[cfg(test)]
    pub(crate) fn messages(&self) -> Vec<String> {
        self.0.iter().flat_map(|error| error.clone().into_iter().map(|e| e.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(errors: Result<u8, Errors>) -> Vec<String> {
        errors.err().map(|errors| errors.messages()).unwrap_or_default()
    }

    #[test]
    fn everything_noted_is_reported_in_order() {
        let mut ctxt = Ctxt::new();
        ctxt.error_at("a", "one");
        assert!(ctxt.ok::<u8>(Err(Error::new(Span::call_site(), "two"))).is_none());
        assert_eq!(messages(ctxt.finish(Some(1))), ["one", "two"]);
    }

    #[test]
    fn a_value_without_errors_passes_and_a_missing_one_is_an_error() {
        assert!(matches!(Ctxt::new().finish(Some(1)), Ok(1)));
        assert_eq!(messages(Ctxt::new().finish(None)).len(), 1);
    }

    #[test]
    #[should_panic(expected = "never looked at")]
    fn dropping_it_unread_is_a_bug() {
        drop(Ctxt::new());
    }
}
