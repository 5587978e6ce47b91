//! The handler under `#[idempotent]`, taken apart.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens as _;
use syn::{
    FnArg, GenericParam, Generics, Ident, Lifetime, PredicateType, Safety, Signature, Token, Type,
    TypeParam, TypeParamBound, Visibility, WhereClause, WherePredicate, punctuated::Punctuated,
};

use crate::{
    argument::{Argument, check_names, check_type},
    ctxt::Ctxt,
    item::{Body, Item},
    model::{Attribute, Spawn},
    output::Output,
};

/// An async function that can be guarded.
pub(crate) struct Handler {
    pub(crate) attrs: Vec<syn::Attribute>,
    pub(crate) inner_attrs: Vec<syn::Attribute>,
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

impl Handler {
    /// Reads the function and notes everything about it that cannot be guarded.
    pub(crate) fn parse(ctxt: &mut Ctxt, item: TokenStream, spawn: Spawn) -> Option<Self> {
        let item = ctxt.ok(Item::parse(item, Attribute::Handler))?;
        let Item { attrs, inner_attrs, visibility, signature, body } = item;
        check_attributes(ctxt, &attrs);
        check_qualifiers(ctxt, &signature);
        let generics = generics(ctxt, signature.generics, spawn);
        let mut leading: Vec<_> = signature
            .inputs
            .into_iter()
            .enumerate()
            .filter_map(|(at, argument)| match argument {
                FnArg::Typed(mut argument) => {
                    check_type(ctxt, &argument.ty);
                    if let (Type::ImplTrait(opaque), Spawn::Detached) = (&mut *argument.ty, spawn) {
                        add_static(&mut opaque.bounds, opaque.impl_token.span);
                    }
                    Some(Argument::new(argument, at))
                }
                FnArg::Receiver(receiver) => {
                    let message = "an axum handler has no receiver: take what it needs as an \
                                   argument, such as `State(app): State<App>`";
                    ctxt.error_at(receiver, message);
                    None
                }
            })
            .collect();
        check_names(ctxt, leading.iter());
        let last = leading.pop();
        if let Some(cfg) = last.iter().flat_map(|last| &last.cfgs).find(|cfg| removes(cfg)) {
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

/// Whether an attribute can make the argument vanish.
fn removes(attr: &syn::Attribute) -> bool {
    attr.path().is_ident("cfg") || attr.meta.to_token_stream().to_string().contains("cfg (")
}

/// Attributes that are still to come, because they stand below ours, see the rewritten function.
fn check_attributes(ctxt: &mut Ctxt, attrs: &[syn::Attribute]) {
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
    let Generics { params, where_clause, .. } = &mut generics;
    for param in params {
        match param {
            GenericParam::Lifetime(lifetime) => ctxt.error_at(
                lifetime,
                "the handler runs in a task of its own, which may outlive the request, so nothing \
                 in it can borrow: use owned arguments (or `spawn = false`)",
            ),
            GenericParam::Type(param) => make_static(param, where_clause.as_mut()),
            GenericParam::Const(_) => {}
        }
    }
    generics
}

/// Adds `'static` to the bounds of `param`, in the place where it has some already.
fn make_static(param: &mut TypeParam, where_clause: Option<&mut WhereClause>) {
    let mut predicates = where_clause.into_iter().flat_map(|clause| &mut clause.predicates);
    let bounds = predicates.find_map(|predicate| match predicate {
        WherePredicate::Type(PredicateType { bounded_ty, bounds, .. }) => {
            let is_param = matches!(bounded_ty, Type::Path(ty) if ty.path.is_ident(&param.ident));
            (is_param && param.bounds.is_empty()).then_some(bounds)
        }
        _ => None,
    });
    let bounds = bounds.unwrap_or_else(|| {
        param.colon_token.get_or_insert_default();
        &mut param.bounds
    });
    add_static(bounds, param.ident.span());
}

fn add_static(bounds: &mut Punctuated<TypeParamBound, Token![+]>, place: Span) {
    if !bounds.iter().any(is_static) {
        bounds.push(TypeParamBound::Lifetime(Lifetime::new("'static", place)));
    }
}

fn is_static(bound: &TypeParamBound) -> bool {
    matches!(bound, TypeParamBound::Lifetime(lifetime) if lifetime.ident == "static")
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn parse(item: TokenStream, spawn: Spawn) -> Result<Handler, Vec<String>> {
        let mut ctxt = Ctxt::new();
        let handler = Handler::parse(&mut ctxt, item, spawn);
        ctxt.finish(handler).map_err(|errors| errors.messages())
    }

    fn errors(item: TokenStream) -> Vec<String> {
        parse(item, Spawn::Detached).err().unwrap_or_default()
    }

    #[test]
    fn type_parameters_become_static_where_their_bounds_are() {
        for (given, expected) in [
            (quote!(fn f<T>()), quote!(<T: 'static>)),
            (quote!(fn f<T: A, const N: u8>()), quote!(<T: A + 'static, const N: u8>)),
            (quote!(fn f<T: 'static + A>()), quote!(<T: 'static + A>)),
            (quote!(fn f<T>() where T: A), quote!(<T> where T: A + 'static)),
            (quote!(fn f<T>() where T: A + 'static), quote!(<T> where T: A + 'static)),
            (quote!(fn f<T: A>() where T: B), quote!(<T: A + 'static> where T: B)),
            (
                quote!(fn f<T>() where for<'a> T: B<'a>),
                quote!(<T> where for<'a> T: B<'a> + 'static),
            ),
            (quote!(fn f<T>() where Vec<T>: B), quote!(<T: 'static> where Vec<T>: B)),
        ] {
            let generics = |spawn| {
                let handler = parse(quote!(async #given {}), spawn);
                let Generics { params, where_clause, .. } =
                    handler.unwrap_or_else(|errors| panic!("{errors:?}")).generics;
                quote!(<#params> #where_clause).to_string()
            };
            assert_eq!(generics(Spawn::Detached), expected.to_string());
            assert!(generics(Spawn::Inline).len() <= expected.to_string().len());
        }
    }

    #[test]
    fn a_body_that_does_not_parse_is_moved_all_the_same() {
        let item = quote!(async fn f(a: A) -> B { #![allow(x)] a. });
        let handler = parse(item, Spawn::Detached).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(handler.body.statements.to_string(), "a .");
        assert_eq!(handler.inner_attrs.len(), 1);
        assert!(handler.leading.is_empty());
        assert_eq!(handler.last.map(|last| last.ty.to_token_stream().to_string()).unwrap(), "A");
    }

    #[test]
    fn every_fault_of_a_function_is_reported() {
        let item = quote! {
            #[other::idempotent]
            const unsafe extern "C" fn f<'a>(&self, a: A, b: u64, #[cfg(c)] c: C) {}
        };
        assert_eq!(errors(item).len(), 9);
    }

    #[test]
    fn what_is_not_a_function_is_said_to_be_none() {
        for item in [
            quote!(
                struct A;
            ),
            quote!(impl A {}),
            quote!(
                static A: B = 1;
            ),
        ] {
            assert_eq!(errors(item), ["`#[idempotent]` goes on an async handler function"]);
        }
        assert!(
            errors(quote!(
                async fn f();
            ))[0]
                .contains("needs a body")
        );
    }
}
