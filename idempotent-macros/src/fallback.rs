//! What is written when the attribute cannot be used.

use proc_macro2::{Delimiter, Group, TokenStream};
use quote::quote;
use syn::FnArg;

use crate::{argument, ctxt::Errors, item::Item, model::Attribute};

/// The function without names that two arguments have, which the compiler would also speak of.
pub(crate) fn with_names_once(item: TokenStream, attribute: Attribute) -> TokenStream {
    let Ok(parsed) = Item::parse(item.clone(), attribute) else { return item };
    let Item { attrs, inner_attrs, visibility, mut signature, body } = parsed;
    let mut seen = Vec::new();
    for argument in &mut signature.inputs {
        if let FnArg::Typed(argument) = argument {
            argument::forget_known(&mut argument.pat, &mut seen);
        }
    }
    let statements = &body.statements;
    let mut block = Group::new(Delimiter::Brace, quote!(#(#inner_attrs)* #statements));
    block.set_span(body.braces);
    quote!(#(#attrs)* #visibility #signature #block)
}

/// The function as it was or as others may call it, and every mistake: completion goes on working in editors, and the
/// compiler does not also report that the handler is missing.
pub(crate) fn fallback(item: &TokenStream, errors: Errors) -> TokenStream {
    let errors = errors.into_compile_errors();
    quote!(#item #errors)
}

#[cfg(test)]
mod tests {
    use proc_macro2::TokenTree;

    use super::*;

    const ATTRIBUTE: &str = r#"key = header("Idempotency-Key"), ttl = "24h", scope = (a.b, c),
        lease = "30s", optional, record = success, operation = "op", spawn = false, crate = a::b"#;
    const ITEM: &str = r"#[doc(hidden)] pub(crate) async fn create<T: A>(State(app): State<App>,
        _: B, Json(C { d, .. }): Json<C>) -> Result<impl D, E> where T: F { #![allow(x)] a.b().await }";

    fn tokens(text: &str) -> Vec<TokenTree> {
        text.parse::<TokenStream>().unwrap().into_iter().collect()
    }

    /// The text as somebody types it: without its end, and without each of its tokens.
    fn unfinished(text: &str) -> Vec<TokenStream> {
        let tokens = tokens(text);
        let without = |at| tokens.iter().enumerate().filter(move |(i, _)| *i != at);
        let without = |at| without(at).map(|(_, token)| token.clone()).collect();
        let prefixes = (0..tokens.len()).map(|end| tokens[..end].iter().cloned().collect());
        prefixes.chain((0..tokens.len()).map(without)).collect()
    }

    #[test]
    fn a_wrong_attribute_leaves_a_function_that_others_can_call() {
        let item: TokenStream = ITEM.parse().unwrap();
        let expanded = crate::guard(quote!(ttl = "24", kye = a), &item).to_string();
        assert_eq!(expanded.matches("compile_error").count(), 2);
        assert!(
            expanded.contains("Guarded < Json < C > >") && expanded.contains("a . b () . await")
        );
        // What is wrong with the function itself is shown beside it as it was.
        let item = quote!(
            fn f(a: u64) {}
        );
        let expanded = crate::guard(quote!(key = a), &item).to_string();
        let errors = expanded.strip_prefix(&item.to_string()).unwrap();
        assert_eq!(errors.matches("compile_error").count(), 2);
    }

    #[test]
    fn a_half_typed_attribute_never_panics_and_never_loses_the_function() {
        let item: TokenStream = ITEM.parse().unwrap();
        for attribute in unfinished(ATTRIBUTE) {
            let expanded = crate::guard(attribute, &item).to_string();
            assert!(expanded.contains("fn create"));
        }
    }

    #[test]
    fn a_half_typed_function_never_panics_and_never_loses_a_token() {
        let attribute: TokenStream = ATTRIBUTE.parse().unwrap();
        for item in unfinished(ITEM) {
            let expanded = crate::guard(attribute.clone(), &item).to_string();
            assert!(expanded.contains("a . b () . await") || expanded.contains(&item.to_string()));
        }
    }
}
