//! Compares the addresses and error codes in the code with those in the document.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use latido_http::{STATIC_FILES, StaticFile};

use super::{base_document, strings};

/// Returns whether an address is not part of the contract: files that only the pages request.
fn is_undocumented(asset: &StaticFile) -> bool {
    asset.path != "/"
}

/// Returns the source texts of the HTTP module without its tests.
fn sources() -> Vec<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("internal/http/src")];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
                let lines = code
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                texts.push(lines.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    texts
}

/// Converts `"notify" / String` to `/notify/{}`.
fn route_path(pattern: &str) -> String {
    let segment = |part: &str| {
        part.trim()
            .strip_prefix('"')
            .and_then(|part| part.strip_suffix('"'))
            .unwrap_or("{}")
            .to_owned()
    };
    pattern
        .split('/')
        .map(segment)
        .fold(String::new(), |path, segment| format!("{path}/{segment}"))
}

/// Converts `/notify/{hook}` to `/notify/{}`.
fn without_parameter_names(path: &str) -> String {
    let segment = |part: &str| {
        if part.starts_with('{') {
            "{}".to_owned()
        } else {
            part.to_owned()
        }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// Returns the operator addresses after `/dashboard`, taken from match arms: `["clients", id]`
/// becomes `/clients/{}`.
fn operator_paths() -> BTreeSet<String> {
    let text = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("internal/http/src/dashboard/mod.rs"),
    )
    .unwrap();
    // A long pattern stands on several lines.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let arms = text
        .split(" [")
        .skip(1)
        .filter_map(|rest| rest.split_once(']'))
        .filter(|(_, after)| after.starts_with(" => ") || after.starts_with(" if "))
        .map(|(pattern, _)| pattern.trim_matches([' ', ',']));
    let arm = |pattern: &str| {
        let segments = pattern.split(", ");
        segments.fold(vec![String::new()], |paths, segment| {
            let names: Vec<_> = segment.split('"').skip(1).step_by(2).collect();
            let names = if names.is_empty() { vec!["{}"] } else { names };
            let after = |path: &String| {
                names
                    .iter()
                    .map(|name| {
                        if name.is_empty() {
                            path.clone()
                        } else {
                            format!("{path}/{name}")
                        }
                    })
                    .collect::<Vec<_>>()
            };
            paths.iter().flat_map(after).collect()
        })
    };
    arms.flat_map(arm).collect()
}

#[test]
fn every_route_is_documented_and_vice_versa() {
    let sources = sources();
    let patterns = sources
        .iter()
        .flat_map(|text| text.split("path!(").skip(1))
        .filter_map(|rest| rest.split(')').next());
    let mut routes: BTreeSet<String> = patterns.map(route_path).collect();
    // The addresses of channels depend on the streams: here are those of a key with one part.
    routes.extend(["/{}/{}", "/{}/{}/events"].map(ToOwned::to_owned));
    assert!(routes.len() >= 8, "the routes were found: {routes:?}");
    routes.extend(
        STATIC_FILES
            .iter()
            .filter(|asset| !is_undocumented(asset))
            .map(|asset| asset.path.to_owned()),
    );
    let operators = operator_paths();
    assert!(
        operators.len() >= 10,
        "the operators' were found: {operators:?}"
    );
    routes.extend(
        ["/dashboard", "/api/dashboard"]
            .iter()
            .flat_map(|start| operators.iter().map(move |rest| format!("{start}{rest}"))),
    );
    let document = base_document("openapi.json");
    let paths = document["paths"].as_object().expect("paths").keys();
    let documented: BTreeSet<String> = paths.map(|path| without_parameter_names(path)).collect();
    assert_eq!(
        routes, documented,
        "left: the code's; right: the document's"
    );
}

/// Returns the text before the bracket that closes the one in front of `rest`.
fn text_before_bracket(rest: &str) -> &str {
    let mut depth = 1;
    let end = rest.find(|c: char| {
        depth += i32::from(matches!(c, '(' | '{')) - i32::from(matches!(c, ')' | '}'));
        depth == 0
    });
    &rest[..end.unwrap_or(rest.len())]
}

/// Codes are the texts without blanks in the arguments of every call that creates an error.
#[test]
fn every_error_code_is_documented_and_vice_versa() {
    let makers = [
        "ApiError::new(",
        "Self::new(",
        "bad_request(",
        "ApiError::unavailable(",
        "ApiError::too_many(",
        "pub fn label(self) -> &'static str {",
    ];
    let mut codes = BTreeSet::new();
    // The codes of the connection limits are those of a type of `admission`.
    let limits =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("internal/admission/src/connection_limits.rs");
    let limits = fs::read_to_string(limits).unwrap();
    for text in sources().into_iter().chain([limits]) {
        for rest in makers.iter().flat_map(|maker| text.split(maker).skip(1)) {
            let call = text_before_bracket(rest);
            // A function that forwards its own argument names no code.
            let is_code = |text: &&str| {
                !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            };
            codes.extend(
                call.split('"')
                    .skip(1)
                    .step_by(2)
                    .filter(is_code)
                    .map(str::to_owned),
            );
        }
        // Two codes are chosen first and used later.
        codes.extend(text.split("(StatusCode::").skip(1).filter_map(|rest| {
            let (status, rest) = rest.split_once(", \"")?;
            status
                .chars()
                .all(|c| c.is_ascii_uppercase() || c == '_')
                .then_some(())?;
            let (code, _) = rest.split_once("\")")?;
            code.chars()
                .all(|c| c.is_ascii_lowercase() || c == '_')
                .then(|| code.to_owned())
        }));
    }
    let document = base_document("openapi.json");
    let documented: BTreeSet<_> = strings(&document["components"]["schemas"]["ErrorCode"]["enum"])
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(codes, documented, "left: the code's; right: the document's");
}
