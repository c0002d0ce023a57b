//! The parts of `openapi.json` that the apps of a listener bring.

use serde_json::{Map, Value};

use crate::app_mounts::AppMounts;
use crate::specification::placeholders::object_at;

/// The folders in which the server answers every address on a shared listener.
const OPERATOR_FOLDERS: [&str; 2] = ["/dashboard", "/api/dashboard"];

/// The value of every parameter of a path, to find out who answers it.
const SAMPLE: &str = "1";

/// Adds the apps' addresses to the server's document, as far as the listener sends requests to
/// them: on a shared listener the server's own come first, on a dedicated one the apps'. Of two
/// apps with one address the first answers.
pub(super) fn add_apps(document: &mut Value, mounts: &AppMounts) {
    let mut own = object_at(document, "/paths")
        .map(std::mem::take)
        .unwrap_or_default();
    let mut added = Map::new();
    if mounts.is_dedicated {
        own.retain(|path, _| !is_answered_by_apps(mounts, path));
    }
    for part in &mounts.openapi {
        let mut part: Value = serde_json::from_str(part).unwrap_or_default();
        for (path, item) in object_at(&mut part, "/paths").into_iter().flatten() {
            let is_taken = has_path(&own, path) || has_path(&added, path);
            if !is_taken && (mounts.is_dedicated || !is_operators(path)) {
                added.insert(path.clone(), item.take());
            }
        }
        add_components(document, &mut part);
        let tags = part.get_mut("tags").and_then(Value::as_array_mut);
        let known = document.get_mut("tags").and_then(Value::as_array_mut);
        if let Some((known, tags)) = known.zip(tags) {
            known.append(tags);
        }
    }
    own.append(&mut added);
    document["paths"] = Value::Object(own);
}

/// Adds the schemas, responses and so on of an app. Their names are the app's own.
fn add_components(document: &mut Value, part: &mut Value) {
    for (kind, components) in object_at(part, "/components").into_iter().flatten() {
        let known = &mut document["components"][kind.as_str()];
        match (known.as_object_mut(), components.as_object_mut()) {
            (Some(known), Some(components)) => known.append(components),
            _ => *known = components.take(),
        }
    }
}

fn is_answered_by_apps(mounts: &AppMounts, path: &str) -> bool {
    let segments = path.split('/').map(|segment| match is_parameter(segment) {
        true => SAMPLE,
        false => segment,
    });
    let path = segments.collect::<Vec<_>>().join("/");
    mounts.http_app(&path).is_some() || mounts.websocket_app(&path).is_some()
}

fn is_operators(path: &str) -> bool {
    OPERATOR_FOLDERS.iter().any(|folder| {
        path.strip_prefix(folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Returns whether a list has a path, whatever its parameters are called.
fn has_path(paths: &Map<String, Value>, path: &str) -> bool {
    let is_same = |known: &String| {
        known.split('/').count() == path.split('/').count()
            && known
                .split('/')
                .zip(path.split('/'))
                .all(|(a, b)| a == b || (is_parameter(a) && is_parameter(b)))
    };
    paths.keys().any(is_same)
}

fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{AppHandler, AppRequest, AppResponse, HttpApp};

    /// An app that answers one folder.
    struct Folder(&'static str);

    impl HttpApp for Folder {
        fn matches(&self, path: &str) -> bool {
            path.starts_with(self.0)
        }

        fn body_limit(&self) -> usize {
            0
        }

        fn authorize(&self, _: &AppRequest) -> Result<AppHandler, AppResponse> {
            Err(AppResponse::json(401, "{}"))
        }
    }

    const PART: &str = r#"{
        "tags": [{"name": "app"}],
        "paths": {"/dashboard/x": {"a": 1}, "/app/{id}": {"a": 1}, "/own/{y}": {"a": 1}},
        "components": {"schemas": {"app.Error": {}}, "securitySchemes": {"appKey": {}}}
    }"#;

    fn paths(mounts: &AppMounts) -> Vec<String> {
        let mut document = json!({
            "tags": [{"name": "own"}], "paths": {"/own/{x}": {}, "/dashboard/clients": {}},
            "components": {"schemas": {"Error": {}}}
        });
        add_apps(&mut document, mounts);
        assert_eq!(document["tags"], json!([{"name": "own"}, {"name": "app"}]));
        let components =
            json!({"schemas": {"Error": {}, "app.Error": {}}, "securitySchemes": {"appKey": {}}});
        assert_eq!(document["components"], components);
        document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }

    #[test]
    fn addresses_are_those_that_the_listener_sends_to_the_apps() {
        let mut mounts = AppMounts {
            http_apps: vec![Arc::new(Folder("/dashboard"))],
            openapi: vec![PART],
            ..AppMounts::default()
        };
        assert_eq!(
            paths(&mounts),
            ["/own/{x}", "/dashboard/clients", "/app/{id}"]
        );
        mounts.is_dedicated = true;
        assert_eq!(paths(&mounts), ["/own/{x}", "/dashboard/x", "/app/{id}"]);
    }
}
