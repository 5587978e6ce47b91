//! A private PostgreSQL server, and databases on whichever server there is.

use std::{
    env,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    process::{Owner, Process, free_port, temporary_directory},
    program,
    wait::until,
};

/// A PostgreSQL server of the test's own. Dropping it ends it.
#[derive(Debug)]
pub struct PostgresServer {
    process: Process,
    databases: Databases,
    port: u16,
}

/// How a [`PostgresServer`] is started. By default it does not flush to disk: a killed server loses
/// nothing by that, a machine that loses power would.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PostgresBuilder {
    arguments: Vec<String>,
}

impl PostgresBuilder {
    /// Sets one parameter of the server: `setting("max_connections", "20")`. The last one wins.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
        self
    }

    /// Commits are on disk before they are answered.
    pub fn durable(self) -> Self {
        self.setting("fsync", "on").setting("full_page_writes", "on")
    }

    /// Starts the server and waits until it answers; `None` where there is no PostgreSQL.
    #[must_use]
    pub fn start(self) -> Option<PostgresServer> {
        let directories = program::postgres_directories();
        let initdb = program::find("initdb", &directories)?;
        let bin = initdb.parent().map(Path::to_path_buf).unwrap_or_default();
        let postgres = program::find("postgres", std::slice::from_ref(&bin))?;
        let psql = program::find("psql", &[bin])?;
        Some(until("a PostgreSQL server that starts", || {
            let mut server = self.launch(&initdb, &postgres, &psql);
            server.wait_until_ready().then_some(server)
        }))
    }

    fn launch(&self, initdb: &Path, postgres: &Path, psql: &Path) -> PostgresServer {
        let owner = unprivileged();
        let (port, directory) = (free_port(), temporary_directory("postgres", owner));
        let data = directory.join("data").display().to_string();
        initialise(initdb, &directory, &data, owner);
        let mut arguments = vec!["-D".to_owned(), data, "-p".to_owned(), port.to_string()];
        for setting in [
            "listen_addresses=127.0.0.1",
            // The directory's own path may be too long for a socket.
            "unix_socket_directories=",
            "fsync=off",
            "full_page_writes=off",
            "max_connections=200",
            "shared_buffers=32MB",
            "logging_collector=off",
        ] {
            arguments.extend(["-c".to_owned(), setting.to_owned()]);
        }
        arguments.extend(self.arguments.iter().cloned());
        // SIGQUIT: the immediate shutdown, which takes the children with it.
        let process = Process::start("PostgreSQL", postgres, &arguments, directory, owner, "QUIT");
        let admin = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let databases = Databases { admin, psql: psql.to_owned(), private: true };
        PostgresServer { process, databases, port }
    }
}

fn initialise(initdb: &Path, directory: &Path, data: &str, owner: Option<Owner>) {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(initdb);
    command
        .args(["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"])
        .args(["--no-sync", "--no-instructions"])
        .current_dir(directory);
    if let Some(Owner { uid, gid }) = owner {
        command.uid(uid).gid(gid);
    }
    let output = command.output().expect("initdb was found");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb failed: {error}");
}

/// Whom the server runs as where we are root, which PostgreSQL refuses to be.
fn unprivileged() -> Option<Owner> {
    let id = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let owner = |user| Some(Owner { uid: id(&["-u", user])?, gid: id(&["-g", user])? });
    Some(owner("postgres").or_else(|| owner("nobody")).expect("there is a user without privileges"))
}

impl PostgresServer {
    /// Configures a server.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// A server that does not flush to disk; `None` where there is no PostgreSQL.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::builder().start()
    }

    /// The server that all tests of this process share, or that of `DATABASE_URL`. `None` where
    /// there is neither.
    pub fn shared() -> Option<&'static Databases> {
        static SHARED: OnceLock<Option<(Databases, Option<PostgresServer>)>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match env::var("DATABASE_URL") {
            Ok(admin) if admin.starts_with("postgres") => {
                let psql = program::find("psql", &program::postgres_directories())?;
                Some((Databases { admin, psql, private: false }, None))
            }
            _ => Self::start().map(|server| (server.databases.clone(), Some(server))),
        });
        shared.as_ref().map(|(databases, _)| databases)
    }

    /// A fresh database on this server.
    pub fn database(&self) -> Database {
        self.databases.database()
    }

    /// The port it listens on, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:<port>`, for a [`Proxy`](crate::Proxy).
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL to the server and its backends; returns when the server is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGINT, the fast shutdown: transactions are rolled back; returns when the server is gone.
    pub fn stop(&mut self) {
        self.process.end("INT");
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same port and
    /// files, and waits until it has recovered.
    pub fn restart(&mut self) {
        // Backends of a killed server may hold its shared memory a moment longer.
        until("a PostgreSQL server that starts again", || {
            self.process.start_again();
            if self.wait_until_ready() {
                return Some(());
            }
            self.process.end("QUIT");
            None
        });
    }

    /// SIGSTOP to the server and its backends: connections stay open and nothing is answered.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    /// Whether it came up; `false` when it ended instead.
    fn wait_until_ready(&mut self) -> bool {
        let data = self.process.directory.join("data").display().to_string();
        let mut last = String::new();
        let found = until("a PostgreSQL server that answers", || {
            match self.databases.run("SHOW data_directory") {
                Ok(found) => Some(found),
                Err(error) => {
                    last = error;
                    self.process.has_ended().then(String::new)
                }
            }
        });
        found == data
    }
}

/// A PostgreSQL server on which databases can be created.
#[derive(Clone, Debug)]
pub struct Databases {
    admin: String,
    psql: PathBuf,
    private: bool,
}

impl Databases {
    /// A fresh, empty database.
    pub fn database(&self) -> Database {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (pid, n) = (process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("idempotent_{pid}_{n}_{:x}", since.as_micros());
        // template0, because nobody is connected to it.
        let sql = format!("CREATE DATABASE {name} TEMPLATE template0");
        self.run(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        Database { url: with_database(&self.admin, &name), name, on: self.clone() }
    }

    /// The URL of the database that others are created from, for what needs no database of its own.
    pub fn admin_url(&self) -> &str {
        &self.admin
    }

    /// Runs one statement there, and answers the rows as unaligned text.
    fn run(&self, sql: &str) -> Result<String, String> {
        run(&self.psql, &self.admin, sql)
    }
}

/// A database of the test's own. Dropping it removes it from a server that is not private.
#[derive(Debug)]
pub struct Database {
    url: String,
    name: String,
    on: Databases,
}

impl Database {
    /// `postgres://…/<its name>`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name, which needs no quotes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements with `psql` on a connection of its own, and answers the rows as unaligned
    /// text.
    ///
    /// # Panics
    ///
    /// When one fails.
    #[track_caller]
    pub fn run(&self, sql: &str) -> String {
        run(&self.on.psql, &self.url, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.on.private {
            // A server that is gone has nothing to tidy up.
            let _ = self.on.run(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}

fn run(psql: &Path, url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new(psql)
        .args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
        .env("PGCONNECT_TIMEOUT", "5")
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
    }
}

/// The URL with another database.
fn with_database(url: &str, name: &str) -> String {
    let (location, query) = url.split_once('?').map_or((url, None), |(url, q)| (url, Some(q)));
    let host = location.find("://").map_or(0, |at| at + 3);
    let end = location[host..].find('/').map_or(location.len(), |at| host + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &location[..end])
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn a_url_keeps_everything_but_its_database() {
        for (url, expected) in [
            ("postgres://u:p@h:1/test", "postgres://u:p@h:1/new"),
            ("postgres://h", "postgres://h/new"),
            ("postgresql://h/?sslmode=disable", "postgresql://h/new?sslmode=disable"),
        ] {
            assert_eq!(with_database(url, "new"), expected);
        }
    }
}
