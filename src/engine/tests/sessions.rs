//! Floor 2. What a session ties to its server, and when the server goes.

use super::super::Parameters;
use super::*;

#[test]
fn a_server_is_kept_for_the_transaction() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.query("begin", "BEGIN", T);
        assert!(rig.release().is_none());
        rig.query("rollback", "ROLLBACK", I);
        assert_eq!(rig.release(), Some(Release::Reuse));
        // Flush without Sync leaves an implicit transaction open.
        rig.send(&[parse("", "select 1"), bind(""), execute(), flush()]);
        assert_eq!(rig.answer(&[parsed(), bound(), complete("SELECT 0")]), "1, 2, C SELECT 0");
        assert!(rig.release().is_none());
        assert_eq!(rig.send(&[sync()]), "S");
        rig.answer(&[ready(I)]);
        assert_eq!(rig.release(), Some(Release::Reuse));
    });
}

#[test]
fn a_client_that_goes_in_the_middle_takes_its_server_along() {
    let open: [fn(&mut Rig); 3] = [
        |rig| rig.query("begin", "BEGIN", T),
        |rig| drop(rig.send(&[query("select 1")])),
        // All of it is answered, but a Sync of the next client would commit it.
        |rig| {
            rig.send(&[parse("", "delete from t"), bind(""), execute(), flush()]);
            rig.answer(&[parsed(), bound(), complete("DELETE 3")]);
        },
    ];
    for begin in open {
        let mut rig = Rig::new(7);
        begin(&mut rig);
        rig.engine.hang_up();
        assert!(!rig.engine.is_cleaning());
        assert_eq!(rig.release(), Some(Release::Close));
    }
}

#[test]
fn what_a_lost_transaction_may_have_changed_is_not_trusted() {
    for lost in [false, true] {
        let shared = shared(None);
        let mut rig = Rig::of(1 << 20, &shared, 1);
        rig.query("begin", "BEGIN", T);
        rig.query("alter table t add b int", "ALTER TABLE", T);
        let before = shared.schema_generation();
        if lost {
            assert!(rig.engine.server_lost(no_server()).is_some());
        } else {
            rig.engine.hang_up();
        }
        assert!(shared.schema_generation() > before, "lost: {lost}");
    }
}

#[test]
fn what_a_session_leaves_is_discarded() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.query("create temp table t (a int)", "CREATE TABLE", I);
        assert!(rig.inquiry(&["t"]).starts_with("Q SELECT EXISTS"));
        assert!(rig.release().is_none(), "{:?}", rig.engine.pins());
        rig.engine.hang_up();
        assert!(rig.engine.is_cleaning());
        rig.to_server.append(&mut rig.engine.server_out);
        assert_eq!(rig.sent(), "Q DISCARD ALL");
        rig.answer(&[parameter("work_mem", "4MB"), complete("DISCARD ALL"), ready(I)]);
        assert_eq!(rig.release(), Some(Release::Reuse));
        // What cannot be undone is closed.
        rig.query("load 'x'", "LOAD", I);
        rig.engine.hang_up();
        assert_eq!(rig.release(), Some(Release::Close));
    });
}

#[test]
fn discard_all_gives_the_client_its_freedom_back() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.send(&[parse("s", "select 1"), sync()]);
        rig.answer(&[parsed(), learnt(), ready(I)]);
        rig.query("set work_mem = '1MB'", "SET", I);
        assert_eq!(rig.inquiry(&["1MB"]), "Q SELECT pg_catalog.current_setting('work_");
        rig.query("discard all", "DISCARD ALL", I);
        rig.inquiry(&["4MB"]);
        assert!(rig.engine.pins().is_empty());
        assert_eq!(rig.send(&[bind("s"), sync()]), "B s, S", "its statements are gone");
        rig.answer(&[failed(b"26000"), ready(I)]);
        assert_eq!(rig.release(), Some(Release::Reuse));
    });
}

#[test]
fn settings_follow_the_client_to_another_server() {
    in_pieces(|chunk| {
        let shared = shared(None);
        let (mut one, mut two) = (Rig::of(chunk, &shared, 1), Rig::of(chunk, &shared, 0));
        one.query("set work_mem = '1MB'", "SET", I);
        one.inquiry(&["1MB"]);
        assert_eq!(one.release(), Some(Release::Reuse));
        two.free.append(&mut one.free);
        // Another client gets the server as it was, before anything else is sent.
        assert_eq!(two.send(&[query("select 1")]), "Q RESET \"work_mem\";");
        assert_eq!(two.answer(&[complete("RESET"), ready(I)]), "");
        assert_eq!(two.sent(), "Q select 1");
        assert_eq!(two.answer(&[columns(), complete("SELECT 0"), ready(I)]), "T, C SELECT 0, Z I");
        assert_eq!(two.release(), Some(Release::Reuse));
        one.free.append(&mut two.free);
        assert_eq!(one.send(&[query("select 1")]), "Q SET \"work_mem\" TO '1MB';");
        // A cancel request that came late hits it: it is tried again.
        one.answer(&[failed(b"57014"), ready(I)]);
        assert_eq!(one.sent(), "Q SET \"work_mem\" TO '1MB';");
        one.answer(&[complete("SET"), ready(I)]);
        assert_eq!(one.sent(), "Q select 1");
        one.answer(&[columns(), complete("SELECT 0"), ready(I)]);
        assert_eq!(one.release(), Some(Release::Reuse));
    });
}

#[test]
fn nobody_runs_a_statement_before_its_role_is_theirs() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.query("set role r", "SET", I);
        rig.inquiry(&["r"]);
        rig.release();
        assert_eq!(rig.send(&[query("select 1")]), "Q SET ROLE 'r';", "the statement waits");
        assert_eq!(rig.answer(&[complete("SET"), ready(I)]), "");
        assert_eq!(rig.sent(), "Q select 1");
        rig.answer(&[columns(), complete("SELECT 0"), ready(I)]);
        rig.release();
        // The next server refuses.
        rig.add_server(10);
        rig.free.rotate_right(1);
        assert_eq!(rig.send(&[query("select 1")]), "Q SET ROLE 'r';");
        let error = rig.try_answer(&[failed(b"42501"), ready(I)]).unwrap_err();
        assert!(error.message().contains("settings could not be restored"), "{}", error.message());
        assert!(rig.engine.server_lost(error).is_some(), "the client is told");
        assert_eq!(rig.release(), Some(Release::Close));
        assert_eq!(rig.sent(), "", "and the statement was not sent");
    });
}

#[test]
fn deallocate_all_forgets_what_every_client_had_there() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.send(&[parse("s", "select 1"), sync()]);
        rig.answer(&[parsed(), learnt(), ready(I)]);
        rig.query("deallocate all", "DEALLOCATE ALL", I);
        assert_eq!(rig.send(&[bind("s"), sync()]), "B s, S");
        rig.answer(&[failed(b"26000"), ready(I)]);
        let sent = rig.send(&[parse("s", "select 1"), bind("s"), sync()]);
        assert!(sent.starts_with("P _p_"), "{sent}");
    });
}

#[test]
fn prepare_in_sql_makes_statements_real() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.send(&[parse("s", "select 1"), sync()]);
        rig.answer(&[parsed(), learnt(), ready(I)]);
        assert_eq!(rig.send(&[query("execute s")]), "P s select 1, S, Q execute s");
        assert_eq!(rig.answer(&[parsed(), ready(I), columns(), complete("SELECT 0"), ready(I)]), "T, C SELECT 0, Z I");
        assert!(rig.inquiry(&["not a list of names"]).starts_with("Q SELECT (SELECT CASE"));
        assert!(rig.release().is_none(), "the client keeps this server");
        assert_eq!(rig.send(&[bind("s"), parse("t", "select 2"), sync()]), "B s, P t select 2, S");
        assert_eq!(rig.answer(&[bound(), parsed(), ready(I)]), "2, 1, Z I");
        // No statement of SQL is left: the client's own follow it, and their names go.
        rig.query("deallocate q", "DEALLOCATE", I);
        rig.inquiry(&["[\"s\", \"t\"]"]);
        assert_eq!(rig.sent(), "C s, C t, S");
        rig.answer(&[closed(), closed(), ready(I)]);
        assert_eq!(rig.release(), Some(Release::Reuse));
        let sent = rig.send(&[bind("t"), sync()]);
        assert!(sent.starts_with("P _p_2 select 2"), "{sent}");
    });
}

#[test]
fn deallocate_of_a_protocol_statement_keeps_nobody() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.send(&[parse("s", "select 1"), sync()]);
        rig.answer(&[parsed(), learnt(), ready(I)]);
        assert_eq!(rig.send(&[query("deallocate s")]), "P s, Q deallocate s", "Postgres has something to drop");
        rig.answer(&[parsed(), complete("DEALLOCATE"), ready(I)]);
        rig.answer(&[closed(), ready(I)]);
        assert_eq!(rig.release(), Some(Release::Reuse));
        let sent = rig.send(&[bind("s"), sync()]);
        assert!(sent.ends_with("B s, S"), "the client has it no more: {sent}");
    });
}

#[test]
fn a_batch_without_a_server_fails_as_a_whole() {
    in_pieces(|chunk| {
        for (batch, told) in [
            (vec![query("select 1")], "E 53300, Z I"),
            (vec![parse("s", "select 1"), bind("s"), execute(), sync()], "E 53300, Z I"),
        ] {
            let mut rig = Rig::of(chunk, &shared(None), 0);
            let whole = batch.concat();
            rig.inbox = whole[..5.max(whole.len() / 2)].to_vec();
            rig.feed();
            if !rig.wants_server {
                rig.inbox = whole.clone();
                rig.feed();
            }
            let missing = whole.len() - rig.inbox.len();
            let input = rig.inbox.clone();
            assert!(rig.engine.refuse_batch(&no_server(), &input));
            rig.inbox.extend_from_slice(&whole[whole.len() - missing..]);
            rig.feed();
            assert_eq!(rig.told(), told);
            // The session goes on.
            rig.add_server(10);
            rig.query("select 2", "SELECT 1", I);
        }
    });
}

#[test]
fn parameters_that_differ_are_told() {
    let mut rig = Rig::of(3, &shared(None), 0);
    rig.add_server(10);
    Arc::make_mut(&mut rig.free[0].parameters).set("TimeZone", "UTC");
    assert_eq!(rig.send(&[query("select 1")]), "Q select 1");
    assert_eq!(rig.answer(&[complete("SELECT 1"), ready(I)]), "S TimeZone=UTC, C SELECT 1, Z I");
    rig.release();
    // What is equal is one, so that the next lease compares addresses.
    let copy = |known: &Parameters| known.iter().map(|(name, value)| (name.into(), value.into())).collect::<Parameters>();
    rig.free[0].parameters = Arc::new(copy(&rig.free[0].parameters));
    rig.query("select 1", "SELECT 1", I);
    rig.release();
    assert!(Arc::ptr_eq(&rig.free[0].parameters, &rig.engine.parameters));
}

#[test]
fn what_a_server_has_not_taken_is_not_for_the_next_one() {
    for lost in [true, false] {
        let mut rig = Rig::new(1 << 20);
        rig.query("select 1", "SELECT 1", I);
        // Its socket is full: of a COPY that had failed, say.
        rig.engine.server_out.extend_from_slice(&copy_data(b"half")[..7]);
        if lost {
            assert!(rig.engine.server_lost(no_server()).is_none());
        }
        assert_eq!(rig.release(), Some(Release::Close));
        assert_eq!(rig.send(&[query("select 2")]), "Q select 2");
    }
}

#[test]
fn a_session_that_was_ended_is_not_told_twice() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.query("begin", "BEGIN", T);
        assert_eq!(rig.answer(&[report(Severity::Fatal, b"57P01")]), "E 57P01");
        assert!(rig.engine.server_lost(no_server()).is_none() && rig.engine.is_over());
        assert_eq!(rig.release(), Some(Release::Close));
        // Nothing was said before the end: the client is told by pgdial.
        let mut rig = Rig::new(chunk);
        rig.send(&[query("select 1")]);
        assert!(rig.engine.server_lost(no_server()).is_some());
        // Nothing tied the client to it: it does not hear of it.
        let mut rig = Rig::new(chunk);
        rig.query("select 1", "SELECT 1", I);
        assert_eq!(rig.answer(&[report(Severity::Fatal, b"57P01")]), "");
        assert!(rig.engine.server_lost(no_server()).is_none() && !rig.engine.is_over());
        assert_eq!(rig.release(), Some(Release::Close));
    });
}

#[test]
fn half_a_notice_keeps_the_server() {
    let notice = notice();
    for at in 1..notice.len() {
        let mut rig = Rig::new(1 << 20);
        rig.send(&[query("select 1")]);
        rig.try_answer(&[complete("SELECT 1"), ready(I), notice[..at].to_vec()]).unwrap();
        assert!(rig.release().is_none(), "{at}");
        rig.try_answer(&[notice[at..].to_vec()]).unwrap();
        assert_eq!(rig.told(), "C SELECT 1, Z I, N");
        assert_eq!(rig.release(), Some(Release::Reuse));
    }
}

#[test]
fn copy_streams_and_stalls_what_follows() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        let sent = rig.send(&[query("copy t from stdin"), query("select 1")]);
        assert_eq!(sent, "Q copy t from stdin", "until it is known whether the COPY has begun");
        let mut rig = Rig::new(chunk);
        rig.send(&[query("copy t from stdin")]);
        assert_eq!(rig.answer(&[copy_in()]), "G");
        let sent = rig.send(&[copy_data(&[7; 300]), flush(), copy_data(b""), copy_done(), query("select 1")]);
        assert_eq!(sent, "d, H, d, c, Q select 1");
        assert_eq!(rig.answer(&[complete("COPY 2"), ready(I), complete("SELECT 1"), ready(I)]), "C COPY 2, Z I, C SELECT 1, Z I");
        assert_eq!(rig.release(), Some(Release::Reuse));
    });
}

#[test]
fn a_copy_that_fails_leaves_the_rest_of_its_data() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.send(&[query("copy t from stdin")]);
        rig.answer(&[copy_in()]);
        assert_eq!(rig.send(&[copy_data(b"bad")]), "d");
        assert_eq!(rig.answer(&[failed(b"22P04"), ready(I)]), "E 22P04, Z I");
        assert_eq!(rig.release(), Some(Release::Reuse));
        assert_eq!(rig.send(&[copy_data(b"more"), copy_done(), query("select 1")]), "Q select 1");
    });
}

#[test]
fn nothing_of_pgdials_own_comes_between_half_a_message_and_its_end() {
    let data = copy_data(b"more");
    for at in 1..data.len() {
        let mut rig = Rig::new(1 << 20);
        rig.send(&[query("set work_mem = '1MB'; copy t from stdin")]);
        rig.answer(&[complete("SET"), copy_in()]);
        rig.send(&[copy_data(b"bad")]);
        rig.inbox.extend_from_slice(&data[..at]);
        rig.feed();
        assert_eq!(rig.answer(&[failed(b"22P04"), ready(I)]), "E 22P04, Z I");
        assert!(rig.release().is_none());
        rig.inbox.extend_from_slice(&data[at..]);
        rig.feed();
        rig.inbox.extend_from_slice(&copy_done());
        rig.feed();
        let data_first = if at < Header::LEN { "" } else { "d, " };
        assert_eq!(rig.inquiry(&["4MB"]), format!("{data_first}Q SELECT pg_catalog.current_setting('work_"), "{at}");
        assert_eq!(rig.release(), Some(Release::Reuse));
    }
}

#[test]
fn long_messages_pass_in_pieces() {
    let long = "x".repeat(200_000);
    let mut rig = Rig::new(4096);
    let sent = rig.send(&[query(&format!("select '{long}'"))]);
    assert!(sent.starts_with("Q select 'xxx"));
    assert_eq!(rig.answer(&[columns(), row(long.as_bytes()), complete("SELECT 1"), ready(I)]), "T, D, C SELECT 1, Z I");
    let parameter = made(|out| frontend::bind(b"", b"s", &[], [Some(long.as_bytes())].into_iter(), &[], out));
    rig.release();
    let sent = rig.send(&[parse("s", "select $1"), parameter.clone(), execute(), sync()]);
    assert_eq!(sent, "P _p_1 select $1, D _p_1, B _p_1, E, S");
}

#[test]
fn errors_of_the_protocol_end_the_session() {
    let mut rig = Rig::new(1 << 20);
    rig.send(&[vec![b'!', 0, 0, 0, 4]]);
    assert_eq!(rig.told(), "E 08P01");
    let mut rig = Rig::new(1 << 20);
    rig.send(&[query("select 1")]);
    assert!(rig.try_answer(&[bound()]).is_err(), "nothing asked for that");
}

#[test]
fn a_late_cancel_that_hits_a_moment_of_waiting_for_functions_harms_nobody() {
    in_pieces(|chunk| {
        let mut rig = Rig::new(chunk);
        rig.query("select f()", "SELECT 1", I);
        for _ in 0..10 {
            assert!(rig.sent().starts_with("Q SELECT FROM pg_catalog.pg_sleep("), "what f does is not known yet");
            assert_eq!(rig.answer(&[failed(b"57014"), ready(I)]), "");
        }
        assert!(rig.release().is_none());
        assert_eq!(rig.answer(&[columns(), complete("SELECT 0"), ready(I)]), "");
        assert!(rig.sent().starts_with("Q SELECT FROM pg_catalog.pg_sleep("));
    });
}
