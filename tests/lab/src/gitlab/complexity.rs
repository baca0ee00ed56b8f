//! What a GraphQL query costs by GitLab's rule, before it runs.
//!
//! Each field costs 1; a connection multiplies itself and its children by 1 + 0.01 × page size; `sort` adds 1
//! and `search` 5.

use std::collections::HashMap;

use async_graphql::Positioned;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, Selection,
    SelectionSet,
};
use async_graphql::{Name, Variables, parser::types::VariableDefinition};
use async_graphql_value::{ConstValue, Value};

const CONNECTIONS: [&str; 5] = ["runners", "managers", "jobs", "groups", "projects"];
const MAX_PAGE: f64 = 100.0;
const MAX_FRAGMENTS: usize = 50;

/// Cost and depth of one operation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) score: u64,
    pub(crate) depth: usize,
}

struct Walk<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    definitions: &'a [Positioned<VariableDefinition>],
    variables: &'a Variables,
}

/// The operation that will run.
pub(crate) fn selected<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), _) => Some(&operation.node),
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name).map(|o| &o.node),
        (DocumentOperations::Multiple(all), None) => {
            all.values().next().filter(|_| all.len() == 1).map(|o| &o.node)
        }
    }
}

pub(crate) fn cost(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &Variables,
) -> Cost {
    let walk =
        Walk { fragments: &document.fragments, definitions: &operation.variable_definitions, variables };
    let (score, depth) = walk.set(&operation.selection_set.node, 0);
    Cost { score: score as u64, depth }
}

impl Walk<'_> {
    fn set(&self, set: &SelectionSet, nested: usize) -> (f64, usize) {
        let each = set.items.iter().map(|item| match &item.node {
            Selection::Field(field) => self.field(&field.node, nested),
            Selection::InlineFragment(fragment) => self.set(&fragment.node.selection_set.node, nested),
            // A fragment that spreads itself is refused by validation; here it only must end.
            Selection::FragmentSpread(spread) if nested < MAX_FRAGMENTS => self
                .fragments
                .get(&spread.node.fragment_name.node)
                .map_or((0.0, 0), |f| self.set(&f.node.selection_set.node, nested + 1)),
            Selection::FragmentSpread(_) => (0.0, 0),
        });
        each.fold((0.0, 0), |(score, depth), (s, d)| (score + s, depth.max(d)))
    }

    fn field(&self, field: &Field, nested: usize) -> (f64, usize) {
        let (children, depth) = self.set(&field.selection_set.node, nested);
        let mut score = 1.0 + children;
        for (argument, price) in [("sort", 1.0), ("search", 5.0)] {
            if field.get_argument(argument).is_some() {
                score += price;
            }
        }
        if CONNECTIONS.contains(&field.name.node.as_str()) {
            let sizes = ["first", "last"].map(|name| self.number(&field.get_argument(name)?.node));
            score += score * 0.01 * sizes.into_iter().flatten().fold(MAX_PAGE, f64::min);
        }
        (score.floor(), depth + 1)
    }

    fn number(&self, value: &Value) -> Option<f64> {
        let constant = match value {
            Value::Variable(name) => self.variables.get(name).cloned().or_else(|| {
                let definition = self.definitions.iter().find(|d| d.node.name.node == *name)?;
                definition.node.default_value.as_ref().map(|v| v.node.clone())
            })?,
            other => other.clone().into_const()?,
        };
        match constant {
            ConstValue::Number(number) => number.as_f64(),
            _ => None,
        }
    }
}
