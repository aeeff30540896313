//! Floor 3. What the operator wrote, made into a command; what is not one is refused with what is possible.

use crate::error::Error;

use super::drivers;
use super::show::{self, Shown};
use super::table::Type;
use super::{Order, Purge, Shutdown, refusal};

/// One statement.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Nothing but white space and comments.
    Empty,
    /// A table.
    Show(&'static Shown),
    Help,
    /// One value, for drivers that ask for settings of Postgres.
    Answer {
        column: &'static str,
        value: String,
        tag: &'static str,
    },
    /// Nothing is done, and the tag says that it was: for drivers that set up their session.
    Done(&'static str),
    Begin,
    Commit,
    Rollback,
    Order(Order),
}

impl Command {
    /// The columns of its result.
    pub(super) fn columns(&self) -> Option<Vec<(&'static str, Type)>> {
        match self {
            Self::Show(shown) => Some(shown.columns.to_vec()),
            Self::Answer { column, .. } => Some(vec![(*column, Type::Text)]),
            Self::Empty | Self::Help | Self::Done(_) | Self::Begin | Self::Commit | Self::Rollback | Self::Order(_) => None,
        }
    }
}

/// A piece of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// As written; keywords are compared without case, names are taken as they are, as in PgBouncer.
    Word(String),
    /// In double quotes.
    Name(String),
    /// In single quotes.
    Text(String),
    Symbol(char),
}

impl Token {
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own.eq_ignore_ascii_case(word))
    }

    /// A database, user or table.
    fn name(&self) -> Option<String> {
        match self {
            Self::Word(name) | Self::Name(name) | Self::Text(name) => Some(name.clone()),
            Self::Symbol(_) => None,
        }
    }
}

/// The statements of a text; empty ones between semicolons are left out.
pub(super) fn parse(text: &str) -> Result<Vec<Command>, Error> {
    let tokens = tokens(text)?;
    let statements = tokens.split(|token| *token == Token::Symbol(';')).filter(|tokens| !tokens.is_empty());
    let commands = statements.map(|tokens| command(tokens).map_err(|error| with_text(error, text)));
    commands.collect()
}

fn command(tokens: &[Token]) -> Result<Command, Error> {
    let Some((verb, rest)) = tokens.split_first() else { return Ok(Command::Empty) };
    let Token::Word(word) = verb else { return Err(unknown()) };
    if let Some(known) = drivers::command(&word.to_ascii_lowercase(), rest) {
        return known;
    }
    let order = match word.to_ascii_lowercase().as_str() {
        // PgBouncer takes SELECT for SHOW.
        "show" => return show(rest),
        "select" => return show(rest).map_err(|_| unknown()),
        "pause" => Order::Pause(maybe_database(rest)?),
        "resume" => Order::Resume(maybe_database(rest)?),
        "reconnect" => Order::Reconnect(maybe_database(rest)?),
        "kill" => Order::Kill(maybe_database(rest)?),
        "wait_close" => Order::WaitClose(maybe_database(rest)?),
        "disable" => Order::Disable(database("DISABLE", rest)?),
        "enable" => Order::Enable(database("ENABLE", rest)?),
        "kill_client" => Order::KillClient(client(rest)?),
        "reload" if rest.is_empty() => Order::Reload,
        "shutdown" => Order::Shutdown(shutdown(rest)?),
        "purge" => Order::Purge(purge(rest)?),
        "suspend" => return Err(refusal(*b"0A000", "pgdial has no SUSPEND: it does not hand its sockets to another process")),
        "set" => return Err(drivers::unknown_setting()),
        _ => return Err(unknown()),
    };
    Ok(Command::Order(order))
}

fn show(rest: &[Token]) -> Result<Command, Error> {
    let [Token::Word(name) | Token::Name(name)] = rest else { return Err(unknown_show()) };
    if name.eq_ignore_ascii_case("help") {
        return Ok(Command::Help);
    }
    show::find(name).map(Command::Show).ok_or_else(unknown_show)
}

fn maybe_database(rest: &[Token]) -> Result<Option<String>, Error> {
    match rest {
        [] => Ok(None),
        [token] => token.name().map(Some).ok_or_else(unknown),
        _ => Err(unknown()),
    }
}

fn database(verb: &str, rest: &[Token]) -> Result<String, Error> {
    let missing = || refusal(*b"42601", format!("a database is required: {verb} <database>; SHOW DATABASES lists them"));
    maybe_database(rest)?.ok_or_else(missing)
}

fn client(rest: &[Token]) -> Result<i32, Error> {
    let number = match rest {
        [Token::Word(text) | Token::Text(text)] => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| refusal(*b"42601", "KILL_CLIENT takes the id of a client: the column id of SHOW CLIENTS"))
}

fn shutdown(rest: &[Token]) -> Result<Shutdown, Error> {
    match rest {
        [] => Ok(Shutdown::Now),
        [mode] if mode.is("wait_for_servers") => Ok(Shutdown::WaitForServers),
        [mode] if mode.is("wait_for_clients") => Ok(Shutdown::WaitForClients),
        _ => Err(refusal(*b"42601", "SHUTDOWN stands alone, or with WAIT_FOR_SERVERS or WAIT_FOR_CLIENTS")),
    }
}

/// `PURGE ALL`, `PURGE TABLE name`, `PURGE TAG name`; a name may be `schema.table`, each part in quotes or not.
fn purge(rest: &[Token]) -> Result<Purge, Error> {
    match rest {
        [all] if all.is("all") => return Ok(Purge::All),
        [kind, tag] if kind.is("tag") => return tag.name().map(Purge::Tag).ok_or_else(unknown),
        [kind, name @ ..] if kind.is("table") => {
            let parts: Option<Vec<_>> = match name {
                [one] => one.name().map(|name| vec![name]),
                [schema, Token::Symbol('.'), table] => schema.name().zip(table.name()).map(|(a, b)| vec![a, b]),
                _ => None,
            };
            if let Some(parts) = parts {
                return Ok(Purge::Table(parts.join(".")));
            }
        }
        _ => {}
    }
    Err(refusal(*b"42601", "PURGE ALL, PURGE TABLE <name> or PURGE TABLE <schema>.<name>"))
}

fn unknown() -> Error {
    refusal(*b"42601", "invalid command").with_hint(
        "Possible are SHOW <what>, PAUSE, RESUME, RECONNECT, KILL, WAIT_CLOSE (each with a database or for all), DISABLE, ENABLE, \
         KILL_CLIENT, RELOAD, SHUTDOWN, PURGE. SHOW HELP explains. This is pgdial's console: SQL is for the other databases.",
    )
}

fn unknown_show() -> Error {
    let names: Vec<_> = show::ALL.iter().map(|shown| shown.name.to_ascii_uppercase()).collect();
    refusal(*b"42601", "invalid command").with_hint(format!("SHOW takes one of HELP, {}.", names.join(", ")))
}

/// PgBouncer's message, and what was written.
fn with_text(error: Error, text: &str) -> Error {
    if error.message() != "invalid command" {
        return error;
    }
    let shown: String = text.trim().chars().take(MAX_SHOWN).collect();
    let message = format!("invalid command '{shown}', use SHOW HELP;");
    let hint = error.hint().unwrap_or_default().to_owned();
    refusal(error.sqlstate().0, message).with_hint(hint)
}

/// The words of a text, comments left out.
fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, behind)| behind);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").ok_or_else(|| refusal(*b"42601", "unterminated /* comment"))?.1;
        } else if first == '"' || first == '\'' {
            let (quoted, behind) = unquote(rest, first)?;
            tokens.push(if first == '"' { Token::Name(quoted) } else { Token::Text(quoted) });
            rest = behind;
        } else if is_word(first) {
            let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
            tokens.push(Token::Word(word.to_owned()));
            rest = behind;
        } else {
            tokens.push(Token::Symbol(first));
            rest = rest.strip_prefix(first).unwrap_or_default();
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '-')
}

/// Behind the opening quote up to the closing one; a doubled quote is one.
fn unquote(text: &str, quote: char) -> Result<(String, &str), Error> {
    let mut rest = text.strip_prefix(quote).unwrap_or_default();
    let mut out = String::new();
    loop {
        let (part, behind) =
            rest.split_once(quote).ok_or_else(|| refusal(*b"42601", format!("unterminated quoted text: {quote} is missing")))?;
        out.push_str(part);
        match behind.strip_prefix(quote) {
            Some(behind) => {
                out.push(quote);
                rest = behind;
            }
            None => return Ok((out, behind)),
        }
    }
}

const MAX_SHOWN: usize = 200;
