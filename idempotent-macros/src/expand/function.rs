//! What `#[idempotent_fn]` writes.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{quote, quote_spanned};

use super::{aim, borrowed, call_with, compared, local, location, private, spec};
use crate::{
    function::{Function, unpack},
    model::{FunctionGuard, FunctionKey},
};

/// Writes the guarded function.
pub(crate) fn expand(guard: &FunctionGuard, function: &Function) -> TokenStream {
    let Function { attrs, inner_attrs, visibility, signature, returned, body, .. } = function;
    let [mut values, call] = ["values", "call"].map(local);
    values.set_span(values.span().located_at(location(returned)));
    // All of it stands where the type does, which is what its bounds are about.
    let there = private(&guard.common, location(returned));
    let at_returned = quote_spanned! {location(returned)=>
        let #values = #there::values::<#returned>();
    };
    let private = private(&guard.common, Span::call_site());
    let new_call = new_call(&private, guard, &signature.ident);
    let begin = match &guard.attempt {
        None => quote!(let #call = #new_call;),
        // The body finds its attempt under the name that the user wrote.
        Some(attempt) => quote!(let (#call, #attempt) = #new_call.attempt(&#values);),
    };
    let (unpacking, statements) = unpack(&body.statements);
    let aim = aim(returned);
    let mut block = Group::new(Delimiter::Brace, quote!(#aim #statements));
    block.set_span(body.braces);
    let braces = body.braces.resolved_at(Span::call_site());
    let future = quote_spanned!(body.braces=> async move #block);
    let run = quote_spanned!(braces=> run_function);
    let guarded = function.with(quote! {
        #(#unpacking)*
        #at_returned
        #begin
        #private::#run(#call, #future, #values).await
    });
    quote! {
        #(#attrs)*
        #visibility #signature {
            #(#inner_attrs)*
            #guarded
        }
    }
}

/// Everything about this call that is known before the body runs.
fn new_call(private: &TokenStream, guard: &FunctionGuard, ident: &Ident) -> TokenStream {
    let FunctionGuard { common, key, runtime, .. } = guard;
    let (spec, runtime) = (spec(private, common, ident, &TokenStream::new()), borrowed(runtime));
    let scope = common.scope.as_ref().map(|scope| call_with("scope", scope));
    let fingerprint = compared(common.fingerprint.as_ref());
    let key = match key {
        FunctionKey::Content(expr) => call_with("key_content", expr),
        FunctionKey::Expression(expr) => call_with("key", expr),
    };
    quote! {
        #private::Function::new(#runtime, {
            static __IDEMPOTENT_SITE: #private::Site = #private::Site::new(
                #spec,
                ::core::concat!(::core::file!(), ":", ::core::line!(), ":", ::core::column!()),
            );
            &__IDEMPOTENT_SITE
        }) #scope #fingerprint #key
    }
}
