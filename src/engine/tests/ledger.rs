//! Floor 2. The ledger as a table: what was sent, what came back, what is left.

use std::sync::Arc;

use super::super::ledger::{Ask, Ledger, Local, Owner, Receipt};

fn asks(word: char) -> (Ask, Owner) {
    let owner = if word.is_ascii_lowercase() { Owner::Own } else { Owner::Client };
    let ask = match word.to_ascii_uppercase() {
        'P' => Ask::Parse,
        'B' => Ask::Bind,
        'D' => Ask::Describe,
        'E' => Ask::Execute,
        'C' => Ask::Close,
        'S' => Ask::Sync,
        'Q' => Ask::Query,
        'F' => Ask::FunctionCall,
        'X' => Ask::CopyEnd,
        'L' => Ask::Local(Local::ParseComplete),
        other => panic!("{other}"),
    };
    (ask, owner)
}

/// Sends, then receives; what each message was: `.` part, `!` end, `x` failure, `?` unasked, `#` desync.
fn play(sent: &str, received: &str) -> (String, Ledger) {
    let mut ledger = Ledger::default();
    for word in sent.chars() {
        let (ask, owner) = asks(word);
        ledger.push(ask, owner, None);
    }
    let outcome = received
        .bytes()
        .map(|tag| {
            while ledger.next_local().is_some() {}
            match ledger.receive(tag) {
                Ok(Receipt::Part(_)) => '.',
                Ok(Receipt::End(_)) => '!',
                Ok(Receipt::Failed { .. }) => 'x',
                Ok(Receipt::Unasked) => '?',
                Err(_) => '#',
            }
        })
        .collect();
    (outcome, ledger)
}

#[test]
fn replies_find_their_messages() {
    // Sent, received, outcome, idle afterwards.
    let table = [
        ("PBDES", "12TDCZ", "!!!.!Z", true),
        ("PBES", "12sZ", "!!!Z", true),
        ("ES", "IZ", "!Z", true),
        ("DS", "tnZ", ".!Z", true),
        ("Q", "TDCTDCZ", "......Z", true),
        ("Q", "IZ", ".Z", true),
        ("Q", "EZ", "xZ", true),
        ("F", "VZ", ".Z", true),
        ("F", "EZ", "xZ", true),
        ("Q", "HdcCZ", "....Z", true),
        // The rest of the batch is skipped.
        ("PBES", "EZ", "xZ", true),
        ("PBES", "12EZ", "!!xZ", true),
        ("PBESPBES", "12EZ12CZ", "!!xZ!!!Z", true),
        // A Query or FunctionCall that is skipped owes no ReadyForQuery.
        ("PQFS", "EZ", "xZ", true),
        // Sync may fail itself: a deferred constraint.
        ("ESES", "CEZCZ", "!xZ!Z", true),
        // Without a Sync everything further is skipped.
        ("PBE", "E", "x", false),
        ("LPLS", "1Z", "!Z", true),
        ("LPLS", "EZ", "xZ", true),
        ("", "E", "?", true),
        ("", "Z", "#", true),
        ("", "1", "#", true),
        ("B", "1", "#", false),
        ("S", "C", "#", false),
        ("Q", "2", "#", false),
        ("D", "D", "#", false),
    ];
    for (sent, received, outcome, idle) in table {
        let (found, ledger) = play(sent, received);
        assert_eq!(found, outcome.replace('Z', "!"), "{sent} {received}");
        assert_eq!(ledger.is_idle(), idle, "{sent} {received}");
    }
}

#[test]
fn a_sync_before_copy_done_owes_nothing() {
    for (before, after) in [("ES", "XS"), ("ESXS", "")] {
        let (outcome, mut ledger) = play(before, "G");
        assert_eq!(outcome, ".");
        for word in after.chars() {
            let (ask, owner) = asks(word);
            if ledger.is_copy_open() { ledger.copy_message(Some(ask)) } else { ledger.push(ask, owner, None) }
        }
        assert!(!ledger.is_copy_open());
        assert!(matches!(ledger.receive(b'C'), Ok(Receipt::End(_))));
        assert!(matches!(ledger.receive(b'Z'), Ok(Receipt::End(_))));
        assert!(ledger.is_idle());
    }
}

#[test]
fn a_failed_copy_that_may_have_read_a_sync_is_settled_by_a_marker() {
    // The server had read the Sync, or it had not and owes one more ReadyForQuery.
    for owed in [0, 1] {
        let (_, mut ledger) = play("Q", "G");
        ledger.copy_message(Some(Ask::Sync));
        assert!(matches!(ledger.receive(b'E'), Ok(Receipt::Failed { .. })));
        assert!(matches!(ledger.receive(b'Z'), Ok(Receipt::End(_))));
        assert!(ledger.is_uncertain() && !ledger.is_idle());
        ledger.mark();
        for _ in 0..owed {
            assert!(matches!(ledger.receive(b'Z'), Ok(Receipt::Part(Owner::Client))));
        }
        assert!(matches!(ledger.receive(b'3'), Ok(Receipt::End(_))));
        assert!(matches!(ledger.receive(b'Z'), Ok(Receipt::End(_))));
        assert!(ledger.is_idle());
    }
}

#[test]
fn only_what_belongs_to_earlier_batches_is_open() {
    use super::super::undo::Undo;
    let undo = || Some(Box::new(Undo::UnnamedInjected { server: None }));
    let mut ledger = Ledger::default();
    ledger.push(Ask::Parse, Owner::Inject, undo());
    assert!(ledger.has_undos() && !ledger.is_unnamed_open(), "inside a batch the order protects");
    ledger.push(Ask::Sync, Owner::Client, None);
    assert!(ledger.is_unnamed_open());
    ledger.push(Ask::Parse, Owner::Client, undo());
    assert!(!ledger.is_unnamed_open(), "the batch has one of its own");
    assert_eq!(ledger.undos_of_earlier_batches().count(), 1);
    assert!(matches!(ledger.receive(b'1'), Ok(Receipt::End(_))));
    assert!(matches!(ledger.receive(b'Z'), Ok(Receipt::End(_))));
    assert!(matches!(ledger.receive(b'E'), Ok(Receipt::Failed { .. })));
    assert!(!ledger.has_undos());
}

#[test]
fn what_waits_in_the_queue_is_bounded() {
    use super::super::undo::Undo;
    use crate::query::Statement;
    use crate::session::{Unnamed, UnnamedId};
    let mut ledger = Ledger::default();
    ledger.push(Ask::Query, Owner::Client, None);
    let mut waiting = 0;
    while !ledger.is_full() {
        ledger.push(Ask::Local(Local::CloseComplete), Owner::Client, None);
        waiting += 1;
    }
    assert!((10_000..20_000).contains(&waiting), "{waiting} answers");
    assert!(matches!(ledger.receive(b'Z'), Ok(Receipt::End(_))));
    while ledger.next_local().is_some() {}
    assert!(ledger.is_idle() && !ledger.is_full());

    let unnamed = || Unnamed { id: UnnamedId(1), epoch: 0, message: vec![0; 4 << 20], class: Arc::new(Statement::opaque()) };
    for count in 1..=4 {
        let undo = Undo::Unnamed { client: Some(Box::new(unnamed())), server: None };
        ledger.push(Ask::Parse, Owner::Client, Some(Box::new(undo)));
        assert_eq!(ledger.is_full(), count == 4, "{count} texts of 4 MiB");
    }
    assert!(matches!(ledger.receive(b'1'), Ok(Receipt::End(_))));
    assert!(!ledger.is_full());
    assert!(matches!(ledger.receive(b'E'), Ok(Receipt::Failed { .. })));
    ledger.push(Ask::Sync, Owner::Client, None);
    assert!(matches!(ledger.receive(b'Z'), Ok(Receipt::End(_))));
    assert!(ledger.is_idle() && !ledger.is_full(), "nothing is left of what was skipped");
}
