//! Floor 3. The figures as Prometheus text, format 0.0.4.

use std::fmt::Write as _;

use crate::metrics::{FAMILIES, Family, LatencyStats, Sample, Stats, Value};

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Histogram buckets shown: powers of two from 8 us to 67 s. Exact, since they are edges of the finer ones that are kept.
const OCTAVES: (u32, u32) = (3, 26);

pub(super) fn render(stats: &Stats) -> String {
    let mut out = String::with_capacity(32 * 1024);
    for family in FAMILIES {
        // Writing to a String cannot fail.
        let _ = render_family(&mut out, family, stats);
    }
    out
}

fn render_family(out: &mut String, family: &Family, stats: &Stats) -> std::fmt::Result {
    let name = family.name;
    writeln!(out, "# HELP pgdial_{name} {}", family.help)?;
    writeln!(out, "# TYPE pgdial_{name} {}", family.kind.as_str())?;
    match family.value {
        Value::One(value) => writeln!(out, "pgdial_{name} {}", value(stats)),
        Value::Many(samples) => samples(stats).iter().try_for_each(|sample| render_sample(out, name, sample)),
        Value::Latency(latency) => render_latency(out, name, latency(stats)),
    }
}

fn render_sample(out: &mut String, name: &str, sample: &Sample<'_>) -> std::fmt::Result {
    write!(out, "pgdial_{name}")?;
    for (i, (label, value)) in sample.labels.iter().enumerate() {
        write!(out, "{}{label}=\"{}\"", if i == 0 { '{' } else { ',' }, escape(value))?;
    }
    writeln!(out, "}} {}", sample.value)
}

fn render_latency(out: &mut String, name: &str, latency: &LatencyStats) -> std::fmt::Result {
    for (edge_us, below) in latency.snapshot.cumulative(OCTAVES.0, OCTAVES.1) {
        writeln!(out, "pgdial_{name}_bucket{{le=\"{}\"}} {below}", seconds(edge_us))?;
    }
    writeln!(out, "pgdial_{name}_bucket{{le=\"+Inf\"}} {}", latency.count)?;
    writeln!(out, "pgdial_{name}_sum {}", seconds(latency.sum_us))?;
    writeln!(out, "pgdial_{name}_count {}", latency.count)
}

/// Microseconds as decimal seconds, without the rounding of a float.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Database and user names are the clients' choice.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        let read: Vec<_> = [0, 8, 1_000_000, 1_500_000, 67_108_864].map(seconds).into();
        assert_eq!(read, ["0", "0.000008", "1", "1.5", "67.108864"]);
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escape("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
    }
}
