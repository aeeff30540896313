//! LISTEN in transaction mode: one connection listens for all, and every client hears what it would hear from Postgres.

use crate::support::encode::Out;
use crate::support::message::Message;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::signal;
use crate::support::wire::{Client, Received, sqlstate};
use std::collections::HashMap;
use std::time::{Duration, Instant};

fn start(pool: usize) -> (Pgdial, String) {
    let postgres = Postgres::shared();
    let database = postgres.database("listen");
    (Pgdial::start(&Config::new(postgres, &database).pool(pool)), database)
}

/// Pid, channel and payload of a NotificationResponse.
fn note(message: &Message) -> (i32, String, String) {
    let (pid, rest) = message.body.split_at(4);
    let mut texts = rest.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
    (i32::from_be_bytes(pid.try_into().unwrap()), texts.next().unwrap(), texts.next().unwrap())
}

/// The notifications that come until there are `count`, or none for a second.
fn notes(client: &mut Client, count: usize) -> Vec<(i32, String, String)> {
    let mut found = Vec::new();
    while found.len() < count {
        match client.next(Duration::from_secs(if count == usize::MAX { 1 } else { 20 })) {
            Received::Message(message) if message.tag == b'A' => found.push(note(&message)),
            Received::Message(message) => panic!("a stray {}: {:?}", message.tag as char, message.field(b'M')),
            Received::Closed => panic!("closed after {} notifications", found.len()),
            Received::Nothing => break,
        }
    }
    found
}

fn payloads(client: &mut Client, count: usize) -> Vec<String> {
    notes(client, count).into_iter().map(|(_, _, payload)| payload).collect()
}

/// How many backends of the database listen for clients.
fn listeners(database: &str) -> String {
    let count =
        "select count(*)::text from pg_stat_activity where application_name = 'pgdial listen' and datname = current_database()";
    Postgres::shared().client("postgres", database).value(count)
}

#[test]
fn two_thousand_clients_share_one_connection_and_hear_all_of_theirs_in_order() {
    const CHANNELS: usize = 100;
    let count = |name: &str, default: usize| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (clients, notifications) = (count("PGDIAL_LISTENERS", 400), count("PGDIAL_NOTIFICATIONS", 2_000));
    let (pgdial, database) = start(4);
    let began = Instant::now();
    let mut listening: Vec<Client> = (0..clients).map(|_| pgdial.client(&database)).collect();
    for (at, client) in listening.iter_mut().enumerate() {
        client.send(&Out::new().query(&format!("listen channel_{}", at % CHANNELS)).0);
    }
    listening.iter_mut().for_each(|client| assert_eq!(sqlstate(&client.until_ready(1)), None));
    println!("{clients} clients listen on {CHANNELS} channels after {:?}", began.elapsed());
    assert_eq!(listeners(&database), "1");
    assert_eq!(pgdial.stat("pool.active"), 0, "nobody holds a server");
    let began = Instant::now();
    let mut senders: Vec<Client> = (0..4).map(|_| pgdial.client(&database)).collect();
    let mut expected: HashMap<usize, Vec<String>> = HashMap::new();
    for n in 0..notifications {
        // One at a time, so that the order of the commits is known.
        let channel = (n * 7) % CHANNELS;
        senders[n % 4].rows(&format!("notify channel_{channel}, 'number {n}'"));
        expected.entry(channel).or_default().push(format!("number {n}"));
    }
    let sent = began.elapsed();
    let mut heard = 0;
    for (at, client) in listening.iter_mut().enumerate() {
        let own = expected.get(&(at % CHANNELS)).cloned().unwrap_or_default();
        assert_eq!(payloads(client, own.len()), own, "client {at}");
        heard += own.len();
    }
    println!("{notifications} sent in {sent:?}, {heard} deliveries after {:?}; RSS {} KiB", began.elapsed(), rss(&pgdial));
    for client in listening.iter_mut().take(20) {
        assert!(matches!(client.next(Duration::from_millis(20)), Received::Nothing), "more than its own");
    }
    assert_eq!(listeners(&database), "1");
}

fn rss(pgdial: &Pgdial) -> u64 {
    crate::support::process::rss_bytes(pgdial.pid()) / 1024
}

#[test]
fn a_client_knows_its_own_notifications_by_their_pid_and_no_others() {
    let (pgdial, database) = start(1);
    let mut first = pgdial.client(&database);
    let mut second = pgdial.client(&database);
    let mut silent = pgdial.client(&database);
    for client in [&mut first, &mut second] {
        client.rows("listen x");
    }
    let (one, two, three) = (first.key().0, second.key().0, silent.key().0);
    for round in 0..20 {
        // All of them on the same server, one right behind the other.
        let text = format!("select pg_notify('x', 'silent {round}')");
        silent.rows(&text);
        let mine = first.query(&format!("notify x, 'first {round}'"));
        let own = mine.iter().filter(|message| message.tag == b'A').map(note).find(|(_, _, text)| text.starts_with("first"));
        assert_eq!(own.map(|(pid, _, _)| pid), Some(one));
        second.send(&Out::new().query(&format!("notify x, 'second {round}'")).0);
        let theirs = second.until_ready(1);
        for (pid, _, text) in theirs.iter().filter(|message| message.tag == b'A').map(note) {
            let expected = if text.starts_with("first") {
                one
            } else if text.starts_with("second") {
                two
            } else {
                three
            };
            assert_eq!(pid, expected, "{text}");
        }
    }
    // From outside it is the process's own.
    let mut outside = Postgres::shared().client("postgres", &database);
    let pid = outside.value("select pg_backend_pid()::text");
    outside.rows("notify x, 'outside'");
    let found = std::iter::from_fn(|| notes(&mut first, 1).pop()).find(|(_, _, text)| text == "outside");
    assert_eq!(found.map(|(found, _, _)| found.to_string()), Some(pid));
}

#[test]
fn what_is_committed_after_listen_is_heard_however_quickly_it_comes() {
    let (pgdial, database) = start(3);
    let mut outside = Postgres::shared().client("postgres", &database);
    outside.rows("create table ready (n int)");
    outside.rows("grant all on ready to public");
    for round in 0..60 {
        let mut client = pgdial.client(&database);
        // Its COMMIT shows before its reply is there.
        client.send(&Out::new().query(&format!("begin; listen race; insert into ready values ({round}); commit")).0);
        while outside.value(&format!("select count(*)::text from ready where n = {round}")) == "0" {}
        outside.rows(&format!("notify race, 'round {round}'"));
        let mut seen =
            client.until_ready(1).into_iter().filter(|message| message.tag == b'A').map(|m| note(&m).2).collect::<Vec<_>>();
        if seen.is_empty() {
            seen = payloads(&mut client, 1);
        }
        assert_eq!(seen, [format!("round {round}")]);
    }
}

#[test]
fn a_channel_is_left_with_its_last_listener_and_other_databases_hear_nothing() {
    let postgres = Postgres::shared();
    let (database, other) = (postgres.database("listen"), postgres.database("listen"));
    let url = postgres.url("app", &other);
    let config = Config::new(postgres, &database).pool(2).tables(&format!("[[database]]\nname = {other:?}\nurl = {url:?}"));
    let pgdial = Pgdial::start(&config);
    let (mut here, mut there) = (pgdial.client(&database), pgdial.client(&other));
    here.rows("listen x");
    there.rows("listen x");
    pgdial.client(&database).rows("notify x, 'here'");
    assert_eq!(payloads(&mut here, 1), ["here"]);
    assert!(matches!(there.next(Duration::from_millis(200)), Received::Nothing));
    let mut second = pgdial.client(&database);
    second.rows("listen x");
    drop(here);
    pgdial.client(&database).rows("notify x, 'second'");
    assert_eq!(payloads(&mut second, 1), ["second"]);
    // When nobody listens the connection is not kept.
    second.rows("unlisten *");
    crate::support::process::eventually("the connection ends", Duration::from_secs(20), || listeners(&database) == "0");
    second.rows("listen x");
    pgdial.client(&database).rows("notify x, 'once more'");
    assert_eq!(payloads(&mut second, 1), ["once more"]);
}

#[test]
fn who_listens_is_told_when_notifications_may_have_been_missed() {
    let (pgdial, database) = start(2);
    let mut listening = pgdial.client(&database);
    let mut within = pgdial.client(&database);
    let mut other = pgdial.client(&database);
    listening.rows("listen x");
    within.rows("listen y");
    within.rows("begin");
    within.rows("select 1");
    other.rows("select 1");
    let end = "select pg_terminate_backend(pid)::text from pg_stat_activity where application_name = 'pgdial listen' \
               and datname = current_database()";
    Postgres::shared().client("postgres", &database).rows(end);
    for client in [&mut listening, &mut within] {
        let Received::Message(message) = client.next(Duration::from_secs(10)) else { panic!("no word") };
        assert_eq!(
            (message.tag, message.field(b'S').as_deref(), message.field(b'C').as_deref()),
            (b'E', Some("FATAL"), Some("08006"))
        );
        assert!(client.closed_within(Duration::from_secs(10)));
    }
    assert_eq!(other.value("select 'goes on'"), "goes on");
    let mut again = pgdial.client(&database);
    again.rows("listen x");
    other.rows("notify x, 'back'");
    assert_eq!(payloads(&mut again, 1), ["back"]);
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_others_are_not_held_up() {
    let (pgdial, database) = start(2);
    let mut stuck = pgdial.client(&database);
    let mut quick = pgdial.client(&database);
    stuck.rows("listen x");
    quick.rows("listen x");
    // In a transaction nothing is delivered: to pgdial it is as if it did not read.
    stuck.rows("begin");
    stuck.rows("select 1");
    let mut sender = pgdial.client(&database);
    let before = rss(&pgdial);
    for round in 0..30 {
        sender.rows(&format!(
            "select pg_notify('x', n || repeat('x', 7900)) from generate_series({}, {}) n",
            round * 20,
            round * 20 + 19
        ));
        assert_eq!(payloads(&mut quick, 20).len(), 20);
    }
    let answer = stuck.until_ready(1);
    assert_eq!(sqlstate(&answer).as_deref(), Some("53300"));
    assert!(pgdial.log().contains("reason=\"full\"") || pgdial.log().contains("reason=full"), "{}", pgdial.log());
    let grown = rss(&pgdial).saturating_sub(before);
    assert!(grown < 32 * 1024, "pgdial has grown by {grown} KiB");
}

#[test]
fn where_the_shared_connection_cannot_be_had_the_client_keeps_its_server() {
    let postgres = Postgres::start_with(&[("max_connections", "8"), ("superuser_reserved_connections", "3")]);
    let database = postgres.database("listen");
    let pgdial = Pgdial::start(&Config::new(&postgres, &database).pool(2));
    let mut client = pgdial.client(&database);
    client.rows("select 1");
    let mut sender = pgdial.client(&database);
    sender.rows("begin; select 1");
    let mut taken = Vec::new();
    while let Some(other) = Client::try_login(postgres.addr(), &[("user", "app"), ("database", &database)]) {
        taken.push(other);
    }
    client.rows("listen x");
    sender.rows("commit");
    sender.rows("notify x, 'heard'");
    assert_eq!(payloads(&mut client, 1), ["heard"]);
    assert_eq!(
        client.query("notify x, 'own'").iter().filter(|message| message.tag == b'A').map(note).next(),
        Some((client.key().0, "x".into(), "own".into()))
    );
    assert_eq!(client.value("select * from pg_listening_channels()"), "x");
    assert_eq!(pgdial.stats()["pool"]["pinned"]["listen"].as_u64(), Some(1));
    client.rows("unlisten x");
    assert_eq!(pgdial.stats()["pool"]["pinned"]["listen"].as_u64().unwrap_or(0), 0);
}

#[test]
fn nobody_hears_what_a_server_still_listens_to_for_somebody_else() {
    let (pgdial, database) = start(1);
    let mut first = pgdial.client(&database);
    let mut second = pgdial.client(&database);
    first.rows("listen x");
    first.rows("begin; select * from pg_listening_channels(); commit");
    let answer = second.query("notify x, 'not for the second'");
    assert!(answer.iter().all(|message| message.tag != b'A'));
    assert_eq!(second.rows("select * from pg_listening_channels()").len(), 0);
    drop(first);
    assert_eq!(second.rows("select * from pg_listening_channels()").len(), 0);
    assert!(matches!(second.next(Duration::from_millis(100)), Received::Nothing));
}

#[test]
fn who_waits_for_the_shared_connection_keeps_no_server_busy() {
    let postgres = Postgres::start();
    let database = postgres.database("listen");
    let pgdial = Pgdial::start(&Config::new(&postgres, &database).pool(1));
    let mut listening = pgdial.client(&database);
    listening.rows("listen x");
    let pid = "select pid::text from pg_stat_activity where application_name = 'pgdial listen'";
    let shared: u32 = postgres.client("postgres", &database).value(pid).parse().unwrap();
    signal(shared, "STOP");
    let sent = || pgdial.stats()["traffic"]["server_bytes_in"].as_u64().unwrap();
    let before = sent();
    listening.send(&Out::new().query("listen y").0);
    std::thread::sleep(Duration::from_millis(300));
    let said = sent() - before;
    assert!(said < 500, "{said} bytes for nothing");
    assert_eq!(pgdial.client(&database).value("select 'served'"), "served");
    signal(shared, "CONT");
    assert_eq!(sqlstate(&listening.until_ready(1)), None);
    let channels = listening.rows("select * from pg_listening_channels() c order by c");
    assert_eq!(channels, [[Some("x".to_owned())], [Some("y".to_owned())]]);
}
