//! Floor 1. The text of `search_path`, cut into schema names as Postgres does.

/// The schemas a `search_path` value names, in order; `None` when Postgres would refuse the value.
/// `$user` stays as it is: whose it is depends on the role.
pub fn parse_search_path(value: &str) -> Option<Vec<Box<str>>> {
    let mut rest = value.trim_start_matches(is_space);
    let mut names = Vec::new();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let (name, after) = next_name(rest)?;
        names.push(name);
        rest = after.trim_start_matches(is_space);
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start_matches(is_space),
            None => return rest.is_empty().then_some(names),
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

fn next_name(text: &str) -> Option<(Box<str>, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted_name(quoted),
        None => {
            let end = text.find(|c| c == ',' || is_space(c)).unwrap_or(text.len());
            let (name, rest) = text.split_at_checked(end)?;
            // Postgres folds ASCII; other letters depend on the server's locale, and such a name is then not found: a miss.
            (!name.is_empty()).then(|| (truncated(name.to_ascii_lowercase()), rest))
        }
    }
}

fn quoted_name(mut rest: &str) -> Option<(Box<str>, &str)> {
    let mut name = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((truncated(name), after)),
        }
    }
}

/// Names are cut at 63 bytes, at a character's edge.
pub(super) fn truncated(mut name: String) -> Box<str> {
    if name.len() > 63 {
        let end = (0..=63).rev().find(|&i| name.is_char_boundary(i)).unwrap_or(0);
        name.truncate(end);
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::parse_search_path;

    #[test]
    fn as_postgres_cuts_it() {
        let cases: [(&str, Option<&[&str]>); 9] = [
            ("", Some(&[])),
            ("public", Some(&["public"])),
            ("\"$user\", public", Some(&["$user", "public"])),
            ("Foo,BAR", Some(&["foo", "bar"])),
            ("\"Foo\" , \"a\"\"b,c\"", Some(&["Foo", "a\"b,c"])),
            ("a,", None),
            ("a b", None),
            ("\"open", None),
            (",", None),
        ];
        for (value, expected) in cases {
            let got = parse_search_path(value);
            let got: Option<Vec<&str>> = got.as_ref().map(|names| names.iter().map(|n| &**n).collect());
            assert_eq!(got.as_deref(), expected, "{value:?}");
        }
    }
}
