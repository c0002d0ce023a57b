//! Path patterns of routes, and the parameters of a path. Pure.

use std::borrow::Cow;

use latido_net::query;

/// The pattern of a route's path, such as `/api/users/{user}/message`.
///
/// A segment in braces is a parameter and matches any one segment; all others match exactly, without
/// decoding. A pattern that ends with `/` matches with any number of slashes at the end, also with
/// none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoutePattern {
    segments: Vec<Segment>,
    ignores_trailing_slashes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter(String),
}

/// The parameters of a matched path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathParams(Vec<(String, String)>);

/// Parses the raw segment of a path parameter. Returns `None` if the path is then not found.
pub type ParseParam = fn(&str) -> Option<String>;

impl RoutePattern {
    pub(super) fn new(pattern: &str) -> Self {
        let path = pattern.strip_prefix('/').unwrap_or(pattern);
        let ignores_trailing_slashes = path.is_empty() || path.ends_with('/');
        let segment = |text: &str| match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            Some(name) => Segment::Parameter(name.to_owned()),
            None => Segment::Literal(text.to_owned()),
        };
        let segments = path.trim_end_matches('/').split('/').map(segment).collect();
        Self {
            segments,
            ignores_trailing_slashes,
        }
    }

    /// Returns the parameters of the path, or `None` if it does not match.
    pub(super) fn match_path(&self, path: &str, parse: ParseParam) -> Option<PathParams> {
        let mut path = path.strip_prefix('/')?;
        if self.ignores_trailing_slashes {
            path = path.trim_end_matches('/');
        }
        let mut params = Vec::new();
        let mut segments = path.split('/');
        for segment in &self.segments {
            let found = segments.next()?;
            match segment {
                Segment::Literal(text) if text == found => {}
                Segment::Literal(_) => return None,
                Segment::Parameter(name) => params.push((name.clone(), parse(found)?)),
            }
        }
        segments.next().is_none().then_some(PathParams(params))
    }
}

impl PathParams {
    /// Returns the value of a parameter, or an empty text if the pattern has no such parameter.
    pub fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }
}

/// Percent-decodes a path segment. Returns `None` if the result is not UTF-8.
pub fn decode_segment(raw: &str) -> Option<String> {
    query::decode_segment(raw).map(Cow::into_owned)
}

/// Returns `true` if a path is this folder or below it.
pub(super) fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
        let matched = RoutePattern::new(pattern).match_path(path, decode_segment);
        matched.map(|params| params.0)
    }

    #[test]
    fn literal_segments_match_exactly() {
        assert_eq!(params("/api/health", "/api/health"), Some(Vec::new()));
        for other in [
            "",
            "/",
            "/api",
            "/api/",
            "/api/health/",
            "/api/health/x",
            "/api//health",
            "api/health",
            "/api/Health",
            "/api/%68ealth",
        ] {
            assert_eq!(params("/api/health", other), None, "{other}");
        }
    }

    #[test]
    fn parameters_match_one_segment_each() {
        let pattern = RoutePattern::new("/a/{x}/b/{y}");
        let matched = pattern
            .match_path("/a/1%202/b/%C3%B1", decode_segment)
            .unwrap();
        assert_eq!(
            (matched.get("x"), matched.get("y"), matched.get("z")),
            ("1 2", "ñ", "")
        );
        assert_eq!(pattern.match_path("/a/1/2/b/3", decode_segment), None);
        assert_eq!(
            pattern.match_path("/a/%ff/b/3", decode_segment),
            None,
            "a segment that is not UTF-8"
        );
        let raw = |raw: &str| (!raw.is_empty()).then(|| raw.to_owned());
        assert_eq!(pattern.match_path("/a//b/3", raw), None);
        let matched = pattern.match_path("/a/%41/b/3", raw).unwrap();
        assert_eq!(matched.get("x"), "%41");
    }

    #[test]
    fn pattern_with_a_final_slash_ignores_slashes_at_the_end() {
        for path in ["/dashboard", "/dashboard/", "/dashboard//"] {
            assert!(params("/dashboard/", path).is_some(), "{path}");
        }
        for path in ["/dashboard//clients", "/dashboards", "//dashboard"] {
            assert_eq!(params("/dashboard/", path), None, "{path}");
        }
        assert!(params("/", "/").is_some());
        assert_eq!(params("/", "/x"), None);
    }

    #[test]
    fn folder_contains_itself_and_the_paths_below() {
        for (path, expected) in [
            ("/api", true),
            ("/api/", true),
            ("/api/x", true),
            ("/apis", false),
            ("/ap", false),
        ] {
            assert_eq!(is_below(path, "/api"), expected, "{path}");
        }
    }
}
