//! The function under the attribute, taken apart.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use syn::{
    Attribute, FnArg, GenericParam, Generics, Ident, Safety, Signature, Token, TypeParamBound,
    Visibility, WherePredicate,
    parse::{ParseStream, Parser as _},
    parse_quote_spanned,
};

use crate::{argument::Argument, ctxt::Ctxt, model::Spawn, output::Output};

/// An async function that can be guarded.
pub(crate) struct Handler {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) inner_attrs: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) asyncness: Token![async],
    pub(crate) fn_token: Token![fn],
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    /// All arguments but the last.
    pub(crate) leading: Vec<Argument>,
    /// The last one; a handler without arguments has none.
    pub(crate) last: Option<Argument>,
    pub(crate) output: Output,
    pub(crate) body: Body,
}

/// The function's body, as the tokens it was written in: it need not be understood to be moved, and
/// stays intact while somebody is typing in it.
pub(crate) struct Body {
    pub(crate) braces: Span,
    pub(crate) statements: TokenStream,
}

/// The function as it stands there.
struct Function {
    attrs: Vec<Attribute>,
    inner_attrs: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    body: Body,
}

impl Handler {
    /// Reads the function and notes everything about it that cannot be guarded.
    pub(crate) fn parse(ctxt: &mut Ctxt, item: TokenStream, spawn: Spawn) -> Option<Self> {
        let function = ctxt.ok(Function::parse.parse2(item))?;
        let Function { attrs, inner_attrs, visibility, signature, body } = function;
        check_attributes(ctxt, &attrs);
        check_qualifiers(ctxt, &signature);
        let generics = generics(ctxt, signature.generics, spawn);
        let mut leading: Vec<_> = signature
            .inputs
            .into_iter()
            .enumerate()
            .filter_map(|(at, argument)| match argument {
                FnArg::Typed(argument) => Some(Argument::new(ctxt, argument, at, spawn)),
                FnArg::Receiver(receiver) => {
                    let message = "an axum handler has no receiver: take what it needs as an \
                                   argument, such as `State(app): State<App>`";
                    ctxt.error_at(receiver, message);
                    None
                }
            })
            .collect();
        let last = leading.pop();
        if let Some(cfg) = last.iter().flat_map(|last| &last.attrs).find(|a| is_cfg(a)) {
            let message = "the last argument is the one that carries the guard, so it cannot be \
                           conditional: move it before another argument";
            ctxt.error_at(cfg, message);
        }
        Some(Self {
            attrs,
            inner_attrs,
            visibility,
            asyncness: signature.asyncness?,
            fn_token: signature.fn_token,
            ident: signature.ident,
            generics,
            leading,
            last,
            output: Output::new(signature.output),
            body,
        })
    }
}

impl Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        if !is_function(input) {
            return Err(input.error("`#[idempotent]` goes on an async handler function"));
        }
        let signature: Signature = input.parse()?;
        if input.peek(Token![;]) {
            let message = "a handler needs a body to guard: put `#[idempotent]` on the \
                           implementation";
            return Err(input.error(message));
        }
        let body: Group = input.parse()?;
        let (inner_attrs, statements) = split_inner_attributes.parse2(body.stream())?;
        let body = Body { braces: body.span(), statements };
        Ok(Self { attrs, inner_attrs, visibility, signature, body })
    }
}

const QUALIFIERS: [&str; 4] = ["async", "const", "extern", "unsafe"];

fn is_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    loop {
        match ahead.parse() {
            Ok(TokenTree::Ident(ident)) if ident == "fn" => return true,
            Ok(TokenTree::Ident(ident)) if QUALIFIERS.iter().any(|word| ident == word) => {}
            Ok(TokenTree::Literal(_)) => {} // the ABI behind `extern`
            _ => return false,
        }
    }
}

fn split_inner_attributes(input: ParseStream<'_>) -> syn::Result<(Vec<Attribute>, TokenStream)> {
    Ok((input.call(Attribute::parse_inner)?, input.parse()?))
}

/// Attributes that are still to come, because they stand below ours, see the rewritten function.
fn check_attributes(ctxt: &mut Ctxt, attrs: &[Attribute]) {
    for attr in attrs {
        let names: Vec<_> = attr.path().segments.iter().map(|s| s.ident.to_string()).collect();
        match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [.., "idempotent"] => {
                ctxt.error_at(attr, "`#[idempotent]` is given twice: keep one of them");
            }
            ["utoipa", "path"] => {
                let message = "put `#[utoipa::path]` above `#[idempotent]`: below it, it no longer \
                               sees the type of the last argument";
                ctxt.error_at(attr, message);
            }
            _ => {}
        }
    }
}

fn check_qualifiers(ctxt: &mut Ctxt, signature: &Signature) {
    if signature.asyncness.is_none() {
        let message = format!("a guarded handler is async: write `async fn {}`", signature.ident);
        ctxt.error_at(signature.fn_token, message);
    }
    if let Some(constness) = &signature.constness {
        ctxt.error_at(constness, "a handler cannot be `const`: remove it");
    }
    if let Safety::Unsafe(unsafety) = &signature.safety {
        let message = "axum cannot call an `unsafe` handler: remove it, and use an `unsafe` block \
                       in the body";
        ctxt.error_at(unsafety, message);
    }
    if let Some(abi) = &signature.abi {
        ctxt.error_at(abi, "axum cannot call an `extern` handler: remove it");
    }
}

/// The generics with what a task of its own asks of them.
fn generics(ctxt: &mut Ctxt, mut generics: Generics, spawn: Spawn) -> Generics {
    if spawn == Spawn::Inline {
        return generics;
    }
    let mut bounds: Vec<WherePredicate> = Vec::new();
    for param in &generics.params {
        match param {
            GenericParam::Lifetime(lifetime) => ctxt.error_at(
                lifetime,
                "the handler runs in a task of its own, which may outlive the request, so nothing \
                 in it can borrow: use owned arguments (or `spawn = false`)",
            ),
            GenericParam::Type(param) if !param.bounds.iter().any(is_static) => {
                let ident = &param.ident;
                bounds.push(parse_quote_spanned!(ident.span()=> #ident: 'static));
            }
            GenericParam::Type(_) | GenericParam::Const(_) => {}
        }
    }
    if !bounds.is_empty() {
        generics.make_where_clause().predicates.extend(bounds);
    }
    generics
}

fn is_static(bound: &TypeParamBound) -> bool {
    matches!(bound, TypeParamBound::Lifetime(lifetime) if lifetime.ident == "static")
}

/// Whether the attribute can make what it stands on vanish.
pub(crate) fn is_cfg(attr: &Attribute) -> bool {
    attr.path().is_ident("cfg")
}
