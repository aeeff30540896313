//! Floor 1. From rows to answers: what is left behind flows back from whoever leaves it to whoever runs that.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::body::{Found, scan};
use super::rows::{HiddenRow, Place, RoutineRow, RoutineRows, Runs};
use super::table::Table;
use super::{Traces, builtin};

/// The answers that follow from `rows`.
pub(super) fn build(rows: &RoutineRows) -> Table {
    let mut graph = Graph::new(rows);
    rows.routines.iter().for_each(|row| graph.routine(row));
    rows.hidden.iter().for_each(|row| graph.hidden(row));
    graph.spread();
    graph.table(rows)
}

#[derive(Default)]
struct Node {
    traces: Traces,
    /// Who runs it.
    run_by: BTreeSet<usize>,
}

/// Who runs whom. Routines and relations of one name are one node, whatever their arguments and schemas: which of them a
/// name means is the session's to say.
struct Graph<'a> {
    places: HashMap<Place, usize>,
    nodes: Vec<Node>,
    routines: HashSet<&'a str>,
    /// Those that `t.name` may mean.
    fields: HashSet<&'a str>,
    relations: HashSet<&'a str>,
    operators: BTreeSet<&'a str>,
}

impl<'a> Graph<'a> {
    fn new(rows: &'a RoutineRows) -> Self {
        let mut relations = HashSet::new();
        let mut operators = BTreeSet::new();
        for row in &rows.hidden {
            match &row.place {
                Place::Read(name) | Place::Write(name) => {
                    relations.insert(&**name);
                }
                Place::Operator(name) => {
                    operators.insert(&**name);
                }
                Place::Routine(_) | Place::Everywhere | Place::Ddl => {}
            }
        }
        let routines = rows.routines.iter().map(|row| &*row.name).collect();
        let fields = rows.routines.iter().filter(|row| row.one_argument).map(|row| &*row.name).collect();
        Self { places: HashMap::new(), nodes: Vec::new(), routines, fields, relations, operators }
    }

    fn node(&mut self, place: &Place) -> usize {
        if let Some(&known) = self.places.get(place) {
            return known;
        }
        let node = self.nodes.len();
        self.nodes.push(Node::default());
        self.places.insert(place.clone(), node);
        match place {
            // A write sees what is there.
            Place::Write(name) => self.runs(node, &Place::Read(name.clone())),
            Place::Routine(name) => self.leaves(node, &builtin::traces_of_call(name)),
            Place::Read(_) | Place::Operator(_) | Place::Everywhere | Place::Ddl => {}
        }
        node
    }

    fn runs(&mut self, runner: usize, what: &Place) {
        let what = self.node(what);
        if let Some(node) = self.nodes.get_mut(what) {
            node.run_by.insert(runner);
        }
    }

    fn leaves(&mut self, node: usize, traces: &Traces) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.traces.add(traces);
        }
    }

    fn routine(&mut self, row: &RoutineRow) {
        let node = self.node(&Place::Routine(row.name.clone()));
        match (&*row.language, &row.source) {
            ("c", _) => self.leaves(node, &builtin::traces_of_c(row)),
            ("internal", _) if row.volatility != 'v' => {}
            ("sql" | "plpgsql" | "internal", Some(source)) => {
                let found = self.scan(source, &row.language);
                self.leaves(node, &found.body.traces);
                self.found(node, &found, found.writes);
                if found.ddl {
                    self.runs(node, &Place::Ddl);
                }
            }
            _ => self.leaves(node, &Traces::everything()),
        }
    }

    fn hidden(&mut self, row: &HiddenRow) {
        let node = self.node(&row.place);
        match &row.runs {
            Runs::Place(place) => self.runs(node, place),
            Runs::Text(sql) => {
                let found = self.scan(sql.as_bytes(), "sql");
                self.leaves(node, &found.body.traces);
                self.found(node, &found, matches!(row.place, Place::Write(_)));
            }
        }
    }

    fn scan(&self, source: &[u8], language: &str) -> Found {
        scan(source, language, &|name| self.routines.contains(name) || self.relations.contains(name))
    }

    /// What a text runs beyond what it leaves itself.
    fn found(&mut self, node: usize, found: &Found, writes: bool) {
        for call in &found.body.calls {
            if self.routines.contains(&*call.name) {
                self.runs(node, &Place::Routine(call.name.clone()));
            }
        }
        for field in &found.fields {
            if self.fields.contains(&**field) {
                self.runs(node, &Place::Routine(field.clone()));
            }
        }
        for name in &found.names {
            if self.relations.contains(&**name) {
                let name = name.clone();
                self.runs(node, &if writes { Place::Write(name) } else { Place::Read(name) });
            }
        }
        // A run of such characters may be several operators.
        let used: Vec<Box<str>> = self.operators.iter().filter(|name| is_in(name, found)).map(|name| (*name).into()).collect();
        used.into_iter().for_each(|name| self.runs(node, &Place::Operator(name)));
    }

    /// Until nothing moves any more. Cycles end since traces only grow, and not beyond everything.
    fn spread(&mut self) {
        let mut open: Vec<usize> = (0..self.nodes.len()).collect();
        while let Some(at) = open.pop() {
            let Some(node) = self.nodes.get(at).filter(|node| !node.traces.is_empty()) else { continue };
            let (traces, run_by) = (node.traces.clone(), node.run_by.clone());
            for runner in run_by {
                let Some(node) = self.nodes.get_mut(runner) else { continue };
                let before = (node.traces.settings.len(), node.traces.effects);
                node.traces.add(&traces);
                if before != (node.traces.settings.len(), node.traces.effects) {
                    open.push(runner);
                }
            }
        }
    }

    fn table(self, rows: &RoutineRows) -> Table {
        let mut table = Table {
            builtin: rows.builtin.iter().cloned().collect(),
            users: self.routines.iter().map(|name| (*name).into()).collect(),
            ..Table::default()
        };
        for (place, at) in self.places {
            let Some(node) = self.nodes.get(at).filter(|node| !node.traces.is_empty()) else { continue };
            let traces = node.traces.clone();
            table.all.add(&traces);
            if !matches!(place, Place::Routine(_) | Place::Operator(_)) {
                table.hidden.add(&traces);
            }
            match place {
                Place::Routine(name) => {
                    if self.fields.contains(&*name) {
                        table.fields.insert(name.clone(), traces.clone());
                    }
                    // Postgres's own are judged with the statement that names them.
                    if self.routines.contains(&*name) {
                        table.routines.insert(name, traces);
                    }
                }
                Place::Operator(name) => drop(table.operators.insert(name, traces)),
                Place::Read(name) => drop(table.reads.insert(name, traces)),
                Place::Write(name) => drop(table.writes.insert(name, traces)),
                Place::Everywhere => table.everywhere = traces,
                // Among what is hidden.
                Place::Ddl => {}
            }
        }
        table
    }
}

fn is_in(operator: &str, found: &Found) -> bool {
    found.operators.iter().any(|run| run.contains(operator))
}
