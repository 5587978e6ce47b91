//! One argument of a handler: its pattern, made fit to be moved into the handler's future.

use proc_macro2::Span;
use quote::format_ident;
use syn::{
    Attribute, Ident, Pat, PatIdent, PatType, Type, TypePath, TypeReference, spanned::Spanned as _,
};

use crate::{ctxt::Ctxt, model::Spawn};

/// Names that cannot be axum extractors, whatever is in scope.
const PRIMITIVES: [&str; 17] = [
    "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "str", "u8", "u16",
    "u32", "u64", "u128", "usize",
];

/// An argument whose every part has a name.
pub(crate) struct Argument {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) pat: Pat,
    pub(crate) ty: Type,
    /// Bindings that the body does not mention, but that live as long as it runs.
    pub(crate) held: Vec<Ident>,
}

impl Argument {
    /// Takes the argument at position `at`, noting what cannot be guarded.
    pub(crate) fn new(ctxt: &mut Ctxt, argument: PatType, at: usize, spawn: Spawn) -> Self {
        let PatType { attrs, mut pat, ty, .. } = argument;
        check_type(ctxt, &ty);
        let mut bindings = Bindings { ctxt, spawn, at, held: Vec::new() };
        bindings.visit(&mut pat);
        Self { attrs, pat: *pat, ty: *ty, held: bindings.held }
    }
}

fn check_type(ctxt: &mut Ctxt, ty: &Type) {
    match ty {
        Type::Reference(TypeReference { lifetime: None, .. }) => {
            let message = "an extractor owns what it takes from the request: an argument cannot be \
                           a reference";
            ctxt.error_at(ty, message);
        }
        Type::Path(TypePath { qself: None, path, .. })
            if PRIMITIVES.iter().any(|primitive| path.is_ident(primitive)) =>
        {
            let message = "this is not an extractor: say where in the request it comes from, as in \
                           `Path<…>`, `Query<…>` or `Json<…>`";
            ctxt.error_at(ty, message);
        }
        _ => {}
    }
}

/// A walk over a pattern.
struct Bindings<'a> {
    ctxt: &'a mut Ctxt,
    spawn: Spawn,
    at: usize,
    held: Vec<Ident>,
}

impl Bindings<'_> {
    fn visit(&mut self, pat: &mut Pat) {
        match pat {
            // What `_` does not bind would be dropped with the request, not with the handler.
            Pat::Wild(wild) => {
                let span = wild.span().resolved_at(Span::mixed_site());
                let ident =
                    format_ident!("__idempotent_{}_{}", self.at, self.held.len(), span = span);
                self.held.push(ident.clone());
                *pat = Pat::Ident(PatIdent {
                    attrs: Vec::new(),
                    by_ref: None,
                    mutability: None,
                    ident,
                    subpat: None,
                });
            }
            Pat::Ident(binding) => self.visit_binding(binding),
            Pat::Paren(paren) => self.visit(&mut paren.pat),
            Pat::Tuple(tuple) => tuple.elems.iter_mut().for_each(|pat| self.visit(pat)),
            Pat::TupleStruct(tuple) => tuple.elems.iter_mut().for_each(|pat| self.visit(pat)),
            Pat::Struct(fields) => {
                for field in &mut fields.fields {
                    // `field: _` stays: naming it would move out of a type that may not allow it.
                    if !matches!(*field.pat, Pat::Wild(_)) {
                        self.visit(&mut field.pat);
                    }
                }
            }
            _ => {}
        }
    }

    fn visit_binding(&mut self, binding: &mut PatIdent) {
        if let (Some(by_ref), Spawn::Detached) = (&binding.by_ref, self.spawn) {
            let message = "the handler runs in a task of its own, which an argument has to move \
                           into: bind it by value (or use `spawn = false`)";
            self.ctxt.error_at(by_ref, message);
        }
        if binding.ident.to_string().starts_with('_') {
            self.held.push(binding.ident.clone());
        }
        if let Some((_, subpattern)) = &mut binding.subpat {
            self.visit(subpattern);
        }
    }
}

#[cfg(test)]
mod tests {
    use quote::{ToTokens, quote};
    use syn::{FnArg, parse_quote};

    use super::*;

    fn argument(argument: FnArg, spawn: Spawn) -> Result<Argument, Vec<String>> {
        let FnArg::Typed(argument) = argument else { panic!("a receiver") };
        let mut ctxt = Ctxt::new();
        let argument = Argument::new(&mut ctxt, argument, 3, spawn);
        ctxt.finish(Some(argument)).map_err(|errors| errors.messages())
    }

    #[test]
    fn ignored_parts_get_a_name_and_are_held() {
        for (given, pat, held) in [
            (parse_quote!(_: Permit), quote!(__idempotent_3_0), vec!["__idempotent_3_0"]),
            (parse_quote!(State(_): S), quote!(State(__idempotent_3_0)), vec!["__idempotent_3_0"]),
            (
                parse_quote!((_, _x): S),
                quote!((__idempotent_3_0, _x)),
                vec!["__idempotent_3_0", "_x"],
            ),
            (parse_quote!(mut _permit: P), quote!(mut _permit), vec!["_permit"]),
            (parse_quote!(A { b: _, c: _c, .. }: A), quote!(A { b: _, c: _c, .. }), vec!["_c"]),
            (parse_quote!(Json(new): Json<New>), quote!(Json(new)), vec![]),
        ] {
            let Ok(argument) = argument(given, Spawn::Detached) else { panic!("{pat}") };
            assert_eq!(argument.pat.to_token_stream().to_string(), pat.to_string());
            assert_eq!(argument.held, held);
        }
    }

    #[test]
    fn bindings_by_reference_need_the_request_task() {
        let by_ref: FnArg = parse_quote!(Json(A { ref b, .. }): Json<A>);
        assert!(argument(by_ref.clone(), Spawn::Inline).is_ok());
        assert!(argument(by_ref, Spawn::Detached).is_err());
    }

    #[test]
    fn types_that_no_request_has_are_refused() {
        for given in [parse_quote!(id: u64), parse_quote!(name: &str), parse_quote!(b: &mut B)] {
            assert!(argument(given, Spawn::Inline).is_err());
        }
        for given in [parse_quote!(id: Path<u64>), parse_quote!(id: ids::u64), parse_quote!(_: ())]
        {
            assert!(argument(given, Spawn::Inline).is_ok());
        }
    }
}
