//! Floor 3. Against a private Postgres, where there is one to start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{Change, Watcher};
use crate::query::{Classifier, Hazard, Obstacle, RelationName, Snapshot};

/// A cluster of its own, on a Unix socket, gone with the value.
struct Cluster {
    bin: PathBuf,
    dir: PathBuf,
}

impl Cluster {
    fn start() -> Option<Self> {
        let mut found: Vec<PathBuf> =
            std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|e| Some(e.ok()?.path().join("bin"))).collect();
        found.sort();
        let dir = std::env::temp_dir().join(format!("pgdial-catalog-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let cluster = Self { bin: found.pop()?, dir };
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(&cluster.dir).status().unwrap().success());
        }
        cluster.run("initdb", &["-A", "trust", "-U", "postgres", "-N", "-D", "data"]);
        cluster.begin();
        Some(cluster)
    }

    fn begin(&self) {
        let options = format!("-k {} -c listen_addresses= -c fsync=off", self.dir.display());
        self.run("pg_ctl", &["-D", "data", "-o", &options, "-w", "-l", "log", "start"]);
    }

    fn run(&self, program: &str, args: &[&str]) {
        let program = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let output = command.args(args).current_dir(&self.dir).stdout(std::process::Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.dir).user("postgres").dbname("postgres");
        config
    }

    async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = self.config().connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-D", "data", "-m", "immediate", "stop"]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(Path::new("/proc/self")).unwrap()) == 0
}

const OBJECTS: &str = "
    CREATE TABLE plain (id serial PRIMARY KEY, a int, b text[], at timestamptz DEFAULT now());
    CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES plain);
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE cascaded (id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE);
    CREATE VIEW v AS SELECT * FROM plain;
    CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION lower(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE TABLE defaulted (a int DEFAULT f());
    CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TABLE triggered (a int);
    CREATE TRIGGER t AFTER INSERT ON triggered EXECUTE FUNCTION t();
    CREATE TABLE secured (a int);
    ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
    CREATE TABLE pricey (a money);
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TYPE pair AS (a int, b int);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE typed (m mood, ms mood[], p positive);
    CREATE TABLE composed (p pair);
    CREATE TABLE parted (a int) PARTITION BY LIST (a);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
    CREATE TABLE base (a int);
    CREATE TABLE heir () INHERITS (base);
    CREATE TABLE ruled (a int);
    CREATE RULE r AS ON INSERT TO ruled DO ALSO INSERT INTO base VALUES (1);
    CREATE UNLOGGED TABLE unlogged (a int);
    CREATE SCHEMA closed; CREATE TABLE closed.plain (z int);
    CREATE SCHEMA open; CREATE TABLE open.plain (z int);
    CREATE ROLE low; GRANT USAGE ON SCHEMA open TO low;
    CREATE ROLE member IN ROLE low;
    CREATE ROLE apart NOINHERIT IN ROLE low;
";

fn check_relations(snapshot: &Snapshot) {
    let hazards: [(&str, Option<Hazard>, Option<Hazard>); 16] = [
        ("plain", None, None),
        ("child", None, None),
        ("parent", None, Some(Hazard::ForeignKeyAction)),
        ("cascaded", None, None),
        ("v", Some(Hazard::NotATable), Some(Hazard::NotATable)),
        ("defaulted", None, Some(Hazard::UserCode)),
        ("triggered", None, Some(Hazard::Trigger)),
        ("secured", Some(Hazard::RowSecurity), Some(Hazard::RowSecurity)),
        ("pricey", Some(Hazard::ColumnType), Some(Hazard::ColumnType)),
        ("typed", None, None),
        ("composed", Some(Hazard::ColumnType), Some(Hazard::ColumnType)),
        ("parted", Some(Hazard::Partition), Some(Hazard::Partition)),
        ("parted_1", Some(Hazard::Partition), Some(Hazard::Partition)),
        ("base", Some(Hazard::Inheritance), Some(Hazard::Inheritance)),
        ("heir", Some(Hazard::Inheritance), Some(Hazard::Inheritance)),
        ("ruled", None, Some(Hazard::Rule)),
    ];
    for (name, read, write) in hazards {
        let relation = snapshot.relation("public", name).unwrap();
        assert_eq!((relation.read_hazard, relation.write_hazard), (read, write), "{name}");
    }
    assert!(snapshot.relation("public", "unlogged").unwrap().unlogged);
    assert!(snapshot.relation("pg_catalog", "pg_class").unwrap().system);
}

fn check_names(snapshot: &Snapshot) {
    let path: Vec<Box<str>> = ["$user", "closed", "open", "public"].map(Into::into).into();
    let found = |role: &str, name: &str| {
        snapshot.resolve(&RelationName::new(None, name), &path, role).map(|relation| relation.schema.to_string())
    };
    for (role, schema) in [("postgres", "closed"), ("low", "open"), ("member", "open"), ("apart", "public")] {
        assert_eq!(found(role, "plain").as_deref(), Some(schema), "{role}");
    }
    assert_eq!(found("nobody", "plain"), None);
    assert_eq!(found("low", "pg_class").as_deref(), Some("pg_catalog"));
    assert_eq!(snapshot.resolve(&RelationName::new(Some("closed"), "plain"), &path, "low"), None);
    let with_temp: Vec<Box<str>> = ["public", "pg_temp"].map(Into::into).into();
    assert_eq!(snapshot.resolve(&RelationName::new(None, "plain"), &with_temp, "low"), None);
}

fn check_obstacles(snapshot: &Snapshot) {
    let classifier = Classifier::default();
    let cases: [(&str, Option<Obstacle>); 15] = [
        ("select a, count(*) from plain p where p.a > 3 and b @> array['x'] group by 1", None),
        ("select max(at) from plain where a between 1 and 2 or a in (3, 4)", None),
        ("select upper('x') || 'y' from plain order by at desc limit 3", None),
        ("select m from typed where m = 'sad'::mood", None),
        ("select random() from plain", Some(Obstacle::VolatileFunction)),
        ("select now() from plain", Some(Obstacle::VolatileFunction)),
        ("select to_char(at, 'x') from plain", Some(Obstacle::VolatileFunction)),
        ("select f() from plain", Some(Obstacle::UserFunction)),
        ("select lower('x') from plain", Some(Obstacle::UserFunction)),
        ("select public.upper('x') from plain", Some(Obstacle::UserFunction)),
        ("select no_such('x') from plain", Some(Obstacle::UserFunction)),
        ("select p.row_to_json from plain p", Some(Obstacle::UserFunction)),
        ("select a operator(public.+) 1 from plain", Some(Obstacle::UserOperator)),
        ("select 'plain'::regclass from plain", Some(Obstacle::UserType)),
        ("select row(1,2)::pair from plain", Some(Obstacle::UserType)),
    ];
    for (sql, expected) in cases {
        assert_eq!(snapshot.obstacle(&classifier.classify(sql.as_bytes(), true), false), expected, "{sql}");
    }
    let by_settings = classifier.classify(b"select to_char(at, 'x') from plain", true);
    assert_eq!(snapshot.obstacle(&by_settings, true), None);
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Changes that nobody announces.
const DRIFTS: &[&str] = &[
    "CREATE TRIGGER t AFTER INSERT ON plain EXECUTE FUNCTION t()",
    "DROP TRIGGER t ON plain",
    "ALTER TABLE plain RENAME COLUMN b TO c",
    "ALTER TABLE cascaded DROP COLUMN p",
    "GRANT SELECT (a) ON plain TO low",
    "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
    "CREATE OR REPLACE VIEW v AS SELECT 1 AS id, 2 AS a, '{}'::text[] AS b, now() AS at",
    "ALTER FUNCTION f() IMMUTABLE",
    "ALTER ROLE low SET search_path = public",
    "REVOKE low FROM member",
    "ALTER ROLE low BYPASSRLS",
    "DROP TABLE unlogged",
];

#[tokio::test]
async fn reads_watches_and_withdraws() {
    let Some(cluster) = Cluster::start() else {
        eprintln!("no Postgres under /usr/lib/postgresql: not run");
        return;
    };
    let client = cluster.client().await;
    client.batch_execute(OBJECTS).await.unwrap();
    let mark = Arc::new(AtomicU64::new(7));
    let changes = Arc::new(Mutex::new(Vec::new()));
    let (marked, heard, bumped) = (Arc::clone(&mark), Arc::clone(&changes), Arc::clone(&mark));
    let watcher = Watcher::spawn(
        cluster.config(),
        None,
        Duration::from_millis(100),
        Arc::new(move || Some(marked.load(Ordering::SeqCst))),
        Arc::new(move |change| {
            heard.lock().push(change);
            if change == Change::Drift {
                bumped.fetch_add(1, Ordering::SeqCst);
            }
        }),
    );
    eventually("the first load", || watcher.snapshot().is_some()).await;
    let first = watcher.snapshot().unwrap();
    assert_eq!(first.version, 7);
    check_relations(&first);
    check_names(&first);
    check_obstacles(&first);

    // What changes no definition is no drift.
    let fill = "INSERT INTO plain (a) SELECT g FROM generate_series(1, 1000) g";
    for quiet in ["VACUUM ANALYZE", fill, "ANALYZE", "CREATE TEMP TABLE fleeting (a int)", "DROP TABLE fleeting", "VACUUM FREEZE"]
    {
        client.batch_execute(quiet).await.unwrap();
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(*changes.lock(), [Change::Loaded]);

    let mut expected = vec![Change::Loaded];
    for ddl in DRIFTS {
        client.batch_execute(ddl).await.unwrap();
        expected.extend([Change::Drift, Change::Loaded]);
        eventually(ddl, || *changes.lock() == expected).await;
    }
    assert!(watcher.snapshot().unwrap().relation("public", "unlogged").is_none());

    // Announced by whoever moved the mark: no drift, a new load.
    mark.store(100, Ordering::SeqCst);
    eventually("the load under a new mark", || watcher.snapshot().is_some_and(|s| s.version == 100)).await;
    expected.push(Change::Loaded);

    cluster.run("pg_ctl", &["-D", "data", "-m", "immediate", "stop"]);
    eventually("the withdrawal", || watcher.snapshot().is_none()).await;
    expected.push(Change::Lost);
    assert_eq!(*changes.lock(), expected);
    cluster.begin();
    eventually("the return", || watcher.snapshot().is_some()).await;
}
