//! Floor 0. Tests of the codecs: round trips, hostile input, Postgres's texts, and another codec as oracle.

mod hostile;
mod oracle;
mod round_trip;
mod samples;
mod startup;
mod verdicts;
