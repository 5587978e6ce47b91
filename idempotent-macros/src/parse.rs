//! From an attribute's tokens to a [`Guard`] or a [`FunctionGuard`].

mod constant;
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

use self::{names::Name, slot::Slot};
use crate::{
    ctxt::Ctxt,
    model::{
        Attribute, Common, Compared, FunctionGuard, FunctionKey, Guard, Key, OnAbandoned,
        OnRecordFailure, OnStoreError, RecordRule, Spawn,
    },
};

/// What was given, a slot for each option.
pub(crate) struct Options {
    attribute: Attribute,
    slots: Slots,
    /// What is misspelt is not also missing.
    misspelt: Vec<&'static str>,
    /// Whether the option before has an expression, of which this may be a part.
    is_behind_a_value: bool,
    /// Whether nothing of the attribute could be read.
    is_unreadable: bool,
}

/// The options whose values are expressions.
const EXPRESSIONS: [&str; 4] = ["fingerprint", "key", "runtime", "scope"];

/// Whether a name stands as options do: alone, or before its value.
fn ends_as_an_option(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,]) || input.peek(Token![=])
}

#[derive(Default)]
struct Slots {
    attempt: Slot<Ident>,
    crate_path: Slot<Path>,
    fingerprint: Slot<Compared>,
    fingerprint_headers: Slot<Vec<LitStr>>,
    function_key: Slot<FunctionKey>,
    key: Slot<Key>,
    lease: Slot<Duration>,
    on_abandoned: Slot<OnAbandoned>,
    on_record_failure: Slot<OnRecordFailure>,
    on_store_error: Slot<OnStoreError>,
    operation: Slot<LitStr>,
    optional: Slot<()>,
    record: Slot<RecordRule>,
    runtime: Slot<Expr>,
    scope: Slot<Expr>,
    shared: Slot<()>,
    spawn: Slot<Spawn>,
    ttl: Slot<Duration>,
    wait: Slot<Duration>,
}

impl Options {
    /// Reads as much of the attribute as can be read.
    pub(crate) fn parse(ctxt: &mut Ctxt, attribute: Attribute, tokens: TokenStream) -> Self {
        let slots = Slots::default();
        let mut options = Self {
            attribute,
            slots,
            misspelt: Vec::new(),
            is_behind_a_value: false,
            is_unreadable: false,
        };
        let read = |input: ParseStream<'_>| options.read(ctxt, input);
        let result = read.parse2(tokens);
        ctxt.ok(result);
        options
    }

    fn read(&mut self, ctxt: &mut Ctxt, input: ParseStream<'_>) -> syn::Result<()> {
        if !input.is_empty() && !input.peek(Ident::peek_any) {
            // `#[idempotent = "…"]`, which the compiler itself speaks of, and the like.
            self.is_unreadable = true;
            let message = match self.attribute {
                Attribute::Handler => {
                    "expected options, as in `#[idempotent(key = header(\"Idempotency-Key\"))]`"
                }
                Attribute::Function => {
                    "expected options, as in `#[idempotent_fn(key = event.id, runtime = \
                     self.idempotency)]`"
                }
            };
            ctxt.push(input.error(message));
            return input.parse::<TokenStream>().map(drop);
        }
        while !input.is_empty() {
            if !self.read_option(ctxt, input) {
                while !input.is_empty() && !input.peek(Token![,]) && !input.peek(Token![;]) {
                    input.parse::<TokenTree>()?;
                }
            }
            if input.parse::<Option<Token![,]>>()?.is_none() && !input.is_empty() {
                ctxt.push(input.error("expected `,` between two options"));
                input.parse::<Option<Token![;]>>()?;
            }
        }
        Ok(())
    }

    /// Reads one option. On `false` the caller goes on behind the next comma.
    fn read_option(&mut self, ctxt: &mut Ctxt, input: ParseStream<'_>) -> bool {
        let Ok(ident) = input.call(Ident::parse_any) else {
            ctxt.push(input.error("expected an option, such as `ttl = \"24h\"`"));
            return false;
        };
        let attribute = self.attribute;
        let name = Name { ident, attribute };
        let text = name.to_string();
        if !attribute.has(&text) && self.is_behind_a_value && !ends_as_an_option(input) {
            let message = "is this another value? Several values are a tuple: write `(a, b)`";
            ctxt.push(Error::new(name.span(), message));
            return false;
        }
        self.is_behind_a_value = EXPRESSIONS.contains(&&*text);
        let slots = &mut self.slots;
        if !attribute.has(&text) {
            self.misspelt.extend(attribute.meant(&text));
            ctxt.push(Error::new(name.span(), attribute.unknown(&text)));
            return false;
        }
        match text.as_str() {
            "attempt" => slots.attempt.set(ctxt, value::binding(&name, input), name),
            "crate" => slots.crate_path.set(ctxt, value::crate_path(&name, input), name),
            "fingerprint" => slots.fingerprint.set(ctxt, key::fingerprint(&name, input), name),
            "fingerprint_headers" => {
                slots.fingerprint_headers.set(ctxt, key::field_names(&name, input), name)
            }
            "key" if attribute == Attribute::Function => {
                slots.function_key.set(ctxt, key::function_key(&name, input), name)
            }
            "key" => slots.key.set(ctxt, key::key(&name, input), name),
            "lease" => slots.lease.set(ctxt, duration::lease(&name, input), name),
            "on_abandoned" => slots.on_abandoned.set(ctxt, value::word(&name, input), name),
            "on_record_failure" => {
                slots.on_record_failure.set(ctxt, value::word(&name, input), name)
            }
            "on_store_error" => slots.on_store_error.set(ctxt, value::word(&name, input), name),
            "operation" => slots.operation.set(ctxt, value::operation(&name, input), name),
            "optional" => slots.optional.set(ctxt, value::flag(&name, input), name),
            "record" => slots.record.set(ctxt, value::word(&name, input), name),
            "runtime" => slots.runtime.set(ctxt, value::over_arguments(&name, input), name),
            "scope" => slots.scope.set(ctxt, value::scope(&name, input), name),
            "shared" => slots.shared.set(ctxt, value::flag(&name, input), name),
            "spawn" => slots.spawn.set(ctxt, value::spawn(&name, input), name),
            "ttl" => slots.ttl.set(ctxt, duration::ttl(&name, input), name),
            "wait" => slots.wait.set(ctxt, duration::wait(&name, input), name),
            // Every option is in this list, which the tests of `names` and of this file hold.
            _ => false,
        }
    }

    /// Whether something else was said of an option that is missing.
    fn is_excused(&self, option: &str) -> bool {
        self.is_unreadable || self.misspelt.contains(&option)
    }

    /// Where the handler runs, as far as could be read.
    pub(crate) fn spawn(&self) -> Spawn {
        self.slots.spawn.value().copied().unwrap_or(Spawn::Detached)
    }

    /// Where the runtime is, as far as could be read.
    pub(crate) fn crate_path(&self) -> Option<Path> {
        self.slots.crate_path.value().cloned()
    }

    /// `#[idempotent]`, if nothing was wrong with it.
    pub(crate) fn finish(self, ctxt: &mut Ctxt) -> Option<Guard> {
        if !self.slots.key.is_given() && !self.is_excused("key") {
            let message = "`key` is missing: what tells a retry from a new request? Write \
                           `#[idempotent(key = header(\"Idempotency-Key\"), ttl = \"24h\")]`, or \
                           take a value from the handler's arguments, as in `key = \
                           order.reference`";
            ctxt.push(Error::new(Span::call_site(), message));
        }
        let spawn = self.spawn();
        let mut slots = self.slots;
        let (key, optional) = (slots.key.take()?, slots.optional.take().is_some());
        if optional && !matches!(key, Key::Header(_) | Key::Expression(_)) {
            let message = "`optional` says nothing here: every request has a fingerprint and content; \
                           leave it out";
            ctxt.push(Error::new(Span::call_site(), message));
        }
        let shared = slots.shared.take().is_some();
        if let (true, Some(scope)) = (shared, slots.scope.value()) {
            let message = "`shared` says that everybody shares the keys, and `scope` whose they are: leave \
                           one of them out";
            ctxt.push(Error::new_spanned(scope, message));
        }
        let (record, runtime) = (slots.record.take(), slots.runtime.take());
        let fingerprint_headers = slots.fingerprint_headers.take().unwrap_or_default();
        let common = slots.common();
        Some(Guard { common, fingerprint_headers, key, optional, record, runtime, shared, spawn })
    }

    /// `#[idempotent_fn]`, if nothing was wrong with it.
    pub(crate) fn finish_function(self, ctxt: &mut Ctxt) -> Option<FunctionGuard> {
        if !self.slots.function_key.is_given() && !self.is_excused("key") {
            let message = "`key` is missing: what tells a repeated call from a new one? Take a value \
                           from the function's arguments, as in `key = event.id`";
            ctxt.push(Error::new(Span::call_site(), message));
        }
        if !self.slots.runtime.is_given() && !self.is_excused("runtime") {
            let message = "`runtime` is missing: a function has no request to find its `Idempotency` \
                           in. Write `runtime = self.idempotency`, or take it as an argument, \
                           `idempotency: &Idempotency`, and write `runtime = idempotency`";
            ctxt.push(Error::new(Span::call_site(), message));
        }
        let mut slots = self.slots;
        let (key, runtime) = (slots.function_key.take(), slots.runtime.take());
        let (attempt, common) = (slots.attempt.take(), slots.common());
        Some(FunctionGuard { attempt, common, key: key?, runtime: runtime? })
    }
}

impl Slots {
    fn common(self) -> Common {
        Common {
            crate_path: self.crate_path.into_value(),
            fingerprint: self.fingerprint.into_value(),
            lease: self.lease.into_value(),
            on_abandoned: self.on_abandoned.into_value(),
            on_record_failure: self.on_record_failure.into_value(),
            on_store_error: self.on_store_error.into_value(),
            operation: self.operation.into_value(),
            scope: self.scope.into_value(),
            ttl: self.ttl.into_value(),
            wait: self.wait.into_value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn parse(attribute: TokenStream) -> Result<Guard, Vec<String>> {
        let mut ctxt = Ctxt::new();
        let guard = Options::parse(&mut ctxt, Attribute::Handler, attribute).finish(&mut ctxt);
        ctxt.finish(guard).map_err(|errors| errors.messages())
    }

    fn parse_function(attribute: TokenStream) -> Result<FunctionGuard, Vec<String>> {
        let mut ctxt = Ctxt::new();
        let options = Options::parse(&mut ctxt, Attribute::Function, attribute);
        let guard = options.finish_function(&mut ctxt);
        ctxt.finish(guard).map_err(|errors| errors.messages())
    }

    fn errors(attribute: TokenStream) -> Vec<String> {
        parse(attribute).err().unwrap_or_default()
    }

    #[test]
    fn every_documented_option_is_read_in_its_documented_form() {
        // All but `shared`, which excludes `scope`.
        let forms = names::OPTIONS.map(|(_, form)| form);
        let all = forms.into_iter().filter(|form| *form != "shared").collect::<Vec<_>>().join(", ");
        let guard = parse(all.parse().unwrap()).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert!(guard.common.crate_path.is_some());
        assert!(
            guard.common.fingerprint.is_some()
                && guard.runtime.is_some()
                && guard.common.scope.is_some()
        );
        assert!(matches!(&guard.key, Key::Header(name) if name.value() == "idempotency-key"));
        assert_eq!(guard.common.lease, Some(Duration::from_secs(30)));
        assert_eq!(guard.common.ttl, Some(Duration::from_hours(24)));
        assert_eq!(guard.common.wait, Some(Duration::from_secs(10)));
        assert_eq!(guard.common.on_abandoned, Some(OnAbandoned::Halt));
        assert_eq!(guard.common.on_record_failure, Some(OnRecordFailure::Withhold));
        assert_eq!(guard.common.on_store_error, Some(OnStoreError::Bypass));
        assert_eq!(
            guard.common.operation.map(|name| name.value()).as_deref(),
            Some("create_payment")
        );
        assert_eq!(guard.record, Some(RecordRule::Success));
        assert_eq!(guard.spawn, Spawn::Inline);
        assert!(guard.optional);
        let names: Vec<_> = guard.fingerprint_headers.iter().map(LitStr::value).collect();
        assert_eq!(names, ["x-account", "x-dry-run"]);
    }

    #[test]
    fn every_documented_option_of_a_function_is_read_in_its_documented_form() {
        let all = names::FUNCTION_OPTIONS.map(|(_, form)| form).join(", ");
        let guard = parse_function(all.parse().unwrap());
        let guard = guard.unwrap_or_else(|errors| panic!("{errors:?}"));
        let FunctionGuard { attempt, common, key, .. } = guard;
        assert_eq!(attempt.unwrap(), "attempt");
        assert!(matches!(key, FunctionKey::Expression(_)));
        assert!(common.crate_path.is_some() && common.fingerprint.is_some());
        assert!(common.lease.is_some() && common.wait.is_some() && common.scope.is_some());
        assert!(common.on_abandoned.is_some() && common.on_store_error.is_some());
        assert!(common.on_record_failure.is_some());
        assert_eq!(common.ttl, Some(Duration::from_hours(7 * 24)));
        assert_eq!(common.operation.unwrap().value(), "ship_order");
    }

    #[test]
    fn everybody_shares_the_keys_or_there_is_a_scope() {
        let guard = parse(quote!(key = a, shared));
        assert!(guard.unwrap_or_else(|errors| panic!("{errors:?}")).shared);
        assert_eq!(errors(quote!(key = a, shared, scope = b)).len(), 1);
        assert_eq!(errors(quote!(key = a, shared = true)).len(), 1);
    }

    #[test]
    fn a_function_has_to_say_its_key_and_its_runtime() {
        let errors = |attribute| parse_function(attribute).err().unwrap_or_default();
        assert_eq!(errors(quote!()).len(), 2);
        assert_eq!(errors(quote!(key = a)).len(), 1);
        assert_eq!(errors(quote!(key = a, store = b)).len(), 1, "a misspelt one is not missing");
        assert_eq!(errors(quote!(key = "a", runtime = header("b"), spawn = true)).len(), 3);
    }

    #[test]
    fn what_is_not_given_is_left_to_the_runtime() {
        let guard = parse(quote!(key = a,)).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert!(!guard.optional && !guard.shared);
        assert_eq!(guard.spawn, Spawn::Detached);
        assert!(
            guard.common.ttl.is_none()
                && guard.record.is_none()
                && guard.common.crate_path.is_none()
        );
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
