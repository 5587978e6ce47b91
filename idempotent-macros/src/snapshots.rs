//! What the attributes write, for people to read: each `tests/expansion/NAME.rs` of the repository
//! has its expansion next to it in `NAME.expanded.rs`. `IDEMPOTENT_BLESS=1 cargo test -p
//! idempotent-macros` writes these anew. The UI tests compile both.

use std::{env, fs, path::PathBuf};

use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::{Attribute, File, ImplItem, Item};

#[test]
fn minimal() {
    check("minimal");
}

#[test]
fn every_option() {
    check("every_option");
}

#[test]
fn function() {
    check("function");
}

#[test]
fn zero_arguments() {
    check("zero_arguments");
}

fn check(name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/expansion");
    let source = fs::read_to_string(folder.join(name).with_extension("rs")).unwrap();
    let expanded = format!(
        "// What the attribute writes for `{name}.rs`; written by the tests of idempotent-macros.\n\
         #![allow(unused_imports)]\n\n{}",
        prettyplease::unparse(&expand(syn::parse_file(&source).unwrap()))
    );
    let path = folder.join(name).with_extension("expanded.rs");
    if env::var_os("IDEMPOTENT_BLESS").is_some() {
        fs::write(&path, &expanded).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expanded == committed,
        "{} is not what the attribute writes any more (IDEMPOTENT_BLESS=1 writes it anew):\n{expanded}",
        path.display()
    );
}

/// The file with the attributes applied wherever they stand.
fn expand(mut file: File) -> File {
    file.items = file.items.into_iter().flat_map(expand_item).collect();
    file
}

fn expand_item(item: Item) -> Vec<Item> {
    match item {
        Item::Fn(mut function) => match take_attribute(&mut function.attrs) {
            Some(expand) => syn::parse2::<File>(expand(&function.to_token_stream())).unwrap().items,
            None => vec![Item::Fn(function)],
        },
        Item::Impl(mut block) => {
            block.items = block.items.into_iter().map(expand_method).collect();
            vec![Item::Impl(block)]
        }
        item => vec![item],
    }
}

fn expand_method(item: ImplItem) -> ImplItem {
    let ImplItem::Fn(mut method) = item else { return item };
    match take_attribute(&mut method.attrs) {
        Some(expand) => syn::parse2(expand(&method.to_token_stream())).unwrap(),
        None => ImplItem::Fn(method),
    }
}

/// Takes one of ours away, and gives what it does.
fn take_attribute(
    attrs: &mut Vec<Attribute>,
) -> Option<impl FnOnce(&TokenStream) -> TokenStream + use<>> {
    type Expander = fn(TokenStream, &TokenStream) -> TokenStream;
    let expanders: [(_, Expander); 2] =
        [("idempotent", crate::guard), ("idempotent_fn", crate::guard_function)];
    let expander = |attr: &Attribute| {
        expanders.iter().find(|(name, _)| attr.path().is_ident(name)).map(|(_, expand)| *expand)
    };
    let at = attrs.iter().position(|attr| expander(attr).is_some())?;
    let attr = attrs.remove(at);
    let (tokens, expand) = (attr.meta.require_list().unwrap().tokens.clone(), expander(&attr)?);
    Some(move |item: &TokenStream| expand(tokens, item))
}

/// How many tokens there are, groups opened.
fn count(tokens: TokenStream) -> usize {
    let each = tokens.into_iter().map(|token| match token {
        proc_macro2::TokenTree::Group(group) => 2 + count(group.stream()),
        _ => 1,
    });
    each.sum()
}

/// What a build pays for with each handler.
#[test]
fn little_is_written_beside_the_function() {
    let header = quote::quote!(key = header("Idempotency-Key"), ttl = "24h");
    let value = quote::quote!(key = new.reference, ttl = "24h");
    let handler = quote::quote!(
        async fn create(
            State(app): State<App>,
            Json(new): Json<NewPayment>,
        ) -> Result<Json<Payment>, ApiError> {
            Ok(Json(app.create(new).await?))
        }
    );
    let function = quote::quote!(
        async fn on_paid(&self, event: Paid) -> Result<Shipment, ShipError> {
            self.ship(event).await
        }
    );
    let options = quote::quote!(key = event.id, ttl = "7d", runtime = self.idempotency);
    for (name, added, most) in [
        ("header", count(crate::guard(header, &handler)) - count(handler.clone()), 300),
        ("value", count(crate::guard(value, &handler)) - count(handler.clone()), 200),
        ("function", count(crate::guard_function(options, &function)) - count(function), 150),
    ] {
        println!("{name}: {added} tokens added, at most {most}");
        assert!(added <= most, "{name}: {added} tokens added, at most {most}");
    }
}
