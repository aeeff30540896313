//! Floor 1. Policy: which reads may be answered from memory, and for how long.
//!
//! The first cut takes single SELECTs over plain tables, with Postgres's own immutable functions, operators and types.
//! Everything else has a reason.

use super::reason::NoCache;
use crate::config::{self, Ttl};
use crate::invalidation::{Names, Scope};
use crate::pg::RelationId;
use crate::query::{Effects, Hazard, Obstacle, Relation, RelationName, Snapshot, Statement};

/// `[[cache.rule]]` and `[cache.default]`, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<config::Rule>,
    default: Option<Ttl>,
}

/// What a read depends on and how long its answer is fresh; pure data, see [`super::ReadPlan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Sorted, each once.
    pub relations: Vec<RelationId>,
    /// Fresh for so long.
    pub ttl: Ttl,
    /// The same for an answer without rows.
    pub empty_ttl: Ttl,
    /// The catalog version of the snapshot.
    pub catalog: u64,
}

/// For how long one relation's rows may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Periods {
    ttl: Ttl,
    empty_ttl: Ttl,
}

impl Rules {
    /// The rules of `[cache]`. Rules by `match` are not built yet and name no table.
    pub fn new(cache: &config::Cache) -> Self {
        Self { rules: cache.rules.clone(), default: cache.default_ttl }
    }

    /// The strictest of all rules that name the relation; where none does, the default. A ttl of zero is "not cached",
    /// so that a rule can take one table out of `"*"`.
    fn periods(&self, schema: &str, name: &str) -> Result<Periods, NoCache> {
        let names = |rule: &&config::Rule| rule.tables.iter().any(|table| table.matches(schema, name));
        let mut strictest: Option<Periods> = None;
        for rule in self.rules.iter().filter(names) {
            if rule.revalidate {
                return Err(NoCache::Revalidate);
            }
            let periods = Periods { ttl: rule.ttl, empty_ttl: rule.empty_ttl.unwrap_or(rule.ttl) };
            strictest = Some(strictest.map_or(periods, |known| known.min(periods)));
        }
        let default = self.default.map(|ttl| Periods { ttl, empty_ttl: ttl });
        strictest.or(default).filter(|periods| !is_zero(periods.ttl)).ok_or(NoCache::NoRule)
    }
}

/// What `statement` depends on if it may be answered from memory, or why it may not. The caller has seen to it that the
/// cache is on, the transaction READ COMMITTED and without writes, and every setting that changes output in the key.
pub fn read_plan(statement: &Statement, scope: &Scope<'_>, rules: &Rules) -> Result<Reading, NoCache> {
    by_syntax(statement)?;
    let snapshot = scope.snapshot.ok_or(NoCache::CatalogUnknown)?;
    by_names(statement, snapshot)?;
    if scope.names != Names::AtLogin {
        return Err(NoCache::Temp);
    }
    let mut relations = Vec::with_capacity(statement.reads.len());
    let mut strictest: Option<Periods> = None;
    for name in &statement.reads {
        let Some(relation) = relation_of(name, statement, scope)? else {
            continue;
        };
        let periods = rules.periods(&relation.schema, &relation.name)?;
        strictest = Some(strictest.map_or(periods, |known| known.min(periods)));
        relations.push(relation.id);
    }
    relations.sort_unstable();
    relations.dedup();
    let Periods { ttl, empty_ttl } = strictest.ok_or(NoCache::NoTable)?;
    Ok(Reading { relations, ttl, empty_ttl, catalog: snapshot.version })
}

/// What the text alone tells.
fn by_syntax(statement: &Statement) -> Result<(), NoCache> {
    let checks = [
        (statement.count > 1, NoCache::SeveralStatements),
        (statement.is_opaque(), NoCache::Opaque),
        (statement.locking, NoCache::Locking),
        (!statement.single_read, NoCache::NotARead),
        (statement.may_write || statement.writes_in_cte || !statement.writes.is_empty(), NoCache::NotARead),
        (statement.self_committing, NoCache::NotARead),
        (statement.sampling, NoCache::Sampling),
        (statement.system_columns, NoCache::SystemColumn),
        (statement.time_words, NoCache::TimeWord),
        (statement.value_functions, NoCache::ValueFunction),
        (statement.effects.contains(Effects::TEMP), NoCache::Temp),
        (statement.effects != Effects::NONE, NoCache::SessionState),
    ];
    first(&checks)
}

/// What functions, operators and types may do.
fn by_names(statement: &Statement, snapshot: &Snapshot) -> Result<(), NoCache> {
    match snapshot.obstacle(statement, false) {
        None => Ok(()),
        Some(Obstacle::VolatileFunction) => Err(NoCache::VolatileFunction),
        Some(Obstacle::UserFunction) => Err(NoCache::UserFunction),
        Some(Obstacle::UserOperator) => Err(NoCache::UserOperator),
        Some(Obstacle::UserType) => Err(NoCache::UserType),
        Some(Obstacle::UserCast) => Err(NoCache::UserCast),
    }
}

/// The plain table behind a name; `None` for the name of a common table expression.
fn relation_of<'a>(name: &RelationName, statement: &Statement, scope: &Scope<'a>) -> Result<Option<&'a Relation>, NoCache> {
    if name.schema.as_deref().is_some_and(|schema| schema.starts_with("pg_temp")) {
        return Err(NoCache::Temp);
    }
    match scope.relation(name) {
        Some(relation) => plain(relation).map(Some),
        None if scope.is_cte(name, statement) => Ok(None),
        None => Err(NoCache::UnknownRelation),
    }
}

fn plain(relation: &Relation) -> Result<&Relation, NoCache> {
    let checks = [
        (relation.system, NoCache::SystemRelation),
        (relation.row_security, NoCache::RowSecurity),
        (relation.read_hazard == Some(Hazard::ColumnType), NoCache::UserType),
        (!relation.plain_read, NoCache::NotPlainTable),
    ];
    first(&checks).map(|()| relation)
}

fn first(checks: &[(bool, NoCache)]) -> Result<(), NoCache> {
    checks.iter().find(|(holds, _)| *holds).map_or(Ok(()), |(_, reason)| Err(*reason))
}

impl Periods {
    fn min(self, other: Self) -> Self {
        Self { ttl: self.ttl.min(other.ttl), empty_ttl: self.empty_ttl.min(other.empty_ttl) }
    }
}

fn is_zero(ttl: Ttl) -> bool {
    matches!(ttl, Ttl::For(period) if period.is_zero())
}

#[cfg(test)]
mod tests;
