//! The function under an attribute, as it stands there.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use syn::{
    Error, Signature, Token, Visibility,
    parse::{ParseStream, Parser as _},
};

use crate::model::Attribute;

/// A function with a body.
pub(crate) struct Item {
    pub(crate) attrs: Vec<syn::Attribute>,
    pub(crate) inner_attrs: Vec<syn::Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    pub(crate) body: Body,
}

/// The function's body, as the tokens it was written in: it need not be understood to be moved, and
/// stays intact while somebody is typing in it.
pub(crate) struct Body {
    pub(crate) braces: Span,
    pub(crate) statements: TokenStream,
}

impl Item {
    pub(crate) fn parse(item: TokenStream, attribute: Attribute) -> syn::Result<Self> {
        (|input: ParseStream<'_>| Self::read(input, attribute)).parse2(item)
    }

    fn read(input: ParseStream<'_>, attribute: Attribute) -> syn::Result<Self> {
        let attrs = input.call(syn::Attribute::parse_outer)?;
        let visibility = input.parse()?;
        if !is_function(input) {
            let message = match attribute {
                Attribute::Handler => "`#[idempotent]` goes on an async handler function",
                Attribute::Function => "`#[idempotent_fn]` goes on an async function or method",
            };
            return Err(input.error(message));
        }
        let signature: Signature = input.parse()?;
        if input.peek(Token![;]) {
            let (what, name) = match attribute {
                Attribute::Handler => ("handler", attribute.name()),
                Attribute::Function => ("function", attribute.name()),
            };
            let message =
                format!("a {what} needs a body to guard: put `{name}` on the implementation");
            return Err(input.error(message));
        }
        let body = braces(input)?;
        let (inner_attrs, statements) = split_inner_attributes.parse2(body.stream())?;
        let body = Body { braces: body.span(), statements };
        Ok(Self { attrs, inner_attrs, visibility, signature, body })
    }
}

/// The body, which a macro may hand on as a block of its own in an invisible group.
fn braces(input: ParseStream<'_>) -> syn::Result<Group> {
    let mut token: TokenTree = input.parse()?;
    loop {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return Ok(group),
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => {
                let mut inside = group.stream().into_iter();
                match (inside.next(), inside.next()) {
                    (Some(only), None) => token = only,
                    _ => return Err(Error::new(group.span(), "expected the body in braces")),
                }
            }
            token => return Err(Error::new(token.span(), "expected the body in braces")),
        }
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

fn split_inner_attributes(
    input: ParseStream<'_>,
) -> syn::Result<(Vec<syn::Attribute>, TokenStream)> {
    Ok((input.call(syn::Attribute::parse_inner)?, input.parse()?))
}

/// Whether the attribute can make what it stands on vanish.
pub(crate) fn is_cfg(attr: &syn::Attribute) -> bool {
    attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr")
}
