//! What `#[idempotent]` writes.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::{Expr, Generics, Pat, Type, ext::IdentExt as _, parse_quote};

use super::{aim, call_with, choice, compared, local, location, private, spec};
use crate::{
    argument::Argument,
    handler::Handler,
    item::is_cfg,
    model::{Compared, Guard, Key, Spawn},
    output::{Output, unit},
};

/// Writes the guarded handler.
pub(crate) fn expand(guard: &Guard, handler: &Handler) -> TokenStream {
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
    let leading =
        leading.iter().map(|Argument { attrs, pat, ty, .. }| quote!(#(#attrs)* #pat: #ty));
    let [last, value, permit, call] = ["last", "value", "guard", "call"].map(local);
    let [taken, answer] = ["taken", "answer"].map(local);
    let last_argument = Last::of(handler);
    let Last { attrs: last_attrs, pat, ty } = &last_argument;
    let guarded = quote_spanned!(location(ty)=> #private::Guarded<#ty>);
    let Output { arrow, declared, .. } = &handler.output;
    let outcome = quote_spanned!(location(declared)=> #private::Outcome<#declared>);
    let new_call = new_call(&private, guard, ident, &permit);
    let or_answer = |result: TokenStream| {
        quote! {
            match #result {
                ::core::result::Result::Ok(#taken) => #taken,
                ::core::result::Result::Err(#answer) => return #private::answered(#answer),
            }
        }
    };
    let begin = if last_argument.is_needed_by(guard, &handler.leading) {
        let taken = or_answer(quote!(#value.take(&mut #permit).await));
        quote! {
            let #value = #taken;
            #last_attrs
            let #pat = #value;
            let #call = #new_call;
        }
    } else {
        let reads_body = quote_spanned! {location(ty)=> {
            use #private::DoesMore as _;
            // Or the import is of no use where the type has a constant of its own.
            let _ = <#private::Probe<#private::Unlisted>>::READS_BODY;
            <#private::Probe<#ty>>::READS_BODY
        }};
        let first = or_answer(quote!(#value.first(#reads_body, &mut #permit).await));
        let unless_recorded = or_answer(quote!(#value.unless_recorded(&mut #call)));
        let taken = or_answer(quote!(#value.take(#call.guard()).await));
        quote! {
            let #value = #first;
            let mut #call = #new_call;
            let #value = #unless_recorded;
            let #value = #taken;
            #last_attrs
            let #pat = #value;
        }
    };
    let run = run(guard, &call, handler);
    quote! {
        #(#attrs)*
        #visibility #asyncness #fn_token #ident #generics (
            #(#leading,)*
            #last: #guarded
        ) #arrow #outcome #where_clause {
            #(#inner_attrs)*
            let (#value, mut #permit) = #last.into_parts();
            #begin
            #run
        }
    }
}

/// The last argument, which a handler without arguments has too.
struct Last {
    attrs: TokenStream,
    pat: Pat,
    ty: Type,
}

impl Last {
    fn of(handler: &Handler) -> Self {
        match &handler.last {
            Some(Argument { attrs, pat, ty, .. }) => {
                Self { attrs: quote!(#(#attrs)*), pat: pat.clone(), ty: ty.clone() }
            }
            None => Self { attrs: TokenStream::new(), pat: parse_quote!(()), ty: unit() },
        }
    }

    /// Whether an option speaks of it, or may: then it is taken before all else.
    fn is_needed_by(&self, guard: &Guard, leading: &[Argument]) -> bool {
        let key = match &guard.key {
            Key::Content(expr) | Key::Expression(expr) => Some(expr),
            Key::Header(_) | Key::Fingerprint => None,
        };
        let options = [&guard.runtime, &guard.common.scope];
        let own = words(self.pat.to_token_stream());
        let others: Vec<_> =
            leading.iter().flat_map(|argument| words(argument.pat.to_token_stream())).collect();
        let may_speak_of_it = |expr: &Expr| {
            let said = words(expr.to_token_stream());
            // What speaks of no other argument may misspell this one, and a macro may say anything.
            let speaks_of_another = said.iter().any(|word| others.contains(word));
            let is_constant = said.first().is_some_and(|word| *word == word.to_uppercase());
            said.iter().any(|word| word == "!" || own.contains(word))
                || !(speaks_of_another || is_constant)
        };
        // Another fingerprint may leave the body out, and what it is made into is still to be judged.
        matches!(&guard.common.fingerprint, Some(Compared::Content(_) | Compared::Expression(_)))
            || options.into_iter().flatten().chain(key).any(may_speak_of_it)
            // A type without a name cannot be asked what it does, nor what a macro hides.
            || words(self.ty.to_token_stream()).iter().any(|word| word == "impl" || word == "!")
            || own.iter().any(|word| word == "!")
    }
}

/// Every identifier in `tokens`, and every `!`.
fn words(tokens: TokenStream) -> Vec<String> {
    let each = tokens.into_iter().flat_map(|token| match token {
        TokenTree::Group(group) => words(group.stream()),
        TokenTree::Ident(ident) => vec![ident.unraw().to_string()],
        TokenTree::Punct(punct) if punct.as_char() == '!' => vec!["!".to_owned()],
        TokenTree::Punct(_) | TokenTree::Literal(_) => Vec::new(),
    });
    each.collect()
}

/// Everything about this call that is known before the body runs. The expressions are evaluated
/// here, so that a body which changes its input cannot change the key it is recorded under.
fn new_call(private: &TokenStream, guard: &Guard, ident: &Ident, permit: &Ident) -> TokenStream {
    let Guard { common, runtime, .. } = guard;
    let optional = guard.optional.then(|| quote!(.optional()));
    let shared = guard.shared.then(|| quote!(.shared()));
    let record = choice(private, "record", guard.record);
    let json =
        matches!(common.fingerprint, Some(Compared::Json)).then(|| quote!(.fingerprint_json()));
    let names = &guard.fingerprint_headers;
    let fields = (!names.is_empty()).then(|| quote!(.fingerprint_headers(&[#(#names),*])));
    let spec = spec(private, common, ident, &quote!(#optional #shared #record #json #fields));
    let parts = [("runtime", runtime), ("scope", &common.scope)];
    let parts = parts
        .into_iter()
        .filter_map(|(method, expr)| expr.as_ref().map(|expr| call_with(method, expr)))
        .chain(compared(common.fingerprint.as_ref()));
    let key = match &guard.key {
        Key::Header(name) => {
            quote!(.key_header(const { #private::HeaderName::from_static(#name) }))
        }
        Key::Fingerprint => quote!(.key_fingerprint()),
        Key::Content(expr) => call_with("key_content", expr),
        Key::Expression(expr) => call_with("key", expr),
    };
    quote!(#private::Call::new(#permit, const { &#spec }) #(#parts)* #key)
}

/// The one call that everything is handed to. It is shown where the body stands, which is what its
/// bounds are about.
fn run(guard: &Guard, call: &Ident, handler: &Handler) -> TokenStream {
    let braces = handler.body.braces.resolved_at(Span::call_site());
    let private = private(&guard.common, braces);
    let body = body(handler);
    let returned = &handler.output.nameable;
    let reply = quote_spanned!(location(returned)=> #private::reply::<#returned>);
    let run = match guard.spawn {
        Spawn::Detached => quote_spanned!(braces=> run),
        Spawn::Inline => quote_spanned!(braces=> run_inline),
    };
    quote_spanned!(braces=> #private::#run(#call, #body, #reply).await)
}

/// The handler's body as a future. Its braces stay where they were, so that errors about the whole
/// block (no tail expression, not `Send`) point at the user's block.
fn body(handler: &Handler) -> TokenStream {
    let statements = &handler.body.statements;
    let aim = aim(&handler.output.nameable);
    let held = handler.leading.iter().chain(&handler.last).flat_map(|argument| {
        let cfgs: Vec<_> = argument.attrs.iter().filter(|attr| is_cfg(attr)).collect();
        argument.held.iter().map(move |ident| {
            quote! {
                #(#cfgs)*
                #[allow(clippy::used_underscore_binding)]
                let _ = &#ident;
            }
        })
    });
    let mut block = Group::new(Delimiter::Brace, quote!(#aim #(#held)* #statements));
    block.set_span(handler.body.braces);
    quote_spanned!(handler.body.braces=> async move #block)
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
            crate::guard(attribute, item).to_string().contains("unless_recorded")
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
        assert!(expanded.contains("renamed :: __private :: run"), "{expanded}");
        assert!(!expanded.contains("idempotent_runtime"), "{expanded}");
    }
}
