//! A reader of Rust's modules: what a file declares, defines and imports. It knows only as much of
//! the grammar as the check of import cycles needs.

use std::collections::BTreeSet;

/// A path of modules from the crate's root, which itself is empty.
pub(super) type ModulePath = Vec<String>;

/// One module of a file: the file's own, or an inline one.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The modules that are declared here and lie in other files, each with its `#[path]`.
    pub(super) children: Vec<(String, Option<String>)>,
    /// The items that are defined here.
    pub(super) defined: BTreeSet<String>,
    /// The names that a `use` brings in.
    pub(super) imports: Vec<Import>,
    /// The paths that are written here outside a `use`.
    pub(super) paths: Vec<Vec<String>>,
}

/// One name that a `use` brings in.
#[derive(Debug)]
pub(super) struct Import {
    /// The name, or `*`.
    pub(super) name: String,
    pub(super) segments: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Lexeme {
    Word(String),
    Text(String),
    Sign(char),
}

/// Returns the modules of a file, with their paths relative to that of the file.
pub(super) fn parse(text: &str) -> Vec<(ModulePath, Module)> {
    let mut parser = Parser {
        lexemes: lexemes(text),
        at: 0,
    };
    let mut modules = Vec::new();
    parser.module(Vec::new(), &mut modules);
    modules
}

struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
}

impl Parser {
    /// Reads a module up to its closing brace or the end of the file.
    fn module(&mut self, path: ModulePath, into: &mut Vec<(ModulePath, Module)>) {
        let (mut module, mut explicit, mut depth) = (Module::default(), None, 0_usize);
        while let Some(lexeme) = self.next() {
            match lexeme {
                Lexeme::Sign('{') => depth += 1,
                Lexeme::Sign('}') if depth == 0 => break,
                Lexeme::Sign('}') => depth -= 1,
                Lexeme::Sign('#') => explicit = self.path_attribute().or(explicit),
                Lexeme::Word(word) if word == "mod" && depth == 0 => {
                    let Some(name) = self.word() else { continue };
                    if self.takes('{') {
                        let inner = path.iter().cloned().chain([name]).collect();
                        self.module(inner, into);
                    } else {
                        module.children.push((name, explicit.take()));
                    }
                }
                Lexeme::Word(word) if word == "use" && self.peek() != Some(&Lexeme::Sign('<')) => {
                    self.uses(&mut Vec::new(), &mut module.imports);
                }
                Lexeme::Word(word) if depth == 0 && DEFINES.contains(&word.as_str()) => {
                    self.takes('!');
                    module.defined.extend(self.word());
                }
                Lexeme::Word(word) => module.paths.extend(self.path(word)),
                _ => {}
            }
        }
        into.push((path, module));
    }

    /// Reads the tree of a `use`, up to its end.
    fn uses(&mut self, prefix: &mut Vec<String>, imports: &mut Vec<Import>) {
        let before = prefix.len();
        loop {
            match self.next() {
                Some(Lexeme::Word(word)) if word == "as" => {
                    let name = self.word().unwrap_or_default();
                    let segments = std::mem::take(prefix);
                    prefix.extend_from_slice(&segments[..before]);
                    imports.push(Import { name, segments });
                }
                Some(Lexeme::Word(word)) => prefix.push(word),
                Some(Lexeme::Sign('*')) => prefix.push("*".to_owned()),
                Some(Lexeme::Sign('{')) => {
                    self.uses(prefix, imports);
                    prefix.truncate(before);
                }
                Some(Lexeme::Sign(':')) => {}
                end => {
                    imports.extend(import(prefix, before));
                    prefix.truncate(before);
                    if end != Some(Lexeme::Sign(',')) {
                        return;
                    }
                }
            }
        }
    }

    /// Reads the rest of a path; `None` if it is a single word.
    fn path(&mut self, first: String) -> Option<Vec<String>> {
        // The rest of a path that began with `<T>::` or with a method's receiver names nothing here.
        let before = &self.lexemes[..self.at - 1];
        let is_start = !before.ends_with(&[Lexeme::Sign(':'), Lexeme::Sign(':')])
            && !before.ends_with(&[Lexeme::Sign('.')]);
        let mut segments = vec![first];
        while self.lexemes[self.at..].starts_with(&[Lexeme::Sign(':'), Lexeme::Sign(':')]) {
            let Some(Lexeme::Word(word)) = self.lexemes.get(self.at + 2) else {
                break;
            };
            segments.push(word.clone());
            self.at += 3;
        }
        (is_start && segments.len() > 1).then_some(segments)
    }

    /// Reads an attribute that begins here, and returns the path of `#[path = "…"]`.
    fn path_attribute(&mut self) -> Option<String> {
        match self.lexemes.get(self.at..self.at + 4)? {
            [
                Lexeme::Sign('['),
                Lexeme::Word(word),
                Lexeme::Sign('='),
                Lexeme::Text(text),
            ] if word == "path" => Some(text.clone()),
            _ => None,
        }
    }

    fn next(&mut self) -> Option<Lexeme> {
        self.at += 1;
        self.lexemes.get(self.at - 1).cloned()
    }

    fn peek(&self) -> Option<&Lexeme> {
        self.lexemes.get(self.at)
    }

    fn takes(&mut self, sign: char) -> bool {
        let is_next = self.peek() == Some(&Lexeme::Sign(sign));
        self.at += usize::from(is_next);
        is_next
    }

    fn word(&mut self) -> Option<String> {
        match self.peek() {
            Some(Lexeme::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Some(word)
            }
            _ => None,
        }
    }
}

/// The words that are followed by the name that they define.
const DEFINES: [&str; 9] = [
    "fn",
    "struct",
    "enum",
    "trait",
    "type",
    "const",
    "static",
    "union",
    "macro_rules",
];

/// Returns the import that a path of a `use` stands for; `None` if only its prefix was read.
fn import(segments: &[String], before: usize) -> Option<Import> {
    if segments.len() == before {
        return None;
    }
    let mut segments = segments.to_vec();
    if segments.last().is_some_and(|last| last == "self") && segments.len() > 1 {
        segments.pop();
    }
    let name = segments.last()?.clone();
    Some(Import { name, segments })
}

/// Splits Rust source into words, texts and signs, without comments, blanks, lifetimes and numbers.
fn lexemes(text: &str) -> Vec<Lexeme> {
    let (mut lexemes, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some((length, content)) = raw_text(rest).or_else(|| quoted_text(rest)) {
            lexemes.push(Lexeme::Text(content));
            length
        } else if first == '\'' {
            quote(rest)
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let word = &rest[..end.unwrap_or(rest.len())];
            if !first.is_ascii_digit() {
                lexemes.push(Lexeme::Word(word.to_owned()));
            }
            word.len()
        } else {
            if !first.is_whitespace() {
                lexemes.push(Lexeme::Sign(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    lexemes
}

/// Returns the length and the content of a raw string that begins here.
fn raw_text(text: &str) -> Option<(usize, String)> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let marks = after.len() - after.trim_start_matches('#').len();
    let content = after[marks..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(marks));
    let length = content.find(&end).unwrap_or(content.len());
    let begin = text.len() - content.len();
    Some((
        (begin + length + end.len()).min(text.len()),
        content[..length].to_owned(),
    ))
}

/// Returns the length and the content of a string that begins here.
fn quoted_text(text: &str) -> Option<(usize, String)> {
    let content = text
        .strip_prefix("b\"")
        .or_else(|| text.strip_prefix('"'))?;
    let begin = text.len() - content.len();
    let mut is_escaped = false;
    let length = content.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let length = length.unwrap_or(content.len());
    Some((
        (begin + length + 1).min(text.len()),
        content[..length].to_owned(),
    ))
}

/// Returns the length of a character literal that begins here, or of the mark of a lifetime.
fn quote(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            text[from..].find('\'').map_or(from, |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        // A lifetime: its name is no word of a path.
        _ => {
            let name = &text[1..];
            1 + name
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(name.len())
        }
    }
}
