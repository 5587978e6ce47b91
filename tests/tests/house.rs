//! The invariants of `ARCHITECTURE.md` about who may know whom, and of documents that speak of code.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn metadata() -> Value {
    serde_json::from_str(&cargo(&["metadata", "--format-version=1", "--locked"])).unwrap()
}

/// All `.rs` files below a folder.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {folder}");
    found.sort();
    found
}

/// The lines of a file that are code, without comments.
fn code(path: &Path) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<_> =
        text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect();
    lines.into_iter()
}

fn word(line: &str, word: &str) -> bool {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|found| found == word)
}

#[test]
fn only_the_axum_parts_name_axum_and_the_core_knows_no_http_body() {
    let source = root().join("idempotent-runtime/src");
    for path in sources("idempotent-runtime/src") {
        let name = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
        let may_name_axum = name.starts_with("axum") || name == "lib.rs" || name == "private.rs";
        let may_name_bodies = may_name_axum || name.starts_with("http");
        for line in code(&path) {
            // Attributes may name a feature, and the module of that name may be declared.
            let line = line.replace("feature = \"axum\"", "");
            let framework = ["axum", "tower", "hyper", "sqlx", "redis"];
            let named = framework.into_iter().find(|name| word(&line, name));
            assert!(may_name_axum || named.is_none(), "{name} names {named:?}: {line}");
            let bodies = ["http_body", "http_body_util", "sfv"];
            let named = bodies.into_iter().find(|name| word(&line, name));
            assert!(may_name_bodies || named.is_none(), "{name} names {named:?}: {line}");
        }
    }
}

#[test]
fn the_macros_do_not_depend_on_the_runtime_which_pins_them() {
    let metadata = metadata();
    let package = |name: &str| {
        let packages = metadata["packages"].as_array().unwrap();
        packages.iter().find(|package| package["name"] == name).unwrap().clone()
    };
    let dependencies = |name: &str| package(name)["dependencies"].as_array().unwrap().clone();
    assert!(dependencies("idempotent-macros").iter().all(|to| to["name"] != "idempotent-runtime"));
    let runtime = dependencies("idempotent-runtime");
    let pin = runtime.iter().find(|to| to["name"] == "idempotent-macros").unwrap();
    let version = package("idempotent-macros")["version"].as_str().unwrap().to_owned();
    assert_eq!(pin["req"], format!("={version}"));
}

#[test]
fn store_crates_know_the_runtime_without_its_features_and_not_each_other() {
    let metadata = metadata();
    let stores = ["idempotent-redis", "idempotent-sqlx"];
    for name in stores.iter().chain(&["idempotent-testkit"]) {
        let packages = metadata["packages"].as_array().unwrap();
        let package = packages.iter().find(|package| package["name"] == *name).unwrap();
        let dependencies = package["dependencies"].as_array().unwrap();
        let of_users = dependencies.iter().filter(|to| to["kind"].is_null());
        let to = |name: &str| of_users.clone().find(|to| to["name"] == name);
        let runtime = to("idempotent-runtime").unwrap();
        assert_eq!(runtime["uses_default_features"], false, "{name}");
        assert_eq!(runtime["features"].as_array().unwrap().len(), 0, "{name}");
        for other in stores.iter().chain(&["idempotent-macros"]) {
            assert!(to(other).is_none(), "{name} knows {other}");
        }
    }
}

#[test]
fn without_default_features_the_runtime_knows_no_axum() {
    let args = ["tree", "--locked", "-p", "idempotent-runtime", "--no-default-features"];
    let tree = cargo(&[&args[..], &["-e", "normal", "--prefix", "none", "-f", "{p}"]].concat());
    for line in tree.lines() {
        for name in ["axum", "tower", "hyper", "http-body", "idempotent-macros"] {
            assert!(!line.starts_with(&format!("{name} ")), "{line}");
        }
    }
}

#[test]
fn default_features_bring_one_copy_of_syn() {
    let args = ["tree", "--locked", "-p", "idempotent-runtime", "-e", "normal,build"];
    let tree = cargo(&[&args[..], &["--prefix", "none", "-f", "{p}"]].concat());
    let syn: BTreeSet<_> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| line.starts_with("syn "))
        .collect();
    assert_eq!(syn.len(), 1, "{syn:?}");
}

#[test]
fn every_crate_forbids_unsafe_code() {
    assert!(read("Cargo.toml").contains("unsafe_code = \"forbid\""));
    let metadata = metadata();
    let members = metadata["workspace_members"].as_array().unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        if !members.contains(&package["id"]) {
            continue;
        }
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}", package["name"]);
        for target in package["targets"].as_array().unwrap() {
            let kind = target["kind"][0].as_str().unwrap();
            if ["lib", "proc-macro", "bin"].contains(&kind) {
                let root = fs::read_to_string(target["src_path"].as_str().unwrap()).unwrap();
                assert!(root.contains("#![forbid(unsafe_code)]"), "{}", target["src_path"]);
            }
        }
    }
}

/// Compiling with the stated version is what `.ci/run` does; here nothing asks for a newer one.
#[test]
fn no_dependency_needs_a_newer_rust_than_we_state() {
    let parse = |version: &str| -> Vec<u32> {
        version.split('.').map(|part| part.parse().unwrap()).collect()
    };
    let stated = read("Cargo.toml");
    let stated = stated.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let stated = parse(stated.trim_matches('"'));
    for package in metadata()["packages"].as_array().unwrap() {
        if let Some(version) = package["rust_version"].as_str() {
            let version = &parse(version)[..2];
            assert!(version <= stated.as_slice(), "{} needs {version:?}", package["name"]);
        }
    }
}

#[test]
fn every_option_of_the_attribute_stands_in_the_readme_with_its_default() {
    use idempotent_runtime::defaults;
    let readme = read("README.md");
    for option in [
        "key",
        "ttl",
        "scope",
        "shared",
        "fingerprint",
        "fingerprint_headers",
        "wait",
        "lease",
        "optional",
        "record",
        "on_abandoned",
        "on_store_error",
        "on_record_failure",
        "operation",
        "runtime",
        "spawn",
        "crate",
    ] {
        let row = format!("| `{option}");
        assert!(readme.lines().any(|line| line.starts_with(&row)), "no row for {option}");
    }
    let crate_docs = read("idempotent-runtime/src/lib.rs");
    let said = [
        (format!("`ttl` | {} h |", defaults::TTL.as_secs() / 3600)),
        (format!("`lease` | {} s |", defaults::LEASE.as_secs())),
        (format!("`wait` | {} s |", defaults::WAIT.as_secs())),
        (format!("`store_timeout` | {} s |", defaults::STORE_TIMEOUT.as_secs())),
        (format!("`max_run` | {} min |", defaults::MAX_RUN.as_secs() / 60)),
        (format!("`capture_for` | {} s |", defaults::CAPTURE_FOR.as_secs())),
        (format!("`max_request_bytes` | {} MiB |", defaults::MAX_REQUEST_BYTES >> 20)),
        (format!("`max_response_bytes` | {} MiB |", defaults::MAX_RESPONSE_BYTES >> 20)),
    ];
    for row in said {
        assert!(crate_docs.contains(&row), "the crate docs do not say {row}");
    }
}

/// `tests/CASES.md` names a test for each way in which such libraries fail; each of them exists.
#[test]
fn every_case_names_tests_that_exist() {
    let cases = read("tests/CASES.md");
    let folders = [
        "tests",
        "examples",
        "idempotent-macros/src",
        "idempotent-redis/tests",
        "idempotent-sqlx/tests",
        "idempotent-runtime/src",
        "idempotent-testkit/src",
    ];
    let tests: String = folders
        .into_iter()
        .flat_map(sources)
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut numbers = Vec::new();
    for line in cases.lines().filter(|line| line.starts_with("| ")) {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let Some(number) = cells.next().and_then(|cell| cell.parse::<usize>().ok()) else {
            continue;
        };
        let (_what, covered) = (cells.next().unwrap(), cells.next().unwrap());
        numbers.push(number);
        for name in covered.split('`').skip(1).step_by(2) {
            // Tests over several stores are generic.
            let is_there = ["(", "<"].iter().any(|end| tests.contains(&format!("fn {name}{end}")));
            assert!(is_there, "case {number} names `{name}`");
        }
        assert!(covered.contains('`') || covered.starts_with("with "), "case {number}: {covered}");
    }
    assert!(numbers.is_sorted() && numbers.starts_with(&(1..=55).collect::<Vec<_>>()));
}
