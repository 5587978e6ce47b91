//! From the attribute's tokens to a [`Guard`].

mod duration;
mod key;
mod names;
mod slot;
mod value;

use std::time::Duration;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{
    Error, Expr, Ident, LitStr, Path, Token,
    ext::IdentExt as _,
    parse::{ParseStream, Parser as _},
};

pub(crate) use self::value::unparenthesized;

use self::slot::Slot;
use crate::{
    ctxt::Ctxt,
    model::{Guard, Key, OnAbandoned, OnRecordFailure, OnStoreError, RecordRule, Spawn},
};

/// What was given, a slot for each option.
#[derive(Default)]
pub(crate) struct Options {
    crate_path: Slot<Path>,
    fingerprint: Slot<Expr>,
    key: Slot<Key>,
    /// A misspelt key is not also a missing one.
    key_is_misspelt: bool,
    lease: Slot<Duration>,
    on_abandoned: Slot<OnAbandoned>,
    on_record_failure: Slot<OnRecordFailure>,
    on_store_error: Slot<OnStoreError>,
    operation: Slot<LitStr>,
    optional: Slot<()>,
    record: Slot<RecordRule>,
    runtime: Slot<Expr>,
    scope: Slot<Expr>,
    spawn: Slot<Spawn>,
    ttl: Slot<Duration>,
    wait: Slot<Duration>,
}

impl Options {
    /// Reads as much of the attribute as can be read.
    pub(crate) fn parse(ctxt: &mut Ctxt, attribute: TokenStream) -> Self {
        let mut options = Self::default();
        let read = |input: ParseStream<'_>| options.read(ctxt, input);
        let result = read.parse2(attribute);
        ctxt.ok(result);
        options
    }

    fn read(&mut self, ctxt: &mut Ctxt, input: ParseStream<'_>) -> syn::Result<()> {
        while !input.is_empty() {
            if !self.read_option(ctxt, input) {
                while !input.is_empty() && !input.peek(Token![,]) {
                    input.parse::<TokenTree>()?;
                }
            }
            if input.parse::<Option<Token![,]>>()?.is_none() && !input.is_empty() {
                ctxt.push(input.error("expected `,` between two options"));
            }
        }
        Ok(())
    }

    /// Reads one option. On `false` the caller goes on behind the next comma.
    fn read_option(&mut self, ctxt: &mut Ctxt, input: ParseStream<'_>) -> bool {
        let Ok(name) = input.call(Ident::parse_any) else {
            ctxt.push(input.error("expected an option, such as `ttl = \"24h\"`"));
            return false;
        };
        match name.to_string().as_str() {
            "crate" => self.crate_path.set(ctxt, value::crate_path(&name, input), name),
            "fingerprint" => self.fingerprint.set(ctxt, value::over_arguments(&name, input), name),
            "key" => self.key.set(ctxt, key::key(&name, input), name),
            "lease" => self.lease.set(ctxt, duration::lease(&name, input), name),
            "on_abandoned" => self.on_abandoned.set(ctxt, value::word(&name, input), name),
            "on_record_failure" => {
                self.on_record_failure.set(ctxt, value::word(&name, input), name)
            }
            "on_store_error" => self.on_store_error.set(ctxt, value::word(&name, input), name),
            "operation" => self.operation.set(ctxt, value::operation(&name, input), name),
            "optional" => self.optional.set(ctxt, value::flag(&name, input), name),
            "record" => self.record.set(ctxt, value::word(&name, input), name),
            "runtime" => self.runtime.set(ctxt, value::over_arguments(&name, input), name),
            "scope" => self.scope.set(ctxt, value::over_arguments(&name, input), name),
            "spawn" => self.spawn.set(ctxt, value::spawn(&name, input), name),
            "ttl" => self.ttl.set(ctxt, duration::ttl(&name, input), name),
            "wait" => self.wait.set(ctxt, duration::wait(&name, input), name),
            unknown => {
                self.key_is_misspelt |= names::meant(unknown) == Some("key");
                ctxt.push(Error::new(name.span(), names::unknown(unknown)));
                false
            }
        }
    }

    /// Where the handler runs, as far as could be read.
    pub(crate) fn spawn(&self) -> Spawn {
        self.spawn.value().copied().unwrap_or(Spawn::Detached)
    }

    /// The attribute, if nothing was wrong with it.
    pub(crate) fn finish(self, ctxt: &mut Ctxt) -> Option<Guard> {
        if !self.key.is_given() && !self.key_is_misspelt {
            let message = "`key` is missing: what tells a retry from a new request? Write \
                           `#[idempotent(key = header(\"Idempotency-Key\"), ttl = \"24h\")]`, or \
                           take a value from the handler's arguments, as in `key = \
                           order.reference`";
            ctxt.push(Error::new(Span::call_site(), message));
        }
        Some(Guard {
            spawn: self.spawn(),
            crate_path: self.crate_path.into_value(),
            fingerprint: self.fingerprint.into_value(),
            key: self.key.into_value()?,
            lease: self.lease.into_value(),
            on_abandoned: self.on_abandoned.into_value(),
            on_record_failure: self.on_record_failure.into_value(),
            on_store_error: self.on_store_error.into_value(),
            operation: self.operation.into_value(),
            optional: self.optional.into_value().is_some(),
            record: self.record.into_value(),
            runtime: self.runtime.into_value(),
            scope: self.scope.into_value(),
            ttl: self.ttl.into_value(),
            wait: self.wait.into_value(),
        })
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn parse(attribute: TokenStream) -> Result<Guard, Vec<String>> {
        let mut ctxt = Ctxt::new();
        let guard = Options::parse(&mut ctxt, attribute).finish(&mut ctxt);
        ctxt.finish(guard).map_err(|errors| errors.messages())
    }

    fn errors(attribute: TokenStream) -> Vec<String> {
        parse(attribute).err().unwrap_or_default()
    }

    #[test]
    fn every_documented_option_is_read_in_its_documented_form() {
        let all = names::OPTIONS.map(|(_, form)| form).join(", ");
        let guard = parse(all.parse().unwrap()).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert!(guard.crate_path.is_some());
        assert!(guard.fingerprint.is_some() && guard.runtime.is_some() && guard.scope.is_some());
        assert!(matches!(&guard.key, Key::Header(name) if name.value() == "idempotency-key"));
        assert_eq!(guard.lease, Some(Duration::from_secs(30)));
        assert_eq!(guard.ttl, Some(Duration::from_hours(24)));
        assert_eq!(guard.wait, Some(Duration::from_secs(10)));
        assert_eq!(guard.on_abandoned, Some(OnAbandoned::Halt));
        assert_eq!(guard.on_record_failure, Some(OnRecordFailure::Withhold));
        assert_eq!(guard.on_store_error, Some(OnStoreError::Bypass));
        assert_eq!(guard.operation.map(|name| name.value()).as_deref(), Some("create_payment"));
        assert_eq!(guard.record, Some(RecordRule::Success));
        assert_eq!(guard.spawn, Spawn::Inline);
        assert!(guard.optional);
    }

    #[test]
    fn what_is_not_given_is_left_to_the_runtime() {
        let guard = parse(quote!(key = a,)).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert!(!guard.optional);
        assert_eq!(guard.spawn, Spawn::Detached);
        assert!(guard.ttl.is_none() && guard.record.is_none() && guard.crate_path.is_none());
    }

    #[test]
    fn every_mistake_is_reported() {
        let errors = errors(quote!(
            tll = "24h",
            lease = "0s",
            wait = 10,
            record = sometimes,
            optional = true,
            operation = "",
            spawn = maybe,
            crate = "a",
            "stray",
            key = header("Host"),
            wait = "1s"
        ));
        assert_eq!(errors.len(), 12, "{errors:#?}");
    }

    #[test]
    fn commas_inside_expressions_do_not_end_them() {
        assert!(
            parse(quote!(
                key = parse::<A, B>(a, b),
                scope = {
                    a;
                    b
                },
                ttl = "1s"
            ))
            .is_ok()
        );
    }

    #[test]
    fn a_missing_comma_is_found_and_the_rest_is_still_read() {
        assert_eq!(errors(quote!(key = a ttl = "24h")), ["expected `,` between two options"]);
        assert_eq!(errors(quote!(key = a ttl = "24h" lease = "0s")).len(), 3);
        assert_eq!(errors(quote!(key = a = b)), ["expected `,` between two options"]);
    }

    #[test]
    fn an_unreadable_key_is_not_also_missing() {
        assert_eq!(errors(quote!(key = "a")).len(), 1);
        assert_eq!(errors(quote!()).len(), 1);
    }

    #[test]
    fn a_repeated_option_is_reported_once_for_each_place() {
        assert_eq!(errors(quote!(key = a, ttl = "1s", ttl = "1s")).len(), 2);
        assert_eq!(errors(quote!(key = a, optional, optional, optional)).len(), 3);
        assert_eq!(errors(quote!(key = a, lease = "0s", lease = "1s")).len(), 3);
    }
}
