//! Floor 3. The console over its protocol, with an operator that only takes notes.

use parking_lot::Mutex;

use super::*;
use crate::metrics::Stats;
use crate::wire::backend::{self, tag};
use crate::wire::frontend::{self, Describe, Execute, Message, Parse, Query, Target};
use crate::wire::{Frame, Oids};

#[derive(Default)]
struct Notes {
    orders: Mutex<Vec<Order>>,
}

impl Source for Notes {
    fn stats(&self) -> Stats {
        Stats::default()
    }
    fn ready(&self) -> std::result::Result<(), String> {
        Ok(())
    }
    fn purge(&self, _: Purge) -> std::result::Result<u64, String> {
        Ok(0)
    }
    fn reload(&self) -> std::result::Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

impl Operator for Notes {
    fn order(&self, order: &Order) -> Result<Wait> {
        self.orders.lock().push(order.clone());
        if matches!(order, Order::Resume(_)) {
            return Err(refusal(*b"55000", "not paused"));
        }
        Ok(Box::pin(std::future::ready(())))
    }
    fn withdraw(&self, _: &Order) {}
    fn databases(&self) -> Vec<DatabaseView> {
        vec![DatabaseView { name: "shop".into(), port: 5432, ..DatabaseView::default() }]
    }
    fn pools(&self) -> Vec<PoolView> {
        (0..5).map(|number| PoolView { database: format!("d{number}"), active: number, ..PoolView::default() }).collect()
    }
    fn users(&self) -> Vec<UserView> {
        Vec::new()
    }
    fn clients(&self) -> Vec<SocketView> {
        Vec::new()
    }
    fn servers(&self) -> Vec<SocketView> {
        Vec::new()
    }
    fn traffic(&self) -> Vec<TrafficView> {
        let recent =
            Traffic { passed: TrafficStats { queries: 60, query_us: 600, ..TrafficStats::default() }, checkouts: 0, wait_us: 7 };
        vec![TrafficView { database: "shop".into(), total: recent, recent, period: Duration::from_secs(60) }]
    }
    fn pins(&self) -> Vec<PinView> {
        Vec::new()
    }
    fn memory(&self) -> Vec<MemoryView> {
        Vec::new()
    }
    fn settings(&self) -> Vec<(String, String, String, bool)> {
        Vec::new()
    }
    fn rules(&self) -> Vec<RuleView> {
        Vec::new()
    }
}

/// A client of the console, and all it is told.
#[derive(Default)]
struct Client {
    session: Session,
    notes: Notes,
    /// The most bytes that had to be sent at once.
    most: usize,
}

impl Client {
    /// Sends messages; gives tags and bodies of the answers.
    fn send(&mut self, messages: &[Message<'_>]) -> Vec<(u8, Vec<u8>)> {
        let mut out = Vec::new();
        for message in messages {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let (frame, _) = Frame::split(&bytes, usize::MAX - 1).unwrap().unwrap();
            assert_eq!(self.session.on_message(frame.tag, frame.body, &mut out).unwrap(), Goes::On);
            let mut sent = Vec::new();
            loop {
                match self.session.step(&self.notes, &mut out) {
                    Step::Done => break,
                    Step::Full => sent.append(&mut out),
                    Step::Order(order) => {
                        let outcome = self.notes.order(&order).map(drop);
                        self.session.carried_out(&order, outcome, &mut out);
                    }
                }
                self.most = self.most.max(out.len());
            }
            self.most = self.most.max(out.len());
            sent.append(&mut out);
            out = sent;
        }
        let mut answers = Vec::new();
        let mut rest = out.as_slice();
        while let Some((frame, behind)) = Frame::split(rest, usize::MAX - 1).unwrap() {
            answers.push((frame.tag, frame.body.to_vec()));
            rest = behind;
        }
        answers
    }

    fn query(&mut self, text: &str) -> Vec<(u8, Vec<u8>)> {
        self.send(&[Message::Query(Query { text: text.as_bytes() })])
    }
}

fn tags(answers: &[(u8, Vec<u8>)]) -> String {
    answers.iter().map(|(tag, _)| char::from(*tag)).collect()
}

/// Command tags, SQLSTATEs, and the status at the end.
fn gist(answers: &[(u8, Vec<u8>)]) -> String {
    let word = |(kind, body): &(u8, Vec<u8>)| match *kind {
        tag::COMMAND_COMPLETE => Some(String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap()).into_owned()),
        tag::ERROR_RESPONSE => {
            let fields = crate::wire::diagnostics::Fields::decode(body).unwrap();
            Some(fields.sqlstate().unwrap().to_string())
        }
        tag::READY_FOR_QUERY => Some(String::from_utf8_lossy(body).into_owned()),
        _ => None,
    };
    answers.iter().filter_map(word).collect::<Vec<_>>().join(" ")
}

fn columns(answers: &[(u8, Vec<u8>)]) -> Vec<String> {
    let (_, body) = answers.iter().find(|(kind, _)| *kind == tag::ROW_DESCRIPTION).unwrap();
    let described = backend::RowDescription::decode(body).unwrap();
    described.iter().map(|column| String::from_utf8_lossy(column.name).into_owned()).collect()
}

#[test]
fn every_table_has_as_many_fields_as_columns() {
    let mut client = Client::default();
    for shown in show::ALL {
        for row in (shown.rows)(&client.notes) {
            assert_eq!(row.len(), shown.columns.len(), "{}", shown.name);
        }
        let answers = client.query(&format!("show {};", shown.name.to_uppercase()));
        assert_eq!(gist(&answers), "SHOW I", "{}", shown.name);
        assert_eq!(columns(&answers).len(), shown.columns.len());
    }
}

#[test]
fn columns_are_pgbouncers() {
    let mut client = Client::default();
    assert_eq!(columns(&client.query("SHOW LISTS")), ["list", "items"]);
    let pools = columns(&client.query("SHOW POOLS"));
    assert_eq!(pools[..4], ["database", "user", "cl_active", "cl_waiting"]);
    assert_eq!(pools[12..], ["sv_login", "maxwait", "maxwait_us", "pool_mode", "load_balance_hosts"]);
    let stats = columns(&client.query("SHOW STATS"));
    assert_eq!(
        (stats.len(), stats[1].as_str(), stats[24].as_str()),
        (25, "total_server_assignment_count", "avg_client_connect_count")
    );
}

#[test]
fn averages_are_per_second_or_per_piece() {
    let row = &(show::find("stats").unwrap().rows)(&Notes::default())[0];
    let of = |name: &str| {
        let at = show::find("stats").unwrap().columns.iter().position(|(own, _)| *own == name).unwrap();
        row[at].clone()
    };
    assert_eq!(of("avg_query_count"), 1.into());
    assert_eq!(of("avg_query_time"), 10.into());
    assert_eq!(of("avg_wait_time"), 0.into(), "no checkout, no average");
    assert_eq!(of("total_wait_time"), 7.into());
}

#[test]
fn orders_and_their_forms() {
    for (text, expected) in [
        ("PAUSE", Order::Pause(None)),
        ("pause Shop;", Order::Pause(Some("Shop".into()))),
        ("pause \"my db\"", Order::Pause(Some("my db".into()))),
        (" /* now */ RECONNECT shop -- all", Order::Reconnect(Some("shop".into()))),
        ("KILL shop", Order::Kill(Some("shop".into()))),
        ("KILL_CLIENT 17", Order::KillClient(17)),
        ("WAIT_CLOSE", Order::WaitClose(None)),
        ("disable shop", Order::Disable("shop".into())),
        ("ENABLE shop", Order::Enable("shop".into())),
        ("RELOAD;", Order::Reload),
        ("SHUTDOWN", Order::Shutdown(Shutdown::Now)),
        ("SHUTDOWN WAIT_FOR_CLIENTS", Order::Shutdown(Shutdown::WaitForClients)),
        ("shutdown wait_for_servers", Order::Shutdown(Shutdown::WaitForServers)),
        ("PURGE ALL", Order::Purge(Purge::All)),
        ("purge table public.\"Orders\"", Order::Purge(Purge::Table("public.Orders".into()))),
        ("PURGE TABLE orders", Order::Purge(Purge::Table("orders".into()))),
    ] {
        let mut client = Client::default();
        let answers = client.query(text);
        assert_eq!(gist(&answers), format!("{} I", expected.as_str()), "{text}");
        assert_eq!(*client.notes.orders.lock(), [expected], "{text}");
    }
}

#[test]
fn what_is_no_command_does_nothing() {
    for text in [
        "hello",
        "show",
        "show nothing",
        "pause a b",
        "disable",
        "kill_client x",
        "kill_client",
        "reload now",
        "shutdown now",
        "purge",
        "purge everything",
        "purge table",
        "suspend",
        "set pool.size = 5",
        "select * from t",
        "insert into t values (1)",
        "pause 'open",
        "/* open",
        "\u{1F980}",
        "show pools pools",
        "'pause'",
    ] {
        let mut client = Client::default();
        let answers = client.query(text);
        assert_eq!(tags(&answers), "EZ", "{text}");
        assert!(gist(&answers).starts_with("42601") || gist(&answers).starts_with("0A000"), "{text}: {}", gist(&answers));
        assert!(client.notes.orders.lock().is_empty(), "{text}");
    }
    assert_eq!(tags(&Client::default().query(" -- nothing")), "IZ");
}

#[test]
fn several_statements_stop_at_the_first_failure() {
    let mut client = Client::default();
    assert_eq!(gist(&client.query("pause; resume; reload")), "PAUSE 55000 I");
    assert_eq!(*client.notes.orders.lock(), [Order::Pause(None), Order::Resume(None)]);
    assert_eq!(gist(&client.query("select 1; show version")), "SELECT 1 SHOW I");
}

#[test]
fn answers_to_one_text_are_sent_as_they_are_made() {
    let mut client = Client::default();
    let answers = client.query(&"show pools;".repeat(5_000));
    assert_eq!(answers.iter().filter(|(kind, _)| *kind == tag::COMMAND_COMPLETE).count(), 5_000);
    assert_eq!(answers.iter().filter(|(kind, _)| *kind == tag::READY_FOR_QUERY).count(), 1);
    assert!(client.most < 70_000, "{} bytes at once", client.most);
}

#[test]
fn a_client_that_fetches_keeps_few_tables() {
    let mut client = Client::default();
    let mut outcomes = Vec::new();
    for number in 0..20 {
        let name = format!("p{number}");
        let answers = client.send(&[
            Message::Parse(Parse { name: b"", text: b"show pools", types: Oids::default() }),
            Message::Bind(frontend::Bind { portal: name.as_bytes(), statement: b"", rest: &[0; 6] }),
            Message::Execute(Execute { portal: name.as_bytes(), max_rows: 2 }),
        ]);
        outcomes.push(tags(&answers));
    }
    assert_eq!(outcomes[..8], ["12DDs"; 8]);
    assert_eq!(outcomes[8], "12E");
}

#[test]
fn drivers_may_set_up_their_session() {
    let mut client = Client::default();
    for (text, expected) in [
        ("SET extra_float_digits = 3", "SET I"),
        ("set client_encoding to 'UTF8'", "SET I"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET I"),
        ("SHOW standard_conforming_strings", "SHOW I"),
        ("show transaction isolation level", "SHOW I"),
        ("select pg_catalog.version()", "SELECT 1 I"),
        ("BEGIN", "BEGIN T"),
        ("nonsense", "42601 E"),
        ("show pools", "25P02 E"),
        ("COMMIT", "ROLLBACK I"),
        ("discard all", "DISCARD ALL I"),
    ] {
        assert_eq!(gist(&client.query(text)), expected, "{text}");
    }
}

fn parse<'a>(name: &'a str, text: &'a str) -> Message<'a> {
    Message::Parse(Parse { name: name.as_bytes(), text: text.as_bytes(), types: Oids::default() })
}

fn bind(rest: &[u8]) -> Message<'_> {
    Message::Bind(frontend::Bind { portal: b"", statement: b"", rest })
}

const TEXT: &[u8] = &[0, 0, 0, 0, 0, 0];
const BINARY: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 1];
const EXECUTE: Message<'_> = Message::Execute(Execute { portal: b"", max_rows: 0 });

#[test]
fn the_extended_protocol() {
    let mut client = Client::default();
    let describe = |target| Message::Describe(Describe { target, name: b"" });
    let answers = client.send(&[
        parse("", "show pools"),
        describe(Target::Statement),
        bind(TEXT),
        describe(Target::Portal),
        EXECUTE,
        Message::Sync,
    ]);
    assert_eq!(tags(&answers), "1tT2TDDDDDCZ");
    let answers = client.send(&[parse("", "show lists"), bind(BINARY), EXECUTE, Message::Sync]);
    let (_, row) = answers.iter().find(|(kind, _)| *kind == tag::DATA_ROW).unwrap();
    let row = backend::DataRow::decode(row).unwrap();
    assert_eq!(row.iter().map(Option::unwrap).collect::<Vec<_>>(), [b"databases".as_slice(), &[0, 0, 0, 1]]);
    let answers = client.send(&[parse("", "pause"), describe(Target::Statement), bind(TEXT), EXECUTE, Message::Sync]);
    assert_eq!((tags(&answers).as_str(), gist(&answers).as_str()), ("1tn2CZ", "PAUSE I"));
}

#[test]
fn a_portal_is_read_in_pieces() {
    let mut client = Client::default();
    let some = Message::Execute(Execute { portal: b"", max_rows: 2 });
    let answers = client.send(&[parse("", "show pools"), bind(TEXT), some, some, some, Message::Sync]);
    assert_eq!(tags(&answers), "12DDsDDsDCZ");
}

#[test]
fn errors_skip_to_sync() {
    let mut client = Client::default();
    let answers = client.send(&[parse("", "nonsense"), bind(TEXT), EXECUTE, Message::Sync]);
    assert_eq!((tags(&answers).as_str(), gist(&answers).as_str()), ("EZ", "42601 I"));
    for (messages, expected) in [
        (vec![bind(TEXT)], "26000"),
        (vec![EXECUTE], "34000"),
        (vec![parse("a", "show pools"), parse("a", "show pools")], "42P05"),
        (vec![parse("", "show pools; show stats")], "42601"),
        (vec![parse("", "show lists"), bind(&[0, 0, 0, 1, 0, 0, 0, 1, b'x', 0, 0])], "08P01"),
        (vec![parse("", "show lists"), bind(&[0, 0, 0, 0, 0, 1, 0, 7])], "22023"),
        (vec![parse("", "show lists"), bind(&[0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0])], "08P01"),
        (vec![parse("", "resume"), bind(TEXT), EXECUTE], "55000"),
    ] {
        let mut client = Client::default();
        let answers = client.send(&messages.iter().copied().chain([EXECUTE, Message::Sync]).collect::<Vec<_>>());
        assert_eq!(gist(&answers), format!("{expected} I"));
    }
}

#[test]
fn names_are_bounded() {
    let mut client = Client::default();
    for number in 0..1_000 {
        assert_eq!(tags(&client.send(&[parse(&number.to_string(), "show pools")])), "1");
    }
    assert_eq!(gist(&client.send(&[parse("more", "show pools"), Message::Sync])), "53400 I");
}

#[test]
fn garbage_ends_the_session() {
    let mut session = Session::default();
    let mut out = Vec::new();
    for (kind, body) in [(b'!', b"".as_slice()), (b'B', b"\0"), (b'P', b"x"), (b'E', b"")] {
        let outcome = session.on_message(kind, body, &mut out);
        assert!(outcome.is_err() || !out.is_empty(), "{}", char::from(kind));
    }
}
