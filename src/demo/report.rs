//! Floor 5. The demo's output: on a terminal lines are rewritten while they grow, elsewhere each is printed once, when it is final.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use tokio::time::interval;

const REDRAW: Duration = Duration::from_millis(100);

pub(super) struct Report {
    live: bool,
    drawn: Instant,
}

/// One row of the table: what a thing costs straight, pooled, cached.
#[derive(Clone, Copy, Default)]
pub(super) struct Row {
    pub(super) label: &'static str,
    pub(super) straight: Option<Duration>,
    pub(super) pooled: Option<Duration>,
    pub(super) cached: Option<Duration>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { live: std::io::stdout().is_terminal(), drawn: Instant::now() }
    }

    /// A line that is final.
    pub(super) fn line(&mut self, text: &str) {
        self.write(text, "\n");
    }

    /// Does something and shows how long it takes.
    pub(super) async fn step<T, E>(&mut self, what: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let begun = Instant::now();
        let mut tick = interval(REDRAW);
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = tick.tick() => self.draft(&step(what, begun.elapsed())),
            }
        };
        if done.is_ok() {
            self.line(&step(what, begun.elapsed()));
        } else {
            self.line(&format!("  {what}: failed"));
        }
        done
    }

    pub(super) fn head(&mut self) {
        self.line("");
        self.line(&format!("  {:<30}{:>10}{:>10}{:>10}", "median", "straight", "pooled", "cached"));
    }

    /// Is it time to show the row again?
    pub(super) fn is_due(&self) -> bool {
        self.live && self.drawn.elapsed() >= REDRAW
    }

    /// The row as far as it is known.
    pub(super) fn draft_row(&mut self, row: &Row) {
        self.drawn = Instant::now();
        self.draft(&row.text());
    }

    pub(super) fn row(&mut self, row: &Row) {
        self.line(&row.text());
    }

    fn draft(&self, text: &str) {
        if self.live {
            self.write(text, "");
        }
    }

    /// Whoever reads may have gone away (`| head`): that must not keep the demo from cleaning up.
    fn write(&self, text: &str, end: &str) {
        let mut out = std::io::stdout().lock();
        let clear = if self.live { "\r\x1b[2K" } else { "" };
        let _ = write!(out, "{clear}{text}{end}").and_then(|()| out.flush());
    }
}

impl Row {
    fn text(&self) -> String {
        let [straight, pooled, cached] = [self.straight, self.pooled, self.cached].map(cell);
        format!("  {:<30}{straight:>10}{pooled:>10}{cached:>10}  {}", self.label, self.verdict()).trim_end().to_owned()
    }

    /// How the last column compares with the first.
    fn verdict(&self) -> String {
        let (Some(straight), Some(other)) = (self.straight, self.cached.or(self.pooled)) else {
            return String::new();
        };
        let factor = straight.as_secs_f64() / other.as_secs_f64().max(1e-9);
        match factor {
            0.95..1.05 => "the same".to_owned(),
            1.05..10.0 => format!("{factor:.1}x faster"),
            10.0.. => format!("{factor:.0}x faster"),
            _ => format!("{:.1}x slower", 1.0 / factor),
        }
    }
}

fn step(what: &str, elapsed: Duration) -> String {
    format!("  {what:<46}{:>6.1} s", elapsed.as_secs_f64())
}

fn cell(time: Option<Duration>) -> String {
    let Some(ms) = time.map(|time| time.as_secs_f64() * 1_000.0) else {
        return "-".to_owned();
    };
    match ms {
        ..10.0 => format!("{ms:.3} ms"),
        _ => format!("{ms:.1} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(straight: u64, pooled: Option<u64>, cached: Option<u64>) -> Row {
        let us = Duration::from_micros;
        Row { label: "x", straight: Some(us(straight)), pooled: pooled.map(us), cached: cached.map(us) }
    }

    #[test]
    fn the_verdict_is_honest_in_both_directions() {
        assert_eq!(row(40_000, Some(41_000), Some(80)).verdict(), "500x faster");
        assert_eq!(row(6_000, Some(1_200), None).verdict(), "5.0x faster");
        assert_eq!(row(100, Some(101), None).verdict(), "the same");
        assert_eq!(row(100, Some(150), None).verdict(), "1.5x slower");
        assert_eq!(row(100, None, None).verdict(), "");
    }

    #[test]
    fn the_widest_row_fits_a_terminal() {
        let row = Row { label: "dashboard over 300,000 orders", ..row(9_999_900, Some(9_999_900), Some(100)) };
        assert!(row.text().len() < 80, "a longer line would wrap, and could not be redrawn: {}", row.text().len());
    }

    #[test]
    fn an_unknown_cell_is_a_dash() {
        assert_eq!(row(1_500, None, None).text(), format!("  {:<30}{:>10}{:>10}{:>10}", "x", "1.500 ms", "-", "-"));
    }
}
