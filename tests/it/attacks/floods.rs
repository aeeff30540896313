//! Attacks by amount: messages without end that cost the sender nothing.

use super::{Victim, until};
use crate::support::encode::Out;
use crate::support::process::{cpu_time, peak_bytes};
use crate::support::wire::sqlstate;
use std::io::{ErrorKind, Write};
use std::thread::sleep;
use std::time::Duration;

/// A long message is collected, and not copied or looked at again for each byte that comes.
#[test]
fn a_long_query_that_comes_byte_by_byte() {
    let victim = Victim::new("drip", |config| config);
    let mut stream = victim.logged_in();
    let query = Out::new().query(&format!("select length('{}')", "x".repeat(15 << 20))).0;
    let (most, last) = query.split_at(query.len() - 500);
    stream.write_all(most).unwrap();
    sleep(Duration::from_millis(500));
    let before = cpu_time(victim.pgdial.pid());
    for byte in last.iter().take(499) {
        stream.write_all(&[*byte]).unwrap();
        sleep(Duration::from_millis(1));
    }
    let used = cpu_time(victim.pgdial.pid()) - before;
    assert!(used < Duration::from_millis(300), "499 bytes took {used:?}");
    stream.write_all(&last[499..]).unwrap();
    until(&mut stream, b"Z\0\0\0\x05I");
    victim.is_unharmed(64);
}

/// Closing what was never there is answered here, in its turn, and that may be far away: each is a few bytes that wait.
#[test]
fn answers_of_our_own_that_pile_up_behind_a_slow_one() {
    let victim = Victim::new("behind", |config| config);
    let mut stream = victim.logged_in();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(&Out::new().query("select pg_sleep(8)").0).unwrap();
    let closes = Out::new().close(b'S', "x").0.repeat(8 << 10);
    let before = peak_bytes(victim.pgdial.pid());
    for _ in 0..256 {
        match stream.write_all(&closes) {
            Ok(()) => {}
            // It takes no more for now.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let grown = peak_bytes(victim.pgdial.pid()).saturating_sub(before) >> 20;
    assert!(grown < 16, "two million answers that wait take {grown} MiB");
    drop(stream);
    victim.is_unharmed(16);
}

/// Each replaces the one before, which is kept until it is certain that it may go. Postgres says so when it is asked to.
#[test]
fn unnamed_statements_without_a_sync() {
    let victim = Victim::new("unnamed", |config| config);
    let mut client = victim.client();
    let before = peak_bytes(victim.pgdial.pid());
    let filler = "x".repeat(2 << 20);
    for number in 0..64 {
        client.send(&Out::new().parse("", &format!("select {number}, '{filler}'"), &[]).0);
    }
    client.send(&Out::new().sync().0);
    let answer = client.until_ready(1);
    assert_eq!((answer.len(), sqlstate(&answer)), (65, None));
    let grown = peak_bytes(victim.pgdial.pid()).saturating_sub(before) >> 20;
    assert!(grown < 80, "64 statements of 2 MiB took {grown} MiB");
    drop(client);
    victim.is_unharmed(64);
}
