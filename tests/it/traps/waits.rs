//! Who waits for whom, and what is seen before a Sync.

use super::one;
use crate::support::encode::Out;
use crate::support::postgres::Postgres;
use crate::support::process::eventually;
use crate::support::wire::{PATIENCE, rows, sqlstate};
use std::time::Duration;

/// One who waits for another's read is told by nobody else's answer later on.
#[test]
fn what_was_waited_for_answers_nothing_else() {
    let mut rig = one("joined", |config| config.text("invalidation", "catalog_check", "60s"));
    rig.client("x").rows("create table slow (k int); insert into slow select generate_series(1, 3000)");
    rig.client("a").rows("comment on table t is 'the catalog is read again'");
    let slow = "select count(*) from slow a, slow b where a.k + b.k > 0";
    rig.warm("select n from t");
    rig.client("a").rows("update slow set k = k where k = 1");
    let out = Out::new().query(slow).0;
    for who in ["lead", "r"] {
        rig.client(who).send(&out);
        Postgres::shared().wait_running(&rig.database, slow);
    }
    eventually("one waits for the other", PATIENCE, || rig.pgdial.stat("cache.waits") > 0);
    // The catalog is lost, and still is when the answer comes.
    let filter = format!("datname = '{}' and application_name = 'pgdial catalog'", rig.database);
    let kill = format!("select pg_terminate_backend(pid) from pg_stat_activity where {filter}");
    for _ in 0..40 {
        Postgres::shared().sql(&rig.database, &kill);
        std::thread::sleep(Duration::from_millis(20));
    }
    for who in ["lead", "r"] {
        assert_eq!(rows(&rig.client(who).until_ready(1), slow)[0][0].as_deref(), Some("9000000"));
    }
    for _ in 0..100 {
        assert_eq!(rig.client("r").value("select n from t"), "0");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A cancel request reaches a client that waits for another's read, and only that client.
#[test]
fn who_waits_for_another_read_can_be_cancelled() {
    // Roles that other tests create are changes of the catalog: what was sent before one is joined by nobody behind it.
    let mut rig = one("cancelled", |config| config.text("invalidation", "catalog_check", "60s"));
    rig.warm("select n from t");
    let mut blocker = Postgres::shared().client("app", &rig.database);
    blocker.rows("begin");
    blocker.rows("lock table t in access exclusive mode");
    let text = "select n, n from t";
    for who in ["lead", "r"] {
        rig.client(who).send(&Out::new().query(text).0);
        Postgres::shared().wait_running(&rig.database, text);
    }
    eventually("it waits", PATIENCE, || rig.pgdial.stat("cache.waits") == 1);
    let key = rig.client("r").key();
    crate::support::wire::cancel(rig.pgdial.addr(), &key);
    assert_eq!(sqlstate(&rig.client("r").until_ready(1)).as_deref(), Some("57014"));
    blocker.rows("commit");
    assert_eq!(rows(&rig.client("lead").until_ready(1), text)[0][0].as_deref(), Some("0"));
    assert_eq!(rig.client("r").value("select n from t"), "0");
}

/// The one whose read the others wait for does not take its answer.
#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let mut rig = one("stalled", |config| config.set("cache", "max_result", "\"16MiB\""));
    rig.client("x").rows("create table wide as select repeat('w', 1000) as w from generate_series(1, 7000)");
    rig.client("a").rows("comment on table t is 'the catalog is read again'");
    rig.warm("select n from t");
    let text = "select w, w from wide where w <> ''";
    let mut lead = std::net::TcpStream::connect(rig.pgdial.addr()).unwrap();
    std::io::Write::write_all(&mut lead, &Out::startup(&[("user", "app"), ("database", &rig.database)]).0).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    std::io::Write::write_all(&mut lead, &Out::new().query(text).0).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..3 {
        let began = std::time::Instant::now();
        assert_eq!(rig.client("r").rows(text).len(), 7000);
        assert!(began.elapsed() < Duration::from_secs(5), "waited {:?}", began.elapsed());
    }
    let _ = lead.shutdown(std::net::Shutdown::Both);
}

/// COMMIT by a name that only the server knows, without Sync.
#[test]
fn commit_by_a_name_that_only_the_server_knows() {
    let mut rig = one("unseen", |config| config);
    let client = rig.client("a");
    client.send(&Out::new().parse("end", "commit", &[]).sync().0);
    client.until_ready(1);
    client.rows("prepare p as select 1");
    for round in 1..4 {
        rig.warm("select n from t");
        let client = rig.client("a");
        client.rows("begin");
        client.rows(&format!("update t set n = {round}"));
        client.send(&Out::new().bind_text("", "end", &[]).execute("", 0).flush().0);
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while !matches!(client.next(Duration::from_secs(1)), crate::support::wire::Received::Message(message) if message.tag == b'C')
        {
            assert!(std::time::Instant::now() < end, "no CommandComplete");
        }
        rig.compare("unseen", "select n from t").unwrap();
        let client = rig.client("a");
        client.send(&Out::new().sync().0);
        client.until_ready(1);
    }
}
