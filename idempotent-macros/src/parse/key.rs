//! `key = header("Idempotency-Key")`, `key = fingerprint`, `key = hash(…)`, or an expression over the
//! arguments; and what has to be the same in a retry.

use syn::{Error, Expr, ExprArray, ExprCall, ExprLit, Lit, LitStr, parse::ParseStream};

use super::{
    constant::{is_constant, random},
    names::Name,
    value::{
        NO_HEADERS, expression, missing_value, nested_header, over_arguments, too_many_parts,
        unparenthesized,
    },
};
use crate::model::{Attribute, Compared, FunctionKey, Key};

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

pub(super) fn key(name: &Name, input: ParseStream<'_>) -> syn::Result<Key> {
    let value = expression(name, input)?;
    check_key(&value)?;
    match unparenthesized(&value) {
        Expr::Call(call) if is_header(call) => return header(call).map(Key::Header),
        Expr::Call(call) if calls(call, "hash") => return content(name, call).map(Key::Content),
        Expr::Path(path) if path.path.is_ident("fingerprint") => return Ok(Key::Fingerprint),
        _ => {}
    }
    if let Some(header) = nested_header(&value) {
        let message = "`header(…)` stands alone: write `key = header(…)`, and what says whose key it is \
                       as `scope = …`";
        return Err(Error::new_spanned(header, message));
    }
    if is_constant(&value) {
        let message = match unparenthesized(&value) {
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
        };
        return Err(Error::new_spanned(&value, message));
    }
    alone(name, value).map(Key::Expression)
}

pub(super) fn function_key(name: &Name, input: ParseStream<'_>) -> syn::Result<FunctionKey> {
    let value = expression(name, input)?;
    check_key(&value)?;
    if let Some(header) = nested_header(&value) {
        return Err(Error::new_spanned(header, NO_HEADERS));
    }
    match unparenthesized(&value) {
        Expr::Call(call) if calls(call, "hash") => content(name, call).map(FunctionKey::Content),
        constant if is_constant(constant) => {
            let message = "a constant key gives every call the same record: write an expression over \
                           the function's arguments, as in `key = event.id`";
            Err(Error::new_spanned(&value, message))
        }
        _ => alone(name, value).map(FunctionKey::Expression),
    }
}

/// What no key can be, of handlers and functions.
fn check_key(value: &Expr) -> syn::Result<()> {
    too_many_parts(value)?;
    missing_value(value, "`None` is a missing key: write")?;
    match random(value) {
        Some(call) => {
            let message = "a key that is drawn here is another one each time, so no retry would find its \
                           record: take the key that the sender drew, as in `key = \
                           header(\"Idempotency-Key\")`";
            Err(Error::new_spanned(call, message))
        }
        None => Ok(()),
    }
}

pub(super) fn fingerprint(name: &Name, input: ParseStream<'_>) -> syn::Result<Compared> {
    let value = over_arguments(name, input)?;
    match unparenthesized(&value) {
        Expr::Call(call) if calls(call, "hash") => content(name, call).map(Compared::Content),
        Expr::Path(path) if path.path.is_ident("json") && name.attribute == Attribute::Handler => {
            Ok(Compared::Json)
        }
        _ => alone(name, value).map(Compared::Expression),
    }
}

/// `fingerprint_headers = ["X-Account", …]`: the names in lower case and in the order of the alphabet.
pub(super) fn field_names(name: &Name, input: ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    let value = expression(name, input)?;
    let Expr::Array(ExprArray { elems, .. }) = unparenthesized(&value) else {
        let message = format!("`{name}` is a list of header names: write `{}`", name.form());
        return Err(Error::new_spanned(value, message));
    };
    let mut names = Vec::<LitStr>::new();
    for elem in elems {
        let Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) = unparenthesized(elem) else {
            let message = "a header name is a string literal, so that it is checked at compile time: \
                           write `\"X-Account\"`";
            return Err(Error::new_spanned(elem, message));
        };
        let lower = literal.value().to_ascii_lowercase();
        if let Some(reason) = no_field(&lower) {
            let message = format!("{reason}: write a name such as `\"X-Account\"`");
            return Err(Error::new(literal.span(), message));
        }
        match names.binary_search_by(|each| each.value().cmp(&lower)) {
            Ok(_) => {
                let message = format!("`{}` is named twice", literal.value());
                return Err(Error::new(literal.span(), message));
            }
            Err(at) => names.insert(at, LitStr::new(&lower, literal.span())),
        }
    }
    match names.is_empty() {
        true => {
            let message =
                format!("`{name}` names no header: write `{}`, or leave it out", name.form());
            Err(Error::new_spanned(value, message))
        }
        false => Ok(names),
    }
}

/// Why a name is not one of a field that can decide about the effect of a request.
fn no_field(lower: &str) -> Option<String> {
    if lower.is_empty() || lower.len() > 64 || !lower.chars().all(is_token) {
        return Some(format!("`{}` is not a header name", lower.escape_debug()));
    }
    CONNECTION.contains(&lower).then(|| {
        format!(
            "`{lower}` belongs to the connection or to one message, and may differ in each retry"
        )
    })
}

fn is_header(call: &ExprCall) -> bool {
    calls(call, "header")
}

fn calls(call: &ExprCall, name: &str) -> bool {
    matches!(&*call.func, Expr::Path(path) if path.path.is_ident(name))
}

/// What stands in `hash(…)`.
fn content(name: &Name, call: &ExprCall) -> syn::Result<Expr> {
    let mut args = call.args.iter();
    match (args.next(), args.next()) {
        (Some(content), None) if !is_constant(content) => Ok(content.clone()),
        (Some(content), None) => {
            let message = match is_key(name) {
                true => {
                    "the hash of a constant gives all the same record: write `key = hash(event)` over \
                     the arguments"
                }
                false => {
                    "the hash of a constant compares nothing: write `fingerprint = hash(event)` over \
                     the arguments"
                }
            };
            Err(Error::new_spanned(content, message))
        }
        _ => {
            let message = format!(
                "`hash` takes one value; of several make a tuple: write `{name} = hash((a, b))`"
            );
            Err(Error::new_spanned(call, message))
        }
    }
}

fn is_key(name: &Name) -> bool {
    name.ident == "key"
}

/// An expression in which no `hash(…)` stands beside something else.
fn alone(name: &Name, value: Expr) -> syn::Result<Expr> {
    fn nested(expr: &Expr) -> Option<&ExprCall> {
        match unparenthesized(expr) {
            Expr::Tuple(tuple) => tuple.elems.iter().find_map(nested),
            Expr::Call(call) => calls(call, "hash").then_some(call),
            _ => None,
        }
    }
    match nested(&value) {
        None => Ok(value),
        Some(call) => {
            let scope = match is_key(name) {
                true => ", and what says whose key it is as `scope = …`",
                false => "",
            };
            let message = format!(
                "`hash(…)` stands alone: write `{name} = hash((a, b))` for several values{scope}"
            );
            Err(Error::new_spanned(call, message))
        }
    }
}

fn header(call: &ExprCall) -> syn::Result<LitStr> {
    let mut args = call.args.iter().map(unparenthesized);
    let (Some(Expr::Lit(ExprLit { lit: Lit::Str(literal), .. })), None) =
        (args.next(), args.next())
    else {
        let message = "`header` takes one string literal, so that the name is checked at compile \
                       time: write `header(\"Idempotency-Key\")`; to call a function of your own of \
                       that name, write `self::header(…)`";
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

#[cfg(test)]
mod tests {
    use proc_macro2::{Span, TokenStream};
    use quote::quote;
    use syn::{Ident, parse::Parser};

    use super::*;
    use crate::model::Attribute;

    fn name(attribute: Attribute) -> Name {
        Name { ident: Ident::new("key", Span::call_site()), attribute }
    }

    fn read(value: &TokenStream) -> Result<Key, String> {
        let name = name(Attribute::Handler);
        Parser::parse2(|input: ParseStream<'_>| key(&name, input), quote!(= #value))
            .map_err(|error| error.to_string())
    }

    fn read_function(value: &TokenStream) -> Result<FunctionKey, String> {
        let name = name(Attribute::Function);
        Parser::parse2(|input: ParseStream<'_>| function_key(&name, input), quote!(= #value))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_fingerprint_and_hashes_are_keys_of_their_own() {
        assert!(matches!(read(&quote!(fingerprint)), Ok(Key::Fingerprint)));
        assert!(matches!(read(&quote!(&fingerprint)), Ok(Key::Expression(_))));
        assert!(matches!(read(&quote!(hash(order))), Ok(Key::Content(_))));
        assert!(matches!(read_function(&quote!(hash((a, b)))), Ok(FunctionKey::Content(_))));
        assert!(matches!(read_function(&quote!(self::hash(a, b))), Ok(FunctionKey::Expression(_))));
        assert!(matches!(read_function(&quote!(event.id)), Ok(FunctionKey::Expression(_))));
        for value in [quote!(hash()), quote!(hash(a, b)), quote!((a, hash(b))), quote!(hash("a"))] {
            assert!(read(&value).is_err() && read_function(&value).is_err(), "{value}");
        }
        for value in [quote!(header("X-Id")), quote!((header("X-Id"), a)), quote!(("a", 5))] {
            assert!(read_function(&value).is_err(), "{value}");
        }
    }

    fn read_fingerprint(attribute: Attribute, value: &TokenStream) -> Result<Compared, String> {
        let name = Name { ident: Ident::new("fingerprint", Span::call_site()), attribute };
        Parser::parse2(|input: ParseStream<'_>| fingerprint(&name, input), quote!(= #value))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_compared_is_a_value_its_content_or_the_body_as_json() {
        for attribute in [Attribute::Handler, Attribute::Function] {
            let read = |value| read_fingerprint(attribute, &value);
            assert!(matches!(read(quote!(hash(order))), Ok(Compared::Content(_))));
            assert!(matches!(read(quote!((a, &b.c))), Ok(Compared::Expression(_))));
            assert!(matches!(read(quote!(&json)), Ok(Compared::Expression(_))));
            for value in [quote!(hash()), quote!(hash(a, b)), quote!((a, hash(b))), quote!(hash(1))]
            {
                let message = read(value).err().unwrap();
                assert!(message.contains("`fingerprint = hash("), "{message}");
            }
        }
        assert!(matches!(read_fingerprint(Attribute::Handler, &quote!(json)), Ok(Compared::Json)));
        let of_function = read_fingerprint(Attribute::Function, &quote!(json));
        assert!(matches!(of_function, Ok(Compared::Expression(_))));
    }

    #[test]
    fn fields_that_are_compared_are_named_once_each_and_can_be_fields() {
        let read = |value: &TokenStream| {
            let ident = Ident::new("fingerprint_headers", Span::call_site());
            let name = Name { ident, attribute: Attribute::Handler };
            Parser::parse2(|input: ParseStream<'_>| field_names(&name, input), quote!(= #value))
        };
        let names = read(&quote!(["X-Dry-Run", "Accept", "x-account"])).unwrap();
        let names: Vec<_> = names.iter().map(LitStr::value).collect();
        assert_eq!(names, ["accept", "x-account", "x-dry-run"]);
        for value in [
            quote!([]),
            quote!("X-Account"),
            quote!([X_ACCOUNT]),
            quote!(["X-Account", "x-account"]),
            quote!([""]),
            quote!(["X Account"]),
            quote!(["Content-Length"]),
        ] {
            assert!(read(&value).is_err(), "{value}");
        }
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
