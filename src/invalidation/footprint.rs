//! Floor 1. Footprints: which relations a statement may change, from its syntax and the catalog.
//!
//! A footprint may be too large, never too small. What cannot be proven is everything; what may have changed the
//! catalog, user code included, is the catalog as well.

use crate::pg::RelationId;
use crate::query::{CopyKind, Kind, Relation, RelationName, Snapshot, Statement};
use crate::query::{FunctionClass, Hazard, Obstacle};

/// What a write may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Footprint {
    /// Nothing.
    #[default]
    Nothing,
    /// These relations.
    Relations(Relations),
    /// Any relation of the database.
    Everything,
    /// Any relation, and the catalog: names may now mean other relations.
    Catalog,
}

/// A small set of relations, under the catalog that their names were looked up in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relations {
    ids: Vec<RelationId>,
    catalog: u64,
}

/// What names mean in a session at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The catalog; `None` while it is not known.
    pub snapshot: Option<&'a Snapshot>,
    /// The effective search_path.
    pub search_path: &'a [Box<str>],
    /// The effective role.
    pub role: &'a str,
    /// What the session may have done to names.
    pub names: Names,
}

/// How certain it is what a name without a schema means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Names {
    /// What the search_path and the role of its login say.
    AtLogin,
    /// The session, or its transaction, has settings of its own: a relation of that name in any schema.
    AnySchema,
    /// The session has, or may have, a temporary schema, whose relations the catalog does not show.
    AnyOrTemporary,
}

impl Footprint {
    /// The footprint of a write on these relations.
    pub fn of(ids: impl IntoIterator<Item = RelationId>, catalog: u64) -> Self {
        let mut ids: Vec<RelationId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        match ids.len() {
            0 => Self::Nothing,
            1..=MAX_RELATIONS => Self::Relations(Relations { ids, catalog }),
            _ => Self::Everything,
        }
    }

    /// What both may have changed. Lists from two catalogs keep the older version: whoever raises them finds it moved
    /// and takes everything.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        match (self, other) {
            (Self::Catalog, _) | (_, Self::Catalog) => Self::Catalog,
            (Self::Everything, _) | (_, Self::Everything) => Self::Everything,
            (Self::Nothing, other) => other,
            (this, Self::Nothing) => this,
            (Self::Relations(a), Self::Relations(b)) => {
                let catalog = a.catalog.min(b.catalog);
                Self::of(a.ids.into_iter().chain(b.ids), catalog)
            }
        }
    }

    /// Whether nothing can have changed.
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }

    /// The word in logs and explanations.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Relations(_) => "relations",
            Self::Everything => "everything",
            Self::Catalog => "catalog",
        }
    }
}

impl Relations {
    /// Sorted, each once.
    pub fn ids(&self) -> &[RelationId] {
        &self.ids
    }

    /// The version of the catalog that the names were looked up in.
    pub fn catalog(&self) -> u64 {
        self.catalog
    }
}

impl<'a> Scope<'a> {
    /// The relation a name means, if that is certain.
    pub fn relation(&self, name: &RelationName) -> Option<&'a Relation> {
        if self.names != Names::AtLogin && name.schema.is_none() {
            return None;
        }
        self.snapshot?.resolve(name, self.search_path, self.role)
    }

    /// Whether all relations that the name may mean are such, and there is one.
    fn all(&self, name: &RelationName, such: impl Fn(&Relation) -> bool) -> bool {
        if self.names != Names::AnySchema || name.schema.is_some() {
            return self.relation(name).is_some_and(such);
        }
        let mut named = self.snapshot.into_iter().flat_map(|snapshot| snapshot.named(&name.name)).peekable();
        named.peek().is_some() && named.all(such)
    }

    /// Whether a name that means no relation can only be that of a common table expression.
    pub fn is_cte(&self, name: &RelationName, statement: &Statement) -> bool {
        let temp = self.names == Names::AnyOrTemporary || self.search_path.iter().any(|schema| schema.starts_with("pg_temp"));
        let role_is_known = self.snapshot.is_none_or(|snapshot| snapshot.bypasses_row_security(self.role).is_some());
        !temp && role_is_known && name.schema.is_none() && statement.cte_names.contains(&name.name)
    }
}

/// What `statement` may change if it runs to its end. COMMIT is nothing by itself: what it commits was in the footprints of
/// its transaction.
pub fn footprint(statement: &Statement, scope: &Scope<'_>) -> Footprint {
    match statement.kind {
        Kind::Empty
        | Kind::Begin
        | Kind::Commit
        | Kind::Rollback
        | Kind::Savepoint
        | Kind::Release
        | Kind::RollbackTo
        | Kind::PrepareTransaction
        | Kind::RollbackPrepared
        | Kind::Set
        | Kind::Reset
        | Kind::Show
        | Kind::SetTransaction
        | Kind::Deallocate
        | Kind::Discard
        | Kind::Fetch
        | Kind::ClosePortal
        | Kind::Listen
        | Kind::Unlisten
        | Kind::Notify
        | Kind::Lock => Footprint::Nothing,
        // CREATE TABLE AS, EXECUTE: what runs is more than a read or a write of rows.
        Kind::Explain if statement.writes_unknown() => Footprint::Catalog,
        Kind::Select
        | Kind::Insert
        | Kind::Update
        | Kind::Delete
        | Kind::Merge
        | Kind::Truncate
        | Kind::Copy
        | Kind::Declare
        | Kind::Explain
        | Kind::Prepare => by_names(statement, scope),
        // Several statements, all of them understood.
        Kind::Opaque if !statement.is_opaque() && !statement.writes_unknown() => by_names(statement, scope),
        // Whose transaction it was is not known: anything.
        Kind::CommitPrepared
        | Kind::Execute
        | Kind::Ddl
        | Kind::Do
        | Kind::Call
        | Kind::Vacuum
        | Kind::Load
        | Kind::Other
        | Kind::Opaque => Footprint::Catalog,
    }
}

fn by_names(statement: &Statement, scope: &Scope<'_>) -> Footprint {
    if statement.copy == Some(CopyKind::Server) && statement.writes.is_empty() {
        // COPY TO PROGRAM.
        return Footprint::Catalog;
    }
    written(statement, scope).union(called(statement, scope)).union(read(statement, scope))
}

/// The targets, where writing them changes nothing else.
fn written(statement: &Statement, scope: &Scope<'_>) -> Footprint {
    if statement.writes.is_empty() {
        return if statement.may_write { Footprint::Everything } else { Footprint::Nothing };
    }
    let Some(snapshot) = scope.snapshot else {
        return Footprint::Everything;
    };
    let targets = statement
        .writes
        .iter()
        .map(|name| scope.relation(name).filter(|target| target.plain_write && reads_quietly(target, statement)));
    let ids: Option<Vec<RelationId>> = targets.map(|target| Some(target?.id)).collect();
    ids.map_or(Footprint::Everything, |ids| Footprint::of(ids, snapshot.version))
}

/// Functions, operators and types: code of a user may write anything. DDL in it is found by the catalog's drift check, as
/// DDL made elsewhere is: a bump of the catalog for each call would leave no time in which it is known.
fn called(statement: &Statement, scope: &Scope<'_>) -> Footprint {
    let Some(snapshot) = scope.snapshot else {
        return if calls_nothing(statement) { Footprint::Nothing } else { Footprint::Everything };
    };
    if snapshot.obstacle(statement, true) == Some(Obstacle::UserCast) {
        return Footprint::Everything;
    }
    let builtin = statement.operators.iter().all(|name| snapshot.operator_is_builtin(name))
        && statement.types.iter().all(|name| snapshot.type_is_builtin(name))
        && statement.fields.iter().all(|field| snapshot.field_is_plain(field));
    let start = if builtin { Footprint::Nothing } else { Footprint::Everything };
    let functions = statement.functions.iter().map(|name| match snapshot.function_class(name) {
        FunctionClass::Immutable | FunctionClass::BySettings | FunctionClass::Harmless => Footprint::Nothing,
        FunctionClass::Effectful => Footprint::Everything,
        FunctionClass::User | FunctionClass::Unknown => Footprint::Everything,
    });
    functions.fold(start, Footprint::union)
}

/// What is only read still counts if reading it may run code of a user: views, policies, foreign tables.
fn read(statement: &Statement, scope: &Scope<'_>) -> Footprint {
    let harmless = statement.reads.iter().all(|name| {
        let known = match scope.names {
            Names::AtLogin | Names::AnyOrTemporary => scope.relation(name).is_some(),
            Names::AnySchema => scope.all(name, |_| true),
        };
        if known { scope.all(name, |relation| reads_quietly(relation, statement)) } else { scope.is_cte(name, statement) }
    });
    if harmless { Footprint::Nothing } else { Footprint::Everything }
}

/// What the catalog says of names holds for calls over built-in types. Where a relation may have columns of other types,
/// a built-in name may mean code of a user.
fn reads_quietly(relation: &Relation, statement: &Statement) -> bool {
    let table = !relation.row_security && matches!(relation.kind, 'r' | 'p' | 'm' | 'S' | 't');
    let hazard = !matches!(relation.read_hazard, Some(Hazard::Rule | Hazard::RowSecurity | Hazard::UserCode));
    relation.plain_read || relation.system || (table && hazard && calls_nothing(statement))
}

fn calls_nothing(statement: &Statement) -> bool {
    statement.functions.is_empty() && statement.operators.is_empty() && statement.types.is_empty() && statement.fields.is_empty()
}

/// Beyond this a list costs more than it saves.
const MAX_RELATIONS: usize = 64;

#[cfg(test)]
mod tests;
