//! What the attributes write: the same function, whose body is handed to the runtime.
//!
//! Nothing here can fail, and nothing in a `quote!` decides anything: that is the runtime's.
//! `tests/expansion/*.expanded.rs` show the results.

pub(crate) mod function;
pub(crate) mod handler;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Expr, Type, ext::IdentExt as _, spanned::Spanned as _};

use crate::{
    argument::Argument,
    item::Body,
    model::{Common, Compared},
    parse::unparenthesized,
};

/// The module that generated code, and nobody else, may name.
fn private(common: &Common, place: Span) -> TokenStream {
    let default = || quote_spanned!(place=> ::idempotent_runtime);
    let path = common.crate_path.as_ref().map_or_else(default, ToTokens::to_token_stream);
    quote_spanned!(place=> #path::__private)
}

/// The same within a body that [imports](import) it.
fn short(place: Span) -> Ident {
    Ident::new("__idempotent", place.resolved_at(Span::call_site()))
}

/// What makes [`short`] known in a body.
fn import(common: &Common) -> TokenStream {
    let (private, short) = (private(common, Span::call_site()), short(Span::call_site()));
    quote!(use #private as #short;)
}

/// What has to be the same in a retry, where it is a value.
fn compared(compared: Option<&Compared>) -> Option<TokenStream> {
    match compared? {
        Compared::Json => None,
        Compared::Content(expr) => Some(call_with("fingerprint_content", expr)),
        Compared::Expression(expr) => Some(call_with("fingerprint", expr)),
    }
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

/// The options that do not depend on the request; `own` are those of one attribute only.
fn spec(common: &Common, ident: &Ident, own: &TokenStream) -> TokenStream {
    let private = short(Span::call_site());
    let place = format!("::{}", ident.unraw());
    let durations = [("ttl", common.ttl), ("lease", common.lease), ("wait", common.wait)];
    let durations = durations.into_iter().filter_map(|(method, duration)| {
        let (duration, method) = (duration?, Ident::new(method, Span::call_site()));
        let millis = proc_macro2::Literal::u128_unsuffixed(duration.as_millis());
        Some(quote!(.#method(#millis)))
    });
    let on_abandoned = choice("on_abandoned", common.on_abandoned);
    let on_store_error = choice("on_store_error", common.on_store_error);
    let on_record_failure = choice("on_record_failure", common.on_record_failure);
    let operation = common.operation.as_ref().map(|operation| quote!(.operation(#operation)));
    quote! {
        #private::Spec::new(#private::concat!(#private::module_path!(), #place))
            #(#durations)*
            #own
            #on_abandoned
            #on_store_error
            #on_record_failure
            #operation
    }
}

fn choice(method: &str, choice: Option<impl ToTokens>) -> TokenStream {
    let private = short(Span::call_site());
    let method = Ident::new(method, Span::call_site());
    choice.map(|choice| quote!(.#method(#private::#choice))).unwrap_or_default()
}

/// A name that neither the body nor the expressions can see.
fn local(name: &str) -> Ident {
    Ident::new(&format!("__idempotent_{name}"), Span::mixed_site())
}

/// Where the type stands, without taking the generated tokens for the user's.
fn location(ty: &Type) -> Span {
    ty.span().resolved_at(Span::call_site())
}

/// Tells the compiler what `return`, `?` and coercions in a body aim at, as a signature does. A bare
/// `_` would tell it nothing.
fn aim(returned: &Type) -> Option<TokenStream> {
    if matches!(returned, Type::Infer(_)) {
        return None;
    }
    let mut result = local("result");
    result.set_span(result.span().located_at(returned.span()));
    let private = short(location(returned));
    Some(quote_spanned! {location(returned)=>
        if let #private::Some(#result) = #private::None::<#returned> {
            return #result;
        }
    })
}

/// Every identifier in `tokens`, those in their texts too, and every `!`.
fn words(tokens: TokenStream) -> Vec<String> {
    let each = tokens.into_iter().flat_map(|token| match token {
        TokenTree::Group(group) => words(group.stream()),
        TokenTree::Ident(ident) => vec![ident.unraw().to_string()],
        TokenTree::Punct(punct) if punct.as_char() == '!' => vec!["!".to_owned()],
        TokenTree::Punct(_) => Vec::new(),
        // What a formatted text shows: `"{id}"`.
        TokenTree::Literal(text) => text
            .to_string()
            .split(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
    });
    each.collect()
}

/// The words of all options that speak of arguments. What speaks of none may misspell any: then all are
/// shown, so that the compiler can say which is meant.
fn said<'a>(
    options: impl Iterator<Item = &'a Expr>,
    arguments: impl Iterator<Item = &'a Argument>,
) -> Vec<String> {
    let known: Vec<_> =
        arguments.flat_map(Argument::names).map(|name| name.unraw().to_string()).collect();
    let mut all = Vec::new();
    for option in options {
        let said = words(option.to_token_stream());
        if !said.iter().any(|word| known.contains(word) || word == "self") && !is_constant(&said) {
            all.push("!".to_owned());
        }
        all.extend(said);
    }
    all
}

/// Whether the first of an expression's words is the name of a constant or of a type.
fn is_constant(said: &[String]) -> bool {
    said.first().is_some_and(|word| word.starts_with(char::is_uppercase))
}

/// The expression of `fingerprint`.
fn fingerprint(common: &Common) -> Option<&Expr> {
    match &common.fingerprint {
        Some(Compared::Content(expr) | Compared::Expression(expr)) => Some(expr),
        Some(Compared::Json) | None => None,
    }
}

/// `value`, where options are shown something before.
fn shown_before(shown: &TokenStream, value: TokenStream) -> TokenStream {
    if shown.is_empty() { value } else { quote!({ #shown #value }) }
}

/// The user's statements behind ours: in a block of their own where there are items among them, which stand
/// before all statements of theirs.
fn behind(ours: &TokenStream, body: &Body, statements: &TokenStream) -> TokenStream {
    const ITEMS: [&str; 11] = [
        "const",
        "enum",
        "extern",
        "fn",
        "impl",
        "macro_rules",
        "mod",
        "static",
        "struct",
        "trait",
        "use",
    ];
    let is_item =
        |token| matches!(token, TokenTree::Ident(word) if ITEMS.iter().any(|item| word == item));
    if statements.clone().into_iter().any(is_item) {
        let own = braced(body.braces, statements.clone());
        return quote!(#ours #own);
    }
    quote!(#ours #statements)
}

/// A block whose braces are the user's: what the compiler says of it is about the user's function.
fn braced(braces: Span, statements: TokenStream) -> Group {
    let mut block = Group::new(Delimiter::Brace, statements);
    block.set_span(braces);
    block
}
