//! Floor 1. From rows to answers: what is left behind flows back from whoever leaves it to whoever runs that.

use super::Traces;
use super::rows::RoutineRows;
use super::table::Table;

/// The answers that follow from `rows`.
pub(super) fn build(rows: &RoutineRows) -> Table {
    let mut table =
        Table { all: Traces::everything(), hidden: Traces::everything(), everywhere: Traces::everything(), ..Table::default() };
    table.builtin = rows.builtin.iter().cloned().collect();
    table.users = rows.routines.iter().map(|row| row.name.clone()).collect();
    table
}
