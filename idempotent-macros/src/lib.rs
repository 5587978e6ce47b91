//! stub
/// stub
#[proc_macro_attribute]
pub fn idempotent(
    _: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    item
}
