//! The function under `#[idempotent_fn]`, taken apart.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Block, Expr, ExprAsync, ExprCall, FnArg, GenericArgument, Pat, PathArguments, PathSegment,
    ReturnType, Signature, Stmt, Type, TypeParamBound, Visibility, parse::Parser as _,
};

use crate::{
    argument::{Argument, check_names},
    ctxt::Ctxt,
    item::{Body, Item},
    model::Attribute,
    output::Output,
};

/// A function that can be guarded: async, or one that returns an async block.
pub(crate) struct Function {
    pub(crate) attrs: Vec<syn::Attribute>,
    pub(crate) inner_attrs: Vec<syn::Attribute>,
    pub(crate) visibility: Visibility,
    /// Without its arguments, but for a receiver.
    pub(crate) signature: Signature,
    pub(crate) arguments: Vec<Argument>,
    /// What a caller gets in the end, where the body can name it.
    pub(crate) returned: Type,
    /// What is guarded.
    pub(crate) body: Body,
    around: Around,
}

/// What stands around the body.
enum Around {
    /// An async function is its body.
    Nothing,
    /// Statements that end in `Box::pin(async move { … })`, which is what `#[async_trait]` makes of an
    /// async method.
    Future(Vec<Stmt>),
}

impl Function {
    /// Reads the function and notes everything about it that cannot be guarded.
    pub(crate) fn parse(ctxt: &mut Ctxt, item: TokenStream) -> Option<Self> {
        let item = ctxt.ok(Item::parse(item, Attribute::Function))?;
        let Item { attrs, inner_attrs, visibility, signature, body } = item;
        check_attributes(ctxt, &attrs);
        let (returned, body, around) = if signature.asyncness.is_some() {
            (returned(ctxt, &signature), body, Around::Nothing)
        } else if let Some((returned, body, statements)) = future(&signature, &body) {
            (Some(returned), body, Around::Future(statements))
        } else {
            let is_boxed = matches!(&signature.output, ReturnType::Type(_, ty) if is_boxed(ty));
            let name = &signature.ident;
            let message = match is_boxed {
                true => format!(
                    "what a boxed future gives cannot be seen here: write `async fn {name}`, or its \
                     type as `Pin<Box<dyn Future<Output = Result<T, E>> + Send + '_>>` and its body as \
                     `Box::pin(async move {{ … }})`"
                ),
                false => format!("a guarded function is async: write `async fn {name}`"),
            };
            ctxt.error_at(signature.fn_token, message);
            return None;
        };
        let returned = returned?;
        let (mut signature, mut arguments) = (signature, Vec::new());
        // Whoever writes the future itself has moved what it takes into it.
        if matches!(around, Around::Nothing) {
            let (receiver, others): (Vec<_>, Vec<_>) = signature
                .inputs
                .into_iter()
                .partition(|argument| matches!(argument, FnArg::Receiver(_)));
            signature.inputs = receiver.into_iter().collect();
            let typed = others.into_iter().filter_map(|argument| match argument {
                FnArg::Typed(argument) => Some(argument),
                FnArg::Receiver(_) => None,
            });
            arguments =
                typed.enumerate().map(|(at, argument)| Argument::new(argument, at)).collect();
            check_names(ctxt, arguments.iter());
        }
        Some(Self { attrs, inner_attrs, visibility, signature, arguments, returned, body, around })
    }

    /// The function's own body with `guarded` in the place of what is guarded.
    pub(crate) fn with(&self, guarded: TokenStream) -> TokenStream {
        let Around::Future(statements) = &self.around else { return guarded };
        let mut statements = statements.clone();
        if let Some(future) = statements.last_mut().and_then(async_block) {
            future.block.stmts = vec![Stmt::Expr(Expr::Verbatim(guarded), None)];
        }
        quote!(#(#statements)*)
    }
}

fn check_attributes(ctxt: &mut Ctxt, attrs: &[syn::Attribute]) {
    for attr in attrs {
        let last = attr.path().segments.last().map(|segment| segment.ident.to_string());
        match last.as_deref() {
            Some("idempotent_fn") => {
                ctxt.error_at(attr, "`#[idempotent_fn]` is given twice: keep one of them");
            }
            Some("idempotent") => {
                let message = "`#[idempotent]` is for handlers of axum and `#[idempotent_fn]` for all \
                               other functions: keep one of them";
                ctxt.error_at(attr, message);
            }
            _ => {}
        }
    }
}

fn returned(ctxt: &mut Ctxt, signature: &Signature) -> Option<Type> {
    if matches!(signature.output, ReturnType::Default) {
        let message = format!(
            "a guarded function returns a `Result<T, E>`: its `Ok` is recorded and replayed, its `Err` \
             means that it may run again; write `async fn {}(…) -> Result<(), \
             idempotent_runtime::Error>`",
            signature.ident
        );
        ctxt.error_at(&signature.ident, message);
        return None;
    }
    let returned = Output::new(signature.output.clone()).nameable;
    if let Some(Type::Reference(borrowed)) = value(&returned) {
        let message = "the value is recorded and read again, perhaps by another process, so it owns \
                       what it holds: return a `String` for a `&str`, a `Vec<T>` for a `&[T]`";
        ctxt.error_at(borrowed, message);
        return None;
    }
    Some(returned)
}

/// The `T` of a `Result<T, E>`.
fn value(returned: &Type) -> Option<&Type> {
    let Type::Path(path) = returned else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Result")?;
    match arguments(last).next()? {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}

/// The parts of a function that is not async and returns an async block.
fn future(signature: &Signature, body: &Body) -> Option<(Type, Body, Vec<Stmt>)> {
    let ReturnType::Type(_, output) = &signature.output else { return None };
    let returned = awaited(output)?;
    let mut statements = Block::parse_within.parse2(body.statements.clone()).ok()?;
    let ExprAsync { block, .. } = statements.last_mut().and_then(async_block)?;
    let braces: Span = block.brace_token.span.join();
    let statements_inside = block.stmts.iter().map(ToTokens::to_token_stream).collect();
    Some((returned, Body { braces, statements: statements_inside }, statements))
}

/// The `async move { … }` that a statement is, or hands to `Box::pin`.
fn async_block(statement: &mut Stmt) -> Option<&mut ExprAsync> {
    match statement {
        Stmt::Expr(Expr::Async(future), None) => Some(future),
        Stmt::Expr(Expr::Call(ExprCall { func, args, .. }), None) => {
            let Expr::Path(path) = &**func else { return None };
            let is_pin = path.path.segments.last().is_some_and(|last| last.ident == "pin");
            match (args.first_mut(), is_pin) {
                (Some(Expr::Async(future)), true) => Some(future),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What a future of this type gives: the `Output = …` in it.
fn awaited(ty: &Type) -> Option<Type> {
    let bounds = match ty {
        Type::Group(group) => return awaited(&group.elem),
        Type::Paren(paren) => return awaited(&paren.elem),
        Type::Path(path) => {
            return arguments(path.path.segments.last()?).find_map(|argument| match argument {
                GenericArgument::Type(ty) => awaited(ty),
                _ => None,
            });
        }
        Type::ImplTrait(opaque) => &opaque.bounds,
        Type::TraitObject(object) => &object.bounds,
        _ => return None,
    };
    bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        arguments(bound.path.segments.last()?).find_map(|argument| match argument {
            GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(assoc.ty.clone()),
            _ => None,
        })
    })
}

/// Whether it is a future under another name.
fn is_boxed(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| {
        last.ident == "BoxFuture" || last.ident == "LocalBoxFuture" || last.ident == "Pin"
    })
}

fn arguments(segment: &PathSegment) -> impl Iterator<Item = &GenericArgument> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    };
    arguments.into_iter().flatten()
}

/// Takes out of a body what `#[async_trait]` has put there to unpack the arguments with patterns, so
/// that the expressions of the attribute find what these bind.
pub(crate) fn unpack(statements: &TokenStream) -> (Vec<Stmt>, TokenStream) {
    let Ok(parsed) = Block::parse_within.parse2(statements.clone()) else {
        return (Vec::new(), statements.clone());
    };
    let (unpacking, rest): (Vec<_>, Vec<_>) = parsed.into_iter().partition(unpacks_an_argument);
    match unpacking.is_empty() {
        true => (unpacking, statements.clone()),
        false => (unpacking, quote!(#(#rest)*)),
    }
}

/// `let (a, b) = { let __arg1 = __arg1; __arg1 };`
fn unpacks_an_argument(statement: &Stmt) -> bool {
    let Stmt::Local(local) = statement else { return false };
    let (Some(init), false) = (&local.init, matches!(local.pat, Pat::Ident(_))) else {
        return false;
    };
    let Expr::Block(block) = &*init.expr else { return false };
    matches!(block.block.stmts.last(), Some(Stmt::Expr(Expr::Path(path), None))
        if path.path.get_ident().is_some_and(|ident| ident.to_string().starts_with("__arg")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(item: TokenStream) -> Result<Function, Vec<String>> {
        let mut ctxt = Ctxt::new();
        let function = Function::parse(&mut ctxt, item);
        ctxt.finish(function).map_err(|errors| errors.messages())
    }

    #[test]
    fn the_body_of_a_returned_future_is_what_is_guarded() {
        for item in [
            quote!(
                fn f<'a>(&'a self) -> Pin<Box<dyn Future<Output = Result<A, B>> + Send + 'a>> {
                    before();
                    Box::pin(async move { body })
                }
            ),
            quote!(
                fn f(a: A) -> impl Future<Output = Result<A, B>> + Send {
                    before();
                    async move { body }
                }
            ),
        ] {
            let function = parse(item).unwrap_or_else(|errors| panic!("{errors:?}"));
            assert_eq!(function.returned.to_token_stream().to_string(), "Result < A , B >");
            assert_eq!(function.body.statements.to_string(), "body");
            let with = function.with(quote!(guarded)).to_string();
            assert!(with.starts_with("before () ;") && with.contains("{ guarded }"), "{with}");
        }
    }

    #[test]
    fn what_is_not_async_or_returns_nothing_is_refused() {
        for item in [
            quote!(
                fn f() -> Result<A, B> {
                    a
                }
            ),
            quote!(
                fn f() -> BoxFuture<'static, Result<A, B>> {
                    Box::pin(async {})
                }
            ),
            quote!(
                fn f() -> Pin<Box<dyn Future<Output = Result<A, B>>>> {
                    other()
                }
            ),
            quote!(
                async fn f() {}
            ),
            quote!(
                async fn f(a: &str) -> io::Result<&str> {}
            ),
            quote!(
                #[idempotent_fn]
                async fn f() -> A {}
            ),
            quote!(
                #[idempotent(key = a)]
                async fn f() -> A {}
            ),
            quote!(
                struct A;
            ),
            quote!(
                async fn f() -> Result<A, B>;
            ),
        ] {
            assert_eq!(parse(item.clone()).err().map(|errors| errors.len()), Some(1), "{item}");
        }
    }

    #[test]
    fn only_what_async_trait_writes_is_unpacked() {
        let (unpacking, rest) = unpack(&quote! {
            let (a, b) = { let __arg1 = __arg1; __arg1 };
            let (c, d) = { f() };
            let e = { __arg2 };
            body
        });
        assert_eq!(unpacking.len(), 1);
        assert!(rest.to_string().starts_with("let (c , d)"), "{rest}");
    }
}
