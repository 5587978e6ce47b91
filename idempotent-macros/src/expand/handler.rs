//! What `#[idempotent]` writes.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Generics, Pat, Type, parse_quote};

use super::{aim, call_with, choice, local, location, private, spec};
use crate::{
    argument::Argument,
    handler::Handler,
    item::is_cfg,
    model::{Guard, Key, Spawn},
    output::{Output, unit},
};

/// Writes the guarded handler.
pub(crate) fn expand(guard: &Guard, handler: &Handler) -> TokenStream {
    let private = private(&guard.common, Span::call_site());
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

/// Everything about this call that is known before the body runs. The expressions are evaluated
/// here, so that a body which changes its input cannot change the key it is recorded under.
fn new_call(private: &TokenStream, guard: &Guard, ident: &Ident, permit: &Ident) -> TokenStream {
    let Guard { common, runtime, .. } = guard;
    let optional = guard.optional.then(|| quote!(.optional()));
    let record = choice(private, "record", guard.record);
    let spec = spec(private, common, ident, &quote!(#optional #record));
    let parts =
        [("runtime", runtime), ("scope", &common.scope), ("fingerprint", &common.fingerprint)];
    let parts = parts
        .into_iter()
        .filter_map(|(method, expr)| expr.as_ref().map(|expr| call_with(method, expr)));
    let key = match &guard.key {
        Key::Header(name) => {
            quote!(.key_header(const { #private::HeaderName::from_static(#name) }))
        }
        Key::Fingerprint => quote!(.key_fingerprint()),
        Key::Content(expr) => call_with("key_content", expr),
        Key::Expression(expr) => call_with("key", expr),
    };
    quote!(#private::Call::new(#permit, const { &#spec }) #(#parts)* #key)
}

/// The one call that everything is handed to. It is shown where the body stands, which is what its
/// bounds are about.
fn run(guard: &Guard, call: &Ident, handler: &Handler) -> TokenStream {
    let braces = handler.body.braces.resolved_at(Span::call_site());
    let private = private(&guard.common, braces);
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
    let aim = aim(&handler.output.nameable);
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
