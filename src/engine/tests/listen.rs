//! Floor 2. LISTEN: what goes to the server, and when the client hears.

use std::sync::Arc;

use super::*;
use crate::listen::Hub;
use crate::session::Pin;

const ASK: &str = "Q SELECT pg_catalog.pg_listening_channels(";

fn rig(chunk: usize, servers: usize) -> (Rig, Arc<Hub>) {
    let mut shared = Shared::new(Arc::new(Classifier::new(100, 1 << 20)), "_p_", None);
    let hub = Arc::new(Hub::default());
    shared.hub = Some(Arc::clone(&hub));
    let mut rig = Rig::of(chunk, &Arc::new(shared), servers);
    rig.engine.identify(77);
    (rig, hub)
}

/// The shared connection does what is due; gives the text it ran.
fn round(rig: &mut Rig, hub: &Hub, passage: Passage) -> String {
    let work = hub.work().expect("something is due");
    let text = String::from_utf8(work.text()).unwrap();
    hub.done(work, passage);
    rig.pass(passage);
    text
}

fn notification(pid: i32, channel: &str, payload: &str) -> Vec<u8> {
    made(|out| backend::NotificationResponse { pid, channel: channel.as_bytes(), payload: payload.as_bytes() }.encode(out))
}

fn deliver(hub: &Hub, pid: i32, channel: &str, payload: &str) {
    assert!(hub.deliver(&notification(pid, channel, payload)[Header::LEN..]));
}

/// A client that listens on `x`, its server given back.
fn listening(chunk: usize) -> (Rig, Arc<Hub>) {
    let (mut rig, hub) = rig(chunk, 1);
    assert_eq!(rig.send(&[query("listen x")]), "", "not before the shared connection listens");
    assert_eq!(round(&mut rig, &hub, Passage::Open), "LISTEN \"x\";");
    assert_eq!(rig.sent(), "Q listen x");
    assert_eq!(rig.answer(&[complete("LISTEN"), ready(I)]), "C LISTEN", "ReadyForQuery waits");
    assert_eq!(rig.sent(), ASK);
    // What the server itself delivers meanwhile is a copy.
    assert_eq!(rig.answer(&[columns(), row(b"x"), complete("SELECT 1"), notification(1, "x", "copy"), ready(I)]), "");
    assert_eq!(round(&mut rig, &hub, Passage::Open), "");
    assert_eq!((rig.told(), rig.sent()), ("Z I".into(), "Q UNLISTEN *".into()));
    assert_eq!(rig.answer(&[notification(1, "x", "copy"), complete("UNLISTEN"), ready(I)]), "");
    assert_eq!(rig.release(), Some(Release::Reuse));
    assert!(rig.engine.pins().is_empty());
    (rig, hub)
}

#[test]
fn a_listener_gives_its_server_back_and_hears_between_transactions() {
    in_pieces(|chunk| {
        let (mut rig, hub) = listening(chunk);
        deliver(&hub, 5, "x", "one");
        assert!(rig.engine.deliver_notifications(1000));
        assert_eq!(rig.told(), "A 5 x one");
        // A block knows the channels of before, and hears at its end.
        assert_eq!(rig.send(&[query("begin")]), "Q LISTEN \"x\";, Q begin");
        assert_eq!(rig.answer(&[complete("LISTEN"), ready(I), complete("BEGIN"), ready(T)]), "C BEGIN, Z T");
        deliver(&hub, 5, "x", "two");
        assert!(!rig.engine.deliver_notifications(1000));
        rig.query("select 1", "SELECT 1", T);
        assert_eq!(rig.send(&[query("commit")]), "Q commit");
        assert_eq!(rig.answer(&[complete("COMMIT"), ready(I)]), "C COMMIT");
        round(&mut rig, &hub, Passage::Open);
        assert_eq!((rig.told(), rig.sent()), ("A 5 x two, Z I".into(), "Q UNLISTEN *".into()));
    });
}

#[test]
fn its_own_notification_comes_before_ready_for_query_and_from_itself() {
    in_pieces(|chunk| {
        let (mut rig, hub) = listening(chunk);
        assert_eq!(rig.send(&[query("notify x, 'own'"), query("select 2")]), "Q notify x, 'own'", "the next batch waits");
        assert_eq!(rig.answer(&[complete("NOTIFY"), ready(I)]), "C NOTIFY");
        deliver(&hub, 5, "x", "earlier");
        assert_eq!(round(&mut rig, &hub, Passage::Open), "");
        assert_eq!((rig.told(), rig.sent()), ("A 5 x earlier, Z I".into(), "Q select 2".into()));
        assert_eq!(rig.answer(&[columns(), complete("SELECT 0"), ready(I)]), "T, C SELECT 0, Z I");
    });
}

#[test]
fn what_the_transaction_did_not_commit_is_not_listened_to() {
    in_pieces(|chunk| {
        let (mut rig, hub) = rig(chunk, 1);
        assert_eq!(rig.send(&[query("begin")]), "Q begin");
        rig.answer(&[complete("BEGIN"), ready(T)]);
        assert_eq!(rig.send(&[query("listen x")]), "Q listen x", "in a block only its end matters");
        rig.answer(&[complete("LISTEN"), ready(T)]);
        assert_eq!(rig.send(&[query("rollback")]), "");
        assert_eq!(round(&mut rig, &hub, Passage::Open), "LISTEN \"x\";");
        assert_eq!(rig.sent(), "Q rollback");
        deliver(&hub, 5, "x", "not for it");
        assert_eq!(rig.answer(&[complete("ROLLBACK"), ready(I)]), "C ROLLBACK");
        assert_eq!(rig.answer(&[columns(), complete("SELECT 0"), ready(I)]), "Z I");
        assert_eq!(String::from_utf8(hub.work().unwrap().text()).unwrap(), "UNLISTEN \"x\";");
        assert!(rig.engine.mailbox().is_none_or(|mailbox| mailbox.is_empty()));
    });
}

#[test]
fn without_the_shared_connection_the_client_keeps_its_server_and_that_delivers() {
    in_pieces(|chunk| {
        let (mut rig, hub) = rig(chunk, 1);
        assert_eq!(rig.send(&[query("listen x")]), "");
        round(&mut rig, &hub, Passage::Closed);
        assert_eq!(rig.sent(), "Q listen x");
        assert_eq!(rig.answer(&[complete("LISTEN"), ready(I)]), "C LISTEN");
        assert_eq!(rig.sent(), ASK);
        assert_eq!(rig.answer(&[columns(), row(b"x"), complete("SELECT 1"), ready(I)]), "Z I");
        assert!(rig.engine.pins().has(Pin::Listen) && rig.release().is_none());
        assert_eq!(rig.answer(&[notification(9, "x", "by itself")]), "A 9 x by itself");
        assert_eq!(rig.send(&[query("unlisten *")]), "Q unlisten *");
        assert_eq!(rig.answer(&[complete("UNLISTEN"), ready(I)]), "C UNLISTEN");
        assert_eq!(rig.answer(&[columns(), complete("SELECT 0"), ready(I)]), "Z I");
        assert!(rig.engine.pins().is_empty());
    });
}

#[test]
fn a_lost_connection_and_a_full_mailbox_end_the_session() {
    let (rig, hub) = listening(1000);
    assert!(rig.engine.trouble().is_none());
    assert_eq!(hub.lost(), 1);
    let (_, error) = rig.engine.trouble().unwrap();
    assert_eq!((error.level(), error.sqlstate().as_str()), (Severity::Fatal, "08006"));
}

#[test]
fn what_nobody_asked_for_is_dropped_and_cleaned_up() {
    let (mut rig, _hub) = rig(1000, 1);
    assert_eq!(rig.send(&[query("select 1")]), "Q select 1");
    assert_eq!(rig.answer(&[columns(), complete("SELECT 0"), notification(9, "of_f", "x"), ready(I)]), "T, C SELECT 0, Z I");
    assert_eq!(rig.sent(), "Q DISCARD ALL");
}

#[test]
fn a_late_cancel_that_hits_what_is_asked_between_transactions_is_not_the_clients_affair() {
    in_pieces(|chunk| {
        let (mut rig, hub) = rig(chunk, 2);
        assert_eq!(rig.send(&[query("listen x")]), "");
        round(&mut rig, &hub, Passage::Open);
        rig.sent();
        assert_eq!(rig.answer(&[complete("LISTEN"), ready(I)]), "C LISTEN");
        for _ in 0..3 {
            assert_eq!(rig.sent(), ASK);
            assert_eq!(rig.answer(&[columns(), row(b"x"), failed(b"57014"), ready(I)]), "");
        }
        assert_eq!(rig.sent(), ASK);
        assert_eq!(rig.answer(&[columns(), row(b"x"), complete("SELECT 1"), ready(I)]), "");
        round(&mut rig, &hub, Passage::Open);
        assert_eq!((rig.told(), rig.sent()), ("Z I".into(), "Q UNLISTEN *".into()));
        assert_eq!(rig.answer(&[failed(b"57014")]), "");
        assert_eq!(rig.release(), Some(Release::Close), "nobody else gets that server");
        assert_eq!(rig.send(&[query("select 1")]), "Q select 1", "the session goes on");
    });
}
