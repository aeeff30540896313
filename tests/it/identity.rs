//! What a client is called: the process id and the key of its BackendKeyData.

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::wire::{PATIENCE, Received, cancel, sqlstate};
use std::io::{Read, Write};
use std::net::TcpStream;

fn start(mode: &str) -> (Pgdial, String) {
    let postgres = Postgres::shared();
    let database = postgres.database("identity");
    (Pgdial::start(&Config::new(postgres, &database).pool(3).text("pool", "mode", mode)), database)
}

#[test]
fn in_session_mode_a_client_is_called_what_its_server_is_called() {
    let (pgdial, database) = start("session");
    let mut client = pgdial.client(&database);
    let mut other = pgdial.client(&database);
    let pid = client.key().0;
    assert_eq!(client.value("select pg_backend_pid()::text"), pid.to_string());
    let shown = format!("select state from pg_stat_activity where pid = {pid}");
    assert_eq!(other.value(&shown), "idle");
    client.rows("listen me");
    let answer = client.query("notify me");
    let note = answer.iter().find(|message| message.tag == b'A').expect("its own notification");
    assert_eq!(note.body[..4], pid.to_be_bytes());
    client.send(&Out::new().query("select pg_sleep(30)").0);
    Postgres::shared().wait_running(&database, "select pg_sleep(30)");
    assert_eq!(other.value(&format!("select pg_cancel_backend({pid})::text")), "true");
    assert_eq!(sqlstate(&client.until_ready(1)).as_deref(), Some("57014"));
    client.send(&Out::new().query("select pg_sleep(30)").0);
    Postgres::shared().wait_running(&database, "select pg_sleep(30)");
    cancel(pgdial.addr(), &client.key());
    assert_eq!(sqlstate(&client.until_ready(1)).as_deref(), Some("57014"));
    assert_eq!(other.value(&format!("select pg_terminate_backend({pid})::text")), "true");
    let Received::Message(message) = client.next(PATIENCE) else { panic!("no word") };
    assert_eq!(message.field(b'C').as_deref(), Some("57P01"));
    assert!(client.closed_within(PATIENCE));
}

/// The next client of a server is called the same, and the key of the one before opens nothing.
#[test]
fn in_session_mode_a_key_ends_with_its_session() {
    let (pgdial, database) = start("session");
    for _ in 0..10 {
        let gone = pgdial.client(&database);
        let key = gone.key();
        drop(gone);
        let mut client = pgdial.client(&database);
        assert_eq!(client.value("select pg_backend_pid()::text"), client.key().0.to_string());
        client.send(&Out::new().query("select pg_sleep(0.1), 'untouched'").0);
        cancel(pgdial.addr(), &key);
        assert_eq!(sqlstate(&client.until_ready(1)), None);
        client.send(&Out::new().query("select pg_sleep(30)").0);
        Postgres::shared().wait_running(&database, "select pg_sleep(30)");
        cancel(pgdial.addr(), &client.key());
        assert_eq!(sqlstate(&client.until_ready(1)).as_deref(), Some("57014"));
    }
}

#[test]
fn in_transaction_mode_no_process_is_called_what_a_client_is_called() {
    let (pgdial, database) = start("transaction");
    let mut client = pgdial.client(&database);
    let pid = client.key().0;
    assert!(pid > 4_194_304, "{pid} may be a process");
    assert_eq!(client.value(&format!("select pg_terminate_backend({pid})::text")), "false");
}

#[test]
fn protocol_3_2_has_long_keys() {
    let (pgdial, database) = start("transaction");
    let mut hello = Out::startup(&[("user", "app"), ("database", &database)]).0;
    hello[4..8].copy_from_slice(&196_610_u32.to_be_bytes());
    let mut stream = TcpStream::connect(pgdial.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&hello).unwrap();
    let mut key = None;
    let mut until = |stream: &mut TcpStream, last: u8| loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
        stream.read_exact(&mut body).unwrap();
        if head[0] == b'K' {
            key = Some((i32::from_be_bytes(body[..4].try_into().unwrap()), body[4..].to_vec()));
        }
        if head[0] == last {
            return (body, key.clone());
        }
    };
    let (_, key) = until(&mut stream, b'Z');
    let key = key.expect("a key");
    assert_eq!(key.1.len(), 32);
    stream.write_all(&Out::new().query("select pg_sleep(30)").0).unwrap();
    Postgres::shared().wait_running(&database, "select pg_sleep(30)");
    cancel(pgdial.addr(), &(key.0, key.1[..4].to_vec()));
    cancel(pgdial.addr(), &key);
    let (error, _) = until(&mut stream, b'E');
    assert!(error.windows(5).any(|part| part == b"57014"));
}
