//! Reading the tree as text: files, lines of code, imports, config keys, words of enums.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files under a directory whose name ends so, as paths from the root, sorted.
pub(crate) fn files(directory: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(directory)];
    while let Some(next) = todo.pop() {
        let Ok(entries) = fs::read_dir(&next) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                todo.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(from_root(&path));
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn from_root(path: &Path) -> String {
    let relative: PathBuf = path.strip_prefix(root()).unwrap().into();
    relative.to_string_lossy().replace('\\', "/")
}

/// `src/cache/store.rs` and `src/cache.rs` are of module cache.
pub(crate) fn module(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

pub(crate) fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Lines of code with their numbers: comments are cut off, and all after a test module inside the file.
pub(crate) fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate();
    let product = lines.take_while(|(_, line)| !line.starts_with("mod tests {"));
    product.map(|(nth, line)| (nth + 1, line.split("//").next().unwrap_or("")))
}

pub(crate) fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "\n{rule}\n  {}\n", broken.join("\n  "));
}

/// `crate::a::b`, `crate::{a, b::{c}}`, `pgdial::a`: the modules of this crate that a line names.
pub(crate) fn imported(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for start in ["crate::", "pgdial::"] {
        for (at, _) in text.match_indices(start) {
            let line = text[..at].matches('\n').count() + 1;
            let boundary = text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '$');
            let rest = &text[at + start.len()..];
            if boundary {
                found.extend(heads(rest).into_iter().map(|name| (line, name)));
            }
        }
    }
    found
}

/// The first path segments of `a::b` or `{a, b::{c, d}}`.
pub(crate) fn heads(rest: &str) -> Vec<String> {
    let word = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else {
        return vec![word(rest)];
    };
    let (mut depth, mut item, mut items) = (1, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => items.push(std::mem::take(&mut item)),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        item.push(c);
    }
    items.push(item);
    items.iter().map(|item| word(item.trim_start_matches(','))).filter(|name| !name.is_empty()).collect()
}

/// All keys as `cache.rule.ttl = "5m"`, without the places in arrays of tables.
pub(crate) fn flat(path: &str, table: &Table, out: &mut BTreeSet<String>) {
    for (name, value) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Table(table) => flat(&path, table, out),
            Value::Array(items) if items.iter().any(Value::is_table) => {
                items.iter().filter_map(Value::as_table).for_each(|table| flat(&path, table, out));
            }
            leaf => {
                out.insert(format!("{path} = {leaf}"));
            }
        }
    }
}

/// The sample file with its examples (`#key = value`, no space behind the `#`) switched on.
pub(crate) fn sample_file() -> String {
    let lines = read("config/pgdial.toml");
    let lines = lines.lines().map(|line| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') => format!("{example}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// The words of `impl <name> { .. fn as_str(self) .. { match self { Self::X => "word", .. } } }`.
pub(crate) fn words(text: &str, name: &str) -> BTreeSet<String> {
    let Some((_, body)) = text.split_once(&format!("\nimpl {name} {{")) else {
        return BTreeSet::new();
    };
    let body = body.split_once("\n}\n").map_or(body, |(body, _)| body);
    let Some((_, as_str)) = body.split_once("fn as_str(") else {
        return BTreeSet::new();
    };
    let as_str = as_str.split_once("\n    }\n").map_or(as_str, |(inner, _)| inner);
    let arms = as_str.split("=>").skip(1).filter_map(|arm| arm.split('"').nth(1));
    arms.map(str::to_owned).collect()
}

/// The first code word of each table row below the heading that names the enum.
pub(crate) fn documented(text: &str, name: &str) -> BTreeSet<String> {
    let section = text.lines().skip_while(|line| !(line.starts_with('#') && line.contains(&format!("`{name}`"))));
    let rows = section.skip(1).take_while(|line| !line.starts_with('#')).filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next()).map(str::to_owned).collect()
}
