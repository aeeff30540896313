//! Floor 1. What a text of SQL may do, as far as its syntax tells.

use super::{Body, Effects};

/// A name as it stands in the text, after Postgres's case folding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationName {
    /// The schema, when the text names one.
    pub schema: Option<Box<str>>,
    /// The name itself.
    pub name: Box<str>,
}

/// A function's name in the text.
pub type FunctionName = RelationName;
/// A type's name in the text; array dimensions and modifiers left out.
pub type TypeName = RelationName;
/// An operator's name in the text.
pub type OperatorName = RelationName;

impl RelationName {
    /// A name, with its schema when there is one.
    pub fn new(schema: Option<&str>, name: &str) -> Self {
        Self { schema: schema.filter(|s| !s.is_empty()).map(Into::into), name: name.into() }
    }
}

/// What a text is. A text of several statements is [`Kind::Opaque`]: its parts are united in the other fields of [`Statement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the SQL command of that name")]
pub enum Kind {
    /// Nothing but white space, comments and semicolons.
    Empty,
    /// SELECT, VALUES or TABLE. SELECT .. INTO is [`Kind::Ddl`]: it makes a table.
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    Truncate,
    Copy,
    /// BEGIN or START TRANSACTION.
    Begin,
    /// COMMIT or END.
    Commit,
    /// ROLLBACK or ABORT.
    Rollback,
    Savepoint,
    Release,
    RollbackTo,
    PrepareTransaction,
    CommitPrepared,
    RollbackPrepared,
    /// SET, SET LOCAL, SET ROLE, SET SESSION AUTHORIZATION, SET SESSION CHARACTERISTICS.
    Set,
    Reset,
    Show,
    /// SET TRANSACTION, and SET CONSTRAINTS.
    SetTransaction,
    Prepare,
    Execute,
    Deallocate,
    Discard,
    Declare,
    Fetch,
    ClosePortal,
    Listen,
    Unlisten,
    Notify,
    Explain,
    /// Whatever changes the catalog.
    Ddl,
    Do,
    Call,
    /// VACUUM, ANALYZE, CLUSTER, REINDEX, CHECKPOINT.
    Vacuum,
    Lock,
    Load,
    Other,
    /// Not parsed, or several statements.
    Opaque,
}

impl Kind {
    /// One word, for metrics, logs and docs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Merge => "merge",
            Self::Truncate => "truncate",
            Self::Copy => "copy",
            Self::Begin => "begin",
            Self::Commit => "commit",
            Self::Rollback => "rollback",
            Self::Savepoint => "savepoint",
            Self::Release => "release",
            Self::RollbackTo => "rollback_to",
            Self::PrepareTransaction => "prepare_transaction",
            Self::CommitPrepared => "commit_prepared",
            Self::RollbackPrepared => "rollback_prepared",
            Self::Set => "set",
            Self::Reset => "reset",
            Self::Show => "show",
            Self::SetTransaction => "set_transaction",
            Self::Prepare => "prepare",
            Self::Execute => "execute",
            Self::Deallocate => "deallocate",
            Self::Discard => "discard",
            Self::Declare => "declare",
            Self::Fetch => "fetch",
            Self::ClosePortal => "close_portal",
            Self::Listen => "listen",
            Self::Unlisten => "unlisten",
            Self::Notify => "notify",
            Self::Explain => "explain",
            Self::Ddl => "ddl",
            Self::Do => "do",
            Self::Call => "call",
            Self::Vacuum => "vacuum",
            Self::Lock => "lock",
            Self::Load => "load",
            Self::Other => "other",
            Self::Opaque => "opaque",
        }
    }
}

/// An isolation level as the text names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "Postgres's own words")]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// The options of BEGIN, START TRANSACTION and SET TRANSACTION; `None` = not named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct BeginOptions {
    /// ISOLATION LEVEL.
    pub isolation: Option<Isolation>,
    /// READ ONLY or READ WRITE.
    pub read_only: Option<bool>,
    /// DEFERRABLE or NOT DEFERRABLE.
    pub deferrable: Option<bool>,
}

impl BeginOptions {
    /// A BEGIN without any option.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Transaction control.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TransactionVerb {
    /// BEGIN or START TRANSACTION.
    Begin(BeginOptions),
    /// COMMIT or END, perhaps AND CHAIN.
    Commit {
        /// AND CHAIN: a new transaction with the same options begins at once.
        chain: bool,
    },
    /// ROLLBACK or ABORT, perhaps AND CHAIN.
    Rollback {
        /// AND CHAIN: a new transaction with the same options begins at once.
        chain: bool,
    },
    /// SAVEPOINT name.
    Savepoint(Box<str>),
    /// RELEASE name.
    Release(Box<str>),
    /// ROLLBACK TO name.
    RollbackTo(Box<str>),
    /// PREPARE TRANSACTION gid.
    Prepare(Box<str>),
    /// COMMIT PREPARED gid.
    CommitPrepared(Box<str>),
    /// ROLLBACK PREPARED gid.
    RollbackPrepared(Box<str>),
    /// SET TRANSACTION with its options; also SET TRANSACTION SNAPSHOT (then without options).
    Set(BeginOptions),
}

/// Among [`Statement::settings`]: RESET ALL.
pub const ALL_SETTINGS: &str = "*";

/// One change of a setting, of a text that holds nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SettingVerb {
    /// SET name = value, or name = DEFAULT (`None`).
    Set {
        /// The setting, lower case; `role`, `session_authorization`, `timezone`, .. for the special forms.
        name: Box<str>,
        /// The value as Postgres would store it, list items quoted and joined where needed; `None` = DEFAULT or FROM CURRENT.
        value: Option<Box<str>>,
        /// SET LOCAL.
        local: bool,
    },
    /// RESET name.
    Reset(Box<str>),
    /// RESET ALL.
    ResetAll,
}

/// Where the rows of a COPY go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyKind {
    /// COPY .. FROM STDIN.
    FromStdin,
    /// COPY .. TO STDOUT.
    ToStdout,
    /// A file or a program on the server.
    Server,
}

/// What the whole of a Query's or Parse's text may do, from syntax alone.
///
/// Every list is an over-approximation: it may name more than is touched (CTE names among `reads`), never less.
/// What views, triggers, functions and casts add is the catalog's to say ([`super::Snapshot`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it is.
    pub kind: Kind,
    /// How many statements the text holds.
    pub count: u32,
    /// What may outlive the transaction.
    pub effects: Effects,
    /// Transaction control, when the text is that and nothing else.
    pub transaction: Option<TransactionVerb>,
    /// SET or RESET, when the text is that and nothing else.
    pub setting: Option<SettingVerb>,
    /// The code of a DO, as far as it was understood.
    pub body: Option<Box<Body>>,
    /// The name in PREPARE, EXECUTE or DEALLOCATE, when the text is that and nothing else.
    pub statement_name: Option<Box<str>>,
    /// Settings it may change for the session, lower case. [`ALL_SETTINGS`] = every one that the session has changed.
    pub settings: Vec<Box<str>>,
    /// Settings that users made up and that it changes for its transaction, or for sessions to come. Their names stay known to
    /// this one.
    pub local_settings: Vec<Box<str>>,
    /// Parameters ($1 = 1) that hold the names of such settings.
    pub setting_parameters: Vec<u16>,
    /// Relations it may read.
    pub reads: Vec<RelationName>,
    /// Relations it may write. Empty and `may_write` = unknown ones.
    pub writes: Vec<RelationName>,
    /// Names of common table expressions: an unqualified name in `reads` that is also here may be one of them.
    pub cte_names: Vec<Box<str>>,
    /// Functions, aggregates and window functions it calls by name.
    pub functions: Vec<FunctionName>,
    /// Qualified column references and field selections: Postgres reads `t.f` as `f(t)` where `t` has no column `f`.
    pub fields: Vec<Box<str>>,
    /// Types it names, in casts and elsewhere.
    pub types: Vec<TypeName>,
    /// Operators it names.
    pub operators: Vec<OperatorName>,
    /// FOR UPDATE, FOR SHARE and so on, at any depth.
    pub locking: bool,
    /// CURRENT_DATE, CURRENT_USER and their like.
    pub value_functions: bool,
    /// A string literal that may be read as now, today, tomorrow, yesterday or allballs.
    pub time_words: bool,
    /// A column is set to its DEFAULT.
    pub assigns_default: bool,
    /// INSERT, UPDATE, DELETE or MERGE in a WITH, at any depth.
    pub writes_in_cte: bool,
    /// xmin, ctid, tableoid and their like.
    pub system_columns: bool,
    /// TABLESAMPLE.
    pub sampling: bool,
    /// It looks at `pg_prepared_statements`.
    pub sees_statements: bool,
    /// It looks at what its session is to Postgres: `pg_backend_pid()`, `pg_prepared_statements`, `current_query()`, ..
    pub sees_session: bool,
    /// SET LOCAL, or `set_config()`: for the rest of the transaction names and literals may mean something else.
    pub sets_local: bool,
    /// Channels that LISTEN names.
    pub listens: Vec<Box<str>>,
    /// COPY's other end.
    pub copy: Option<CopyKind>,
    /// Exactly one SELECT, VALUES or TABLE, without INTO, locking clause or data-modifying CTE.
    pub single_read: bool,
    /// Syntax alone does not show that it is a pure read. Functions are judged against the catalog.
    pub may_write: bool,
    /// The highest `$n` that Postgres would find when it is prepared, where that is known.
    pub parameters: Option<u16>,
    /// The normalised text, for statistics and logs: no literals, no comments.
    pub shown: Shown,
    /// It can commit by itself, or may be half done when it fails: CALL, DO, VACUUM, CONCURRENTLY, several statements.
    pub self_committing: bool,
    /// It may leave code behind that later statements run without naming it: a trigger, a view, a default, another body of a function.
    pub hides_code: bool,
    /// It is analysed when it is prepared, and its literals fold then. False of a statement that is only read then, as VACUUM is.
    pub analysed: bool,
}

/// A text to be shown. It is no part of what a statement does: all are equal.
#[derive(Clone, Debug, Default)]
pub struct Shown(Box<str>);

impl Shown {
    /// Of a normalised text: each literal as a question mark, and not more than what fits a table.
    pub(super) fn new(shape: &[u8]) -> Self {
        let head = shape.get(..SHOWN_MAX).unwrap_or(shape);
        let marked: Vec<u8> =
            head.iter().map(|byte| if *byte < b' ' && !byte.is_ascii_whitespace() { b'?' } else { *byte }).collect();
        Self(String::from_utf8_lossy(&marked).trim().into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Shown {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Shown {}

/// Longer texts are cut.
const SHOWN_MAX: usize = 500;

impl Statement {
    /// A text that was not understood: it may have written anything and left anything behind.
    pub fn opaque() -> Self {
        Self {
            effects: Effects::OPAQUE,
            may_write: true,
            self_committing: true,
            hides_code: true,
            locking: true,
            value_functions: true,
            time_words: true,
            writes_in_cte: true,
            system_columns: true,
            sampling: true,
            sees_statements: false,
            sees_session: true,
            sets_local: true,
            parameters: None,
            ..Self::empty(Kind::Opaque)
        }
    }

    /// One that does nothing.
    pub fn of_nothing() -> Self {
        Self::empty(Kind::Other)
    }

    /// A statement of `kind` that does nothing yet.
    pub(super) fn empty(kind: Kind) -> Self {
        Self {
            kind,
            count: 1,
            effects: Effects::NONE,
            transaction: None,
            setting: None,
            body: None,
            statement_name: None,
            settings: Vec::new(),
            local_settings: Vec::new(),
            setting_parameters: Vec::new(),
            reads: Vec::new(),
            writes: Vec::new(),
            cte_names: Vec::new(),
            functions: Vec::new(),
            fields: Vec::new(),
            types: Vec::new(),
            operators: Vec::new(),
            locking: false,
            value_functions: false,
            time_words: false,
            assigns_default: false,
            writes_in_cte: false,
            system_columns: false,
            sampling: false,
            sees_statements: false,
            sees_session: false,
            sets_local: false,
            listens: Vec::new(),
            copy: None,
            single_read: false,
            may_write: false,
            self_committing: false,
            hides_code: false,
            analysed: true,
            parameters: Some(0),
            shown: Shown::default(),
        }
    }

    /// Whether nothing at all is known of it.
    pub fn is_opaque(&self) -> bool {
        self.kind == Kind::Opaque && self.effects.contains(Effects::OPAQUE)
    }

    /// It sets how string literals are read. Until Postgres has answered, no later text can be understood.
    pub fn changes_strings(&self) -> bool {
        match &self.setting {
            Some(SettingVerb::Set { name, .. } | SettingVerb::Reset(name)) => &**name == "standard_conforming_strings",
            Some(SettingVerb::ResetAll) => true,
            None => false,
        }
    }

    /// How many parameters it takes when so many types are declared in its Parse.
    pub fn parameter_count(&self, declared: usize) -> Option<u16> {
        Some(self.parameters?.max(u16::try_from(declared).ok()?))
    }

    /// It may write relations that `writes` does not name.
    pub fn writes_unknown(&self) -> bool {
        self.may_write && self.writes.is_empty()
    }

    /// Memory held by this value, roughly: the shape cache is bounded by bytes.
    pub(super) fn weight(&self) -> usize {
        let names = |list: &[RelationName]| -> usize {
            list.iter().map(|n| 48 + n.name.len() + n.schema.as_ref().map_or(0, |s| s.len())).sum()
        };
        let words = |list: &[Box<str>]| -> usize { list.iter().map(|n| 32 + n.len()).sum() };
        size_of::<Self>()
            + self.shown.0.len()
            + [&self.reads, &self.writes, &self.functions, &self.types, &self.operators].map(|l| names(l)).iter().sum::<usize>()
            + words(&self.cte_names)
            + words(&self.listens)
            + words(&self.fields)
            + words(&self.settings)
            + words(&self.local_settings)
    }
}
