//! What a handler returns.

use syn::{
    AngleBracketedGenericArguments, GenericArgument, PathArguments, ReturnType, Token, Type,
    parse_quote, parse_quote_spanned, spanned::Spanned as _,
};

/// The return type, and the same where a body can name it.
pub(crate) struct Output {
    pub(crate) arrow: Token![->],
    /// As it was written.
    pub(crate) declared: Type,
    /// With `_` for each `impl Trait`.
    pub(crate) nameable: Type,
    /// Whether it is the user's.
    pub(crate) is_written: bool,
}

impl Output {
    pub(crate) fn new(output: ReturnType) -> Self {
        let is_written = matches!(output, ReturnType::Type(..));
        let (arrow, declared) = match output {
            ReturnType::Type(arrow, declared) => (arrow, *declared),
            ReturnType::Default => (<Token![->]>::default(), unit()),
        };
        let mut nameable = declared.clone();
        erase(&mut nameable);
        Self { arrow, declared, nameable, is_written }
    }
}

pub(crate) fn unit() -> Type {
    parse_quote!(())
}

/// Replaces every `impl Trait`.
fn erase(ty: &mut Type) {
    match ty {
        Type::ImplTrait(opaque) => {
            *ty = parse_quote_spanned!(opaque.span()=> _);
        }
        Type::Array(array) => erase(&mut array.elem),
        Type::Group(group) => erase(&mut group.elem),
        Type::Paren(paren) => erase(&mut paren.elem),
        Type::Reference(reference) => erase(&mut reference.elem),
        Type::Slice(slice) => erase(&mut slice.elem),
        Type::Tuple(tuple) => tuple.elems.iter_mut().for_each(erase),
        Type::Path(path) => {
            for segment in &mut path.path.segments {
                if let PathArguments::AngleBracketed(arguments) = &mut segment.arguments {
                    erase_arguments(arguments);
                }
            }
        }
        _ => {}
    }
}

fn erase_arguments(arguments: &mut AngleBracketedGenericArguments) {
    for argument in &mut arguments.args {
        match argument {
            GenericArgument::Type(ty) => erase(ty),
            GenericArgument::AssocType(assoc) => erase(&mut assoc.ty),
            _ => {}
        }
    }
}
