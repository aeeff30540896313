//! Who may enter: users that Postgres knows, keys instead of passwords, rules, and those who guess.

use crate::secure::{fails, psql, succeeds};
use crate::support::pgdial::{Config, Pgdial};
use crate::support::postgres::Postgres;
use crate::support::process::{TempDir, eventually};
use crate::support::wire::{Client, PATIENCE, Received};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;

/// A server that asks all but `app` and `postgres` for a password.
fn strict() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let postgres = Postgres::start();
        let hba = "local all all trust\nhost all postgres,app 127.0.0.1/32 trust\n\
            host all md5_app,q_md5 127.0.0.1/32 md5\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(postgres.dir().join("data/pg_hba.conf"), hba).unwrap();
        postgres.sql("postgres", "select pg_reload_conf()");
        postgres.sql("postgres", "set password_encryption = 'md5'; create role q_md5 login password 'secret'");
        let roles = "create role q_scram login password 'secret'; create role q_expired login password 'secret' valid until '2001-01-01';\
            create role q_later login password 'secret' valid until '2101-01-01'; create role q_ever login password 'secret' valid until 'infinity';\
            create role q_empty login; create role q_group password 'secret'";
        roles.split(';').for_each(|role| drop(postgres.sql("postgres", role)));
        postgres
    })
}

const FUNCTION: &str = "create function who(text) returns table (u name, p text, v timestamptz) language sql security definer \
    set search_path = pg_catalog as 'select usename, passwd, valuntil from pg_shadow where usename = $1'";

/// pgdial in front of a fresh database, as `app`, which asks for the others.
fn asking(query: &str) -> (Config, String) {
    let postgres = strict();
    let database = postgres.database("asked");
    postgres.sql(&database, FUNCTION);
    let url = format!("postgres://app:own@127.0.0.1:{}/{database}", postgres.port());
    let config = Config::new(postgres, &database).pool(2).text("upstream", "url", &url);
    (config.text("auth", "method", "scram-sha-256").text("auth", "query", query), database)
}

const QUERY: &str = "select u, p, v from public.who($1)";

#[test]
fn users_that_postgres_knows() {
    let (config, database) = asking(QUERY);
    let pgdial = Pgdial::start(&config);
    for user in ["q_scram", "q_later", "q_ever"] {
        succeeds(&psql(&pgdial, user, "secret", &database, ""), user);
    }
    succeeds(&psql(&pgdial, "app", "own", &database, ""), "app");
    for user in ["q_expired", "q_empty", "q_group", "q_nobody", "q_md5", "Q_SCRAM", &"x".repeat(63)] {
        fails(&psql(&pgdial, user, "secret", &database, ""), &format!("password authentication failed for user \"{user}\""));
    }
    fails(&psql(&pgdial, "q_scram", "wrong", &database, ""), "password authentication failed for user \"q_scram\"");
    fails(&psql(&pgdial, "q_scram", "secret", "no_such", ""), "database \"no_such\" does not exist");
    let log = pgdial.log();
    assert!(!log.contains("secret") && !log.contains("SCRAM-SHA-256$"), "a secret is in the log");
}

#[test]
fn each_method_serves_users_that_postgres_knows() {
    for (method, users) in [("md5", &["q_md5", "q_scram"][..]), ("password", &["q_scram", "q_later", "q_md5"])] {
        let (config, database) = asking(QUERY);
        let pgdial = Pgdial::start(&config.text("auth", "method", method));
        for user in users {
            succeeds(&psql(&pgdial, user, "secret", &database, ""), user);
            fails(&psql(&pgdial, user, "wrong", &database, ""), "password authentication failed");
        }
        fails(&psql(&pgdial, "q_expired", "secret", &database, ""), "password authentication failed");
    }
}

/// A client through pgdial, and what the driver's task needs.
async fn connect(pgdial: &Pgdial, user: &str, password: &str, database: &str) -> Result<tokio_postgres::Client, String> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(pgdial.port()).user(user).password(password).dbname(database);
    let (client, connection) = config.connect(NoTls).await.map_err(|error| match error.as_db_error() {
        Some(error) => error.message().to_owned(),
        None => error.to_string(),
    })?;
    tokio::spawn(connection);
    Ok(client)
}

fn end_servers(user: &str) {
    strict().sql("postgres", &format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{user}'"));
    eventually("the servers are gone", PATIENCE, || {
        strict().sql("postgres", &format!("select count(*) from pg_stat_activity where usename = '{user}'"))[0][0].as_deref()
            == Some("0")
    });
}

async fn whoami(client: &tokio_postgres::Client) -> Result<String, String> {
    let row = client.query_one("select current_user::text", &[]).await;
    row.map(|row| row.get(0)).map_err(|error| error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned()))
}

/// Retries while servers that were ended are still being noticed.
async fn served(client: &tokio_postgres::Client) -> Result<String, String> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match whoami(client).await {
            Err(error) if error.contains("terminating") && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            outcome => return outcome,
        }
    }
}

#[tokio::test]
async fn a_login_lends_its_keys_to_later_dials_until_the_password_changes() {
    strict().sql("postgres", "create role q_rotates login password 'first'");
    let (config, database) = asking(QUERY);
    let pgdial = Pgdial::start(&config);
    let old = connect(&pgdial, "q_rotates", "first", &database).await.unwrap();
    assert_eq!(whoami(&old).await.unwrap(), "q_rotates");
    end_servers("q_rotates");
    assert_eq!(served(&old).await.unwrap(), "q_rotates", "dialled again without a password at hand");

    strict().sql("postgres", "alter role q_rotates password 'second'");
    end_servers("q_rotates");
    let refused = served(&old).await.unwrap_err();
    assert!(refused.contains("is not the one that was used to log in to pgdial"), "{refused}");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let wrong = connect(&pgdial, "q_rotates", "first", &database).await.err().unwrap();
    assert_eq!(wrong, "password authentication failed for user \"q_rotates\"");
    let new = connect(&pgdial, "q_rotates", "second", &database).await.unwrap();
    assert_eq!(served(&new).await.unwrap(), "q_rotates");
    assert_eq!(served(&old).await.unwrap(), "q_rotates", "a session goes on, as it would in Postgres");

    // The same password hashed anew: another salt, and the old keys fit no more.
    strict().sql("postgres", "alter role q_rotates password 'second'");
    end_servers("q_rotates");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let again = connect(&pgdial, "q_rotates", "second", &database).await.unwrap();
    assert_eq!(served(&again).await.unwrap(), "q_rotates");
}

/// CVE-2025-2291: Postgres would say so itself at the next dial, but there are servers that were dialled before.
#[test]
fn a_password_that_has_expired_opens_no_warm_pool() {
    strict().sql("postgres", "create role q_lapses login password 'secret' valid until '2101-01-01'");
    let (config, database) = asking(QUERY);
    let pgdial = Pgdial::start(&config);
    succeeds(&psql(&pgdial, "q_lapses", "secret", &database, ""), "q_lapses");
    strict().sql("postgres", "alter role q_lapses valid until '2001-01-01'");
    std::thread::sleep(Duration::from_millis(1100));
    fails(&psql(&pgdial, "q_lapses", "secret", &database, ""), "password authentication failed");
}

#[test]
fn a_verifier_in_the_configuration_is_enough() {
    let postgres = strict();
    let database = postgres.database("verified");
    let verifier = postgres.sql("postgres", "select rolpassword from pg_authid where rolname = 'q_scram'")[0][0].clone().unwrap();
    let md5 = postgres.sql("postgres", "select rolpassword from pg_authid where rolname = 'q_md5'")[0][0].clone().unwrap();
    let url = format!("postgres://app:own@127.0.0.1:{}/{database}", postgres.port());
    let users = format!(
        "[[user]]\nname = \"q_scram\"\npassword = \"{verifier}\"\n[[user]]\nname = \"q_md5\"\npassword = \"{md5}\"\n\
        [[auth.rule]]\nuser = \"q_md5\"\nmethod = \"md5\""
    );
    let config = Config::new(postgres, &database).pool(2).text("upstream", "url", &url).tables(&users);
    let pgdial = Pgdial::start(&config.text("auth", "method", "scram-sha-256"));
    for user in ["q_scram", "q_md5"] {
        succeeds(&psql(&pgdial, user, "secret", &database, ""), user);
        fails(&psql(&pgdial, user, "wrong", &database, ""), "password authentication failed");
    }
}

/// Without a login that shows a key there is none, and the client is told.
#[test]
fn a_verifier_alone_does_not_log_in_to_postgres() {
    let (config, database) = asking(QUERY);
    let pgdial = Pgdial::start(&config.text("auth", "method", "trust"));
    fails(&psql(&pgdial, "q_scram", "", &database, ""), "asks for the password of \"q_scram\"");
    fails(&psql(&pgdial, "q_nobody", "", &database, ""), "role \"q_nobody\" does not exist");
}

/// As PgBouncer's documentation has it: OUT columns, and a row of NULLs for a user that does not exist.
#[test]
fn a_lookup_function_written_for_pgbouncer_works() {
    let (config, database) = asking("select * from public.user_lookup($1)");
    strict().sql(
        &database,
        "create function user_lookup(in i_username text, out uname text, out phash text) returns record as \
        $$ begin select usename, passwd from pg_catalog.pg_shadow where usename = i_username into uname, phash; return; end; $$ \
        language plpgsql security definer",
    );
    let pgdial = Pgdial::start(&config);
    succeeds(&psql(&pgdial, "q_scram", "secret", &database, ""), "q_scram");
    fails(&psql(&pgdial, "q_nobody", "secret", &database, ""), "password authentication failed for user \"q_nobody\"");
}

/// CVE-2025-12819 and its like: whose functions the query runs is nobody's to choose.
#[test]
fn the_search_path_of_the_query_is_pinned() {
    let (config, database) = asking("select u, p, v from public.who(lower($1::text))");
    strict().sql(
        &database,
        "create schema evil; create function evil.lower(text) returns text language sql as 'select ''postgres''::text'",
    );
    strict().sql(&database, "grant usage on schema evil to public");
    strict().sql(&database, &format!("alter role app in database {database} set search_path = evil, pg_catalog"));
    let pgdial = Pgdial::start(&config);
    succeeds(&psql(&pgdial, "q_scram", "secret", &database, "options='-c search_path=evil,pg_catalog'"), "q_scram");
}

#[test]
fn a_query_that_cannot_be_right_is_logged_and_lets_nobody_in() {
    for (query, reason) in [
        ("select u from public.who($1)", "it must give user name, password"),
        ("select u, p, now()::date from public.who($1)", "VALID UNTIL as timestamptz"),
        ("select usename, passwd from pg_catalog.pg_shadow where usename = $1", "permission denied"),
        ("select 'other'::name, p from public.who($1)", "another user"),
        ("select u, p from public.who($1), generate_series(1, 2)", "2 rows"),
        ("select u, p from public.who($1) where $2", "one parameter"),
    ] {
        let (config, database) = asking(query);
        let pgdial = Pgdial::start(&config);
        fails(&psql(&pgdial, "q_scram", "secret", &database, ""), "could not ask Postgres about this user");
        succeeds(&psql(&pgdial, "app", "own", &database, ""), "app");
        assert!(pgdial.log().contains(reason), "{query}");
    }
}

/// A postgres that hangs or is away holds up only those it must be asked about.
#[test]
fn without_postgres_only_those_are_refused_who_must_be_asked_about() {
    let (config, database) = asking(QUERY);
    let pgdial = Pgdial::start(&config);
    succeeds(&psql(&pgdial, "q_scram", "secret", &database, ""), "q_scram");
    strict().sql("postgres", &format!("alter database {database} allow_connections false"));
    strict()
        .sql("postgres", "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgdial auth_query'");
    std::thread::sleep(Duration::from_millis(1100));
    fails(&psql(&pgdial, "q_scram", "secret", &database, ""), "could not ask Postgres about this user");
    strict().sql("postgres", &format!("alter database {database} allow_connections true"));
    succeeds(&psql(&pgdial, "q_scram", "secret", &database, ""), "q_scram");
}

#[test]
fn rules_are_read_from_the_top() {
    let postgres = strict();
    let database = postgres.database("ruled");
    postgres.sql("postgres", "do $$ begin create role root login; exception when duplicate_object then null; end $$");
    let sockets = TempDir::new("sockets");
    let url = format!("postgres://app:own@127.0.0.1:{}/{database}", postgres.port());
    let rules = "[[user]]\nname = \"postgres\"\npassword = \"secret\"\n[[user]]\nname = \"root\"\n\
        [[auth.rule]]\nuser = \"postgres\"\nmethod = \"reject\"\n\
        [[auth.rule]]\naddress = \"unix\"\nmethod = \"peer\"\n\
        [[auth.rule]]\naddress = \"127.0.0.1/32\"\nuser = \"app\"\nmethod = \"trust\"\n";
    let config = Config::new(postgres, &database).pool(2).text("upstream", "url", &url).tables(rules);
    let config = config.text("auth", "method", "scram-sha-256");
    let pgdial = Pgdial::start(&config.text("listen", "unix_socket_dir", &sockets.path().to_string_lossy()));
    succeeds(&psql(&pgdial, "app", "", &database, ""), "app");
    let refused = "pgdial rejects connection for host \"127.0.0.1\", user \"postgres\"";
    fails(&psql(&pgdial, "postgres", "secret", &database, ""), refused);
    fails(&psql(&pgdial, "root", "x", &database, ""), "password authentication failed");
    let socket = format!("host={}", sockets.path().display());
    fails(&psql(&pgdial, "app", "own", &database, &socket), "peer authentication failed for user \"app\"");
    let own = std::process::Command::new("id").arg("-un").output().unwrap();
    if String::from_utf8_lossy(&own.stdout).trim() == "root" {
        // The role has no password, and the server wants one: it gets as far as that.
        fails(&psql(&pgdial, "root", "", &database, &socket), "asks for the password of \"root\"");
    }
}

/// What is refused takes as long for a user that nobody has, and says the same.
#[test]
fn an_unknown_user_and_a_wrong_password_look_alike() {
    for method in ["scram-sha-256", "md5", "password"] {
        let (config, database) = asking(QUERY);
        let pgdial = Pgdial::start(&config.text("auth", "method", method));
        let attempt = |user: &str| {
            let began = Instant::now();
            let output = psql(&pgdial, user, "wrong", &database, "sslmode=disable");
            let text = String::from_utf8_lossy(&output.stderr).replace(user, "USER");
            (text, began.elapsed())
        };
        let (known, known_time) = attempt("q_scram");
        let (unknown, unknown_time) = attempt("q_other");
        assert_eq!(known, unknown, "{method}");
        assert!(known.contains("password authentication failed for user"), "{known}");
        assert!(known_time > Duration::from_millis(100) && unknown_time > Duration::from_millis(100));
    }
}

/// Neither by what they are asked for.
#[test]
fn an_unknown_user_is_asked_for_the_same() {
    let (config, database) = asking(QUERY);
    let asked = |config: &Config, user: &str| {
        let pgdial = Pgdial::start(config);
        let mut client = Client::connect(pgdial.addr(), &[("user", user), ("database", &database)]).unwrap();
        let Received::Message(message) = client.next(PATIENCE) else { panic!("no word") };
        (message.tag, message.body[..4].to_vec())
    };
    let md5 = config.clone().text("auth", "method", "md5");
    let of_a_role = asked(&md5, "q_scram");
    assert_eq!(of_a_role, (b'R', vec![0, 0, 0, 10]));
    for user in ["q_other", "q_empty"] {
        assert_eq!(asked(&md5, user), of_a_role, "{user}");
    }
}

/// Whatever a client leaves unfinished, its time is over at `login_timeout`.
#[test]
fn a_login_has_its_time_whatever_it_is_stuck_in() {
    use std::io::{Read as _, Write as _};
    let (config, database) = asking(QUERY);
    let folder = TempDir::new("half");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = config.text("listen", "tls", "prefer").text("listen", "tls_cert", &cert.to_string_lossy());
    let config = config.text("listen", "tls_key", &key.to_string_lossy()).text("listen", "login_timeout", "1s");
    let pgdial = Pgdial::start(&config);
    let body = [&[0, 3, 0, 0][..], b"user\0q_scram\0database\0", database.as_bytes(), b"\0\0"].concat();
    let hello = [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat();
    let first = b"p\0\0\0\x29SCRAM-SHA-256\0\0\0\0\x13n,,n=,r=abcdefghijk";
    let stuck: [&[u8]; 6] =
        [b"", b"\0\0", b"\0\0\0\x08\x04\xd2\x16\x2f", b"\x16\x03\x01\x02\x00", &hello, &[&hello[..], first].concat()];
    let began = Instant::now();
    let mut streams: Vec<_> = stuck
        .iter()
        .map(|bytes| {
            let mut stream = std::net::TcpStream::connect(pgdial.addr()).unwrap();
            stream.write_all(bytes).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        })
        .collect();
    for stream in &mut streams {
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    assert!(began.elapsed() > Duration::from_millis(900) && began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(pgdial.stat("clients.rejected.login_timeout"), 6);
    succeeds(&psql(&pgdial, "q_scram", "secret", &database, ""), "q_scram");
}

/// A role that Postgres does not let into the database is that client's affair, and no reason to take pgdial out of service.
#[test]
fn one_users_trouble_does_not_make_pgdial_unready() {
    let (config, database) = asking(QUERY);
    strict().sql(
        &database,
        &format!("revoke connect on database {database} from public; grant connect on database {database} to app"),
    );
    let pgdial = Pgdial::start(&config);
    fails(&psql(&pgdial, "q_scram", "secret", &database, ""), "permission denied for database");
    assert_eq!(pgdial.http("GET", "/readyz", "").unwrap().0, 200);
}

/// Many guess at once from one address, each with connections of its own. Who is in notices nothing, who has the right
/// password comes in, and the log stays short.
#[tokio::test]
async fn guessing_is_slow_and_hurts_nobody() {
    let (config, database) = asking(QUERY);
    let config = config.text("auth", "method", "password").text("log", "level", "info");
    let pgdial = Pgdial::start(&config);
    let inside = connect(&pgdial, "q_scram", "secret", &database).await.unwrap();
    // How much this machine does in half a second, with whatever else runs on it.
    let (mut calm, end) = (0, Instant::now() + Duration::from_millis(500));
    while Instant::now() < end {
        whoami(&inside).await.unwrap();
        calm += 1;
    }
    let guessing = async {
        let guess = |nth: usize| {
            let (pgdial, database) = (&pgdial, &database);
            async move {
                let mut count = 0;
                let end = Instant::now() + Duration::from_secs(4);
                while Instant::now() < end {
                    let password = format!("guess {nth}");
                    let attempt = connect(pgdial, "q_scram", &password, database);
                    let Ok(refused) = tokio::time::timeout_at(end.into(), attempt).await else { break };
                    let refused = refused.err().unwrap();
                    assert!(refused.contains("password authentication failed"), "{refused}");
                    count += 1;
                }
                count
            }
        };
        futures_of((0..150).map(guess).collect()).await.into_iter().sum::<usize>()
    };
    // Beside it one whose pgdial nobody attacks: what else starts on this machine meanwhile slows that one as well.
    let other_pgdial = Pgdial::start(&config);
    let beside = connect(&other_pgdial, "q_scram", "secret", &database).await.unwrap();
    let working = async { tokio::join!(at_work(&inside), at_work(&beside)) };
    let entering = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        connect(&pgdial, "q_later", "secret", &database).await.unwrap();
        let other = began.elapsed();
        connect(&pgdial, "q_scram", "secret", &database).await.unwrap();
        (other, began.elapsed())
    };
    let (guesses, ((slowest, queries), (hiccup, undisturbed)), (other, same)) = tokio::join!(guessing, working, entering);
    println!(
        "{guesses} guesses, {queries} queries, the slowest {slowest:?}; another user entered in {other:?}, the same in {same:?}"
    );
    assert!(guesses < 250, "{guesses} guesses in 4 s");
    let shown = format!(
        "{queries} queries, the slowest {slowest:?}; {calm} in half a second before; {undisturbed} beside, the slowest {hiccup:?}"
    );
    assert!(queries > calm.min(undisturbed / 8) && slowest < Duration::from_secs(1) + hiccup, "{shown}");
    assert!(other < Duration::from_secs(2) && same < Duration::from_secs(10), "{other:?} {same:?}");
    let lines = pgdial.log().lines().filter(|line| line.contains("login refused")).count();
    assert!((1..=3).contains(&lines), "{lines} lines");
    assert!(pgdial.stat("clients.logins_failed") >= guesses as u64);
}

/// Four seconds of queries: the slowest, and how many.
async fn at_work(client: &tokio_postgres::Client) -> (Duration, usize) {
    let (mut slowest, mut count) = (Duration::ZERO, 0);
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        let began = Instant::now();
        whoami(client).await.unwrap();
        slowest = slowest.max(began.elapsed());
        count += 1;
    }
    (slowest, count)
}

/// All at once, in one task.
async fn futures_of<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in &mut running {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        if running.iter().all(|(_, done)| done.is_some()) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}
