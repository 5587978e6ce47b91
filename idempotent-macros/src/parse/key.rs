//! `key = header("Idempotency-Key")` or an expression over the handler's arguments.

use syn::{Error, Expr, ExprCall, ExprLit, Ident, Lit, LitStr, parse::ParseStream};

use super::value::{expression, nested_header, unparenthesized};
use crate::model::Key;

/// Header fields that belong to one connection or one message (RFC 9110 sections 6 and 7.6.1): a
/// proxy may drop or rewrite them.
const CONNECTION: [&str; 14] = [
    "connection",
    "content-length",
    "date",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "forwarded",
];

/// Who asks, or with what.
const CALLER: [&str; 7] = [
    "authorization",
    "cookie",
    "origin",
    "proxy-authorization",
    "referer",
    "set-cookie",
    "x-api-key",
];

/// What kind of content, which many requests have in common.
const CONTENT: [&str; 8] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-type",
    "user-agent",
];

pub(super) fn key(name: &Ident, input: ParseStream<'_>) -> syn::Result<Key> {
    let value = expression(name, input)?;
    match unparenthesized(&value) {
        Expr::Call(call) if is_header(call) => header(call).map(Key::Header),
        constant if is_constant(constant) => Err(Error::new_spanned(
            &value,
            match constant {
                Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if check(&text.value()).is_ok() => {
                    format!(
                        "a constant key gives every request the same record: write `key = \
                         header(\"{}\")` to read the key from that header",
                        text.value()
                    )
                }
                _ => "a constant key gives every request the same record: write `key = \
                      header(\"Idempotency-Key\")`, or an expression over the handler's arguments"
                    .into(),
            },
        )),
        other => match nested_header(other) {
            Some(header) => Err(Error::new_spanned(
                header,
                "`header(…)` stands alone: write `key = header(…)`, and what says whose key it is \
                 as `scope = …`",
            )),
            None => Ok(Key::Expression(value)),
        },
    }
}

fn is_header(call: &ExprCall) -> bool {
    matches!(&*call.func, Expr::Path(path) if path.path.is_ident("header"))
}

fn header(call: &ExprCall) -> syn::Result<LitStr> {
    let mut args = call.args.iter();
    let (Some(Expr::Lit(ExprLit { lit: Lit::Str(literal), .. })), None) =
        (args.next(), args.next())
    else {
        let message = "`header` takes one string literal, so that the name is checked at compile \
                       time: write `header(\"Idempotency-Key\")`";
        return Err(Error::new_spanned(call, message));
    };
    match check(&literal.value()) {
        Ok(()) => Ok(LitStr::new(&literal.value().to_ascii_lowercase(), literal.span())),
        Err(message) => Err(Error::new(literal.span(), message)),
    }
}

/// Whether a header of this name can carry an idempotency key.
fn check(name: &str) -> Result<(), String> {
    const USE: &str = "write `header(\"Idempotency-Key\")`";
    if name.is_empty() {
        return Err(format!("a header needs a name: {USE}"));
    }
    if name.len() > 64 {
        return Err(format!("a header name of {} bytes is too long: {USE}", name.len()));
    }
    if let Some(wrong) = name.chars().find(|character| !is_token(*character)) {
        let wrong = wrong.escape_default();
        return Err(format!(
            "`{}` is not a header name: `{wrong}` is not allowed in one (letters, digits and `-` \
             are); {USE}",
            name.escape_debug()
        ));
    }
    let lower = name.to_ascii_lowercase();
    let reason = if CONNECTION.contains(&lower.as_str()) {
        "belongs to the connection or to one message, not to the operation"
    } else if CALLER.contains(&lower.as_str()) {
        "says who asks, so all requests of a caller would share one record (for that there is \
         `scope`)"
    } else if CONTENT.contains(&lower.as_str()) {
        "describes the content and is the same for many requests"
    } else {
        return Ok(());
    };
    Err(format!("`{name}` cannot carry an idempotency key: it {reason}; {USE}"))
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

/// Whether the expression cannot depend on a request, whatever is in scope.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(_) => true,
        Expr::Array(array) => array.elems.iter().all(is_constant),
        Expr::Cast(cast) => is_constant(&cast.expr),
        Expr::Group(group) => is_constant(&group.expr),
        Expr::Paren(paren) => is_constant(&paren.expr),
        Expr::Reference(reference) => is_constant(&reference.expr),
        Expr::Tuple(tuple) => tuple.elems.iter().all(is_constant),
        Expr::Unary(unary) => is_constant(&unary.expr),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proc_macro2::{Span, TokenStream};
    use quote::quote;
    use syn::parse::Parser;

    use super::*;

    fn read(value: &TokenStream) -> Result<Key, String> {
        let name = Ident::new("key", Span::call_site());
        Parser::parse2(|input: ParseStream<'_>| key(&name, input), quote!(= #value))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn header_names_become_lower_case() {
        for name in ["Idempotency-Key", "X-Request_Id.2", "!#$%&'*+-.^_`|~"] {
            let Ok(Key::Header(read)) = read(&quote!(header(#name))) else { panic!("{name}") };
            assert_eq!(read.value(), name.to_ascii_lowercase());
        }
    }

    #[test]
    fn what_cannot_name_a_header_is_refused() {
        for name in ["", "Idempotency Key", "Schlüssel", "a:b", "a\nb", "(a)", "\"a\""] {
            assert!(read(&quote!(header(#name))).is_err(), "{name}");
        }
    }

    #[test]
    fn headers_that_mean_something_else_are_refused_in_any_case() {
        for name in CONNECTION.iter().chain(&CALLER).chain(&CONTENT) {
            assert_eq!(*name, name.to_ascii_lowercase(), "compared in lower case");
            let name = name.to_ascii_uppercase();
            let message = read(&quote!(header(#name))).err().unwrap();
            assert!(message.contains("cannot carry"), "{message}");
        }
    }

    #[test]
    fn expressions_over_arguments_are_keys_and_constants_are_not() {
        for value in [quote!(order.id), quote!((a, "b")), quote!(headers()), quote!(format!("{a}"))]
        {
            assert!(matches!(read(&value), Ok(Key::Expression(_))), "{value}");
        }
        for value in
            [quote!("a"), quote!(5), quote!(-5), quote!(("a", 5)), quote!(()), quote!(&[1])]
        {
            let message = read(&value).err().unwrap_or_default();
            assert!(message.contains("constant"), "{value}: {message}");
        }
    }
}
