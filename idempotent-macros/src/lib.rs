//! The attribute of [`idempotent-runtime`](https://docs.rs/idempotent-runtime), which re-exports it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod argument;
mod ctxt;
mod expand;
mod fallback;
mod handler;
mod model;
mod output;
mod parse;
#[cfg(test)]
mod snapshots;

use proc_macro2::TokenStream;

use self::{ctxt::Ctxt, handler::Handler, parse::Options};

#[proc_macro_attribute]
pub fn idempotent(
    attribute: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    guard(attribute.into(), &item.into()).into()
}

fn guard(attribute: TokenStream, item: &TokenStream) -> TokenStream {
    let mut ctxt = Ctxt::new();
    let options = Options::parse(&mut ctxt, attribute);
    let handler = Handler::parse(&mut ctxt, item.clone(), options.spawn());
    let guard = options.finish(&mut ctxt);
    match ctxt.finish(guard.zip(handler)) {
        Ok((guard, handler)) => expand::expand(&guard, &handler),
        Err(errors) => fallback::fallback(item, errors),
    }
}
