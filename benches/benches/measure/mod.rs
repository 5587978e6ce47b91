//! Figures of rounds that are so short and so close to each other that both of a pair meet the same
//! machine.

/// The figures of some rounds.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn add(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    pub(crate) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// `0.87 (0.80–0.91)`: the median, the least and the most.
    pub(crate) fn spread(&self) -> String {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        format!("{:.2} ({least:.2}–{most:.2})", self.median())
    }
}
