//! What is written when the attribute cannot be used.

use proc_macro2::TokenStream;
use quote::quote;

use crate::ctxt::Errors;

/// The function as it was, and every mistake: completion goes on working in editors, and the
/// compiler does not also report that the handler is missing.
pub(crate) fn fallback(item: &TokenStream, errors: Errors) -> TokenStream {
    let errors = errors.into_compile_errors();
    quote!(#item #errors)
}
