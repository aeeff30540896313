//! The house rules as a test: a plain scan of the text, so that a rule that is broken names its file and line.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and its helpers do so for it"
)]

use std::collections::BTreeSet;

use toml::Table;

#[path = "tidy/scan.rs"]
mod scan;

use scan::*;

/// Module and floor. A module that is not listed is not allowed to exist.
const FLOORS: &[(&str, u8)] = &[
    ("pg", 0),
    ("wire", 0),
    ("error", 0),
    ("metrics", 0),
    ("config", 0),
    ("auth", 1),
    ("query", 1),
    ("session", 1),
    ("plan", 1),
    ("cache", 1),
    ("invalidation", 1),
    ("listen", 1),
    ("pool", 1),
    ("engine", 2),
    ("net", 3),
    ("server", 3),
    ("catalog", 3),
    ("feed", 3),
    ("admin", 3),
    ("client", 4),
    ("app", 5),
    ("demo", 5),
    ("explain", 5),
    ("import", 5),
    ("logging", 5),
    ("main", 5),
    ("source", 5),
    ("triggers", 5),
];

/// Who may import whom on the same floor, besides the wiring on floor 5.
const EDGES: &[(&str, &str)] = &[
    ("wire", "pg"),
    ("error", "wire"),
    ("error", "pg"),
    ("config", "error"),
    ("config", "pg"),
    ("plan", "query"),
    ("session", "plan"),
    ("session", "query"),
    ("cache", "query"),
    ("cache", "invalidation"),
    ("invalidation", "query"),
    ("server", "net"),
    ("feed", "server"),
    ("feed", "net"),
    ("admin", "server"),
];

/// What floors 0 to 2 must not contain: time, randomness and sockets come in as arguments.
const IMPURE: &[&str] = &[
    "tokio::net",
    "tokio::io",
    "tokio::time",
    "tokio::fs",
    "tokio::spawn",
    "tokio::task",
    "std::fs",
    "std::thread",
    "std::env",
    "net::TcpStream",
    "net::TcpListener",
    "net::UdpSocket",
    "Instant::now",
    "SystemTime::now",
    "SystemRandom::new",
    "rand::",
];

const MAX_LINES: usize = 500;

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

#[test]
fn a_module_imports_only_from_below() {
    let mut broken = Vec::new();
    for path in files("src", ".rs").iter().filter(|path| *path != "src/lib.rs" && !is_test_file(path)) {
        let own = module(path);
        let Some(own_floor) = floor(own) else {
            broken.push(format!("{path}: the module {own} has no floor in tests/tidy.rs"));
            continue;
        };
        let text: String = code(&read(path)).map(|(_, line)| format!("{line}\n")).collect();
        for (line, name) in imported(&text) {
            let Some(other) = floor(&name) else { continue };
            let edge = own_floor == 5 && other == 5 || EDGES.contains(&(own, name.as_str()));
            if name != own && other >= own_floor && !edge {
                broken.push(format!("{path}:{line}: {own} (floor {own_floor}) imports {name} (floor {other})"));
            }
        }
    }
    assert_none("a module imports only from lower floors, or along the edges in tests/tidy.rs", &broken);
}

#[test]
fn no_io_and_no_clock_below_floor_three() {
    let mut broken = Vec::new();
    for path in files("src", ".rs").iter().filter(|path| !is_test_file(path)) {
        if floor(module(path)).is_none_or(|floor| floor > 2) {
            continue;
        }
        for (line, text) in code(&read(path)) {
            let words = IMPURE.iter().filter(|word| text.contains(**word));
            broken.extend(words.map(|word| format!("{path}:{line}: {word}")));
        }
    }
    assert_none("floors 0 to 2 hold no IO, clock or randomness: take it as an argument", &broken);
}

#[test]
fn every_file_begins_with_its_role_and_floor() {
    let mut broken = Vec::new();
    for path in files("src", ".rs").iter().chain(&files("tests", ".rs")).chain(&files("benches", ".rs")) {
        let text = read(path);
        let first = text.lines().next().unwrap_or("");
        if !first.starts_with("//! ") {
            broken.push(format!("{path}:1: begin with `//! `, the floor and the role"));
        } else if let Some(floor) = floor(module(path)).filter(|_| path.starts_with("src/")) {
            let own = format!("//! Floor {floor}. ");
            if !first.starts_with(&own) {
                broken.push(format!("{path}:1: begin with `{own}`, then the role"));
            }
        }
    }
    assert_none("each file says what it is", &broken);
}

#[test]
fn files_stay_short() {
    let all = files("src", ".rs").into_iter().chain(files("tests", ".rs")).chain(files("benches", ".rs"));
    let lines = all.map(|path| (read(&path).lines().count(), path));
    let broken: Vec<_> =
        lines.filter(|(lines, _)| *lines > MAX_LINES).map(|(lines, path)| format!("{path}: {lines} lines")).collect();
    assert_none("a file has at most 500 lines: cut it where its parts meet", &broken);
}

#[test]
fn the_sample_config_holds_every_key_with_its_default() {
    let (mut in_file, mut in_program) = (BTreeSet::new(), BTreeSet::new());
    let parsed: Table = sample_file().parse().unwrap_or_else(|error| panic!("config/pgdial.toml: {error}"));
    flat("", &parsed, &mut in_file);
    flat("", &pgdial::config::schema(), &mut in_program);
    let missing = in_program.difference(&in_file).map(|line| format!("the program has, the file has not: {line}"));
    let extra = in_file.difference(&in_program).map(|line| format!("the file has, the program has not: {line}"));
    assert_none("config/pgdial.toml holds every key, with the program's default", &missing.chain(extra).collect::<Vec<_>>());
}

#[test]
fn every_config_key_says_why_it_is_there() {
    let sample = sample_file();
    let bare = sample.lines().filter(|line| line.contains(" = ") && !line.starts_with('#') && !line.contains(" # "));
    let broken: Vec<_> = bare.map(|line| format!("config/pgdial.toml: {line}")).collect();
    assert_none("each key has its reason beside it", &broken);
}

#[test]
fn the_shipped_configs_load() {
    let mut broken = Vec::new();
    for path in files("config", ".toml") {
        let text = read(&path);
        let file = pgdial::config::File { name: &path, text: &text };
        let url = ("DATABASE_URL".to_owned(), "postgres://app:secret@db/app".to_owned());
        if let Err(error) = pgdial::config::Config::load(Some(file), None, [url]) {
            broken.push(error.to_string());
        }
    }
    assert_none("the files in config/ work as they are", &broken);
}

#[test]
fn every_reason_is_documented() {
    let mut broken = Vec::new();
    for (name, directory) in [("NoCache", "src/cache"), ("Pin", "src/session")] {
        let sources = files(directory, ".rs");
        let found: BTreeSet<String> = sources.iter().flat_map(|path| words(&read(path), name)).collect();
        let declared = sources.iter().any(|path| read(path).contains(&format!("pub enum {name} ")));
        if found.is_empty() {
            if declared {
                broken.push(format!("{directory}: {name} has no `fn as_str` with arms `=> \"word\"` that this test can read"));
            }
            continue;
        }
        let text = read("docs/CONSISTENCY.md");
        let rows = documented(&text, name);
        let missing =
            found.difference(&rows).map(|word| format!("docs/CONSISTENCY.md: no row `{word}` under a heading with `{name}`"));
        let extra = rows.difference(&found).map(|word| format!("docs/CONSISTENCY.md: `{word}` is no {name} of the program"));
        broken.extend(missing.chain(extra));
    }
    assert_none("each reason has a row, each row a reason", &broken);
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let mut section = "";
    let mut broken = Vec::new();
    for (nth, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && line.contains(" = ") && !line.starts_with('#') && !line.contains(" # ") {
            broken.push(format!("Cargo.toml:{}: {line}", nth + 1));
        }
    }
    assert_none("each dependency has a comment that says what it is for", &broken);
}

#[test]
fn visibility_and_imports_stay_plain() {
    let mut broken = Vec::new();
    for path in files("src", ".rs").iter().filter(|path| !is_test_file(path)) {
        for (line, text) in code(&read(path)) {
            for word in ["pub(in ", "use super::*", "static mut "] {
                if text.contains(word) {
                    broken.push(format!("{path}:{line}: {word}"));
                }
            }
        }
    }
    assert_none("no glob of the parent, no pub(in path), no global state", &broken);
}

#[test]
fn no_test_is_skipped() {
    // Written in two parts, so that this line is not found itself.
    let mark = format!("#[{}", "ignore");
    let mut broken = Vec::new();
    for path in files("src", ".rs").iter().chain(&files("tests", ".rs")) {
        let text = read(path);
        let lines = text.lines().enumerate().filter(|(_, line)| line.contains(&mark));
        broken.extend(lines.map(|(nth, _)| format!("{path}:{}", nth + 1)));
    }
    assert_none("a test that is not run is no test", &broken);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let roots: Vec<String> = ["home", "Users", "root", "work"].iter().map(|name| format!("/{name}/")).collect();
    let mut paths: Vec<String> =
        ["Cargo.toml", "Makefile", "Dockerfile", "docker-compose.yml", "README.md", "CHANGELOG.md", ".ci/run"]
            .iter()
            .map(|path| (*path).to_owned())
            .filter(|path| root().join(path).exists())
            .collect();
    for directory in ["src", "tests", "benches", "config", "sql", "docs", "scripts"] {
        for ending in [".rs", ".toml", ".md", ".sql", ".wire", ".sh", ".py", ".js", ".html"] {
            paths.extend(files(directory, ending).into_iter().filter(|path| !path.contains("/node_modules/")));
        }
    }
    let mut broken = Vec::new();
    for path in paths {
        let text = read(&path);
        for (nth, line) in text.lines().enumerate() {
            // A path begins after a blank, a quote or a bracket; inside an address it is none.
            let begins = |at: usize| line[..at].chars().next_back().is_none_or(|c| " \"'`(=:".contains(c));
            let named = roots.iter().any(|root| line.match_indices(root.as_str()).any(|(at, _)| begins(at)));
            if named {
                broken.push(format!("{path}:{}: {}", nth + 1, line.trim()));
            }
        }
    }
    assert_none("no path of a developer's machine", &broken);
}

#[test]
fn the_readme_names_the_two_commands() {
    let readme = read("README.md");
    let makefile = read("Makefile");
    for command in ["run", "test"] {
        assert!(readme.contains(&format!("make {command}")), "README.md does not mention `make {command}`");
        assert!(makefile.lines().any(|line| line.starts_with(&format!("{command}:"))), "Makefile has no target {command}");
    }
}
