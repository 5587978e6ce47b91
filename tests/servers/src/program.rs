//! Finding the binaries of servers, and saying so where there are none.

use std::{
    collections::BTreeSet,
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// The path of `name` in `PATH` or one of `elsewhere`; skips with a notice where there is none.
pub(crate) fn find(name: &str, elsewhere: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from))
        .chain(elsewhere.iter().cloned())
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        skip(name);
    }
    found
}

/// Where distributions keep the binaries of PostgreSQL, the newest version first.
pub(crate) fn postgres_directories() -> Vec<PathBuf> {
    let mut found: Vec<_> = entries("/usr/lib/postgresql").map(|path| path.join("bin")).collect();
    found
        .extend(entries("/usr").filter(|path| starts(path, "pgsql-")).map(|path| path.join("bin")));
    found.extend(
        ["/opt/homebrew/opt", "/usr/local/opt"]
            .into_iter()
            .flat_map(entries)
            .filter(|path| starts(path, "postgresql"))
            .map(|path| path.join("bin")),
    );
    found.sort_by_key(|path| std::cmp::Reverse(version(path)));
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        found.insert(0, PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    found
}

fn entries(directory: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn starts(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

fn version(bin: &Path) -> u32 {
    let name = bin.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Says once per process that tests are skipped for want of `name`.
///
/// # Panics
///
/// Where `IDEMPOTENT_REQUIRE_SERVICES` is set: then a skip is a failure.
fn skip(name: &str) {
    let required = env::var("IDEMPOTENT_REQUIRE_SERVICES").is_ok_and(|value| value != "0");
    // Not `eprintln!`, which the test harness keeps from the eyes of whoever runs the tests.
    say_skipped(name, required, &mut io::stderr());
}

fn say_skipped(name: &str, required: bool, out: &mut impl io::Write) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    assert!(!required, "`{name}` was not found, and IDEMPOTENT_REQUIRE_SERVICES is set");
    let mut said = SAID.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if said.insert(name.to_owned()) {
        let _ = writeln!(
            out,
            "SKIPPED: tests that need `{name}`, which was not found (install it, or set REDIS_URL, \
             DATABASE_URL or NATS_URL where a shared server is enough; \
             IDEMPOTENT_REQUIRE_SERVICES=1 makes this a failure)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_is_said_once() {
        let mut out = Vec::new();
        say_skipped("no-such-server", false, &mut out);
        say_skipped("no-such-server", false, &mut out);
        let said = String::from_utf8(out).unwrap();
        assert_eq!(said.matches("SKIPPED: tests that need `no-such-server`").count(), 1);
    }

    #[test]
    #[should_panic(expected = "`no-such-server` was not found")]
    fn a_missing_server_that_is_required_is_a_failure() {
        say_skipped("no-such-server", true, &mut Vec::new());
    }

    #[test]
    fn the_newest_version_is_found_first() {
        let bin = |version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"));
        assert!(version(&bin("15")) > version(&bin("9.6")));
    }
}
