//! What an operator reads.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::{Dispatch, Level, subscriber::DefaultGuard};

/// The warnings and errors of this thread, as long as this lives.
pub struct Logs {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
    /// With one subscriber only, tracing asks the thread that comes to a log line first whether anybody
    /// listens: another test's may say no for all. With two it asks both.
    _second: Dispatch,
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logs {
    /// Listens from now on.
    pub fn new() -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let subscriber = || {
            let text = Arc::clone(&text);
            tracing_subscriber::fmt()
                .with_ansi(false)
                .with_max_level(Level::WARN)
                .with_writer(move || Writer(Arc::clone(&text)))
                .finish()
        };
        let second = Dispatch::new(subscriber());
        let guard = tracing::subscriber::set_default(subscriber());
        Self { text, _guard: guard, _second: second }
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Asserts that there is a line for each of `expected`, in this order, with all words of it.
    #[track_caller]
    pub fn assert_are(&self, expected: &[&[&str]]) {
        let lines = self.lines();
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, words) in lines.iter().zip(expected) {
            for word in *words {
                assert!(line.contains(word), "no `{word}` in {line}");
            }
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Logs").field(&self.lines()).finish()
    }
}
