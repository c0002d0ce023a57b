//! The types of errors and options, and the form of log fields.

use super::files::{RustFile, assert_none, production_files};

/// Errors that say nothing about their kind to the compiler.
const UNTYPED_ERRORS: [&str; 4] = ["String", "()", "&str", "&'static str"];

/// Returns the arguments of every use of a generic type, with the line where it starts.
fn generic_arguments<'a>(code: &'a str, name: &str) -> Vec<(usize, Vec<&'a str>)> {
    let start = format!("{name}<");
    let is_whole = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(&start)
        .filter(|(at, _)| is_whole(*at))
        .map(|(at, _)| {
            let line = code[..at].matches('\n').count() + 1;
            (line, split_arguments(&code[at + start.len()..]))
        })
        .collect()
}

/// Splits at the commas outside of brackets, up to the angle bracket that closes the list.
fn split_arguments(code: &str) -> Vec<&str> {
    let (mut arguments, mut depth, mut from, mut previous) = (Vec::new(), 0, 0, ' ');
    for (at, c) in code.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' if previous == '-' => {}
            '>' | ')' | ']' if depth == 0 => {
                arguments.push(code[from..at].trim());
                break;
            }
            '>' | ')' | ']' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(code[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
        previous = c;
    }
    arguments.retain(|argument| !argument.is_empty());
    arguments
}

/// Returns the production code of a file, with comments replaced by empty lines.
fn code_of(file: &RustFile) -> String {
    let lines = file.production_text().lines().map(|line| {
        if line.trim_start().starts_with("//") {
            ""
        } else {
            line
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn errors_have_types() {
    let mut found = Vec::new();
    for file in production_files() {
        for (line, arguments) in generic_arguments(&code_of(&file), "Result") {
            if let [_, error] = arguments[..]
                && UNTYPED_ERRORS.contains(&error)
            {
                found.push(format!("{}:{line}: Result<_, {error}>", file.path));
            }
        }
    }
    assert_none(found, "an error is a text or nothing");
}

#[test]
fn options_are_not_nested() {
    let mut found = Vec::new();
    for file in production_files() {
        for (line, arguments) in generic_arguments(&code_of(&file), "Option") {
            if arguments.iter().any(|inner| inner.starts_with("Option<")) {
                found.push(format!("{}:{line}: Option<{}>", file.path, arguments[0]));
            }
        }
    }
    assert_none(found, "an option of an option");
}

/// Returns whether a line of a log call has a field with the `?` sigil, which prints Rust's debug
/// form, such as `Some(127.0.0.1:80)`.
fn has_debug_field(line: &str) -> bool {
    let starts_field = |before: &str| {
        let before = before.trim_end();
        before.is_empty() || before.ends_with(['=', ',', '('])
    };
    line.match_indices('?').any(|(at, _)| {
        starts_field(&line[..at])
            && line[at + 1..].starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
    })
}

#[test]
fn log_fields_are_displayed() {
    let mut found = Vec::new();
    for file in production_files() {
        let lines = file.code_lines().filter(|(_, line)| has_debug_field(line));
        found.extend(lines.map(|(number, line)| format!("{}:{number}: {line}", file.path)));
    }
    assert_none(found, "a log field prints a debug form");
}

#[test]
fn debug_fields_are_recognised() {
    for line in ["debug!(?error, \"a\")", "info!(a, b = ?c)", "    ?majors,"] {
        assert!(has_debug_field(line), "{line}");
    }
    for line in ["let a = b()?;", "T: ?Sized,", "    .c()?", "a = %b"] {
        assert!(!has_debug_field(line), "{line}");
    }
}

#[test]
fn generic_arguments_are_parsed() {
    let code =
        "fn f() -> Result<Vec<(A, B)>, String> { g::<MyResult<A>>() }\nResult<\n    A,\n    (),\n>";
    assert_eq!(
        generic_arguments(code, "Result"),
        [(1, vec!["Vec<(A, B)>", "String"]), (2, vec!["A", "()"])]
    );
    assert_eq!(
        generic_arguments("Option<fn(A) -> B>", "Option"),
        [(1, vec!["fn(A) -> B"])]
    );
}
