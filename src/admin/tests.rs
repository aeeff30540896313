//! Floor 3. The endpoint over real sockets, with figures that are fixed.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::metrics::{Fence, Histogram, Pinned, Pool, Shape};

#[derive(Default)]
struct Fake {
    purged: Mutex<Vec<Purge>>,
    not_ready: bool,
}

impl Source for Fake {
    fn stats(&self) -> Stats {
        sample()
    }

    fn ready(&self) -> Result<(), String> {
        if self.not_ready { Err("no server connection".to_owned()) } else { Ok(()) }
    }

    fn purge(&self, purge: Purge) -> Result<u64, String> {
        if purge == Purge::Table("nowhere".to_owned()) {
            return Err("no table nowhere".to_owned());
        }
        self.purged.lock().unwrap().push(purge);
        Ok(7)
    }

    fn reload(&self) -> Result<Vec<String>, String> {
        Ok(vec!["pool.size".to_owned()])
    }
}

fn sample() -> Stats {
    let histogram = Histogram::default();
    [5, 900, 1_100, 2_000_000].into_iter().for_each(|us| histogram.record_us(us));
    let mut stats = Stats { version: "1.2.3".to_owned(), uptime: 42, ..Stats::default() };
    stats.latency.query = histogram.snapshot().into();
    stats.clients.rejected = [("draining", 0), ("tls", 3)].into();
    stats.cache.bypass = [("fence", 1), ("no_rule", 2)].into();
    stats.cache.hits = 10;
    stats.cache.unresolved = vec![Fence { pid: 99, ..Fence::default() }];
    stats.pool.pools = vec![Pool { database: "a\"b".to_owned(), user: "u".to_owned(), active: 2, size: 20, ..Pool::default() }];
    stats.pool.pinned = [("temp_table", 1)].into();
    stats.pool.pinned_clients = vec![Pinned { reason: "temp_table", ..Pinned::default() }];
    stats.pool.sum_pools();
    stats.shapes = vec![Shape { text: "select $1".to_owned(), calls: 4, ..Shape::default() }];
    stats
}

struct Running {
    address: SocketAddr,
    source: Arc<Fake>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn start(token: &str, source: Fake) -> Running {
    let admin = Admin::bind("127.0.0.1:0".parse().unwrap(), Some(token)).await.unwrap();
    let address = admin.address().unwrap();
    let (stop, stopped) = watch::channel(false);
    let source = Arc::new(source);
    let task = tokio::spawn(admin.run(Arc::clone(&source) as Arc<dyn Source>, stopped));
    Running { address, source, stop, task }
}

impl Running {
    /// Sends bytes as they are and reads until the endpoint closes.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The endpoint may refuse, and close, before all is written.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: localhost:1\r\nConnection: close\r\n\r\n")).await
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        self.raw(&format!("POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")).await
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

const OWN: &str = "Host: 127.0.0.1:6433\r\nContent-Type: application/json\r\n";

#[tokio::test]
async fn stats_has_the_keys_of_the_contract() {
    let answer = start("", Fake::default()).await.get("/stats").await;
    assert_eq!(status(&answer), 200);
    let stats: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    for key in ["hits", "misses", "waits", "fills", "stale_served", "invalidations", "entries", "bytes"] {
        assert!(stats["cache"][key].is_u64(), "cache.{key}");
    }
    for key in ["hits", "misses", "prepared", "promoted"] {
        assert!(stats["plans"][key].is_u64(), "plans.{key}");
    }
    for key in ["clients", "active", "idle", "waiting"] {
        assert!(stats["pool"][key].is_u64(), "pool.{key}");
    }
    for key in ["calls", "hits", "p50", "p99", "rows", "bytes"] {
        assert!(stats["shapes"][0][key].is_u64(), "shapes.{key}");
    }
    assert_eq!(stats["cache"]["bypass"]["no_rule"], 2);
    assert_eq!(stats["pool"]["pinned"]["temp_table"], 1);
    assert_eq!(stats["pool"]["active"], 2);
    assert_eq!(stats["latency"]["query"]["max"], 2_000_000);
    assert_eq!(stats["latency"]["query"]["buckets"][0], serde_json::json!([5, 6, 1]));
    assert!(stats["shapes"][0]["tables"].is_array());
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let answer = start("", Fake::default()).await.get("/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{answer}");
    let text = body(&answer);
    let expected = r#"
# HELP pgdial_info Always 1; the version is a label.
# TYPE pgdial_info gauge
pgdial_info{version="1.2.3"} 1
# HELP pgdial_clients_rejected_total Clients turned away before a session began.
# TYPE pgdial_clients_rejected_total counter
pgdial_clients_rejected_total{reason="draining"} 0
pgdial_clients_rejected_total{reason="tls"} 3
# TYPE pgdial_query_seconds histogram
pgdial_query_seconds_bucket{le="0.000008"} 1
pgdial_query_seconds_bucket{le="0.000512"} 1
pgdial_query_seconds_bucket{le="0.001024"} 2
pgdial_query_seconds_bucket{le="0.002048"} 3
pgdial_query_seconds_bucket{le="67.108864"} 4
pgdial_query_seconds_bucket{le="+Inf"} 4
pgdial_query_seconds_sum 2.002005
pgdial_query_seconds_count 4
pgdial_cache_hits_total 10
pgdial_cache_bypass_total{reason="no_rule"} 2
pgdial_cache_unresolved_fences 1
pgdial_pool_servers_active{database="a\"b",user="u"} 2
"#;
    for line in expected.trim().lines() {
        assert!(text.lines().any(|have| have == line), "missing: {line}\n{text}");
    }
    assert!(text.ends_with('\n'));
}

#[tokio::test]
async fn health_ready_and_dashboard() {
    let running = start("", Fake::default()).await;
    assert_eq!(body(&running.get("/healthz").await), "ok\n");
    assert_eq!(body(&running.get("/readyz").await), "ready\n");
    let page = running.get("/").await;
    assert!(page.contains("content-security-policy: default-src 'none'"));
    assert!(body(&page).starts_with("<!doctype html>"));
    assert!(!page.contains("http://") && !page.contains("https://"), "the page must not load anything from elsewhere");

    let answer = start("", Fake { not_ready: true, ..Fake::default() }).await.get("/readyz").await;
    assert_eq!((status(&answer), body(&answer)), (503, "no server connection\n"));
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods() {
    let running = start("", Fake::default()).await;
    assert_eq!(status(&running.get("/nowhere").await), 404);
    assert_eq!(status(&running.get("/stats/").await), 404);
    let answer = running.post("/stats", OWN, "").await;
    assert_eq!(status(&answer), 405);
    assert!(answer.contains("allow: GET, HEAD\r\n"));
    let answer = running.get("/reload").await;
    assert_eq!(status(&answer), 405);
    assert!(answer.contains("allow: POST\r\n"));
    let head = running.raw("HEAD /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert_eq!((status(&head), body(&head)), (200, ""));
}

#[tokio::test]
async fn purge_and_reload() {
    let running = start("", Fake::default()).await;
    for (sent, purge) in [
        (r#"{"table":"public.t"}"#, Purge::Table("public.t".to_owned())),
        (r#"{"tag":"x"}"#, Purge::Tag("x".to_owned())),
        (r#"{"all":true}"#, Purge::All),
    ] {
        let answer = running.post("/cache/purge", OWN, sent).await;
        assert_eq!((status(&answer), body(&answer)), (200, "{\"purged\":7}\n"));
        assert_eq!(running.source.purged.lock().unwrap().pop(), Some(purge));
    }
    let answer = running.post("/reload", OWN, "").await;
    assert_eq!(body(&answer), "{\"changed\":[\"pool.size\"]}\n");
    assert_eq!(status(&running.post("/cache/purge", OWN, r#"{"table":"nowhere"}"#).await), 422);
}

#[tokio::test]
async fn bad_bodies_purge_nothing() {
    let running = start("", Fake::default()).await;
    let deep = "[".repeat(10_000);
    for bad in
        ["", "{}", "null", "{", "[]", r#"{"all":false}"#, r#"{"all":true,"tag":"x"}"#, r#"{"tag":""}"#, r#"{"al":true}"#, &deep]
    {
        assert_eq!(status(&running.post("/cache/purge", OWN, bad).await), 400, "{bad}");
    }
    let large = format!(r#"{{"tag":"{}"}}"#, "x".repeat(100_000));
    assert_eq!(status(&running.post("/cache/purge", OWN, &large).await), 413);
    assert!(running.source.purged.lock().unwrap().is_empty());
}

#[tokio::test]
async fn web_pages_cannot_change_or_read() {
    let running = start("", Fake::default()).await;
    let all = r#"{"all":true}"#;
    for (headers, expected) in [
        ("Host: localhost:6433\r\nContent-Type: application/json\r\nOrigin: http://localhost:6433\r\n", 403),
        ("Host: localhost:6433\r\nContent-Type: text/plain\r\n", 415),
        ("Host: localhost:6433\r\n", 415),
        ("Host: evil.example\r\nContent-Type: application/json\r\n", 421),
        ("Host: evil.example\r\nHost: localhost\r\nContent-Type: application/json\r\n", 421),
        ("Content-Type: application/json\r\n", 421),
        ("Host: [::1]:6433\r\nContent-Type: application/json; charset=utf-8\r\n", 200),
    ] {
        assert_eq!(status(&running.post("/cache/purge", headers, all).await), expected, "{headers}");
    }
    let rebound = running.raw("GET /stats HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&rebound), 421);
    let probe = running.raw("GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&probe), 200);
}

#[tokio::test]
async fn a_token_is_needed_when_one_is_set() {
    let running = start("s3cret", Fake::default()).await;
    for (authorization, expected) in [
        ("", 401),
        ("Authorization: Bearer wrong\r\n", 401),
        ("Authorization: Bearer s3cretx\r\n", 401),
        ("Authorization: Basic s3cret\r\n", 401),
        ("Authorization: s3cret\r\n", 401),
        ("Authorization: Bearer s3cret\r\n", 200),
        ("Authorization: bearer s3cret\r\n", 200),
    ] {
        let answer = running.post("/reload", &format!("{OWN}{authorization}"), "").await;
        assert_eq!(status(&answer), expected, "{authorization}");
    }
    assert_eq!(status(&running.get("/stats").await), 200);
}

#[test]
fn without_a_token_only_loopback_may_change() {
    let headers = [("host", "pgdial:6433"), ("content-type", "application/json")];
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).into_iter().collect();
    let elsewhere = "10.0.0.7:5000".parse().unwrap();
    assert_eq!(guard::may_change(&headers, elsewhere, None).unwrap_err().0, hyper::StatusCode::FORBIDDEN);
    assert_eq!(guard::may_change(&headers, elsewhere, Some("t")).unwrap_err().0, hyper::StatusCode::UNAUTHORIZED);
    assert_eq!(guard::may_read(&headers, elsewhere), Ok(()));
    let mapped = "[::ffff:127.0.0.1]:5000".parse().unwrap();
    assert_eq!(guard::may_change(&headers, mapped, None).unwrap_err().0, hyper::StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn hostile_requests_are_answered_or_dropped() {
    let running = start("", Fake::default()).await;
    let long = format!("GET /stats HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET /stats HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "a: b\r\n".repeat(500));
    let path = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(100_000));
    for (request, accepted) in [
        (long.as_str(), &[431, 0][..]),
        (&many, &[431, 0]),
        (&path, &[414, 431, 0]),
        ("\x00\x00\x00\x08\x04\u{2}\u{10}/", &[400, 0]),
        ("GET / HTTP/9.9\r\n\r\n", &[400, 505, 0]),
        ("\r\n\r\n\r\nnonsense\r\n\r\n", &[400, 0]),
        (
            "POST /cache/purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n",
            &[400, 0],
        ),
    ] {
        let answer = running.raw(request).await;
        assert!(accepted.contains(&status(&answer)), "{:.60} -> {answer:.60}", request);
    }
    assert_eq!(status(&running.get("/stats").await), 200);
}

#[tokio::test]
async fn slow_headers_lose_their_connection_and_others_get_in() {
    let running = start("", Fake::default()).await;
    let mut slow = Vec::new();
    for _ in 0..http::MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /stats HTTP/1.1\r\nHost: local").await.unwrap();
        slow.push(stream);
    }
    let begun = Instant::now();
    let answer = running.get("/healthz").await;
    assert_eq!(status(&answer), 200);
    assert!(begun.elapsed() > Duration::from_secs(1), "the limit of connections did not hold");
    assert!(begun.elapsed() < http::HEADER_TIMEOUT * 2);
}

#[tokio::test]
async fn stops_soon_even_with_idle_and_deaf_peers() {
    let running = start("", Fake::default()).await;
    let _idle = TcpStream::connect(running.address).await.unwrap();
    let mut deaf = TcpStream::connect(running.address).await.unwrap();
    deaf.write_all("GET /stats HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2_000).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(4), running.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}
