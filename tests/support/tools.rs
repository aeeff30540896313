//! Postgres's own programs, which may be older than the server that they are used with.

use super::postgres::Postgres;
use std::io::Write;
use std::process::{Command, Output};

/// Some of them refuse a server that is newer than they are, whoever stands in between. Then the refusal through pgdial has to be
/// that of Postgres, word for word, and the run says so. False: it is no older, or gets along with this server all the same.
pub(crate) fn refuses_this_server(postgres: &Postgres, name: &str, through: u16, run: impl Fn(u16) -> Output) -> bool {
    let [tool, server] = [postgres.bin(name), postgres.bin("postgres")].map(|program| {
        let output = Command::new(program).arg("--version").output().expect("it can be started");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    });
    if major(&tool) >= major(&server) {
        return false;
    }
    let straight = run(postgres.port());
    if straight.status.success() {
        return false;
    }
    let straight = said(&straight);
    assert_eq!(said(&run(through)), straight, "{tool} through pgdial, and straight to {server}");
    // Not by a macro: the output of tests that succeed is not shown.
    let _ = writeln!(
        std::io::stderr(),
        "not tried further, {tool} refuses {server}, straight and through pgdial: {}",
        straight.2.trim()
    );
    true
}

/// Exit status, output, errors.
pub(crate) fn said(output: &Output) -> (Option<i32>, String, String) {
    let [out, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.code(), out, errors)
}

/// `pg_dump (PostgreSQL) 15.20 (Debian ..)`: 15.
fn major(version: &str) -> u32 {
    let number = version.split(' ').skip_while(|word| *word != "(PostgreSQL)").nth(1);
    let digits: String = number.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no version: {version:?}"))
}
