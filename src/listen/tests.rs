//! Floor 1. The hub, played by hand as the shared connection would.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::wire::Header;
use crate::wire::backend::NotificationResponse;

fn names(channels: &[&str]) -> Vec<Channel> {
    channels.iter().map(|name| name.as_bytes().into()).collect()
}

fn state(gate: &mut std::pin::Pin<Box<impl Future<Output = Passage>>>) -> Option<Passage> {
    match gate.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(passage) => Some(passage),
        Poll::Pending => None,
    }
}

fn notify(hub: &Hub, pid: i32, channel: &str, payload: &str) {
    let mut message = Vec::new();
    NotificationResponse { pid, channel: channel.as_bytes(), payload: payload.as_bytes() }.encode(&mut message);
    assert!(hub.deliver(&message[Header::LEN..]));
}

/// Does one round; gives its text.
fn round(hub: &Hub, passage: Passage) -> String {
    let work = hub.work().expect("something to do");
    let text = String::from_utf8(work.text()).unwrap();
    hub.done(work, passage);
    text
}

fn mail(member: &Member) -> Vec<(i32, String)> {
    let notes = std::iter::from_fn(|| member.take());
    notes
        .map(|note| {
            let note = NotificationResponse::decode(&note.message()[Header::LEN..]).unwrap();
            (note.pid, String::from_utf8(note.payload.to_vec()).unwrap())
        })
        .collect()
}

#[test]
fn a_member_hears_what_comes_after_its_gate_has_opened_and_nothing_of_before() {
    let hub = Arc::new(Hub::default());
    let (first, second) = (hub.enter(), hub.enter());
    let mut gate = Box::pin(first.join(&names(&["a", "odd\"name"])).passed());
    assert_eq!(state(&mut gate), None);
    notify(&hub, 7, "a", "early");
    assert_eq!(round(&hub, Passage::Open), "LISTEN \"a\";LISTEN \"odd\"\"name\";");
    assert_eq!(state(&mut gate), Some(Passage::Open));
    notify(&hub, 7, "a", "1");
    // The shared connection listens already: the second only has to be told where it stands.
    let gate = second.join(&names(&["a"]));
    notify(&hub, 7, "a", "2");
    assert_eq!(round(&hub, Passage::Open), "");
    drop(gate);
    notify(&hub, 7, "a", "3");
    notify(&hub, 7, "b", "of nobody");
    assert_eq!(mail(&first), [(7, "1".into()), (7, "2".into()), (7, "3".into())]);
    assert_eq!(mail(&second), [(7, "3".into())]);
    assert!(hub.work().is_none());
}

#[test]
fn a_channel_is_left_with_its_last_member() {
    let hub = Arc::new(Hub::default());
    let (first, second) = (hub.enter(), hub.enter());
    let _gates = [first.join(&names(&["a", "b"])), second.join(&names(&["a"]))];
    round(&hub, Passage::Open);
    assert_eq!(hub.size(), (2, 3));
    first.keep(|channel| channel == b"b");
    assert!(hub.work().is_none(), "the second still listens");
    drop(second);
    assert_eq!(round(&hub, Passage::Open), "UNLISTEN \"a\";");
    // Left and joined again before anything was done: in this order.
    first.keep(|_| false);
    let _gate = first.join(&names(&["b"]));
    assert_eq!(round(&hub, Passage::Open), "UNLISTEN \"b\";LISTEN \"b\";");
    // Joined and left before anything was done: nothing to do but to answer.
    let gate = first.join(&names(&["c"]));
    first.keep(|channel| channel == b"b");
    assert_eq!(round(&hub, Passage::Open), "");
    drop(gate);
    drop(first);
    assert_eq!(round(&hub, Passage::Open), "UNLISTEN \"b\";");
    assert_eq!(hub.size(), (0, 0));
}

#[test]
fn mail_of_a_channel_that_was_left_is_gone() {
    let hub = Arc::new(Hub::default());
    let member = hub.enter();
    let _gate = member.join(&names(&["a", "b"]));
    round(&hub, Passage::Open);
    notify(&hub, 1, "a", "a1");
    notify(&hub, 1, "b", "b1");
    member.keep(|channel| channel == b"b");
    assert_eq!(mail(&member), [(1, "b1".into())]);
}

#[test]
fn a_refusal_closes_the_gate_and_leaves_those_who_came_later_to_the_next_round() {
    let hub = Arc::new(Hub::default());
    let (first, second) = (hub.enter(), hub.enter());
    let mut refused = Box::pin(first.join(&names(&["a"])).passed());
    let work = hub.work().unwrap();
    let mut later = Box::pin(second.join(&names(&["a"])).passed());
    hub.done(work, Passage::Closed);
    assert_eq!((state(&mut refused), state(&mut later)), (Some(Passage::Closed), None));
    assert_eq!(round(&hub, Passage::Open), "LISTEN \"a\";");
    assert_eq!(state(&mut later), Some(Passage::Open));
    notify(&hub, 1, "a", "x");
    assert_eq!((mail(&first).len(), mail(&second).len()), (0, 1));
}

#[test]
fn a_loss_is_told_to_all_who_listen_and_closes_all_gates() {
    let hub = Arc::new(Hub::default());
    let (listens, waits, idle) = (hub.enter(), hub.enter(), hub.enter());
    let _gate = listens.join(&names(&["a"]));
    round(&hub, Passage::Open);
    let mut gate = Box::pin(waits.join(&names(&["b"])).passed());
    assert_eq!(hub.lost(), 1);
    assert_eq!(state(&mut gate), Some(Passage::Closed));
    assert_eq!((listens.trouble(), waits.trouble(), idle.trouble()), (Some(Trouble::Lost), None, None));
    assert!(hub.work().is_none());
    // A round that is dropped with its connection closes its gates too.
    let mut gate = Box::pin(waits.join(&names(&["b"])).passed());
    drop(hub.work());
    assert_eq!(state(&mut gate), Some(Passage::Closed));
}

#[test]
fn a_mailbox_is_bounded() {
    let hub = Arc::new(Hub::default());
    let (slow, quick) = (hub.enter(), hub.enter());
    let _gates = [slow.join(&names(&["a"])), quick.join(&names(&["a"]))];
    round(&hub, Passage::Open);
    let payload = "x".repeat(7999);
    let mut heard = 0;
    for _ in 0..MAIL_MAX / 8000 + 2 {
        notify(&hub, 1, "a", &payload);
        heard += mail(&quick).len();
    }
    assert_eq!((slow.trouble(), slow.is_empty()), (Some(Trouble::Full), true));
    assert_eq!((quick.trouble(), heard), (None, MAIL_MAX / 8000 + 2));
}

#[test]
fn senders_are_known_by_their_clients_ids_while_the_server_lives() {
    let hub = Arc::new(Hub::default());
    let member = hub.enter();
    let _gate = member.join(&names(&["a"]));
    round(&hub, Passage::Open);
    let server = hub.sender(100);
    notify(&hub, 100, "a", "nobody yet");
    server.set(1_000_000);
    notify(&hub, 100, "a", "a client");
    // The process id has come round again, on a newer connection.
    let newer = hub.sender(100);
    newer.set(1_000_001);
    drop(server);
    notify(&hub, 100, "a", "another");
    drop(newer);
    notify(&hub, 100, "a", "from outside");
    let pids: Vec<i32> = mail(&member).into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(pids, [100, 1_000_000, 1_000_001, 100]);
    assert_eq!(hub.known_as(100), 100);
}

#[test]
fn nonsense_is_not_delivered() {
    assert!(!Hub::default().deliver(b"\0\0\0\x01a"));
}

#[test]
fn words_are_distinct() {
    assert_ne!(Passage::Open.as_str(), Passage::Closed.as_str());
    let words = [Trouble::Lost, Trouble::Full, Trouble::Encoding].map(Trouble::as_str);
    assert_eq!(words, ["lost", "full", "encoding"]);
}
