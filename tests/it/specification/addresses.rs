//! The addresses and the codes of refusals that stand in the code, and those in the document.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use latido::http::{Asset, PAGE};

use super::{base, strings};

/// Addresses that are no part of the contract, and why: files that only the pages ask for.
fn is_undocumented(asset: &Asset) -> bool {
    asset.path != "/"
}

/// The code of the HTTP side, tests apart.
fn sources() -> Vec<String> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("internal/http")];
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

/// `"notify" / String` as `/notify/{}`.
fn address(pattern: &str) -> String {
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

/// `/notify/{hook}` as `/notify/{}`.
fn nameless(path: &str) -> String {
    let segment = |part: &str| {
        if part.starts_with('{') {
            "{}".to_owned()
        } else {
            part.to_owned()
        }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// What follows `/dashboard` in an address of the operators', by the arms that take it: `["clients", id]` is `/clients/{}`.
fn operators() -> BTreeSet<String> {
    let text = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("internal/http/dashboard/mod.rs"),
    )
    .unwrap();
    let arms = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix('['))
        .filter(|line| line.contains("] => ") || line.contains("] if "));
    let arm = |line: &str| {
        let segments = line.split("] ").next().unwrap_or_default().split(", ");
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
fn every_route_is_documented_and_the_reverse() {
    let sources = sources();
    let patterns = sources
        .iter()
        .flat_map(|text| text.split("path!(").skip(1))
        .filter_map(|rest| rest.split(')').next());
    let mut routes: BTreeSet<String> = patterns.map(address).collect();
    assert!(routes.len() >= 8, "the routes were found: {routes:?}");
    routes.extend(
        PAGE.iter()
            .filter(|asset| !is_undocumented(asset))
            .map(|asset| asset.path.to_owned()),
    );
    let operators = operators();
    assert!(
        operators.len() >= 10,
        "the operators' were found: {operators:?}"
    );
    routes.extend(
        ["/dashboard", "/api/dashboard"]
            .iter()
            .flat_map(|start| operators.iter().map(move |rest| format!("{start}{rest}"))),
    );
    let document = base("openapi.json");
    let paths = document["paths"].as_object().expect("paths").keys();
    let documented: BTreeSet<String> = paths.map(|path| nameless(path)).collect();
    assert_eq!(
        routes, documented,
        "left: the code's; right: the document's"
    );
}

/// What stands before the bracket that closes the one before `rest`.
fn balanced(rest: &str) -> &str {
    let mut depth = 1;
    let end = rest.find(|c: char| {
        depth += i32::from(matches!(c, '(' | '{')) - i32::from(matches!(c, ')' | '}'));
        depth == 0
    });
    &rest[..end.unwrap_or(rest.len())]
}

/// The texts without blanks in the arguments of every call that makes a refusal.
#[test]
fn every_code_of_a_refusal_is_documented_and_the_reverse() {
    let makers = [
        "Refusal::new(",
        "Self::new(",
        "bad_request(",
        "Refusal::unavailable(",
        "match full {",
    ];
    let mut codes = BTreeSet::new();
    for text in sources() {
        for rest in makers.iter().flat_map(|maker| text.split(maker).skip(1)) {
            let call = balanced(rest);
            // A maker that hands on its own argument names none.
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
        // Two that are chosen first and made later.
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
    let document = base("openapi.json");
    let documented: BTreeSet<_> = strings(&document["components"]["schemas"]["ErrorCode"]["enum"])
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(codes, documented, "left: the code's; right: the document's");
}
