//! What cannot depend on a request, or on nothing else than chance.

use proc_macro2::{TokenStream, TokenTree};
use syn::{Expr, ExprBlock, ExprCall, ExprMacro, ExprMethodCall, Stmt, ext::IdentExt as _};

/// Whether the expression cannot depend on a request, whatever is in scope: a literal, a constant by its
/// name, and what is made of these.
pub(super) fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Path(path) => path.path.segments.last().is_some_and(|last| {
            let name = last.ident.unraw().to_string();
            last.arguments.is_none()
                && name.chars().any(char::is_uppercase)
                && !name.chars().any(char::is_lowercase)
        }),
        expr => is_literal(expr),
    }
}

/// The same without names of constants: `TENANT.get()` is another each time.
fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(_) => true,
        Expr::Array(array) => array.elems.iter().all(is_constant),
        Expr::Binary(binary) => is_constant(&binary.left) && is_constant(&binary.right),
        Expr::Block(ExprBlock { block, .. }) => {
            matches!(&block.stmts[..], [Stmt::Expr(expr, None)] if is_constant(expr))
        }
        // `Some("x")`, `String::from("x")`: a function of a constant. One of nothing may be of anything.
        Expr::Call(ExprCall { args, .. }) => !args.is_empty() && args.iter().all(is_constant),
        Expr::Cast(cast) => is_constant(&cast.expr),
        Expr::Group(group) => is_constant(&group.expr),
        // `format!("x")`.
        Expr::Macro(ExprMacro { mac, .. }) => {
            !mac.tokens.is_empty() && is_literal_text(mac.tokens.clone())
        }
        Expr::MethodCall(ExprMethodCall { receiver, args, .. }) => {
            is_literal(receiver) && args.iter().all(is_constant)
        }
        Expr::Paren(paren) => is_constant(&paren.expr),
        Expr::Reference(reference) => is_constant(&reference.expr),
        Expr::Tuple(tuple) => tuple.elems.iter().all(is_constant),
        Expr::Unary(unary) => is_constant(&unary.expr),
        _ => false,
    }
}

/// Whether a macro is given nothing but literals that show no name.
fn is_literal_text(tokens: TokenStream) -> bool {
    tokens.into_iter().all(|token| match token {
        TokenTree::Literal(text) => {
            let text = text.to_string();
            text.split('{')
                .skip(1)
                .all(|rest| !rest.starts_with(|first: char| first.is_alphabetic() || first == '_'))
        }
        TokenTree::Punct(punct) => punct.as_char() == ',',
        TokenTree::Ident(_) | TokenTree::Group(_) => false,
    })
}

/// The call that draws the value anew each time: `Uuid::new_v4()`.
pub(super) fn random(expr: &Expr) -> Option<&Expr> {
    const DRAWS: [&str; 6] = ["new_v4", "now_v7", "now_v1", "random", "nanoid", "ulid"];
    let named = |name: String| DRAWS.contains(&&*name);
    match expr {
        Expr::Call(ExprCall { func, args, .. }) => {
            let Expr::Path(path) = &**func else { return None };
            let last = path.path.segments.last()?;
            let draws = named(last.ident.to_string())
                || last.ident == "new"
                    && path.path.segments.iter().any(|segment| segment.ident == "Ulid");
            (args.is_empty() && draws).then_some(expr)
        }
        Expr::Macro(ExprMacro { mac, .. }) => {
            named(mac.path.segments.last()?.ident.to_string()).then_some(expr)
        }
        Expr::MethodCall(call) => random(&call.receiver),
        Expr::Group(group) => random(&group.expr),
        Expr::Paren(paren) => random(&paren.expr),
        Expr::Reference(reference) => random(&reference.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn what_is_constant_in_disguise_is_constant() {
        for constant in [
            quote!("x"),
            quote!(1 + 1),
            quote!(-1),
            quote!(CONST),
            quote!(keys::DEFAULT_KEY),
            quote!(format!("x")),
            quote!(format!("x {{}} {}", 7)),
            quote!("x".to_owned()),
            quote!("x".to_owned().into_bytes()),
            quote!(Some("x")),
            quote!(String::from(CONST)),
            quote!({ "x" }),
            quote!(&("x", [1, CONST])),
            quote!((1 as u64)),
        ] {
            assert!(is_constant(&syn::parse2(constant.clone()).unwrap()), "{constant}");
        }
        for depends in [
            quote!(user),
            quote!(user.id),
            quote!(TENANT.get()),
            quote!(current_tenant()),
            quote!(format!("{user}")),
            quote!(format!("{}", user)),
            quote!(Some(user)),
            quote!(("x", user)),
            quote!({
                let a = 1;
                a
            }),
            quote!(Scope::Global),
            quote!(x + 1),
        ] {
            assert!(!is_constant(&syn::parse2(depends.clone()).unwrap()), "{depends}");
        }
    }

    #[test]
    fn what_is_drawn_each_time_is_told() {
        for drawn in [
            quote!(Uuid::new_v4()),
            quote!(uuid::Uuid::now_v7().to_string()),
            quote!(&rand::random()),
            quote!(Ulid::new()),
            quote!(nanoid!()),
        ] {
            assert!(random(&syn::parse2(drawn.clone()).unwrap()).is_some(), "{drawn}");
        }
        for other in [quote!(order.random()), quote!(Order::new()), quote!(random(seed))] {
            assert!(random(&syn::parse2(other.clone()).unwrap()).is_none(), "{other}");
        }
    }
}
