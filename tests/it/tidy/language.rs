//! Plain language in figures: metaphors in identifiers, the form of doc comments, and types of one
//! name.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{RustFile, assert_none, production_files, rust_files};

/// Words that name a thing of the field by a metaphor, or a statement by a fragment.
const BANNED_WORDS: &str = "guest guests visitor visitors board boarding berth passport pier piers quay harbour wing annex porch lobby \
    knock knocks entrance porter doors doorkeeper gatekeeper hall office desk clerk seat seats roster farewell departed departures ears ear \
    hearing rehearse keeper heat ailing lane lanes tally tend talk who news orders people household rush caller callers tongue voice heard \
    hear hears told tell tells said say says greeted greet converse letters letterbox roll outlook audience beside roads shown unknowable \
    wish wishes obey attend stand sit bid welcome relieve giant giants spoil arena siege breath crowd";
/// The first words of a doc comment that describes its item by a question.
const QUESTION_WORDS: &str =
    "what who whether how where whom whose why when which whoever whatever wherever";
/// The type names that every module may define.
const SHARED_TYPE_NAMES: [&str; 4] = ["Config", "Error", "State", "Result"];

/// The most banned words in a thousand lines.
const MAX_BANNED_PER_THOUSAND_LINES: f64 = 3.0;
/// The most doc comments that start with a question word, in percent.
const MAX_QUESTIONS_PERCENT: f64 = 3.0;
/// The most doc comments of [`SHORT_WORDS`] or fewer, in percent.
const MAX_SHORT_PERCENT: f64 = 5.0;
/// The most types whose name another type has, in percent.
const MAX_COLLISIONS_PERCENT: f64 = 15.0;
const SHORT_WORDS: usize = 4;

/// Returns the code of a file without comment lines, and with empty string literals.
fn code_without_texts(file: &RustFile) -> String {
    let lines: Vec<_> = file
        .production_text()
        .split('\n')
        .filter(|line| !line.trim().starts_with("//"))
        .collect();
    remove_string_literals(&lines.join("\n"))
}

fn remove_string_literals(code: &str) -> String {
    let (mut kept, mut rest) = (String::new(), code);
    while let Some(at) = rest.find('"') {
        kept.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        if let Some(end) = end_of_literal(rest) {
            kept.push('"');
            rest = &rest[end..];
        }
    }
    kept + rest
}

/// Returns the position behind the closing quote. Returns `None` for a literal that continues on
/// the next line, as the regular expression of a line-based tool does.
fn end_of_literal(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some(at + 1),
            '\\' => {
                chars.next().filter(|(_, escaped)| *escaped != '\n')?;
            }
            _ => {}
        }
    }
    None
}

/// Returns the words of every identifier, in lower case: `on_joinRoom` has three.
fn identifier_words(code: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut previous = ' ';
    for c in code.chars() {
        if c.is_ascii_lowercase() {
            match words.last_mut() {
                Some(word) if previous.is_ascii_alphabetic() => word.push(c),
                _ => words.push(c.into()),
            }
        } else if c.is_ascii_uppercase() {
            words.push(c.to_ascii_lowercase().into());
        }
        previous = c;
    }
    words
}

/// Returns the doc comments of items, each as its words.
fn doc_comments(text: &str) -> Vec<Vec<&str>> {
    let mut comments: Vec<Vec<&str>> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        let comment = line.trim_start_matches([' ', '\t']).strip_prefix("///");
        if let Some(comment) = comment {
            if !is_inside {
                comments.push(Vec::new());
            }
            if let Some(words) = comments.last_mut() {
                words.extend(comment.split_whitespace());
            }
        }
        is_inside = comment.is_some();
    }
    comments
}

/// Returns the name of the type that a line defines.
fn defined_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) => match rest.strip_prefix('(') {
            Some(rest) => rest.split_once(") ")?.1,
            None => rest.strip_prefix(' ')?,
        },
        None => line,
    };
    let name = ["struct ", "enum ", "trait "]
        .iter()
        .find_map(|kind| line.strip_prefix(kind))?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
    Some(&name[..end.unwrap_or(name.len())]).filter(|name| !name.is_empty())
}

fn ratio(part: usize, whole: usize, of: f64) -> f64 {
    of * part as f64 / whole.max(1) as f64
}

#[test]
fn identifiers_use_the_terms_of_the_field() {
    let banned: BTreeSet<_> = BANNED_WORDS.split_whitespace().collect();
    let (mut lines, mut places) = (0, BTreeMap::<_, usize>::new());
    for file in production_files() {
        lines += file.production_text().matches('\n').count();
        for word in identifier_words(&code_without_texts(&file)) {
            if banned.contains(word.as_str()) {
                *places.entry((word, file.path.clone())).or_default() += 1;
            }
        }
    }
    let rate = ratio(places.values().sum(), lines, 1000.0);
    let list: Vec<_> = places
        .iter()
        .map(|((word, path), count)| format!("{word}: {count} in {path}"))
        .collect();
    assert!(
        rate <= MAX_BANNED_PER_THOUSAND_LINES,
        "{rate:.1} banned words per 1,000 lines:\n  {}",
        list.join("\n  ")
    );
}

#[test]
fn doc_comments_describe_in_sentences() {
    let questions: BTreeSet<_> = QUESTION_WORDS.split_whitespace().collect();
    let (mut all, mut short, mut opened) = (0, Vec::new(), Vec::new());
    for file in production_files() {
        for words in doc_comments(file.production_text()) {
            all += 1;
            let place = format!("{}: {}", file.path, words[..words.len().min(8)].join(" "));
            let first = words.first().copied().unwrap_or_default();
            let first = first.trim_matches(|c: char| "«`*[(,.:;".contains(c));
            if questions.contains(first.to_lowercase().as_str()) {
                opened.push(place.clone());
            }
            if words.len() <= SHORT_WORDS {
                short.push(place);
            }
        }
    }
    let rate = ratio(opened.len(), all, 100.0);
    assert!(
        rate <= MAX_QUESTIONS_PERCENT,
        "{rate:.1} % of the doc comments start with a question word: {opened:#?}"
    );
    let rate = ratio(short.len(), all, 100.0);
    assert!(
        rate <= MAX_SHORT_PERCENT,
        "{rate:.1} % of the doc comments are fragments: {short:#?}"
    );
}

#[test]
fn type_names_are_unique() {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut all = 0;
    for file in production_files() {
        for name in file.production_text().lines().filter_map(defined_type) {
            all += 1;
            if !SHARED_TYPE_NAMES.contains(&name) {
                let places = names.entry(name.to_owned()).or_default();
                places.push(file.path.clone());
            }
        }
    }
    names.retain(|_, places| places.len() > 1);
    let shared = names.values().map(Vec::len).sum();
    let rate = ratio(shared, all, 100.0);
    assert!(
        rate <= MAX_COLLISIONS_PERCENT,
        "{rate:.1} % of the types share their name: {names:#?}"
    );
}

/// A test is found and run by its name.
#[test]
fn test_names_are_unique() {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in rust_files() {
        let mut lines = file.text.lines().map(str::trim_start);
        while let Some(line) = lines.next() {
            if !line.starts_with("#[test]") && !line.starts_with("#[tokio::test") {
                continue;
            }
            let function = lines
                .by_ref()
                .find_map(|line| line.trim_start_matches("async ").strip_prefix("fn "));
            let name = function.and_then(|rest| rest.split('(').next());
            names
                .entry(name.unwrap_or_default().to_owned())
                .or_default()
                .push(file.path.clone());
        }
    }
    assert!(names.len() > 500, "only {} tests were found", names.len());
    names.retain(|_, places| places.len() > 1);
    assert!(names.is_empty(), "tests share a name: {names:#?}");
}

#[test]
fn texts_and_words_are_separated() {
    assert_eq!(
        remove_string_literals(r#"a("b \" c", 'd') + "e""#),
        r#"a("", 'd') + """#
    );
    assert_eq!(
        identifier_words("let on_joinRoom2 = HTTPServer;"),
        ["let", "on", "join", "room", "h", "t", "t", "p", "server"]
    );
    assert_eq!(
        doc_comments("/// One\n/// two.\nfn f() {}\n    /// Three\n"),
        [vec!["One", "two."], vec!["Three"]]
    );
    assert_none(
        ["pub(crate) struct A<T>;", "enum A {", "pub trait A: B {"]
            .iter()
            .filter(|line| defined_type(line) != Some("A"))
            .map(ToString::to_string)
            .collect(),
        "a definition is not recognised",
    );
}
