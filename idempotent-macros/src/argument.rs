//! One argument: its pattern, made fit to be moved into a future.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens as _, format_ident, quote};
use syn::{
    Attribute, Ident, Pat, PatIdent, PatType, Type, TypePath, TypeReference, ext::IdentExt as _,
    spanned::Spanned as _,
};

use crate::{ctxt::Ctxt, item::is_cfg};

/// Names that cannot be axum extractors, whatever is in scope.
const PRIMITIVES: [&str; 17] = [
    "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "str", "u8", "u16",
    "u32", "u64", "u128", "usize",
];

/// An argument: how it comes in, what options see of it, and how the body gets it, held whole until the body
/// ends and dropped in the order of the arguments, as without the attribute.
pub(crate) struct Argument {
    /// Those that decide whether it is there.
    pub(crate) cfgs: Vec<Attribute>,
    /// All others but lints.
    attrs: Vec<Attribute>,
    /// What the user allows or expects of its names.
    lints: Vec<Attribute>,
    pub(crate) pat: Pat,
    pub(crate) ty: Type,
    /// What the whole of it is called.
    name: Ident,
    shape: Shape,
    bindings: Vec<PatIdent>,
}

/// What its pattern makes of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One name for the whole of it.
    Name,
    /// No names.
    Nothing,
    /// A name for each part, by value.
    Parts,
    /// Some parts have a name, or a name is for a part and its whole, or by reference.
    Some,
    /// What a macro writes.
    Hidden,
}

impl Argument {
    /// The argument at position `at`.
    pub(crate) fn new(argument: PatType, at: usize) -> Self {
        let PatType { attrs, pat, ty, .. } = argument;
        let (cfgs, attrs): (Vec<_>, Vec<_>) = attrs.into_iter().partition(is_cfg);
        let (lints, attrs): (Vec<_>, Vec<_>) = attrs.into_iter().partition(is_lint);
        let mut names = Names { bindings: Vec::new(), is_complete: true, is_hidden: false };
        names.visit(&pat);
        let Names { bindings, is_complete, is_hidden } = names;
        let shape = match &*pat {
            _ if is_hidden => Shape::Hidden,
            Pat::Ident(PatIdent { by_ref: None, subpat: None, .. }) => Shape::Name,
            _ if bindings.is_empty() => Shape::Nothing,
            _ if is_complete => Shape::Parts,
            _ => Shape::Some,
        };
        let name = match bindings.first() {
            Some(binding) if shape == Shape::Name && !is_ignored(&binding.ident) => {
                binding.ident.clone()
            }
            _ => {
                let span = pat.span().resolved_at(Span::mixed_site());
                format_ident!("__idempotent_{at}", span = span)
            }
        };
        Self { cfgs, attrs, lints, pat: *pat, ty: *ty, name, shape, bindings }
    }

    /// The names in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Ident> {
        self.bindings.iter().map(|binding| &binding.ident)
    }

    /// Whether an option whose words these are may speak of it.
    pub(crate) fn is_named_in(&self, words: &[String]) -> bool {
        words.iter().any(|word| word == "!")
            || self.names().any(|name| words.contains(&name.unraw().to_string()))
    }

    fn borrows_mutably(&self) -> bool {
        self.bindings.iter().any(|name| name.by_ref.is_some() && name.mutability.is_some())
    }

    fn is_unused_in(&self, body: &[String]) -> bool {
        self.names().all(|name| is_ignored(name) && !body.contains(&name.unraw().to_string()))
    }

    /// Its pattern where it comes in.
    fn passed(&self, is_named: bool) -> TokenStream {
        let Self { pat, name, .. } = self;
        match self.shape {
            Shape::Name | Shape::Parts if is_named => plain(pat).into_token_stream(),
            Shape::Hidden => pat.into_token_stream(),
            _ => name.into_token_stream(),
        }
    }

    /// The argument in the signature.
    pub(crate) fn declared(&self, is_named: bool) -> TokenStream {
        let (Self { cfgs, attrs, ty, .. }, pat) = (self, self.passed(is_named));
        quote!(#(#cfgs)* #(#attrs)* #pat: #ty)
    }

    /// The pattern that brings it in where it is not in the signature.
    pub(crate) fn taken(&self, is_named: bool) -> TokenStream {
        self.passed(is_named)
    }

    /// What shows its parts to the options that speak of it.
    pub(crate) fn shown(&self, is_named: bool) -> TokenStream {
        let Self { cfgs, name, .. } = self;
        match self.shape {
            Shape::Some if is_named => {
                let (pat, names) = (plain(&self.pat), self.names());
                let used: TokenStream = names.map(|name| quote!(let _ = &#name;)).collect();
                quote!(#(#cfgs)* let #pat = &#name; #used)
            }
            _ => TokenStream::new(),
        }
    }

    /// What moves it into a body of these words.
    pub(crate) fn bound(&self, is_named: bool, body: &[String]) -> TokenStream {
        let Self { cfgs, lints, pat, name, .. } = self;
        // One that the body does not name is used all the same, by the option that does.
        let is_used = |name: &Ident| body.contains(&name.unraw().to_string());
        let used = self.names().filter(|name| is_named && !is_ignored(name) && !is_used(name));
        let used: TokenStream = used.map(|name| quote!(#(#cfgs)* let _ = &#name;)).collect();
        let mutability = self.borrows_mutably().then(|| quote!(mut));
        let whole = quote!(let #mutability #name = #name;);
        match self.shape {
            // Held under a name of ours: `_name` that is bound to what is there, or used, is a lint.
            Shape::Name if self.is_unused_in(body) => {
                let passed = self.passed(is_named);
                quote!(#(#cfgs)* let #name = #passed;)
            }
            Shape::Name if is_named => {
                let passed = self.passed(is_named);
                quote!(#(#cfgs)* #(#lints)* let #pat = #passed; #used)
            }
            Shape::Name => quote!(#(#cfgs)* #(#lints)* let #pat = #name;),
            Shape::Nothing if matches!(pat, Pat::Wild(_)) => quote!(#(#cfgs)* #whole),
            Shape::Nothing => quote!(#(#cfgs)* #whole #(#cfgs)* let #pat = &#name;),
            Shape::Parts if is_named => {
                let each = self.bindings.iter().map(|binding| {
                    let name = &binding.ident;
                    quote!(#(#cfgs)* #(#lints)* let #binding = #name;)
                });
                quote!(#(#each)* #used)
            }
            Shape::Parts | Shape::Some => {
                quote!(#(#cfgs)* #whole #(#cfgs)* #(#lints)* let #pat = #name; #used)
            }
            Shape::Hidden => TokenStream::new(),
        }
    }
}

/// Whether its name says that it is not used.
fn is_ignored(name: &Ident) -> bool {
    name.to_string().starts_with('_')
}

/// A part of a pattern that some values do not have, as far as a pattern shows that.
fn refutable(pat: &Pat) -> Option<&Pat> {
    let never_alone = |path: &syn::Path| path.is_ident("Some") || path.is_ident("None");
    match pat {
        Pat::Lit(_) | Pat::Range(_) => Some(pat),
        Pat::Ident(binding) if binding.ident == "None" => Some(pat),
        Pat::Path(path) if never_alone(&path.path) => Some(pat),
        Pat::TupleStruct(tuple) if never_alone(&tuple.path) => Some(pat),
        Pat::Ident(PatIdent { subpat: Some((_, pat)), .. }) => refutable(pat),
        Pat::Paren(paren) => refutable(&paren.pat),
        Pat::Slice(slice) => slice.elems.iter().find_map(refutable),
        Pat::Struct(fields) => fields.fields.iter().find_map(|field| refutable(&field.pat)),
        Pat::Tuple(tuple) => tuple.elems.iter().find_map(refutable),
        Pat::TupleStruct(tuple) => tuple.elems.iter().find_map(refutable),
        _ => None,
    }
}

/// Notes patterns that do not fit every value, and names that two arguments have: they would shadow each
/// other silently.
pub(crate) fn check_names<'a>(ctxt: &mut Ctxt, arguments: impl Iterator<Item = &'a Argument>) {
    let mut seen = Vec::<&Ident>::new();
    for argument in arguments.filter(|argument| argument.cfgs.is_empty()) {
        if let Some(part) = refutable(&argument.pat) {
            let message =
                "this does not fit every value: take the argument whole, and `match` in the body";
            ctxt.error_at(part, message);
        }
        for name in argument.names() {
            if seen.contains(&name) {
                let message =
                    format!("identifier `{name}` is bound more than once in this parameter list");
                ctxt.error_at(name, message);
            }
        }
        seen.extend(argument.names());
    }
}

/// Replaces the names that others had before.
pub(crate) fn forget_known(pat: &mut Pat, seen: &mut Vec<Ident>) {
    if let Pat::Ident(binding) = pat
        && binding.subpat.is_none()
        && seen.contains(&binding.ident)
    {
        *pat = syn::parse_quote!(_);
        return;
    }
    match pat {
        Pat::Ident(binding) => seen.push(binding.ident.clone()),
        Pat::Paren(paren) => forget_known(&mut paren.pat, seen),
        Pat::Slice(slice) => slice.elems.iter_mut().for_each(|pat| forget_known(pat, seen)),
        Pat::Struct(fields) => {
            fields.fields.iter_mut().for_each(|field| forget_known(&mut field.pat, seen));
        }
        Pat::Tuple(tuple) => tuple.elems.iter_mut().for_each(|pat| forget_known(pat, seen)),
        Pat::TupleStruct(tuple) => tuple.elems.iter_mut().for_each(|pat| forget_known(pat, seen)),
        _ => {}
    }
}

fn is_lint(attr: &Attribute) -> bool {
    ["allow", "deny", "expect", "forbid", "warn"].iter().any(|lint| attr.path().is_ident(lint))
}

/// The pattern with its names and nothing else: neither `mut` nor `ref`.
fn plain(pat: &Pat) -> Pat {
    let mut pat = pat.clone();
    each_binding(&mut pat, &mut |binding| {
        binding.by_ref = None;
        binding.mutability = None;
    });
    pat
}

fn each_binding(pat: &mut Pat, change: &mut impl FnMut(&mut PatIdent)) {
    match pat {
        Pat::Ident(binding) => {
            change(binding);
            if let Some((_, subpattern)) = &mut binding.subpat {
                each_binding(subpattern, change);
            }
        }
        Pat::Or(or) => or.cases.iter_mut().for_each(|pat| each_binding(pat, change)),
        Pat::Paren(paren) => each_binding(&mut paren.pat, change),
        Pat::Reference(reference) => each_binding(&mut reference.pat, change),
        Pat::Slice(slice) => slice.elems.iter_mut().for_each(|pat| each_binding(pat, change)),
        Pat::Struct(fields) => {
            for field in &mut fields.fields {
                each_binding(&mut field.pat, change);
            }
        }
        Pat::Tuple(tuple) => tuple.elems.iter_mut().for_each(|pat| each_binding(pat, change)),
        Pat::TupleStruct(tuple) => {
            tuple.elems.iter_mut().for_each(|pat| each_binding(pat, change));
        }
        _ => {}
    }
}

/// Notes what cannot come from a request.
pub(crate) fn check_type(ctxt: &mut Ctxt, ty: &Type) {
    match ty {
        Type::Path(TypePath { qself: None, path, .. })
            if path.segments.last().is_some_and(|last| last.ident == "Guarded") =>
        {
            let message = "the attribute writes `Guarded<…>` itself: write the type inside of it";
            ctxt.error_at(ty, message);
        }
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
struct Names {
    bindings: Vec<PatIdent>,
    /// Whether every part has a name of its own, by value.
    is_complete: bool,
    /// Whether a macro writes a part of it.
    is_hidden: bool,
}

impl Names {
    fn visit(&mut self, pat: &Pat) {
        match pat {
            Pat::Ident(binding) => {
                self.is_complete &= binding.by_ref.is_none() && binding.subpat.is_none();
                // In an or-pattern each case has all names.
                if !self.bindings.iter().any(|known| known.ident == binding.ident) {
                    self.bindings.push(PatIdent { subpat: None, ..binding.clone() });
                }
                if let Some((_, subpattern)) = &binding.subpat {
                    self.visit(subpattern);
                }
            }
            Pat::Macro(_) | Pat::Verbatim(_) => self.is_hidden = true,
            Pat::Or(or) => {
                self.is_complete = false;
                or.cases.iter().for_each(|pat| self.visit(pat));
            }
            Pat::Paren(paren) => self.visit(&paren.pat),
            Pat::Slice(slice) => slice.elems.iter().for_each(|pat| self.visit(pat)),
            Pat::Struct(fields) => {
                self.is_complete &= fields.rest.is_none();
                fields.fields.iter().for_each(|field| self.visit(&field.pat));
            }
            Pat::Tuple(tuple) => tuple.elems.iter().for_each(|pat| self.visit(pat)),
            Pat::TupleStruct(tuple) => tuple.elems.iter().for_each(|pat| self.visit(pat)),
            Pat::Reference(reference) => {
                self.is_complete = false;
                self.visit(&reference.pat);
            }
            _ => self.is_complete = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::{FnArg, parse_quote};

    use super::*;

    fn argument(argument: FnArg) -> Result<Argument, Vec<String>> {
        let FnArg::Typed(argument) = argument else { panic!("a receiver") };
        let mut ctxt = Ctxt::new();
        check_type(&mut ctxt, &argument.ty);
        let argument = Argument::new(argument, 3);
        ctxt.finish(Some(argument)).map_err(|errors| errors.messages())
    }

    #[test]
    fn every_argument_is_held_whole_and_taken_apart_in_the_body() {
        for (given, passed, bound) in [
            (
                parse_quote!(_: P),
                quote!(__idempotent_3),
                quote!(let __idempotent_3 = __idempotent_3;),
            ),
            (
                parse_quote!(State(_): S),
                quote!(__idempotent_3),
                quote!(let __idempotent_3 = __idempotent_3; let State(_) = &__idempotent_3;),
            ),
            (parse_quote!(mut app: P), quote!(app), quote!(let mut app = app;)),
            (
                parse_quote!(_app: P),
                quote!(__idempotent_3),
                quote!(let __idempotent_3 = __idempotent_3;),
            ),
            (
                parse_quote!(A { b: _, c, .. }: A),
                quote!(__idempotent_3),
                quote!(
                    let __idempotent_3 = __idempotent_3;
                    let A { b: _, c, .. } = __idempotent_3;
                ),
            ),
            (
                parse_quote!(Json(ref mut new): J),
                quote!(__idempotent_3),
                quote!(
                    let mut __idempotent_3 = __idempotent_3;
                    let Json(ref mut new) = __idempotent_3;
                ),
            ),
        ] {
            let argument = argument(given).unwrap_or_else(|errors| panic!("{errors:?}"));
            assert_eq!(argument.passed(false).to_string(), passed.to_string());
            assert_eq!(argument.bound(false, &["app".to_owned()]).to_string(), bound.to_string());
            assert!(argument.shown(false).is_empty());
        }
    }

    #[test]
    fn options_see_the_names_by_value_where_every_part_has_one() {
        for (given, passed, shown, bound) in [
            (
                parse_quote!(Json(mut new): J),
                quote!(Json(new)),
                quote!(),
                quote!(let mut new = new; let _ = &new;),
            ),
            (
                parse_quote!(Path((a, _b)): P),
                quote!(Path((a, _b))),
                quote!(),
                quote!(let a = a; let _b = _b; let _ = &a;),
            ),
            (
                parse_quote!(S { mut a, .. }: S),
                quote!(__idempotent_3),
                quote!(let S { a, .. } = &__idempotent_3; let _ = &a;),
                quote!(
                    let __idempotent_3 = __idempotent_3;
                    let S { mut a, .. } = __idempotent_3;
                    let _ = &a;
                ),
            ),
        ] {
            let argument = argument(given).unwrap_or_else(|errors| panic!("{errors:?}"));
            assert_eq!(argument.passed(true).to_string(), passed.to_string());
            assert_eq!(argument.shown(true).to_string(), shown.to_string());
            assert_eq!(argument.bound(true, &[]).to_string(), bound.to_string());
        }
    }

    #[test]
    fn types_that_no_request_has_are_refused() {
        for given in [parse_quote!(id: u64), parse_quote!(name: &str), parse_quote!(b: &mut B)] {
            assert!(argument(given).is_err());
        }
        for given in [parse_quote!(id: Path<u64>), parse_quote!(id: ids::u64), parse_quote!(_: ())]
        {
            assert!(argument(given).is_ok());
        }
    }
}
