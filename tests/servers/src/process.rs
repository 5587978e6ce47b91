//! A server process and the `sh` that supervises it.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{DirBuilderExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU16, AtomicU32, Ordering},
        mpsc::{self, Receiver},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use crate::wait::{PATIENCE, until};

/// User and group that a server runs as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A temporary directory, removed by the supervisor.
pub(crate) fn temporary_directory(name: &str, owner: Option<Owner>) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (pid, n) = (process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("idempotent-{name}-{pid}-{n}-{:x}", since.subsec_nanos());
        let directory = env::temp_dir().join(name);
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => {
                if let Some(Owner { uid, gid }) = owner {
                    chown(&directory, Some(uid), Some(gid))
                        .expect("root may give directories away");
                }
                return directory;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("cannot create {}: {error}", directory.display()),
        }
    }
}

/// A port of 127.0.0.1 that is free, below those that outgoing connections are given: a server that
/// is down for a while finds its port still free.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 17_000;
    const COUNT: u16 = 14_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    until("a free port", || {
        // Processes that run tests at the same time begin at different places.
        let spread = (process::id().wrapping_mul(2_654_435_761) >> 16) % u32::from(COUNT);
        let spread = u16::try_from(spread).unwrap_or(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (spread.wrapping_add(n)) % COUNT;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    })
}

/// A server process that can be signalled, ended and started again with the same command. Dropping
/// it ends the process and removes its directory.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    supervisor: Child,
    /// `None` only while it is dropped: closing it is the end.
    words: Option<ChildStdin>,
    answers: Mutex<Receiver<String>>,
    pub(crate) directory: PathBuf,
    pid: Option<u32>,
    paused: Vec<u32>,
}

impl Process {
    /// Starts `program` in `directory`, which belongs to it from now on.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        directory: PathBuf,
        owner: Option<Owner>,
        last_signal: &str,
    ) -> Self {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", include_str!("supervise.sh"), "supervise"])
            .arg(&directory)
            .arg(last_signal)
            .arg(program)
            .args(arguments)
            .current_dir(&directory)
            // A Ctrl-C at the terminal ends the test, whose end then ends the server.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let Some(Owner { uid, gid }) = owner {
            command.uid(uid).gid(gid);
        }
        let mut supervisor = command.spawn().expect("there is a /bin/sh");
        let output = BufReader::new(supervisor.stdout.take().expect("piped above"));
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let (words, answers) = (supervisor.stdin.take(), Mutex::new(receiver));
        let (pid, paused) = (None, Vec::new());
        let mut process = Self { name, supervisor, words, answers, directory, pid, paused };
        process.start_again();
        process
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether the process has ended by itself, as far as this system shows it.
    pub(crate) fn has_ended(&self) -> bool {
        let Some(pid) = self.pid else { return true };
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z')),
            Err(_) => false,
        }
    }

    /// Starts the process again after [`kill`](Self::kill) or [`end`](Self::end).
    pub(crate) fn start_again(&mut self) {
        assert!(self.pid.is_none(), "the {} server is still running", self.name);
        self.pid = self.say("START").parse().ok();
        assert!(self.pid.is_some(), "the supervisor answers the process id");
    }

    /// SIGKILL to the process and its children, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let children = self.children();
        self.end("KILL");
        signal("KILL", &children);
    }

    /// Sends `signal` and waits until the process is gone.
    pub(crate) fn end(&mut self, signal: &str) {
        self.resume();
        self.say(signal);
        self.say("WAIT");
        self.pid = None;
    }

    /// SIGSTOP to the process and its children.
    pub(crate) fn pause(&mut self) {
        self.say("STOP");
        self.paused = self.children();
        signal("STOP", &self.paused);
    }

    /// SIGCONT to all that was paused.
    pub(crate) fn resume(&mut self) {
        signal("CONT", &std::mem::take(&mut self.paused));
        self.say("CONT");
    }

    /// The end of what the server has printed.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }

    fn say(&mut self, word: &str) -> String {
        let answer = self.words.as_mut().and_then(|words| writeln!(words, "{word}").ok());
        let answer = answer.and_then(|()| self.answers.get_mut().ok()?.recv_timeout(PATIENCE).ok());
        answer.unwrap_or_else(|| {
            panic!("the {} server's supervisor did not answer {word}: {}", self.name, self.log())
        })
    }

    fn children(&self) -> Vec<u32> {
        let Some(parent) = self.pid else { return Vec::new() };
        let output = Command::new("ps").args(["-A", "-o", "pid=", "-o", "ppid="]).output();
        let table = match output {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(_) => process_table(),
        };
        let pair = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse::<u32>);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        };
        let children = table.lines().filter_map(pair).filter(|(_, of)| *of == parent);
        children.map(|(pid, _)| pid).collect()
    }
}

/// Process ids and those of their parents, on a Linux without `ps`.
fn process_table() -> String {
    let stats = fs::read_dir("/proc").into_iter().flatten().flatten();
    let line = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
        Some(format!("{} {parent}\n", entry.file_name().to_string_lossy()))
    };
    stats.filter_map(line).collect()
}

fn signal(signal: &str, pids: &[u32]) {
    for pid in pids {
        // One that has ended meanwhile is as good as signalled.
        let script = r#"kill -s "$1" "$2" 2>/dev/null"#;
        let _ =
            Command::new("/bin/sh").args(["-c", script, "kill", signal, &pid.to_string()]).status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        signal("CONT", &std::mem::take(&mut self.paused));
        self.words = None;
        let _ = self.supervisor.wait();
    }
}
