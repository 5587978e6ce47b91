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
    server: Option<f64>,
    bare: Option<f64>,
    load: Option<f64>,
    others: Option<f64>,
}

impl Pair {
    pub(crate) fn new(before: &Timed, window: &Timed, after: &Timed) -> Self {
        let most = |share: fn(&Timed) -> Option<f64>| {
            [before, window, after].into_iter().filter_map(share).reduce(f64::max)
        };
        Self {
            per_second: window.window.per_second,
            bare_per_second: f64::midpoint(before.window.per_second, after.window.per_second),
            p99: window.window.p99,
            bare_p99: (before.window.p99 + after.window.p99) / 2,
            worst: window.window.worst,
            server: window.server,
            bare: before.server.zip(after.server).map(|(one, two)| f64::midpoint(one, two)),
            load: most(|window| window.load),
            others: most(|window| window.others),
        }
    }

    /// Whether something else on the machine took a tenth of a core, or more, in any of the three
    /// windows.
    fn is_disturbed(&self) -> bool {
        self.others.is_some_and(|others| others >= 0.1)
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
            "{:.2} of {:.0}/s, p99 {:.2?} of {:.2?}; busy: server {}, bare {}, load {}, others {}{}",
            self.rate_ratio(),
            self.bare_per_second,
            self.p99,
            self.bare_p99,
            percent(self.server),
            percent(self.bare),
            percent(self.load),
            percent(self.others),
            if self.is_disturbed() { " (disturbed)" } else { "" },
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
    pairs: Vec<Pair>,
    disturbed: Vec<Pair>,
    pub(crate) bytes_per_key: Option<u64>,
    /// Answers or effects that were not as they should be.
    pub(crate) wrong: u64,
}

impl Row {
    pub(crate) fn new(contender: Contender, mode: &'static str) -> Self {
        Self {
            contender,
            mode,
            pairs: Vec::new(),
            disturbed: Vec::new(),
            bytes_per_key: None,
            wrong: 0,
        }
    }

    pub(crate) fn add(&mut self, pair: Pair) {
        if pair.is_disturbed() { &mut self.disturbed } else { &mut self.pairs }.push(pair);
    }

    pub(crate) fn undisturbed(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn is_right(&self) -> bool {
        self.wrong == 0
    }

    /// Of the undisturbed windows; of the others where there is no such.
    fn spread(&self, figure: impl Fn(&Pair) -> f64) -> Spread {
        let pairs = if self.pairs.is_empty() { &self.disturbed } else { &self.pairs };
        let mut all: Vec<f64> = pairs.iter().map(figure).collect();
        if all.is_empty() {
            return Spread { least: f64::NAN, median: f64::NAN, most: f64::NAN };
        }
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
         bare p99 ms | worst ms | bytes per key | windows | disturbed | wrong |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let milliseconds = |time: Duration| 1000.0 * time.as_secs_f64();
        println!(
            "| {} | {} | {} | {:.0} | {:.0} | {} | {} | {:.2} | {:.1} | {} | {} | {} | {} |",
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
            row.pairs.len(),
            row.disturbed.len(),
            row.wrong,
        );
    }
    if rows.iter().any(|row| row.pairs.is_empty()) {
        println!(
            "\nWhere `windows` is 0 the machine was busy with something else: not a measurement."
        );
    }
}
