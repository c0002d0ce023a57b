//! The values of a parse tree, and the access to their fields.

/// A tree that does not have the known form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the parse tree has an unknown form: {0}")]
pub struct UnreadableTree(pub String);

impl UnreadableTree {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A value in a parse tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The null pointer, written `<>`.
    Null,
    /// A number, flag or name, as it is written, with quotes and escapes.
    Atom(Box<str>),
    /// A list, or the parts of a field with several.
    List(Vec<Value>),
    /// A node with fields.
    Node(Box<Node>),
}

/// A node of a parse tree, such as `QUERY` or `VAR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub(crate) tag: Box<str>,
    pub(crate) fields: Vec<(Box<str>, Value)>,
}

impl Value {
    /// Returns the items of a list; any other value has none.
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn as_node(&self) -> Option<&Node> {
        match self {
            Self::Node(node) => Some(node),
            _ => None,
        }
    }

    pub(crate) fn as_atom(&self) -> Option<&str> {
        match self {
            Self::Atom(text) => Some(text),
            _ => None,
        }
    }

    /// Calls `visit` with every node below, each before its own fields.
    pub(crate) fn for_each_node<'a>(&'a self, visit: &mut dyn FnMut(&'a Node)) {
        match self {
            Self::Null | Self::Atom(_) => {}
            Self::List(items) => items.iter().for_each(|item| item.for_each_node(visit)),
            Self::Node(node) => {
                visit(node);
                for (_, value) in &node.fields {
                    value.for_each_node(visit);
                }
            }
        }
    }

    /// Returns the first query of the tree.
    pub(crate) fn first_query(&self) -> Option<&Node> {
        match self {
            Self::Null | Self::Atom(_) => None,
            Self::List(items) => items.iter().find_map(Self::first_query),
            Self::Node(node) if node.is("QUERY") => Some(node),
            Self::Node(node) => node.fields.iter().find_map(|(_, v)| v.first_query()),
        }
    }
}

impl Node {
    pub(crate) fn is(&self, tag: &str) -> bool {
        *self.tag == *tag
    }

    /// Returns a field's value, or [`Value::Null`] if the node has no such field.
    pub(crate) fn field(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.fields
            .iter()
            .find(|(own, _)| **own == *name)
            .map(|(_, value)| value)
    }

    /// Returns the nodes of a list in a field.
    pub(crate) fn nodes(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.field(name).items().iter().filter_map(Value::as_node)
    }

    /// Returns a number that the node must have.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, UnreadableTree> {
        self.field(name)
            .as_atom()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.unexpected(name))
    }

    /// Returns a flag that the node must have.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, UnreadableTree> {
        match self.field(name).as_atom() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(self.unexpected(name)),
        }
    }

    /// Returns the members of a set of numbers, `(b 7 9)`.
    pub(crate) fn members(&self, name: &str) -> Result<Vec<i32>, UnreadableTree> {
        let Value::List(items) = self.field(name) else {
            return Err(self.unexpected(name));
        };
        let mut atoms = items.iter().map(Value::as_atom);
        if atoms.next() != Some(Some("b")) {
            return Err(self.unexpected(name));
        }
        atoms
            .map(|atom| atom.and_then(|text| text.parse().ok()))
            .collect::<Option<_>>()
            .ok_or_else(|| self.unexpected(name))
    }

    pub(crate) fn unexpected(&self, field: &str) -> UnreadableTree {
        UnreadableTree::new(format!("{} without a known {field}", self.tag))
    }
}
