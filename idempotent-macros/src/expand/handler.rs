//! What `#[idempotent]` writes.

use proc_macro2::{Group, Ident, Punct, Spacing, Span, TokenStream};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::{Expr, Generics, Path, ext::IdentExt as _, spanned::Spanned as _};

use super::{
    aim, behind, braced, call_with, choice, compared, fingerprint, import, is_constant, local,
    location, private, said, short, shown_before, spec, words,
};
use crate::{
    argument::Argument,
    handler::Handler,
    model::{Compared, Guard, Key, Spawn},
    output::{Output, unit},
};

/// Writes the handler with the types of a guarded one, where the attribute could not be read: what calls it
/// is not also wrong, and no name is unused that an option may have used.
pub(crate) fn stand_in(crate_path: Option<Path>, spawn: Spawn, handler: &Handler) -> TokenStream {
    write(&Guard::stand_in(crate_path, spawn), handler, &["!".to_owned()])
}

/// Writes the guarded handler.
pub(crate) fn expand(guard: &Guard, handler: &Handler) -> TokenStream {
    let options = options(guard).into_iter().flatten().chain(fingerprint(&guard.common));
    let said = said(options, handler.leading.iter().chain(&handler.last));
    write(guard, handler, &said)
}

/// `said` are the words of the options.
fn write(guard: &Guard, handler: &Handler, said: &[String]) -> TokenStream {
    let private = private(&guard.common, Span::call_site());
    let Handler {
        attrs,
        inner_attrs,
        visibility,
        asyncness,
        fn_token,
        ident,
        generics,
        leading,
        ..
    } = handler;
    let Generics { where_clause, .. } = generics;
    let declared = leading.iter().map(|argument| argument.declared(argument.is_named_in(said)));
    let arguments = || leading.iter().chain(&handler.last);
    let shown = arguments().map(|argument| argument.shown(argument.is_named_in(said)));
    let shown: TokenStream = shown.collect();
    let [last, value, permit, call] = ["last", "value", "guard", "call"].map(local);
    let [done, answer] = ["done", "answer"].map(local);
    let ty = handler.last.as_ref().map_or_else(unit, |last| last.ty.clone());
    let guarded = quote_spanned!(location(&ty)=> #private::Guarded<#ty>);
    let Output { arrow, declared: returned, .. } = &handler.output;
    // With its last token the user's, so that the signature is, which lints are shown at.
    let mut end = Punct::new('>', Spacing::Alone);
    end.set_span(if handler.output.is_written { returned.span() } else { ident.span() });
    let outcome = quote_spanned!(location(returned)=> #private::Outcome<#returned #end);
    let (import, short) = (import(&guard.common), short(Span::call_site()));
    let new_call = shown_before(&shown, new_call(guard, ident, &permit));
    let or_answer = |step: TokenStream| {
        quote! {
            match #step.await {
                #short::Ok(#done) => #done,
                #short::Err(#answer) => return #answer,
            }
        }
    };
    let is_named = handler.last.as_ref().is_some_and(|last| last.is_named_in(said));
    let taken = handler.last.as_ref().map_or_else(|| quote!(()), |last| last.taken(is_named));
    let begin = if is_last_needed(guard, handler, said) {
        let begun = or_answer(quote!(#short::take(#last)));
        quote! {
            let (#taken, #permit) = #begun;
            let #call = #new_call;
        }
    } else {
        let place = location(&ty);
        let reads_body = quote_spanned! {place=> {
            use #short::DoesMore as _;
            <#short::Probe<#ty>>::READS_BODY
        }};
        if let Some(spec) = plain_spec(guard, ident) {
            let begun = or_answer(quote!(#short::begin(#last, #reads_body, #spec)));
            quote!(let (#taken, #call) = #begun;)
        } else {
            let first = or_answer(quote!(#short::first(#last, #reads_body)));
            let late = or_answer(quote!(#short::late(#value, #new_call)));
            quote! {
                let (#value, #permit) = #first;
                let (#taken, #call) = #late;
            }
        }
    };
    let run = run(guard, &call, handler, said);
    let block = braced(
        handler.body.braces,
        quote! {
            #(#inner_attrs)*
            #import
            #begin
            #run
        },
    );
    quote! {
        #(#attrs)*
        #visibility #asyncness #fn_token #ident #generics (
            #(#declared,)*
            #last: #guarded
        ) #arrow #outcome #where_clause #block
    }
}

/// The expressions of options other than `fingerprint`.
fn options(guard: &Guard) -> [Option<&Expr>; 3] {
    let key = match &guard.key {
        Key::Content(expr) | Key::Expression(expr) => Some(expr),
        Key::Header(_) | Key::Fingerprint => None,
    };
    [guard.runtime.as_ref(), guard.common.scope.as_ref(), key]
}

/// Whether an option speaks of the last argument, or may: then it is taken before all else.
fn is_last_needed(guard: &Guard, handler: &Handler, said: &[String]) -> bool {
    // Another fingerprint may leave the body out, and what it is made into is still to be judged.
    if fingerprint(&guard.common).is_some() {
        return true;
    }
    let Some(last) = &handler.last else { return !said.is_empty() };
    let others: Vec<_> = handler.leading.iter().flat_map(Argument::names).collect();
    let may_speak_of_it = |expr: &Expr| {
        let said = words(expr.to_token_stream());
        // What speaks of no other argument may misspell this one, and a macro may say anything.
        let speaks_of_another =
            said.iter().any(|word| others.iter().any(|other| other.unraw() == word));
        last.is_named_in(&said) || !(speaks_of_another || is_constant(&said))
    };
    options(guard).into_iter().flatten().any(may_speak_of_it)
        // A type without a name cannot be asked what it does, nor what a macro hides.
        || words(last.ty.to_token_stream()).iter().any(|word| word == "impl" || word == "!")
        || words(last.pat.to_token_stream()).iter().any(|word| word == "!")
}

/// Everything about this call that is known before the body runs. The expressions are evaluated
/// here, so that a body which changes its input cannot change the key it is recorded under.
fn new_call(guard: &Guard, ident: &Ident, permit: &Ident) -> TokenStream {
    let private = short(Span::call_site());
    let Guard { common, runtime, .. } = guard;
    let spec = own_spec(guard, ident, &TokenStream::new());
    let parts = [("runtime", runtime), ("scope", &common.scope)];
    let parts = parts
        .into_iter()
        .filter_map(|(method, expr)| expr.as_ref().map(|expr| call_with(method, expr)))
        .chain(compared(common.fingerprint.as_ref()));
    let key = match &guard.key {
        Key::Header(name) => {
            quote!(.key_header(#name))
        }
        Key::Fingerprint => quote!(.key_fingerprint()),
        Key::Content(expr) => call_with("key_content", expr),
        Key::Expression(expr) => call_with("key", expr),
    };
    quote!(#private::Call::new(#permit, const { &#spec }) #(#parts)* #key)
}

/// The options of a handler that has no expressions, its key among them.
fn plain_spec(guard: &Guard, ident: &Ident) -> Option<TokenStream> {
    let Key::Header(name) = &guard.key else { return None };
    let has_expressions = options(guard).iter().any(Option::is_some);
    (!has_expressions).then(|| {
        let spec = own_spec(guard, ident, &quote!(.key_header(#name)));
        quote!(const { &#spec })
    })
}

fn own_spec(guard: &Guard, ident: &Ident, key: &TokenStream) -> TokenStream {
    let common = &guard.common;
    let optional = guard.optional.then(|| quote!(.optional()));
    let shared = guard.shared.then(|| quote!(.shared()));
    let record = choice("record", guard.record);
    let json =
        matches!(common.fingerprint, Some(Compared::Json)).then(|| quote!(.fingerprint_json()));
    let names = &guard.fingerprint_headers;
    let fields = (!names.is_empty()).then(|| quote!(.fingerprint_headers(&[#(#names),*])));
    spec(common, ident, &quote!(#key #optional #shared #record #json #fields))
}

/// The one call that everything is handed to. It is shown where the body stands, which is what its
/// bounds are about.
fn run(guard: &Guard, call: &Ident, handler: &Handler, said: &[String]) -> TokenStream {
    let braces = handler.body.braces.resolved_at(Span::call_site());
    let private = short(braces);
    let body = body(handler, said);
    let place = location(&handler.output.nameable);
    let there = short(place);
    let reply = quote_spanned!(place=> #there::reply);
    let run = match guard.spawn {
        Spawn::Detached => quote_spanned!(braces=> run),
        Spawn::Inline => quote_spanned!(braces=> run_inline),
    };
    quote_spanned!(braces=> #private::#run(#call, move || async move #body, #reply).await)
}

/// The handler's body as the block of a future. Its braces stay where they were, so that errors about the
/// whole block (no tail expression, not `Send`) point at the user's block.
fn body(handler: &Handler, said: &[String]) -> Group {
    let statements = &handler.body.statements;
    let aim = aim(&handler.output.nameable);
    let arguments = handler.leading.iter().chain(&handler.last);
    let words = words(statements.clone());
    let bound = arguments.map(|argument| argument.bound(argument.is_named_in(said), &words));
    braced(handler.body.braces, behind(&quote!(#aim #(#bound)*), &handler.body, statements))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last argument is taken late where no option can mean it.
    #[test]
    fn the_last_argument_is_taken_first_where_an_option_may_speak_of_it() {
        let item = quote!(
            async fn handler(State(app): State<App>, Json(new): Json<New>) {}
        );
        let is_late = |options: &TokenStream, item: &TokenStream| {
            let attribute = quote!(ttl = "24h", #options);
            ["late", "begin"]
                .iter()
                .any(|late| crate::guard(attribute.clone(), item).to_string().contains(late))
        };
        for late in [
            quote!(key = header("Idempotency-Key")),
            quote!(key = fingerprint),
            quote!(key = header("Idempotency-Key"), runtime = app.idempotency),
            quote!(key = header("Idempotency-Key"), scope = (app.tenant, app.user())),
            quote!(key = header("Idempotency-Key"), runtime = RUNTIME),
            quote!(key = app.id),
            quote!(key = header("Idempotency-Key"), fingerprint = json),
        ] {
            assert!(is_late(&late, &item), "{late}");
        }
        for first in [
            quote!(key = new.id),
            quote!(key = hash(new)),
            quote!(key = (app.id, new.id)),
            quote!(key = header("Idempotency-Key"), scope = new.tenant),
            quote!(key = header("Idempotency-Key"), fingerprint = (app.id, new.amount)),
            quote!(key = header("Idempotency-Key"), fingerprint = app.id),
            quote!(key = header("Idempotency-Key"), fingerprint = hash(app)),
            quote!(key = header("Idempotency-Key"), fingerprint = &json),
            quote!(key = format!("{new}-{}", app.id)),
            quote!(key = nwe.id),
        ] {
            assert!(!is_late(&first, &item), "{first}");
        }
        let nameless = quote!(
            async fn handler(body: impl FromRequest<()>) {}
        );
        assert!(!is_late(&quote!(key = header("Idempotency-Key")), &nameless));
    }

    #[test]
    fn under_another_name_the_crate_is_named_nowhere() {
        let attribute = quote! {
            key = header("Idempotency-Key"), ttl = "24h", record = all, on_abandoned = halt,
            scope = a, crate = renamed
        };
        let handler = quote!(
            async fn handler(_: A, b: B) -> impl C {}
        );
        let expanded = crate::guard(attribute, &handler).to_string();
        assert!(expanded.contains("use renamed :: __private as"), "{expanded}");
        assert!(!expanded.contains("idempotent_runtime"), "{expanded}");
    }
}
