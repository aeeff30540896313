//! Floor 2. Statements by name and without, over several servers.

use super::*;

#[test]
fn a_name_works_on_any_server() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        assert_eq!(rig.send(&[parse("s", "select 1"), sync()]), "P _p_1 select 1, D _p_1, S");
        assert_eq!(rig.answer(&[parsed(), learnt(), ready(I)]), "1, Z I");
        assert_eq!(rig.release(), Some(Release::Reuse));
        // Another server: the statement is put in front.
        assert_eq!(rig.send(&[bind("s"), execute(), sync()]), "P _p_1 select 1, B _p_1, E, S");
        assert_eq!(rig.answer(&[parsed(), bound(), complete("SELECT 0"), ready(I)]), "2, C SELECT 0, Z I");
        rig.release();
        assert_eq!(rig.send(&[describe("s"), sync()]), "D _p_1, S");
        assert_eq!(rig.answer(&[no_data(), ready(I)]), "n, Z I");
    });
}

#[test]
fn a_text_that_the_server_has_is_not_parsed_again() {
    in_pieces(|chunk| {
        let shared = shared(None);
        let mut first = Rig::of(chunk, &shared, 1);
        first.send(&[parse("s", "select 1"), sync()]);
        first.answer(&[parsed(), learnt(), ready(I)]);
        first.release();
        let mut second = Rig::of(1 << 20, &shared, 0);
        second.free.append(&mut first.free);
        assert_eq!(second.send(&[parse("mine", "select 1"), bind("mine"), execute(), sync()]), "B _p_1, E, S");
        assert_eq!(second.answer(&[bound(), complete("SELECT 0"), ready(I)]), "1, 2, C SELECT 0, Z I");
        assert_eq!(second.engine.tally.plan_hits, 2);
    });
}

#[test]
fn who_looks_at_statements_sees_none_of_those_that_a_block_may_have_dropped() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.send(&[parse("s", "select 1"), sync()]);
        rig.answer(&[parsed(), learnt(), ready(I)]);
        rig.query("do $$ begin execute x; end $$", "DO", I);
        rig.inquiry(&["f", "f", "f", "[]"]);
        assert_eq!(rig.release(), None, "it may have left anything behind");
        let sent = rig.send(&[query("select name from pg_prepared_statements")]);
        assert!(sent.starts_with("C _p_1, "), "{sent}");
    });
}

#[test]
fn statements_that_are_doubted_take_room_too() {
    let mut rig = Rig::of(1 << 20, &shared(None), 0);
    rig.add_server(2);
    rig.query("select pg_advisory_lock(1)", "SELECT 1", I);
    rig.inquiry(&["t"]);
    let mut there = std::collections::BTreeSet::new();
    for round in 0..20 {
        let name = format!("s{round}");
        let sent = rig.send(&[parse(&name, &format!("select {round} as n{round}")), sync()]);
        for words in sent.split(", ").map(|message| message.split(' ').collect::<Vec<_>>()) {
            match *words {
                ["P", name, ..] => drop(there.insert(name.to_owned())),
                ["C", name] => drop(there.remove(name)),
                _ => {}
            }
        }
        assert!(there.len() <= 4, "{there:?}");
        let closes = sent.matches("C _p_").count();
        let mut answers = vec![closed(); closes];
        answers.extend([parsed(), learnt(), ready(I)]);
        rig.answer(&answers);
        rig.query("do $$ begin execute x; end $$", "DO", I);
        rig.inquiry(&["t", "f", "f", "[]"]);
    }
    assert!(!there.is_empty());
}

#[test]
fn a_statement_that_was_doubted_and_is_there_again_is_not_closed_for_its_room() {
    let mut rig = Rig::of(1 << 20, &shared(None), 0);
    rig.add_server(2);
    rig.query("select pg_advisory_lock(1)", "SELECT 1", I);
    rig.inquiry(&["t"]);
    let answer = |rig: &mut Rig, sent: &str| {
        let kinds = sent.split(", ").filter_map(|message| message.chars().next());
        let answers: Vec<Vec<u8>> = kinds
            .map(|kind| match kind {
                'C' => closed(),
                'P' => parsed(),
                'B' => bound(),
                'D' => learnt(),
                'E' => complete("SELECT 0"),
                _ => ready(I),
            })
            .collect();
        rig.answer(&answers);
    };
    let doubt = |rig: &mut Rig| {
        rig.query("do $$ begin execute x; end $$", "DO", I);
        rig.inquiry(&["t", "f", "f", "[]"]);
    };
    for (name, number) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        let sent = rig.send(&[parse(name, &format!("select {number}")), sync()]);
        answer(&mut rig, &sent);
        if number % 2 == 0 {
            doubt(&mut rig);
        }
    }
    let mut sent = Vec::new();
    for name in ["c", "d", "c"] {
        sent.push(rig.send(&[bind(name), execute(), sync()]));
        answer(&mut rig, sent.last().unwrap());
    }
    assert_eq!(sent[0], "C _p_3, C _p_2, P _p_3 select 3, B _p_3, E, S");
    assert_eq!(sent[1], "C _p_4, P _p_4 select 4, B _p_4, E, S");
    assert_eq!(sent[2], "B _p_3, E, S");
}

#[test]
fn a_doubted_statement_whose_close_was_skipped_may_still_be_there() {
    let mut rig = Rig::of(1 << 20, &shared(None), 0);
    rig.add_server(1);
    rig.query("select pg_advisory_lock(1)", "SELECT 1", I);
    rig.inquiry(&["t"]);
    rig.send(&[parse("a", "select 1"), sync()]);
    rig.answer(&[parsed(), learnt(), ready(I)]);
    rig.query("do $$ begin execute x; end $$", "DO", I);
    rig.inquiry(&["t", "f", "f", "[]"]);
    let sent = rig.send(&[describe("nobody"), parse("b", "select 2"), sync()]);
    assert_eq!(sent, "D nobody, C _p_2, C _p_1, P _p_2 select 2, D _p_2, S");
    assert_eq!(rig.answer(&[failed(b"26000"), ready(I)]), "E 26000, Z I");
    let sent = rig.send(&[query("select name from pg_prepared_statements")]);
    assert!(sent.starts_with("C _p_1, "), "{sent}");
}

#[test]
fn room_is_made_in_the_order_of_the_stream() {
    in_pieces(|chunk| {
        let mut rig = Rig::of(chunk, &shared(None), 0);
        rig.add_server(1);
        let sent = rig.send(&[parse("a", "select 1"), bind("a"), parse("b", "select 2"), bind("b"), sync()]);
        assert_eq!(sent, "P _p_1 select 1, D _p_1, B _p_1, C _p_1, P _p_2 select 2, D _p_2, B _p_2, S");
        assert_eq!(
            rig.answer(&[parsed(), learnt(), bound(), closed(), parsed(), learnt(), bound(), ready(I)]),
            "1, 2, 1, 2, Z I"
        );
    });
}

#[test]
fn a_close_that_is_skipped_leaves_the_statement() {
    in_pieces(|chunk| {
        let mut rig = Rig::of(chunk, &shared(None), 0);
        rig.add_server(1);
        rig.send(&[parse("a", "select 1"), sync()]);
        rig.answer(&[parsed(), learnt(), ready(I)]);
        // Both the Close that makes room and the Parse are skipped.
        let sent = rig.send(&[bind("nobody's"), parse("b", "select 2"), sync()]);
        assert_eq!(sent, "B nobody's, C _p_1, P _p_2 select 2, D _p_2, S");
        assert_eq!(rig.answer(&[failed(b"26000"), ready(I)]), "E 26000, Z I");
        assert_eq!(rig.send(&[bind("a"), sync()]), "B _p_1, S");
        assert_eq!(rig.answer(&[bound(), ready(I)]), "2, Z I");
        assert_eq!(rig.send(&[bind("b"), sync()]), "B b, S", "a Parse that was skipped gives no name");
    });
}

#[test]
fn a_statement_is_parsed_again_under_its_name_only_after_a_close() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.send(&[parse("s", "select 1"), sync()]);
        rig.answer(&[parsed(), learnt(), ready(I)]);
        // No Bind behind it: Postgres is asked. The old one goes first; both are skipped.
        let sent = rig.send(&[bind("nobody's"), parse("t", "select 1"), sync()]);
        assert_eq!(sent, "B nobody's, C _p_1, P _p_1 select 1, S");
        rig.answer(&[failed(b"26000"), ready(I)]);
        assert_eq!(rig.send(&[parse("t", "select 1"), bind("t"), sync()]), "C _p_1, P _p_1 select 1, B _p_1, S");
    });
}

#[test]
fn a_name_that_is_taken_is_refused_by_postgres_itself() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.send(&[parse("s", "select 1"), sync()]);
        rig.answer(&[parsed(), learnt(), ready(I)]);
        assert_eq!(rig.send(&[parse("s", "select 2"), sync()]), "P s, P s select 2, S");
        assert_eq!(rig.answer(&[parsed(), failed(b"42P05"), ready(I)]), "E 42P05, Z I");
        assert!(rig.release().is_none(), "not with a statement of the client's name on it");
        assert_eq!(rig.sent(), "C s, S");
        assert_eq!(rig.answer(&[closed(), ready(I)]), "");
        assert_eq!(rig.release(), Some(Release::Reuse));
    });
}

#[test]
fn a_failed_parse_may_be_tried_again_in_the_same_pipeline() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        // The second may not be sent before it is known whether the name is taken.
        let sent = rig.send(&[parse("s", "select x"), sync(), parse("s", "select 1"), sync()]);
        assert_eq!(sent, "P _p_1 select x, D _p_1, S");
        assert_eq!(rig.answer(&[failed(b"42703"), ready(I)]), "E 42703, Z I");
        let sent = rig.sent();
        assert!(sent.starts_with("P _p_") && sent.contains("select 1"), "{sent}");
        assert_eq!(rig.answer(&[parsed(), learnt(), ready(I)]), "1, Z I");
    });
}

#[test]
fn a_name_that_is_not_there_is_passed_on() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        assert_eq!(rig.send(&[bind("s"), describe("t"), execute(), sync()]), "B s, D t, E, S");
        assert_eq!(rig.answer(&[failed(b"26000"), ready(I)]), "E 26000, Z I");
        assert_eq!(rig.release(), Some(Release::Reuse));
    });
}

#[test]
fn the_unnamed_statement_follows_its_client() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        assert_eq!(rig.send(&[parse("", "select 1"), sync()]), "P  select 1, S");
        rig.answer(&[parsed(), ready(I)]);
        rig.release();
        assert_eq!(rig.send(&[bind(""), execute(), sync()]), "P  select 1, B, E, S");
        assert_eq!(rig.answer(&[parsed(), bound(), complete("SELECT 0"), ready(I)]), "2, C SELECT 0, Z I");
        // A Query destroys it, and no other client's may be found in its place.
        rig.query("select 2", "SELECT 1", I);
        rig.release();
        assert_eq!(rig.send(&[bind(""), sync()]), "C, B, S");
        assert_eq!(rig.answer(&[closed(), failed(b"26000"), ready(I)]), "E 26000, Z I");
    });
}

#[test]
fn an_unnamed_parse_that_is_skipped_leaves_the_one_before_it() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.send(&[parse("", "select 1"), sync()]);
        rig.answer(&[parsed(), ready(I)]);
        rig.send(&[bind("nobody's"), parse("", "select 2"), sync()]);
        rig.answer(&[failed(b"26000"), ready(I)]);
        rig.release();
        assert_eq!(rig.send(&[bind(""), sync()]), "P  select 1, B, S");
        rig.answer(&[parsed(), bound(), ready(I)]);
        // One that is refused leaves none.
        rig.send(&[parse("", "select x"), sync()]);
        rig.answer(&[failed(b"42703"), ready(I)]);
        assert_eq!(rig.send(&[bind(""), sync()]), "B, S");
    });
}

#[test]
fn close_is_answered_in_its_turn() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        assert_eq!(rig.send(&[close("s"), sync()]), "", "no server is needed for it");
        assert_eq!(rig.told(), "3, Z I");
        assert_eq!(rig.send(&[parse("s", "select 1"), close("s"), flush()]), "P _p_1 select 1, D _p_1, H");
        assert_eq!(rig.answer(&[parsed(), learnt()]), "1, 3");
        assert_eq!(rig.send(&[bind("s"), sync()]), "B s, S");
        assert_eq!(rig.answer(&[failed(b"26000"), ready(I)]), "E 26000, Z I");
    });
}

#[test]
fn nothing_comes_between_the_pieces_of_a_message() {
    let mut rig = Rig::new(1 << 20);
    rig.query("begin", "BEGIN", T);
    rig.send(&[describe(""), flush()]);
    let notice = notice();
    rig.try_answer(&[failed(b"26000")]).unwrap();
    rig.send(&[sync()]);
    rig.answer(&[ready(E)]);
    rig.try_answer(&[notice[..9].to_vec()]).unwrap();
    rig.send(&[close("s")]);
    rig.try_answer(&[notice[9..].to_vec()]).unwrap();
    assert_eq!(rig.told(), "N, 3");
}
