//! Values as all options have them: what stands behind the `=`.

use proc_macro2::{Span, TokenTree};
use quote::ToTokens as _;
use syn::{
    Error, Expr, ExprCall, ExprGroup, ExprLit, ExprParen, Ident, Lit, LitBool, LitStr, Path, Token,
    ext::IdentExt as _, parse::ParseStream,
};

use super::{
    constant::is_constant,
    names::{Name, list, nearest},
};
use crate::model::{Attribute, Spawn, Word};

/// Any expression.
pub(super) fn expression(name: &Name, input: ParseStream<'_>) -> syn::Result<Expr> {
    equals(name, input)?;
    let value: Expr = input.parse()?;
    if let Expr::Assign(assignment) = &value {
        return Err(Error::new_spanned(assignment.eq_token, "expected `,` between two options"));
    }
    Ok(value)
}

/// A name for the body to use.
pub(super) fn binding(name: &Name, input: ParseStream<'_>) -> syn::Result<Ident> {
    equals(name, input)?;
    input.parse().map_err(|error| {
        let message = format!(
            "`{name}` is a name under which the body finds its attempt: write `{}`",
            name.form()
        );
        Error::new(error.span(), message)
    })
}

/// `scope = …`.
pub(super) fn scope(name: &Name, input: ParseStream<'_>) -> syn::Result<Expr> {
    let value = over_arguments(name, input)?;
    if is_constant(&value) {
        let message = match name.attribute {
            Attribute::Handler => {
                "a constant scope is one scope for everybody, who would read each other's answers: \
                 write whose key it is, as in `scope = user.id`, or `shared` where everybody shares \
                 the keys"
            }
            Attribute::Function => {
                "a constant scope is one scope for all calls: write whose key it is, as in `scope = \
                 event.tenant`, or leave it out"
            }
        };
        return Err(Error::new_spanned(value, message));
    }
    Ok(value)
}

/// An expression over the arguments.
pub(super) fn over_arguments(name: &Name, input: ParseStream<'_>) -> syn::Result<Expr> {
    let value = expression(name, input)?;
    too_many_parts(&value)?;
    missing_value(&value, "a missing value is told from others: write")?;
    if let Some(header) = nested_header(&value) {
        if name.attribute == Attribute::Function {
            return Err(Error::new_spanned(header, NO_HEADERS));
        }
        let message = format!(
            "`header(…)` stands alone in `key`: write `{name}` over the handler's arguments; to use \
             another header, take it with an extractor such as `HeaderMap`"
        );
        return Err(Error::new_spanned(header, message));
    }
    Ok(value)
}

/// Why `header(…)` is nothing for a function.
pub(super) const NO_HEADERS: &str = "a function has no headers: take a value from its arguments, as in \
                                     `key = event.id`; a handler of axum takes `#[idempotent]`";

/// A call `header("…")` that is the expression or a part of it.
pub(super) fn nested_header(expr: &Expr) -> Option<&ExprCall> {
    match unparenthesized(expr) {
        Expr::Call(call) if is_header(call) => Some(call),
        Expr::Call(call) => call.args.iter().find_map(nested_header),
        Expr::MethodCall(call) => nested_header(&call.receiver),
        Expr::Reference(reference) => nested_header(&reference.expr),
        Expr::Try(tried) => nested_header(&tried.expr),
        Expr::Tuple(tuple) => tuple.elems.iter().find_map(nested_header),
        _ => None,
    }
}

/// Refuses a tuple of more values than have a form.
pub(super) fn too_many_parts(expr: &Expr) -> syn::Result<()> {
    const MOST: usize = 8;
    match unparenthesized(expr) {
        Expr::Tuple(tuple) if tuple.elems.len() > MOST => {
            let message = format!(
                "a tuple has up to {MOST} values here; nest them, as in `((a, b), (c, d))`"
            );
            Err(Error::new_spanned(tuple, message))
        }
        Expr::Tuple(tuple) => tuple.elems.iter().try_for_each(too_many_parts),
        Expr::Reference(reference) => too_many_parts(&reference.expr),
        _ => Ok(()),
    }
}

/// Refuses `order.id?`: there is nothing to return from.
pub(super) fn missing_value(expr: &Expr, what: &str) -> syn::Result<()> {
    match unparenthesized(expr) {
        Expr::Try(tried) => {
            let inside = tried.expr.to_token_stream().to_string().replace(' ', "");
            Err(Error::new_spanned(tried, format!("{what} `{inside}` without `?`")))
        }
        Expr::Tuple(tuple) => tuple.elems.iter().try_for_each(|elem| missing_value(elem, what)),
        Expr::Reference(reference) => missing_value(&reference.expr, what),
        _ => Ok(()),
    }
}

/// `header("…")`, which no function of the user's has to be, or it could not depend on the request.
fn is_header(call: &ExprCall) -> bool {
    matches!(&*call.func, Expr::Path(path) if path.path.is_ident("header"))
        && call.args.len() == 1
        && matches!(call.args.first(), Some(Expr::Lit(ExprLit { lit: Lit::Str(_), .. })))
}

/// An option without a value.
pub(super) fn flag(name: &Name, input: ParseStream<'_>) -> syn::Result<()> {
    if ends(input) {
        return Ok(());
    }
    let message = format!("`{name}` takes no value: write `{name}` alone, or leave it out");
    Err(Error::new(next_span(input), message))
}

/// One of the words of `T`.
pub(super) fn word<T: Word>(name: &Name, input: ParseStream<'_>) -> syn::Result<T> {
    equals(name, input)?;
    let choices = list(T::WORDS).replace(" and ", " or ");
    if let Ok(literal) = input.fork().parse::<LitStr>() {
        let message = format!("`{name}` takes a word without quotes: {choices}");
        return Err(Error::new(literal.span(), message));
    }
    if !input.peek(Ident::peek_any) {
        return Err(input.error(format!("`{name}` is {choices}")));
    }
    let given = input.call(Ident::parse_any)?;
    if let Some((_, meaning)) = T::WORDS.iter().find(|(word, _)| given == word) {
        return Ok(*meaning);
    }
    let meant = nearest(&given.to_string(), T::WORDS.iter().map(|(word, _)| *word));
    let meant = meant.map_or(String::new(), |meant| format!(" (did you mean `{meant}`?)"));
    let message = format!("`{name}` is {choices}, not `{given}`{meant}");
    Err(Error::new(given.span(), message))
}

/// `operation = "…"`.
pub(super) fn operation(name: &Name, input: ParseStream<'_>) -> syn::Result<LitStr> {
    let value = expression(name, input)?;
    let Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) = unparenthesized(&value) else {
        let message = format!("`{name}` is a string literal: write `{}`", name.form());
        return Err(Error::new_spanned(value, message));
    };
    if literal.value().trim().is_empty() {
        let message = match name.attribute {
            Attribute::Handler => {
                "an operation needs a name: write the handler's, as in `operation = \
                 \"create_payment\"`, or leave it out to use the route"
            }
            Attribute::Function => {
                "an operation needs a name: write the function's, as in `operation = \
                 \"ship_order\"`, or leave it out to use its path"
            }
        };
        return Err(Error::new(literal.span(), message));
    }
    Ok(literal.clone())
}

/// `spawn = false`.
pub(super) fn spawn(name: &Name, input: ParseStream<'_>) -> syn::Result<Spawn> {
    equals(name, input)?;
    let value: LitBool = input.parse().map_err(|error| {
        Error::new(error.span(), format!("`{name}` is `true` (the default) or `false`"))
    })?;
    Ok(if value.value { Spawn::Detached } else { Spawn::Inline })
}

/// `crate = path`.
pub(super) fn crate_path(name: &Name, input: ParseStream<'_>) -> syn::Result<Path> {
    equals(name, input)?;
    input.call(Path::parse_mod_style).map_err(|error| {
        let message = "`crate` is a path without quotes: write `crate = some::path`";
        Error::new(error.span(), message)
    })
}

/// What stands inside parentheses and the invisible groups of `macro_rules!`.
pub(crate) fn unparenthesized(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(ExprParen { expr, .. }) | Expr::Group(ExprGroup { expr, .. }) => {
            unparenthesized(expr)
        }
        _ => expr,
    }
}

/// Takes the `=` that has a value behind it.
fn equals(name: &Name, input: ParseStream<'_>) -> syn::Result<()> {
    let write = format!("write `{}`", name.form());
    if ends(input) {
        return Err(Error::new(name.span(), format!("`{name}` needs a value: {write}")));
    }
    if !input.peek(Token![=]) || input.peek(Token![==]) || input.peek(Token![=>]) {
        return Err(Error::new(next_span(input), format!("expected `=` behind `{name}`: {write}")));
    }
    let equals: Token![=] = input.parse()?;
    if ends(input) {
        return Err(Error::new(equals.span, format!("`{name}` needs a value: {write}")));
    }
    Ok(())
}

fn ends(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

/// The span of the next token, a whole group included.
fn next_span(input: ParseStream<'_>) -> Span {
    input.fork().parse::<TokenTree>().map_or_else(|_| input.span(), |token| token.span())
}
