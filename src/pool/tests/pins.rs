//! Floor 1. Connections that stay with their clients, and what the others have left.

use super::*;

fn pinned(size: usize, max_pinned: usize, pins: usize) -> (Books, Instant, Vec<Held<u32>>) {
    let (mut books, now) = books(size);
    let _ = books.reconfigure(Settings { max_pinned, ..settings(size) });
    let mut held = Vec::new();
    for n in 0..pins {
        let waiter = u32::try_from(n).unwrap();
        books.enqueue(A, waiter, now);
        let mut due = books.due(now);
        assert!(due.connect.len() == 1 && due.close.is_empty(), "there is room for one more");
        held.push(handed(books.connected(due.connect.remove(0), waiter, Duration::ZERO, now)).1);
        assert!(books.pin());
    }
    (books, now, held)
}

#[test]
fn a_pin_above_the_share_is_made_up_for() {
    let (mut books, now, _held) = pinned(4, 2, 18);
    assert!(!books.pin(), "four extra ones for each place");
    for waiter in 100..103 {
        books.enqueue(A, waiter, now);
    }
    assert_eq!(books.due(now).connect.len(), 2, "what is left for the others: size - max_pinned");
}

#[test]
fn a_whole_share_makes_up_for_nothing() {
    let (mut books, now, _held) = pinned(2, 2, 2);
    books.enqueue(A, 100, now);
    assert!(books.due(now).connect.is_empty());
}

#[test]
fn an_extra_place_goes_with_its_pin() {
    let (mut books, now, mut held) = pinned(2, 0, 2);
    fill(&mut books, A, 10..12, now);
    assert_eq!(books.counts(now).idle, 2);
    assert_eq!(books.unpin().len(), 1, "an idle one is too many");
    let Given::Idle = books.give_back(held.remove(0), now) else { panic!("there is room for it") };
    assert_eq!(books.unpin().len(), 1);
    assert_eq!(closes(&books, CloseReason::PoolSize), 2);
}

#[test]
fn pins_that_are_too_many_after_a_reload_still_leave_room() {
    let (mut books, now, _held) = pinned(8, 4, 10);
    let _ = books.reconfigure(Settings { max_pinned: 1, ..settings(2) });
    assert!(!books.pin());
    books.enqueue(A, 100, now);
    assert_eq!(books.due(now).connect.len(), 1);
}
