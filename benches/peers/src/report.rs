//! Ratios and the table of them.

use std::{fmt, time::Duration};

use crate::{Timed, contender::Contender};

/// One window of a contender, and the two of the bare handler around it.
#[derive(Debug)]
pub(crate) struct Pair {
    per_second: f64,
    bare_per_second: f64,
    p99: Duration,
    bare_p99: Duration,
    worst: Duration,
    server_busy: Option<f64>,
    bare_busy: Option<f64>,
    load_busy: Option<f64>,
}

impl Pair {
    pub(crate) fn new(before: &Timed, window: &Timed, after: &Timed) -> Self {
        let [before_busy, after_busy] = [before.server_busy, after.server_busy];
        Self {
            per_second: window.window.per_second,
            bare_per_second: f64::midpoint(before.window.per_second, after.window.per_second),
            p99: window.window.p99,
            bare_p99: (before.window.p99 + after.window.p99) / 2,
            worst: window.window.worst,
            server_busy: window.server_busy,
            bare_busy: before_busy.zip(after_busy).map(|(one, two)| f64::midpoint(one, two)),
            load_busy: [before, window, after]
                .iter()
                .filter_map(|window| window.load_busy)
                .reduce(f64::max),
        }
    }

    fn rate_ratio(&self) -> f64 {
        self.per_second / self.bare_per_second
    }

    fn p99_ratio(&self) -> f64 {
        self.p99.as_secs_f64() / self.bare_p99.as_secs_f64()
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} of {:.0}/s, p99 {:.2?} of {:.2?}; busy: server {}, bare {}, load {}",
            self.rate_ratio(),
            self.bare_per_second,
            self.p99,
            self.bare_p99,
            percent(self.server_busy),
            percent(self.bare_busy),
            percent(self.load_busy),
        )
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "?".to_owned(), |share| format!("{:.0}%", 100.0 * share))
}

/// All windows of one contender in one mode.
#[derive(Debug)]
pub(crate) struct Row {
    contender: Contender,
    pub(crate) mode: &'static str,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) bytes_per_key: Option<u64>,
    /// Answers or effects that were not as they should be.
    pub(crate) wrong: u64,
}

impl Row {
    pub(crate) fn new(contender: Contender, mode: &'static str) -> Self {
        Self { contender, mode, pairs: Vec::new(), bytes_per_key: None, wrong: 0 }
    }

    pub(crate) fn is_right(&self) -> bool {
        self.wrong == 0
    }

    fn spread(&self, figure: impl Fn(&Pair) -> f64) -> Spread {
        let mut all: Vec<f64> = self.pairs.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        let middle = all.len() / 2;
        let median = if all.len().is_multiple_of(2) {
            f64::midpoint(all[middle - 1], all[middle])
        } else {
            all[middle]
        };
        Spread { least: all[0], median, most: all[all.len() - 1] }
    }
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

/// Median, and in brackets the least and the most.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.least, self.most)
    }
}

/// Prints the table, in Markdown.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "| contender | mode | req/s ÷ bare | req/s | bare req/s | p99 ÷ bare | p99 ms | \
         bare p99 ms | worst ms | bytes per key | wrong |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let milliseconds = |time: Duration| 1000.0 * time.as_secs_f64();
        println!(
            "| {} | {} | {} | {:.0} | {:.0} | {} | {} | {:.2} | {:.1} | {} | {} |",
            row.contender.name(),
            row.mode,
            row.spread(Pair::rate_ratio),
            row.spread(|pair| pair.per_second).median,
            row.spread(|pair| pair.bare_per_second).median,
            row.spread(Pair::p99_ratio),
            row.spread(|pair| milliseconds(pair.p99)),
            row.spread(|pair| milliseconds(pair.bare_p99)).median,
            row.spread(|pair| milliseconds(pair.worst)).most,
            row.bytes_per_key.map_or_else(String::new, |bytes| bytes.to_string()),
            row.wrong,
        );
    }
}
