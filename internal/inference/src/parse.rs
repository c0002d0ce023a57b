//! Reads the text of a parse tree: `{NODE :field value …}`, `(…)`, `[ … ]`, `<>`, and words. Its words
//! are those of PostgreSQL's own reader (`pg_strtok` in `src/backend/nodes/read.c`).

use crate::node::{Node, UnreadableTree, Value};

/// The largest depth of nested nodes and lists. A chain of 300 operators needs 600. Deeper ones could
/// exhaust the stack of a thread.
const MAX_DEPTH: usize = 600;

/// The largest size of a tree's text, in bytes.
const MAX_TREE_BYTES: usize = 16 << 20;

/// Parses the text of a parse tree.
///
/// # Errors
/// Returns an error if the text is not of the known form, or larger or deeper than any sensible
/// query.
pub fn parse_tree(text: &str) -> Result<Value, UnreadableTree> {
    if text.len() > MAX_TREE_BYTES {
        return Err(UnreadableTree::new("it is too large"));
    }
    let mut reader = TreeReader { rest: text };
    let value = reader.value(0)?;
    match reader.next_token() {
        None => Ok(value),
        Some(_) => Err(UnreadableTree::new("text after its end")),
    }
}

struct TreeReader<'a> {
    rest: &'a str,
}

impl<'a> TreeReader<'a> {
    fn next_token(&mut self) -> Option<&'a str> {
        let token = self.peek()?;
        let start = self.rest.len() - trim_start(self.rest).len();
        self.rest = &self.rest[start + token.len()..];
        Some(token)
    }

    fn peek(&self) -> Option<&'a str> {
        let rest = trim_start(self.rest);
        let first = *rest.as_bytes().first()?;
        let end = match is_bracket(first) {
            true => 1,
            false => word_end(rest.as_bytes()),
        };
        Some(&rest[..end])
    }

    fn expect_token(&mut self) -> Result<&'a str, UnreadableTree> {
        self.next_token()
            .ok_or_else(|| UnreadableTree::new("it ends too early"))
    }

    fn expect_peek(&self) -> Result<&'a str, UnreadableTree> {
        self.peek()
            .ok_or_else(|| UnreadableTree::new("it ends too early"))
    }

    fn value(&mut self, depth: usize) -> Result<Value, UnreadableTree> {
        if depth > MAX_DEPTH {
            return Err(UnreadableTree::new("it is too deep"));
        }
        match self.expect_token()? {
            "{" => Ok(Value::Node(Box::new(self.node(depth)?))),
            "(" => Ok(Value::List(self.items(depth, ")")?)),
            "[" => Ok(Value::List(self.items(depth, "]")?)),
            ")" | "]" | "}" => Err(UnreadableTree::new("a bracket too many")),
            "<>" => Ok(Value::Null),
            atom => Ok(Value::Atom(atom.into())),
        }
    }

    fn items(&mut self, depth: usize, end: &str) -> Result<Vec<Value>, UnreadableTree> {
        let mut items = Vec::new();
        while self.expect_peek()? != end {
            items.push(self.value(depth + 1)?);
        }
        self.next_token();
        Ok(items)
    }

    fn node(&mut self, depth: usize) -> Result<Node, UnreadableTree> {
        let tag = self.expect_token()?;
        if !tag
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        {
            return Err(UnreadableTree::new("a node without a name"));
        }
        let mut fields = Vec::new();
        while self.expect_peek()? != "}" {
            let name = self
                .expect_token()?
                .strip_prefix(':')
                .ok_or_else(|| UnreadableTree::new(format!("{tag} with a nameless field")))?;
            fields.push((name.into(), self.field_value(depth)?));
        }
        self.next_token();
        Ok(Node {
            tag: tag.into(),
            fields,
        })
    }

    /// Reads a field's value. Its first part is never a field's name or a square bracket, even if it
    /// looks like one: an alias may begin with a colon, or be a bracket. Those of a constant follow its
    /// length.
    fn field_value(&mut self, depth: usize) -> Result<Value, UnreadableTree> {
        let first = match self.expect_peek()? {
            bracket @ ("[" | "]") => {
                self.next_token();
                Value::Atom(bracket.into())
            }
            _ => self.value(depth + 1)?,
        };
        let mut parts = vec![first];
        while !is_field_end(self.expect_peek()?) {
            parts.push(self.value(depth + 1)?);
        }
        Ok(match parts.pop() {
            Some(only) if parts.is_empty() => only,
            last => {
                parts.extend(last);
                Value::List(parts)
            }
        })
    }
}

fn is_field_end(token: &str) -> bool {
    token == "}" || (token.len() > 1 && token.starts_with(':'))
}

/// Returns the text behind its first spaces. Others than these are parts of words.
fn trim_start(text: &str) -> &str {
    text.trim_start_matches([' ', '\n', '\t'])
}

/// Returns whether a character is a token by itself. A square bracket is one only if it stands alone:
/// it is not escaped in names.
fn is_bracket(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'{' | b'}')
}

/// Returns the length of a word, which ends at a space or bracket that is not escaped. A quotation
/// mark ends none: it is not escaped in names.
fn word_end(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'\n' | b'\t' => return at,
            byte if is_bracket(byte) => return at,
            b'\\' => at += escaped_len(&bytes[at..]),
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Returns the length of a backslash and the character after it, which may have several bytes.
fn escaped_len(bytes: &[u8]) -> usize {
    let continued = bytes.iter().skip(2).take_while(|b| **b & 0xC0 == 0x80);
    (2 + continued.count()).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        match parse_tree(text).unwrap() {
            Value::Node(node) => *node,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nodes_lists_and_sets_are_read() {
        let var = node("{VAR :varno 1 :varattno -3 :flag true :none <> :set (b 7 9) :alias :odd}");
        assert!(var.is("VAR"));
        assert_eq!(var.number::<i32>("varattno"), Ok(-3));
        assert_eq!(var.flag("flag"), Ok(true));
        assert_eq!(var.field("none"), &Value::Null);
        assert_eq!(var.members("set"), Ok(vec![7, 9]));
        assert_eq!(var.field("alias").as_atom(), Some(":odd"));
        assert!(var.number::<i32>("missing").is_err());
    }

    #[test]
    fn constants_and_escaped_names_keep_their_parts() {
        let constant =
            node(r#"{CONST :constvalue 4 [ 1 0 0 0 ] :name a\ b\)c :names ("x\ y" "á")}"#);
        assert_eq!(constant.field("constvalue").items().len(), 2);
        assert_eq!(constant.field("name").as_atom(), Some(r"a\ b\)c"));
        assert_eq!(
            constant.field("names").items(),
            [Value::Atom(r#""x\ y""#.into()), Value::Atom("\"á\"".into())]
        );
    }

    #[test]
    fn names_may_have_quotes_and_square_brackets_that_are_not_escaped() {
        let text =
            "{A :name Peso\\ [kg] :other a\"b\rc :names (\"q\"q\" \"[\" \"\"\"\") :only [ :last 7}";
        let relation = node(text);
        assert_eq!(relation.field("name").as_atom(), Some("Peso\\ [kg]"));
        assert_eq!(relation.field("other").as_atom(), Some("a\"b\rc"));
        assert_eq!(relation.field("names").items().len(), 3);
        assert_eq!(relation.field("only").as_atom(), Some("["));
        assert_eq!(relation.number::<i32>("last"), Ok(7));
    }

    #[test]
    fn broken_text_is_refused() {
        let deep = "(".repeat(MAX_DEPTH + 2);
        // These may be read as words, but must not panic.
        for text in ["{", "\"", "\\"] {
            let _ = parse_tree(text);
        }
        for text in [
            "",
            "{A",
            "{A :b}",
            "{A b 1}",
            "(1",
            "(1]",
            ")",
            "{A :b 1} 2",
            &deep,
        ] {
            assert!(parse_tree(text).is_err(), "{text}");
        }
    }
}
