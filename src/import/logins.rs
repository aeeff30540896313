//! Floor 5. `[databases]`, `[users]` and auth_file: who logs in where, and as whom on the server.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use toml::{Table, Value};

use super::Draft;
use super::ini::{self, Ini};

/// What a connection string may hold that has no equivalent.
const WITHOUT: &[(&str, &str)] = &[
    ("application_name", "each client's own is passed on"),
    ("auth_dbname", "[auth] query asks the database that the client wants"),
    ("auth_query", "there is one [auth] query for all databases"),
    ("auth_user", "[auth] query is run as the user of the database's URL"),
    ("client_encoding", "each client's own is passed on"),
    ("connect_query", "set what it sets with ALTER ROLE or ALTER DATABASE"),
    ("datestyle", "set it with ALTER DATABASE"),
    ("load_balance_hosts", "pgdial does not choose among several hosts"),
    ("max_db_client_connections", "clients are limited for the process and per user"),
    ("max_db_connections", "servers are limited per (database, user): pool_size"),
    ("min_pool_size", "[pool] min_idle holds for all databases"),
    ("pool_mode", "[pool] mode holds for all databases"),
    ("query_wait_notify", "pgdial sends no notice to clients that wait"),
    ("reserve_pool", "there is no reserve: add it to pool_size"),
    ("reserve_pool_size", "there is no reserve: add it to pool_size"),
    ("server_lifetime", "[pool] max_lifetime holds for all databases"),
    ("timezone", "set it with ALTER DATABASE"),
];

pub(super) fn add(ini: &Ini, path: &Path, read: &dyn Fn(&Path) -> io::Result<String>, draft: &mut Draft) {
    let logins = logins(ini, path, read, draft);
    for (name, password) in &logins {
        let mut user = Table::new();
        user.insert("name".into(), name.clone().into());
        if !password.is_empty() {
            user.insert("password".into(), password.clone().into());
        }
        draft.users.push(user);
    }
    for (name, pairs) in &ini.users {
        limits_of(name, pairs, draft);
    }
    let fallback = fallback_user(ini, &logins, draft);
    let mode = ini.get("pool_mode").unwrap_or("session");
    let mut entries = Vec::new();
    for (name, pairs) in ini.databases.iter().filter(|(name, _)| name != "*") {
        notes_on(name, pairs, mode, draft);
        let get = |wanted: &str| pairs.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
        let size = get("pool_size").and_then(|size| size.parse().ok()).filter(|size: &i64| *size > 0);
        let own_name = get("dbname").is_none_or(|database| database == name);
        entries.push(Entry { name: name.clone(), url: url(name, pairs, &fallback, &logins, draft), own_name, size });
    }
    if let Some((_, pairs)) = ini.databases.iter().find(|(name, _)| name == "*") {
        draft.note("database *: pgdial serves the databases that are named; add those that are used as [[database]]");
        if entries.is_empty() {
            draft.note("database *: the upstream URL names the database postgres; put the one that clients use in its place");
            let url = url("postgres", pairs, &fallback, &logins, draft);
            entries.push(Entry { name: "postgres".into(), url, own_name: true, size: None });
        }
    }
    operators(ini, &logins, &entries, draft);
    place(entries, draft);
}

/// A user of PgBouncer's console who cannot log in to pgdial is no user of pgdial's.
fn operators(ini: &Ini, logins: &[(String, String)], entries: &[Entry], draft: &mut Draft) {
    let Some(users) = ini.get("admin_users") else { return };
    let in_url = |user: &str| {
        entries.iter().any(|entry| {
            entry.url.contains(&format!("://{}:", encoded(user))) || entry.url.contains(&format!("://{}@", encoded(user)))
        })
    };
    let known = |user: &str| ini.get("auth_query").is_some() || logins.iter().any(|(name, _)| name == user) || in_url(user);
    let users = users.split(',').map(str::trim).filter(|user| !user.is_empty());
    let (known, unknown): (Vec<_>, Vec<_>) = users.map(str::to_owned).partition(|user| known(user));
    for user in unknown {
        draft.note(format!(
            "admin_users: {user} has no password in auth_file and cannot log in; add a [[user]] to let it use the console"
        ));
    }
    if !known.is_empty() {
        draft.set("auth", "console_users", known);
    }
}

/// A database in the making.
struct Entry {
    name: String,
    url: String,
    /// It is called as it is on the server.
    own_name: bool,
    size: Option<i64>,
}

/// There is always an upstream: it is called as on the server, and takes `[pool] size`. The entry that fits that best is it.
fn place(mut entries: Vec<Entry>, draft: &mut Draft) {
    let best = entries.iter().position(|entry| entry.own_name && entry.size.is_none());
    let at = best.or_else(|| entries.iter().position(|entry| entry.own_name)).unwrap_or(0);
    let Some(first) = entries.get(at) else { return };
    draft.set("upstream", "url", first.url.clone());
    if first.own_name {
        let first = entries.remove(at);
        if let Some(size) = first.size {
            let usual = draft.sections.get("pool").and_then(|pool| pool.get("size")).and_then(Value::as_integer);
            entries.iter_mut().for_each(|entry| entry.size = entry.size.or(usual));
            draft.set("pool", "size", size);
        }
    } else {
        let name = &first.name;
        draft.note(format!("database {name}: pgdial serves it under the name it has on the server as well"));
    }
    for entry in entries {
        let mut database = Table::new();
        database.insert("name".into(), entry.name.into());
        database.insert("url".into(), entry.url.into());
        if let Some(size) = entry.size {
            database.insert("pool_size".into(), size.into());
        }
        draft.databases.push(database);
    }
}

/// The users of auth_file; one whose password is empty is kept out by PgBouncer too.
fn logins(ini: &Ini, path: &Path, read: &dyn Fn(&Path) -> io::Result<String>, draft: &mut Draft) -> Vec<(String, String)> {
    let Some(file) = ini.get("auth_file") else { return Vec::new() };
    let logins = match read(&ini::beside(path, file)) {
        Ok(text) => ini::logins(&text),
        Err(error) => {
            draft.note(format!("auth_file = {file}: cannot be read ({error}); add its users as [[user]]"));
            return Vec::new();
        }
    };
    let mut seen = Vec::new();
    for (name, password) in logins {
        if seen.iter().any(|(known, _)| *known == name) {
            continue;
        }
        if password.starts_with("md5") || password.starts_with("SCRAM-SHA-256$") {
            draft.note(format!(
                "user {name}: a hashed password lets the user in, but may not do to log in to Postgres: check that, or give the password itself"
            ));
        }
        seen.push((name, password));
    }
    let scram = seen.iter().any(|(_, password)| password.starts_with("SCRAM-SHA-256$"));
    if scram && ini.get("auth_type").unwrap_or("md5") == "md5" {
        draft.set("auth", "method", "scram-sha-256");
        draft.note("auth_type = md5: the users have SCRAM verifiers, so the method is scram-sha-256, as PgBouncer does");
    }
    seen
}

fn limits_of(name: &str, pairs: &[(String, String)], draft: &mut Draft) {
    let mut limits = Vec::new();
    for (key, value) in pairs {
        match (key.as_str(), value.parse::<i64>()) {
            ("pool_size", Ok(size)) if size > 0 => limits.push(("pool_size", size)),
            ("max_user_client_connections", Ok(count)) if count > 0 => limits.push(("max_clients", count)),
            ("pool_size" | "max_user_client_connections", _) => {}
            ("max_user_connections", _) => {
                draft.note(format!("user {name}: max_user_connections: servers are limited per (database, user): pool_size"));
            }
            (other, _) => draft.note(format!("user {name}: {other}: there is no such setting for one user")),
        }
    }
    if limits.is_empty() {
        return;
    }
    let known = draft.users.iter().position(|user| user.get("name").and_then(Value::as_str) == Some(name));
    let at = known.unwrap_or_else(|| {
        let user = [("name".to_owned(), Value::String(name.to_owned()))];
        draft.users.push(user.into_iter().collect());
        draft.users.len() - 1
    });
    if let Some(user) = draft.users.get_mut(at) {
        user.extend(limits.into_iter().map(|(key, value)| (key.to_owned(), Value::Integer(value))));
    }
}

/// As whom pgdial logs in where the file does not say.
fn fallback_user(ini: &Ini, logins: &[(String, String)], draft: &mut Draft) -> String {
    let unnamed = ini.databases.iter().any(|(_, pairs)| !pairs.iter().any(|(key, _)| key == "user"));
    let plain = logins
        .iter()
        .find(|(_, password)| !password.is_empty() && !password.starts_with("md5") && !password.starts_with("SCRAM-"));
    let user = ini.get("auth_user").map(str::to_owned).or_else(|| plain.or_else(|| logins.first()).map(|(name, _)| name.clone()));
    let user = user.unwrap_or_else(|| "postgres".to_owned());
    if unnamed {
        draft.note(format!(
            "databases without user=: each client logs in to Postgres as itself; {user} stands in their URLs for pgdial's own work"
        ));
    }
    user
}

fn url(name: &str, pairs: &[(String, String)], fallback: &str, logins: &[(String, String)], draft: &mut Draft) -> String {
    let get = |wanted: &str| pairs.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
    let user = get("user").unwrap_or(fallback);
    if get("user").is_some() {
        draft.note(format!(
            "database {name}: user={user}: pgdial logs in to Postgres under the client's own name; clients must log in as {user}"
        ));
    }
    let own = logins.iter().find(|(login, _)| login == user).map(|(_, password)| password.as_str());
    let password = get("password").or(own).unwrap_or_default();
    let hosts = get("host").unwrap_or_default();
    let host = hosts.split(',').next().unwrap_or_default();
    if hosts.contains(',') {
        draft.note(format!("database {name}: pgdial does not choose among several hosts: {host} is taken"));
    }
    let port = get("port").unwrap_or("5432").split(',').next().unwrap_or("5432");
    let mut url = format!("postgres://{}", encoded(user));
    // A hash is no password to show to Postgres.
    if !password.is_empty() && !password.starts_with("md5") && !password.starts_with("SCRAM-SHA-256$") {
        let _ = write!(url, ":{}", encoded(password));
    }
    let database = encoded(get("dbname").unwrap_or(name));
    let _ = match host {
        "" => write!(url, "@/{database}?host=/var/run/postgresql&port={port}"),
        dir if dir.starts_with('/') => write!(url, "@/{database}?host={}&port={port}", encoded(dir)),
        v6 if v6.contains(':') => write!(url, "@[{v6}]:{port}/{database}"),
        host => write!(url, "@{}:{port}/{database}", encoded(host)),
    };
    url
}

fn notes_on(name: &str, pairs: &[(String, String)], mode: &str, draft: &mut Draft) {
    for (key, value) in pairs {
        if key == "pool_mode" && value == mode {
            continue;
        }
        if let Some((_, why)) = WITHOUT.iter().find(|(known, _)| known == key) {
            draft.note(format!("database {name}: {key}={value}: {why}"));
        } else if !["host", "port", "dbname", "user", "password", "pool_size"].contains(&key.as_str()) {
            draft.note(format!("database {name}: {key}: not known to pgdial import; it was left out"));
        }
    }
}

/// As a URL wants it.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
