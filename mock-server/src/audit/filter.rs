//! What entries are asked for by: `StringFilter`, `IntFilter` and `DateFilter` of the contract, as SQL.

use rusqlite::types::Value;

/// A column that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Id,
    Actor,
    Email,
    KeyPrefix,
    KeySuffix,
    Action,
    TargetType,
    Target,
    Status,
    At,
}

impl Field {
    fn column(self) -> &'static str {
        match self {
            Field::Id => "id",
            Field::Actor => "actor",
            Field::Email => "email",
            Field::KeyPrefix => "key_prefix",
            Field::KeySuffix => "key_suffix",
            Field::Action => "action",
            Field::TargetType => "target_type",
            Field::Target => "target",
            Field::Status => "status",
            Field::At => "at",
        }
    }
}

/// What its value must be.
#[derive(Clone, Debug)]
pub enum Test {
    Eq(Value),
    Not(Value),
    In(Vec<Value>),
    NotIn(Vec<Value>),
    Gte(Value),
    Lte(Value),
    Gt(Value),
    Lt(Value),
}

/// One test of one column.
#[derive(Clone, Debug)]
pub struct Condition {
    field: Field,
    test: Test,
}

impl Condition {
    pub fn new(field: Field, test: Test) -> Condition {
        Condition { field, test }
    }

    /// As SQL with question marks, and their values.
    pub(super) fn write(&self, clause: &mut String, values: &mut Vec<Value>) {
        let column = self.field.column();
        let (operator, given) = match &self.test {
            Test::Eq(value) => ("=", std::slice::from_ref(value)),
            // As the contract words it, what has no value isn't equal to one.
            Test::Not(value) => ("IS NOT", std::slice::from_ref(value)),
            Test::Gte(value) => (">=", std::slice::from_ref(value)),
            Test::Lte(value) => ("<=", std::slice::from_ref(value)),
            Test::Gt(value) => (">", std::slice::from_ref(value)),
            Test::Lt(value) => ("<", std::slice::from_ref(value)),
            Test::In(all) => ("IN", all.as_slice()),
            Test::NotIn(all) => ("NOT IN", all.as_slice()),
        };
        let marks = vec!["?"; given.len()].join(", ");
        clause.push_str(&match &self.test {
            Test::In(_) => format!("{column} IN ({marks})"),
            Test::NotIn(_) => format!("({column} IS NULL OR {column} NOT IN ({marks}))"),
            _ => format!("{column} {operator} ?"),
        });
        values.extend(given.iter().cloned());
    }
}
