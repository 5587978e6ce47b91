//! What the attribute writes: the same function, whose body is one call into the runtime.
//!
//! Nothing here can fail, and nothing in a `quote!` decides anything: that is the runtime's.
//! `tests/expansion/*.expanded.rs` show the result.

use std::time::Duration;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Expr, Generics, Pat, Type, ext::IdentExt as _, parse_quote, spanned::Spanned as _};

use crate::{
    argument::Argument,
    handler::{Handler, is_cfg},
    model::{Guard, Key, Spawn},
    output::{Output, unit},
    parse::unparenthesized,
};

/// Writes the guarded handler.
pub(crate) fn expand(guard: &Guard, handler: &Handler) -> TokenStream {
    let private = private(guard, Span::call_site());
    let Handler {
        attrs,
        inner_attrs,
        visibility,
        asyncness,
        fn_token,
        ident,
        generics,
        leading,
        ..
    } = handler;
    let Generics { where_clause, .. } = generics;
    let leading =
        leading.iter().map(|Argument { attrs, pat, ty, .. }| quote!(#(#attrs)* #pat: #ty));
    let [last, value, permit, call] = ["last", "value", "guard", "call"].map(local);
    let Last { attrs: last_attrs, pat, ty } = Last::of(handler);
    let guarded = quote_spanned!(location(&ty)=> #private::Guarded<#ty>);
    let Output { arrow, declared, .. } = &handler.output;
    let outcome = quote_spanned!(location(declared)=> #private::Outcome<#declared>);
    let new_call = new_call(&private, guard, ident, &permit);
    let run = run(guard, &call, handler);
    quote! {
        #(#attrs)*
        #visibility #asyncness #fn_token #ident #generics (
            #(#leading,)*
            #last: #guarded
        ) #arrow #outcome #where_clause {
            #(#inner_attrs)*
            let (#value, #permit) = #last.into_parts();
            #last_attrs
            let #pat = #value;
            let #call = #new_call;
            #run
        }
    }
}

/// The last argument, which a handler without arguments has too.
struct Last {
    attrs: TokenStream,
    pat: Pat,
    ty: Type,
}

impl Last {
    fn of(handler: &Handler) -> Self {
        match &handler.last {
            Some(Argument { attrs, pat, ty, .. }) => {
                Self { attrs: quote!(#(#attrs)*), pat: pat.clone(), ty: ty.clone() }
            }
            None => Self { attrs: TokenStream::new(), pat: parse_quote!(()), ty: unit() },
        }
    }
}

/// The module that generated code, and nobody else, may name.
fn private(guard: &Guard, place: Span) -> TokenStream {
    let default = || quote_spanned!(place=> ::idempotent_runtime);
    let path = guard.crate_path.as_ref().map_or_else(default, ToTokens::to_token_stream);
    quote_spanned!(place=> #path::__private)
}

/// Everything about this call that is known before the body runs. The expressions are evaluated
/// here, so that a body which changes its input cannot change the key it is recorded under.
fn new_call(private: &TokenStream, guard: &Guard, ident: &Ident, permit: &Ident) -> TokenStream {
    let spec = spec(private, guard, ident);
    let parts =
        [("runtime", &guard.runtime), ("scope", &guard.scope), ("fingerprint", &guard.fingerprint)];
    let parts = parts
        .into_iter()
        .filter_map(|(method, expr)| expr.as_ref().map(|expr| call_with(method, expr)));
    let key = match &guard.key {
        Key::Header(name) => {
            quote!(.key_header(const { #private::HeaderName::from_static(#name) }))
        }
        Key::Expression(expr) => call_with("key", expr),
    };
    quote!(#private::Call::new(#permit, const { &#spec }) #(#parts)* #key)
}

fn call_with(method: &str, expr: &Expr) -> TokenStream {
    let method = Ident::new(method, expr.span().resolved_at(Span::call_site()));
    let borrowed = borrowed(expr);
    quote!(.#method(#borrowed))
}

/// A reference to the value of `expr`; of a tuple to its elements, so that none has to move.
fn borrowed(expr: &Expr) -> TokenStream {
    let span = expr.span().resolved_at(Span::call_site());
    match unparenthesized(expr) {
        Expr::Tuple(tuple) => {
            let elems = tuple.elems.iter().map(borrowed);
            let mut elems = Group::new(Delimiter::Parenthesis, quote!(#(#elems,)*));
            elems.set_span(tuple.paren_token.span.join());
            quote_spanned!(span=> &#elems)
        }
        // These bind tighter than `&`.
        Expr::Call(_)
        | Expr::Field(_)
        | Expr::Index(_)
        | Expr::Lit(_)
        | Expr::Macro(_)
        | Expr::MethodCall(_)
        | Expr::Paren(_)
        | Expr::Path(_)
        | Expr::Reference(_) => {
            quote_spanned!(span=> &#expr)
        }
        _ => quote_spanned!(span=> &(#expr)),
    }
}

/// The options that do not depend on the request.
fn spec(private: &TokenStream, guard: &Guard, ident: &Ident) -> TokenStream {
    let place = format!("::{}", ident.unraw());
    let durations = [("ttl", guard.ttl), ("lease", guard.lease), ("wait", guard.wait)];
    let durations = durations.into_iter().filter_map(|(method, duration)| {
        let duration = duration_tokens(private, duration?);
        let method = Ident::new(method, Span::call_site());
        Some(quote!(.#method(#duration)))
    });
    let optional = guard.optional.then(|| quote!(.optional()));
    let record = choice(private, "record", guard.record);
    let on_abandoned = choice(private, "on_abandoned", guard.on_abandoned);
    let on_store_error = choice(private, "on_store_error", guard.on_store_error);
    let on_record_failure = choice(private, "on_record_failure", guard.on_record_failure);
    let operation = guard.operation.as_ref().map(|operation| quote!(.operation(#operation)));
    quote! {
        #private::Spec::new(::core::concat!(::core::module_path!(), #place))
            #(#durations)*
            #optional
            #record
            #on_abandoned
            #on_store_error
            #on_record_failure
            #operation
    }
}

fn choice(private: &TokenStream, method: &str, choice: Option<impl ToTokens>) -> TokenStream {
    let method = Ident::new(method, Span::call_site());
    choice.map(|choice| quote!(.#method(#private::#choice))).unwrap_or_default()
}

fn duration_tokens(private: &TokenStream, duration: Duration) -> TokenStream {
    let seconds = proc_macro2::Literal::u64_unsuffixed(duration.as_secs());
    let nanos = proc_macro2::Literal::u32_unsuffixed(duration.subsec_nanos());
    quote!(#private::Duration::new(#seconds, #nanos))
}

/// The one call that everything is handed to. It is shown where the body stands, which is what its
/// bounds are about.
fn run(guard: &Guard, call: &Ident, handler: &Handler) -> TokenStream {
    let braces = handler.body.braces.resolved_at(Span::call_site());
    let private = private(guard, braces);
    let body = body(handler);
    let returned = &handler.output.nameable;
    let reply = quote_spanned!(location(returned)=> #private::reply::<#returned>);
    let run = match guard.spawn {
        Spawn::Detached => quote_spanned!(braces=> run),
        Spawn::Inline => quote_spanned!(braces=> run_inline),
    };
    quote_spanned!(braces=> #private::#run(#call, #body, #reply).await)
}

/// The handler's body as a future. Its braces stay where they were, so that errors about the whole
/// block (no tail expression, not `Send`) point at the user's block.
fn body(handler: &Handler) -> TokenStream {
    let statements = &handler.body.statements;
    let returned = &handler.output.nameable;
    let mut result = local("result");
    result.set_span(result.span().located_at(returned.span()));
    // Tells the compiler what `return`, `?` and coercions in the body aim at, as a signature does.
    // A bare `_` would tell it nothing.
    let aim = (!matches!(returned, Type::Infer(_))).then(|| {
        quote_spanned! {location(returned)=>
            #[allow(unreachable_code, clippy::empty_loop, clippy::let_unit_value)]
            if false {
                let #result: #returned = loop {};
                return #result;
            }
        }
    });
    let held = handler.leading.iter().chain(&handler.last).flat_map(|argument| {
        let cfgs: Vec<_> = argument.attrs.iter().filter(|attr| is_cfg(attr)).collect();
        argument.held.iter().map(move |ident| {
            quote! {
                #(#cfgs)*
                #[allow(clippy::used_underscore_binding)]
                let _ = &#ident;
            }
        })
    });
    let mut block = Group::new(Delimiter::Brace, quote!(#aim #(#held)* #statements));
    block.set_span(handler.body.braces);
    quote_spanned!(handler.body.braces=> async move #block)
}

/// A name that neither the body nor the expressions can see.
fn local(name: &str) -> Ident {
    Ident::new(&format!("__idempotent_{name}"), Span::mixed_site())
}

/// Where the type stands, without taking the generated tokens for the user's.
fn location(ty: &Type) -> Span {
    ty.span().resolved_at(Span::call_site())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_another_name_the_crate_is_named_nowhere() {
        let attribute = quote! {
            key = header("Idempotency-Key"), ttl = "24h", record = all, on_abandoned = halt,
            scope = a, crate = renamed
        };
        let handler = quote!(
            async fn handler(_: A, b: B) -> impl C {}
        );
        let expanded = crate::guard(attribute, &handler).to_string();
        assert!(expanded.contains("renamed :: __private :: run"), "{expanded}");
        assert!(!expanded.contains("idempotent_runtime"), "{expanded}");
    }
}
