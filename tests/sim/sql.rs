//! The few statements that the model understands. Every one is real SQL, since the engine reads it with the real grammar.

/// What a text does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Empty,
    Const(String),
    Long(String),
    Series(String, usize),
    Read(u8, Key),
    Write(u8, Key),
    DivideByZero,
    Warn(String),
    Begin,
    Commit,
    Rollback,
    CopyIn(u8),
    CopyOut(String),
    SetName(String),
    ShowName,
    DiscardAll,
    DeallocateAll,
    DiscardSequences,
    Prepare(String, Box<Self>),
    Execute(String),
    Deallocate(String),
    /// Refused when it is analysed.
    Unknown,
}

/// Whose row: named in the text, or by the first parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Key {
    Text(String),
    Parameter,
}

impl Op {
    /// One statement.
    pub(crate) fn parse(text: &str) -> Self {
        let quoted = || text.split('\'').nth(1).unwrap_or_default().to_owned();
        let table = |word: &str| text.split(word).nth(1).and_then(|rest| rest.as_bytes().first()).map_or(0, |digit| digit - b'0');
        let key = || if text.contains("$1") { Key::Parameter } else { Key::Text(quoted()) };
        let last = || text.rsplit(' ').next().unwrap_or_default().to_owned();
        let starts = |word: &str| text.starts_with(word);
        match text {
            "" => Self::Empty,
            "begin" => Self::Begin,
            "commit" => Self::Commit,
            "rollback" => Self::Rollback,
            "discard all" => Self::DiscardAll,
            "deallocate all" => Self::DeallocateAll,
            // pgdial's own; the model has no sequences.
            "DISCARD SEQUENCES" => Self::DiscardSequences,
            "show application_name" => Self::ShowName,
            "select 1/0" => Self::DivideByZero,
            _ if starts("select v from kv") => Self::Read(table("from kv"), key()),
            _ if starts("update kv") => Self::Write(table("update kv"), key()),
            _ if starts("select repeat(") => Self::Long(quoted()),
            _ if starts("select warn(") => Self::Warn(quoted()),
            _ if starts("select '") && text.contains("generate_series") => {
                let rows = text.rsplit(", ").next().and_then(|end| end.trim_end_matches(')').parse().ok());
                Self::Series(quoted(), rows.unwrap_or(1))
            }
            _ if starts("select '") => Self::Const(quoted()),
            _ if starts("copy kv") && text.ends_with("stdin") => Self::CopyIn(table("copy kv")),
            _ if starts("copy (select '") => Self::CopyOut(quoted()),
            _ if starts("set application_name") => Self::SetName(quoted()),
            // pgdial's own stand-in.
            _ if starts("prepare ") && text.ends_with(") as select $1") => {
                let name = text.split(' ').nth(1).unwrap_or_default().to_owned();
                Self::Prepare(name, Box::new(Self::Const("stand-in".to_owned())))
            }
            _ if starts("prepare ") => {
                let name = text.split(' ').nth(1).unwrap_or_default().to_owned();
                Self::Prepare(name, Box::new(Self::parse(text.split_once(" as ").map_or("", |(_, inner)| inner))))
            }
            _ if starts("execute ") => Self::Execute(last()),
            _ if starts("deallocate ") => Self::Deallocate(last()),
            _ => Self::Unknown,
        }
    }

    /// Allowed in a failed transaction.
    pub(crate) fn is_exit(&self) -> bool {
        matches!(self, Self::Commit | Self::Rollback)
    }

    pub(crate) fn parameters(&self) -> usize {
        usize::from(matches!(self, Self::Read(_, Key::Parameter) | Self::Write(_, Key::Parameter)))
    }

    /// Has a RowDescription.
    pub(crate) fn returns_rows(&self) -> bool {
        matches!(
            self,
            Self::Const(_)
                | Self::Long(_)
                | Self::Series(..)
                | Self::Read(..)
                | Self::DivideByZero
                | Self::Warn(_)
                | Self::ShowName
        )
    }
}
