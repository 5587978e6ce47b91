//! What `#[idempotent_fn]` writes.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Signature;

use super::{
    aim, behind, borrowed, braced, call_with, compared, fingerprint, import, local, location, said,
    short, shown_before, spec, words,
};
use crate::{
    function::{Function, unpack},
    model::{FunctionGuard, FunctionKey},
};

/// Writes the guarded function.
pub(crate) fn expand(guard: &FunctionGuard, function: &Function) -> TokenStream {
    let Function { attrs, inner_attrs, visibility, signature, arguments, returned, body, .. } =
        function;
    let [mut values, call] = ["values", "call"].map(local);
    values.set_span(values.span().located_at(location(returned)));
    // All of it stands where the type does, which is what its bounds are about.
    let there = short(location(returned));
    let (import, private) = (import(&guard.common), short(Span::call_site()));
    let (FunctionKey::Content(key) | FunctionKey::Expression(key)) = &guard.key;
    let options = [Some(key), Some(&guard.runtime), guard.common.scope.as_ref()];
    let options = options.into_iter().flatten().chain(fingerprint(&guard.common));
    let said = said(options, arguments.iter());
    let shown = arguments.iter().map(|argument| argument.shown(argument.is_named_in(&said)));
    let shown: TokenStream = shown.collect();
    let words = words(body.statements.clone());
    let bound =
        arguments.iter().map(|argument| argument.bound(argument.is_named_in(&said), &words));
    let bound: TokenStream = bound.collect();
    // A method that a trait provides is one function for all types that have it.
    let is_method = signature.receiver().is_some();
    let new_call = shown_before(&shown, new_call(guard, &signature.ident, is_method));
    let (begin, call, values) = match &guard.attempt {
        None => {
            (TokenStream::new(), new_call, quote_spanned!(location(returned)=> #there::values()))
        }
        // The body finds its attempt under the name that the user wrote.
        Some(attempt) => {
            let at_returned = quote_spanned! {location(returned)=>
                let #values = #there::values::<#returned>();
            };
            let begin = quote! {
                #at_returned
                let (#call, #attempt) = #new_call.attempt(&#values);
            };
            (begin, call.into_token_stream(), values.into_token_stream())
        }
    };
    let (unpacking, statements) = unpack(&body.statements);
    let aim = aim(returned);
    let block = braced(body.braces, behind(&quote!(#aim #bound), body, &statements));
    let braces = body.braces.resolved_at(Span::call_site());
    let run = quote_spanned!(braces=> run_function);
    let guarded = function.with(quote! {
        #(#unpacking)*
        #begin
        #private::#run(#call, move || async move #block, #values).await
    });
    let Signature {
        constness,
        asyncness,
        safety,
        abi,
        fn_token,
        ident,
        generics,
        inputs,
        output,
        ..
    } = signature;
    let where_clause = &generics.where_clause;
    let declared = arguments.iter().map(|argument| argument.declared(argument.is_named_in(&said)));
    let inputs = inputs.iter().map(ToTokens::to_token_stream).chain(declared);
    let outer = braced(body.braces, quote!(#(#inner_attrs)* #import #guarded));
    quote! {
        #(#attrs)*
        #visibility #constness #asyncness #safety #abi #fn_token #ident #generics (#(#inputs),*) #output
        #where_clause #outer
    }
}

/// Everything about this call that is known before the body runs.
fn new_call(guard: &FunctionGuard, ident: &Ident, is_method: bool) -> TokenStream {
    let private = short(Span::call_site());
    let FunctionGuard { common, key, runtime, .. } = guard;
    let (spec, runtime) = (spec(common, ident, &TokenStream::new()), borrowed(runtime));
    let method_of = (is_method && common.operation.is_none()).then(|| quote!(.method_of::<Self>()));
    let scope = common.scope.as_ref().map(|scope| call_with("scope", scope));
    let fingerprint = compared(common.fingerprint.as_ref());
    let key = match key {
        FunctionKey::Content(expr) => call_with("key_content", expr),
        FunctionKey::Expression(expr) => call_with("key", expr),
    };
    quote! {
        #private::Function::new(#runtime, {
            static __IDEMPOTENT_SITE: #private::Site = #private::Site::new(#spec);
            &__IDEMPOTENT_SITE
        }) #method_of #scope #fingerprint #key
    }
}
