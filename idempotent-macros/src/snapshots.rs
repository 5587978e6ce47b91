//! What the attribute writes, for people to read: each `tests/expansion/NAME.rs` of the repository
//! has its expansion next to it in `NAME.expanded.rs`. `IDEMPOTENT_BLESS=1 cargo test -p
//! idempotent-macros` writes these anew. The UI tests compile both.

use std::{env, fs, path::PathBuf};

use quote::ToTokens as _;
use syn::{File, Item, ItemFn};

#[test]
fn minimal() {
    check("minimal");
}

#[test]
fn every_option() {
    check("every_option");
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

/// The file with the attribute applied wherever it stands.
fn expand(mut file: File) -> File {
    file.items = file.items.into_iter().flat_map(expand_item).collect();
    file
}

fn expand_item(item: Item) -> Vec<Item> {
    let Item::Fn(mut function) = item else { return vec![item] };
    let Some(at) = function.attrs.iter().position(|attr| attr.path().is_ident("idempotent")) else {
        return vec![Item::Fn(function)];
    };
    let attribute = function.attrs.remove(at).meta.require_list().unwrap().tokens.clone();
    let tokens = crate::guard(attribute, &ItemFn::to_token_stream(&function));
    syn::parse2::<File>(tokens).unwrap().items
}
