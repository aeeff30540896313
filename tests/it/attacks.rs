//! What somebody may send who means harm, or whose network does: memory stays bounded, others are served, the log says what
//! it was. `PGDIAL_ATTACKS=n` repeats the random parts n times.

mod encrypted;
mod floods;

use crate::support::encode::Out;
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::{eventually, rss_bytes};
use crate::support::rng::Rng;
use crate::support::wire::{Client, PATIENCE, sqlstate};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A pgdial under attack, and what it held before.
struct Victim {
    pgdial: Pgdial,
    database: String,
    before: u64,
}

impl Victim {
    fn new(what: &str, config: impl FnOnce(Config) -> Config) -> Self {
        let postgres = Postgres::shared();
        let database = postgres.database(what);
        let calm = Config::new(postgres, &database).pool(2).text("log", "level", "info");
        let pgdial = Pgdial::start(&config(calm));
        let victim = Self { pgdial, database, before: 0 };
        victim.serves();
        Self { before: rss_bytes(victim.pgdial.pid()), ..victim }
    }

    fn parameters(&self) -> [(&str, &str); 2] {
        [("user", "app"), ("database", &self.database)]
    }

    fn client(&self) -> Client {
        self.pgdial.client(&self.database)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.pgdial.addr()).expect("the listener accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A bare socket, logged in.
    fn logged_in(&self) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(&Out::startup(&self.parameters()).0).unwrap();
        until(&mut stream, b"Z\0\0\0\x05I");
        stream
    }

    fn serves(&self) {
        assert_eq!(self.client().value("select 'unharmed'"), "unharmed");
    }

    /// All is as it was: others are served, every server is back, and nothing in the log is about pgdial itself.
    fn is_unharmed(&self, megabytes: u64) {
        self.serves();
        eventually("no server is kept", PATIENCE, || self.pgdial.stat("pool.active") == 0);
        let grown = rss_bytes(self.pgdial.pid()).saturating_sub(self.before) >> 20;
        assert!(grown <= megabytes, "memory has grown by {grown} MiB");
        let log = self.pgdial.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.len() < 256 << 10, "{} bytes of log", log.len());
    }
}

fn until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(end) {
        match stream.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&seen)),
        }
    }
    seen
}

/// Everything that the peer says until it closes.
fn the_rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end too.
    let ended = stream.read_to_end(&mut rest);
    let timed_out =
        ended.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    assert!(!timed_out, "the connection stays open; so far {:?}", String::from_utf8_lossy(&rest));
    rest
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn rounds() -> u64 {
    std::env::var("PGDIAL_ATTACKS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Noise, noise behind a length that fits, and the same under the tag of a real message.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    let len = rng.below(400) + 1;
    let mut noise: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
    let tags = b"BCDEFHPQSXdcfp";
    match rng.below(3) {
        0 => noise,
        1 => Out::new().message(rng.below(256) as u8, &noise).0,
        _ => {
            noise.retain(|byte| is_kept(*byte));
            Out::new().message(*rng.pick(tags), &noise).0
        }
    }
}

/// So that some of what should be text is.
fn is_kept(byte: u8) -> bool {
    !(0x80..=0xf0).contains(&byte)
}

/// What leads to each state of the protocol, and whether a login comes first.
fn states() -> Vec<(&'static str, Vec<u8>)> {
    let flood = "select repeat('x', 100000) from generate_series(1, 200)";
    let parsed = || Out::new().parse("s", "select $1::int", &[]).bind_text("p", "s", &["1"]);
    vec![
        ("ready", Vec::new()),
        ("in a transaction", Out::new().query("begin").0),
        ("in a failed transaction", Out::new().query("begin").query("select nope").0),
        ("behind Parse and Bind", parsed().0),
        ("behind a Flush", parsed().execute("p", 1).flush().0),
        ("skipping to Sync", parsed().execute("nowhere", 1).0),
        ("in COPY FROM STDIN", Out::new().query("create temp table c (a int); copy c from stdin").copy_data(b"1\n").0),
        (
            "in an extended COPY",
            Out::new().parse("", "copy pg_temp.c from stdin", &[]).bind("", "", &[], &[], &[]).execute("", 0).0,
        ),
        ("while rows come", Out::new().query(flood).0),
        ("while it runs", Out::new().query("select pg_sleep(0.2)").0),
    ]
}

#[test]
fn garbage_in_every_state() {
    let victim = Victim::new("garbage", |config| config.set("pool", "size", "4"));
    let mut rng = Rng::new(20_261);
    for _ in 0..6 * rounds() {
        for (state, way) in states() {
            let mut stream = victim.logged_in();
            stream.write_all(&way).unwrap();
            // A peer that has hung up on the first of it takes no more.
            for _ in 0..3 {
                let _ = stream.write_all(&garbage(&mut rng));
            }
            let _ = stream.shutdown(Shutdown::Write);
            let began = Instant::now();
            the_rest(&mut stream);
            assert!(began.elapsed() < Duration::from_secs(10), "{state}: {:?}", began.elapsed());
        }
    }
    victim.is_unharmed(40);
}

#[test]
fn garbage_before_and_during_the_login() {
    let scram = |config: Config| config.text("auth", "method", "scram-sha-256").text("listen", "login_timeout", "2s");
    let postgres = Postgres::shared();
    let database = postgres.database("mid_sasl");
    let url = format!("postgres://scram_app:secret@127.0.0.1:{}/{database}", postgres.port());
    let pgdial = Pgdial::start(&scram(Config::new(postgres, &database).pool(2).text("upstream", "url", &url)));
    let startup = Out::startup(&[("user", "scram_app"), ("database", &database)]).0;
    let initial = |body: &[u8]| {
        let mut message = b"SCRAM-SHA-256\0".to_vec();
        message.extend((body.len() as i32).to_be_bytes());
        message.extend(body);
        Out::new().message(b'p', &message).0
    };
    let first = initial(b"n,,n=,r=abcdefghijklmnopqrstuvwx");
    let mut rng = Rng::new(7);
    let mut attacks: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("a query instead of a password", vec![startup.clone(), Out::new().query("select 1").0]),
        ("another mechanism", vec![startup.clone(), Out::new().message(b'p', b"SCRAM-SHA-1\0\0\0\0\0").0]),
        (
            "a length inside that is too long",
            vec![startup.clone(), Out::new().message(b'p', b"SCRAM-SHA-256\0\x7f\xff\xff\xff").0],
        ),
        ("a negative length inside", vec![startup.clone(), Out::new().message(b'p', b"SCRAM-SHA-256\0\xff\xff\xff\x00").0]),
        ("2 GB of password", vec![startup.clone(), b"p\x7f\xff\xff\xffSCRAM".to_vec()]),
        ("channel binding that was not offered", vec![startup.clone(), initial(b"p=tls-server-end-point,,n=,r=abcdefghijkl")]),
        ("noise for a proof", vec![startup.clone(), first.clone(), Out::new().message(b'p', b"c=biws,r=abc,p=\xff\xfe").0]),
        ("an empty proof", vec![startup.clone(), first.clone(), Out::new().message(b'p', b"").0]),
        ("the first message again", vec![startup.clone(), first.clone(), first]),
        ("2 GB of startup", vec![b"\x7f\xff\xff\xff\0\x03\0\0".to_vec()]),
        ("a startup that is too short", vec![b"\0\0\0\x04".to_vec()]),
        ("another protocol", vec![b"GET / HTTP/1.0\r\n\r\n".to_vec()]),
        ("no user", vec![b"\0\0\0\x09\0\x03\0\0\0".to_vec()]),
    ];
    for _ in 0..20 * rounds() {
        attacks.push(("noise", vec![garbage(&mut rng)]));
        attacks.push(("noise for a login", vec![startup.clone(), garbage(&mut rng)]));
        attacks.push(("noise in SASL", vec![startup.clone(), Out::new().message(b'p', &garbage(&mut rng)).0]));
    }
    for (what, writes) in attacks {
        let mut stream = TcpStream::connect(pgdial.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for bytes in writes {
            let _ = stream.write_all(&bytes);
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = stream.shutdown(Shutdown::Write);
        let answer = the_rest(&mut stream);
        assert!(!contains(&answer, "Z\0\0\0\u{5}I"), "{what}: let in");
    }
    let log = pgdial.log();
    assert!(!log.contains("panicked"), "{log}");
    let password = std::process::Command::new(postgres.bin("psql"))
        .args(["-XAtqc", "select 'in'", "-d"])
        .arg(format!("host=127.0.0.1 port={} user=scram_app dbname={database}", pgdial.port()))
        .env("PGPASSWORD", "secret")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&password.stdout).trim(), "in");
}

#[test]
fn a_login_that_takes_for_ever() {
    let victim =
        Victim::new("slow_login", |config| config.text("listen", "login_timeout", "1s").set("listen", "max_clients", "4"));
    let startup = Out::startup(&victim.parameters()).0;
    let mut slow: Vec<TcpStream> = (0..20).map(|_| victim.connect()).collect();
    let began = Instant::now();
    for byte in startup.iter().take(12) {
        // Those that were cut off take no more.
        slow.iter_mut().for_each(|stream| drop(stream.write_all(&[*byte])));
        std::thread::sleep(Duration::from_millis(100));
        victim.serves();
    }
    slow.iter_mut().for_each(|stream| drop(the_rest(stream)));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    victim.is_unharmed(16);
}

/// Lengths are checked before anything is allocated, and a message that is allowed to be long is not gathered.
#[test]
fn declared_lengths_cost_nothing() {
    let victim = Victim::new("lengths", |config| config);
    for (tag, len, refused) in [
        (b'Q', 0x7fff_ffff_u32, true),
        (b'Q', 0xffff_ffff, true),
        (b'P', 0x4000_0000, true),
        (b'P', 0x3fff_ffff, true),
        (b'S', 0x3fff_0000, true),
        (b'Q', 3, true),
        (b'Q', 0x3fff_ff00, false),
        (b'B', 0x3fff_ff00, false),
        (b'F', 0x3fff_ff00, false),
        (b'd', 0x3fff_ff00, false),
    ] {
        let mut stream = victim.logged_in();
        let mut head = vec![tag];
        head.extend(len.to_be_bytes());
        head.extend(b"p\0s\0");
        stream.write_all(&head).unwrap();
        let chunk = vec![b'x'; 1 << 20];
        if !refused {
            stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
            for _ in 0..24 {
                if stream.write_all(&chunk).is_err() {
                    break;
                }
            }
        }
        let grown = rss_bytes(victim.pgdial.pid()).saturating_sub(victim.before) >> 20;
        assert!(grown < 24, "{} of {len} bytes: {grown} MiB", char::from(tag));
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = the_rest(&mut stream);
        assert!(!refused || contains(&answer, "08P01") || contains(&answer, "54000"), "{} {len}: {answer:?}", char::from(tag));
    }
    victim.is_unharmed(24);
}

#[test]
fn a_hundred_thousand_names() {
    let victim = Victim::new("names", |config| config.set("plans", "per_server", "50"));
    let mut client = victim.client();
    for hundred in 0..1_000 {
        let mut out = Out::new();
        for number in 0..100 {
            out = out.parse(&format!("name_{hundred}_{number}"), "select 1", &[]);
        }
        client.send(&out.sync().0);
        assert_eq!(sqlstate(&client.until_ready(1)), None);
    }
    let grown = rss_bytes(victim.pgdial.pid()).saturating_sub(victim.before) >> 20;
    assert!(grown < 64, "100,000 names of one text take {grown} MiB");
    client.send(&Out::new().bind("", "name_0_0", &[], &[], &[]).execute("", 0).sync().0);
    assert_eq!(sqlstate(&client.until_ready(1)), None, "the first of them still works");
    drop(client);
    victim.is_unharmed(64);
}

/// Texts are kept, so that any server can have the statement: what one client may keep is bounded, and it is told so.
#[test]
fn statements_that_are_never_closed() {
    let victim = Victim::new("texts", |config| config.set("plans", "per_server", "5"));
    let mut client = victim.client();
    let filler = "x".repeat(4 << 20);
    let mut refused = None;
    for number in 0..60 {
        client.send(&Out::new().parse(&format!("s{number}"), &format!("select {number} /* {filler} */"), &[]).sync().0);
        let answer = client.until_ready(1);
        if let Some(state) = sqlstate(&answer) {
            let error = answer.iter().find(|message| message.tag == b'E').unwrap();
            refused = Some((state, error.field(b'M').unwrap(), number));
            break;
        }
    }
    let (state, text, number) = refused.expect("one client may keep whatever it likes");
    assert_eq!(state, "54000", "{text}");
    assert!(text.contains("prepared statements"), "{text}");
    assert!(number > 20, "refused at {number} of 4 MiB each");
    assert!(victim.pgdial.log().contains("too many prepared statements"), "{}", victim.pgdial.log());
    drop(client);
    victim.is_unharmed(200);
}

#[test]
fn thousands_of_portals() {
    let victim = Victim::new("portals", |config| config);
    let mut client = victim.client();
    client.rows("begin");
    client.send(&Out::new().parse("s", "show server_version", &[]).sync().0);
    client.until_ready(1);
    for hundred in 0..200 {
        let mut out = Out::new();
        for number in 0..100 {
            out = out.bind(&format!("portal_{hundred}_{number}"), "s", &[], &[], &[]);
        }
        client.send(&out.sync().0);
        assert_eq!(sqlstate(&client.until_ready(1)), None);
    }
    let grown = rss_bytes(victim.pgdial.pid()).saturating_sub(victim.before) >> 20;
    assert!(grown < 12, "portals are Postgres's: {grown} MiB");
    client.send(&Out::new().execute("portal_0_0", 0).execute("portal_199_99", 0).sync().0);
    assert_eq!(sqlstate(&client.until_ready(1)), None);
    client.rows("commit");
    victim.is_unharmed(12);
}

#[test]
fn a_storm_of_cancels() {
    let victim = Victim::new("storm", |config| config);
    let mut busy = victim.client();
    let (pid, secret) = busy.key();
    let storming = std::sync::atomic::AtomicBool::new(true);
    let count = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4_i32 {
            let (victim, secret, storming, count) = (&victim, &secret, &storming, &count);
            scope.spawn(move || {
                let mut wrong = secret.clone();
                for turn in 0..2_500_i32 {
                    wrong[0] = secret[0] ^ 1;
                    let bytes = match turn % 3 {
                        0 => Out::cancel(pid, &wrong),
                        1 => Out::cancel(pid.wrapping_add(turn + worker), secret),
                        _ => Out::cancel(turn, &[]),
                    };
                    // Not waited for: it is a storm.
                    victim.connect().write_all(&bytes.0).unwrap();
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                storming.store(false, std::sync::atomic::Ordering::Relaxed);
            });
        }
        while storming.load(std::sync::atomic::Ordering::Relaxed) {
            assert_eq!(busy.value("select pg_sleep(0.001)::text || 'untouched'"), "untouched");
        }
    });
    assert_eq!(count.into_inner(), 10_000);
    victim.is_unharmed(24);
}
