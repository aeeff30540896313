//! Floor 1. Which settings a client's startup parameters set, read as Postgres reads them.

use super::is_askable;

/// The names of the settings, lower case. `None`: there is something that only a server opened with it has.
pub fn startup_settings<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Vec<Box<str>>> {
    let mut names = Vec::new();
    for (name, value) in parameters {
        if name == "options" {
            names.extend(switches(&words(value))?);
        } else {
            names.push(name.to_ascii_lowercase().into());
        }
    }
    names.sort_unstable();
    names.dedup();
    let settable = |name: &str| is_askable(name) && AT_LOGIN.binary_search(&name).is_err();
    (names.len() <= MAX && names.iter().all(|name| settable(name))).then_some(names)
}

/// White space parts, a backslash takes the next character as it is.
fn words(options: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut characters = options.chars();
    while let Some(c) = characters.next() {
        // As isspace() has it.
        if matches!(c, ' ' | '\t'..='\r') {
            words.extend(word.take());
            continue;
        }
        let plain = if c == '\\' { characters.next() } else { Some(c) };
        word.get_or_insert_default().extend(plain);
    }
    words.extend(word);
    words
}

/// The settings of `-c name=value`, `-cname=value` and `--name=value`. `None`: there are other switches.
fn switches(words: &[String]) -> Option<Vec<Box<str>>> {
    let mut names = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--") {
            Some(long) => long,
            None => match word.strip_prefix("-c")? {
                "" => words.next()?,
                behind => behind,
            },
        };
        let (name, _) = setting.split_once('=')?;
        names.push(name.replace('-', "_").to_ascii_lowercase().into());
    }
    Some(names)
}

/// Looked at when a session begins, and never again.
const AT_LOGIN: [&str; 8] = [
    "ignore_system_indexes",
    "jit_debugging_support",
    "jit_profiling_support",
    "local_preload_libraries",
    "log_connections",
    "log_disconnections",
    "post_auth_delay",
    "session_preload_libraries",
];

/// More than any program asks for.
const MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &str) -> Option<String> {
        startup_settings([("options", options)].into_iter()).map(|names| names.join(" "))
    }

    #[test]
    fn options_are_read_as_postgres_does() {
        let cases = [
            ("", Some("")),
            ("-c work_mem=8MB", Some("work_mem")),
            ("-cwork_mem=8MB", Some("work_mem")),
            ("--work-mem=8MB", Some("work_mem")),
            ("  --Search-Path=a\\ b\t-c my.tenant=x=y ", Some("my.tenant search_path")),
            ("-c search_path=a\\\\b -c search_path=c", Some("search_path")),
            ("-c work\\_mem=1", Some("work_mem")),
            ("-c", None),
            ("-c work_mem", None),
            ("--work_mem", None),
            ("-e", None),
            ("-c work_mem=1 -S 64", None),
            ("work_mem=1", None),
            ("-c log_connections=on", None),
            ("-c \"a b\"=1", None),
        ];
        for (options, names) in cases {
            assert_eq!(of(options).as_deref(), names, "{options}");
        }
    }

    #[test]
    fn a_parameter_is_a_setting() {
        let parameters = [("DateStyle", "German"), ("options", "-c datestyle=ISO"), ("client_encoding", "latin1")];
        let names = startup_settings(parameters.into_iter()).unwrap();
        assert_eq!(names, ["client_encoding".into(), Box::from("datestyle")]);
    }
}
