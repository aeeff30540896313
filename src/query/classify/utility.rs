//! Floor 1. What each command is: its kind, what it leaves behind, what it writes.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CopyStmt, DeclareCursorStmt, DiscardMode, DiscardStmt, DoStmt, ExplainStmt, Node, RangeVar, SelectStmt, TransactionStmt,
    TransactionStmtKind, TruncateStmt,
};
use serde_json::Value;

use super::super::{Body, CopyKind, Effects, Kind, RelationName, Statement, TransactionVerb, scan_body};
use super::{setting, walk};

const CURSOR_OPT_HOLD: i32 = 0x0020;

/// What one statement may do. `None`: its tree could not be read.
#[allow(clippy::wildcard_enum_match_arm, reason = "what is not named here changes the catalog, as far as we know")]
pub(super) fn describe(node: &NodeEnum) -> Option<Statement> {
    let mut found = Statement::empty(Kind::Ddl);
    walk::walk(&serde_json::to_value(node).ok()?, &mut found);
    match node {
        NodeEnum::SelectStmt(_) | NodeEnum::InsertStmt(_) | NodeEnum::UpdateStmt(_) => data(node, &mut found),
        NodeEnum::DeleteStmt(_) | NodeEnum::MergeStmt(_) => data(node, &mut found),
        NodeEnum::TruncateStmt(truncate) => truncated(truncate, &mut found),
        NodeEnum::CopyStmt(copy) => copied(copy, &mut found),
        NodeEnum::TransactionStmt(transaction) => controlled(transaction, &mut found),
        NodeEnum::VariableSetStmt(set) => setting::describe(set, &mut found),
        NodeEnum::DiscardStmt(discard) => discarded(discard, &mut found),
        NodeEnum::DeclareCursorStmt(declare) => declared(declare, &mut found),
        NodeEnum::ExplainStmt(explain) => explained(explain, &mut found),
        NodeEnum::ConstraintsSetStmt(_) => harmless(&mut found, Kind::SetTransaction),
        NodeEnum::VariableShowStmt(_) => harmless(&mut found, Kind::Show),
        NodeEnum::FetchStmt(_) => harmless(&mut found, Kind::Fetch),
        NodeEnum::ClosePortalStmt(_) => harmless(&mut found, Kind::ClosePortal),
        NodeEnum::NotifyStmt(_) => harmless(&mut found, Kind::Notify),
        NodeEnum::LockStmt(_) => harmless(&mut found, Kind::Lock),
        NodeEnum::ListenStmt(listen) => {
            session(&mut found, Kind::Listen, Effects::LISTEN);
            found.listens.push(listen.conditionname.as_str().into());
        }
        NodeEnum::UnlistenStmt(_) => session(&mut found, Kind::Unlisten, Effects::RESTORE),
        // DEALLOCATE ALL needs no name to be known.
        NodeEnum::DeallocateStmt(which) if which.isall || which.name.is_empty() => {
            session(&mut found, Kind::Discard, Effects::RESTORE);
        }
        NodeEnum::DeallocateStmt(which) => {
            found.statement_name = Some(which.name.as_str().into());
            session(&mut found, Kind::Deallocate, Effects::DEALLOCATE);
        }
        NodeEnum::PrepareStmt(prepare) => {
            found.statement_name = Some(prepare.name.as_str().into());
            session(&mut found, Kind::Prepare, Effects::PREPARE);
        }
        // What it runs is in another text.
        NodeEnum::ExecuteStmt(execute) => {
            found.statement_name = Some(execute.name.as_str().into());
            unknown(&mut found, Kind::Execute, Effects::PREPARE, false);
        }
        NodeEnum::LoadStmt(_) => unknown(&mut found, Kind::Load, Effects::LOAD, false),
        NodeEnum::DoStmt(code) => {
            found.body = Some(Box::new(body(code)));
            let names = if handles_statements(code) { Effects::PREPARE | Effects::DEALLOCATE } else { Effects::NONE };
            unknown(&mut found, Kind::Do, names, true);
        }
        // The procedure is among its functions.
        NodeEnum::CallStmt(_) => unknown(&mut found, Kind::Call, Effects::NONE, true),
        NodeEnum::VacuumStmt(_) | NodeEnum::ClusterStmt(_) | NodeEnum::ReindexStmt(_) | NodeEnum::CheckPointStmt(_) => {
            unknown(&mut found, Kind::Vacuum, Effects::NONE, true);
        }
        _ => changed_catalog(node, &mut found),
    }
    if !is_analysed_when_prepared(node) {
        found.parameters = Some(0);
        found.analysed = false;
    }
    settle(&mut found);
    Some(found)
}

/// Postgres looks for parameters in these when they are prepared; what others hold is found when they run. The query
/// inside an EXPLAIN has been judged by itself.
fn is_analysed_when_prepared(node: &NodeEnum) -> bool {
    matches!(
        node,
        NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_)
            | NodeEnum::DeclareCursorStmt(_)
            | NodeEnum::ExplainStmt(_)
            | NodeEnum::CreateTableAsStmt(_)
            | NodeEnum::CallStmt(_)
    )
}

/// What stands in a DO.
#[allow(clippy::wildcard_enum_match_arm, reason = "only strings are looked for")]
fn body(code: &DoStmt) -> Body {
    let option = |wanted: &str| {
        code.args.iter().filter_map(|node| node.node.as_ref()).find_map(|node| match node {
            NodeEnum::DefElem(option) if option.defname == wanted => match inner(option.arg.as_deref())? {
                NodeEnum::String(text) => Some(text.sval.as_str()),
                _ => None,
            },
            _ => None,
        })
    };
    scan_body(option("as").unwrap_or_default().as_bytes(), option("language").unwrap_or("plpgsql"))
}

/// SELECT, INSERT, UPDATE, DELETE, MERGE, on their own or inside another statement.
#[allow(clippy::wildcard_enum_match_arm, reason = "the caller names the five")]
fn data(node: &NodeEnum, found: &mut Statement) {
    found.kind = match node {
        NodeEnum::SelectStmt(select) => {
            if selects_into(select) {
                unknown(found, Kind::Ddl, Effects::NONE, false);
                return;
            }
            Kind::Select
        }
        NodeEnum::InsertStmt(_) => Kind::Insert,
        NodeEnum::UpdateStmt(_) => Kind::Update,
        NodeEnum::DeleteStmt(_) => Kind::Delete,
        NodeEnum::MergeStmt(_) => Kind::Merge,
        _ => Kind::Other,
    };
    found.may_write = found.kind != Kind::Select || found.writes_in_cte;
    found.single_read = !found.may_write && !found.locking;
    if found.may_write {
        name_writes(node, found);
    }
}

/// INTO stands in the leftmost SELECT of a UNION.
fn selects_into(select: &SelectStmt) -> bool {
    let mut leftmost = Some(select);
    while let Some(select) = leftmost {
        if select.into_clause.is_some() {
            return true;
        }
        leftmost = select.larg.as_deref();
    }
    false
}

/// Moves the targets of every INSERT, UPDATE, DELETE and MERGE in the tree from the reads to the writes.
/// A relation that is both stays in both: only names that are nothing but targets leave the reads.
fn name_writes(node: &NodeEnum, found: &mut Statement) {
    let Ok(tree) = serde_json::to_value(node) else {
        return found.writes.clear();
    };
    walk::targets(&tree, &mut found.writes);
    for target in &found.writes {
        if let Some(place) = found.reads.iter().position(|read| read == target) {
            found.reads.swap_remove(place);
        }
    }
}

fn truncated(truncate: &TruncateStmt, found: &mut Statement) {
    found.kind = Kind::Truncate;
    found.may_write = true;
    found.reads.clear();
    found.writes = truncate.relations.iter().filter_map(|node| node.node.as_ref()).filter_map(range_var).collect();
    if truncate.restart_seqs {
        found.effects.insert(Effects::SEQUENCE);
    }
    // CASCADE reaches every table with a foreign key to these.
    if truncate.behavior == pg_query::protobuf::DropBehavior::DropCascade as i32 {
        found.writes.clear();
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "only relations are looked for")]
fn range_var(node: &NodeEnum) -> Option<RelationName> {
    match node {
        NodeEnum::RangeVar(relation) => Some(name(relation)),
        _ => None,
    }
}

fn name(relation: &RangeVar) -> RelationName {
    RelationName::new(Some(&relation.schemaname), &relation.relname)
}

fn copied(copy: &CopyStmt, found: &mut Statement) {
    found.kind = Kind::Copy;
    found.copy = Some(match (copy.filename.is_empty() && !copy.is_program, copy.is_from) {
        (false, _) => CopyKind::Server,
        (true, true) => CopyKind::FromStdin,
        (true, false) => CopyKind::ToStdout,
    });
    if let Some(query) = inner(copy.query.as_deref()) {
        data(query, found);
        found.kind = Kind::Copy;
        found.single_read = false;
    }
    if copy.is_from {
        found.may_write = true;
        found.reads.clear();
        found.writes = copy.relation.iter().map(name).collect();
    }
    if copy.is_program {
        unknown(found, Kind::Copy, Effects::NONE, false);
    }
}

fn inner(node: Option<&Node>) -> Option<&NodeEnum> {
    node?.node.as_ref()
}

fn controlled(transaction: &TransactionStmt, found: &mut Statement) {
    let gid = || transaction.gid.as_str().into();
    let savepoint = || transaction.savepoint_name.as_str().into();
    let chain = transaction.chain;
    let (kind, verb) = match transaction.kind() {
        TransactionStmtKind::TransStmtBegin | TransactionStmtKind::TransStmtStart => {
            (Kind::Begin, TransactionVerb::Begin(setting::options(&transaction.options)))
        }
        TransactionStmtKind::TransStmtCommit => (Kind::Commit, TransactionVerb::Commit { chain }),
        TransactionStmtKind::TransStmtRollback => (Kind::Rollback, TransactionVerb::Rollback { chain }),
        TransactionStmtKind::TransStmtSavepoint => (Kind::Savepoint, TransactionVerb::Savepoint(savepoint())),
        TransactionStmtKind::TransStmtRelease => (Kind::Release, TransactionVerb::Release(savepoint())),
        TransactionStmtKind::TransStmtRollbackTo => (Kind::RollbackTo, TransactionVerb::RollbackTo(savepoint())),
        TransactionStmtKind::TransStmtPrepare => (Kind::PrepareTransaction, TransactionVerb::Prepare(gid())),
        TransactionStmtKind::TransStmtCommitPrepared => (Kind::CommitPrepared, TransactionVerb::CommitPrepared(gid())),
        TransactionStmtKind::TransStmtRollbackPrepared => (Kind::RollbackPrepared, TransactionVerb::RollbackPrepared(gid())),
        TransactionStmtKind::Undefined => {
            return unknown(found, Kind::Other, Effects::OPAQUE, true);
        }
    };
    found.kind = kind;
    found.transaction = Some(verb);
}

fn discarded(discard: &DiscardStmt, found: &mut Statement) {
    found.kind = Kind::Discard;
    // Pins end when it has succeeded; until then, and if it fails, they stay.
    let effects = match discard.target() {
        DiscardMode::DiscardPlans => Effects::DISCARD,
        DiscardMode::DiscardSequences | DiscardMode::DiscardTemp | DiscardMode::DiscardAll | DiscardMode::Undefined => {
            Effects::DISCARD | Effects::RESTORE
        }
    };
    found.effects.insert(effects);
}

fn declared(declare: &DeclareCursorStmt, found: &mut Statement) {
    if let Some(query) = inner(declare.query.as_deref()) {
        data(query, found);
    }
    found.kind = Kind::Declare;
    found.single_read = false;
    if declare.options & CURSOR_OPT_HOLD != 0 {
        found.effects.insert(Effects::CURSOR_HOLD);
    }
}

/// EXPLAIN alone plans, which runs no statement; EXPLAIN ANALYZE runs it.
fn explained(explain: &ExplainStmt, found: &mut Statement) {
    let Some(query) = inner(explain.query.as_deref()) else {
        return unknown(found, Kind::Explain, Effects::OPAQUE, false);
    };
    if let Some(inside) = describe(query) {
        *found = inside;
    }
    found.kind = Kind::Explain;
    found.single_read = false;
    found.copy = None;
    if !analyzes(&explain.options) {
        found.may_write = false;
        found.self_committing = false;
        found.writes.clear();
    }
}

/// `EXPLAIN (ANALYZE false)` counts as ANALYZE: only the harm of a false "no" matters.
#[allow(clippy::wildcard_enum_match_arm, reason = "only options are looked for")]
fn analyzes(options: &[Node]) -> bool {
    options.iter().filter_map(|node| node.node.as_ref()).any(|node| match node {
        NodeEnum::DefElem(option) => option.defname == "analyze",
        _ => true,
    })
}

fn harmless(found: &mut Statement, kind: Kind) {
    found.kind = kind;
}

fn session(found: &mut Statement, kind: Kind, effects: Effects) {
    found.kind = kind;
    found.effects.insert(effects);
}

/// Whether the block speaks of prepared statements. Those that a function of its would drop are not seen here.
fn handles_statements(block: &DoStmt) -> bool {
    let text = serde_json::to_string(block).unwrap_or_default().to_ascii_lowercase();
    ["deallocate", "discard", "prepare"].iter().any(|word| text.contains(word))
}

/// It may write relations that it does not name.
fn unknown(found: &mut Statement, kind: Kind, effects: Effects, self_committing: bool) {
    found.kind = kind;
    found.effects.insert(effects);
    found.may_write = true;
    found.single_read = false;
    found.self_committing |= self_committing;
    found.writes.clear();
}

#[allow(clippy::wildcard_enum_match_arm, reason = "all others are transactional and leave the session alone")]
fn changed_catalog(node: &NodeEnum, found: &mut Statement) {
    let (effects, self_committing) = match node {
        // Its script may do anything, and may load a library.
        NodeEnum::CreateExtensionStmt(_) | NodeEnum::AlterExtensionStmt(_) => (Effects::OPAQUE, false),
        NodeEnum::IndexStmt(index) => (Effects::NONE, index.concurrent),
        NodeEnum::DropStmt(drop) => (Effects::NONE, drop.concurrent),
        NodeEnum::AlterTableStmt(_) => (Effects::NONE, has_true_concurrent(node)),
        NodeEnum::CreatedbStmt(_) | NodeEnum::DropdbStmt(_) | NodeEnum::AlterDatabaseStmt(_) => (Effects::NONE, true),
        NodeEnum::CreateTableSpaceStmt(_) | NodeEnum::DropTableSpaceStmt(_) => (Effects::NONE, true),
        NodeEnum::AlterTableMoveAllStmt(_) | NodeEnum::AlterSystemStmt(_) => (Effects::NONE, true),
        NodeEnum::AlterRoleSetStmt(alter) => {
            setting::made_known(alter.setstmt.as_ref(), found);
            (Effects::DEFAULTS, false)
        }
        NodeEnum::AlterDatabaseSetStmt(alter) => {
            setting::made_known(alter.setstmt.as_ref(), found);
            (Effects::DEFAULTS, false)
        }
        NodeEnum::CreateSubscriptionStmt(_) | NodeEnum::AlterSubscriptionStmt(_) => (Effects::NONE, true),
        NodeEnum::DropSubscriptionStmt(_) | NodeEnum::AlterEnumStmt(_) => (Effects::NONE, true),
        _ => (Effects::NONE, false),
    };
    found.hides_code = hides_code(node, found);
    unknown(found, Kind::Ddl, effects, self_committing);
}

/// Whether statements may run code after it that they did not run before.
#[allow(clippy::wildcard_enum_match_arm, reason = "what is not named here may")]
fn hides_code(node: &NodeEnum, found: &Statement) -> bool {
    let runs_code = !found.functions.is_empty() || !found.operators.is_empty();
    match node {
        NodeEnum::CreateStmt(table) => {
            let is_clause = |node: &Node| matches!(node.node, Some(NodeEnum::TableLikeClause(_)));
            runs_code || !table.inh_relations.is_empty() || table.table_elts.iter().any(is_clause)
        }
        NodeEnum::IndexStmt(_) => runs_code,
        NodeEnum::CreateTableAsStmt(_) | NodeEnum::DropStmt(_) | NodeEnum::CommentStmt(_) | NodeEnum::RefreshMatViewStmt(_) => {
            false
        }
        NodeEnum::GrantStmt(_) | NodeEnum::GrantRoleStmt(_) | NodeEnum::AlterDefaultPrivilegesStmt(_) => false,
        NodeEnum::CreateSeqStmt(_) | NodeEnum::AlterSeqStmt(_) | NodeEnum::AlterOwnerStmt(_) | NodeEnum::CreateEnumStmt(_) => {
            false
        }
        NodeEnum::CreateRoleStmt(_) | NodeEnum::AlterRoleStmt(_) | NodeEnum::DropRoleStmt(_) | NodeEnum::AlterRoleSetStmt(_) => {
            false
        }
        NodeEnum::CreatedbStmt(_) | NodeEnum::DropdbStmt(_) | NodeEnum::AlterSystemStmt(_) => false,
        _ => true,
    }
}

/// ALTER TABLE .. DETACH PARTITION .. CONCURRENTLY.
fn has_true_concurrent(node: &NodeEnum) -> bool {
    fn holds(value: &Value) -> bool {
        match value {
            Value::Object(object) => object.iter().any(|(key, v)| (key == "concurrent" && v == &Value::Bool(true)) || holds(v)),
            Value::Array(items) => items.iter().any(holds),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    serde_json::to_value(node).is_ok_and(|tree| holds(&tree))
}

/// Each name once.
fn settle(found: &mut Statement) {
    for list in [&mut found.reads, &mut found.writes, &mut found.functions, &mut found.types, &mut found.operators] {
        list.sort_unstable();
        list.dedup();
    }
    for list in [&mut found.cte_names, &mut found.fields] {
        list.sort_unstable();
        list.dedup();
    }
}
